#!/usr/bin/env python3
"""Measure geodns beside its peers, in one run, on loopback.

    zone.py's files --> servers started --> answers checked --> rounds x servers x workloads --> medians
                                                            --> half the peak load --> latency

usage: run.py                  everything, and RESULTS.md written
       run.py --only geodns,named --workloads static --rounds 1 --print
       run.py --load-only      time to ready and memory with 100,000 records
"""

import argparse
import ipaddress
import os
import platform
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import zone
from chart import draw
from drive import GENERATOR, cpu_seconds, load, memory
from extras import Extras, measure_extras
from peers.servers import ALL, SERVERS, Job, Running, Server, free_port

HERE = Path(__file__).resolve().parent
ROUNDS = 11  # many, as a busy moment of the machine makes a round worth little
SECONDS = 1.0  # per server, workload and round; at 10 ms steps of CPU time an error of 1 %
READY_SECONDS = 60.0
CHECKED = 150  # answers checked per server and workload before anything is measured
LOAD_RECORDS = 100_000
LOAD_ROUNDS = 3
STRIDE = 3  # servers by which the order is moved from round to round
AT_KNOTS = ", at Knot's load"
PACED = ("static", "geo")  # workloads whose latency is measured at half of the server's own peak
ENGINE_SHARE_MAX = 1.10  # of the native engine, in reflectors: what it may cost above what the kernel does
TOYS = ("reflector", "reflector (python)", "dnslib, naive")  # not in the chart, which they would dwarf
RATIOS = ("reflector (batches)", "gdnsd", "knot", "named", "pdns geo")


@dataclass
class Measured:
    """One server's runs, by workload, or why there are none."""

    server: Server
    version: str
    runs: dict[str, list[dict]] = field(default_factory=dict)
    paced: dict[str, list[dict]] = field(default_factory=dict)
    trouble: str = ""

    def cpu(self, workload: str) -> list[float]:
        """Microseconds of CPU per answered query, a number a round; empty when it was not measured."""
        return [
            run["cpu_us_per_query"]
            for run in self.runs.get(workload, ())
            if run["cpu_us_per_query"] is not None
        ]

    def median(self, workload: str) -> float | None:
        cpu = self.cpu(workload)
        return statistics.median(cpu) if cpu else None

    def peak(self, workload: str) -> float:
        """Queries a second, as many as it answers."""
        return statistics.median(run["qps"] for run in self.runs[workload])

    def latency(self, workload: str, share: str) -> float | None:
        """Microseconds at half the peak load."""
        runs = self.paced.get(workload)
        return statistics.median(run["latency_us"][share] for run in runs) if runs else None


# Answers


def ask(
    port: int, name: str, kind: str, subnet: str | None = None, is_tcp: bool = False
) -> dns.message.Message:
    options = []
    if subnet is not None:
        network = ipaddress.ip_network(subnet)
        options = [dns.edns.ECSOption(str(network.network_address), network.prefixlen)]
    query = dns.message.make_query(name, kind, use_edns=0, options=options, payload=1232)
    query.flags &= ~dns.flags.RD
    return (dns.query.tcp if is_tcp else dns.query.udp)(query, "127.0.0.1", port=port, timeout=2)


def answer_of(message: dns.message.Message) -> tuple[str, list[str]]:
    """The rcode's word and the answer section as sorted "name type value", lower case."""
    found = [
        f"{rrset.name} {dns.rdatatype.to_text(rrset.rdtype)} {rdata}".lower()
        for rrset in message.answer
        for rdata in rrset
    ]
    return dns.rcode.to_text(message.rcode()), sorted(found)


