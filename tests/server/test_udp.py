"""The UDP loop, on real sockets, with an engine that does as it is told."""

import contextlib
import io
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from geodns.config import Listen
from geodns.engine.snapshot import Snapshot
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import bind_all
from geodns.server.udp import UdpServer
from geodns.table.compile import link
from tests.server.serving import Client, query

QUERY = query("example.com")


class Engine:
    """Answers by echo, except for what `does` says; remembers who asked."""

    def __init__(self) -> None:
        self.does: dict[bytes, Callable[[], bytes | None]] = {}
        self.calls: list[tuple[bytes, str, bool]] = []
        self.draws: list[tuple[int, int]] = []

    def __call__(self, packet, client, snapshot, draw, now, stream, trace, left):
        self.calls.append((packet, client, stream))
        self.draws.append((draw, now))
        return self.does.get(packet, lambda: packet)()


def fails(error: Exception) -> Callable[[], bytes | None]:
    def fail() -> bytes | None:
        raise error

    return fail


class Running:
    def __init__(self, host: str) -> None:
        self.engine = Engine()
        self.said = io.StringIO()
        self.served = Served(Snapshot(link([])), Sayer(self.said), self.engine)
        (self.bound,) = bind_all([Listen(host, 0)], 1 << 20)
        self.lost = threading.Event()
        self.udp = UdpServer(self.bound, self.served, self.lost.set)
        self.udp.start()
        to = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        self.client = Client(self.bound.listen.port, to)


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1", "::"])
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    """A server on each kind of address: one's own, and every."""
    running = Running(request.param)
    yield running
    running.udp.stop()
    assert not running.udp.is_alive


def test_the_engine_gets_the_packet_and_the_client(running: Running):
    """The packet as it came, the address in text, 32 random bits, seconds, and that it is no stream."""
    for _ in range(20):
        assert QUERY == running.client.ask(QUERY)
    client = "::1" if ":" in running.bound.listen.host else "127.0.0.1"
    assert {(QUERY, client, False)} == set(running.engine.calls)
    assert len({draw for draw, _ in running.engine.draws}) == 20
    assert all(0 <= draw < 1 << 32 and isinstance(now, int) for draw, now in running.engine.draws)


def test_silence_is_silence(running: Running):
    """What the engine does not answer gets no answer; the next query does."""
    running.engine.does = {b"hush": lambda: None, b"": lambda: None}
    running.client.socket.send(b"hush")
    running.client.socket.send(b"")
    assert b"next" == running.client.ask(b"next")


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("odd"), RecursionError(), MemoryError()])
def test_a_failing_engine_costs_one_query(running: Running, error: Exception):
    """The engine's exception is answered SERVFAIL, counted and told; the thread goes on."""
    running.engine.does[QUERY] = fails(error)
    answer = running.client.ask(QUERY)
    assert (QUERY[:2], 2) == (answer[:2], answer[3] & 15)
    assert b"fine" == running.client.ask(b"fine")
    assert 1 == running.served.engine_errors
    assert f"the engine failed on a query from {running.engine.calls[0][1]}" in running.said.getvalue()


def test_failures_are_told_rarely(running: Running):
    """A thousand packets that make the engine fail make one line, not a full disk."""
    running.engine.does[QUERY] = fails(ValueError("a bug"))
    for _ in range(1000):
        running.client.ask(QUERY)
    assert 1000 == running.served.engine_errors
    assert 1 == running.said.getvalue().count("\n")


def test_an_answer_that_can_not_be_sent_costs_itself(running: Running):
    """EMSGSIZE and the like: that answer is lost, the next one is not."""
    running.engine.does[b"huge"] = lambda: bytes(70_000)
    running.client.socket.send(b"huge")
    assert b"next" == running.client.ask(b"next")
    assert 1 == running.udp.send_errors
    assert not running.lost.is_set()


def test_a_client_that_is_gone_costs_nothing(running: Running):
    """Answers to a port where nobody listens any more (ECONNREFUSED) disturb no other client."""
    go, sent = threading.Event(), threading.Event()

    def slowly() -> bytes:
        sent.set()
        go.wait(10)
        return b"late"

    running.engine.does[b"bye"] = slowly
    gone = Client(running.bound.listen.port, running.client.socket.getpeername()[0])
    gone.socket.send(b"bye")
    sent.wait(10)
    gone.socket.close()
    go.set()
    for _ in range(3):
        assert b"next" == running.client.ask(b"next")


def test_stop_answers_what_is_queued():
    """Queries that the socket has when the server is told to end are answered."""
    running = Running("127.0.0.1")
    begun, go = threading.Event(), threading.Event()

    def slowly() -> bytes:
        begun.set()
        go.wait(10)
        return b"first"

    running.engine.does[b"1st"] = slowly
    for packet in (b"1st", b"second", b"third"):
        running.client.socket.send(packet)
    begun.wait(10)
    threading.Timer(0.05, go.set).start()
    running.udp.stop()
    assert [b"first", b"second", b"third"] == [running.client.socket.recv(100) for _ in range(3)]
    assert not running.udp.is_alive
    assert not running.lost.is_set()


def test_a_lost_socket_is_told():
    """A thread that can not go on says so, so that the server ends and is started again."""
    running = Running("127.0.0.1")
    with contextlib.suppress(OSError):
        running.bound.udp.shutdown(socket.SHUT_RD)  # wakes the thread all the same
    assert running.lost.wait(10)
