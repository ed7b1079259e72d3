"""Rate limiting in a server that runs: a flood from one network, everybody else, cookies, TCP, the log."""

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS, Client, query, serving, texts, write_zone

ENGINES = ["native", "python"] if IS_NATIVE_BUILT else ["python"]
QUERY = query("version.example.com")
FLOOD = "127.7.7.1"  # all of 127.0.0.0/8 is this machine
RATE = 20
CONFIG = f"rrl: {{responses_per_second: {RATE}, slip: 2, exempt: 127.9.0.0/16}}\nlocal_zones: false\n"


def client(port: int, source: str) -> Client:
    """One that asks from this address."""
    made = Client.__new__(Client)
    made.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.socket.settimeout(PATIENCE_SECONDS)
    made.socket.bind((source, 0))
    made.socket.connect(("127.0.0.1", port))
    return made


def flood(port: int, source: str, count: int) -> list[bytes]:
    """Ask that often, and take what comes until nothing does."""
    asking = client(port, source)
    found: list[bytes] = []

    def take(seconds: float) -> None:
        asking.socket.settimeout(seconds)
        with suppress(TimeoutError, BlockingIOError):
            while True:
                found.append(asking.socket.recv(4096))

    for at in range(count):
        asking.socket.send(QUERY)
        if at % 50 == 49:  # no more at once than queues take
            take(0.01)
    take(0.5)
    asking.socket.close()
    return found


@contextmanager
def flooding(port: int) -> Iterator[None]:
    """The network of FLOOD uses up its limit, second after second."""
    asking, over = client(port, FLOOD), threading.Event()

    def ask() -> None:
        while not over.wait(0.001):
            asking.socket.send(QUERY)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.1)  # a hundred queries: the burst is over
    try:
        yield
    finally:
        over.set()
        thread.join()
        asking.socket.close()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_flood_is_limited_and_nobody_else(tmp_path: Path, engine: str) -> None:
    """A network that floods gets its rate, half of the rest short, and the log says so once; the next network
    and the exempt get every answer.
    """
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    with serving(tmp_path, "--engine", engine, config=CONFIG) as server:
        (port,) = server.ports()
        began = time.monotonic()
        found = flood(port, FLOOD, 1000)
        seconds = time.monotonic() - began
        whole = [wire for wire in found if texts(wire)]
        short = [wire for wire in found if wire[2] & 2]
        assert len(whole) + len(short) == len(found)
        assert 2 * RATE <= len(whole) <= RATE * (seconds + 3)  # the burst, and what came after it
        assert len(short) in range((1000 - len(whole)) // 2 - 1, (1000 - len(whole)) // 2 + 2)
        assert {len(QUERY)} == {len(wire) for wire in short}
        neighbour = client(port, "127.7.8.1")
        assert [["a 1", "b 1"]] * RATE == [texts(neighbour.ask(QUERY)) for _ in range(RATE)]
        assert 500 == sum(bool(texts(wire)) for wire in flood(port, "127.9.9.9", 500))
        server.wait_for("geodns: rrl: 127.7.7.0/24 (answer) is limited")
        server.wait_for("geodns: rrl: 127.7.7.0/24 (answer) is within its limit again")
        assert 0 == server.end()
    assert 2 == sum("rrl:" in line for line in server.said)


@pytest.mark.skipif(shutil.which("dig") is None, reason="dig is not installed (bind9-dnsutils)")
@pytest.mark.parametrize("engine", ENGINES)
def test_dig_goes_on_by_tcp_or_with_a_cookie(tmp_path: Path, engine: str) -> None:
    """Limited altogether: dig comes by TCP when told TC, and by UDP when it is given a cookie."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    config = "rrl: {responses_per_second: 1, burst_seconds: 1}\nlocal_zones: false\n"

    def dig(*options: str) -> str:
        arguments = ("@127.0.0.1", "-p", str(port), "-b", "127.7.7.2", "version.example.com", "TXT", *options)
        done = subprocess.run(["dig", *arguments], capture_output=True, text=True, timeout=60, check=True)
        assert '"a 1"' in done.stdout, done.stdout
        return done.stdout

    with serving(tmp_path, "--engine", engine, config=config) as server:
        (port,) = server.ports()
        with flooding(port):
            plain, with_cookie = dig("+nocookie"), dig("+cookie", "+qr")
    assert ";; Truncated, retrying in TCP mode." in plain
    assert "(TCP)" in plain
    assert ";; BADCOOKIE, retrying." in with_cookie
    assert "(UDP)" in with_cookie
    assert "(good)" in with_cookie


def test_the_limit_is_taken_up_by_a_reload(tmp_path: Path) -> None:
    """Switched on and off by SIGHUP, with what is known of networks kept while it is on."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    with serving(tmp_path, config="local_zones: false\n") as server:
        (port,) = server.ports()
        assert 300 == sum(bool(texts(wire)) for wire in flood(port, FLOOD, 300))
        (tmp_path / "geodns.yaml").write_text(CONFIG)
        server.send(signal.SIGHUP)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(flood(port, FLOOD, 200)) == 200 and time.monotonic() < deadline:
            pass
        assert sum(bool(texts(wire)) for wire in flood(port, FLOOD, 200)) < 200
