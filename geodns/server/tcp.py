"""TCP: RFC 7766, with asyncio; pipelined queries are answered in the order in which they came.

    octets --split by length--> queries --engine.answer--> answers with length --> transport
       ^                                                                              |
       +--- reading stops while the client does not read, or others have their turn --+

Everything that a client can make us hold is bounded: its connections, the time they idle, the octets that
wait in either direction. When all connections are in use, the one that has been idle longest makes way for a
new one.
"""

import asyncio
import contextlib
from collections import Counter, OrderedDict
from ipaddress import IPv6Address
from random import getrandbits
from socket import socket
from typing import cast

from geodns.config import Limits
from geodns.engine.decide import DRAW_BITS
from geodns.server.served import Served
from geodns.server.sockets import TCP_BACKLOG, Bound
from geodns.traffic.sums import TCP
from geodns.traffic.tally import Tally

LENGTH_OCTETS = 2  # RFC 1035 section 4.2.2: the length of the message, before the message
HEADER_OCTETS = 12  # RFC 1035 section 4.1.1: nothing shorter is a message
READ_OCTETS = 64 << 10  # taken from the socket at a time: one message of the largest size
ANSWERS_OCTETS_MAX = 16 << 10  # answers of one turn gathered into one write, to save system calls
SWEEPS_PER_IDLE_TIME = (
    4  # an idle connection lives a quarter longer than it may; each sweep looks at the expired only
)
SWEEP_SECONDS_MAX = 1.0  # so that a limit lowered by a reload holds soon
DRAIN_LOOK_SECONDS = 0.05  # between looks at whether the clients have gone
DRAIN_SECONDS = 10.0  # for clients that never fall idle: as long as others may be idle by default
STOP_SECONDS = 0.5  # to let clients read what was answered, when the server ends
PREFIX6_BITS = 64  # of an IPv6 client: one host commands a whole /64


class TcpServer:
    """Accepts on all sockets and keeps the connections within the limits, from `start` until `stop`."""

    def __init__(self, served: Served, limits: Limits) -> None:
        self.served = served
        self.limits = limits  # may be replaced while serving
        self.tally = Tally(TCP)
        self.accepted = 0  # connections
        self.refused = 0  # connections closed at once, for the limits
        self.evicted = 0  # idle connections closed to make room
        self._servers: list[asyncio.Server] = []
        self._idle: OrderedDict[Connection, float] = OrderedDict()  # since when, the longest first
        self._clients: Counter[str] = Counter()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied = asyncio.Event()

    async def start(self, bounds: list[Bound]) -> None:
        """Begin to accept on every `Bound.tcp`, which becomes ours."""
        loop = asyncio.get_running_loop()
        for bound in bounds:
            listener: socket = bound.tcp
            server = await loop.create_server(lambda: Connection(self), sock=listener, backlog=TCP_BACKLOG)
            self._servers.append(server)
        self._sweep()

    async def stop(self) -> None:
        """Accept no more, answer what has arrived, give clients STOP_SECONDS to read it, close everything."""
        for server in self._servers:
            server.close()
        for connection in list(self._idle):
            connection.finish()
        if self._idle:
            self._emptied.clear()
            try:
                async with asyncio.timeout(STOP_SECONDS):
                    await self._emptied.wait()
            except TimeoutError:
                for connection in list(self._idle):
                    connection.abort()
        if self._sweeper is not None:
            self._sweeper.cancel()

    async def drain(self, patience_seconds: float = DRAIN_SECONDS) -> None:
        """Accept no more, but answer until the clients have gone, or were idle for as long as they may be.

        Another process accepts from the same queue meanwhile, or will.
        """
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listener in server.sockets:
                loop.remove_reader(listener.fileno())
        # A closed server drops what it has accepted and not made a connection of yet: a turn or two.
        await asyncio.sleep(DRAIN_LOOK_SECONDS)
        for server in self._servers:
            server.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience_seconds):
                while self._idle:
                    await asyncio.sleep(DRAIN_LOOK_SECONDS)
        await self.stop()

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._idle)

    def admit(self, connection: "Connection") -> bool:
        """Count a new connection in, if the limits allow it; room is made by closing the longest idle."""
        client = _counted_as(connection.client)
        self.accepted += 1
        if self._clients[client] >= self.limits.tcp_connections_per_client:
            self.refused += 1
            return False
        if len(self._idle) >= self.limits.tcp_connections:
            # RFC 7766 section 6.2.3: a server may close idle connections at will when it runs short of
            # resources.
            next(iter(self._idle)).abort()
            self.evicted += 1
        self._clients[client] += 1
        self.touch(connection)
        return True

    def touch(self, connection: "Connection") -> None:
        """The connection did something useful just now."""
        self._idle[connection] = asyncio.get_running_loop().time()
        self._idle.move_to_end(connection)

    def forget(self, connection: "Connection") -> None:
        """Count a connection out; nothing happens for one that was not admitted or is out already."""
        if self._idle.pop(connection, None) is None:
            return
        client = _counted_as(connection.client)
        self._clients[client] -= 1
        if not self._clients[client]:
            del self._clients[client]
        if not self._idle:
            self._emptied.set()

    def _sweep(self) -> None:
        loop = asyncio.get_running_loop()
        idle_seconds = self.limits.tcp_idle_seconds
        expired = loop.time() - idle_seconds
        while self._idle and next(iter(self._idle.values())) <= expired:
            next(iter(self._idle)).expire()
        seconds = min(idle_seconds / SWEEPS_PER_IDLE_TIME, SWEEP_SECONDS_MAX)
        self._sweeper = loop.call_later(seconds, self._sweep)


