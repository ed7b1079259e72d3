"""TCP on real sockets: RFC 7766, and clients that do what no client should."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from geodns.config import Limits, Listen
from geodns.engine.snapshot import Snapshot
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import bind_all
from geodns.server.tcp import READ_OCTETS, TcpServer
from geodns.table.compile import link
from tests.server.serving import PATIENCE_SECONDS, query

QUERY = query("example.com")
LONG_SECONDS = 3600.0  # an idle time that no test reaches


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


class Engine:
    """Echoes, except for what `does` says."""

    def __init__(self) -> None:
        self.does: dict[bytes, Callable[[], bytes | None]] = {}
        self.calls: list[tuple[bytes, str, bool]] = []

    def __call__(self, packet, client, snapshot, draw, now, stream, trace, left):
        self.calls.append((packet, client, stream))
        return self.does.get(packet, lambda: packet)()


class Running:
    def __init__(self, **limits: float) -> None:
        self.engine = Engine()
        self.served = Served(Snapshot(link([])), Sayer(io.StringIO()), self.engine)
        self.bounds = bind_all([Listen("127.0.0.1", 0), Listen("::1", 0)], 1 << 16)
        self.server = TcpServer(self.served, Limits(**{"tcp_idle_seconds": LONG_SECONDS} | limits))

    async def connect(self, host: str = "127.0.0.1", source: str | None = None) -> "Client":
        bound = self.bounds[":" in host]
        local = None if source is None else (source, 0)
        reader, writer = await asyncio.open_connection(host, bound.listen.port, local_addr=local)
        return Client(reader, writer)


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def receive(self) -> bytes:
        """One message."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            length = int.from_bytes(await self.reader.readexactly(2))
            return await self.reader.readexactly(length)

    async def ask(self, message: bytes) -> bytes:
        self.send(framed(message))
        return await self.receive()

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as closing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                return await self.reader.read()
            except ConnectionResetError:
                return b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0)


Run = Callable[..., Awaitable[Running]]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Starts a server with these limits; in the end nothing of it may be left."""
    started: list[Running] = []

    async def run(**limits: float) -> Running:
        running = Running(**limits)
        await running.server.start(running.bounds)
        started.append(running)
        return running

    yield run
    for running in started:
        await running.server.stop()
        assert 0 == len(running.server)
        assert not running.server._clients
        for bound in running.bounds:
            bound.close()


async def test_a_query_is_answered_on_both_families(run: Run):
    """The engine gets the message without its length, the client's address, and that it is a stream."""
    running = await run()
    for host in ("127.0.0.1", "::1"):
        client = await running.connect(host)
        assert QUERY == await client.ask(QUERY)
    assert [(QUERY, "127.0.0.1", True), (QUERY, "::1", True)] == running.engine.calls


async def test_octet_by_octet(run: Run):
    """RFC 7766 section 8: lengths and messages may be split anyhow."""
    running = await run()
    client = await running.connect()
    sock = client.writer.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in framed(QUERY) * 2:
        client.send(bytes([octet]))
        await asyncio.sleep(0)
    assert [QUERY, QUERY] == [await client.receive() for _ in range(2)]


async def test_a_hundred_queries_in_one_segment(run: Run):
    """RFC 7766 section 6.2.1.1: pipelined queries are all answered."""
    running = await run()
    client = await running.connect()
    queries = [number.to_bytes(2) + QUERY[2:] for number in range(100)]
    client.send(b"".join(map(framed, queries)))
    assert queries == [await client.receive() for _ in range(100)]


async def test_many_queries_leave_others_their_turn(run: Run):
    """While one client's ten thousand queries are answered, another one does not wait for all of them."""
    running = await run(tcp_queries_per_turn=10)
    greedy, modest = await running.connect(), await running.connect()
    assert QUERY == await modest.ask(QUERY)
    running.engine.calls.clear()
    greedy.send(framed(b"g" * 20) * 10_000)
    await until(lambda: len(running.engine.calls) >= 10)
    assert b"m" * 20 == await modest.ask(b"m" * 20)
    assert len(running.engine.calls) < 10_000
    for _ in range(10_000):
        await greedy.receive()


async def test_the_largest_message(run: Run):
    """65535 octets in, 65535 octets out."""
    running = await run()
    client = await running.connect()
    assert bytes(65535) == await client.ask(bytes(65535))


async def test_a_half_closed_connection_is_answered(run: Run):
    """A client may say that it has no more queries and still read the answers; then we close."""
    running = await run()
    client = await running.connect()
    client.send(framed(QUERY) * 3000)
    client.writer.write_eof()
    assert framed(QUERY) * 3000 == await client.rest()


async def test_half_a_query_and_the_end(run: Run):
    """A client that ends in the middle of a query is closed without an answer."""
    running = await run()
    client = await running.connect()
    client.send(framed(QUERY) + framed(QUERY)[:9])
    client.writer.write_eof()
    assert framed(QUERY) == await client.rest()
    assert 1 == len(running.engine.calls)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n" * 2000, framed(b""), framed(b"x" * 11)])
async def test_what_is_not_dns_is_closed(run: Run, garbage: bytes):
    """What was asked before is answered; a message that is none ends the connection."""
    running = await run()
    client = await running.connect()
    client.send(framed(QUERY))
    assert QUERY == await client.receive()
    running.served.answer = lambda *_: None  # as the real one has it for garbage
    client.send(garbage)
    assert b"" == await client.rest()


