#!/usr/bin/env python3
"""Measure what health checks cost: the prober's core, how punctual it is, and what queries notice of it.

    backend (core 1) <--checks-- prober (core 0, or beside the backend)
    reader (core 1) --queries--> geodns serve (core 0), whose checks these are

usage: health.py                                   10,000 checks each 10 s, of every kind
       health.py --part prober --kinds tcp http    the prober alone
       health.py --part server --kinds http        queries, while checks are made and while none are

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
from geodns.health.prober.__main__ import NICENESS
from geodns.health.words import Probe
from geodns.table.steer import Check

HOST = "www.example.com"
APEX = "example.com"
VALUES_PER_RECORD = 10
LIFE_SECONDS = 1500  # of a backend or server that was forgotten
READY_SECONDS = 60.0
ROUND_SECONDS = 3.0  # of queries
BLOCKS = 2  # of rounds without checks, and with them
SO_TIMESTAMPNS = 35  # socket(7); Python has no name for it
ANSWER_SECONDS = 2.0  # for the last answers to come
HTTP_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n"


def address(number: int) -> str:
    """A loopback address of its own for every check."""
    return f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


CORES = sorted(os.sched_getaffinity(0))
NICE = int(os.environ.get("BENCH_NICE", "0"))  # below 0 on a machine that does something else as well


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
def backend(kind: str, folder: Path, core: int) -> Iterator[tuple[int, int]]:
    """A backend as a process; its port and its process."""
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
        port = int(process.stdout.readline())
        yield port, with_words(process.pid, "--backend")


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
    favour(process.pid)
    with process:
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def favour(pid: int, more: int = 0) -> None:
    """Give a session `NICE` of all sessions, where Linux groups by session (sched(7)) and lets us."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(NICE + more))


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


@contextmanager
def others(ours: list[int]) -> Iterator[list[float]]:
    """How much of a core processes that are not ours took meanwhile; there when the block ends."""
    found: list[float] = []
    began, busy, own = time.monotonic(), busy_seconds(), sum(map(cpu_seconds, ours))
    yield found
    foreign = busy_seconds() - busy - (sum(map(cpu_seconds, ours)) - own)
    found.append(foreign / (time.monotonic() - began))


def busy_seconds() -> float:
    """Of all cores and everybody: proc_stat(5), without idle and waiting."""
    fields = list(map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK")


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
        backend(kind, folder, other) as (port, _),
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
        favour(pid)  # nobody else is on its core
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


def ask(port: int, names: list[str], rate: float, seconds: float) -> Answered:
    """Ask at an even rate, whatever the answers do.

    What delays this process should delay no answer: the kernel stamps the answers, and where that is allowed
    nothing else takes its core from it.
    """
    os.sched_setaffinity(0, {cores()[1]})
    with contextlib.suppress(PermissionError):
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
    end = began + seconds + ANSWER_SECONDS
    selector = selectors.DefaultSelector()
    selector.register(asker, selectors.EVENT_READ)
    asked = 0
    while asked < count or (sent and time.time() < end):
        due = began + asked / rate if asked < count else end
        # what has come goes first: a burst after a pause must not overflow the socket's queue
        while selector.select(max(0.0, due - time.time())):
            data, extra, _, _ = asker.recvmsg(4096, 64)
            whole, nanoseconds = struct.unpack("qq", extra[0][2])
            begin = sent.pop(int.from_bytes(data[:2]), None)
            if begin is not None:
                latencies.append(whole + nanoseconds / 1e9 - begin)
            if asked == count and not sent:
                break
        if asked < count:
            sent[asked & 0xFFFF] = time.time()
            asker.send((asked & 0xFFFF).to_bytes(2) + questions[asked % len(questions)])
            asked += 1
    return Answered(latencies, len(sent))


def write_zone(folder: Path, kind: str, port: int, options: argparse.Namespace) -> list[str]:
    """A zone whose values are all checked; the names in it."""
    lines = [
        "$zone: {ttl: 60}",
        "'': {type: NS, values: [ns1.example.com.]}",
        "ns1: {type: A, value: 192.0.2.1}",
    ]
    # one host for all: the certificate has one name
    how = f"protocol: {kind.upper()}, port: {port}, interval: {options.interval:g}s, host: {HOST}"
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
        lines += [f"  octodns: {{healthcheck: {{{how}}}}}"]
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
        f"listen: ['127.0.0.1:0']\nzones: zones-{kind}\nengine: {options.engine}\n"
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


def place(pid: int, core: int) -> None:
    for thread in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(thread.name), {core})


