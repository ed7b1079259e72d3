"""Databases: what a Layer has is what maxminddb finds, and a damaged file is one error."""

import ipaddress
import json
import os
import random
import struct
from pathlib import Path
from typing import Any

import geoip2.database
import maxminddb
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from geodns.geo.address import WIDTH, Address, canonical, embedding, parse, special
from geodns.geo.database import Database, DatabaseError, Layer
from geodns.geo.place import NOWHERE, Place
from geodns.geo.records import KEYS, names_of, place_of
from geodns.geo.runs import keys_of
from tests.geo.mmdb import MARKER, encode, encode_metadata, write

DATA = Path(__file__).parent / "data"
SMALL = DATA / "test-small.mmdb"
GEO_DB = Path(__file__).parents[2] / "geo-db"
SEED = 7871
ADDRESSES = 2000

TOLD = {
    "binary_format_major_version": 2,
    "binary_format_minor_version": 0,
    "build_epoch": 1,
    "database_type": "x",
    "description": {"en": "x"},
    "ip_version": 6,
    "languages": ["en"],
    "node_count": 1,
    "record_size": 24,
}
US = {"continent": {"code": "NA"}, "country": {"iso_code": "US"}}
EDGES = [
    "0.0.0.0",
    "0.0.0.1",
    "127.255.255.255",
    "128.0.0.0",
    "192.0.1.255",
    "192.0.2.0",
    "192.0.2.76",
    "192.0.2.77",
    "192.0.2.78",
    "192.0.2.255",
    "192.0.3.0",
    "255.255.255.254",
    "255.255.255.255",
    "2000::",
    "1fff::1",
    "2001:db7::",
    "2001:db8::",
    "2001:db8::4",
    "2001:db8::5",
    "2001:db8::6",
    "3fff:ffff::",
    "4000::",
    "fffe:ffff::",
    "ffff::",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
]
DE = {"continent": {"code": "EU"}, "country": {"iso_code": "DE"}}


def place_in(layer: Layer, address: Address) -> Place:
    """The Place that a Layer has for a canonical address."""
    runs = layer.runs(address.family)
    at = np.searchsorted(runs.keys, keys_of(address.family, [address.value]), side="right")[0] - 1
    return layer.places[runs.values[at]]


@pytest.fixture(scope="module", params=["city-lite.mmdb", "asn-lite.mmdb"])
def shipped(request: pytest.FixtureRequest) -> tuple[Database, Layer]:
    """Each of the databases that geodns comes with."""
    database = Database(GEO_DB / request.param)
    return database, database.layer()


def test_shipped_databases_agree_with_maxminddb(shipped: tuple[Database, Layer]) -> None:
    """2,000 addresses in each family have the Place that maxminddb's own lookup gives them."""
    database, layer = shipped
    dice = random.Random(SEED)
    starts6 = layer.v6.keys.view(">u8").reshape(-1, 2)
    with maxminddb.open_database(database.path) as reader:
        for _ in range(ADDRESSES):
            # Half of the IPv6 addresses at the edges of networks: random ones hit none.
            high, low = map(int, starts6[dice.randrange(len(starts6))])
            beside = (high << 64 | low) + dice.choice((0, -1, 1 << 70))
            for address in (Address(4, dice.getrandbits(32)), Address(6, beside % (1 << 128))):
                if embedding(address) or (address.family == 6 and special(address)):
                    continue
                record: Any = reader.get(str(address))
                expected = place_of(record) if record else NOWHERE
                assert expected == place_in(layer, address), address
                assert expected == database.lookup(address).place


def test_shipped_layers_are_runs(shipped: tuple[Database, Layer]) -> None:
    """Runs begin at 0 and rise, neighbours differ, and there are no more Places than are used."""
    _, layer = shipped
    for family in (4, 6):
        runs = layer.runs(family)
        assert keys_of(family, [0])[0] == runs.keys[0]
        assert bool(np.all(runs.keys[1:] > runs.keys[:-1]))
        assert bool(np.all(runs.values[1:] != runs.values[:-1]))
    assert set(range(len(layer.places))) == {0, *layer.v4.values.tolist(), *layer.v6.values.tolist()}


