"""Backends that the tests of health check: real processes, to be killed, and sockets that never answer."""

import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import dns.message

from tests.server.serving import PATIENCE_SECONDS, Client, query

# Answers HTTP with 200, or in turn with 200 and 503, and writes the time of each request and its status.
_BACKEND = """
import sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

count = 0

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        global count
        status = 503 if sys.argv[3] == "flapping" and count % 2 else 200
        count += 1
        sys.stdout.write(f"{time.monotonic()} {status}\\n")
        sys.stdout.flush()
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args):
        pass

server = HTTPServer((sys.argv[1], int(sys.argv[2])), Handler)
sys.stdout.write("ready\\n")
sys.stdout.flush()
server.serve_forever()
"""


class Backend:
    """An HTTP server at an address, as a process; `requests` are (monotonic time, status) so far."""

    def __init__(self, host: str, port: int, way: str = "steady") -> None:
        command = [sys.executable, "-S", "-c", _BACKEND, host, str(port), way]
        self._popen = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.requests: list[tuple[float, int]] = []
        assert "ready\n" == self._popen.stdout.readline()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._popen.stdout:
            at, status = line.split()
            self.requests.append((float(at), int(status)))

    def kill(self) -> float:
        """End it by SIGKILL; the monotonic time when it was gone."""
        self._popen.send_signal(signal.SIGKILL)
        self._popen.wait(PATIENCE_SECONDS)
        at = time.monotonic()
        self._reader.join(PATIENCE_SECONDS)
        self._popen.stdout.close()
        return at


@contextmanager
def backend(host: str, port: int, way: str = "steady") -> Iterator[Backend]:
    made = Backend(host, port, way)
    try:
        yield made
    finally:
        if made._popen.returncode is None:
            made.kill()


@contextmanager
def hanging(*hosts: str, port: int) -> Iterator[None]:
    """Sockets that take connections and say nothing."""
    sockets = [socket.create_server((host, port)) for host in hosts]
    yield
    for one in sockets:
        one.close()


def addresses(wire: bytes) -> tuple[str, ...]:
    """The addresses of an answer, in order; fails on one that is no good answer."""
    message = dns.message.from_wire(wire)
    assert 0 == message.rcode()
    return tuple(sorted(rdata.to_text() for rrset in message.answer for rdata in rrset))


class Load:
    """Asks for an A record again and again: `answers` are (monotonic time, addresses), `lost` had none."""

    def __init__(self, port: int, name: str) -> None:
        self.answers: list[tuple[float, tuple[str, ...]]] = []
        self.lost = 0
        self._client = Client(port)
        self._name = name
        self._stop = threading.Event()
        self._came = queue.SimpleQueue[None]()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        packet = query(self._name, "A")
        while not self._stop.wait(0.001):
            try:
                answer = self._client.ask(packet)
            except TimeoutError:
                self.lost += 1
                continue
            self.answers.append((time.monotonic(), addresses(answer)))
            self._came.put(None)

    def __enter__(self) -> "Load":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_SECONDS)
        self._client.socket.close()

    def wait_for(self, address: str, is_named: bool) -> float:
        """Wait until an answer names the address, or does not; the time of that answer."""
        checked = len(self.answers)
        while True:
            self._came.get(timeout=PATIENCE_SECONDS)
            for at, named in self.answers[checked:]:
                checked += 1
                if (address in named) == is_named:
                    return at

    def wait_until(self, at: float) -> None:
        """Go on asking until this monotonic time."""
        while time.monotonic() < at:
            self._came.get(timeout=PATIENCE_SECONDS)

    def naming(self, address: str, since: float, until: float = float("inf")) -> int:
        """How many answers of that time named the address."""
        return sum(address in named for at, named in list(self.answers) if since <= at < until)
