#!/usr/bin/env python3
"""Time an engine alone: no socket, no other process.

    zone.py's files --> Snapshot --> answer() on prepared packets, several times over --> microseconds a call
                           |
    what is up ------------+ the same questions with every value checked, and with some of them down

usage: engine.py --engine native   of the native engine
       engine.py                   of the Python engine: a table of the kinds of answer, median and least
       engine.py --functions geo   where the time of one kind goes (cProfile, which itself costs a good part)
"""

import argparse
import cProfile
import json
import pstats
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import zone

from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.table.compile import table_steers
from geodns.table.steer import TTL_UNBOUND, Pool, PoolStanding, Standing, stand

HERE = Path(__file__).resolve().parent
PACKETS = 5000  # of each kind, drawn with a fixed seed
REPEATS = 9
CLIENT = "127.0.0.1"
CHILD = """\
'': {type: NS, values: [ns1.parent.example., ns2.parent.example.]}
ns1: {type: A, value: 44.255.1.1}
ns2: {type: A, value: 44.255.1.2}
child: {type: NS, values: [ns1.child.parent.example., ns2.child.parent.example.]}
ns1.child: {type: A, value: 44.255.2.1}
ns2.child: {type: A, value: 44.255.2.2}
"*.wild": {type: A, value: 44.255.3.1}
four: &four
  type: A
  ttl: 60
  value: 44.255.4.1
  dynamic:
    pools: {web: {values: [44.255.4.1, 44.255.4.2, 44.255.4.3, 44.255.4.4]}}
    rules: [{pool: web}]
weighted:
  <<: *four
  dynamic:
    pools: {web: {values: [{value: 44.255.4.1, weight: 3}, 44.255.4.2, 44.255.4.3, 44.255.4.4]}}
    rules: [{pool: web}]
hash:
  <<: *four
  dynamic:
    pools: {web: {values: [44.255.4.1, 44.255.4.2, 44.255.4.3, 44.255.4.4], policy: hash}}
    rules: [{pool: web}]
"""
CHECKED_SECONDS = 30  # fall * interval of a value that is up: half of the TTL


def snapshot_of(zones: Path, geo_db: Path) -> Snapshot:
    """The same steps as the loader's, in this process."""
    from geodns.geo.locator import Locator
    from geodns.geo.partition import build
    from geodns.table.compile import compile_zone, link, table_rules
    from geodns.zone import load

    tables = []
    for path in sorted(zones.glob("*.yaml")):
        checked, problems = load(path)
        if checked is None:
            raise SystemExit("\n".join(map(str, problems)))
        tables.append(compile_zone(checked))
    table = link(tables)
    locator = Locator.open([str(geo_db)])
    return Snapshot(table, {key: build(rules, locator) for key, rules in table_rules(table).items()})


def with_health(snapshot: Snapshot, stand_of: Callable[[Pool], PoolStanding]) -> Snapshot:
    standings = {
        key: Standing(tuple(stand_of(pool) for pool in steer.pools))
        for key, steer in table_steers(snapshot.table).items()
    }
    return replace(snapshot, standings=standings)


def all_up(pool: Pool) -> PoolStanding:
    return stand(pool, (True,) * len(pool.members), (), CHECKED_SECONDS)


def first_down(pool: Pool) -> PoolStanding:
    return stand(pool, tuple(at > 0 for at in range(len(pool.members))), (), CHECKED_SECONDS)


def forced_down(pool: Pool) -> PoolStanding:
    return stand(pool, tuple(at > 0 for at in range(len(pool.members))), (), TTL_UNBOUND)


