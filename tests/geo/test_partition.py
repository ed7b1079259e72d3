"""A partition says of every address what the rules say, and its scopes are exact."""

import json
import pickle
import subprocess
import sys
from array import array
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import ip_network
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geodns.geo import overrides as overrides_
from geodns.geo.address import EMBEDDINGS, NOT_PUBLIC, WIDTH, Address, Prefix, embedding, parse, parse_prefix
from geodns.geo.database import Database
from geodns.geo.locator import Locator
from geodns.geo.overrides import DATABASE, Override, Overrides
from geodns.geo.partition import (
    EMBEDDED,
    OUTCOME_DEFAULT,
    OUTCOME_NOT_PUBLIC,
    SHARES_MAX,
    Located,
    Partition,
    Route,
    Rule,
    Rules,
    Step,
    asker_subnet,
    build,
    subnet_of,
)
from geodns.geo.reason import distances, ladder, match, route
from geodns.zone import fields
from tests.geo.mmdb import write

DATA = Path(__file__).parent / "data"
DATABASE_FILE = Database(DATA / "test-small.mmdb")
DATABASE_FILE.lookup = lru_cache(maxsize=1 << 16)(DATABASE_FILE.lookup)  # the same borders again and again
LAYER = DATABASE_FILE.layer()
NETWORKS = [
    parse_prefix(network["network"])
    for network in json.loads((DATA / "test-small.json").read_text())["networks"]
]
CODES = sorted({code for place in LAYER.places for code in place.codes()})
ASNS = sorted({place.asn for place in LAYER.places if place.asn})
PLACES_SEEN = sorted({"EU-DE", "NA-US-CA", "AS", *CODES[:5]})
ASKER = "203.0.113.1"  # in Tokyo, JP, AS64701


def locator(overrides: dict[str, str] | None = None) -> Locator:
    """The test database, loaded once, with these overrides."""
    parsed, problems = overrides_.parse(overrides or {})
    assert problems == []
    return Locator([DATABASE_FILE], parsed, [LAYER])


def subnets(*texts: str) -> tuple[tuple[int, int, int], ...]:
    return tuple(tuple(parse_prefix(text)) for text in texts)


def rule_of(partition: Partition, outcome: int) -> int:
    """The outcome of the rule at the end of a route: what plain rules come to."""
    return partition.routes[outcome][-1].rule if outcome >= 0 else outcome


def asked(partition: Partition, text: str) -> int:
    """What an asker with the address `text` gets: a rule's outcome."""
    return rule_of(partition, partition.outcome_of(text))


def routed(partition: Partition, outcome: int) -> Route | int:
    """The route of an outcome: () where the default follows at once, OUTCOME_NOT_PUBLIC as it is."""
    if outcome >= 0:
        return partition.routes[outcome]
    return () if outcome == OUTCOME_DEFAULT else outcome


def route_of(partition: Partition, text: str) -> Route | int:
    """What an asker with the address `text` gets."""
    return routed(partition, partition.outcome_of(text))


def outcome_of(partition: Partition, text: str, asker: str = ASKER) -> Located:
    """What a client subnet with all bits of `text` gets: a rule's outcome and the scope."""
    outcome, scope = partition.locate(*parse(text), asker)
    return Located(rule_of(partition, outcome), scope)


# ---------------------------------------------------------------------------------- the order of rules