def samples(expected: dict, workload: str) -> Iterator[tuple[str, str, str | None, tuple[str, list[str]]]]:
    """Questions (name, type, subnet) and the right answers, drawn from a fixed seed."""
    dice = random.Random(workload)
    for _ in range(CHECKED):
        if workload in ("static", "tcp"):
            name, kind, value = dice.choice(expected["static"])
            yield name, kind, None, ("NOERROR", [f"{name}. {kind} {value}".lower()])
        elif workload == "geo" or (workload == "mixed" and dice.random() < 0.5):
            index = dice.randrange(len(expected["geo"]))
            subnet, code = dice.choice(expected["networks"])
            name = f"g{index:03d}.{expected['apex']}"
            yield name, "A", subnet, ("NOERROR", [f"{name}. a {expected['geo'][index][code]}"])
        else:
            yield f"{dice.randrange(1 << 48):012x}.{expected['apex']}", "A", None, ("NXDOMAIN", [])


def check(running: Running, workload: str) -> str:
    """What is wrong with this server's answers; empty when nothing is."""
    expected = running.job.expected
    for name, kind, subnet, right in samples(expected, workload):
        try:
            message = ask(running.job.port, name, kind, subnet, workload == "tcp")
        except (dns.exception.DNSException, OSError) as error:
            return f"{workload}: {name} {kind}: {error!r}"
        if (found := answer_of(message)) != right:
            return f"{workload}: {name} {kind} from {subnet}: {found} instead of {right}"
        if right[0] == "NXDOMAIN" and not any(
            rrset.rdtype == dns.rdatatype.SOA for rrset in message.authority
        ):
            return f"{workload}: {name}: no SOA in the authority section"
        if subnet is not None and not any(
            isinstance(option, dns.edns.ECSOption) for option in message.options
        ):
            return f"{workload}: {name} {kind}: no Client Subnet option in the answer"
    return ""


def wait_ready(running: Running, seconds: float) -> float | None:
    """Seconds until the last static record is answered rightly; None if the server ended or time ran out."""
    start = time.monotonic()
    name, kind, value = [entry for entry in running.job.expected["static"] if entry[1] == "A"][-1]
    while time.monotonic() - start < seconds:
        if running.process.poll() is not None:
            return None
        try:
            query = dns.message.make_query(name, kind)
            reply = dns.query.udp(query, "127.0.0.1", port=running.job.port, timeout=0.05)
            if not running.server.is_checked or f"{name}. {kind} {value}".lower() in answer_of(reply)[1]:
                return time.monotonic() - start
        except (dns.exception.DNSException, OSError):
            time.sleep(0.005)
    return None


# Load


@contextmanager
def cores() -> Iterator[tuple[int | None, int | None]]:
    """The server's core and the generator's; None where there is only one for both."""
    available = sorted(os.sched_getaffinity(0))
    yield (available[0], available[1]) if len(available) > 1 else (None, None)


def paces(result: Measured, results: list[Measured]) -> Iterator[tuple[str, str, float]]:
    """(workload, what its row is called, queries a second) of the latencies that are measured of a server:
    at half of its own peak; of the native engine also at half of Knot's, which is another load.
    """
    if not result.server.is_checked or result.server.program == sys.executable:
        return
    knot = next((other for other in results if other.server.name == "knot"), None)
    for workload in PACED:
        if workload in result.runs:
            yield workload, workload, max(1.0, result.peak(workload) / 2)
            if result.server.name == "geodns (native)" and knot is not None and workload in knot.runs:
                yield workload, workload + AT_KNOTS, max(1.0, knot.peak(workload) / 2)


