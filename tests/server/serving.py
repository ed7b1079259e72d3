"""What the tests of the server share: zones that carry a version, a server as a process, and a client."""

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import dns.message
import dns.rdatatype

from tests.conftest import TEST_DATABASE

PATIENCE_SECONDS = 90.0  # for something that takes a second, on a machine that is busy with other things
READY = re.compile(r"geodns: ready: (\d+) zones on (.*) \(engine (native|python.*)\)")
PAUSE_SECONDS = 0.0005  # between the queries of a Load: what else goes on needs the cores as well
IS_NATIVE_BUILT = find_spec("geodns._native") is not None


def zone_text(version: int = 1, extra: str = "") -> str:
    """A zone whose `version` RRset says its version twice; `where` answers by place."""
    return f"""
'':
  - {{type: NS, values: [ns1.nameserver.test.]}}
version: {{type: TXT, ttl: 1, values: ["a {version}", "b {version}"]}}
where:
  type: TXT
  values: [elsewhere]
  geo: {{EU: [europe], NA: [america]}}
{extra}"""


def write_zone(folder: Path, version: int = 1, name: str = "example.com", extra: str = "") -> Path:
    """Save the zone as good editors do: a new file, renamed onto the old one."""
    path = folder / f"{name}.yaml"
    new = folder / f"{name}.yaml.new"
    new.write_text(zone_text(version, extra))
    os.replace(new, path)
    return path


def query(name: str, rtype: str = "TXT", **more: object) -> bytes:
    return dns.message.make_query(name, rtype, **more).to_wire()


def texts(wire: bytes) -> list[str]:
    """The TXT data of an answer, in order."""
    answer = dns.message.from_wire(wire).answer
    return sorted(rdata.to_text().strip('"') for rrset in answer for rdata in rrset)


class Client:
    """A UDP socket that asks and waits."""

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect((host, port))

    def ask(self, packet: bytes) -> bytes:
        self.socket.send(packet)
        return self.socket.recv(65535)

    def texts(self, name: str, **more: object) -> list[str]:
        return texts(self.ask(query(name, **more)))

    def rcode(self, name: str) -> str:
        wire = self.ask(query(name))
        return dns.rcode.to_text(dns.message.from_wire(wire).rcode())


@dataclass
class Process:
    """`geodns serve` as a process, and what it says."""

    popen: subprocess.Popen[str]
    lines: "queue.Queue[str | None]" = field(default_factory=queue.Queue)
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.popen.stderr:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def wait_for(self, text: str, seconds: float = PATIENCE_SECONDS) -> str:
        """The next line with `text` in it; fails when the process ends without it, or is silent so long."""
        while (line := self.lines.get(timeout=seconds)) is not None:
            self.said.append(line)
            if text in line:
                return line
        raise AssertionError(f"no {text!r} among {self.said}")

    def ports(self, seconds: float = PATIENCE_SECONDS) -> list[int]:
        """Waits for the ready line; the ports of its addresses."""
        ready = READY.fullmatch(self.wait_for("geodns: ready: ", seconds))
        return [int(address.rpartition(":")[2]) for address in ready[2].split(", ")]

    def send(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal and wait; the exit code."""
        self.popen.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        code = self.popen.wait(PATIENCE_SECONDS)
        self._reader.join(PATIENCE_SECONDS)
        while not self.lines.empty() and (line := self.lines.get()) is not None:
            self.said.append(line)
        return code


@lru_cache
def _texts_behind_id(octets: bytes) -> list[str]:
    return texts(b"\0\0" + octets)


class Load:
    """A client that never stops asking, by UDP and by TCP, and looks at every answer.

    `slowest` is how long the slowest answer over UDP took, in seconds; one that takes 5 is lost.
    """

    def __init__(self, port: int, per_connection: int = sys.maxsize, host: str = "127.0.0.1") -> None:
        self.per_connection = per_connection  # queries over TCP
        self.host = host
        self.asked = 0
        self.lost = 0
        self.slowest = 0.0
        self.torn: list[list[str]] = []
        self.versions: set[str] = set()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._over_udp, args=(port,)),
            threading.Thread(target=self._over_tcp, args=(port,)),
        ]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _over_udp(self, port: int) -> None:
        client = Client(port, self.host)
        client.socket.settimeout(5)
        for packet in self._packets():
            try:
                began = time.monotonic()
                answer = client.ask(packet)
                self.slowest = max(self.slowest, time.monotonic() - began)
                self._look(packet, answer)
            except TimeoutError:
                self.lost += 1

    def _over_tcp(self, port: int) -> None:
        packets = self._packets()
        while not self._stop.is_set():
            try:
                with (
                    socket.create_connection((self.host, port), 5) as sock,
                    sock.makefile("rb") as stream,
                ):
                    for packet in islice(packets, self.per_connection):
                        sock.sendall(len(packet).to_bytes(2) + packet)
                        length = int.from_bytes(stream.read(2))
                        answer = stream.read(length)
                        if not length or len(answer) < length:
                            raise EOFError
                        self._look(packet, answer)
            except (OSError, EOFError):
                self.lost += 1

    def _packets(self) -> Iterator[bytes]:
        """The question again and again, each time with another ID, until it is enough."""
        question = query("version.example.com")
        while not self._stop.wait(PAUSE_SECONDS):
            yield os.urandom(2) + question[2:]

    def _look(self, packet: bytes, answer: bytes) -> None:
        self.asked += 1
        said = _texts_behind_id(answer[2:]) if answer[:2] == packet[:2] else ["another question's"]
        numbers = {text[2:] for text in said}
        self.versions |= numbers
        if [text[:1] for text in said] != ["a", "b"] or len(numbers) != 1:
            self.torn.append(said)


@contextmanager
def serving(
    folder: Path,
    *arguments: str,
    listen: tuple[str, ...] = ("127.0.0.1:0",),
    config: str | None = None,
    environment: dict[str, str] | None = None,
    before: tuple[str, ...] = (),
    pass_fds: tuple[int, ...] = (),
) -> Iterator[Process]:
    """`geodns serve` in `folder`, with a quick config unless `config` is given; ended when the block ends.

    The engine is the one that users get, unless an argument says which.
    """
    (folder / "zones").mkdir(exist_ok=True)
    overrides = "{127.0.0.0/8: database}"
    text = config or f"geo: {{databases: [{TEST_DATABASE}], overrides: {overrides}}}\n"
    (folder / "geodns.yaml").write_text(text)
    command = [*before, sys.executable, "-m", "geodns", "serve", "--log", "text", *arguments]
    for address in listen:
        command += ["--listen", address]
    popen = subprocess.Popen(
        command,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=pass_fds,
        env={**os.environ, "NOTIFY_SOCKET": "", "PYTHONPATH": str(Path(__file__).parents[2])}
        | (environment or {}),
    )
    process = Process(popen)
    try:
        yield process
    finally:
        if popen.poll() is None:
            popen.terminate()
            try:
                popen.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                popen.kill()
                popen.wait()
        process.wait()
        popen.stderr.close()