@pytest.mark.parametrize(
    ("rules", "address", "expected"),
    [
        (
            (Rule(0, subnets=subnets("203.0.112.0/23")), Rule(1, subnets=subnets("203.0.113.0/28"))),
            "203.0.113.1",
            1,
        ),
        (
            (Rule(0, subnets=subnets("203.0.113.0/28")), Rule(1, subnets=subnets("203.0.113.0/28"))),
            "203.0.113.1",
            0,
        ),
        ((Rule(0, geos=("AS-JP-13",)), Rule(1, subnets=subnets("203.0.113.0/24"))), "203.0.113.1", 1),
        ((Rule(0, asns=(64701,)), Rule(1, subnets=subnets("0.0.0.0/0"))), "203.0.113.1", 1),
        ((Rule(0, geos=("AS-JP-13",)), Rule(1, asns=(64701,))), "203.0.113.1", 1),
        ((Rule(0, asns=(64701,)), Rule(1, asns=(64701,))), "203.0.113.1", 0),
        ((Rule(0, geos=("AS",)), Rule(1, geos=("AS-JP",)), Rule(2, geos=("AS-JP-13",))), "203.0.113.1", 2),
        ((Rule(0, geos=("AS",)), Rule(1, geos=("AS-JP",)), Rule(2)), "203.0.113.1", 1),
        ((Rule(0, geos=("AS", "EU")), Rule(1, geos=("AS",))), "203.0.113.1", 0),
        ((Rule(0, geos=("EU",)), Rule(1)), "203.0.113.1", 1),
        ((Rule(0, geos=("EU",)),), "203.0.113.1", OUTCOME_DEFAULT),
        ((Rule(0, geos=("EU-ES-MD",)),), "2001:db8:e00::1", 0),
        ((Rule(0, geos=("EU-ES-MD",)), Rule(1, geos=("EU-ES-M",))), "2001:db8:e00::1", 1),
        ((Rule(0, subnets=subnets("10.0.0.0/8")),), "10.1.2.3", 0),
        ((Rule(0, subnets=subnets("::ffff:192.0.2.0/120")),), "192.0.2.9", 0),
        ((Rule(0, subnets=subnets("203.0.113.0/24")),), "2002:cb00:7101::1", 0),
        ((Rule(0, subnets=subnets("2002:cb00:7100::/40", "::/0")),), "2002:cb00:7101::1", OUTCOME_DEFAULT),
    ],
)
def test_order(rules: Rules, address: str, expected: int) -> None:
    """The longest subnet, then the AS, then the most specific place, then the rest; else the first rule."""
    assert expected == outcome_of(build(rules, locator()), address).outcome


def test_a_former_iso_code_means_the_present_one() -> None:
    """A zone file with India's former code for Telangana agrees with a database that has the new one."""
    given_ = locator({"192.0.2.0/24": "AS-IN-TS", "198.51.100.0/24": "AS-IN-TG"})
    for code in ("AS-IN-TS", "AS-IN-TG"):
        partition = build((Rule(0, geos=(code,)),), given_)
        assert 0 == outcome_of(partition, "192.0.2.1").outcome
        assert 0 == outcome_of(partition, "198.51.100.1").outcome


# ------------------------------------------------------------------------------------------------ shares


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.1", [1, 2, 3, 4]),  # subnet, AS and country have a share, the continent does not
        ("127.31.0.1", [4]),  # Asia
        ("127.13.0.1", [5, 6]),  # France
        ("172.16.0.1", [7]),
        ("10.0.0.1", [5, 6]),  # private
    ],
)
def test_shares(address: str, expected: list[int]) -> None:
    """Who is not among the share of a rule goes on to what would take the address without that rule."""
    rules = (
        Rule(4, geos=("AS",)),
        Rule(3, geos=("AS-JP",), share=True),
        Rule(2, asns=(64701,), share=True),
        Rule(1, subnets=subnets("203.0.113.0/24"), share=True),
        Rule(7, subnets=subnets("172.16.0.0/12")),
        Rule(5, share=True),
        Rule(6),
    )
    partition = build(rules, locator({"127.0.0.0/8": DATABASE}))
    assert tuple(map(Step, expected)) == route_of(partition, address)


def test_share_of_a_private_subnet() -> None:
    """A share that a subnet rule takes of private addresses leaves the rest to the catch-all rules."""
    rules = (Rule(0, subnets=subnets("10.0.0.0/8"), share=True), Rule(1, share=True), Rule(2, geos=("EU",)))
    partition = build(rules, locator())
    assert (Step(0), Step(1)) == routed(partition, partition.locate4(10 << 24).outcome)
    assert (Step(1),) == route_of(partition, "192.168.0.1")
    assert OUTCOME_NOT_PUBLIC == partition.locate4(0xC0A80001).outcome


