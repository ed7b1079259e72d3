"""The native sockets, with the real engine: what the Python ones promise, they keep."""

import asyncio
import contextlib
import io
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import dns.message
import dns.rcode
import pytest

from geodns.config import Limits, Listen
from geodns.engine.answer import answer
from geodns.engine.native import why_not
from geodns.engine.snapshot import RRL_KEY_OCTETS, Rrl
from geodns.server.native import NativeListeners, cores
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import BindError, bind_all
from tests.conftest import make_snapshot
from tests.server.serving import PATIENCE_SECONDS, query, texts, zone_text

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

QUERY = query("version.example.com")
LONG_SECONDS = 3600.0  # an idle time that no test reaches
HOSTS = ("127.0.0.1", "0.0.0.0", "::1", "::")
AN_ANSWER = QUERY[:2] + b"\x80" + QUERY[3:]  # which is no query
SNAPSHOT = make_snapshot({"example.com": zone_text()})
ANSWER_OCTETS = len(answer(QUERY, "127.0.0.1", SNAPSHOT, 0, 0) or b"")


def numbered(number: int) -> bytes:
    return number.to_bytes(2) + QUERY[2:]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


class Running:
    """Listeners on all kinds of address."""

    def __init__(self, udp_sockets: int = 1, **limits: float) -> None:
        from geodns._native import Engine

        self.said = io.StringIO()
        say = Sayer(self.said)
        engine = Engine()
        self.served = Served(SNAPSHOT, say, publish=engine.publish)
        self.served.publish()
        self.bounds = bind_all([Listen(host, 0) for host in HOSTS], 1 << 20, udp_sockets)
        self.lost = asyncio.Event()
        self.limits = Limits(**{"tcp_idle_seconds": LONG_SECONDS} | limits)
        self.listeners = NativeListeners(self.bounds, self.limits, engine, self.served, self.lost.set)

    @property
    def server(self):
        return self.listeners.server

    def port(self, host: str = "127.0.0.1") -> int:
        return self.bounds[HOSTS.index(host)].listen.port

    def udp(self, host: str = "127.0.0.1") -> socket.socket:
        """A client of this address."""
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), self.port(host)))
        return sock

    async def connect(self, host: str = "127.0.0.1", source: str | None = None) -> "Client":
        local = None if source is None else (source, 0)
        to = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        return Client(*await asyncio.open_connection(to, self.port(host), local_addr=local))

    def count(self, protocol: str, name: str) -> int:
        return self.server.counters()[protocol].get(name, 0)


class Client:
    """A TCP connection."""

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

    async def ask(self, message: bytes = QUERY) -> list[str]:
        self.send(framed(message))
        return texts(await self.receive())

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as closing."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            with contextlib.suppress(ConnectionResetError):
                return await self.reader.read()
            return b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0)


Run = Callable[..., Awaitable[Running]]
ANSWER = ["a 1", "b 1"]


@pytest.fixture
async def run() -> AsyncIterator[Run]:
    """Starts listeners; in the end nothing of them may be left."""
    started: list[Running] = []

    async def run(udp_sockets: int = 1, **limits: float) -> Running:
        running = Running(udp_sockets, **limits)
        await running.listeners.start()
        started.append(running)
        return running

    yield run
    for running in started:
        await running.listeners.stop()
        assert not running.listeners.is_alive
        for bound in running.bounds:
            bound.close()


# UDP


@pytest.mark.parametrize("host", HOSTS)
async def test_answers_on_every_kind_of_address(run: Run, host: str):
    """UDP and TCP, both families, an address of one's own and every address."""
    running = await run()
    with running.udp(host) as client:
        client.send(QUERY)
        assert ANSWER == texts(client.recv(4096))
    assert ANSWER == await (await running.connect(host)).ask()


