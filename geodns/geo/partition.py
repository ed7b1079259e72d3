"""Address space divided by the outcome of a list of rules; the hot path's whole knowledge of geography.

    rules + databases + overrides --build--> Partition --locate(address)--> (outcome, scope)

The order (which `reason.match` follows address by address, for explain and for the tests): the longest
subnet, then the AS, then the most specific geo code, then the catch-all; among equals the first rule.

A client has two addresses: the one that asked, and perhaps one in EDNS Client Subnet. RFC 7871 section 11.1
and the design: only a public address in the option tells where the client is. So the partition has a third
kind of run besides the rules' outcomes and the default: OUTCOME_NOT_PUBLIC, "ask about the asker instead".
"""

from array import array
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_pton
from typing import TYPE_CHECKING, NamedTuple

from geodns.geo.address import EMBEDDINGS

if TYPE_CHECKING:
    from geodns.geo.locator import Locator

OUTCOME_DEFAULT = -1
"""The outcome of an address that no rule matches."""

OUTCOME_NOT_PUBLIC = -2
"""Of an address that says nothing of where a client is: loopback, private and the like.

Not when a rule has it in a subnet, or an override gives it a place.
"""

EMBEDDED = -16
"""In `Partition.outcomes6`: EMBEDDED - i means "look at the IPv4 address in it", found with EMBEDDINGS[i]."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Addresses in a subnet, an AS or a place have this outcome (an index of the caller's, or
    OUTCOME_DEFAULT).

    `subnets` are (family, first address as an integer, prefix length); family is 4 or 6. A rule with none of
    the three is the catch-all.
    """

    outcome: int
    subnets: tuple[tuple[int, int, int], ...] = ()
    asns: tuple[int, ...] = ()
    geos: tuple[str, ...] = ()


Rules = tuple[Rule, ...]
"""Hashable, so that records with the same rules share one Partition."""


class Located(NamedTuple):
    """`scope` is a prefix length in bits in the family of the address asked about."""

    outcome: int
    scope: int


_TOP4 = 1 << 32
_TOP6 = 1 << 128
_TOP_HIGH = 1 << 64
_LOW = (1 << 64) - 1
_EMBEDDING_ROWS = tuple((row.shift, 0xFFFFFFFF if row.inverted else 0, row.offset) for row in EMBEDDINGS)


class Partition:
    """Immutable. Runs of addresses with one outcome: run i goes from starts[i] to starts[i + 1] - 1.

    `starts4` is array("I"); an IPv6 start is high6[i] << 64 | low6[i], both array("Q"); outcomes are
    array("b"), "h" or "i", as narrow as they fit. Every first start is 0, neighbours differ. `outcomes6` has
    EMBEDDED - i for the block of EMBEDDINGS[i] (unless all of IPv4 has one outcome: then it has that).
    `elsewhere` is the outcome of the catch-all rule, or OUTCOME_DEFAULT: what an asker without a place gets.
    """

    __slots__ = ("elsewhere", "high6", "low6", "outcomes4", "outcomes6", "starts4")

    def __init__(
        self,
        starts4: "array[int]",
        outcomes4: "array[int]",
        high6: "array[int]",
        low6: "array[int]",
        outcomes6: "array[int]",
        elsewhere: int,
    ) -> None:
        self.starts4 = starts4
        self.outcomes4 = outcomes4
        self.high6 = high6
        self.low6 = low6
        self.outcomes6 = outcomes6
        self.elsewhere = elsewhere

    def outcome_of(self, asker: str) -> int:
        """The outcome for an address as the socket gives it, without an interface; never OUTCOME_NOT_PUBLIC.

        Without an option in the query there is no scope to tell. Raises OSError for what is not an address.
        """
        if ":" in asker:
            outcome = self.locate6(int.from_bytes(inet_pton(AF_INET6, asker)))[0]
        else:
            value = int.from_bytes(inet_pton(AF_INET, asker))
            outcome = self.outcomes4[bisect_right(self.starts4, value) - 1]
        return self.elsewhere if outcome == OUTCOME_NOT_PUBLIC else outcome

    def locate(self, family: int, value: int, asker: str) -> Located:
        """The outcome for a client subnet (RFC 7871) with SOURCE > 0, and the scope to answer with.

        `family` is 4 or 6, `value` the option's ADDRESS as an integer of the family's full width, zeros past
        SOURCE. A subnet that is not public gets the outcome of `asker`, and the scope stays inside what is
        not public. The scope may be longer than SOURCE: "a longer SCOPE PREFIX-LENGTH indicates that [...]
        an optimal answer needs more bits" (RFC 7871 section 7.2.1).
        """
        found = self.locate4(value) if family == 4 else self.locate6(value)
        if found[0] == OUTCOME_NOT_PUBLIC:
            return Located(self.outcome_of(asker), found[1])
        return found

    def locate4(self, value: int) -> Located:
        """Outcome, perhaps OUTCOME_NOT_PUBLIC, and scope (0 to 32) of an IPv4 address as an integer."""
        starts = self.starts4
        at = bisect_right(starts, value)
        # The first bit in which the address differs from the first address after its run, and from the last
        # one before it: the prefix has to be long enough to leave out both.
        bits = (value ^ (starts[at] if at < len(starts) else _TOP4)).bit_length()
        start = starts[at - 1]
        if start:
            before = (value ^ (start - 1)).bit_length()
            if before < bits:
                bits = before
        return Located(self.outcomes4[at - 1], 33 - bits)

    def locate6(self, value: int) -> Located:
        """Outcome, perhaps OUTCOME_NOT_PUBLIC, and scope (0 to 128) of an IPv6 address as an integer."""
        highs = self.high6
        high = value >> 64
        at = bisect_right(highs, high)
        if highs[at - 1] == high:  # runs that begin in this /64
            at = bisect_right(self.low6, value & _LOW, bisect_left(highs, high, 0, at), at)
        outcome = self.outcomes6[at - 1]
        if outcome <= EMBEDDED:
            shift, inverted, offset = _EMBEDDING_ROWS[EMBEDDED - outcome]
            outcome, scope = self.locate4((value >> shift & 0xFFFFFFFF) ^ inverted)
            return Located(outcome, offset + scope)
        start = highs[at - 1]
        following = highs[at] if at < len(highs) else _TOP_HIGH
        if following == high or self.low6[at - 1]:
            return Located(outcome, self._scope6(value, at))
        bits = (high ^ following).bit_length()
        if start:
            before = (high ^ (start - 1)).bit_length()
            if before < bits:
                bits = before
        return Located(outcome, 65 - bits)

    def _scope6(self, value: int, at: int) -> int:
        """The scope in a run that begins or ends within the /64 of the address."""
        highs, lows = self.high6, self.low6
        bits = (value ^ (highs[at] << 64 | lows[at] if at < len(highs) else _TOP6)).bit_length()
        start = highs[at - 1] << 64 | lows[at - 1]
        if start:
            bits = min(bits, (value ^ (start - 1)).bit_length())
        return 129 - bits

    @property
    def is_uniform(self) -> bool:
        """True when every client gets the same, so that every scope is 0."""
        return len(self.outcomes4) == 1 and len(self.outcomes6) == 1

    def __reduce__(self) -> tuple[type["Partition"], tuple[object, ...]]:
        state = (self.starts4, self.outcomes4, self.high6, self.low6, self.outcomes6, self.elsewhere)
        return (Partition, state)


def build(rules: Rules, locator: "Locator") -> Partition:
    """Divide the address space by what `rules` say of each address, as `locator` knows it."""
    from geodns.geo.divide import divide  # numpy, which a process that only serves does not need

    return divide(rules, locator)
