"""dnstap: each query and its answer as a frame that other tools read (https://dnstap.info).

    Event --message (protobuf)--> Dnstap --frame (Frame Streams)--> file, or a Unix socket that a reader
    listens at

Of Protocol Buffers (https://protobuf.dev/programming-guides/encoding/) dnstap.proto needs three wire types,
which are written here: a number is a varint, an fixed32 four octets, everything else its length and its
octets.
"""

import os
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Protocol

from geodns import __version__
from geodns.config import Dnstap as Settings
from geodns.config import Truncate
from geodns.engine.wire import OPTION_ECS, ClientSubnet, read
from geodns.traffic.event import NANOSECONDS, Event
from geodns.traffic.querylog import shortened
from geodns.traffic.writer import Writer

CONTENT_TYPE = b"protobuf:dnstap.Dnstap"
HANDSHAKE_SECONDS = 2.0  # for a reader to accept, to take a frame, and to say that it has all of them
MODE = 0o640

# Frame Streams, fstrm/control.h: control frames stand behind a length of 0.
_ACCEPT, _START, _STOP, _READY, _FINISH = 1, 2, 3, 4, 5
_FIELD_CONTENT_TYPE = 1
_CONTROL_OCTETS_MAX = 512  # FSTRM_CONTROL_FRAME_LENGTH_MAX
_WORD = struct.Struct("!I")

# dnstap.proto
_AUTH_QUERY, _AUTH_RESPONSE = 1, 2
_INET, _INET6 = 1, 2
_UDP, _TCP = 1, 2
_MESSAGE = 1

_VARINT, _OCTETS, _FIXED32 = 0, 2, 5

_SCOPE_AT = 3  # in the data of Client Subnet, RFC 7871 section 6: behind FAMILY and SOURCE PREFIX-LENGTH
_WHOLE = Truncate()


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _fixed32(field: int, value: int) -> bytes:
    return _varint(field << 3 | _FIXED32) + value.to_bytes(4, "little")


def _octets(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _OCTETS) + _varint(len(value)) + value


def messages(event: Event, identity: bytes, truncate: Truncate) -> list[bytes]:
    """AUTH_QUERY, and AUTH_RESPONSE where there is an answer; in both the client, and its subnet in the
    message itself, without the bits that are not to be kept.
    """
    address = ip_address(shortened(event.client, truncate))
    query, answer = _without_subnet(event, truncate)
    asked, nanoseconds = divmod(event.received, NANOSECONDS)
    common = (
        _number(2, _INET if address.version == 4 else _INET6)
        + _number(3, _TCP if event.stream else _UDP)
        + _octets(4, address.packed)
        + _number(6, event.port)
        + _number(8, asked)
        + _fixed32(9, nanoseconds)
    )
    frames = [_dnstap(identity, _number(1, _AUTH_QUERY) + common + _octets(10, query))]
    if answer:
        answered, nanoseconds = divmod(event.received + event.took, NANOSECONDS)
        more = _number(12, answered) + _fixed32(13, nanoseconds) + _octets(14, answer)
        frames.append(_dnstap(identity, _number(1, _AUTH_RESPONSE) + common + more))
    return frames


def _without_subnet(event: Event, truncate: Truncate) -> tuple[bytes, bytes]:
    """Query and answer, with zeros in place of the bits of the Client Subnet that are not to be kept."""
    query = None if truncate == _WHOLE else read(event.query)
    subnet = None if query is None else query.subnet
    if subnet is None:
        return event.query, event.answer
    bits = min(subnet.source, truncate.bits(subnet.family))
    return _with_bits(event.query, subnet, bits), _with_bits(event.answer, subnet, bits)


