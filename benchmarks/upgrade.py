#!/usr/bin/env python3
"""What an upgrade loses: servers take over from each other while as much is asked as they answer.

    geodns-load, UDP, closed loop --+
                                    +--> 127.0.0.1:PORT: geodns serve, the next one, the next one, ...
    threads, TCP, 50 a connection --+

usage: upgrade.py [--engines native python] [--seconds 30] [--pause 2]

Prints a table: what was asked, and what was not answered within a second (UDP) or cut off (TCP).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from socket import create_connection

import dns.message
import zone
from drive import GENERATOR
from peers.servers import HERE, free_port

PER_CONNECTION = 50  # pipelined queries, then the connection is closed and another one opened
CONNECTIONS = 4  # at a time
ROOT = HERE.parents[1]
PATIENCE_SECONDS = 60.0
QUESTION = dns.message.make_query(f"h000000.{zone.APEX}", "A").to_wire()


@dataclass
class Tcp:
    """Connections one after the other, in threads, until `stop`."""

    port: int
    answered: int = 0
    cut_off: int = 0  # connections that ended before all that was asked was answered
    _over: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._run) for _ in range(CONNECTIONS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                answered = self._connection()
            except OSError:
                answered = 0
            with self._lock:
                self.answered += answered
                self.cut_off += answered < PER_CONNECTION

    def _connection(self) -> int:
        with (
            create_connection(("127.0.0.1", self.port), PATIENCE_SECONDS) as sock,
            sock.makefile("rb") as read,
        ):
            sock.sendall((len(QUESTION).to_bytes(2) + QUESTION) * PER_CONNECTION)
            for count in range(PER_CONNECTION):
                length = int.from_bytes(read.read(2))
                if not length or len(read.read(length)) < length:
                    return count
        return PER_CONNECTION


@contextmanager
def servers(folder: Path, engine: str, port: int) -> Iterator["Servers"]:
    running = Servers(folder, engine, port)
    try:
        yield running
    finally:
        for process in running.processes:
            if process.poll() is None:
                process.terminate()
                process.wait(PATIENCE_SECONDS)


class Servers:
    """geodns, one after the other."""

    def __init__(self, folder: Path, engine: str, port: int) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self._log = folder / f"{engine}.log"
        self._command = [sys.executable, "-m", "geodns", "serve", "--zones", str(folder / "zones")]
        self._command += ["--listen", f"127.0.0.1:{port}", "--engine", engine]

    def start(self) -> None:
        """The next one, until it serves, and the one before has ended."""
        said = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            self.processes.append(subprocess.Popen(self._command, cwd=ROOT, stderr=log))
        until = time.monotonic() + PATIENCE_SECONDS
        while b"geodns: ready: " not in self._log.read_bytes()[said:]:
            if time.monotonic() > until:
                raise RuntimeError(self._log.read_text())
            time.sleep(0.05)
        for before in self.processes[:-1]:
            if before.wait(PATIENCE_SECONDS):
                raise RuntimeError(self._log.read_text())


def measure(folder: Path, engine: str, seconds: float, pause: float) -> str:
    port = free_port()
    with servers(folder, engine, port) as running:
        running.start()
        command = [GENERATOR, "--target", f"127.0.0.1:{port}", "--workload", "static", "--questions", folder]
        command += ["--count", "20000000", "--seconds", str(seconds)]
        tcp = Tcp(port)
        tcp.start()
        loading = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
        done = 0
        try:
            while loading.poll() is None:
                time.sleep(pause)
                running.start()
                done += loading.poll() is None
        finally:
            told = json.loads(loading.communicate()[0])
            tcp.stop()
    return (
        f"| {engine} | {done} | {told['answered']:,} | {told['qps']:,.0f} | {told['lost']} "
        f"| {tcp.answered:,} | {tcp.cut_off} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engines", nargs="+", default=["native", "python"])
    parser.add_argument("--seconds", type=float, default=30.0, help="of load, up to 60")
    parser.add_argument("--pause", type=float, default=2.0, help="seconds between two upgrades")
    options = parser.parse_args()
    database = ROOT / "geo-db" / "city-lite.mmdb"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        zone.build(folder, zone.RECORDS, database)
        print("| engine | upgrades | answered, UDP | a second | lost | answered, TCP | connections cut off |")
        print("|---|--:|--:|--:|--:|--:|--:|")
        for engine in options.engines:
            print(measure(folder, engine, options.seconds, options.pause), flush=True)


if __name__ == "__main__":
    main()
