"""Overrides, several databases together, and the explanation of an address."""

from dataclasses import replace
from pathlib import Path

import pytest

from geodns.geo import codes, overrides
from geodns.geo.address import parse, parse_prefix
from geodns.geo.database import Database, DatabaseError
from geodns.geo.locator import Locator, joined
from geodns.geo.overrides import DATABASE, Override
from geodns.geo.partition import OUTCOME_NOT_PUBLIC, Rule, Step, build
from geodns.geo.place import NOWHERE, Place, Position
from geodns.geo.reason import match
from tests.geo.mmdb import write

SMALL = str(Path(__file__).parent / "data" / "test-small.mmdb")
US = {"continent": {"code": "NA"}, "country": {"iso_code": "US"}}
DE = {"continent": {"code": "EU"}, "country": {"iso_code": "DE"}, "subdivisions": [{"iso_code": "BY"}]}
SYSTEM = {"autonomous_system_number": 64500, "autonomous_system_organization": "Example"}


# ---------------------------------------------------------------------- overrides


@pytest.mark.parametrize(
    ("prefix", "place", "message"),
    [
        ("10.0.0.0/8", "EU-US", '"EU-US" is not a geo code (US is in NA: "NA-US"); or say "database"'),
        ("10.0.0.1/8", "EU", '"10.0.0.1/8" has bits set past its first 8 (did you mean 10.0.0.0/8?)'),
        ("office", "EU", '"office" is not an IP address'),
        ("2002::/16", "EU", "2002::/16 never matches: its addresses count as the IPv4 addresses in them"),
    ],
)
def test_messages(prefix: str, place: str, message: str) -> None:
    """A wrong override is told with its prefix, and the good ones beside it are kept."""
    good, problems = overrides.parse({"192.0.2.0/24": "EU-DE", prefix: place})
    assert [(prefix, message)] == problems
    assert (Override(parse_prefix("192.0.2.0/24"), "EU-DE"),) == good


def test_one_prefix_twice() -> None:
    """A prefix and its v4-mapped form are the same prefix, which stands only once."""
    _, problems = overrides.parse({"192.0.2.0/24": "EU-DE", "::ffff:192.0.2.0/120": "NA"})
    assert [("::ffff:192.0.2.0/120", "::ffff:192.0.2.0/120 stands here twice")] == problems


def test_longest_prefix_wins() -> None:
    """Of several overrides for an address the longest prefix counts, whatever the address's form."""
    parsed, _ = overrides.parse(
        {"0.0.0.0/0": "OC", "10.0.0.0/8": "EU-DE", "10.1.0.0/16": DATABASE, "::1": "AF"}
    )
    for text, expected in (
        ("10.1.2.3", DATABASE),
        ("10.2.2.3", "EU-DE"),
        ("2002:a02:203::", "EU-DE"),
        ("::ffff:192.0.2.1", "OC"),
        ("::1", "AF"),
    ):
        found = parsed.find(parse(text))
        assert found is not None
        assert expected == found.place
    assert parsed.find(parse("2001:db8::1")) is None


# ---------------------------------------------------------------------- several databases


def test_first_database_with_a_field_wins() -> None:
    """Country, subdivision, coordinates and AS come each from the first database that has them."""
    country = Place("NA", "US")
    city = Place("NA", "US", "CA", 37.0, -122.0)
    abroad = Place("EU", "DE", "BY", 48.0, 11.0, 64500, "Example")
    assert Place("NA", "US", "CA", 37.0, -122.0) == joined([country, city])
    assert Place("NA", "US", "CA", 37.0, -122.0, 64500, "Example") == joined([NOWHERE, city, abroad])
    assert Place("EU", "DE", "BY", 48.0, 11.0, 64500, "Example") == joined([Place("EU"), abroad])
    assert Place("", "", "", 1.0, 2.0) == joined([Place("", "", "", 1.0, 2.0), NOWHERE])
    assert NOWHERE == joined([])


def test_coordinates_come_with_their_country() -> None:
    """Coordinates and subdivision are not taken from a database that has another country."""
    abroad = Place("EU", "DE", "BY", 48.0, 11.0, 64500, "Example")
    for first in (Place("NA", "US"), Place("NA"), Place("EU", "FR")):
        assert replace(first, asn=64500, organization="Example") == joined([first, abroad])
    other_state = Place("EU", "DE", "BE")
    assert replace(other_state, asn=64500, organization="Example") == joined([other_state, abroad])


def test_position() -> None:
    """A place is at its coordinates, else in the middle of the smallest code that has one, else nowhere."""
    assert Position(48.0, 11.0) == Place("EU", "DE", "BY", 48.0, 11.0).position()
    for place, code in (
        (Place("EU", "DE", "BY"), "EU-DE-BY"),
        (Place("EU", "FR", "IDF"), "EU-FR"),
        (Place("OC"), "OC"),
    ):
        position = place.position()
        assert position is not None
        assert code == position.code
        assert codes.location(code) == position[:2]
    assert NOWHERE.position() is None


