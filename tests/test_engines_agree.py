"""The engines give the same octets for any zones, packets, places, health, draws and times.

`make test` tries 500 cases of each test, `make agree` 20,000 (AGREE_CASES). What was found to differ becomes
a golden in tests/answers, or an `@example` here.
"""

import json
import os
from array import array
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from geodns.engine import native, wire
from geodns.engine.answer import answer
from geodns.engine.cookie import cookie_for
from geodns.engine.left import Left
from geodns.engine.snapshot import Identity, Snapshot
from geodns.geo.partition import EMBEDDED, Partition, Route, Rules, Step, build
from geodns.name import Name
from geodns.table.compile import compile_zone, link, table_rules, table_steers
from geodns.table.shape import FLAG_AA, Alternative, Body, Choice, Node, Outcome, Plan, ZoneTable
from geodns.table.steer import (
    SHARE_ALL,
    TTL_UNBOUND,
    Member,
    Policy,
    Pool,
    PoolStanding,
    Rule,
    Standing,
    Steer,
    WhenAllDown,
    base_standing,
    stand,
)
from geodns.zone import load_text
from tests.conftest import COOKIE_SECRET, IDENTITY, NOW, SERIAL, Answer, make_locator, snapshot_of_golden
from tests.engine.test_decide import situations
from tests.engine.test_properties import SNAPSHOTS, packets, snapshots
from tests.goldens import ANSWERS, ask, read

pytestmark = [
    pytest.mark.skipif(bool(native.why_not()), reason=native.why_not()),
    pytest.mark.timeout(int(os.environ.get("AGREE_SECONDS", "600"))),
]

CASES = int(os.environ.get("AGREE_CASES", "500"))
PACKETS_EACH = 24  # to one snapshot, which takes longer to make than all of them to answer
ENGINE = None if native.why_not() else native.Native()