def test_share_inside_a_share() -> None:
    """The smaller subnet is asked first, then the one around it, and a rule stands only once in a route."""
    rules = (
        Rule(0, subnets=subnets("203.0.0.0/16", "203.0.113.0/28"), share=True),
        Rule(1, subnets=subnets("203.0.113.0/24"), share=True),
        Rule(2, subnets=subnets("203.0.0.0/8")),
    )
    partition = build(rules, locator())
    for text, expected in (("203.0.113.1", (0, 1, 2)), ("203.0.113.77", (1, 0, 2)), ("203.1.0.0", (2,))):
        assert tuple(map(Step, expected)) == route_of(partition, text)


def test_too_many_shares() -> None:
    """More rules with a share than SHARES_MAX are refused, and a zone file never has them."""
    assert SHARES_MAX == fields.SHARES_MAX
    with pytest.raises(ValueError, match="more than 4"):
        build((*(Rule(at, share=True) for at in range(SHARES_MAX + 1)), Rule(9)), locator())


# ----------------------------------------------------------------------------------------------- nearest

FRANKFURT, NEW_YORK, SINGAPORE = (50.11, 8.68, 0), (40.71, -74.01, 0), (1.35, 103.82, 0)
NEAREST = Rule(0, sites=(NEW_YORK, FRANKFURT, SINGAPORE), kept=2)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("203.0.113.1", (2, 1)),  # Tokyo
        ("127.13.0.1", (1, 0)),  # Paris, by an override that shows what the database says
        ("2002:7f0d:1::", (1, 0)),
        ("127.4.0.1", (0, 1)),  # Costa Rica
        ("10.0.0.1", (2, 1)),  # an override: the Philippines
        ("192.168.0.1", ()),  # private
        ("9.9.9.9", ()),  # in no database
    ],
)
def test_nearest(address: str, expected: tuple[int, ...]) -> None:
    """The nearest sites come first; who is nowhere has no order."""
    partition = build((NEAREST,), locator({"127.0.0.0/8": DATABASE, "10.0.0.0/8": "AS-PH"}))
    assert (Step(0, expected),) == route_of(partition, address)


def test_nearest_by_the_middle_of_a_country(tmp_path: Path) -> None:
    """Without coordinates a client is in the middle of its country, and not where another country's are."""
    own = write(tmp_path / "own.mmdb", {"192.0.2.0/25": {"country": {"iso_code": "DE"}}})
    america = {"country": {"iso_code": "US"}, "location": {"latitude": 40.0, "longitude": -75.0}}
    world = write(tmp_path / "world.mmdb", {"192.0.2.0/24": america})
    partition = build((NEAREST,), Locator.open([own, world]))
    assert (Step(0, (1, 0)),) == route_of(partition, "192.0.2.1")
    assert (Step(0, (0, 1)),) == route_of(partition, "192.0.2.129")


def test_nearest_of_several_rules() -> None:
    """Each rule orders its own sites; where no such rule leads, nothing is divided by distance."""
    where = locator({"127.0.0.0/8": DATABASE})
    europe = Rule(1, geos=("EU",), sites=(NEW_YORK, FRANKFURT), kept=3)
    partition = build((europe, Rule(2, geos=("NA",)), NEAREST), where)
    assert (Step(1, (1, 0)),) == route_of(partition, "127.13.0.1")  # Paris
    assert (Step(2),) == route_of(partition, "127.4.0.1") == route_of(partition, "127.1.0.1")
    canary = Rule(3, share=True, sites=(SINGAPORE, FRANKFURT), kept=3)
    assert (Step(3, (1, 0)), Step(4)) == route_of(build((canary, Rule(4)), where), "127.13.0.1")
    assert (Step(3, (1, 0)), Step(0, (1, 0))) == route_of(build((canary, NEAREST), where), "127.13.0.1")


