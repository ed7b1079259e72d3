"""Rendering records: from owners and record data to a Body, with names compressed and pointers listed.

RFC 1035 section 4.1.4 compression, in record data only of the types that RFC 1035 itself defines (RFC 3597
section 4).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from struct import Struct

from geodns.name import label_offsets
from geodns.table.shape import Body

QUESTION_AT = 12  # octets of header before the question's name
QUESTION_FIXED_OCTETS = 4  # its type and class

POINTER_TARGET_MAX = 0x2C00
"""The highest offset that a pointer made here may have: 0x3FFF (14 bits) less what DNAMEs can put in front,
which is DNAME_CHAIN_MAX records of two names each."""

_NAMES_AT: dict[int, tuple[int, int]] = {
    2: (0, 1),  # NS: names start at 0, one of them
    5: (0, 1),  # CNAME
    6: (0, 2),  # SOA
    12: (0, 1),  # PTR
    15: (2, 1),  # MX
}

_FIXED = Struct("!HHIH")
_CLASS_IN = 1
_TTL_AT = 4  # octets behind the owner: type and class
_OWNER = b"\xc0\x0c"

_shared: dict[tuple[int, ...], tuple[int, ...]] = {}  # most bodies have the same few tuples of offsets


@dataclass(frozen=True, slots=True)
class Frame:
    """The question that a body is laid out for.

    `name` is a lower-case wire name that the question's name is or ends with; `exact` says that it is.
    """

    name: bytes
    exact: bool


@dataclass(frozen=True, slots=True)
class Records:
    """An RRset to render; the owner is None for the name of the question."""

    owner: bytes | None  # wire form
    type: int
    ttl: int  # seconds
    rdatas: tuple[bytes, ...]


def render(
    frame: Frame,
    answer: Iterable[Records],
    authority: Iterable[Records] = (),
    required: Iterable[Records] = (),
    optional: Iterable[Records] = (),
    movable: bool = False,
    steered: bool = False,
) -> Body:
    """A Body of these sections. Additional records are `required`, or `optional` and left out first, from the
    end.

    A `movable` body points only into the question, so that it may stand anywhere behind it. Of a `steered`
    one the first RRset depends on health, and so do its TTLs.
    """
    writer = _Writer(frame, movable)
    answer, authority = tuple(answer), tuple(authority)
    counts = [writer.add(section) for section in (answer, authority, required)]
    first = (*answer, *authority)[:1] if steered else ()
    ttls = writer.ttls[: sum(len(records.rdatas) for records in first)]
    cuts = []
    arcount = counts[2]
    for records in optional:
        cuts.append((len(writer.data), arcount))
        arcount += writer.add([records])
    return Body(
        data=bytes(writer.data),
        ancount=counts[0],
        nscount=counts[1],
        arcount=arcount,
        base=len(frame.name),
        pointers=_share(writer.pointers),
        owners=_share(writer.owners),
        cuts=tuple(reversed(cuts)),
        ttls=_share(ttls),
    )


class _Writer:
    def __init__(self, frame: Frame, movable: bool) -> None:
        self.data = bytearray()
        self.pointers: list[int] = []
        self.owners: list[int] = []
        self.ttls: list[int] = []
        self._frame = frame
        self._start = QUESTION_AT + len(frame.name) + QUESTION_FIXED_OCTETS
        self._movable = movable
        self._targets: dict[bytes, int] | None = None

    def add(self, section: Iterable[Records]) -> int:
        """Append the records; the count of them."""
        count = 0
        for records in section:
            head = _FIXED.pack(records.type, _CLASS_IN, records.ttl, 0)[:-2]
            names = _NAMES_AT.get(records.type)
            for rdata in records.rdatas:
                self._owner(records.owner)
                self.ttls.append(len(self.data) + _TTL_AT)
                self.data += head
                if names is None:
                    self.data += len(rdata).to_bytes(2) + rdata
                else:
                    self._rdata(rdata, *names)
            count += len(records.rdatas)
        return count

    def _owner(self, owner: bytes | None) -> None:
        if owner is None or (self._frame.exact and owner.lower() == self._frame.name):
            self.owners.append(len(self.data))
            self.data += _OWNER
        else:
            self._name(owner)

    def _rdata(self, rdata: bytes, at: int, names: int) -> None:
        length_at = len(self.data)
        self.data += b"\0\0" + rdata[:at]
        for _ in range(names):
            end = name_end(rdata, at)
            self._name(rdata[at:end])
            at = end
        self.data += rdata[at:]
        self.data[length_at : length_at + 2] = (len(self.data) - length_at - 2).to_bytes(2)

    def _name(self, wire: bytes) -> None:
        """Append a name: the labels up to a suffix that stands somewhere already, and a pointer to that."""
        if self._targets is None:
            frame = self._frame.name
            self._targets = {frame[at:]: QUESTION_AT + at for at in label_offsets(frame)}
        key = wire.lower()
        for at in label_offsets(key):
            target = self._targets.get(key[at:])
            if target is not None:
                self.data += wire[:at]
                place = len(self.data)
                whole_question = target == QUESTION_AT and self._frame.exact
                (self.owners if whole_question else self.pointers).append(place)
                self.data += (0xC000 | target).to_bytes(2)
                break
        else:
            at = len(wire) - 1
            place = len(self.data) + at
            self.data += wire
        if not self._movable:
            begin = place - at
            for label_at in label_offsets(key):
                if label_at >= at or self._start + begin + label_at > POINTER_TARGET_MAX:
                    break
                self._targets.setdefault(key[label_at:], self._start + begin + label_at)


def name_end(rdata: bytes, at: int) -> int:
    """The offset behind the uncompressed name that starts at `at`."""
    while rdata[at]:
        at += 1 + rdata[at]
    return at + 1


def names_in(rtype: int) -> Callable[[bytes], bytes] | None:
    """How to get the name whose addresses help whoever gets a record of this type; None: there is none.

    RFC 1035 section 3.3 (NS, MX), RFC 2782 (SRV), RFC 9460 section 4.1 (SVCB and HTTPS; "." is the owner
    itself and is given back as it stands).
    """
    offset = {2: 0, 15: 2, 33: 6, 64: 2, 65: 2}.get(rtype)
    if offset is None:
        return None
    return lambda rdata: rdata[offset : name_end(rdata, offset)]


def _share(offsets: list[int]) -> tuple[int, ...]:
    found = tuple(offsets)
    return _shared.setdefault(found, found)