many = settings(
    max_examples=CASES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Asked:
    """What comes in beside the snapshot."""

    packet: bytes
    client: str
    draw: int
    now: int
    stream: bool


def is_for_services(packet: bytes) -> bool:
    """Whether the native sockets leave it to Python: another opcode, a transfer, the CHAOS class."""
    query = wire.read(packet)
    if query is None or query.rcode:
        return query is not None and query.rcode == wire.NOTIMP
    if query.qtype in (wire.TYPE_IXFR, wire.TYPE_AXFR):
        return bool(query.question)
    is_meta = 128 <= query.qtype < wire.TYPE_ANY or query.qtype == wire.TYPE_OPT
    return query.qclass == wire.CLASS_CH and not is_meta


def agree(snapshot: Snapshot, asked: Asked) -> bytes | None:
    """What both engines say."""
    assert ENGINE is not None
    given = (asked.packet, asked.client, snapshot, asked.draw, asked.now, asked.stream)
    left = Left()
    expected = answer(*given, None, left)
    got = ENGINE.answer(*given)
    assert expected == got, f"python {expected and expected.hex()}\nnative {got and got.hex()}\n{asked}"
    assert is_for_services(asked.packet) == ENGINE.engine.hands_over(asked.packet), asked
    behind = (b"" if left.zone is None else left.zone.apex, left.qtype, left.rcode, left.pools)
    assert (None if expected is None else behind) == ENGINE.left(*given[:-1]), asked
    return expected


# Packets: which ones, Hypothesis says; their octets come from a seed, for else it would be most of the work

CLIENTS = ["192.0.2.53", "127.3.0.1", "2001:db8::53", "::1", "10.1.2.3", "::ffff:127.4.0.1", "2002:7f05:1::1"]
TYPES = [1, 1, 1, 28, 28, 5, 15, 2, 43, 39, 255, 6, 12, 16, 33, 41, 46, 65, 128, 251, 252, 253, 0, 65535]
SPLICES = [b"\0", b"\xc0\x0c", b"\xff\xff", b"\0\0\x29", b"\x3f", b"\0\x08\0\x04\0\0\0\0"]
CHAOS = [
    b"\x02id\x06server\0",
    b"\x08hostname\x04bind\0",
    b"\x07version\x04bind\0",
    b"\x07version\x06server\0",
]
LABELS = [b"a", b"b", b"*", b"www", b"sub", b"x" * 63, b"\0", b"failed"]
seeds = st.integers(0, 2**64 - 1)
some_seeds = st.lists(seeds, min_size=PACKETS_EACH // 2, max_size=PACKETS_EACH)


def address(dice: Random) -> IPv4Address | IPv6Address:
    """One that has a place in the test database, alone or inside another; or any."""
    placed = (127 << 24) + dice.randrange(0x2A0000)
    return dice.choice(
        [
            lambda: IPv4Address(placed),
            lambda: IPv4Address(placed),
            lambda: IPv4Address(dice.getrandbits(32)),
            lambda: IPv6Address(0xFFFF << 32 | placed),
            lambda: IPv6Address(0x2002 << 112 | placed << 80 | dice.getrandbits(80)),
            lambda: IPv6Address(0x2001 << 112 | dice.getrandbits(64) << 32 | placed ^ 0xFFFFFFFF),
            lambda: IPv6Address(0x64FF9B << 96 | placed),
            lambda: IPv6Address(0x20010DB8 << 96 | dice.getrandbits(96)),
            lambda: IPv6Address(dice.getrandbits(128)),
            lambda: ip_address(dice.choice(["10.0.0.1", "0.0.0.0", "255.255.255.255", "::", "fe80::1"])),
        ]
    )()


def subnet(dice: Random) -> bytes:
    """EDNS Client Subnet, well formed."""
    found = address(dice)
    width = found.max_prefixlen
    source = dice.choice([0, width, width, 24, 56 if width == 128 else 20, dice.randint(0, width)])
    value = int(found) >> (width - source) << (width - source)
    return bytes([0, 1 if width == 32 else 2, source, 0]) + value.to_bytes(width // 8)[: (source + 7) // 8]


def time(dice: Random) -> int:
    return dice.choice([NOW, NOW, NOW - 1801, NOW + 3601, 0, 2**32 + 5, NOW + dice.randint(-400, 4000)])


def cookie(dice: Random, client: str) -> bytes:
    """The client's part, or what is good for this client or another one at some time."""
    ours = dice.randbytes(8)
    if dice.random() < 0.8:
        who = client if dice.random() < 0.7 else dice.choice(CLIENTS)
        ours = cookie_for(ours, who, (COOKIE_SECRET,), time(dice))
    return ours


def option(dice: Random, client: str) -> bytes:
    code, data = dice.choice(
        [
            lambda: (8, subnet(dice)),
            lambda: (8, subnet(dice)),
            lambda: (8, subnet(dice)),
            lambda: (10, cookie(dice, client)),
            lambda: (3, b""),
            lambda: (11, b""),
            lambda: (dice.choice([3, 8, 10, 11, 15, 65001]), dice.randbytes(dice.randrange(45))),
        ]
    )()
    return code.to_bytes(2) + len(data).to_bytes(2) + data


def name(dice: Random, known: list[bytes]) -> bytes:
    """One that is known, perhaps less its first label, perhaps with others in front, in any case."""
    base = dice.choice(known)
    if dice.random() < 0.2 and len(base) > 1:
        base = base[1 + base[0] :]
    front = b""
    for _ in range(dice.choice([0, 0, 0, 1, 1, 2, 3])):
        label = dice.choice(LABELS)
        front += bytes([len(label)]) + label
    wire = front + base if len(front + base) <= 255 else base
    return wire.upper() if dice.random() < 0.2 and b"x" * 63 not in wire else wire


def question(dice: Random, known: list[bytes], client: str) -> bytes:
    """A query that is nearly or wholly in order."""
    data = b"".join(option(dice, client) for _ in range(dice.choice([0, 1, 1, 1, 2, 3])))
    size = dice.choice([0, 512, 700, 1232, 4096])
    version = dice.random() < 0.03
    opt = b"\0\0\x29" + size.to_bytes(2) + bytes([0, version]) + dice.choice([b"\0\0", b"\x80\0"])
    extra = opt + len(data).to_bytes(2) + data if dice.random() < 0.85 else b""
    flags = dice.choice([b"\x01\0"] * 12 + [b"\0\0", b"\x29\0", b"\x79\xff", b"\x81\0"])
    rclass = dice.choice([b"\0\1"] * 16 + [b"\0\3", b"\0\xff"])
    counts = b"\0\1\0\0\0\0\0" + bytes([bool(extra)])
    asked = name(dice, known) + dice.choice(TYPES).to_bytes(2) + rclass
    if dice.random() < 0.02:
        asked = dice.choice(CHAOS) + dice.choice([b"\0\x10", b"\0\xff", b"\0\1"]) + b"\0\3"
    return dice.randbytes(2) + flags + counts + asked + extra


def damaged(dice: Random, packet: bytes) -> bytes:
    """Some octets changed, cut out, doubled or put in; most packets stay as they are."""
    octets = bytearray(packet)
    for _ in range(dice.choice([0, 0, 0, 1, 2, 3])):
        at = dice.randrange(len(octets) + 1)
        dice.choice(
            [
                lambda at=at: octets.__setitem__(slice(at, at + 1), dice.randbytes(dice.randint(1, 2))),
                lambda at=at: octets.__delitem__(slice(at, at + dice.randint(1, 6))),
                lambda at=at: octets.__setitem__(slice(at, at), octets[at : at + dice.randint(1, 24)]),
                lambda at=at: octets.__delitem__(slice(at, None)),
                lambda at=at: octets.__setitem__(slice(at, at), dice.choice(SPLICES)),
            ]
        )()
    return bytes(octets)


def asked(seed: int, known: list[bytes], packet: bytes | None = None) -> Asked:
    """A question about names that are known, or this packet; damaged, from anywhere, at any time."""
    dice = Random(seed)
    client = dice.choice(CLIENTS) if dice.random() < 0.5 else str(address(dice))
    given = question(dice, known, client) if packet is None else packet
    return Asked(damaged(dice, given), client, dice.getrandbits(32), time(dice), dice.random() < 0.3)


# Zones: which names of which kinds, Hypothesis says; the details come from a seed

OWNERS = [b.decode() for b in LABELS if b not in (b"\0", b"failed")] + ["app", "old"]
PLACES = ["EU", "NA", "NA-US", "AS", "EU-DE", "AF", "OC", "SA"]


def owner(dice: Random) -> str:
    return ".".join(dice.choice(OWNERS) for _ in range(dice.choice([1, 1, 1, 2, 2, 3])))


def target(dice: Random) -> str:
    named = ["example.com.", "www.example.com.", "app.example.com.", "a.example.com.", "host.example.net."]
    return dice.choice(
        [*named, f"{owner(dice).replace('*', 'star')}.example.com.", "y." * 110 + "example.net."]
    )


DATA: dict[str, Callable[[Random], str]] = {
    "A": lambda dice: f"203.0.113.{dice.randint(1, 250)}",
    "AAAA": lambda dice: f"2001:db8::{dice.randint(1, 99)}",
    "TXT": lambda dice: "text" * dice.randint(1, 60),
    "MX": lambda dice: f"10 {target(dice)}",
    "SRV": lambda dice: f"1 2 3 {target(dice)}",
    "HTTPS": lambda dice: f"{dice.randint(1, 9)} . alpn=h2",
    "NS": target,
    "CNAME": target,
    "DNAME": target,
}


def values(dice: Random, rtype: str, most: int) -> list[str]:
    return sorted({DATA[rtype](dice) for _ in range(dice.randint(1, most))})


def plain(dice: Random, rtype: str) -> dict[str, Any]:
    most = dice.choice([1, 3, 3, 90 if rtype in ("A", "AAAA") else 12])
    made = {"type": rtype, "values": values(dice, rtype, most)}
    return made | ({"ttl": dice.choice([0, 5, 60, 2**31 - 1])} if dice.random() < 0.5 else {})


def some(dice: Random, **settings: list[Any]) -> dict[str, Any]:
    """Each of these settings or not."""
    return {key: dice.choice(given) for key, given in settings.items() if dice.random() < 0.5}


def steered(dice: Random, rtype: str) -> dict[str, Any]:
    """A record with pools and rules of all kinds."""
    is_single = rtype in ("CNAME", "DNAME")
    names = ["fra", "iad", "nrt", "gru"][: dice.randint(1, 4)]
    pools: dict[str, dict[str, Any]] = {}
    for at, name in enumerate(names):
        several: list[Any] = names[at + 1 :]
        given: list[Any] = values(dice, rtype, dice.choice([1, 3, 6]))
        weighted = [
            {"value": value, "weight": dice.randint(1, 3)} | some(dice, status=["up", "down", "obey", "obey"])
            for value in given
        ]
        pools[name] = {
            "values": dice.choice([given, weighted]),
            "policy": dice.choice(["weighted", "hash"] if is_single else ["weighted", "hash", "all"]),
            "location": dice.choice(["EU-DE", "NA", "AS-JP", {"lat": 1.5, "lon": -2}]),
            "slow_start": dice.choice([0, 100, 300]),
        } | some(
            dice, min_up=[0, 0.25, 1] if len(given) > 1 else [0], answers=[1] if is_single else [1, 2, 3]
        )
        if several and dice.random() < 0.7:
            dice.shuffle(several)
            fallbacks = [{"pool": pool, "weight": dice.randint(1, 3)} for pool in several]
            pools[name]["fallback"] = fallbacks[: dice.randint(1, 3)]
    rules = [rule(dice, names, is_single) | what for what in whom(dice)]
    record = {"type": rtype, "value": DATA[rtype](dice), "dynamic": {"pools": pools, "rules": rules}}
    when = ["default", "all", "nodata"]
    return record | {"ttl": dice.choice([60, 60, 7])} | some(dice, ttl_min=[1, 5], when_all_down=when)


def rule(dice: Random, names: list[str], is_single: bool) -> dict[str, Any]:
    pools = dice.sample(names, dice.randint(1, len(names)))
    if dice.random() < 0.4 and len(pools) > 1:
        return {"pools": pools, "nearest": True, "answers": 1 if is_single else dice.randint(1, 3)}
    return {"pools": pools}


def whom(dice: Random) -> list[dict[str, Any]]:
    """Who the rules are for, the last for everybody."""
    found: list[dict[str, Any]] = [{"geos": [place]} for place in dice.sample(PLACES, dice.randint(0, 4))]
    if dice.random() < 0.3:
        found.insert(0, {"subnets": ["10.0.0.0/8", "2001:db8:99::/48"]})
    if dice.random() < 0.4:
        found.append({"share": dice.choice(["10%", 0.5])})
    return [*found, {}]


def made(kind: str, seed: int) -> list[dict[str, Any]]:
    """The records of one name."""
    dice = Random(seed)
    match kind:
        case "plain":
            kinds = dice.sample(["A", "AAAA", "TXT", "MX", "SRV", "HTTPS"], dice.randint(1, 3))
            return [plain(dice, rtype) for rtype in kinds]
        case "alias":
            return [{"type": dice.choice(["CNAME", "CNAME", "ALIAS"]), "value": target(dice)}]
        case "cut":
            ds = [{"type": "DS", "value": "12345 13 2 " + "ab" * 32}] * (dice.random() < 0.5)
            return [{"type": "NS", "values": ["ns.example.net."]}, *ds]
        case "dname":
            here = {"type": "DNAME", "value": target(dice)} if dice.random() < 0.6 else steered(dice, "DNAME")
            return [here, *([plain(dice, "A")] if dice.random() < 0.3 else [])]
        case _:
            rtype = dice.choice(["A", "A", "A", "AAAA", "CNAME", "MX", "TXT", "HTTPS"])
            return [steered(dice, rtype)]


KINDS = st.sampled_from(["plain", "alias", "steered", "steered", "cut", "dname"])


@st.composite
def zone_files(draw: st.DrawFn) -> dict[str, Any]:
    """What may stand in a zone file: all kinds of names beside each other."""
    zone: dict[str, Any] = {
        "$zone": {"ttl": 300, "soa": {"minimum": draw(st.sampled_from([0, 30, 900]))}},
        "": [{"type": "NS", "values": ["ns1.example.net.", "ns2.example.net."]}],
    }
    if draw(st.booleans()):
        zone[""] += made("plain", draw(seeds))
    for kind, seed in draw(st.lists(st.tuples(KINDS, seeds), min_size=1, max_size=8)):
        where = owner(Random(seed))
        zone[where] = made(kind, seed)
        if kind == "cut":
            zone |= glued(Random(seed), where, zone[where])
    return zone


def glued(dice: Random, cut: str, records: list[dict[str, Any]]) -> dict[str, Any]:
    """The cut with name servers of its own, and their addresses."""
    servers = [f"ns{at}" for at in range(dice.choice([0, 1, 3, 12]))]
    names = [f"{server}.{cut}.example.com." for server in servers]
    delegation = records[0] | {"values": [*records[0]["values"], *names]}
    glue = {f"{server}.{cut}": [plain(dice, "A"), plain(dice, "AAAA")] for server in servers}
    return {cut: [delegation, *records[1:]]} | glue


def written(zone: dict[str, Any]) -> bytes:
    """The zone as YAML, a line for each name, since a problem is told with its line."""
    lines = [f"{json.dumps(owner)}: {json.dumps(records)}\n" for owner, records in zone.items()]
    return "".join(lines).encode()


def loaded(name: str, zone: dict[str, Any]) -> ZoneTable | None:
    """The zone's table, less the names whose records make an error."""
    for _ in range(4):
        checked, problems = load_text(written(zone), Name.parse(name), "z.yaml", SERIAL)
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
    standing = {key: draw(standings(steer)) for key, steer in steers.items() if draw(st.integers(0, 2))}
    snapshot = Snapshot(
        table,
        {key: partition(rules) for key, rules in table_rules(table).items()},
        draw(st.sampled_from([IDENTITY, Identity(), replace(IDENTITY, server_id=b"i" * 255)])),
        draw(st.sampled_from([1232, 512, 4096])),
        draw(st.sampled_from([(COOKIE_SECRET,), (bytes(16), COOKIE_SECRET), ()])),
        draw(st.sampled_from([100, 0, 65535])),
        standing,
    )
    # What is steered, and who the server is, are asked for more often than the rest.
    known = [Name.parse(key.split()[0]).key for key in steers] * 3
    known += [*CHAOS, *table.nodes, *table.failed]
    names = [key.removeprefix(b"\x01*") for key in sorted(known)]
    return Situation(snapshot, [asked(seed, names) for seed in draw(some_seeds)])


# The tests


@given(situations_of_zones())
@many
def test_any_zones(situation: Situation) -> None:
    """Of whatever zones there are, in whatever health, both engines tell every client the same."""
    for each in situation.asked:
        agree(situation.snapshot, each)


@given(packets() | st.binary(max_size=120), some_seeds, snapshots)
@many
def test_any_packets(packet: bytes, seeds: list[int], snapshot: Snapshot) -> None:
    """To the zones of the goldens, packets that are in order, nearly so, or garbage."""
    names = sorted(snapshot.table.nodes)
    agree(snapshot, Asked(packet, "192.0.2.53", 0, NOW, False))
    for seed in seeds:
        agree(snapshot, asked(seed, names, packet))
        agree(snapshot, asked(seed, names))


@pytest.mark.parametrize("file", sorted(path.name for path in ANSWERS.glob("*.md")))
def test_every_beginning_of_every_golden(file: str) -> None:
    """The questions of the goldens, cut off at every octet, and with every octet changed."""
    snapshot = snapshot_of_golden(file)
    for case in read(ANSWERS / file).cases[:12]:
        question = ask(case.question)
        packet = question.packet
        for at in range(len(packet) + 1):
            changed = (
                packet[:at] + bytes([packet[at] ^ 0x81]) + packet[at + 1 :] if at < len(packet) else packet
            )
            for variant in (packet[:at], changed):
                agree(snapshot, Asked(variant, question.client, question.draw, NOW, question.stream))


@given(situations(), some_seeds)
@many
def test_any_decision(situation: tuple[Steer, Standing, Route], seeds: list[int]) -> None:
    """Also what no zone check lets pass: fallbacks in a circle, pools without members."""
    steer, standing, route = situation
    snapshot = choice_of(steer, partition_of(route))
    looked = replace(snapshot, standings={steer.key: standing})
    for seed in seeds:
        agree(looked, asked(seed, [b"\0"]))
    agree(snapshot, asked(seeds[0], [b"\0"]))  # as long as nothing was looked at


def alternative(at: int, pool: Pool) -> Alternative:
    """Plans that tell pools and members apart, some of them with equal records."""
    plans = tuple(plan(b"\xc0\x0c", bytes([at, member // 2])) for member in range(len(pool.members)))
    return Alternative(plans, tuple(each.body for each in plans), plan(b"\xc0\x0c", bytes([at, 255])))


def plan(owner: bytes, data: bytes) -> Plan:
    """One record, whose TTL health may lower."""
    octets = owner + b"\0\1\0\1\0\0\0\x3c" + len(data).to_bytes(2) + data
    return Plan(Outcome.HIT, FLAG_AA, Body(octets, 1, 0, 0, 1, owners=(0,), ttls=(6,)))


def choice_of(steer: Steer, partition: Partition) -> Snapshot:
    """A root zone whose apex answers everything with a choice."""
    alternatives = tuple(alternative(at, pool) for at, pool in enumerate(steer.pools))
    nothing = Body(b"", 0, 0, 0, 1)
    nodata = Plan(Outcome.NODATA, FLAG_AA, nothing)
    choice = Choice("key", (), steer, alternatives, plan(b"\xc0\x0c", b"default"), nodata, ".", 1, ())
    chosen = Plan(Outcome.HIT, FLAG_AA, nothing, choice)
    root = ZoneTable(b"\0", "", 1, chosen, {}, 1)
    root.nodes[b"\0"] = Node({}, chosen, None, root)
    return Snapshot(link([root]), {choice.key: partition}, cookie_secrets=(COOKIE_SECRET,))


def partition_of(route: Route) -> Partition:
    """Everybody goes this way."""
    outcome = 0 if route else -1
    outcomes = array("b", [outcome])
    highs = array("Q", [0])
    return Partition(array("I", [0]), outcomes, highs, highs, outcomes, outcome, (route,) if route else ())


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
    dice = Random(draw(seeds))

    def kind() -> int:
        return dice.randint(-2, routes - 1)

    outcomes6 = {start: kind() for start in sorted(starts6)}
    for (first, code), width in zip(blocks, widths, strict=True):
        if draw(st.booleans()):
            outcomes6 = {at: found for at, found in outcomes6.items() if not 0 < at - first < 1 << width}
            outcomes6[first] = code
            outcomes6.setdefault(first + (1 << width), kind())
    order6 = sorted(outcomes6)
    code = draw(st.sampled_from("bhi"))
    made = Partition(
        array("I", starts4),
        array(code, [kind() for _ in starts4]),
        array("Q", [start >> 64 for start in order6]),
        array("Q", [start & 2**64 - 1 for start in order6]),
        array(code, [outcomes6[start] for start in order6]),
        draw(st.integers(-1, routes - 1)),
        tuple((Step(at),) for at in range(routes)),
    )
    return made, starts4, order6


@given(partitions(), seeds)
@many
def test_any_partition(divided: tuple[Partition, list[int], list[int]], seed: int) -> None:
    """Outcomes and scopes at the borders of any runs, and anywhere between."""
    made, starts4, starts6 = divided
    snapshot = choice_of(steer_of_rules(len(made.routes)), made)
    dice = Random(seed)
    for _ in range(dice.randint(1, 30)):
        family, width, starts = dice.choice([(1, 32, starts4), (2, 128, starts6)])
        beside = dice.choice(starts) + dice.choice([-1, 0, 1])
        value = dice.choice([beside % 2**width, dice.getrandbits(width)])
        octets = value.to_bytes(width // 8)
        option = bytes([0, family, width, 0]) + octets
        opt = (
            b"\0\0\x29\x04\xd0\0\0\0\0"
            + (len(option) + 4).to_bytes(2)
            + b"\0\x08"
            + len(option).to_bytes(2)
            + option
        )
        bare = b"\0\1\0\0\0\1\0\0\0\0\0"
        client = str(ip_address(octets))
        other = str(address(dice))
        packet = bare + b"\1\0\0\1\0\1" + opt
        agree(snapshot, Asked(packet, other, 0, NOW, False))
        agree(snapshot, Asked(bare + b"\0\0\0\1\0\1", client, 0, NOW, False))


def steer_of_rules(count: int) -> Steer:
    """A pool of one member for each rule."""
    pools = tuple(Pool("", (Member("", 1, at),), Policy.ALL, 0, 0.0, 0, (), at, "") for at in range(count))
    rules = tuple(Rule((at,), False, 1, SHARE_ALL, 0, "") for at in range(count))
    return Steer("key", pools, rules, WhenAllDown.DEFAULT, 60, 30, base_standing(pools))


@given(
    st.lists(st.tuples(st.sampled_from(range(len(SNAPSHOTS))), snapshots), min_size=2, max_size=6), st.data()
)
@settings(max_examples=max(50, CASES // 10), deadline=None)
def test_any_order_of_publishing(order: list[tuple[int, Snapshot]], data: st.DataObject) -> None:
    """What was copied before is used again only where it is the same."""
    for at, changed in order:
        for snapshot in (SNAPSHOTS[at], changed, replace(changed, standings={})):
            agree(snapshot, asked(data.draw(seeds), sorted(snapshot.table.nodes)))


def test_a_clock_that_was_set_back(answer: Answer) -> None:
    """Found here: a value that came up in the future, in a pool without slow start, answers as always."""
    steer = steer_of_rules(1)
    chosen = choice_of(steer, partition_of((Step(0),)))
    ahead = Standing((PoolStanding((0,), True, ((0, NOW + 5),)),))
    packet = b"\0\1\0\0\0\1\0\0\0\0\0\0\0\0\1\0\1"
    snapshot = replace(chosen, standings={steer.key: ahead})
    assert answer(packet, "192.0.2.53", chosen, 0, NOW) == answer(packet, "192.0.2.53", snapshot, 0, NOW)


def test_a_long_id_leaves_no_room(answer: Answer) -> None:
    """Found here: a refusal whose NSID and name are more than the client takes has TC, and is no error."""
    name = (b"\x3f" + b"n" * 63) * 3 + b"\x3d" + b"n" * 61 + b"\0"
    opt = b"\0\0\x29\x02\0\0\0\0\0\0\x04\0\x03\0\0"
    packet = b"\0\1\0\0\0\1\0\0\0\0\0\1" + name + b"\0\1\0\1" + opt
    snapshot = Snapshot(link([]), identity=Identity(b"i" * 255))
    wire = answer(packet, "192.0.2.53", snapshot, 0, NOW)
    assert wire is not None
    assert b"\x82\x05" == wire[2:4]  # QR and TC; REFUSED


@example(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\0\0\xff\0\1")
@given(st.binary(max_size=80))
@settings(max_examples=CASES, deadline=None)
def test_without_a_zone(packet: bytes) -> None:
    """A server that has nothing yet refuses."""
    agree(Snapshot(link([])), Asked(packet, "192.0.2.53", 0, NOW, False))