def test_one_site_is_always_the_nearest() -> None:
    """With a single site there is nothing to put in order, so everybody has the same and the scope is 0."""
    partition = build((Rule(0, sites=(FRANKFURT,), kept=3),), locator())
    assert partition.is_uniform
    assert ((Step(0),),) == partition.routes


def test_equal_routes_are_one() -> None:
    """Rules with the same outcome lead to the same route, so that scopes are as wide as they can be."""
    rules = (
        Rule(5, geos=("AS",)),
        Rule(5, subnets=subnets("203.0.113.0/24")),
        Rule(7, geos=("EU",)),
        Rule(5, geos=("NA",)),
    )
    assert ((Step(5),), (Step(7),)) == build(rules, locator()).routes


def test_distances() -> None:
    """The distances to the sites are told with and without their bias, the preferred site first."""
    rule = Rule(0, sites=((*NEW_YORK[:2], 80), FRANKFURT, SINGAPORE), kept=1)
    where = locator({"127.0.0.0/8": DATABASE})
    paris, nowhere = where.explain(parse("127.13.0.1")), where.explain(parse("10.0.0.1"))
    told = distances(rule, paris)
    assert [1, 0, 2] == [row.site for row in told]
    assert [480, 5830, 10730] == pytest.approx([row.kilometres for row in told], rel=0.01)
    assert [480, 5830 * 0.2, 10730] == pytest.approx([row.biased for row in told], rel=0.01)
    assert [] == distances(rule, nowhere) == distances(Rule(0), paris)


def test_ladder() -> None:
    """The rules that may take an address are told one after the other, each with its reason."""
    rules = (Rule(0, share=True), Rule(1, geos=("AS-JP",), share=True), Rule(2, geos=("AS",)), Rule(3))
    tokyo, unknown = locator().explain(parse(ASKER)), locator().explain(parse("9.9.9.9"))
    assert [1, 2] == [told.rule for told in ladder(rules, tokyo)]
    assert "203.0.113.1 is in AS-JP (Japan)" == ladder(rules, tokyo)[0].why
    assert [0, 3] == [told.rule for told in ladder(rules, unknown)]
    assert [0, None] == [told.rule for told in ladder(rules[:1], unknown)]


# ---------------------------------------------------------------------------------------- client subnets


@pytest.mark.parametrize(
    ("address", "same", "other", "bits"),
    [
        ("203.0.113.1", "203.0.113.255", "203.0.112.1", 24),
        ("2001:db8:0:1100::1", "2001:db8:0:11ff::", "2001:db8:0:1200::", 56),
        ("2002:cb00:7101::1", "203.0.113.9", "203.0.112.9", 40),
        ("::ffff:203.0.113.1", "203.0.113.9", "203.0.112.9", 120),
        ("64:ff9b::203.0.113.1", "203.0.113.9", "203.0.112.9", 120),
        ("2001:0:5555:6666:7777:8888:34ff:8efe", "203.0.113.9", "203.0.112.9", 120),
        ("2001:1::1", "2001:1:0:ff::", "2001::1", 56),
    ],
)
def test_subnet_of(address: str, same: str, other: str, bits: int) -> None:
    """A /24 of IPv4 and a /56 of IPv6 stand for a client; an IPv4 address counts as such in every form."""
    number, scope = subnet_of(*parse(address))
    assert bits == scope
    assert number == subnet_of(*parse(same))[0] == asker_subnet(same) == asker_subnet(address)
    assert number != subnet_of(*parse(other))[0]
    assert 0 <= number < 1 << 64


def test_subnet_numbers() -> None:
    """The numbers are the same in every version of geodns: whoever is hashed by them keeps his place."""
    assert 1 << 63 | 0xCB0071 == asker_subnet("203.0.113.1")
    assert 0x20010DB8001122 == asker_subnet("2001:db8:11:22ff::1")
    with pytest.raises(OSError, match="illegal"):
        asker_subnet("ns1")


