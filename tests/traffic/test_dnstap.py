"""dnstap, as the tools of others read it: fstrm_capture and fstrm_dump, dnstap-read."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import dns.edns
import dns.flags
import dns.message
import pytest

from geodns.config import Dnstap as Settings
from geodns.config import Truncate
from geodns.traffic import writer as writer_module
from geodns.traffic.dnstap import Dnstap
from geodns.traffic.event import Event
from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS, Client, serving, write_zone

QUERY = dns.message.make_query("www.example.com", "AAAA", id=0x1234)
REPLY = dns.message.make_response(QUERY)
RECEIVED = 1_700_000_000_123_456_789
UDP4 = Event(RECEIVED, 1_000_000, 0, 1, False, "192.0.2.77", 5353, QUERY.to_wire(), REPLY.to_wire())
TCP6 = UDP4._replace(stream=True, client="2001:db8:1:2ff::1")
SILENT = UDP4._replace(answer=b"")
NATIVE = pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built"))


def needs(tool: str, package: str) -> pytest.MarkDecorator:
    is_missing = shutil.which(tool) is None
    return pytest.mark.skipif(is_missing, reason=f"{tool} is not installed (apt-get install {package})")


needs_read = needs("dnstap-read", "bind9-utils")
needs_capture = needs("fstrm_capture", "fstrm-bin")


def until(condition: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def read(path: Path) -> list[str]:
    """A line for each message, as dnstap-read tells it."""
    done = subprocess.run(["dnstap-read", path], capture_output=True, text=True, check=True)
    assert "" == done.stderr
    return done.stdout.splitlines()


@contextmanager
def capturing(socket: Path, to: Path) -> Iterator[None]:
    """fstrm_capture at this socket; ended when the block ends, with all that came in the file."""
    command = ["fstrm_capture", "-t", "protobuf:dnstap.Dnstap", "-u", str(socket), "-w", str(to), "-dd"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        until(lambda: "opened" in (process.stderr.readline() if process.stderr else "opened"))
        try:
            yield
        finally:
            process.terminate()
            process.stderr.read()


def tap(said: list[str] | None = None, **settings: object) -> Dnstap:
    kept: list[str] = [] if said is None else said
    return Dnstap(Settings.model_validate(settings), b"ns1", lambda kind, text: kept.append(text))


@needs_read
def test_a_file(tmp_path: Path):
    """Query and answer, over both transports and families, with times, ports and identity; truncated
    addresses.
    """
    path = tmp_path / "tap"
    writer = tap(file=path)
    writer.start()
    writer.take([UDP4, TCP6])
    until(lambda: writer.written == 2)
    writer.settings = Settings(file=path, truncate=Truncate(v4=24, v6=56))
    writer.take([UDP4, TCP6, SILENT])
    writer.stop()
    lines = read(path)
    assert 9 == len(lines)
    what = "www.example.com/IN/AAAA"
    octets = len(UDP4.query)
    assert re.fullmatch(rf"\S+ \S+\.123 AQ 192\.0\.2\.77:5353 -> \S+ UDP {octets}b {what}", lines[0])
    assert re.fullmatch(rf"\S+ \S+\.124 AR 192\.0\.2\.77:5353 <- \S+ UDP \d+b {what}", lines[1])
    assert " AQ 2001:db8:1:2ff::1:5353 -> " in lines[2]
    assert " TCP " in lines[3]
    assert " AQ 192.0.2.0:5353 -> " in lines[4]
    assert " AQ 2001:db8:1:200:::5353 -> " in lines[6]
    assert " AQ 192.0.2.0:5353 -> " in lines[8]
    told = subprocess.run(["dnstap-read", "-y", path], capture_output=True, text=True, check=True).stdout
    assert 9 == told.count("identity: ns1\n")
    assert 4 == told.count("type: AUTH_RESPONSE\n")
    assert 9 == len(re.findall(r"^ +id: 4660$", told, flags=re.M))


@needs_read
@pytest.mark.parametrize(
    ("subnet", "truncate", "told"),
    [
        ("198.51.100.0/24", {}, "198.51.100.0/24/{}"),
        ("198.51.100.0/24", {"v4": 24}, "198.51.100.0/24/{}"),
        ("198.51.100.128/25", {"v4": 16}, "198.51.0.0/25/{}"),
        ("2001:db8:ff80::/41", {"v6": 36}, "2001:db8:f000::/41/{}"),
        ("2001:db8:ff80::/41", {"v4": 0, "v6": 0}, "::/41/{}"),
    ],
)
def test_a_subnet_is_truncated(tmp_path: Path, subnet: str, truncate: dict[str, int], told: str) -> None:
    """In the query, and in the answer, where its scope says something else."""
    address, _, source = subnet.partition("/")
    query, reply = (dns.message.make_query("www.example.com", "A", id=7) for _ in range(2))
    query.use_edns(0, options=[dns.edns.ECSOption(address, int(source))])
    reply.flags |= dns.flags.QR
    reply.use_edns(0, options=[dns.edns.ECSOption(address, int(source), 16), dns.edns.NSIDOption(b"ns1")])
    writer = tap(file=tmp_path / "tap", truncate=truncate)
    writer.start()
    writer.take([UDP4._replace(query=query.to_wire(), answer=reply.to_wire())])
    writer.stop()
    path = tmp_path / "tap"
    shown = subprocess.run(["dnstap-read", "-p", path], capture_output=True, text=True, check=True).stdout
    assert [told.format(0), told.format(16)] == re.findall("CLIENT-SUBNET: (.*)", shown)


@needs_read
@needs_capture
def test_a_reader_at_a_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """fstrm_capture gets every message; when it is not there, that is told, and the next one gets what
    follows.
    """
    monkeypatch.setattr(writer_module, "AGAIN_SECONDS", 0.05)
    socket, said = tmp_path / "socket", []
    writer = tap(said, socket=socket)
    writer.start()
    writer.take([UDP4])
    until(lambda: writer.dropped == 1)
    assert "dnstap: can not be written: No such file or directory" in said[0]
    with capturing(socket, tmp_path / "one"):
        until(lambda: writer.take([UDP4]) or writer.written)
        before = writer.written
        writer.take([TCP6] * 1000)
        until(lambda: writer.written >= before + 1000)
        writer.reopen()  # the reader says that it has all of them
        until(lambda: not writer.take([UDP4]) and writer.written > before + 1000)
    first = read(tmp_path / "one")
    assert 2000 == sum(" TCP " in line for line in first)
    assert 0 < sum(" UDP " in line for line in first)
    lost = writer.dropped
    until(lambda: not writer.take([UDP4]) and writer.dropped > lost)
    with capturing(socket, tmp_path / "two"):
        before = writer.written
        until(lambda: not writer.take([TCP6]) and writer.written > before)
        writer.stop()
    assert any(" TCP " in line for line in read(tmp_path / "two"))


@needs_capture
def test_frames_of_a_file(tmp_path: Path):
    """fstrm_dump reads the frames: their type, and their number."""
    path = tmp_path / "tap"
    writer = tap(file=path)
    writer.start()
    writer.take([UDP4] * 500)
    writer.stop()
    done = subprocess.run(["fstrm_dump", path], capture_output=True, text=True, check=True)
    assert "protobuf:dnstap.Dnstap" in done.stdout + done.stderr
    assert 1000 == done.stdout.count("Data frame") + done.stderr.count("Data frame")


@needs_read
@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_a_server_that_taps(engine: str, tmp_path: Path):
    """Every query and every answer of a real server, from the first on, until it has ended."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    with serving(tmp_path, "--engine", engine, config="dnstap: {file: tap}\nserver: {id: ns1}\n") as process:
        (port,) = process.ports()
        client = Client(port)
        for _ in range(100):
            client.texts("version.example.com")
        assert 0 == process.end()
    lines = read(tmp_path / "tap")
    for kind in (" AQ ", " AR "):
        assert 100 == sum(kind in line and "version.example.com/IN/TXT" in line for line in lines)