async def test_silence_is_silence(run: Run):
    """What is no query gets no answer, and is counted; the next query is answered."""
    running = await run()
    with running.udp() as client:
        client.send(b"")
        client.send(b"x")
        client.send(QUERY)
        assert ANSWER == texts(client.recv(4096))
    await until(lambda: [1] == list(running.listeners.sums().asked.values()))
    assert (3, 2) == (running.count("udp", "queries"), running.count("udp", "silent"))


async def test_a_query_that_is_too_long(run: Run):
    """Longer than any query: FORMERR, as the Python engine says for what is cut."""
    running = await run()
    with running.udp() as client:
        client.send(QUERY + bytes(10_000))
        assert dns.rcode.FORMERR == dns.message.from_wire(client.recv(4096)).rcode()


async def test_clients_are_spread_over_the_threads(run: Run):
    """With a socket for each thread all of them answer, and each client gets its own answers."""
    running = await run(udp_sockets=4)
    assert 4 * len(HOSTS) == sum(1 + len(bound.more_udp) for bound in running.bounds)
    clients = [running.udp() for _ in range(50)]
    for number, client in enumerate(clients):
        client.send(numbered(number))
    for number, client in enumerate(clients):
        assert numbered(number)[:2] == client.recv(4096)[:2]
        client.close()


def test_nobody_else_comes_in_beside_a_group():
    """Several sockets on an address do not let a second server have it as well, and take half the queries."""
    (bound,) = bind_all([Listen("127.0.0.1", 0)], 1 << 16, 3)
    for count in (1, 3):
        with pytest.raises(BindError, match="the address is in use"):
            bind_all([bound.listen], 1 << 16, count)
    bound.close()


async def test_stop_answers_what_is_queued(run: Run):
    """Queries that the sockets have when the server is told to end are answered, over UDP and over TCP."""
    running = await run(udp_sockets=2)
    clients = [running.udp() for _ in range(20)]
    stream = await running.connect()
    assert ANSWER == await stream.ask()
    for client in clients:
        for number in range(20):
            client.send(numbered(number))
    stream.send(b"".join(framed(numbered(number)) for number in range(200)))
    await stream.writer.drain()
    began = time.monotonic()
    await running.listeners.stop()
    assert time.monotonic() - began < 1
    for client in clients:
        assert [numbered(number)[:2] for number in range(20)] == [client.recv(4096)[:2] for _ in range(20)]
        client.close()
    rest = await stream.rest()
    assert 200 * (2 + ANSWER_OCTETS) == len(rest)
    with pytest.raises(ConnectionRefusedError):
        await running.connect()


async def test_a_lost_socket_is_told(run: Run):
    """A thread that can not go on says so, so that the server ends and is started again."""
    running = await run()
    with contextlib.suppress(OSError):
        running.bounds[0].udp.shutdown(socket.SHUT_RD)
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running.lost.wait()


async def test_a_snapshot_replaced_under_load(run: Run):
    """Every query is answered, by the one snapshot or the other, while they are exchanged without a pause."""
    running = await run()
    second = make_snapshot({"example.com": zone_text(2)})
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def ask() -> set[tuple[str, ...]]:
        seen = set()
        with running.udp() as client:
            for _ in range(3000):
                client.send(QUERY)
                seen.add(tuple(texts(client.recv(4096))))
        loop.call_soon_threadsafe(done.set)
        return seen

    asking = loop.run_in_executor(None, ask)
    while not done.is_set():
        for snapshot in (second, SNAPSHOT):
            running.served.publish(table=snapshot.table, partitions=snapshot.partitions)
            await asyncio.sleep(0)
    assert {("a 1", "b 1"), ("a 2", "b 2")} == await asking


async def test_what_can_not_be_published_changes_nothing(run: Run):
    """A snapshot that the engine does not take is an error for who publishes it; the one before is served."""
    running = await run()
    with pytest.raises((TypeError, AttributeError)):
        running.served.publish(table=None)
    assert SNAPSHOT.table is running.served.snapshot.table
    assert ANSWER == await (await running.connect()).ask()


