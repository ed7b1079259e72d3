"""What the serving process and its prober say to each other over two pipes.

    serving process --Settings, Watch--> stdin  prober  stdout --Batch, PeerView, PeerHeard, Notice, Pace-->

A message is a length of four octets (big endian) and a pickle. Both ends are this program, of one
version, and the pipes are theirs alone, so that pickle is safe here and needs no schema. What is large comes
in pieces: pickling holds the interpreter's lock, and on one side there are threads that answer queries.
"""

import pickle
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from geodns.health.words import PeerHeard, PeerView, Probe, Result

FRAME_OCTETS_MAX = 64 << 20  # no message is near it: a peer's view, the largest, has 8 MiB at most
PROBES_PER_MESSAGE = 200  # about half a millisecond of pickling
KEYS_PER_MESSAGE = 2000  # of checks that are made no more; about as long
RESULTS_PER_BATCH = 100  # about 0.1 ms of unpickling, during which no query is answered
BATCH_SECONDS = 0.05  # a result waits this long for others to come with it
_LENGTH = struct.Struct("!I")


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer is, as `peers[].url` has it, and the contents of the token file: "" for none."""

    url: str
    token: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all checks; each message replaces the one before. `external` is a path, "" for none."""

    probes_at_once: int
    is_exec_allowed: bool
    external: str
    peers: tuple[PeerAddress, ...]


@dataclass(frozen=True, slots=True)
class Watch:
    """Checks to make from now on (or to make otherwise than before), and the keys of those to make no more.

    What is removed is removed before anything is added.
    """

    added: tuple[Probe, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Results, in the order in which they came."""

    results: list[Result]


@dataclass(frozen=True, slots=True)
class Notice:
    """A line for the log."""

    text: str


@dataclass(frozen=True, slots=True)
class Pace:
    """How the prober keeps up: looks begun since the last Pace, and how late they began, in seconds.

    First looks do not count: they are all due at once.
    """

    looks: int
    late_median: float
    late_p99: float
    late_most: float


Order = Settings | Watch
Report = Batch | PeerView | PeerHeard | Notice | Pace


class FrameError(ValueError):
    """What came is no message: another program writes to the pipe."""


def frame(message: Order | Report) -> bytes:
    """The message as it goes over the pipe."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def watch_frames(added: Iterable[Probe], removed: Iterable[str]) -> Iterator[bytes]:
    """Frames of Watch for any number of checks, pickled one at a time as they are asked for."""
    keys = iter(removed)
    while some := tuple(islice(keys, KEYS_PER_MESSAGE)):
        yield frame(Watch((), some))
    probes = iter(added)
    while some_probes := tuple(islice(probes, PROBES_PER_MESSAGE)):
        yield frame(Watch(some_probes, ()))


class Frames:
    """Takes the octets of a pipe in any pieces, and gives the messages in them."""

    def __init__(self) -> None:
        self._octets = bytearray()

    def feed(self, octets: bytes) -> None:
        """More octets of the pipe."""
        self._octets += octets

    def __iter__(self) -> "Frames":
        return self

    def __next__(self) -> Order | Report:
        """The next message that is complete, unpickled now. Raises FrameError."""
        if len(self._octets) < _LENGTH.size:
            raise StopIteration
        (length,) = _LENGTH.unpack_from(self._octets)
        if length > FRAME_OCTETS_MAX:
            raise FrameError(f"a message of {length} octets")
        end = _LENGTH.size + length
        if len(self._octets) < end:
            raise StopIteration
        with memoryview(self._octets) as view:
            data = bytes(view[_LENGTH.size : end])
        del self._octets[:end]
        try:
            message: Order | Report = pickle.loads(data)
        except Exception as error:  # pickle raises whatever the octets lead it to
            raise FrameError(f"{type(error).__name__}: {error}") from None
        return message