# --------------------------------------------------------------------------------------- public or not


def test_private_client_subnet_asks_about_the_asker() -> None:
    """A client subnet that is not public counts for nothing: the asker decides, the scope stays inside it."""
    partition = build((Rule(0, geos=("AS",)), Rule(1, geos=("NA",)), Rule(2)), locator())
    assert Located(0, 8) == outcome_of(partition, "10.1.2.0", asker="203.0.113.1")  # Tokyo
    assert Located(1, 8) == outcome_of(partition, "10.1.2.0", asker="2001:db8::1")  # New York
    assert Located(2, 8) == outcome_of(partition, "10.1.2.0", asker="127.0.0.1")
    assert Located(OUTCOME_NOT_PUBLIC, 8) == partition.locate4(10 << 24)


def test_private_asker_gets_the_rest() -> None:
    """An asker on the loopback has no place: the catch-all rule answers, or nothing does."""
    assert 2 == asked(build((Rule(0, geos=("NA",)), Rule(2)), locator()), "127.1.0.1")
    assert OUTCOME_DEFAULT == asked(build((Rule(0, geos=("NA",)),), locator()), "::1")


def test_private_subnet_of_a_rule_or_override_counts() -> None:
    """What the operator says of a private network holds, from the asker and from the client subnet alike."""
    rules = (Rule(0, subnets=subnets("10.0.0.0/8")), Rule(1, geos=("NA-US-NY",)), Rule(2, geos=("EU",)))
    partition = build(rules, locator({"127.0.0.0/8": DATABASE, "192.168.0.0/16": "EU-DE"}))
    for address, expected in (("10.9.9.9", 0), ("127.1.0.1", 1), ("192.168.3.4", 2), ("172.16.0.1", -1)):
        assert expected == asked(partition, address)
    assert Located(2, 16) == outcome_of(partition, "192.168.3.4")


def test_as_of_a_private_address_only_from_the_database() -> None:
    """A place given to a private address brings no AS; the word `database` brings both."""
    rules = (Rule(0, asns=(64601,)), Rule(1, geos=("NA",)))
    assert 1 == asked(build(rules, locator({"127.1.0.0/16": "NA-CA"})), "127.1.0.1")
    assert 0 == asked(build(rules, locator({"127.0.0.0/8": DATABASE})), "127.1.0.1")
    public = (Rule(0, asns=(64701,)), Rule(1, geos=("NA",)))
    assert 0 == asked(build(public, locator({"203.0.113.0/24": "NA-CA"})), "203.0.113.1")


def test_scope_is_0_where_nothing_was_chosen() -> None:
    """Rules that come to one outcome for everybody have scope 0, private client subnets included."""
    for rules in ((), (Rule(3),), (Rule(3, geos=("EU",)), Rule(3)), (Rule(OUTCOME_DEFAULT, asns=(64701,)),)):
        partition = build(rules, locator())
        assert partition.is_uniform
        for address in (
            "203.0.113.1",
            "10.0.0.1",
            "0.0.0.0",
            "2001:db8::1",
            "2002:a00:1::",
            "2001::1",
            "::1",
        ):
            assert 0 == outcome_of(partition, address).scope


# ---------------------------------------------------------------------------------------------- scopes


def test_scopes_are_merged_over_networks() -> None:
    """Adjacent networks with one outcome share a scope, and the special blocks keep theirs."""
    partition = build((Rule(0, subnets=subnets("192.0.2.0/25", "192.0.2.128/25")), Rule(1)), locator())
    assert Located(0, 24) == outcome_of(partition, "192.0.2.200")
    assert Located(0, 16 + 24) == outcome_of(partition, "2002:c000:2c8::5")
    assert Located(0, 96 + 24) == outcome_of(partition, "::ffff:192.0.2.200")
    assert Located(0, 96 + 24) == outcome_of(partition, "64:ff9b::192.0.2.200")
    assert Located(0, 96 + 24) == outcome_of(partition, "2001:0:5555:6666:7777:8888:3fff:fd37")


