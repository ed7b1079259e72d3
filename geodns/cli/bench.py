"""`geodns bench`: how fast a nameserver answers, and what a query costs it.

    zones + databases --> questions as files --> the load generator (Rust) --> one line of JSON --> words

The generator is a program of its own, built with cargo; beside other nameservers it is used by `make bench`.
"""

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodns.cli import Failure, printable
from geodns.cli.common import format_option, geo_options, open_locator, read_config, tell

if TYPE_CHECKING:
    from geodns.geo.locator import Locator
    from geodns.zone.model import CheckedZone, RRset

GENERATOR = "geodns-load"
SOURCES = Path(__file__).resolve().parents[2] / "benchmarks" / "load"
WORKLOADS = ("static", "geo", "nxdomain", "mixed")
KINDS = ("A", "AAAA", "CNAME", "MX", "NS", "SOA", "TXT")  # types that the generator asks for
NAMES_MAX = 100_000  # asked for, of all zones together
NETWORKS = 10_000  # client networks, each a /24 of the public address space that the databases know
DRAWS_MAX = 40 * NETWORKS  # until as many are found: a database of one country knows few
SECONDS_MORE = 60.0  # of the generator beyond its load, before it is taken for hung


@click.command()
@click.argument("target", metavar="ADDR:PORT")
@click.option(
    "--workload",
    type=click.Choice(WORKLOADS),
    default="static",
    show_default=True,
    help="geo: steered names, with Client Subnet; nxdomain: random names; mixed: 70, 20 and 10 % of them.",
)
@click.option("--tcp", is_flag=True, help="Over TCP, with several connections and pipelining.")
@click.option(
    "--rate", type=click.FloatRange(1), metavar="N", help="Queries a second; as many as are answered."
)
@click.option("--seconds", type=click.FloatRange(0.1, 60), default=5.0, show_default=True, help="How long.")
@click.option(
    "--window", type=click.IntRange(8, 2048), default=64, show_default=True, help="On their way at once."
)
@click.option("--pid", type=int, help="The server's process: its CPU time per query is told.")
@click.option("--core", type=int, help="Stay on this core and poll without sleeping: for precise latencies.")
@click.option(
    "--zones", type=click.Path(path_type=Path), help="Zones to take names from [default: the config's]."
)
@click.option("--not-loopback", is_flag=True, help="The server is elsewhere, and it is yours.")
@geo_options
@format_option
def bench(
    target: str,
    workload: str,
    tcp: bool,
    rate: float | None,
    seconds: float,
    window: int,
    pid: int | None,
    core: int | None,
    zones: Path | None,
    not_loopback: bool,
    databases: tuple[Path, ...],
    config: Path | None,
    form: str,
) -> None:
    """Load a nameserver, and tell queries a second, latency, losses and rcodes.

    As many questions are on their way as --window says: an answer makes room for the next one. The names are
    those of your zones, and the client networks of geo are drawn from your databases.

    \b
    Examples:
      geodns bench 127.0.0.1:5301
      geodns bench 127.0.0.1:5301 --workload geo --seconds 10 --pid "$(pgrep -f 'geodns serve')"
      geodns bench 127.0.0.1:5301 --workload mixed --rate 20000
    """
    generator = _generator()
    read = read_config(config, databases, zones)
    with tempfile.TemporaryDirectory(prefix="geodns-bench-") as name:
        folder = Path(name)
        _write_names(folder, list(_checked(read.zones)))
        if workload in ("geo", "mixed"):
            _write_networks(folder, open_locator(read))
        command = [generator, "--target", target, "--workload", workload, "--questions", name]
        command += ["--seconds", str(seconds), "--window", str(window), "--count", "20000000"]
        command += ["--tcp"] * tcp + ["--not-loopback"] * not_loopback
        for option, value in (("--rate", rate), ("--pid", pid), ("--core", core)):
            command += [] if value is None else [option, str(value)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds + SECONDS_MORE, check=False
        )
    if done.returncode:
        said = done.stderr.partition("\n")[0].removeprefix(f"{GENERATOR}: ").replace(name + os.sep, "")
        raise Failure(f"the load generator: {printable(said)}")
    click.echo(done.stdout.strip() if form == "json" else "\n".join(_lines(json.loads(done.stdout))))