def test_city_and_asn_together(tmp_path: Path) -> None:
    """A City and an ASN database answer together, and their networks overlap anyhow."""
    city = write(tmp_path / "city.mmdb", {"192.0.0.0/8": US, "192.0.2.0/24": DE, "2001:db8::/32": US})
    asn = write(
        tmp_path / "asn.mmdb", {"192.0.2.128/25": SYSTEM, "198.51.100.0/24": SYSTEM, "2001:db8::/48": SYSTEM}
    )
    locator = Locator.open([city, asn])
    rules = (Rule(0, asns=(64500,)), Rule(1, geos=("EU-DE-BY",)), Rule(2, geos=("NA",)))
    partition = build(rules, locator)
    for text, expected in (
        ("192.0.2.129", (0, 25)),
        ("192.0.2.1", (1, 25)),
        ("192.0.3.1", (2, 24)),
        ("198.51.100.1", (0, 24)),
        ("2001:db8::1", (0, 48)),
        ("2001:db8:1::1", (2, 48)),
    ):
        address = parse(text)
        assert expected == partition.locate(*address, "203.0.113.1"), text
        assert expected[0] == match(rules, locator.explain(address)).outcome


def test_two_databases_with_countries(tmp_path: Path) -> None:
    """The operator's own database goes before a worldwide one, and leaves the rest to it."""
    own = write(tmp_path / "own.mmdb", {"192.0.2.0/25": DE, "2001:db8:5::/48": DE})
    world = write(tmp_path / "world.mmdb", {"192.0.2.0/24": US, "198.51.100.0/24": US, "2001:db8::/32": US})
    rules = (Rule(0, geos=("EU",)), Rule(1, geos=("NA",)))
    for files, expected in (([own, world], [0, 1, 1, 0, 1]), ([world, own], [1, 1, 1, 1, 1])):
        partition = build(rules, Locator.open(files))
        found = [partition.routes[partition.outcome_of(text)] for text in (
            "192.0.2.1", "192.0.2.129", "198.51.100.1", "2001:db8:5::1", "2001:db8::1"
        )]  # fmt: skip
        assert [(Step(rule),) for rule in expected] == found


def test_missing_database() -> None:
    """A locator for a file that does not exist says so when it is made."""
    with pytest.raises(DatabaseError, match=r"nowhere\.mmdb: there is no such file"):
        Locator.open(["nowhere.mmdb"])


def test_damage_is_told_when_loading(tmp_path: Path) -> None:
    """A database whose tree is damaged fails where it is loaded, with its path."""
    path = Path(write(tmp_path / "x.mmdb", {"192.0.2.0/24": US}))
    octets = path.read_bytes()
    path.write_bytes(b"\0" * 20 + octets[20:])
    with pytest.raises(DatabaseError, match=r"x\.mmdb: is damaged"):
        build((), Locator.open([str(path)]))


# ---------------------------------------------------------------------- explain


def explain(text: str, written: dict[str, str] | None = None):  # type: ignore[no-untyped-def]
    return Locator([Database(SMALL)], overrides.parse(written or {})[0]).explain(parse(text))


def test_explain_a_public_address() -> None:
    """The database, its prefix, the place and its names are told."""
    found = explain("203.0.113.1")
    assert "AS-JP-13" == found.place.codes()[0]
    assert 64701 == found.place.asn
    assert ("Tokyo", "Japan", "Asia") == found.names
    (source,) = found.sources
    assert (SMALL, "203.0.113.0/28") == (source.file, str(source.prefix))
    assert found.is_located
    assert found.special is found.override is found.embedding is None


def test_explain_an_embedded_address() -> None:
    """A 6to4 address is told as such, with the IPv4 address that is used in its place."""
    found = explain("2002:cb00:7101::1")
    assert found.embedding is not None
    assert ("6to4", "203.0.113.1") == (found.embedding.name, str(found.used))
    assert "JP" == found.place.country


def test_explain_a_private_address() -> None:
    """A loopback address has no place, and the reason is told with its RFC."""
    found = explain("127.1.0.1")
    assert NOWHERE == found.place
    assert not found.is_located
    assert found.special is not None
    assert "loopback" == found.special.what
    told = match((Rule(5, geos=("NA",)), Rule(7)), found)
    assert (1, OUTCOME_NOT_PUBLIC) == (told.rule, told.outcome)
    assert (
        "takes what no other rule does; 127.1.0.1 has no place: loopback (RFC 1122 section 3.2.1.3)"
        == told.why
    )


def test_explain_overrides() -> None:
    """An override is told, with what follows from it; for a public address the AS stays the database's."""
    database = explain("127.1.0.1", {"127.0.0.0/8": DATABASE})
    assert ("US", 64601) == (database.place.country, database.place.asn)
    assert database.is_located
    assert database.override is not None
    given = explain("203.0.113.1", {"203.0.113.0/24": "EU-DE-BY"})
    assert Place("EU", "DE", "BY", asn=64701, organization="Test AS64701") == given.place
    assert () == given.names
    private = explain("10.0.0.1", {"10.0.0.0/8": "EU-DE-BY"})
    assert Place("EU", "DE", "BY") == private.place


@pytest.mark.parametrize(
    ("rule", "why"),
    [
        (Rule(0, subnets=((4, 0xCB007100, 24),)), "203.0.113.1 is in the subnet 203.0.113.0/24"),
        (Rule(0, asns=(64701,)), "203.0.113.1 is in AS64701"),
        (Rule(0, geos=("AS-JP",)), "203.0.113.1 is in AS-JP (Japan)"),
        (Rule(0), "takes what no other rule does"),
    ],
)
def test_why(rule: Rule, why: str) -> None:
    """The rule that takes an address is told with the reason."""
    told = match((Rule(9, geos=("EU",)), rule), explain("203.0.113.1"))
    assert (1, 0, why) == (told.rule, told.outcome, told.why)
