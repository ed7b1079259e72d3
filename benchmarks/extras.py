"""What only the native engine promises: snapshots replaced under load, and cheap idle connections."""

import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from drive import load, memory
from peers.servers import HERE, SERVERS, Job, Running, Server, free_port

REPLACING_SECONDS = 6.0  # of each half of a round; five rounds are 30 s with a snapshot a second
IDLE_CONNECTIONS = 10_000
IDLE_SECONDS = 2.0
READY_SECONDS = 60.0

CONFIG = """\
limits:
  tcp_connections: 12000
  tcp_connections_per_client: 12000
  tcp_idle_seconds: 600
"""


@dataclass
class Pair:
    """Runs without something and with it, in turn."""

    without: list[dict] = field(default_factory=list)
    with_it: list[dict] = field(default_factory=list)

    def medians(self, key: str) -> tuple[float, float]:
        return statistics.median(run[key] for run in self.without), statistics.median(
            run[key] for run in self.with_it
        )

    @property
    def lost(self) -> tuple[int, int]:
        return sum(run["lost"] for run in self.without), sum(run["lost"] for run in self.with_it)

    def row(self, what: str, runs: list[dict]) -> str:
        cpu, qps = (statistics.median(run[key] for run in runs) for key in ("cpu_us_per_query", "qps"))
        answered, lost = (sum(run[key] for run in runs) for key in ("answered", "lost"))
        return f"| {what} | {cpu:.2f} | {qps:,.0f} | {answered:,} | {lost} |"

    def rows(self, without: str, with_it: str) -> list[str]:
        head = ["| | CPU µs/query | q/s | answered | lost |", "|---|--:|--:|--:|--:|"]
        return [*head, self.row(without, self.without), self.row(with_it, self.with_it)]


@dataclass
class Extras:
    replacing: Pair
    idle: Pair
    idle_megabytes: float  # more, with the connections than without them

    def sections(self) -> list[str]:
        return [
            "",
            "## A new snapshot every second",
            "",
            *self.replacing.rows("one snapshot", "a new one every second"),
            "",
            f"## {IDLE_CONNECTIONS:,} idle TCP connections",
            "",
            *self.idle.rows("none", f"{IDLE_CONNECTIONS:,} idle connections"),
            "",
            f"They take {self.idle_megabytes:.1f} MB of the process (PSS).",
        ]

    def claims(self) -> list[str]:
        def word(holds: bool) -> str:
            return "holds" if holds else "**does not hold**"

        before, after = self.replacing.medians("cpu_us_per_query")
        cost = 100 * (after / before - 1)
        lost = self.replacing.lost[1]
        alone, beside = self.idle.medians("cpu_us_per_query")
        megabytes = self.idle_megabytes
        return [
            f"- geodns (native): a new snapshot every second loses no query: {lost} lost, {word(not lost)}.",
            "- geodns (native): a new snapshot every second costs under 3 % of the CPU time per query: "
            f"{cost:.1f} %, {word(cost < 3)}.",
            f"- geodns (native): {IDLE_CONNECTIONS:,} idle TCP connections in less than 100 MB: "
            f"{megabytes:.1f} MB, {word(megabytes < 100)}.",
            f"- geodns (native): beside them a query over UDP costs {100 * (beside / alone - 1):+.1f} %.",
        ]


def measure_extras(
    folder: Path, database: Path, rounds: int, server_core: int | None, load_core: int | None
) -> Extras:
    data = folder / "data"
    replacing = measure_replacing(folder, data, database, rounds, server_core, load_core)
    idle, megabytes = measure_idle(folder, data, database, rounds, server_core, load_core)
    return Extras(replacing, idle, megabytes)


def measure_replacing(
    folder: Path, data: Path, database: Path, rounds: int, server_core: int | None, load_core: int | None
) -> Pair:
    def prepare(job: Job) -> list[str]:
        return [str(HERE.parent / "replacing.py"), str(job.port), str(job.data), str(job.geo_db)]

    server = Server("replacing", sys.executable, "this repository", ("static",), prepare)
    running = server.start(Job(folder / "replacing", free_port(), data, database), server_core)
    pair = Pair()
    try:
        wait_for(running, "ready")
        load(running, "static", 0.5, load_core)
        for _ in range(rounds):
            pair.without.append(load(running, "static", REPLACING_SECONDS, load_core))
            running.process.send_signal(signal.SIGUSR1)
            pair.with_it.append(load(running, "static", REPLACING_SECONDS, load_core))
            running.process.send_signal(signal.SIGUSR1)
    finally:
        running.stop()
    return pair


def measure_idle(
    folder: Path, data: Path, database: Path, rounds: int, server_core: int | None, load_core: int | None
) -> tuple[Pair, float]:
    server = next(server for server in SERVERS if server.name == "geodns (native)")
    config = folder / "idle.yaml"
    config.write_text(CONFIG)
    prepare = server.prepare
    server = replace(server, prepare=lambda job: [*prepare(job), "--config", str(config)])
    running = server.start(Job(folder / "idle", free_port(), data, database), server_core)
    pair = Pair()
    most = [0.0]
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(0.2):
            most[0] = max(most[0], memory(running.process.pid, "smaps_rollup", "Pss"))

    try:
        wait_for(running, "ready: ")
        load(running, "static", 0.5, load_core)
        before = memory(running.process.pid, "smaps_rollup", "Pss")
        threading.Thread(target=watch, daemon=True).start()
        for _ in range(rounds):
            pair.without.append(load(running, "static", IDLE_SECONDS, load_core))
            more = ("--idle", str(IDLE_CONNECTIONS))
            pair.with_it.append(load(running, "static", IDLE_SECONDS, load_core, *more))
    finally:
        is_over.set()
        running.stop()
    return pair, most[0] - before


def wait_for(running: Running, word: str) -> None:
    """Until the process has said so. Raises RuntimeError with its last words."""
    end = time.monotonic() + READY_SECONDS
    while time.monotonic() < end and running.process.poll() is None:
        if re.search(re.escape(word), running.last_words()):
            return
        time.sleep(0.05)
    kill = subprocess.TimeoutExpired(running.server.name, READY_SECONDS)
    raise RuntimeError(f"{running.server.name} did not get ready: {running.last_words()}") from kill
