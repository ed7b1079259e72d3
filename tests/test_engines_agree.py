"""The engines give the same octets for any zones, packets, places, health, draws and times.

`make test` tries 500 cases of each test, `make agree` 20,000 (AGREE_CASES). What was found to differ is a golden in
tests/answers, or an `@example` here.
"""

import json
import os
from array import array
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from geodns.engine import native
from geodns.engine.answer import answer
from geodns.engine.cookie import cookie_for
from geodns.engine.snapshot import Identity, Snapshot
from geodns.geo.partition import EMBEDDED, Partition, Route, Rules, build
from geodns.name import Name
from geodns.table.compile import compile_zone, link, table_rules, table_steers
from geodns.table.shape import FLAG_AA, Alternative, Body, Choice, Node, Outcome, Plan, ZoneTable
from geodns.table.steer import TTL_UNBOUND, Pool, Standing, Steer, stand
from geodns.zone import load_text
from tests.conftest import COOKIE_SECRET, IDENTITY, NOW, SERIAL, make_locator, snapshot_of_golden
from tests.engine.test_decide import situations
from tests.engine.test_properties import SNAPSHOTS, clients, draws, options, packets, snapshots, types
from tests.goldens import ANSWERS, ask, read
from tests.zone import test_steering_properties as steering

pytestmark = [
    pytest.mark.skipif(bool(native.why_not()), reason=native.why_not()),
    pytest.mark.timeout(int(os.environ.get("AGREE_SECONDS", "180"))),
]

CASES = int(os.environ.get("AGREE_CASES", "500"))
PACKETS_EACH = 12  # to one snapshot, which takes longer to make than all of them to answer
ENGINE = None if native.why_not() else native.Native()

many = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
times = st.sampled_from([NOW, NOW + 1, NOW - 1801, NOW + 1800, NOW + 3601, 0, 2**32 + 5]) | st.integers(
    NOW - 400, NOW + 4000
)


@dataclass(frozen=True)
class Asked:
    """What comes in beside the snapshot."""

    packet: bytes
    client: str
    draw: int
    now: int
    stream: bool


def agree(snapshot: Snapshot, asked: Asked) -> bytes | None:
    """What both engines say."""
    assert ENGINE is not None
    given = (asked.packet, asked.client, snapshot, asked.draw, asked.now, asked.stream)
    expected = answer(*given)
    got = ENGINE.answer(*given)
    assert expected == got, f"python {expected and expected.hex()}\nnative {got and got.hex()}\n{asked}"
    return expected


# Packets