def measure(
    servers: list[Server], workloads: list[str], options: argparse.Namespace, folder: Path
) -> list[Measured]:
    data = folder / "data"
    zone.build(data, zone.RECORDS, options.geo_db)
    results, alive = [], []
    with cores() as (server_core, load_core):
        try:
            for index, server in enumerate(servers):
                result = Measured(server, server.versions())
                results.append(result)
                if server.missing:
                    result.trouble = f"missing ({server.package})"
                    say(f"{server.name}: {result.trouble}")
                    continue
                running = server.start(
                    Job(folder / f"server{index}", free_port(), data, options.geo_db), server_core
                )
                alive.append((running, result))
                if wait_ready(running, READY_SECONDS) is None:
                    result.trouble = "did not get ready: " + running.last_words().strip()[-300:]
                    continue
                mine = [workload for workload in workloads if workload in server.workloads]
                troubles = [check(running, workload) for workload in mine] if server.is_checked else []
                result.trouble = "; ".join(filter(None, troubles))
                if not result.trouble:
                    result.runs = {workload: [] for workload in mine}
                say(f"{server.name}: {result.trouble or 'answers are right'}")
            for number in range(-1, options.rounds):  # the round -1 warms caches and is not counted
                # One workload after the other, so that what is compared is measured within seconds; and each
                # round begins with another server, so that none always comes after the same one.
                first = max(0, number) * STRIDE % len(alive)
                for workload in workloads:
                    for running, result in alive[first:] + alive[:first]:
                        if workload not in result.runs:
                            continue
                        run = load(running, workload, options.seconds if number >= 0 else 0.5, load_core)
                        if number >= 0:
                            result.runs[workload].append(run)
                            cpu, lost = run["cpu_us_per_query"], run["lost"]
                            say(f"round {number + 1} {running.server.name} {workload}: {cpu} us, {lost} lost")
            for _ in range(options.rounds):
                for running, result in alive:
                    for workload, name, rate in paces(result, results):
                        run = load(running, workload, options.seconds, load_core, "--rate", str(round(rate)))
                        result.paced.setdefault(name, []).append(run)
        finally:
            for running, _ in alive:
                running.stop()
    return results


# Loading


@dataclass
class Loaded:
    server: Server
    seconds: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)  # seconds, of all its processes
    megabytes: list[float] = field(
        default_factory=list
    )  # proportional share (PSS) of all its processes, when ready
    peak: list[float] = field(default_factory=list)  # the most that all its processes had resident together
    trouble: str = ""


def measure_loading(servers: list[Server], options: argparse.Namespace, folder: Path) -> list[Loaded]:
    data = folder / "large"
    zone.build(data, LOAD_RECORDS, options.geo_db)
    results = []
    able = [server for server in servers if server.is_checked and not server.missing]
    for index, server in enumerate(able):
        result = Loaded(server)
        results.append(result)
        for number in range(options.load_rounds):
            job = Job(folder / f"large{index}.{number}", free_port(), data, options.geo_db)
            running = server.start(job, None)  # on all cores, as it would start elsewhere
            try:
                trouble = load_once(running, result)
            finally:
                running.stop()
            if trouble:
                result.trouble = trouble
                break
        say(f"load {server.name}: {result.trouble or (result.seconds, result.megabytes, result.peak)}")
    return results


def load_once(running: Running, result: Loaded) -> str:
    start = time.monotonic()
    peak = 0.0
    while time.monotonic() - start < READY_SECONDS:
        peak = max(peak, memory(running.process.pid, "smaps_rollup", "Pss"))
        ready = wait_ready(running, 0.2)
        if running.process.poll() is not None:
            return "ended: " + running.last_words().strip()[-300:]
        if ready is not None:
            result.seconds.append(time.monotonic() - start)
            time.sleep(1)  # a loader that has done its work may still be there
            steady = memory(running.process.pid, "smaps_rollup", "Pss")
            result.megabytes.append(steady)
            result.cpu.append(cpu_seconds(running.process.pid))
            result.peak.append(max(peak, steady, memory(running.process.pid, "status", "VmHWM")))
            return ""
    return f"not ready after {READY_SECONDS:.0f} s"


# Words


