"""A query of the sample, with everything that its answer depends on besides the snapshot."""

from collections.abc import Iterator
from ipaddress import IPv6Address
from struct import Struct
from typing import NamedTuple

NANOSECONDS = 1_000_000_000  # of a second

_HEAD = Struct("=IHHQIIII16s")  # native/src/sample.rs
_OVER_TCP, _IS_V6 = 1, 2


class Event(NamedTuple):
    """`received` is Unix time in ns, `took` the ns from then until it was answered, `draw` 32 random bits.
    `weight` is how many queries it stands for. `answer` is b"" for silence.
    """

    received: int
    took: int
    draw: int
    weight: int
    stream: bool
    client: str
    port: int
    query: bytes
    answer: bytes

    @property
    def now(self) -> int:
        """The Unix second that the engine was told."""
        return self.received // NANOSECONDS


def decoded(records: bytes) -> Iterator[Event]:
    """The events in what a native thread has kept."""
    at = 0
    while at < len(records):
        octets, query_octets, port, received, took, draw, weight, flags, address = _HEAD.unpack_from(
            records, at
        )
        begin, end = at + _HEAD.size, at + 4 + octets
        middle = begin + query_octets
        client = str(IPv6Address(address)) if flags & _IS_V6 else ".".join(map(str, address[12:]))
        stream = bool(flags & _OVER_TCP)
        query, answer = records[begin:middle], records[middle:end]
        yield Event(received, took, draw, weight, stream, client, port, query, answer)
        at = end
