#!/usr/bin/env python3
"""Measure what health checks cost: the prober's core, how punctual it is, and what queries notice of it.

    backend (core 1) <--checks-- prober (core 0, or beside the backend)
    reader (core 1) <--queries--> geodns serve (core 0), whose checks these are

usage: health.py                                   10,000 checks each 10 s, of every kind
       health.py --part prober --kinds tcp http    the prober alone
       health.py --part server --kinds http        queries, without checks and with them

Everything stays on loopback, and every load ends: after the seconds it was given, whatever happens.
"""

import argparse
import asyncio
import contextlib
import os
import re
import selectors
import signal
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dns.message

from geodns.health.messages import Batch, Frames, Notice, Pace, Report, Settings, frame, watch_frames
from geodns.health.words import Probe
from geodns.table.steer import Check

HOST = "www.example.com"
APEX = "example.com"
VALUES_PER_RECORD = 10
LIFE_SECONDS = 300  # of a backend or server that was forgotten
READY_SECONDS = 60.0
SLACK_SECONDS = 5.0  # for the last report to come
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it
ANSWER_SECONDS = 2.0  # for the last answers to come
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def address(number: int) -> str:
    """A loopback address of its own for every check."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


CORES = sorted(os.sched_getaffinity(0))


def cores() -> tuple[int, int]:
    """The core that is measured, and the one for everything else."""
    return CORES[0], CORES[-1]


# The backend: everything that is checked


class Backend(asyncio.Protocol):
    """Answers whatever ends a head; a connection that says nothing is a TCP check."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self.transport.write(HTTP_ANSWER)
            self.transport.close()


async def serve_backend(kind: str, folder: Path) -> None:
    """Serve until the process is ended; says its port."""
    context = None
    if kind == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Backend, "0.0.0.0", 0, backlog=4096, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def backend(kind: str, folder: Path, core: int) -> Iterator[int]:
    """A backend as a process; its port."""
    if kind == "https" and not (folder / "cert.pem").exists():
        new = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ]
        names = ["-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}"]
        files = ["-keyout", "key.pem", "-out", "cert.pem"]
        subprocess.run([*new, *names, *files], cwd=folder, check=True, capture_output=True)
    command = [sys.executable, __file__, "--backend", kind, "--folder", str(folder)]
    with started(command, core, stdout=subprocess.PIPE) as process:
        yield int(process.stdout.readline())


@contextmanager
def started(
    command: list[str], core: int, env: dict[str, str] | None = None, **pipes: object
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process on a core, which ends with us."""
    process = subprocess.Popen(
        ["taskset", "-c", str(core), "timeout", str(LIFE_SECONDS), *command],
        env={**os.environ, **(env or {})},
        start_new_session=True,
        **pipes,
    )
    with process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


# What processes cost


def processes(root: int) -> list[int]:
    """A process, and all below it."""
    found = [root]
    for pid in found:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def with_words(root: int, words: str) -> int:
    """The process below `root` whose command line has these words last."""
    return [pid for pid in processes(root) if words in Path(f"/proc/{pid}/cmdline").read_text()][-1]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[int((len(values) - 1) * share)] if values else float("nan")


# The prober alone


class Pipe:
    """The prober's reports."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._out = process.stdout.fileno()
        self._frames = Frames()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._out, selectors.EVENT_READ)

    def until(self, end: float) -> Iterator[Report]:
        """What it says until then."""
        while (left := end - time.monotonic()) > 0:
            if self._selector.select(left):
                self._frames.feed(os.read(self._out, 1 << 16))
                yield from self._frames


def probes(kind: str, port: int, options: argparse.Namespace) -> list[Probe]:
    return [
        Probe(
            Check(f"{kind} {address(number)}:{port}", kind, address(number), port, HOST, "/_dns"),
            options.interval,
            3.0,
            0.1,
            (),
        )
        for number in range(1, options.checks + 1)
    ]