def number(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def ratio(mine: list[float], base: list[float]) -> float | None:
    """The median of the rounds' ratios: a busy minute of the machine hits both numbers of a round."""
    pairs = list(zip(mine, base, strict=False))
    return statistics.median(one / other for one, other in pairs) if pairs else None


def table(results: list[Measured], workload: str) -> str:
    found = {name: rounds_of(results, name, workload) for name in RATIOS}
    bases = {name: base for name, base in found.items() if base}
    heads = ["server", "CPU µs/query", "spread", *(f"× {name}" for name in bases)]
    heads += ["q/s", "p50, µs", "p99, µs", "lost"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    for result in results:
        runs = result.runs.get(workload)
        if not runs:
            continue
        cpu, median = result.cpu(workload), result.median(workload)
        cells = [
            result.server.name,
            number(median),
            f"{min(cpu):.1f}–{max(cpu):.1f}",
            *(number(ratio(cpu, base), 2) for base in bases.values()),
            number(statistics.median(run["qps"] for run in runs), 0),
            number(statistics.median(run["latency_us"]["p50"] for run in runs), 0),
            number(statistics.median(run["latency_us"]["p99"] for run in runs), 0),
            str(sum(run["lost"] for run in runs)),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def latency_table(results: list[Measured]) -> str:
    lines = [
        "| server | workload | q/s | p50, µs | p99, µs | p99.9, µs | lost |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for workload in (name for each in PACED for name in (each, each + AT_KNOTS)):
        for result in (result for result in results if workload in result.paced):
            cells = [
                result.server.name,
                workload,
                number(statistics.median(run["qps"] for run in result.paced[workload]), 0),
                *(number(result.latency(workload, share), 0) for share in ("p50", "p99", "p999")),
                str(sum(run["lost"] for run in result.paced[workload])),
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def rounds_of(results: list[Measured], name: str, workload: str) -> list[float]:
    return next((result.cpu(workload) for result in results if result.server.name == name), [])


def claims(results: list[Measured], loaded: list[Loaded], extras: Extras | None) -> list[str]:
    """What the project says of its speed, each with what this run found."""
    lines = []

    def claim(what: str, mine: float | None, most: float | None, unit: str = "µs") -> None:
        if mine is not None and most is not None:
            lines.append(f"- {what} ({most:,.1f} {unit}): {mine:,.1f} {unit}, {word(mine <= most)}.")

    def claim_ratio(result: Measured, workload: str, most: float, peer: str) -> None:
        found = ratio(result.cpu(workload), rounds_of(results, peer, workload))
        if found is not None:
            what = f"{result.server.name}, {workload}: at most {most:.2f} × {peer}"
            lines.append(f"- {what}: {found:.2f}, {word(round(found, 2) <= most)}.")

    def word(holds: bool) -> str:
        return "holds" if holds else "**does not hold**"

    by_name = {result.server.name: result for result in results}
    if native := by_name.get("geodns (native)"):
        for workload in native.runs:
            if workload != "mixed":
                claim_ratio(native, workload, ENGINE_SHARE_MAX, RATIOS[0])
            for peer in ("gdnsd", "knot"):
                claim_ratio(native, workload, 1, peer)
        if knot := by_name.get("knot"):
            for workload in native.paced:
                what = f"geodns (native), {workload}: p99 at half the peak load at most Knot's"
                knots = knot.latency(workload.removesuffix(AT_KNOTS), "p99")
                claim(what, native.latency(workload, "p99"), knots)
    if extras is not None:
        lines += extras.claims()
    if python := by_name.get("geodns (python)"):
        for workload, peer, factor in (
            ("geo", "pdns geo", 1),
            ("static", "named", 2),
            ("nxdomain", "named", 2),
        ):
            claim_ratio(python, workload, factor, peer)
    for result in (result for result in loaded if result.server.name.startswith("geodns") and result.seconds):
        seconds, peak = statistics.median(result.seconds), statistics.median(result.peak)
        claim(f"{result.server.name}: {LOAD_RECORDS:,} records, ready", seconds, 10.0, "s")
        claim(f"{result.server.name}: {LOAD_RECORDS:,} records, peak memory", peak, 400.0, "MB")
    return lines


def loading_table(loaded: list[Loaded]) -> str:
    lines = ["| server | ready, s | CPU, s | memory, MB | peak, MB |", "|---|--:|--:|--:|--:|"]
    for result in loaded:
        if result.trouble or not result.seconds:
            lines.append(f"| {result.server.name} | {one_line(result.trouble)} | | | |")
            continue
        cells = (
            number(statistics.median(column), digits)
            for column, digits in (
                (result.seconds, 2),
                (result.cpu, 2),
                (result.megabytes, 0),
                (result.peak, 0),
            )
        )
        lines.append(f"| {result.server.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "/")


def machine() -> str:
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (
        f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def report(
    results: list[Measured],
    loaded: list[Loaded],
    extras: Extras | None,
    options: argparse.Namespace,
    loads: tuple[float, float],
) -> str:
    parts = [
        "# Results of one run",
        "",
        f"Written by `make bench` on {datetime.now(UTC):%Y-%m-%d}; "
        "[docs/performance.md](../docs/performance.md) says what is measured and how to read it.",
        "",
        f"Machine: {machine()}. Server on one core, load generator on another; load average {loads[0]:.1f} "
        f"before, {loads[1]:.1f} after. {options.rounds} rounds of {options.seconds:g} s: medians, and the "
        "spread from least to most.",
        "",
        "| server | version | remarks |",
        "|---|---|---|",
    ]
    for result in results:
        left_out = [workload for workload in ALL if workload not in result.server.workloads]
        remark = result.trouble or (f"cannot do: {', '.join(left_out)}" if left_out else "")
        parts.append(f"| {result.server.name} | {one_line(result.version)} | {one_line(remark)} |")
    for workload in workloads_of(results):
        parts += ["", f"## {workload}", "", table(results, workload)]
    if any(result.paced for result in results):
        parts += ["", "## Latency at half the server's own peak load", "", latency_table(results)]
    if extras is not None:
        parts += extras.sections()
    if loaded:
        parts += ["", f"## Loading {LOAD_RECORDS:,} records", "", loading_table(loaded)]
    if found := claims(results, loaded, extras):
        parts += ["", "## What is claimed", "", *found]
    return "\n".join(parts) + "\n"


def workloads_of(results: list[Measured]) -> list[str]:
    return list(dict.fromkeys(workload for result in results for workload in result.runs))


def chart(results: list[Measured]) -> str:
    """The picture of the run."""
    groups = {}
    for workload in workloads_of(results):
        shown = [result for result in results if result.cpu(workload) and result.server.name not in TOYS]
        groups[workload] = [
            (
                result.server.name,
                result.median(workload) or 0,
                min(result.cpu(workload)),
                max(result.cpu(workload)),
            )
            for result in shown
        ]
    note = (
        f"{machine()}, {datetime.now(UTC):%Y-%m-%d}; one core, loopback; lines: least to most of the rounds"
    )
    return draw(groups, "CPU time per query, microseconds (less is better)", note)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only", default="", help="servers whose names start with one of these words, by commas"
    )
    parser.add_argument("--workloads", default=",".join(ALL))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--load-rounds", type=int, default=LOAD_ROUNDS, help="0: do not measure loading")
    parser.add_argument("--load-only", action="store_true")
    parser.add_argument("--no-extras", action="store_true", help="no replaced snapshots, no idle connections")
    parser.add_argument("--geo-db", type=Path, default=HERE.parent / "geo-db" / "city-lite.mmdb")
    parser.add_argument("--print", action="store_true", help="print the report and leave RESULTS.md alone")
    return parser.parse_args()


def main() -> int:
    options = arguments()
    options.geo_db = options.geo_db.resolve()
    for needed, hint in (
        (GENERATOR, "cargo build --release in benchmarks/load"),
        (options.geo_db, "see --geo-db"),
    ):
        if not needed.exists():
            say(f"run.py: {needed} is missing: {hint}")
            return 2
    wanted = tuple(options.only.split(","))
    servers = [server for server in SERVERS if server.name.startswith(wanted)]
    before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="geodns-bench-") as name:
        folder = Path(name)
        workloads = options.workloads.split(",")
        results = [] if options.load_only else measure(servers, workloads, options, folder)
        extras = None
        if not (options.load_only or options.no_extras) and any(
            "native" in server.name for server in servers
        ):
            with cores() as (server_core, load_core):
                extras = measure_extras(folder, options.geo_db, options.rounds, server_core, load_core)
        loaded = measure_loading(servers, options, folder) if options.load_rounds else []
    text = report(results, loaded, extras, options, (before, os.getloadavg()[0]))
    if options.print:
        print(text)
    else:
        (HERE / "RESULTS.md").write_text(text)
        if workloads_of(results):
            (HERE / "cpu.svg").write_text(chart(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