@pytest.mark.parametrize(
    ("address", "country", "asn"),
    [
        ("8.8.8.8", "US", 15169),
        ("1.1.1.1", "AU", 13335),
        ("193.0.6.139", "NL", 3333),
        ("2001:67c:2e8:22::c100:68b", "NL", 3333),
    ],
)
def test_well_known_addresses(address: str, country: str, asn: int) -> None:
    """Google's and Cloudflare's resolvers and RIPE NCC's web site are where everybody knows them to be."""
    found = [
        Database(GEO_DB / name).lookup(parse(address)).place for name in ("city-lite.mmdb", "asn-lite.mmdb")
    ]
    assert (country, asn) == (found[0].country, found[1].asn)


def test_the_same_as_geoip2() -> None:
    """A Place has what geoip2's models have, and the prefix is theirs."""
    database = Database(SMALL)
    with geoip2.database.Reader(str(SMALL)) as reader:
        for network in json.loads((DATA / "test-small.json").read_text())["networks"]:
            if "country" not in network["record"]:
                continue
            address = parse(str(ipaddress.ip_network(network["network"])[0]))
            expected, found = reader._get("", str(address)), database.lookup(address)
            model = geoip2.models.City(["en"], **expected[0])
            place = found.place
            if model.continent.code:
                assert (model.continent.code, model.country.iso_code) == (place.continent, place.country)
            assert (model.subdivisions.most_specific.iso_code or "") == place.subdivision
            assert (model.location.latitude, model.location.longitude) == (place.latitude, place.longitude)
            assert address.network(found.length) == parse(network["network"].partition("/")[0]).network(
                found.length
            )
            assert model.country.name in found.names


def test_metadata() -> None:
    """A database says what it is and when it was made."""
    metadata = Database(SMALL).metadata
    assert 6 == metadata.ip_version
    assert "2026-06-17" == metadata.built.date().isoformat()
    assert metadata.type
    assert metadata.description


# ------------------------------------------------------------------------------------------- kinds of files


@pytest.mark.parametrize("record_size", [24, 28, 32])
@pytest.mark.parametrize("ip_version", [4, 6])
def test_every_kind_of_tree(tmp_path: Path, record_size: int, ip_version: int) -> None:
    """All record sizes, trees for IPv4 alone and for both; hosts, halves of the world and gaps."""
    networks = {
        "128.0.0.0/1": US,
        "192.0.2.0/24": DE,
        "192.0.2.77/32": US,
        "0.0.0.0/32": DE,
        "255.255.255.255/32": DE,
    }
    if ip_version == 6:
        networks |= {"2000::/3": US, "2001:db8::/32": DE, "2001:db8::5/128": US, "ffff::/16": DE}
    database = Database(write(tmp_path / "x.mmdb", networks, ip_version=ip_version, record_size=record_size))
    layer = database.layer()
    for text in EDGES:
        address = parse(text)
        if address.family == 6 and ip_version == 4:
            assert NOWHERE == place_in(layer, address) == database.lookup(address).place
            continue
        record: Any = maxminddb.open_database(database.path).get(text)
        assert (place_of(record) if record else NOWHERE) == place_in(layer, address), text


def test_aliases_of_ipv4_have_no_places(tmp_path: Path) -> None:
    """The blocks that stand for IPv4 are empty in IPv6, whatever the file has there."""
    path = write(
        tmp_path / "x.mmdb", {"192.0.2.0/24": US, "2001::/32": DE, "64:ff9b::/96": DE, "2001:1::/32": DE}
    )
    layer = Database(path).layer()
    for text in ("::ffff:192.0.2.1", "2002:c000:201::", "::192.0.2.1", "2001:0:5::", "64:ff9b::1"):
        assert NOWHERE == place_in(layer, parse(text)), text
    assert "DE" == place_in(layer, parse("2001:1::")).country
    assert "US" == place_in(layer, parse("192.0.2.1")).country


