"""What all kinds of look have in common: how they fail, where they look, and from which address."""

import asyncio
import errno
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

from geodns.health.words import Probe

ADDRESSES_MAX = 4  # of a host name's addresses that are tried, one after the other: more find no time
DETAIL_CHARACTERS_MAX = 200  # of what others say: a line of a table

LookAt = Callable[[str], Awaitable[str]]
"""Look at an address; what was seen, in a few words. Raises Failed, Unknown or OSError."""

# Errors that say something of this machine and nothing of what was looked at. Taken for failures they would
# bring down every value at once.
OUR_OWN = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EADDRINUSE}


class Failed(Exception):
    """The look says: it is down. The message is a short text for people."""


class Unknown(Exception):
    """The look says nothing about whether it is up. The message is a short text for people."""


def short(text: str) -> str:
    """A text from elsewhere as a single line that can be shown: no control characters, and not too long."""
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.split())
    return line if len(line) <= DETAIL_CHARACTERS_MAX else line[: DETAIL_CHARACTERS_MAX - 3] + "..."


def why(error: Exception) -> str:
    """What an error means, in a few words: "connection refused", "certificate has expired"."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return short(error.verify_message.rstrip("."))
    if isinstance(error, ssl.SSLError):
        return short(f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}")
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()
    return short(str(error) or type(error).__name__)


def is_our_own(error: Exception) -> bool:
    """Whether this error says nothing of what was looked at."""
    return isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno in OUR_OWN


def is_address(target: str) -> bool:
    try:
        ip_address(target)
    except ValueError:
        return False
    return True


def source_for(probe: Probe, address: str) -> str | None:
    """The address to look from: the first written one of the target's family."""
    return next((source for source in probe.source if (":" in source) == (":" in address)), None)


def opened(kind: socket.SocketKind, address: str, source: str | None) -> socket.socket:
    """A socket that does not block, of the address's family, bound to `source` where there is one."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    try:
        made.setblocking(False)
        if source is not None:
            made.bind((source, 0))
    except BaseException:
        made.close()
        raise
    return made


async def connected(address: str, port: int, source: str | None) -> socket.socket:
    """A TCP connection to the address."""
    made = opened(socket.SOCK_STREAM, address, source)
    try:
        await asyncio.get_running_loop().sock_connect(made, (address, port))
    except BaseException:
        made.close()
        raise
    return made


def prepared(probe: Probe, look_at: LookAt) -> Callable[[], Awaitable[str]]:
    """The whole look: at the target's address, or at those that its name has now."""
    target = probe.check.target
    if is_address(target):
        return lambda: look_at(target)

    async def by_name() -> str:
        return await _first_up(await _addresses(target), look_at, probe.timeout)

    return by_name


async def _addresses(name: str) -> list[str]:
    """The addresses of a host name, as this machine looks names up; in a thread, since that blocks."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(name.rstrip("."), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, socket.gaierror) else str(error)
        raise Failed(short(f"{name} has no address: {said}")) from None
    return list(dict.fromkeys(str(info[4][0]) for info in found))[:ADDRESSES_MAX]


async def _first_up(addresses: list[str], look_at: LookAt, timeout: float) -> str:
    """It is up when one of the addresses is; each of them gets an equal part of the time."""
    for address in addresses[:-1]:
        try:
            async with asyncio.timeout(timeout / len(addresses)):
                return await look_at(address)
        except (Failed, OSError):  # TimeoutError among them
            continue
    return await look_at(addresses[-1])