def measure_server(kind: str, folder: Path, options: argparse.Namespace) -> None:
    """Queries while the checks are made and while the prober stands still, in turn, so that a busy minute of
    the machine hits both.
    """
    mine, other = cores()
    with (
        backend(kind, folder, other) as (backend_port, backend_pid),
        serving(kind, backend_port, folder, mine, options) as (server, port, names),
    ):
        prober = with_words(server, "geodns.health.prober")
        favour(prober, NICENESS)
        time.sleep(2 * options.interval)  # the first round, and where it meets the second
        for where, core in (("on the same core", mine), ("elsewhere", other)):
            place(prober, core)
            without: list[Answered] = []
            beside: list[Answered] = []
            spent = dict.fromkeys((server, prober), 0.0)
            mine_all = [os.getpid(), server, prober, backend_pid]
            for _ in range(BLOCKS):
                os.kill(prober, signal.SIGSTOP)
                without += quiet_rounds(port, names, mine_all, {}, options)
                os.kill(prober, signal.SIGCONT)
                time.sleep(2 * options.interval)  # all looks were late; after this they are spread again
                beside += quiet_rounds(port, names, mine_all, spent, options)
            if not without or not beside:
                print(f"{kind}, prober {where}: the machine was never quiet enough", flush=True)
                continue
            shares = [spent[pid] / len(beside) / ROUND_SECONDS for pid in (server, prober)]
            cpu = f"server {shares[0]:.0%}, prober {shares[1]:.0%}"
            print(f"{kind}, prober {'stopped':18}{summary(without)}")
            print(f"{kind}, prober {where:18}{summary(beside)}   {cpu}", flush=True)


def quiet_rounds(
    port: int, names: list[str], ours: list[int], spent: dict[int, float], options: argparse.Namespace
) -> list[Answered]:
    """Rounds of queries, but for those in which others were busy; adds what processes spent in them."""
    found = []
    for _ in range(options.rounds):
        before = {pid: cpu_seconds(pid) for pid in spent}
        with others(ours) as foreign:
            answered = ask(port, names, options.rate, ROUND_SECONDS)
        if foreign[0] < options.others:
            found.append(answered)
            for pid in spent:
                spent[pid] += cpu_seconds(pid) - before[pid]
    return found


def summary(rounds: list[Answered]) -> str:
    """The medians over rounds of each round's percentiles."""
    cells = []
    for name, share in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)):
        found = statistics.median(percentile(answered.latencies, share) for answered in rounds)
        cells.append(f"{name} {found * 1e6:5.0f}")
    return (
        f"{'   '.join(cells)} us   {sum(answered.lost for answered in rounds)} lost of {len(rounds)} rounds"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="What health checks cost.")
    parser.add_argument("--part", choices=["prober", "server", "all"], default="all")
    parser.add_argument(
        "--kinds", nargs="+", choices=["tcp", "http", "https"], default=["tcp", "http", "https"]
    )
    parser.add_argument("--checks", type=int, default=10_000)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds from check to check")
    parser.add_argument("--seconds", type=float, default=31.0, help="of the prober, up to 120")
    parser.add_argument("--rounds", type=int, default=6, help="of queries in a block; there are two blocks")
    parser.add_argument(
        "--others", type=float, default=0.1, help="of a core, in a round of queries that counts"
    )
    parser.add_argument("--at-once", type=int, default=500, help="checks under way at a time")
    parser.add_argument("--rate", type=float, default=1000.0, help="queries a second")
    parser.add_argument("--engine", choices=["native", "python"], default="native")
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
        print(f"{options.checks:,} checks every {options.interval:g} s, on {len(CORES)} cores")
        if options.part != "server":
            for kind in options.kinds:
                measure_prober(kind, folder, options)
        if options.part != "prober":
            print(
                f"{options.rate:g} queries a second to `geodns serve` ({options.engine}); medians of rounds"
            )
            for kind in options.kinds:
                measure_server(kind, folder, options)


if __name__ == "__main__":
    main()