def test_short_client_subnet_in_a_special_block_is_safe() -> None:
    """A client subnet too short to have an IPv4 address in it counts as not public, inside a safe scope."""
    partition = build((Rule(0, geos=("AS",)), Rule(1)), locator())
    assert Located(0, 96 + 8) == outcome_of(
        partition, "64:ff9b::"
    )  # SOURCE 56: 0.0.0.0; so the asker, in Tokyo
    assert Located(0, 16 + 8) == outcome_of(partition, "2002::")
    teredo = outcome_of(partition, "2001:0:102:300::")  # 255.255.255.255
    assert 0 == teredo.outcome
    assert 96 <= teredo.scope


def naive(rules: Rules, where: Locator, address: Address) -> Route | int:
    """The route by reading the rules one after the other."""
    explanation = where.explain(address)
    if match(rules, explanation).outcome == OUTCOME_NOT_PUBLIC:
        return OUTCOME_NOT_PUBLIC
    return route(rules, explanation)


def boundaries(rules: Rules, overrides: Overrides, address: Address) -> list[int]:
    """Every address of the family where an outcome can begin, and the one before it."""
    prefixes = {*NETWORKS, *(override.prefix for override in overrides), *(row.prefix for row in NOT_PUBLIC)}
    prefixes |= {Prefix(*subnet) for rule in rules for subnet in rule.subnets}
    mapped = {parse_prefix("::ffff:0:0/96")}
    four = {0, (1 << 32) - 1}
    six = {0, (1 << 128) - 1}
    for prefix in prefixes | {row.block for row in EMBEDDINGS} | mapped:
        width = WIDTH[prefix.family]
        ends = (prefix.first, prefix.first + (1 << width - prefix.length))
        for end in (ends[0] - 1, ends[0], ends[1] - 1, ends[1]):
            if 0 <= end < 1 << width:
                (four if prefix.family == 4 else six).add(end)
            if prefix.family == 6 and 0 <= end < 1 << width and prefix.first >> 32 == 0xFFFF:
                four.add(end & 0xFFFFFFFF)
    if address.family == 4:
        return sorted(four)
    row = embedding(address)
    if row is not None:
        mask = 0xFFFFFFFF << row.shift
        for value in four:
            bits = (value ^ 0xFFFFFFFF if row.inverted else value) << row.shift
            six.add(address.value & ~mask | bits)
    return sorted(six)


near_networks = st.sampled_from(
    [*NETWORKS, *(row.prefix for row in NOT_PUBLIC), *(row.block for row in EMBEDDINGS)]
)


@st.composite
def prefixes(draw: st.DrawFn) -> Prefix:
    """Prefixes near the networks of the database and near the special blocks, mapped ones too."""
    near = draw(near_networks)
    length = draw(st.integers(max(0, near.length - 6), min(WIDTH[near.family], near.length + 9)))
    noise = draw(st.integers(0, (1 << WIDTH[near.family]) - 1)) >> min(near.length, WIDTH[near.family] - 1)
    prefix = Address(near.family, near.first | noise).network(length)
    if prefix.family == 4 and draw(st.integers(0, 5)) == 0:
        return Prefix(6, 0xFFFF << 32 | prefix.first, 96 + prefix.length)
    return prefix