def _generator() -> str:
    built = SOURCES / "target" / "release" / GENERATOR
    found = str(built) if built.exists() else shutil.which(GENERATOR)
    if found is None:
        raise Failure(
            f"the load generator is not built: cargo build --release --manifest-path {SOURCES / 'Cargo.toml'}"
        )
    return found


def _checked(folder: Path) -> "Iterator[CheckedZone]":
    from geodns.zone import load
    from geodns.zone.files import zone_files

    files, problems = zone_files(folder)
    tell(problems)
    for file in files.values():
        checked, _ = load(file)  # what is wrong with it `geodns check` tells
        if checked is not None:
            yield checked
    if not files:
        raise Failure(f"there is no zone file in {folder} (--zones names a folder)")


def _write_names(folder: Path, zones: "list[CheckedZone]") -> None:
    from geodns.zone.rdata import type_name

    rrsets = [rrset for one in zones for types in one.zone.rrsets.values() for rrset in types.values()]
    random.Random(1).shuffle(rrsets)

    def lines(is_steered: bool) -> str:
        asked = [f"{rrset.owner} {type_name(rrset.type)}" for rrset in rrsets if _is_asked(rrset, is_steered)]
        return "".join(f"{line}\n" for line in asked[:NAMES_MAX])

    (folder / "static.txt").write_text(lines(is_steered=False))
    (folder / "geo.txt").write_text(lines(is_steered=True))
    (folder / "zone.txt").write_text("".join(f"{one.zone.apex}\n" for one in zones[:1]))


def _is_asked(rrset: "RRset", is_steered: bool) -> bool:
    """Whether the generator can ask for it: no wildcards, and no names that need escapes."""
    from geodns.zone.rdata import type_name

    owner = str(rrset.owner)
    is_plain = owner != "." and not set(owner) & set("*\\ ")
    return is_plain and type_name(rrset.type) in KINDS and (rrset.steering is not None) == is_steered


def _write_networks(folder: Path, locator: "Locator") -> None:
    from geodns.geo.address import parse

    dice = random.Random(2)
    found: dict[str, None] = {}
    for _ in range(DRAWS_MAX):
        network = IPv4Network((dice.randrange(1 << 24) << 8, 24))
        if network.is_global and locator.explain(parse(str(network.network_address))).place.codes():
            found[str(network)] = None
        if len(found) == NETWORKS:
            break
    (folder / "ecs.txt").write_text("".join(f"{network}\n" for network in found))


def _lines(found: dict[str, Any]) -> list[str]:
    latency = found["latency_us"]
    lost = 100 * found["lost"] / max(found["sent"], 1)
    times = "  ".join(
        f"{word} {latency[key]:,.0f}"
        for word, key in (("p50", "p50"), ("p99", "p99"), ("p99.9", "p999"), ("most", "max"))
        if latency[key] is not None
    )
    from dns.rcode import Rcode

    rcodes = ", ".join(f"{Rcode.make(int(code)).name} {count:,}" for code, count in found["rcodes"].items())
    lines = [
        f"answered  {found['answered']:,} in {found['seconds']:.1f} s: {found['qps']:,.0f} a second",
        f"lost      {found['lost']:,} ({lost:.2g} %)",
        f"latency   {times or 'none'} (microseconds)",
        f"rcodes    {rcodes or 'none'}",
    ]
    if found["truncated"]:
        lines.append(f"truncated {found['truncated']:,}")
    if found["cpu_us_per_query"] is not None:
        lines.append(f"CPU       {found['cpu_us_per_query']:.2f} microseconds a query, of the server")
    return lines
