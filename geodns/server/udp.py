"""UDP: one thread a socket, which does nothing but receive, ask the engine, and send.

    recvfrom -> engine.answer -> sendto             (a socket with an address of its own)
    recvmsg + PKTINFO -> engine.answer -> sendmsg   (0.0.0.0 and [::]: the reply leaves from the address
    asked)

A blocking thread costs a system call less per query than an event loop does, and none of its bookkeeping.
Whatever goes wrong with one query or one client costs that one answer.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from random import getrandbits
from socket import IPPROTO_IP, IPPROTO_IPV6
from typing import Any

from geodns.engine.decide import DRAW_BITS
from geodns.server.served import Drained, Served
from geodns.server.sockets import Bound
from geodns.traffic.event import NANOSECONDS
from geodns.traffic.sums import UDP
from geodns.traffic.tally import Tally

QUERY_OCTETS_MAX = 4096  # of a query; longer ones are cut and come out as FORMERR. Real ones stay below 600
CONTROL_OCTETS_MAX = 64  # room for one PKTINFO (CMSG_SPACE of 12 or 20 octets) and no more
WAKE_SECONDS = 0.02  # for a thread that was woken to end
STOP_SECONDS = 0.5  # to answer what the socket has queued already, when the server ends

_IP_PKTINFO = 8  # <linux/in.h>
_IPV6_PKTINFO = socket.IPV6_PKTINFO
_NO_INTERFACE = bytes(4)
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}
_NOTHING_ASKED = bytes(12)  # a query without a question: the shortest that gets an answer


class UdpServer:
    """Serves one socket from a thread of its own, from `start` until `stop`.

    `lost` is called, in the thread, when it ends without having been stopped.
    """

    def __init__(self, bound: Bound, served: Served, lost: Callable[[], None] = lambda: None) -> None:
        self._socket = bound.udp
        self._served = served
        self._stopping = False
        self.tally = Tally(UDP)
        self.send_errors = 0  # answers that the system did not take: no route, firewall, a forged port 0
        self._lost = lost
        self._serve = self._serve_any if bound.listen.is_wildcard else self._serve_one
        self._thread = threading.Thread(target=self._run, name=f"udp {bound.listen}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """False once the thread has ended, which only `stop` or the loss of the socket brings about."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Answer what is queued, then end the thread and close the socket."""
        self._stopping = True
        with contextlib.suppress(OSError):
            # Says ENOTCONN, and wakes the thread all the same: from now on an empty queue reads as b"".
            self._socket.shutdown(socket.SHUT_RD)
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)
        self._socket.close()

    def drain(self) -> None:
        """End the thread with every query answered that it took; the others stay in the socket's queue, from
        which another process reads. `Served.drain` comes before.
        """
        self._stopping = True
        address = self._socket.getsockname()
        if address[0] in _ANY:
            address = (_ANY[address[0]], *address[1:])
        until = time.monotonic() + STOP_SECONDS
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as waking:
            while self._thread.is_alive() and time.monotonic() < until:
                with contextlib.suppress(OSError):
                    # A thread that waits takes this one and ends; if the other process takes it, there is
                    # another.
                    waking.sendto(_NOTHING_ASKED, address)
                self._thread.join(WAKE_SECONDS)
        self._socket.close()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            if not self._stopping:
                self._lost()

    def _serve_one(self) -> None:
        """The loop for a socket that is bound to one address; the way back is given."""
        served = self._served
        answer = served.answer
        tally = self.tally
        left, answered = tally.left, tally.answered
        receive = self._socket.recvfrom
        send = self._socket.sendto
        draw = getrandbits
        clock = time.time_ns
        number = now = 0
        packet: bytes = b""
        peer: Any = None
        while True:
            try:
                while True:
                    packet, peer = receive(QUERY_OCTETS_MAX)
                    number, now = draw(DRAW_BITS), clock()
                    reply = answer(
                        packet, peer[0], served.snapshot, number, now // NANOSECONDS, False, None, left
                    )
                    if served.is_limiting and reply is not None:
                        reply = served.limit(packet, peer[0], reply)
                    if reply is not None:
                        send(reply, peer)
                    answered(packet, peer[0], peer[1], number, now, False, reply)
            except Exception as error:
                if self._is_over(error, packet, (), peer):
                    return

    def _serve_any(self) -> None:
        """The loop for a wildcard socket: the reply leaves from the address that PKTINFO says was asked."""
        served = self._served
        answer = served.answer
        tally = self.tally
        left, answered = tally.left, tally.answered
        receive = self._socket.recvmsg
        send = self._socket.sendmsg
        draw = getrandbits
        clock = time.time_ns
        number = now = 0
        # The interface is left out of what goes back, so that routing decides: a query and its answer may
        # well take different ways. Link-local peers have their interface in the address.
        if self._socket.family == socket.AF_INET6:
            level, kind, start, end = IPPROTO_IPV6, _IPV6_PKTINFO, 0, 16  # in6_pktinfo: address, interface
            before, after = b"", _NO_INTERFACE
        else:
            level, kind, start, end = IPPROTO_IP, _IP_PKTINFO, 4, 8  # in_pktinfo: interface, local, header's
            before, after = _NO_INTERFACE, _NO_INTERFACE
        packet: bytes = b""
        peer: Any = None
        source: Any = ()
        while True:
            try:
                while True:
                    packet, control, _, peer = receive(QUERY_OCTETS_MAX, CONTROL_OCTETS_MAX)
                    source = ((level, kind, before + control[0][2][start:end] + after),)
                    number, now = draw(DRAW_BITS), clock()
                    reply = answer(
                        packet, peer[0], served.snapshot, number, now // NANOSECONDS, False, None, left
                    )
                    if served.is_limiting and reply is not None:
                        reply = served.limit(packet, peer[0], reply)
                    if reply is not None:
                        send((reply,), source, 0, peer)
                    answered(packet, peer[0], peer[1], number, now, False, reply)
            except Exception as error:
                if self._is_over(error, packet, source, peer):
                    return

    def _is_over(self, error: Exception, packet: bytes, source: Any, peer: Any) -> bool:
        """See to what went wrong; True when the thread has to end."""
        trace = error.__traceback__
        in_engine = (
            trace is not None and trace.tb_next is not None
        )  # a receive or a send has no frame of its own
        if isinstance(error, OSError) and not in_engine:
            if self._stopping:
                return True
            self.send_errors += 1
            if self._socket.fileno() >= 0:
                return False
            self._served.say(f"a UDP socket is gone: {error.strerror}")
            return True
        if peer is None:  # what a socket that was shut down reads
            return True
        is_over = isinstance(error, Drained)
        if is_over:
            self._stopping = True
            number, received = getrandbits(DRAW_BITS), time.time_ns()
            reply = self._served.reply(packet, peer[0], number, received, False, self.tally.left)
            if self._served.is_limiting and reply is not None:
                reply = self._served.limit(packet, peer[0], reply)
            self.tally.answered(packet, peer[0], peer[1], number, received, False, reply)
        else:
            reply = self._served.failed(packet, peer[0], error, self.tally.left)
            self.tally.answered(packet, peer[0], peer[1], 0, time.time_ns(), False, reply)
        if reply is not None:
            try:
                self._socket.sendmsg((reply,), source, 0, peer)
            except OSError:
                self.send_errors += 1
        return is_over