# TCP


async def test_octet_by_octet(run: Run):
    """RFC 7766 section 8: lengths and messages may be split anyhow."""
    running = await run()
    client = await running.connect()
    client.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for octet in framed(QUERY) * 2:
        client.send(bytes([octet]))
        await asyncio.sleep(0.001)
    assert [ANSWER, ANSWER] == [texts(await client.receive()) for _ in range(2)]


async def test_a_hundred_queries_in_one_segment(run: Run):
    """RFC 7766 section 6.2.1.1: pipelined queries are all answered, in their order."""
    running = await run()
    client = await running.connect()
    client.send(b"".join(framed(numbered(number)) for number in range(100)))
    assert [numbered(number)[:2] for number in range(100)] == [
        (await client.receive())[:2] for _ in range(100)
    ]


async def test_many_queries_leave_others_their_turn(run: Run):
    """While one client's many queries are answered, another one does not wait for all of them."""
    running = await run(tcp_queries_per_turn=1)
    greedy, modest = await running.connect(), await running.connect()
    assert ANSWER == await modest.ask()
    greedy.send(framed(QUERY) * 30_000)
    await until(lambda: running.count("tcp", "queries") > 10)
    assert ANSWER == await modest.ask()
    assert running.count("tcp", "queries") < 30_000
    for _ in range(30_000):
        await greedy.receive()


async def test_a_half_closed_connection_is_answered(run: Run):
    """A client may say that it has no more queries and still read the answers; then we close."""
    running = await run()
    client = await running.connect()
    client.send(framed(QUERY) * 3000 + framed(QUERY)[:9])
    client.writer.write_eof()
    for _ in range(3000):
        assert QUERY[:2] == (await client.receive())[:2]
    assert b"" == await client.rest()
    assert 3000 == running.count("tcp", "queries")


@pytest.mark.parametrize("garbage", [framed(AN_ANSWER) * 9, framed(b""), framed(b"x" * 11)])
async def test_what_is_not_dns_is_closed(run: Run, garbage: bytes):
    """What was asked before is answered; a message that is none ends the connection."""
    running = await run()
    client = await running.connect()
    assert ANSWER == await client.ask()
    client.send(garbage)
    assert b"" == await client.rest()


async def test_an_idle_connection_is_closed(run: Run):
    """After tcp_idle_seconds without a query; and a limit that is lowered holds for those who are there."""
    running = await run(tcp_idle_seconds=0.05)
    client = await running.connect()
    assert ANSWER == await client.ask()
    assert b"" == await client.rest()
    running.listeners.limit(Limits(tcp_idle_seconds=LONG_SECONDS))
    client = await running.connect()
    assert ANSWER == await client.ask()
    running.listeners.limit(Limits(tcp_idle_seconds=0.05))
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
    assert 0 == running.count("tcp", "queries")