clients = {
    "subnets": st.lists(prefixes().map(tuple), max_size=3).map(tuple),
    "asns": st.lists(st.sampled_from(ASNS), max_size=3).map(tuple),
    "geos": st.lists(st.sampled_from(CODES), max_size=4).map(tuple),
}
site_lists = st.lists(
    st.tuples(
        st.sampled_from([place for place in LAYER.places if place.latitude is not None]),
        st.sampled_from([0, 0, 50, -50]),
    ).map(lambda drawn: (drawn[0].latitude, drawn[0].longitude, drawn[1])),
    max_size=4,
).map(tuple)
plain_rules = st.builds(Rule, outcome=st.integers(-1, 3), **clients)
rich_rules = st.builds(
    Rule,
    outcome=st.integers(0, 3),
    **clients,
    share=st.booleans(),
    sites=st.just(()) | site_lists,
    kept=st.integers(1, 3),
)
rule_lists = (
    st.tuples(st.lists(plain_rules, max_size=5), st.lists(rich_rules, max_size=SHARES_MAX))
    .flatmap(lambda drawn: st.permutations(drawn[0] + drawn[1]))
    .map(tuple)
)

override_maps = st.dictionaries(
    prefixes().map(str), st.sampled_from([DATABASE, DATABASE, *PLACES_SEEN]), max_size=4
).map(lambda written: overrides_.parse(written)[0])


@st.composite
def addresses(draw: st.DrawFn) -> Address:
    """Addresses in and beside what the database knows, in every form an IPv4 address can take."""
    prefix = draw(prefixes())
    width = WIDTH[prefix.family]
    inside = draw(st.integers(0, (1 << width - prefix.length) - 1))
    value = (prefix.first | inside) + draw(st.sampled_from([0, 0, 0, -1, 1]))
    address = Address(prefix.family, value % (1 << width))
    form = draw(st.sampled_from([None, None, *EMBEDDINGS]))
    if address.family == 6 or form is None:
        return address
    ipv4 = address.value ^ (0xFFFFFFFF if form.inverted else 0)
    noise = draw(st.integers(0, (1 << 128) - 1)) & ~(0xFFFFFFFF << form.shift)
    noise &= (1 << 128 - form.block.length) - 1
    return Address(6, form.block.first | ipv4 << form.shift | noise)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rule_lists, override_maps, st.lists(addresses(), min_size=1, max_size=6))
def test_outcomes_and_scopes(rules: Rules, overrides: Overrides, where: list[Address]) -> None:
    """The route is that of the rules read in order; all of the scope shares it, no shorter prefix does."""
    locator_ = Locator([DATABASE_FILE], overrides, [LAYER])
    partition = build(rules, locator_)
    for address in where:
        located = (
            partition.locate4(address.value) if address.family == 4 else partition.locate6(address.value)
        )
        if partition.is_uniform:
            # Whoever asks: outcome and asker's outcome are the same.
            assert Located(partition.elsewhere, 0) == located or naive(rules, locator_, address) == routed(
                partition, located.outcome
            )
            assert 0 == located.scope
            continue
        outcome = routed(partition, located.outcome)
        assert naive(rules, locator_, address) == outcome
        candidates = boundaries(rules, overrides, address)
        width = WIDTH[address.family]
        inside = address.network(located.scope)
        for value in within(candidates, inside):
            assert outcome == naive(rules, locator_, Address(address.family, value)), (inside, value)
        if located.scope:
            sibling = Address(address.family, inside.first ^ (1 << width - located.scope)).network(
                located.scope
            )
            if address.family == 6 and len(partition.outcomes4) > 1 and has_all_of_ipv4(sibling):
                continue  # somewhere in there is an address with another route
            others = [sibling.first, *within(candidates, sibling)]
            assert any(
                outcome != naive(rules, locator_, Address(address.family, value)) for value in others
            ), f"the scope of {address} could be {located.scope - 1}"


def has_all_of_ipv4(prefix: Prefix) -> bool:
    """Whether a block whose IPv6 addresses contain every IPv4 address is in the prefix."""
    blocks = (row.block for row in EMBEDDINGS)
    return any(prefix.length <= block.length and prefix.covers(Address(6, block.first)) for block in blocks)


def within(values: list[int], prefix: Prefix) -> Iterator[int]:
    return (value for value in values if prefix.covers(Address(prefix.family, value)))