class Connection(asyncio.BufferedProtocol):
    """One client's connection. Idle means: no whole query, and no reading by the client, for a while.

    Octets that trickle in do not count, or a client could hold a connection for ever with one octet a second.
    """

    def __init__(self, server: TcpServer) -> None:
        self._server = server
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)  # set by connection_made
        self._incoming = bytearray()  # what came and is not answered yet: less than two reads and a message
        self._buffer = _READ_BUFFER
        self._writable = True
        self._at_end = False  # the client has sent all it will
        self._turn: asyncio.Handle | None = None  # more queries wait for the next turn
        self.client, self.port = "", 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.client, self.port = peer[:2] if peer else ("", 0)  # gone before we could ask
        if not peer or not self._server.admit(self):
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=self._server.limits.tcp_write_buffer_octets)

    def connection_lost(self, exc: Exception | None) -> None:
        self._close()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._incoming += self._buffer[:nbytes]
        self._answer()

    def eof_received(self) -> bool:
        """The client may have closed its half only; what it asked is answered (RFC 7766 section 6.2.4)."""
        self._at_end = True
        if self._turn is None and self._writable:
            self._answer()
        return True  # we close, when everything is answered

    def pause_writing(self) -> None:
        """The client does not read its answers: we read no more of its queries."""
        self._writable = False
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable = True
        self._server.touch(self)
        self._answer()

    def finish(self) -> None:
        """Answer what is here and close; what the client has not read yet is still sent."""
        self._at_end = True
        if self._turn is None and self._writable:
            self._answer()

    def expire(self) -> None:
        """Close for idleness. A client that left answers unread is cut off: they would stay in memory."""
        if self._transport.get_write_buffer_size():
            self.abort()
        else:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever waits to be sent."""
        self._transport.abort()
        self._close()

    def _close(self) -> None:
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._incoming.clear()
        self._transport.close()
        self._server.forget(self)

    def _answer(self) -> None:
        """Answer until no query is whole, the client should read first, or others have their turn."""
        if self._transport.is_closing():
            return
        self._turn = None
        incoming = self._incoming
        served, tally = self._server.served, self._server.tally
        left = self._server.limits.tcp_queries_per_turn
        at = 0
        answers = bytearray()
        while self._writable and left and len(incoming) - at >= LENGTH_OCTETS:
            octets = incoming[at] << 8 | incoming[at + 1]
            end = at + LENGTH_OCTETS + octets
            if len(incoming) < end and octets >= HEADER_OCTETS:
                break
            reply = None
            if octets >= HEADER_OCTETS:
                packet = bytes(incoming[at + LENGTH_OCTETS : end])
                reply = served.over_stream(packet, self.client, self.port, getrandbits(DRAW_BITS), tally)
            if reply is None:
                # Not a query, so this client does not speak DNS, or no longer keeps step with the lengths.
                self._transport.write(answers)
                self._close_politely()
                return
            at = end
            left -= 1
            answers += len(reply).to_bytes(LENGTH_OCTETS)
            answers += reply
            if len(answers) >= ANSWERS_OCTETS_MAX:
                self._transport.write(answers)  # may call pause_writing
                answers = bytearray()
        if answers:
            self._transport.write(answers)
        if at:
            del incoming[:at]
            self._server.touch(self)
        self._go_on(is_waiting=not left)

    def _go_on(self, is_waiting: bool) -> None:
        """What comes after a turn: wait for the client to read, for the others, for more, or close."""
        if not self._writable:
            return
        if is_waiting:
            self._transport.pause_reading()
            self._turn = asyncio.get_running_loop().call_soon(self._answer)
        elif self._at_end:
            self._close_politely()
        else:
            self._transport.resume_reading()

    def _close_politely(self) -> None:
        """Send what was answered, then close. Until then the connection counts, and idles."""
        self._incoming.clear()
        self._transport.close()


_READ_BUFFER = memoryview(
    bytearray(READ_OCTETS)
)  # for all connections: what is read is copied on before the next read


def _counted_as(client: str) -> str:
    """The client as the limit per client sees it: an IPv4 address, or an IPv6 /64."""
    if ":" not in client:
        return client
    return str(int(IPv6Address(client.partition("%")[0])) >> (128 - PREFIX6_BITS))