async def test_a_failing_engine_costs_one_query(run: Run):
    """SERVFAIL, and the connection goes on."""
    running = await run()

    def fail() -> bytes:
        raise ValueError("a bug")

    running.engine.does[QUERY] = fail
    client = await running.connect()
    answer = await client.ask(QUERY)
    assert (QUERY[:2], 2) == (answer[:2], answer[3] & 15)
    assert b"y" * 20 == await client.ask(b"y" * 20)
    assert 1 == running.served.engine_errors


async def test_an_idle_connection_is_closed(run: Run):
    """After tcp_idle_seconds without a query."""
    running = await run(tcp_idle_seconds=0.05)
    client = await running.connect()
    assert QUERY == await client.ask(QUERY)
    assert b"" == await client.rest()


async def test_trickling_octets_are_idle(run: Run):
    """A client that sends an octet now and then, and never a whole query, is closed like a silent one."""
    running = await run(tcp_idle_seconds=0.2)
    client = await running.connect()
    closed = asyncio.create_task(client.rest())
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not closed.done():
            client.send(b"\1")
            await asyncio.wait([closed], timeout=0.01)
    assert b"" == closed.result()
    assert [] == running.engine.calls


def deaf(running: Running) -> socket.socket:
    """A client with little room for answers, which it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    sock.connect(("127.0.0.1", running.bounds[0].listen.port))
    sock.setblocking(False)
    return sock


async def send_all_it_takes(sock: socket.socket, message: bytes, quiet_seconds: float = 0.3) -> int:
    """Send the message again and again until nothing moves any more; how often it was sent whole."""
    sent = 0
    try:
        while True:
            async with asyncio.timeout(quiet_seconds):
                await asyncio.get_running_loop().sock_sendall(sock, message)
            sent += 1
    except TimeoutError:
        return sent


async def test_a_client_that_does_not_read_is_waited_for(run: Run):
    """Its queries are not even read once its answers pile up, so that it costs a bounded amount of memory."""
    running = await run(tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    message = framed(bytes(1000))
    sent = await send_all_it_takes(sock, message)
    (connection,) = running.server._idle
    waiting = connection._transport.get_write_buffer_size()
    assert (1 << 14) < waiting < (1 << 14) + (1 << 16)
    assert len(connection._incoming) <= 2 * READ_OCTETS
    answered = 0
    while answered < sent * len(message):  # and now it reads: everything is there
        async with asyncio.timeout(PATIENCE_SECONDS):
            answered += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 16))
    sock.close()
    await until(lambda: not len(running.server))


async def test_a_client_that_never_reads_is_cut_off(run: Run):
    """With answers unread for tcp_idle_seconds the connection is reset and its memory given back."""
    running = await run(tcp_idle_seconds=0.2, tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await send_all_it_takes(sock, framed(bytes(1000)), PATIENCE_SECONDS)
    sock.close()
    await until(lambda: not len(running.server))


async def test_the_longest_idle_makes_way(run: Run):
    """RFC 7766 section 6.2.3: with all connections in use, the idlest one is closed for a new one."""
    running = await run(tcp_connections=3)
    clients = [await running.connect() for _ in range(3)]
    for number in (1, 2, 0):
        assert QUERY == await clients[number].ask(QUERY)
    newcomer = await running.connect()
    assert QUERY == await newcomer.ask(QUERY)
    assert b"" == await clients[1].rest()
    for number in (2, 0):
        assert QUERY == await clients[number].ask(QUERY)
    assert (3, 1) == (len(running.server), running.server.evicted)


async def test_one_client_can_not_have_them_all(run: Run):
    """Beyond tcp_connections_per_client a client's connections are closed at once; others' are not."""
    running = await run(tcp_connections_per_client=2)
    mine = [await running.connect() for _ in range(2)]
    for client in mine:
        assert QUERY == await client.ask(QUERY)
    assert b"" == await (await running.connect()).rest()
    other = await running.connect(source="127.0.0.2")
    assert QUERY == await other.ask(QUERY)
    mine[0].writer.close()
    await until(lambda: len(running.server) == 2)
    assert QUERY == await (await running.connect()).ask(QUERY)
    assert 1 == running.server.refused


async def test_vanished_clients_are_forgotten(run: Run):
    """A reset in the middle of anything leaves nothing behind."""
    running = await run()
    for _ in range(50):
        client = await running.connect()
        client.send(framed(QUERY) * 50)
        client.writer.transport.abort()
    survivor = await running.connect()
    assert QUERY == await survivor.ask(QUERY)
    await until(lambda: len(running.server) == 1)


async def test_stop_answers_what_has_arrived(run: Run):
    """A server that ends answers the queries it has, and closes; new clients are refused."""
    running = await run(tcp_queries_per_turn=1)
    client = await running.connect()
    client.send(framed(QUERY) * 200)
    await until(lambda: len(running.engine.calls) >= 1)
    await running.server.stop()
    answers = await client.rest()
    assert framed(QUERY) * (len(answers) // len(framed(QUERY))) == answers
    assert 200 * len(framed(QUERY)) == len(answers)
    with pytest.raises(ConnectionRefusedError):
        await running.connect()


async def test_stop_does_not_wait_for_the_deaf(run: Run):
    """A client that reads nothing does not keep the server from ending."""
    running = await run(tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    await send_all_it_takes(sock, framed(bytes(60_000)))
    async with asyncio.timeout(5):
        await running.server.stop()
    assert 0 == len(running.server)
    sock.close()