@settings(max_examples=100, deadline=None)
@given(rule_lists, override_maps, addresses())
def test_asker_and_client_subnet_agree(rules: Rules, overrides: Overrides, address: Address) -> None:
    """An address gets the same outcome as asker and as client subnet of its own, whatever its form."""
    where = Locator([DATABASE_FILE], overrides, [LAYER])
    partition = build(rules, where)
    assert partition.locate(*address, str(address)).outcome == partition.outcome_of(str(address))
    assert route(rules, where.explain(address)) == route_of(partition, str(address))


# ------------------------------------------------------------------------------------------ the arrays


def narrowest(outcomes: "array[int]") -> str:
    """The first of the signed typecodes that holds all of them."""
    bits = max(value.bit_length() if value >= 0 else (-value - 1).bit_length() for value in outcomes)
    return next(code for code, width in (("b", 7), ("h", 15), ("i", 31)) if bits <= width)


@settings(max_examples=50, deadline=None)
@given(rule_lists, override_maps)
def test_arrays(rules: Rules, overrides: Overrides) -> None:
    """Starts rise from 0, neighbours differ, markers are only in IPv6, and a pickled copy is the same."""
    partition = build(rules, Locator([DATABASE_FILE], overrides, [LAYER]))
    assert ("I", "Q", "Q") == tuple(
        getattr(partition, name).typecode for name in ("starts4", "high6", "low6")
    )
    for outcomes in (partition.outcomes4, partition.outcomes6):
        assert narrowest(outcomes) == outcomes.typecode
    starts6 = [high << 64 | low for high, low in zip(partition.high6, partition.low6, strict=True)]
    for starts, outcomes in ((list(partition.starts4), partition.outcomes4), (starts6, partition.outcomes6)):
        assert 0 == starts[0]
        assert sorted(set(starts)) == starts
        assert len(starts) == len(outcomes)
        assert all(one != other for one, other in pairwise(outcomes))
    assert min(partition.outcomes4) > EMBEDDED
    assert sorted(set(partition.routes)) == list(partition.routes)
    seen = {*partition.outcomes4, *partition.outcomes6, partition.elsewhere}
    assert set(range(len(partition.routes))) == {outcome for outcome in seen if outcome >= 0}
    copy = pickle.loads(pickle.dumps(partition, protocol=5))
    for name in Partition.__slots__:
        assert getattr(partition, name) == getattr(copy, name)


def test_serving_needs_no_numpy() -> None:
    """A process that only serves takes a partition from its loader and asks it without numpy's 20 MB."""
    pickled = pickle.dumps(build((NEAREST,), locator()), protocol=5)
    code = (
        "import pickle, sys\n"
        "partition = pickle.load(sys.stdin.buffer)\n"
        f"print(partition.routes[partition.outcome_of('{ASKER}')][0].order, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], input=pickled, capture_output=True, check=True)
    assert b"(2, 1) False\n" == done.stdout


def test_without_databases() -> None:
    """Subnets and overrides work with no database at all."""
    overrides = Overrides([Override(parse_prefix("198.51.100.0/24"), "EU-FR")])
    partition = build(
        (Rule(0, subnets=subnets("192.0.2.0/24")), Rule(1, geos=("EU",))), Locator((), overrides)
    )
    for address, expected in (("192.0.2.1", 0), ("198.51.100.1", 1), ("203.0.113.1", OUTCOME_DEFAULT)):
        assert expected == asked(partition, address)


def test_networks_of_the_listing_are_found() -> None:
    """Every network of test-small.json lands on its own country, in the Layer and in a lookup alike."""
    for network in json.loads((DATA / "test-small.json").read_text())["networks"]:
        country = network["record"].get("country", {}).get("iso_code", "")
        address = parse(str(ip_network(network["network"])[0]))
        assert country == DATABASE_FILE.lookup(address).place.country
        overrides = Overrides([Override(parse_prefix("127.0.0.0/8"), DATABASE)])
        explanation = Locator([DATABASE_FILE], overrides, [LAYER]).explain(address)
        assert country == explanation.place.country