@st.composite
def mutated(draw: st.DrawFn, packets: st.SearchStrategy[bytes]) -> bytes:
    """A packet with some octets changed, cut out, doubled or put in."""
    packet = bytearray(draw(packets))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(0, len(packet) - 1)))
        kind = draw(st.integers(0, 4))
        if kind == 0:
            packet[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
        elif kind == 1:
            del packet[at : at + draw(st.integers(1, 6))]
        elif kind == 2:
            packet[at:at] = packet[at : at + draw(st.integers(1, 24))]
        elif kind == 3:
            del packet[at:]
        else:
            packet[at:at] = draw(st.sampled_from([b"\0", b"\xc0\x0c", b"\xff\xff", b"\0\0\x29", b"\x3f"]))
    return bytes(packet)


@st.composite
def questions(draw: st.DrawFn, names: st.SearchStrategy[bytes]) -> bytes:
    """A query for one of these names, with options that are mostly in order."""
    rtype = draw(types | st.sampled_from([1, 1, 28, 5, 15, 2, 43, 39, 255]))
    rclass = draw(st.sampled_from([b"\0\1"] * 12 + [b"\0\3", b"\0\xff"]))
    flags = draw(st.sampled_from([b"\x01\0"] * 8 + [b"\0\0", b"\x29\0"]))
    given = draw(st.lists(options() | subnets() | cookies(), max_size=3, unique_by=lambda option: option[:2]))
    data = b"".join(given)
    size = draw(st.sampled_from([0, 512, 700, 1232, 4096]))
    opt = b"\0\0\x29" + size.to_bytes(2) + b"\0\0" + draw(st.sampled_from([b"\0\0", b"\x80\0"]))
    extra = opt + len(data).to_bytes(2) + data if draw(st.integers(0, 5)) else b""
    question = draw(names) + rtype.to_bytes(2) + rclass
    counts = b"\0\1\0\0\0\0\0" + bytes([bool(extra)])
    return draw(st.binary(min_size=2, max_size=2)) + flags + counts + question + extra


@st.composite
def subnets(draw: st.DrawFn) -> bytes:
    """EDNS Client Subnet for an address that has a place, or one that stands for another."""
    address = draw(addresses)
    width = address.max_prefixlen
    source = draw(st.sampled_from([0, width, 24, 56 if width == 128 else 20]) | st.integers(0, width))
    value = int(address) >> (width - source) << (width - source)
    octets = value.to_bytes(width // 8)[: (source + 7) // 8]
    data = bytes([0, 1 if width == 32 else 2, source, 0]) + octets
    return b"\0\x08" + len(data).to_bytes(2) + data


@st.composite
def cookies(draw: st.DrawFn) -> bytes:
    """A cookie that is good for some client at some time."""
    ours = draw(st.binary(min_size=8, max_size=8))
    if draw(st.booleans()):
        ours = cookie_for(ours, draw(st.sampled_from(CLIENTS)), (COOKIE_SECRET,), draw(times))
    return b"\0\x0a" + len(ours).to_bytes(2) + ours


CLIENTS = ["192.0.2.53", "127.3.0.1", "2001:db8::53", "::1", "10.1.2.3", "::ffff:127.4.0.1", "2002:7f05:1::1"]
addresses = st.one_of(
    st.integers(127 << 24, (127 << 24) + 0x2A0000).map(ip_address),  # those of the test database
    st.integers(127 << 24, (127 << 24) + 0x2A0000).map(lambda value: ip_address(0xFFFF << 32 | value)),
    st.integers(127 << 24, (127 << 24) + 0x2A0000).map(lambda value: ip_address(0x2002 << 112 | value << 80)),
    st.integers(127 << 24, (127 << 24) + 0x2A0000).map(
        lambda value: ip_address(0x2001 << 112 | value ^ 0xFFFFFFFF)
    ),
    st.sampled_from(["10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "fe80::1", "64:ff9b::7f02:1"]).map(
        ip_address
    ),
    st.ip_addresses(),
)


def asked(packets: st.SearchStrategy[bytes]) -> st.SearchStrategy[Asked]:
    return st.builds(
        Asked,
        packet=mutated(packets),
        client=st.sampled_from(CLIENTS) | clients | addresses.map(str),
        draw=draws,
        now=times,
        stream=st.booleans(),
    )


# Zones

LABELS = ["a", "b", "www", "app", "*", "sub", "old", "x" * 63]
OWNERS = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3).map(".".join)
TARGETS = st.one_of(
    OWNERS.map(lambda owner: f"{owner.replace('*', 'star')}.example.com."),
    st.sampled_from(["example.com.", "www.example.com.", "app.example.com.", "sub.example.com."]),
    st.sampled_from(["host.example.net.", "y." * 110 + "example.net."]),
)
TTLS = st.sampled_from([0, 5, 60, 300, 2**31 - 1])


def record(rtype: str, values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[dict[str, Any]]:
    given = st.lists(values, min_size=1, max_size=most, unique=True)
    return st.fixed_dictionaries({"type": st.just(rtype), "values": given}, optional={"ttl": TTLS})


HOSTS = st.integers(1, 250).map("203.0.113.{}".format)
A = record("A", HOSTS) | st.just({"type": "A", "values": [f"203.0.113.{at}" for at in range(1, 80)]})
AAAA = record("AAAA", st.integers(1, 9).map("2001:db8::{}".format))
TXT = record("TXT", st.text("abc ", min_size=1, max_size=250))
MX = record("MX", TARGETS.map("10 {}".format))
SRV = record("SRV", TARGETS.map("1 2 3 {}".format))
NS = record("NS", TARGETS, most=6)
DS = st.just({"type": "DS", "value": "12345 13 2 " + "ab" * 32})
ONE = {
    rtype: st.fixed_dictionaries({"type": st.just(rtype), "value": TARGETS})
    for rtype in ("CNAME", "DNAME", "ALIAS")
}
STEERED = steering.zones()


@st.composite
def steered_alias(draw: st.DrawFn, rtype: str) -> dict[str, Any]:
    """A CNAME or DNAME whose target depends on who asks."""
    pools = {
        name: {"values": [draw(TARGETS)], "policy": draw(st.sampled_from(["weighted", "hash"]))}
        for name in ("fra", "iad")
    }
    rules = [{"geos": ["EU"], "pool": "fra"}, {"pool": "iad"}]
    if draw(st.booleans()):
        rules.insert(1, {"share": 0.5, "pool": "fra"})
    return {"type": rtype, "ttl": 60, "value": draw(TARGETS), "dynamic": {"pools": pools, "rules": rules}}


def beside(*records: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Some of these records, one at least."""
    return st.lists(st.one_of(*records), min_size=1, max_size=3, unique_by=lambda each: each["type"])


AT_NAME = st.one_of(
    beside(A, AAAA, TXT, MX, SRV),
    beside(A, AAAA, MX),
    ONE["CNAME"].map(lambda one: [one]),
    steered_alias("CNAME").map(lambda one: [one]),
    ONE["ALIAS"].map(lambda one: [one]),
    st.tuples(NS, DS).map(list) | NS.map(lambda one: [one]),
    st.tuples(ONE["DNAME"] | steered_alias("DNAME")).map(list)
    | st.tuples(ONE["DNAME"] | steered_alias("DNAME"), A).map(list),
    STEERED.map(lambda zone: [zone["www"]]),
    STEERED.map(lambda zone: [zone["www"]]),
)


@st.composite
def zone_files(draw: st.DrawFn) -> dict[str, Any]:
    """What may stand in a zone file: all kinds of names beside each other."""
    zone: dict[str, Any] = {
        "$zone": draw(STEERED)["$zone"] | {"soa": {"minimum": draw(st.sampled_from([0, 30, 900]))}},
        "": [{"type": "NS", "values": ["ns1.example.net.", "ns2.example.net."]}],
    }
    zone[""] += draw(st.just([]) | beside(A, AAAA, TXT, MX))
    for owner in draw(st.lists(OWNERS, max_size=7, unique=True)):
        zone[owner] = draw(AT_NAME)
    return zone


def loaded(name: str, zone: dict[str, Any]) -> ZoneTable | None:
    """The zone's table, less the names whose records make an error."""
    for _ in range(4):
        checked, problems = load_text(json.dumps(zone, indent=0).encode(), Name.parse(name), "z.yaml", SERIAL)
        if checked is not None:
            return compile_zone(checked)
        told = {str(problem.where).split(" ")[0] for problem in problems if problem.is_error}
        kept = {owner: records for owner, records in zone.items() if owner not in told}
        if "" not in kept or len(kept) == len(zone):
            return None
        zone = kept
    return None


@lru_cache(maxsize=4096)
def partition(rules: Rules) -> Partition:
    return build(rules, make_locator())


@st.composite
def standings(draw: st.DrawFn, steer: Steer) -> Standing:
    """Any health of a steer's pools."""
    return Standing(tuple(draw(pool_standings(pool)) for pool in steer.pools))


@st.composite
def pool_standings(draw: st.DrawFn, pool: Pool) -> Any:
    is_up = tuple(
        draw(st.sampled_from([True, True, False])) if member.is_up is None else member.is_up
        for member in pool.members
    )
    ramps = tuple(
        (at, NOW - draw(st.integers(-5, 400)))
        for at, is_one_up in enumerate(is_up)
        if pool.slow_start and is_one_up and draw(st.booleans())
    )
    return stand(pool, is_up, ramps, draw(st.sampled_from([TTL_UNBOUND, TTL_UNBOUND, 1, 20, 45, 600])))


@dataclass(frozen=True)
class Situation:
    snapshot: Snapshot
    asked: list[Asked]


@st.composite
def situations_of_zones(draw: st.DrawFn) -> Situation:
    """Zones, what is up of them, and questions about names that are there or nearly so."""
    tables = [loaded("example.com.", draw(zone_files()))]
    if draw(st.integers(0, 2)) == 0:
        tables.append(loaded("sub.example.com.", draw(zone_files())))
    if draw(st.integers(0, 4)) == 0:
        tables.append(loaded("old.b.example.com.", draw(zone_files())))
    zones = [table for table in tables if table is not None]
    assume(zones)
    failed = draw(st.sampled_from([(), (b"\x06failed\x07example\0",), (b"\x03sub\x07example\x03com\0",)]))
    table = link(zones, failed)
    steers = table_steers(table)
    standing = {
        key: draw(standings(steer)) for key, steer in steers.items() if draw(st.integers(0, 2))
    }
    snapshot = Snapshot(
        table,
        {key: partition(rules) for key, rules in table_rules(table).items()},
        draw(st.sampled_from([IDENTITY, Identity(), replace(IDENTITY, server_id=b"i" * 255)])),
        draw(st.sampled_from([1232, 512, 4096])),
        draw(st.sampled_from([(COOKIE_SECRET,), (bytes(16), COOKIE_SECRET), ()])),
        draw(st.sampled_from([100, 0, 65535])),
        standing,
    )
    names = wire_names(sorted({*table.nodes, *table.failed}))
    return Situation(snapshot, draw(st.lists(asked(questions(names)), min_size=1, max_size=PACKETS_EACH)))


def wire_names(known: list[bytes]) -> st.SearchStrategy[bytes]:
    """Names that are known, perhaps less their first labels, perhaps with others in front, in any case."""

    def made(base: bytes, cut: int, front: list[bytes], is_upper: bool) -> bytes:
        for _ in range(cut):
            if len(base) > 1:
                base = base[1 + base[0] :]
        wire = b"".join(bytes([len(label)]) + label for label in front)
        wire = wire + base if len(wire + base) <= 255 else base
        return wire.upper() if is_upper and max(wire) < 0x5B else wire

    labels = st.sampled_from([b"a", b"b", b"*", b"www", b"sub", b"x" * 63, b"\0", b"failed"])
    return st.builds(
        made,
        st.sampled_from(known),
        st.sampled_from([0, 0, 0, 1]),
        st.just([]) | st.lists(labels, max_size=3),
        st.booleans(),
    )


# The tests


@given(situations_of_zones())
@many
def test_any_zones(situation: Situation) -> None:
    """Of whatever zones there are, in whatever health, both engines tell every client the same."""
    for each in situation.asked:
        agree(situation.snapshot, each)


@given(st.lists(asked(packets() | st.binary(max_size=120)), min_size=1, max_size=PACKETS_EACH), snapshots)
@many
def test_any_packets(packets: list[Asked], snapshot: Snapshot) -> None:
    """To the zones of the goldens, packets that are in order, nearly so, or garbage."""
    for each in packets:
        agree(snapshot, each)


@pytest.mark.parametrize("file", sorted(path.name for path in ANSWERS.glob("*.md")))
def test_every_beginning_of_every_golden(file: str) -> None:
    """The questions of the goldens, cut off at every octet, and with every octet changed."""
    snapshot = snapshot_of_golden(file)
    for case in read(ANSWERS / file).cases[:12]:
        question = ask(case.question)
        packet = question.packet
        for at in range(len(packet) + 1):
            changed = packet[:at] + bytes([packet[at] ^ 0x81]) + packet[at + 1 :] if at < len(packet) else packet
            for variant in (packet[:at], changed):
                agree(snapshot, Asked(variant, question.client, question.draw, NOW, question.stream))


@given(situations(), st.lists(asked(questions(st.just(b"\0"))), min_size=1, max_size=PACKETS_EACH))
@many
def test_any_decision(situation: tuple[Steer, Standing, Route], asked: list[Asked]) -> None:
    """Pools, rules and states as no zone check would let them pass: fallbacks in a circle, pools without members."""
    steer, standing, route = situation
    alternatives = tuple(alternative(at, pool) for at, pool in enumerate(steer.pools))
    default, nodata = plan(b"\xff\xff", b"d"), Plan(Outcome.NODATA, FLAG_AA, Body(b"", 0, 0, 0, 1))
    choice = Choice("key", (), steer, alternatives, default, nodata, ".", 1, ())
    chosen = Plan(Outcome.HIT, FLAG_AA, Body(b"", 0, 0, 0, 1), choice)
    snapshot = hand_made(chosen, Partition(*whole_space(0 if route else -1), 0 if route else -1, (route,) if route else ()))
    for each in asked:
        agree(replace(snapshot, standings={steer.key: standing}), each)
    agree(snapshot, asked[0])  # as long as nothing was looked at


def alternative(at: int, pool: Pool) -> Alternative:
    """Plans that tell pools and members apart, some of them with equal records."""
    plans = tuple(plan(b"\xc0\x0c", bytes([at, member // 2])) for member in range(len(pool.members)))
    return Alternative(plans, tuple(each.body for each in plans), plan(b"\xc0\x0c", bytes([at, 255])))


def plan(owner: bytes, data: bytes) -> Plan:
    """One record, whose TTL health may lower."""
    octets = owner + b"\0\1\0\1\0\0\0\x3c" + len(data).to_bytes(2) + data
    return Plan(Outcome.HIT, FLAG_AA, Body(octets, 1, 0, 0, 1, owners=(0,), ttls=(6,)))


def hand_made(chosen: Plan, partition: Partition) -> Snapshot:
    """A root zone whose apex answers everything with this."""
    root = ZoneTable(b"\0", "", 1, chosen, {}, 1)
    root.nodes[b"\0"] = Node({}, chosen, None, root)
    assert chosen.choice is not None
    return Snapshot(link([root]), {chosen.choice.key: partition}, cookie_secrets=(COOKIE_SECRET,))


def whole_space(outcome: int) -> tuple[Any, ...]:
    outcomes = array("b", [outcome])
    return array("I", [0]), outcomes, array("Q", [0]), array("Q", [0]), outcomes


@st.composite
def partitions(draw: st.DrawFn) -> tuple[Partition, list[int], list[int]]:
    """Any division of the address space, and where its runs begin."""
    routes = draw(st.integers(1, 4))
    near = st.integers(0, 2**32 - 1) | st.integers(0, 40).map(lambda bit: (1 << bit) & 0xFFFFFFFF)
    starts4 = sorted({0, *draw(st.lists(near, max_size=40))})
    highs = st.sampled_from([0, 0x20010DB8 << 32, 0x2002 << 48, 2**64 - 1]) | st.integers(0, 2**64 - 1)
    lows = st.sampled_from([0, 0, 1, 2**63, 2**64 - 1]) | st.integers(0, 2**64 - 1)
    blocks = [(0xFFFF << 32, EMBEDDED), (0x2002 << 112, EMBEDDED - 1), (0x20010000 << 96, EMBEDDED - 2)]
    blocks.append((0x64FF9B << 96, EMBEDDED - 3))
    widths = [32, 112, 96, 32]
    starts6 = {0, *draw(st.lists(st.builds(lambda high, low: high << 64 | low, highs, lows), max_size=12))}
    kinds = st.integers(-2, routes - 1)
    outcomes6 = {start: draw(kinds) for start in sorted(starts6)}
    for (first, code), width in zip(blocks, widths, strict=True):
        if draw(st.booleans()):
            outcomes6 = {at: kind for at, kind in outcomes6.items() if not 0 < at - first < 1 << width}
            outcomes6[first] = code
            outcomes6.setdefault(first + (1 << width), draw(kinds))
    order6 = sorted(outcomes6)
    code = draw(st.sampled_from("bhi"))
    made = Partition(
        array("I", starts4),
        array(code, [draw(kinds) for _ in starts4]),
        array("Q", [start >> 64 for start in order6]),
        array("Q", [start & 2**64 - 1 for start in order6]),
        array(code, [outcomes6[start] for start in order6]),
        draw(st.integers(-1, routes - 1)),
        tuple((steering_step(at),) for at in range(routes)),
    )
    return made, starts4, order6


def steering_step(at: int) -> Any:
    from geodns.geo.partition import Step

    return Step(at)


@given(partitions(), st.data())
@many
def test_any_partition(divided: tuple[Partition, list[int], list[int]], data: st.DataObject) -> None:
    """Outcomes and scopes at the borders of any runs, and anywhere between."""
    made, starts4, starts6 = divided
    steer = steer_of_rules(len(made.routes))
    alternatives = tuple(alternative(at, pool) for at, pool in enumerate(steer.pools))
    default = plan(b"\xc0\x0c", b"default")
    choice = Choice("key", (), steer, alternatives, default, default, ".", 1, ())
    snapshot = hand_made(Plan(Outcome.HIT, FLAG_AA, Body(b"", 0, 0, 0, 1), choice), made)
    borders4 = [value for start in starts4 for value in (start - 1, start, start + 1)]
    borders6 = [value for start in starts6 for value in (start - 1, start, start + 1)]
    v4 = st.sampled_from(borders4).map(lambda value: ("1", value % 2**32, 32)) | st.integers(0, 2**32 - 1).map(
        lambda value: ("1", value, 32)
    )
    v6 = st.sampled_from(borders6).map(lambda value: ("2", value % 2**128, 128)) | st.integers(
        0, 2**128 - 1
    ).map(lambda value: ("2", value, 128))
    for family, value, width in data.draw(st.lists(v4 | v6, min_size=1, max_size=30)):
        octets = value.to_bytes(width // 8)
        option = bytes([0, int(family), width, 0]) + octets
        opt = b"\0\0\x29\x04\xd0\0\0\0\0" + (len(option) + 4).to_bytes(2) + b"\0\x08" + len(option).to_bytes(2) + option
        bare = b"\0\1\0\0\0\1\0\0\0\0\0"
        client = str(ip_address(octets))
        other = data.draw(addresses).compressed
        packet = bare + b"\1\0\0\1\0\1" + opt
        agree(snapshot, Asked(packet, other, 0, NOW, False))
        agree(snapshot, Asked(bare + b"\0\0\0\1\0\1", client, 0, NOW, False))


def steer_of_rules(count: int) -> Steer:
    """A pool of one member for each rule."""
    from geodns.table.steer import SHARE_ALL, Member, Policy, Rule, WhenAllDown, base_standing

    pools = tuple(
        Pool("", (Member("", 1, at),), Policy.ALL, 0, 0.0, 0, (), at, "") for at in range(count)
    )
    rules = tuple(Rule((at,), False, 1, SHARE_ALL, 0, "") for at in range(count))
    return Steer("key", pools, rules, WhenAllDown.DEFAULT, 60, 30, base_standing(pools))


@given(st.lists(st.tuples(st.sampled_from(range(len(SNAPSHOTS))), snapshots), min_size=2, max_size=6), st.data())
@settings(max_examples=max(50, CASES // 10), deadline=None)
def test_any_order_of_publishing(order: list[tuple[int, Snapshot]], data: st.DataObject) -> None:
    """What was copied before is used again only where it is the same."""
    for at, changed in order:
        for snapshot in (SNAPSHOTS[at], changed, replace(changed, standings={})):
            agree(snapshot, data.draw(asked(packets())))


@example(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\0\0\xff\0\1")
@given(st.binary(max_size=80))
@settings(max_examples=CASES, deadline=None)
def test_without_a_zone(packet: bytes) -> None:
    """A server that has nothing yet refuses."""
    agree(Snapshot(link([])), Asked(packet, "192.0.2.53", 0, NOW, False))
