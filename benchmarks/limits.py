#!/usr/bin/env python3
"""What limits and observing cost: CPU time for a query with them, beside a server without.

    two servers, one of them with it --loaded in turn, pair by pair--> the median of the pairs' ratios

usage: limits.py                      both engines, ten minutes; on a machine that has nothing else to do
       limits.py --engine native --only querylog --rounds 15

The queries are the static ones of zone.py, all from 127.0.0.1, which is one network.
"""

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import zone
from drive import load
from extras import wait_for
from peers.servers import SERVERS, Job, Running, free_port
from run import cores, machine, say

HERE = Path(__file__).resolve().parent
ROUNDS = 9
SECONDS = 2.0  # of each half of a round
PACED = {"native": 40_000, "python": 5_000}  # queries a second: below the limit, and below what each can do
LIMIT_MAX = 50_000  # the largest of rrl.responses_per_second
TRUNCATED = {"within": (0.0, 0.0), "flood": (0.95, 1.0)}  # of the answers: whether it measured what it says


@dataclass(frozen=True)
class With:
    """Something that a server may do: its config, and whether queries come at a pace."""

    name: str
    config: Callable[[], str]
    is_paced: bool = False


KINDS = (
    With("rrl within", lambda: f"rrl: {{responses_per_second: {LIMIT_MAX}}}\n", is_paced=True),
    With("rrl flood", lambda: "rrl: {responses_per_second: 1}\n"),
    With("endpoint", lambda: f"control: {{listen: '127.0.0.1:{free_port()}'}}\n"),
    With("querylog 1/1000", lambda: "querylog: {file: queries.log, sample: 0.001}\n"),
    With("querylog 1/10", lambda: "querylog: {file: queries.log, sample: 0.1}\n"),
    With("dnstap", lambda: "dnstap: {file: queries.fstrm}\n"),
)


def start(engine: str, config: str, folder: Path, data: Path, options: argparse.Namespace) -> Running:
    server = next(server for server in SERVERS if server.name == f"geodns ({engine})")
    prepare = server.prepare
    folder.mkdir()
    (folder / "limits.yaml").write_text(config)
    server = replace(server, prepare=lambda job: [*prepare(job), "--config", str(folder / "limits.yaml")])
    running = server.start(Job(folder, free_port(), data, options.geo_db), options.cores[0])
    try:
        wait_for(running, "ready: ")
    except RuntimeError:
        running.stop()
        raise
    return running


def measure(engine: str, kind: With, folder: Path, data: Path, options: argparse.Namespace) -> str:
    """A row: CPU time for a query without and with it, and the ratio."""
    more = ("--rate", str(PACED[engine])) if kind.is_paced else ()
    pairs: list[tuple[float, float]] = []
    servers: dict[str, Running] = {}
    try:
        for name, config in (("without", ""), ("with", kind.config())):
            servers[name] = start(engine, config, folder / name, data, options)
        for number in range(-1, options.rounds):  # the round -1 warms caches and is not counted
            runs = {}
            for name in sorted(servers, reverse=bool(number % 2)):
                runs[name] = load(servers[name], "static", options.seconds, options.cores[1], *more)
            check(kind, runs["with"])
            if number >= 0:
                pairs.append((runs["without"]["cpu_us_per_query"], runs["with"]["cpu_us_per_query"]))
    finally:
        for running in servers.values():
            running.stop()
    ratios = sorted(one / other for other, one in pairs)
    without_it, with_it = (statistics.median(column) for column in zip(*pairs, strict=True))
    say(f"{engine}, {kind.name}: {' '.join(f'{each:.3f}' for each in ratios)}")
    return (
        f"| {engine} | {kind.name} | {without_it:.2f} | {with_it:.2f} | {statistics.median(ratios):.3f} | "
        f"{ratios[0]:.3f}–{ratios[-1]:.3f} |"
    )


def check(kind: With, run: dict) -> None:
    """Raises RuntimeError if queries within the limit were limited, or those of a flood were not."""
    least, most = TRUNCATED.get(kind.name.removeprefix("rrl "), (0.0, 0.0))
    share = run["truncated"] / run["answered"]
    if not least <= share <= most:
        raise RuntimeError(f"{kind.name}: {share:.0%} of the answers were truncated")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", choices=list(PACED), help="this one alone")
    parser.add_argument("--only", default="", help="what begins with this")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--geo-db", type=Path, default=HERE.parent / "geo-db" / "city-lite.mmdb")
    options = parser.parse_args()
    options.geo_db = options.geo_db.resolve()
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="geodns-limits-") as name, cores() as options.cores:
        zone.build(Path(name) / "data", zone.RECORDS, options.geo_db)
        print(f"{machine()}; load average {before:.1f} before; {options.rounds} pairs of rounds\n")
        print("| engine | with | µs without | µs with | ratio | spread |\n|---|---|--:|--:|--:|--:|")
        for engine in [options.engine] if options.engine else PACED:
            for number, kind in enumerate(kind for kind in KINDS if kind.name.startswith(options.only)):
                folder = Path(name) / f"{engine}{number}"
                folder.mkdir()
                print(measure(engine, kind, folder, Path(name) / "data", options), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
