"""Taking over: a server that starts beside a running one gets its sockets; the running one drains and ends.

    new --which sockets--> old --the sockets themselves--> new     (SCM_RIGHTS; both have them now)
    new loads, reads from them, is ready --"serving"--> old stops reading, answers what it has read, ends

Both read from the same queues, so nothing is lost between them: no query, no connection that waits to be
accepted. When the new one fails before it is ready, it has changed nothing. The running one is found by the
addresses that it has: each is the name of an abstract Unix socket (unix(7)), which goes with the network
namespace as the address does, and never stays behind. Only the same user, or root, may take over.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

from geodns.config import Listen, parse_listen

VERSION = 1
GREETING_OCTETS_MAX = 65_536  # a thousand addresses
SOCKETS_MAX = 250  # in one message; the kernel's SCM_MAX_FD is 253
ANSWER_SECONDS = 5.0  # for the running server to hand over: it saves its state first
END_SECONDS = 30.0  # for the running server to end; it drains its TCP clients for ten
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid

Key = tuple[str, Listen]
"""A socket by what it is for ("udp", "tcp" or "control") and its address."""

Sockets = dict[Key, socket.socket]


@dataclass(slots=True)
class Predecessor:
    """The running server whose sockets we have; `taken` are those that it gave.

    `are_lent`: the sockets are the service manager's, who has them as well and may give them to others later.
    """

    pid: int
    taken: Sockets
    are_lent: bool
    _connection: socket.socket

    def end(self) -> bool:
        """Tell it that we serve, and wait until it has ended; False when it takes too long, or is gone."""
        try:
            self._connection.settimeout(END_SECONDS)
            self._connection.sendall(b"serving\n")
            return self._connection.recv(1) == b""
        except OSError:
            return False
        finally:
            self._connection.close()

    def leave(self) -> None:
        """Let it go on as if we had never been there."""
        self._connection.close()
        for taken in self.taken.values():
            taken.close()


def named(pid: int) -> str:
    """The other process, for people; the kernel has no number for one that is in another container."""
    return f"process {pid}" if pid else "a process in another container"


def ask(wanted: Iterable[Key], account: int | None = None) -> Predecessor | None:
    """The sockets of a server of the same user that runs at one of these addresses; None: there is none.

    `account` is a user that we are about to become, whose server counts as ours.
    """
    wanted = [key for key in wanted if key[1].port]
    for listen in dict.fromkeys(listen for _, listen in wanted):
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(_name(listen))
            pid, user = _peer(connection)
            if user not in (os.geteuid(), 0, account):
                raise OSError("somebody else's")
            return Predecessor(pid, *_receive(connection, wanted), connection)
        except (OSError, ValueError, KeyError, TypeError):
            connection.close()
    return None


def _receive(connection: socket.socket, wanted: list[Key]) -> tuple[Sockets, bool]:
    """The sockets, and whether they are lent."""
    greeting = {"version": VERSION, "sockets": [[kind, str(listen)] for kind, listen in wanted]}
    connection.sendall(json.dumps(greeting).encode() + b"\n")
    data, descriptors, _, _ = socket.recv_fds(connection, GREETING_OCTETS_MAX, SOCKETS_MAX)
    sockets = [socket.socket(fileno=descriptor) for descriptor in descriptors]
    for one in sockets:
        one.set_inheritable(False)
    try:
        told = json.loads(data)
        keys = [(kind, parse_listen(listen)[0]) for kind, listen in told["sockets"]]
        return dict(zip(keys, sockets, strict=True)), bool(told.get("lent"))
    except BaseException:
        for one in sockets:
            one.close()
        raise


class Handover:
    """The running server's side: answers whoever asks for its sockets.

    `save` is awaited before the sockets are given; `begin` is called once, when the successor serves;
    `are_lent` is as the Predecessor has it.
    """

    def __init__(
        self,
        sockets: Sockets,
        are_lent: bool,
        save: Callable[[], Awaitable[None]],
        begin: Callable[[int], None],
    ) -> None:
        self._sockets = sockets
        self._are_lent = are_lent
        self._save = save
        self._begin = begin
        self._listeners: list[socket.socket] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._successor: socket.socket | None = None

    def start(self) -> None:
        """Wait for successors, at every address that this server has."""
        for listen in dict.fromkeys(listen for _, listen in self._sockets):
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
            with contextlib.suppress(OSError):  # a predecessor that is still ending has the name
                listener.bind(_name(listen))
                listener.listen(1)
                listener.setblocking(False)
                self._listeners.append(listener)
                self._tasks.append(asyncio.create_task(self._accept(listener)))

    def stop(self) -> None:
        """End, and tell the successor, if there is one, by closing."""
        for task in self._tasks:
            task.cancel()
        for one in (*self._listeners, self._successor):
            if one is not None:
                one.close()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                await self._hand_over(connection)  # else it went away, or is no geodns: we go on
            if connection is not self._successor:
                connection.close()

    async def _hand_over(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        pid, user = _peer(connection)
        if user not in (os.geteuid(), 0) or self._successor is not None:
            return
        async with asyncio.timeout(ANSWER_SECONDS):
            greeting = json.loads(await _line(connection))
        if greeting["version"] != VERSION:
            return
        wanted = [(kind, parse_listen(listen)[0]) for kind, listen in greeting["sockets"]]
        given = {key: self._sockets[key] for key in wanted if key in self._sockets}
        if len(given) > SOCKETS_MAX:
            return
        await self._save()
        told = {"sockets": [[kind, str(listen)] for kind, listen in given], "lent": self._are_lent}
        socket.send_fds(connection, [json.dumps(told).encode()], [one.fileno() for one in given.values()])
        # No limit of time: a large zone takes as long as it takes, and we serve meanwhile.
        if (await loop.sock_recv(connection, 64)).startswith(b"serving"):
            self._successor = connection
            self._begin(pid)


async def _line(connection: socket.socket) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"\n"):
        more = await loop.sock_recv(connection, GREETING_OCTETS_MAX)
        data += more
        if not more or len(data) > GREETING_OCTETS_MAX:
            raise ValueError("not a greeting")
    return data


def _name(listen: Listen) -> str:
    return f"\0geodns {listen}"


def _peer(connection: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end (unix(7), SO_PEERCRED)."""
    pid, user, _ = _CREDENTIALS.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return pid, user