def deaf(running: Running) -> socket.socket:
    """A client with little room for answers, which it does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
    sock.connect(("127.0.0.1", running.port()))
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
    """Its queries are not even read once its answers pile up; when it reads, everything is there."""
    running = await run(tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    sent = await send_all_it_takes(sock, framed(QUERY) * 100)
    answered = running.count("tcp", "queries")
    assert answered < 100 * sent
    received = 0
    while received < 100 * sent * (2 + ANSWER_OCTETS):
        async with asyncio.timeout(PATIENCE_SECONDS):
            received += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 16))
    sock.close()
    await until(lambda: not running.server.connections)


async def test_a_client_that_never_reads_is_cut_off(run: Run):
    """With answers unread for tcp_idle_seconds the connection is reset and its memory given back."""
    running = await run(tcp_idle_seconds=0.2, tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        await send_all_it_takes(sock, framed(QUERY) * 100, PATIENCE_SECONDS)
    sock.close()
    await until(lambda: not running.server.connections)


async def test_the_longest_idle_makes_way(run: Run):
    """RFC 7766 section 6.2.3: with all connections in use, the idlest one is closed for a new one."""
    running = await run(tcp_connections=3)
    clients = [await running.connect() for _ in range(3)]
    for number in (1, 2, 0):
        assert ANSWER == await clients[number].ask()
    newcomer = await running.connect()
    assert ANSWER == await newcomer.ask()
    assert b"" == await clients[1].rest()
    for number in (2, 0):
        assert ANSWER == await clients[number].ask()
    assert (3, 1) == (running.server.connections, running.count("tcp", "evicted"))


async def test_one_client_can_not_have_them_all(run: Run):
    """Beyond tcp_connections_per_client a client's connections are closed at once; others' are not."""
    running = await run(tcp_connections_per_client=2)
    mine = [await running.connect() for _ in range(2)]
    for client in mine:
        assert ANSWER == await client.ask()
    assert b"" == await (await running.connect()).rest()
    other = await running.connect(source="127.0.0.2")
    assert ANSWER == await other.ask()
    mine[0].writer.close()
    await until(lambda: running.server.connections == 2)
    assert ANSWER == await (await running.connect()).ask()
    assert 1 == running.count("tcp", "refused")


async def test_vanished_clients_are_forgotten(run: Run):
    """A reset in the middle of anything leaves nothing behind."""
    running = await run()
    for _ in range(50):
        client = await running.connect()
        client.send(framed(QUERY) * 50)
        client.writer.transport.abort()
    survivor = await running.connect()
    assert ANSWER == await survivor.ask()
    await until(lambda: running.server.connections == 1)


async def test_stop_does_not_wait_for_the_deaf(run: Run):
    """A client that reads nothing does not keep the server from ending."""
    running = await run(tcp_write_buffer_octets=1 << 14)
    sock = deaf(running)
    await send_all_it_takes(sock, framed(QUERY) * 100)
    async with asyncio.timeout(5):
        await running.listeners.stop()
    assert 0 == running.server.connections
    sock.close()


async def test_idle_connections_are_cheap(run: Run):
    """A thousand of them take less than ten megabytes, and other clients are answered."""
    running = await run(tcp_connections=2000, tcp_connections_per_client=2000)
    before = resident_octets()
    clients = []
    for _ in range(1000):
        clients.append(socket.create_connection(("127.0.0.1", running.port())))
        clients[-1].sendall(framed(QUERY))
    for client in clients:
        assert client.recv(4096)
    assert 1000 == running.server.connections
    assert resident_octets() - before < 10 << 20
    assert ANSWER == await (await running.connect()).ask()
    for client in clients:
        client.close()


def resident_octets() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


# Services


OTHERS = [
    query("id.server", rdclass="CH"),
    query("nobody.knows.bind", rdclass="CH"),
    query("example.com", "AXFR"),
    query("example.com", "IXFR"),
    b"\7\7\x20\0" + QUERY[4:],  # NOTIFY
    b"\7\7\x28\0" + bytes(8),  # UPDATE, of nothing
]


@pytest.mark.parametrize("host", HOSTS)
async def test_what_is_left_to_services_is_answered(run: Run, host: str):
    """Other opcodes, transfers and the CHAOS class are answered as the Python engine answers them, on both
    transports, from the address that was asked, and counted like everything else.
    """
    running = await run()
    running.listeners.sample(1)
    stream = await running.connect(host)
    with running.udp(host) as client:
        for number, packet in enumerate(OTHERS):
            for is_stream in (False, True):
                expected = answer(packet, "127.0.0.1", running.served.snapshot, 0, 0, is_stream)
                if is_stream:
                    stream.send(framed(packet) + framed(numbered(number)))
                    assert expected == await stream.receive()
                    assert numbered(number)[:2] == (await stream.receive())[:2]
                else:
                    client.send(packet)
                    assert expected == client.recv(4096)
    await until(lambda: sum(running.listeners.sums().asked.values()) == 3 * len(OTHERS))
    counters = running.listeners.sums().counters
    assert (len(OTHERS), 2 * len(OTHERS)) == tuple(counters[name]["queries"] for name in ("udp", "tcp"))
    assert set(OTHERS) <= {event.query for event in running.listeners.sampled()}


async def test_no_query_waits_for_a_service(run: Run):
    """While Python does nothing at all, and more come for it than may wait, those get SERVFAIL at once; what
    the engine answers itself is answered; and so are those that wait, in the end.
    """
    running = await run()
    may_go_on = threading.Event()

    def slow(*args: object) -> bytes | None:
        may_go_on.wait(PATIENCE_SECONDS)
        return answer(*args)

    running.served.answer = slow
    rcodes: list[int] = []
    stream = await running.connect()
    stream.send(framed(OTHERS[0]) + framed(QUERY))
    with running.udp() as client:
        for _ in range(400):
            client.send(OTHERS[0])
            client.send(QUERY)
            while (reply := client.recv(4096))[:2] != QUERY[:2]:
                rcodes.append(reply[3] & 15)
        crowded = running.count("udp", "crowded")
        assert 140 <= crowded <= 145  # 256 wait, one is being answered, another may have come by TCP
        assert [dns.rcode.SERVFAIL] * crowded == rcodes
        may_go_on.set()
        assert {dns.rcode.NOERROR} == {client.recv(4096)[3] & 15 for _ in range(400 - crowded)}
    assert OTHERS[0][:2] == (await stream.receive())[:2]
    assert ANSWER == texts(await stream.receive())


async def test_a_service_that_fails(run: Run):
    """It costs that one query, which is answered SERVFAIL and told; over TCP silence ends a connection."""
    running = await run()

    def broken(*args: object) -> bytes | None:
        raise ZeroDivisionError("told to")

    running.served.answer = broken
    with running.udp() as client:
        client.send(OTHERS[0])
        assert dns.rcode.SERVFAIL == client.recv(4096)[3] & 15
        assert (
            "the engine failed on a query from 127.0.0.1: ZeroDivisionError: told to"
            in running.said.getvalue()
        )
        running.served.answer = lambda *args: None
        stream = await running.connect()
        stream.send(framed(OTHERS[0]))
        assert b"" == await stream.rest()
        running.served.answer = answer
        client.send(OTHERS[0])
        assert dns.rcode.NOERROR == client.recv(4096)[3] & 15


async def test_services_are_rate_limited(run: Run):
    """What Python answers over UDP goes by the same buckets as what the engine answers."""
    running = await run()
    running.served.publish(rrl=Rrl((1, 1, 1, 1, 1), 2, 0, 24, 56, (), False, False, bytes(RRL_KEY_OCTETS)))
    with running.udp() as client:
        for _ in range(50):
            client.send(OTHERS[0])
        await until(lambda: running.listeners.sums().counters["udp"]["queries"] == 50)
        assert 2 <= 50 - running.listeners.sums().counters["udp"]["limited"] <= 10  # two, and one a second


async def test_stop_answers_what_services_have(run: Run):
    """What waits for Python when the server is told to end has its reply before the end."""
    running = await run()
    with running.udp() as client:
        for _ in range(100):
            client.send(OTHERS[0])
        stream = await running.connect()
        stream.send(framed(OTHERS[0]) + framed(QUERY))
        await until(lambda: running.server.connections == 1)
        await running.listeners.stop()
        assert {OTHERS[0][:2]} == {client.recv(4096)[:2] for _ in range(100)}
        assert OTHERS[0][:2] == (await stream.receive())[:2]
        assert ANSWER == texts(await stream.receive())


def test_there_is_a_thread_for_each_core():
    """As many as this process may use."""
    assert cores() >= 1