def _with_bits(message: bytes, subnet: ClientSubnet, bits: int) -> bytes:
    """`message` with so many bits of the subnet's address; in an answer its scope is another one."""
    octets = subnet.octets
    head = OPTION_ECS.to_bytes(2) + len(octets).to_bytes(2) + octets[:_SCOPE_AT]
    at = message.rfind(head)  # options are the last of a message
    start, address = at + len(head) + 1, octets[_SCOPE_AT + 1 :]
    end = start + len(address)
    if at < 0 or message[start:end] != address:
        return message
    unused = 8 * len(address) - bits
    kept = (int.from_bytes(address) >> unused << unused).to_bytes(len(address))
    return message[:start] + kept + message[end:]


def _dnstap(identity: bytes, message: bytes) -> bytes:
    version = f"geodns {__version__}".encode()
    return _octets(1, identity) + _octets(2, version) + _octets(14, message) + _number(15, _MESSAGE)


def _control(kind: int) -> bytes:
    content = b"" if kind in (_STOP, _FINISH) else _WORD.pack(_FIELD_CONTENT_TYPE) + _counted(CONTENT_TYPE)
    return _WORD.pack(0) + _counted(_WORD.pack(kind) + content)


def _counted(octets: bytes) -> bytes:
    return _WORD.pack(len(octets)) + octets


class _Stream(Protocol):
    def write(self, frames: bytes) -> None: ...

    def close(self) -> None: ...


class _File:
    """A stream in a file of its own: one that is there is set aside as FILE.1, for frames can not be
    appended.
    """

    def __init__(self, path: Path) -> None:
        if path.exists() and stat.S_ISREG(path.stat().st_mode) and path.stat().st_size:
            path.rename(path.with_name(f"{path.name}.1"))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, MODE)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self.write(_control(_START))

    def write(self, frames: bytes) -> None:
        view = memoryview(frames)
        while view:
            view = view[self._file.write(view) :]

    def close(self) -> None:
        with self._file:
            self.write(_control(_STOP))


class _Socket:
    """A stream to a reader that listens at a Unix socket, such as fstrm_capture."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(HANDSHAKE_SECONDS)
        try:
            self._socket.connect(str(path))
            self._socket.sendall(_control(_READY))
            self._expect(_ACCEPT)
            self._socket.sendall(_control(_START))
        except BaseException:
            self._socket.close()
            raise

    def write(self, frames: bytes) -> None:
        self._socket.sendall(frames)

    def close(self) -> None:
        with self._socket:
            self._socket.sendall(_control(_STOP))
            self._expect(_FINISH)

    def _expect(self, kind: int) -> None:
        escape, length = struct.unpack("!II", self._read(8))
        if escape or not _WORD.size <= length <= _CONTROL_OCTETS_MAX:
            raise OSError("the reader does not speak Frame Streams")
        found = self._read(length)
        if _WORD.unpack_from(found)[0] != kind or (kind == _ACCEPT and CONTENT_TYPE not in found):
            raise OSError("the reader does not take dnstap")

    def _read(self, octets: int) -> bytes:
        found = b""
        while len(found) < octets:
            more = self._socket.recv(octets - len(found))
            if not more:
                raise OSError("the reader has closed the connection")
            found += more
        return found


class Dnstap(Writer):
    """Writes as `settings` say, which may be assigned at any time, as may `identity`; `reopen` makes them
    hold.
    """

    name = "dnstap"

    def __init__(self, settings: Settings, identity: bytes, say_rarely: Callable[[str, str], None]) -> None:
        super().__init__(say_rarely)
        self.settings = settings
        self.identity = identity
        self._stream: _Stream | None = None

    @property
    def share(self) -> float:
        return self.settings.sample if self.settings.socket or self.settings.file else 0.0

    def open(self) -> None:
        if self.settings.socket is not None:
            self._stream = _Socket(self.settings.socket)
        elif self.settings.file is not None:
            self._stream = _File(self.settings.file)

    def close(self) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def write(self, events: Sequence[Event]) -> int:
        truncate = self.settings.truncate
        frames = [_counted(frame) for event in events for frame in messages(event, self.identity, truncate)]
        if frames and self._stream is not None:
            self._stream.write(b"".join(frames))
        return len(events)
