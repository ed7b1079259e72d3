"""Listening sockets: bound before anything else happens, so that a wrong address is told at once.

Listen --bind--> Bound(udp, tcp), or BindError with a sentence for the operator
"""

import contextlib
import errno
import os
import socket
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from geodns.config import Listen
from geodns.zone.source import shorten

TCP_BACKLOG = (
    1024  # connections that wait for us to accept them; the kernel lowers it to somaxconn (4096 on Linux)
)
PORT_TRIES = 20  # for port 0: the port that UDP was given may be taken in TCP

_LINUX = sys.platform == "linux"
# <linux/in.h>, <linux/in6.h>, <asm-generic/socket.h>: numbers that Python's socket module does not name
_SO_RCVBUFFORCE = 33
_IP_PKTINFO = 8
_IP_MTU_DISCOVER = 10
_IPV6_MTU_DISCOVER = 23
_PMTUDISC_PROBE = 3


_NONE: dict[tuple[str, Listen], socket.socket] = {}

UDP_KINDS = ("udp", *(f"udp {number}" for number in range(2, 65)))
"""The UDP sockets of one address, of which a server with several threads has several."""


class BindError(Exception):
    """A listen address can not be had; the message says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Bound:
    """The sockets of one listen address; `listen` has the real port.

    With `more_udp` the kernel spreads the clients over all the UDP sockets, by their addresses and ports.
    """

    listen: Listen
    udp: socket.socket
    tcp: socket.socket
    more_udp: tuple[socket.socket, ...] = ()

    def close(self) -> None:
        for sock in (self.udp, self.tcp, *self.more_udp):
            sock.close()

    def sockets(self) -> dict[tuple[str, Listen], socket.socket]:
        """By what they are for and their address, as a successor is given them."""
        kinds = zip(UDP_KINDS, (self.udp, *self.more_udp), strict=False)
        return {("tcp", self.listen): self.tcp} | {(kind, self.listen): sock for kind, sock in kinds}


Given = Mapping[tuple[str, Listen], socket.socket]
"""Sockets that are bound already: what they are for ("tcp", "control", or one of UDP_KINDS), and where."""


def bind_all(
    listens: Iterable[Listen], receive_buffer_octets: int, udp_sockets: int = 1, given: Given = _NONE
) -> list[Bound]:
    """Bind every address, or none. Raises BindError for the first that can not be had.

    Each address gets `udp_sockets` for UDP, so that as many threads can serve it without waiting for another.
    What is `given` is taken instead, all of it: each socket has a queue of its own.
    """
    bound: list[Bound] = []
    try:
        for listen in listens:
            bound.append(_bind(listen, receive_buffer_octets, udp_sockets, given))  # noqa: PERF401  closed below
    except BindError:
        for one in bound:
            one.close()
        raise
    return bound


def bind_tcp(listens: Iterable[Listen], given: Given = _NONE) -> list[socket.socket]:
    """Listen with TCP alone, for control, at every address, or at none. Raises BindError."""
    bound: list[socket.socket] = []
    try:
        for listen in listens:
            bound.append(given.get(("control", listen)) or _socket(listen, socket.SOCK_STREAM))
            if ("control", listen) not in given:
                bound[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _bind_to(bound[-1], listen)
    except BindError:
        for one in bound:
            one.close()
        raise
    return bound


def _bind(listen: Listen, receive_buffer_octets: int, udp_sockets: int, given: Given) -> Bound:
    for tries_left in reversed(range(PORT_TRIES if listen.port == 0 else 1)):
        udp = given.get(("udp", listen)) or _socket(listen, socket.SOCK_DGRAM)
        try:
            _prepare_udp(udp, listen, receive_buffer_octets)
            if ("udp", listen) not in given:
                _bind_to(udp, listen)
            real = Listen(listen.host, udp.getsockname()[1])
            if ("udp", listen) in given and ("tcp", listen) in given:
                others = tuple(given[kind, listen] for kind in UDP_KINDS[1:] if (kind, listen) in given)
                for other in others:
                    _prepare_udp(other, listen, receive_buffer_octets)
                return Bound(real, udp, given["tcp", listen], others)
            tcp = _socket(real, socket.SOCK_STREAM)
        except BaseException:
            udp.close()
            raise
        try:
            # For TCP this only means that connections of a former process may still be in TIME_WAIT. A UDP
            # socket never has it: there it would let two servers bind one address, and one of them starve in
            # silence.
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _bind_to(tcp, real)
            if udp_sockets == 1:
                return Bound(real, udp, tcp)
            udp.close()
            first, *more = _udp_group(real, receive_buffer_octets, udp_sockets)
            return Bound(real, first, tcp, tuple(more))
        except BaseException as error:
            udp.close()
            tcp.close()
            if not (tries_left and isinstance(error, BindError) and _is_in_use(error)):
                raise
    raise AssertionError("the last try returns or raises")


def _udp_group(listen: Listen, receive_buffer_octets: int, count: int) -> list[socket.socket]:
    """Sockets of one address, which nobody else had a moment ago: one without SO_REUSEPORT was bound there.

    Nor can another server come in beside them later, if it asks in the same way.
    """
    group: list[socket.socket] = []
    try:
        for _ in range(count):
            group.append(_socket(listen, socket.SOCK_DGRAM))
            group[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            _prepare_udp(group[-1], listen, receive_buffer_octets)
            _bind_to(group[-1], listen)
    except BaseException:
        for sock in group:
            sock.close()
        raise
    return group


def _socket(listen: Listen, kind: socket.SocketKind) -> socket.socket:
    try:
        return socket.socket(socket.AF_INET6 if listen.is_v6 else socket.AF_INET, kind)
    except OSError as error:
        raise _bind_error(listen, kind, error) from error


def _prepare_udp(sock: socket.socket, listen: Listen, receive_buffer_octets: int) -> None:
    # A queue for the moments in which nobody reads (a reload's pauses, a busy machine). The kernel may give
    # less (net.core.rmem_max) unless we are privileged; either way we take what we get. A service manager may
    # have given more than we could, which stays; the kernel tells twice what was set (socket(7)).
    if sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) < 2 * receive_buffer_octets:
        try:
            sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, receive_buffer_octets)
        except OSError:
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_octets)
    if not _LINUX:
        return
    # RFC 9715 section 3.1: no answer is fragmented, by us or on its way, so that nobody puts a fragment of
    # their own in the place of ours; and what ICMP says of the path's MTU, which anybody can forge, counts
    # for nothing. Our answers fit: see limits.udp_answer_octets.
    with contextlib.suppress(OSError):
        if listen.is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, _PMTUDISC_PROBE)
        else:
            sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _PMTUDISC_PROBE)
    if listen.is_wildcard and listen.is_v6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    elif listen.is_wildcard:
        sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)


def _bind_to(sock: socket.socket, listen: Listen) -> None:
    # No IP_FREEBIND: it would take an address that the machine does not have, and a typing error would be
    # found out by those who ask in vain. A machine that gets its address late restarts us (Restart= in the
    # unit).
    try:
        if listen.is_v6:
            # [::] leaves IPv4 to 0.0.0.0, whatever net.ipv6.bindv6only says
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        found = socket.getaddrinfo(listen.host, listen.port, sock.family, sock.type, flags=flags)
        sock.bind(found[0][4])  # getaddrinfo turns the scope of fe80::1%eth0 into its number
        if sock.type == socket.SOCK_STREAM:
            sock.listen(TCP_BACKLOG)  # here already: only listening tells whether somebody else does
    except OSError as error:
        raise _bind_error(listen, socket.SocketKind(sock.type), error) from error


def _is_in_use(error: BindError) -> bool:
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE


def _bind_error(listen: Listen, kind: socket.SocketKind, error: OSError) -> BindError:
    protocol = "UDP" if kind == socket.SOCK_DGRAM else "TCP"
    what = f"can not listen on {listen} ({protocol})"
    if error.errno == errno.EADDRINUSE:
        return BindError(f"{what}: the address is in use{_by_whom(listen.port, protocol.lower())}")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = "be root, have systemd's AmbientCapabilities=CAP_NET_BIND_SERVICE, or take a higher port"
        return BindError(f"{what}: ports below 1024 need CAP_NET_BIND_SERVICE ({hint})")
    if error.errno == errno.EADDRNOTAVAIL:
        return BindError(f"{what}: this machine does not have the address (ip address shows those it has)")
    if error.errno == errno.EAFNOSUPPORT:
        return BindError(f"{what}: this machine has no IPv6")
    return BindError(f"{what}: {(error.strerror or str(error)).lower()}")


def _by_whom(port: int, protocol: str) -> str:
    """` by process 812 (/usr/sbin/named -u bind)`, as far as /proc lets us see it."""
    try:
        sockets = {f"socket:[{inode}]" for inode in _inodes_at(port, protocol)}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    for descriptor in os.scandir(folder / "fd"):
                        if os.readlink(descriptor.path) in sockets:
                            words = (folder / "cmdline").read_text("utf-8", "replace").split("\0")
                            return f" by process {folder.name} ({shorten(' '.join(words).strip())})"
    except (OSError, ValueError, IndexError):
        pass
    return ""


def _inodes_at(port: int, protocol: str) -> list[str]:
    inodes = []
    for table in (protocol, protocol + "6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                # 0A: LISTEN; UDP sockets have no state worth asking
                if int(fields[1].rpartition(":")[2], 16) == port and (protocol == "udp" or fields[3] == "0A"):
                    inodes.append(fields[9])
    return inodes