def test_one_leaf_for_everything(tmp_path: Path) -> None:
    """A database with one record for all of IPv4 is one run."""
    layer = Database(write(tmp_path / "x.mmdb", {"0.0.0.0/1": US, "128.0.0.0/1": US}, ip_version=4)).layer()
    assert 2 >= len(layer.v4.keys)  # equal Places may have two records
    assert "US" == place_in(layer, parse("9.9.9.9")).country


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"country": "US", "continent": "NA", "asn": "AS15169", "as_name": "Google"}, ("NA-US", None, 15169)),
        ({"country": "United States", "country_code": "US", "continent_code": "NA"}, ("NA-US", None, 0)),
        ({"country": "DE", "region": "Bavaria"}, ("EU-DE", None, 0)),
        ({"country": "DE", "region": "Bayern", "lat": "48.1", "lng": "11.6"}, ("EU-DE-BY", 48.1, 0)),
        (
            {"country_code": "US", "region": "California", "region_code": "CA", "loc": "37.4,-122"},
            ("NA-US-CA", 37.4, 0),
        ),
        (
            {"country_code": "US", "region_code": "US-CA", "latitude": 37.4, "longitude": -122.0},
            ("NA-US-CA", 37.4, 0),
        ),
        ({"country_code": "US", "state1": "California"}, ("NA-US-CA", None, 0)),
        (
            {"country": {"iso_code": "US"}, "subdivisions": [{"names": {"en": "California"}}]},
            ("NA-US-CA", None, 0),
        ),
        ({"asn": 64500, "name": "Example"}, ("", None, 64500)),
        ({"country": {"iso_code": "TR"}}, ("AS-TR", None, 0)),
        (
            {"registered_country": {"iso_code": "US"}, "traits": {"autonomous_system_number": 7}},
            ("", None, 7),
        ),
        ({"continent": {"code": "OC"}, "country": {"iso_code": "TL"}}, ("AS-TL", None, 0)),
        ({"country": {"iso_code": "ZZ"}}, ("", None, 0)),
        ({"continent": {"code": "EU"}}, ("EU", None, 0)),
        ({"location": {"latitude": 91.0, "longitude": 0.0}}, ("", None, 0)),
        ({"location": {"latitude": 1.0}}, ("", None, 0)),
        ({"location": {"latitude": 0.0, "longitude": 0.0}}, ("", None, 0)),
        ({"location": {"latitude": 0.0, "longitude": 9.0}}, ("", 0.0, 0)),
        ({"location": {"latitude": float("nan"), "longitude": 1.0}}, ("", None, 0)),
        ({"continent": {"code": "XX"}, "country": {"iso_code": 5}, "subdivisions": [3, {}]}, ("", None, 0)),
        (
            {"country": {"iso_code": "ES"}, "subdivisions": [{"iso_code": "MD"}, {"iso_code": "M"}]},
            ("EU-ES-M", None, 0),
        ),
        ({"autonomous_system_number": 2**40}, ("", None, 0)),
        ({}, ("", None, 0)),
    ],
)
def test_schemas(record: dict[str, Any], expected: tuple[str, float | None, int]) -> None:
    """Records of MaxMind's and DB-IP's nested schema and of IPinfo's flat one become Places."""
    place = place_of(record)
    assert expected == ((place.codes() or ("",))[0], place.latitude, place.asn)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["US", "EU"])
)
keys = st.sampled_from([*sorted(KEYS), "city"])
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4)
)


@given(st.dictionaries(keys, values, max_size=6))
def test_any_record_is_a_place(record: dict[str, Any]) -> None:
    """Whatever is in a record, it becomes a Place and names, without an exception."""
    assert isinstance(place_of(record), Place)
    assert all(isinstance(name, str) for name in names_of(record))


# ------------------------------------------------------------------------------------------- damage


def attempt(path: Path) -> None:
    """Use a file in every way; DatabaseError is the only way to fail."""
    try:
        database = Database(path)
        database.layer()
        for text in ("127.1.0.1", "8.8.8.8", "2001:db8::1", "::1", "203.0.113.255"):
            database.lookup(canonical(parse(text)))
    except DatabaseError as error:
        message = str(error)
    else:
        return
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400


GOOD = SMALL.read_bytes()


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, len(GOOD) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_flipped_octets(tmp_path: Path, changes: list[tuple[int, int]]) -> None:
    """Any octets of a database may be wrong: it is read, or refused with one message."""
    octets = bytearray(GOOD)
    for at, value in changes:
        octets[at] = value
    path = tmp_path / "x.mmdb"
    path.write_bytes(octets)
    attempt(path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, len(GOOD)), st.integers(0, len(GOOD)), st.binary(max_size=40))
@example(0, len(GOOD), b"")
@example(len(GOOD), len(GOOD), b"\0")
def test_cut_and_pasted(tmp_path: Path, start: int, end: int, junk: bytes) -> None:
    """A database with a part cut out or put in is read, or refused with one message."""
    path = tmp_path / "x.mmdb"
    path.write_bytes(GOOD[:start] + junk + GOOD[end:])
    attempt(path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=300),
    st.dictionaries(
        st.sampled_from(sorted(TOLD)),
        st.integers(0, 2**64 - 1)
        | st.integers(0, 40)
        | st.text(max_size=4)
        | st.lists(st.just("en"), max_size=2),
    ),
)
def test_metadata_that_lies(tmp_path: Path, body: bytes, metadata: dict[str, Any]) -> None:
    """Metadata of any content, absurd node counts among it, is refused or harmless."""
    path = tmp_path / "x.mmdb"
    path.write_bytes(body + MARKER + encode_metadata(TOLD | metadata))
    attempt(path)


