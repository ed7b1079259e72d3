"""A question to one server, and what came of it: plain data, which the checks read and the tests write."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from geodns.name import BadName, Name
from geodns.zone.rdata import AAAA, CNAME, NS, A

PAYLOAD_OCTETS = 1232  # what we say we can take over UDP: DNS flag day 2020, as our own servers have it
ODD_OPTION = 65001  # RFC 6891 section 9: 65001 to 65534 are for local and experimental use


class Outcome(Enum):
    """What became of a question. The value completes the sentence "the server ..."."""

    ANSWERED = "answered"
    SILENT = "does not answer"
    CLOSED = "closes the connection"
    UNREACHABLE = "cannot be reached"
    GARBLED = "answers with something that is no DNS message"
    NO_ROUTE = "is of a family that this machine has no route for"
    UNASKED = "was not asked"


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and how. `edns` is the version, None for a message without EDNS.

    `is_odd` adds an option and a flag that nobody knows (RFC 6891 sections 6.1.2 and 6.1.4).
    """

    name: Name
    type: int
    over_tcp: bool = False
    edns: int | None = 0
    is_odd: bool = False
    wants_recursion: bool = False
    wants_dnssec: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One record of an answer; `data` in presentation format."""

    owner: Name
    type: int
    ttl: int
    data: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, or why there is none. `octets` is the size of the whole message, over TCP if UDP cut it.

    `edns` is the version of the answer's OPT record, None if there is none; `flags` are those of EDNS but DO,
    and `options` the codes of its options.
    """

    outcome: Outcome = Outcome.ANSWERED
    rcode: str = "NOERROR"
    is_authoritative: bool = False
    is_truncated: bool = False
    has_recursion: bool = False
    octets: int = 0
    edns: int | None = 0
    flags: int = 0
    options: tuple[int, ...] = ()
    answer: tuple[Record, ...] = field(default=(), repr=False)
    authority: tuple[Record, ...] = field(default=(), repr=False)
    additional: tuple[Record, ...] = field(default=(), repr=False)

    @property
    def is_answered(self) -> bool:
        return self.outcome is Outcome.ANSWERED

    @property
    def is_lame(self) -> bool:
        """True for an answer of a server that does not have the zone: an error, or not authoritative."""
        return self.is_answered and (self.rcode != "NOERROR" or not self.is_authoritative)

    @property
    def is_good(self) -> bool:
        """True for an authoritative answer without an error."""
        return self.is_answered and self.rcode == "NOERROR" and self.is_authoritative

    def data(self, owner: Name, rtype: int) -> list[str]:
        """The data of the records of this owner and type in the answer section."""
        return [record.data for record in self.answer if record.type == rtype and record.owner == owner]

    def names(self, owner: Name) -> frozenset[Name]:
        """The nameservers that the answer section has for `owner`."""
        return frozenset(_targets(self.answer, owner))

    def referred(self, owner: Name) -> frozenset[Name]:
        """The nameservers to which a referral for `owner` leads."""
        return frozenset(_targets(self.authority, owner))

    def addresses(self, owner: Name) -> frozenset[str]:
        """The addresses of `owner`, wherever in the answer they are."""
        records = (*self.answer, *self.additional)
        return frozenset(
            record.data for record in records if record.type in (A, AAAA) and record.owner == owner
        )

    def alias(self, owner: Name) -> Name | None:
        """Where the CNAME of `owner` leads."""
        return next((name for data in self.data(owner, CNAME) if (name := _name(data))), None)


def _targets(records: tuple[Record, ...], owner: Name) -> Iterator[Name]:
    for record in records:
        if record.type == NS and record.owner == owner and (name := _name(record.data)) is not None:
            yield name


def _name(data: str) -> Name | None:
    try:
        return Name.parse(data)
    except (BadName, ValueError):
        return None


UNASKED = Reply(Outcome.UNASKED, edns=None)


class Asker(Protocol):
    """Who asks servers. `port` is that of the address, None for the port of all nameservers."""

    def ask_all(self, questions: "list[tuple[Question, str]]", port: int | None = None) -> "list[Reply]":
        """A reply for each (question, address), in their order; never raises for what a server does."""