def packets(data: Path, kind: str) -> list[bytes]:
    expected = json.loads((data / "expected.json").read_text())
    apex = expected["apex"]
    dice = random.Random(kind)

    def one() -> tuple[str, str, str | None]:
        if kind.startswith("static"):
            name, kind_of_record, _ = dice.choice(expected["static"])
            return name, kind_of_record, None
        if kind == "geo":
            name = f"g{dice.randrange(len(expected['geo'])):03d}.{apex}"
            return name, "A", dice.choice(expected["networks"])[0]
        if kind in ("four", "weighted", "hash"):
            return f"{kind}.parent.example", "A", dice.choice(expected["networks"])[0]
        if kind == "geo by asker":
            return f"g{dice.randrange(len(expected['geo'])):03d}.{apex}", "A", None
        label = f"{dice.randrange(1 << 48):012x}"
        parent = {"nxdomain": apex, "referral": "child.parent.example", "wildcard": "wild.parent.example"}
        return f"{label}.{parent.get(kind, 'elsewhere.example')}", "A", None

    return [query(*one(), edns=kind != "static without EDNS") for _ in range(PACKETS)]


def query(name: str, kind: str, subnet: str | None, edns: bool = True) -> bytes:
    options = []
    if subnet is not None:
        address, prefix = subnet.split("/")
        options = [dns.edns.ECSOption(address, int(prefix))]
    message = dns.message.make_query(
        name, kind, use_edns=0 if edns else -1, payload=1232, options=options or None
    )
    message.flags &= ~dns.flags.RD
    return message.to_wire()


def run(wires: list[bytes], snapshot: Snapshot) -> None:
    for wire in wires:
        answer(wire, CLIENT, snapshot, 0x12345678, 1_700_000_000)


def microseconds(engine: str, wires: list[bytes], snapshot: Snapshot) -> list[float]:
    """A number for each repeat: microseconds per call."""
    if engine == "native":
        from geodns._native import Engine

        native = Engine()
        native.publish(snapshot)
        return [each / len(wires) * 1e6 for each in native.time(wires, CLIENT, 1_700_000_000, REPEATS)]
    numbers = []
    for _ in range(REPEATS):
        start = time.process_time()
        run(wires, snapshot)
        numbers.append((time.process_time() - start) / len(wires) * 1e6)
    return numbers


KINDS = (
    "static",
    "static without EDNS",
    "geo",
    "geo by asker",
    "nxdomain",
    "referral",
    "wildcard",
    "refused",
    "four",
    "weighted",
    "hash",
)
STEERED = ("geo", "four", "weighted", "hash")
HEALTH = {
    "all up, checked": all_up,
    "the first down": first_down,
    "the first down by force": forced_down,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--geo-db", type=Path, default=HERE.parent / "geo-db" / "city-lite.mmdb")
    parser.add_argument("--engine", choices=["python", "native"], default="python")
    parser.add_argument("--functions", choices=KINDS, help="profile this kind instead")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="geodns-engine-") as name:
        data = Path(name)
        zone.build(data, zone.RECORDS, options.geo_db)
        (data / "zones" / "parent.example.yaml").write_text(CHILD)
        start = time.process_time()
        snapshot = snapshot_of(data / "zones", options.geo_db)
        print(f"loaded in {time.process_time() - start:.2f} s of CPU\n")
        if options.functions:
            profiled(packets(data, options.functions), snapshot)
            return 0
        print("| answer | median, µs | least, µs |\n|---|--:|--:|")
        for kind in KINDS:
            numbers = microseconds(options.engine, packets(data, kind), snapshot)
            print(f"| {kind} | {statistics.median(numbers):.2f} | {min(numbers):.2f} |")
        for kind in STEERED:
            for health, stand_of in HEALTH.items():
                numbers = microseconds(options.engine, packets(data, kind), with_health(snapshot, stand_of))
                print(f"| {kind}, {health} | {statistics.median(numbers):.2f} | {min(numbers):.2f} |")
    return 0


def profiled(wires: list[bytes], snapshot: Snapshot) -> None:
    profile = cProfile.Profile()
    profile.enable()
    run(wires, snapshot)
    profile.disable()
    pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    sys.exit(main())