def tree_file(path: Path, nodes: list[tuple[int, int]], ip_version: int) -> Path:
    """A database with just these records of 32 bits."""
    path.write_bytes(
        b"".join(struct.pack(">II", *node) for node in nodes)
        + bytes(16)
        + encode(US)
        + MARKER
        + encode_metadata(TOLD | {"ip_version": ip_version, "node_count": len(nodes), "record_size": 32})
    )
    return path


@pytest.mark.parametrize("ip_version", [4, 6])
@pytest.mark.parametrize("nodes", [[(0, 0)], [(1, 1), (0, 0)], [(0, 1)], [(1, 2), (1, 2), (3, 3)]])
def test_trees_that_go_in_circles(tmp_path: Path, ip_version: int, nodes: list[tuple[int, int]]) -> None:
    """A tree with cycles is refused at once, whether it would only be endless or fill the memory first."""
    with pytest.raises(DatabaseError, match=r"damaged.*(circles|longer than)"):
        Database(tree_file(tmp_path / "x.mmdb", nodes, ip_version)).layer()


def test_a_tree_that_is_too_large_when_unfolded(tmp_path: Path) -> None:
    """A few nodes that share subtrees could mean 2 ** 32 networks; that is refused without unfolding them."""
    nodes = [(at + 1, at + 1) for at in range(31)] + [(32, 32 + 16)]
    with pytest.raises(DatabaseError, match="33,554,432 networks"):
        Database(tree_file(tmp_path / "x.mmdb", nodes, 4)).layer()


def test_a_tree_that_shares_much_is_read(tmp_path: Path) -> None:
    """Sharing is no damage: 17 nodes may mean 2 ** 17 networks."""
    nodes = [(at + 1, at + 1) for at in range(16)] + [(17, 17 + 16)]
    layer = Database(tree_file(tmp_path / "x.mmdb", nodes, 4)).layer()
    assert 2**17 == len(layer.v4.keys)


def test_pointers_out_of_the_file(tmp_path: Path) -> None:
    """A tree that points before or behind its data is refused."""
    for record in (2, 16, 17 + 10_000, 2**32 - 1):
        with pytest.raises(DatabaseError, match="damaged"):
            Database(tree_file(tmp_path / "x.mmdb", [(record, 1)], 4)).layer()


def test_what_is_no_database(tmp_path: Path) -> None:
    """Missing files, folders, pipes, empty files and other formats get one message each."""
    (tmp_path / "empty.mmdb").touch()
    (tmp_path / "text.mmdb").write_text("x" * 1000)
    os.mkfifo(tmp_path / "pipe.mmdb")
    for name, expected in {
        "missing.mmdb": "there is no such file",
        "": "is not a file",
        "pipe.mmdb": "is not a file",
        "empty.mmdb": "is empty",
        "text.mmdb": "is not a database in MaxMind's format",
    }.items():
        with pytest.raises(DatabaseError, match=expected):
            Database(tmp_path / name)


def test_replaced_while_it_is_read(tmp_path: Path) -> None:
    """A file that was replaced after it was opened is not read half from one and half from the other."""
    path = Path(write(tmp_path / "x.mmdb", {"192.0.2.0/24": US}))
    database = Database(path)
    os.replace(write(tmp_path / "new.mmdb", {"192.0.2.0/24": DE, "10.0.0.0/8": US}), path)
    assert "US" == database.lookup(parse("192.0.2.1")).place.country
    with pytest.raises(DatabaseError, match="was replaced"):
        database.layer()
    assert "DE" == place_in(Database(path).layer(), parse("192.0.2.1")).country


def test_width_of_families() -> None:
    """Lookups give a prefix length of the family asked for."""
    database = Database(SMALL)
    assert 16 == database.lookup(parse("127.1.2.3")).length
    assert 40 == database.lookup(parse("2001:db8::1")).length
    for family, value in ((4, 0), (6, 0), (4, 2**32 - 1), (6, 2**128 - 1)):
        assert 0 <= database.lookup(Address(family, value)).length <= WIDTH[family]