def measure_prober(kind: str, folder: Path, options: argparse.Namespace) -> None:
    mine, other = cores()
    env = {"SSL_CERT_FILE": str(folder / "cert.pem")}
    command = [sys.executable, "-P", "-m", "geodns.health.prober"]
    with (
        backend(kind, folder, other) as port,
        started(command, mine, env, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
    ):
        pipe = Pipe(process)
        began = time.monotonic()
        process.stdin.write(frame(Settings(options.at_once, False, "", ())))
        for octets in watch_frames(probes(kind, port, options), ()):
            process.stdin.write(octets)
        process.stdin.flush()
        seen: set[str] = set()
        for report in pipe.until(began + READY_SECONDS):
            if isinstance(report, Batch):
                seen.update(result.key for result in report.results)
            if len(seen) == options.checks:
                break
        first = time.monotonic() - began
        for _ in pipe.until(time.monotonic() + options.interval):
            pass  # one interval in which the first round and the next overlap
        pid = with_words(process.pid, "geodns.health.prober")
        before, begins = cpu_seconds(pid), time.monotonic()
        looks, bad, took, paces = 0, 0, [], []
        for report in pipe.until(begins + options.seconds):
            match report:
                case Batch(results):
                    looks += len(results)
                    bad += sum(not result.ok for result in results)
                    took += [result.took for result in results]
                case Pace():
                    paces.append(report)
                case Notice(text):
                    print(f"  the prober says: {text}")
        seconds = time.monotonic() - begins
        cpu = cpu_seconds(pid) - before
    print(
        f"{kind:6}first round {first:5.1f} s   {looks / seconds:6.0f} looks/s   {bad} not up   "
        f"{cpu / seconds:6.1%} of a core, {cpu / looks * 1e6:5.0f} us each   "
        f"a look takes p50 {percentile(took, 0.5) * 1e3:.1f} p99 {percentile(took, 0.99) * 1e3:.1f} ms   "
        f"begins late p50 {statistics.median(pace.late_median for pace in paces) * 1e3:.1f} "
        f"p99 {max(pace.late_p99 for pace in paces) * 1e3:.1f} "
        f"most {max(pace.late_most for pace in paces) * 1e3:.1f} ms",
        flush=True,
    )


# Queries to a server that makes the checks


@dataclass
class Answered:
    """Latencies in seconds, from the query's sending until the kernel had the answer for us."""

    latencies: list[float]
    lost: int

    def __str__(self) -> str:
        p50, p99, p999, most = (percentile(self.latencies, share) * 1e6 for share in (0.5, 0.99, 0.999, 1.0))
        return f"p50 {p50:5.0f}   p99 {p99:5.0f}   p99.9 {p999:6.0f}   most {most:6.0f} us   {self.lost} lost"


def ask(port: int, names: list[str], rate: float, seconds: float) -> Answered:
    """Ask at an even rate, whatever the answers do.

    What delays this process should delay no answer: the kernel stamps the answers, and where that is allowed
    nothing else takes its core from it.
    """
    with contextlib.suppress(PermissionError):
        os.sched_setaffinity(0, {cores()[1]})
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        return _ask(port, names, rate, seconds)
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.sched_setaffinity(0, set(CORES))


def _ask(port: int, names: list[str], rate: float, seconds: float) -> Answered:
    questions = [dns.message.make_query(name, "A", use_edns=0).to_wire()[2:] for name in names]
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    asker.connect(("127.0.0.1", port))
    asker.setblocking(False)
    sent: dict[int, float] = {}
    latencies: list[float] = []
    count = int(rate * seconds)
    began = time.time()
    selector = selectors.DefaultSelector()
    selector.register(asker, selectors.EVENT_READ)
    asked = 0
    while asked < count or (sent and time.time() < began + seconds + ANSWER_SECONDS):
        due = began + asked / rate if asked < count else began + seconds + ANSWER_SECONDS
        if asked < count and time.time() >= due:
            number = asked & 0xFFFF
            wire = number.to_bytes(2) + questions[asked % len(questions)]
            sent[number] = time.time()
            asker.send(wire)
            asked += 1
            continue
        if not selector.select(max(0.0, min(due - time.time(), 0.1))):
            continue
        data, extra, _, _ = asker.recvmsg(4096, 64)
        whole, nanoseconds = struct.unpack("qq", extra[0][2])
        begin = sent.pop(int.from_bytes(data[:2]), None)
        if begin is not None:
            latencies.append(whole + nanoseconds / 1e9 - begin)
    return Answered(latencies, len(sent))


def write_zone(folder: Path, kind: str, port: int, options: argparse.Namespace) -> list[str]:
    """A zone whose values are all checked, or none with kind "none"; the names in it."""
    lines = [
        "$zone: {ttl: 60}",
        "'': {type: NS, values: [ns1.example.com.]}",
        "ns1: {type: A, value: 192.0.2.1}",
    ]
    check = f"healthcheck: {{protocol: {kind.upper()}, port: {port}, interval: {options.interval:g}s}}"
    names = []
    for record in range(options.checks // VALUES_PER_RECORD):
        first = record * VALUES_PER_RECORD + 1
        values = [address(number) for number in range(first, first + VALUES_PER_RECORD)]
        pool = "values: [" + ", ".join(f"{{value: {value}}}" for value in values) + "], policy: weighted"
        host = f"w{record}"
        names.append(f"{host}.{APEX}")
        lines += [
            f"{host}:",
            "  type: A",
            "  values: [192.0.2.80]",
            "  dynamic:",
            f"    pools: {{all: {{{pool}}}}}",
            "    rules: [{pool: all}]",
        ]
        if kind != "none":
            # one host for all: the certificate has one name
            lines += [f"  octodns: {{{check[:-1]}, host: {HOST}, path: /_dns}}}}"]
    zones = folder / f"zones-{kind}"
    zones.mkdir(exist_ok=True)
    (zones / f"{APEX}.yaml").write_text("\n".join(lines) + "\n")
    return names


@contextmanager
def serving(
    kind: str, port: int, folder: Path, core: int, options: argparse.Namespace
) -> Iterator[tuple[int, int, list[str]]]:
    """`geodns serve` on a core, with everything it starts: its process, its port, and its names."""
    names = write_zone(folder, kind, port, options)
    config = folder / f"{kind}.yaml"
    config.write_text(
        f"listen: ['127.0.0.1:0']\nzones: zones-{kind}\nengine: python\n"
        f"state: state-{kind}\nhealth: {{probes_at_once: {options.at_once}}}\n"
    )
    command = [sys.executable, "-m", "geodns", "serve", "--config", str(config)]
    env = {"SSL_CERT_FILE": str(folder / "cert.pem")}
    log = folder / f"{kind}.log"
    with log.open("wb") as out, started(command, core, env, stdout=out, stderr=out) as process:
        ready = None
        until = time.monotonic() + READY_SECONDS
        while ready is None:
            time.sleep(0.1)
            ready = re.search(r"ready: .*127\.0\.0\.1:(\d+)", log.read_text())
            if process.poll() is not None or time.monotonic() > until:
                sys.exit(f"geodns serve did not get ready:\n{log.read_text()[-2000:]}")
        yield with_words(process.pid, "serve"), int(ready[1]), names


def measure_server(kind: str, is_apart: bool, folder: Path, options: argparse.Namespace) -> None:
    mine, other = cores()
    with (
        backend("http" if kind == "none" else kind, folder, other) as backend_port,
        serving(kind, backend_port, folder, mine, options) as (pid, port, names),
    ):
        prober = None
        if kind != "none":
            prober = with_words(pid, "geodns.health.prober")
            if is_apart:
                for thread in Path(f"/proc/{prober}/task").iterdir():
                    os.sched_setaffinity(int(thread.name), {other})
            time.sleep(2 * options.interval)  # the first round, and where it meets the second
        ask(port, names, options.rate, 1.0)
        pids = {"server": pid} | ({"prober": prober} if prober else {})
        before = {who: cpu_seconds(pid) for who, pid in pids.items()}
        began = time.monotonic()
        answered = ask(port, names, options.rate, options.seconds)
        seconds = time.monotonic() - began
        shares = "   ".join(
            f"{who} {(cpu_seconds(pid) - before[who]) / seconds:6.1%}" for who, pid in pids.items()
        )
        where = "" if kind == "none" else ", prober elsewhere" if is_apart else ", prober on the same core"
        print(f"{kind + where:32}{answered}   {shares}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="What health checks cost.")
    parser.add_argument("--part", choices=["prober", "server", "all"], default="all")
    parser.add_argument(
        "--kinds", nargs="+", choices=["tcp", "http", "https"], default=["tcp", "http", "https"]
    )
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds from check to check")
    parser.add_argument("--seconds", type=float, default=31.0, help="of each measurement, up to 120")
    parser.add_argument("--at-once", type=int, default=500, help="checks under way at a time")
    parser.add_argument("--rate", type=float, default=1000.0, help="queries a second")
    parser.add_argument("--backend", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.backend:
        asyncio.run(serve_backend(options.backend, options.folder))
        return
    if not 11 <= options.seconds <= 120 or not 10 <= options.checks <= 60_000:
        parser.error("--seconds is 11 to 120 (the prober tells its pace every 10), --checks 10 to 60000")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"{options.checks:,} checks every {options.interval:g} s, {options.seconds:g} s measured")
        if options.part != "server":
            for kind in options.kinds:
                measure_prober(kind, folder, options)
        if options.part != "prober":
            print(f"{options.rate:g} queries a second, server on one core")
            measure_server("none", False, folder, options)
            for kind in options.kinds:
                for is_apart in (False, True):
                    measure_server(kind, is_apart, folder, options)


if __name__ == "__main__":
    main()
