"""Address space divided by where a list of rules leads; the hot path's whole knowledge of geography.

    rules + databases + overrides --build--> Partition --locate(address)--> (outcome, scope)
                                             Partition.routes[outcome] -> (Step, Step, ...)

The order (which `reason.match` follows address by address, for explain and for the tests): the longest
subnet, then the AS, then the most specific geo code, then the catch-all; among equals the first rule. A rule
that takes only a share of its clients leaves the others to what would come without it: so a route has a Step
for each of those, and then one for the rule that takes everybody who is left.

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

SHARES_MAX = 4
"""Rules with a share in one list: each can double the routes, and a canary needs one."""

NEAREST_SPARES = 2
"""So many more of the nearest sites than answer are put in order, in case that those are down: each one more
divides the address space into smaller parts, whose answers resolvers cache apart.
"""

SUBNET_BITS = {4: 24, 6: 56}
"""What stands for a client where clients are spread: the longest SOURCE that RFC 7871 section 11.1 would have
resolvers send.
"""

EMBEDDED = -16
"""In `Partition.outcomes6`: EMBEDDED - i means "look at the IPv4 address in it", found with EMBEDDINGS[i]."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Addresses in a subnet, an AS or a place have this outcome (an index of the caller's, or OUTCOME_DEFAULT
    in a rule without share and sites). Rules with the same outcome lead to the very same thing.

    `subnets` are (family, first address as an integer, prefix length); family is 4 or 6. A rule with none of
    the three is a catch-all. With `share` it takes some of its clients, and the rest goes on.

    `sites` are (latitude, longitude, bias), of which the `kept` nearest to the client are put in order.
    """

    outcome: int
    subnets: tuple[tuple[int, int, int], ...] = ()
    asns: tuple[int, ...] = ()
    geos: tuple[str, ...] = ()
    share: bool = False
    sites: tuple[tuple[float, float, int], ...] = ()
    kept: int = 0

    @property
    def is_catch_all(self) -> bool:
        return not (self.subnets or self.asns or self.geos)

    @property
    def is_ordered(self) -> bool:
        """True when there is something to put in order by distance."""
        return len(self.sites) > 1 and self.kept > 0


Rules = tuple[Rule, ...]
"""Hashable, so that records with the same rules share one Partition."""


class Step(NamedTuple):
    """`rule` is the outcome of a Rule. `order` are positions in its `sites`, nearest first: () where there is
    nothing to put in order, or nobody knows where the client is.
    """

    rule: int
    order: tuple[int, ...] = ()


Route = tuple[Step, ...]
"""The rules with a share that have an address, in their order, then the first one without; without such a
one the default follows.
"""


class Located(NamedTuple):
    """`outcome` is an index into `Partition.routes`, or OUTCOME_DEFAULT; `scope` is a prefix length in bits
    in the family of the address asked about.
    """

    outcome: int
    scope: int


_TOP4 = 1 << 32
_TOP6 = 1 << 128
_TOP_HIGH = 1 << 64
_LOW = (1 << 64) - 1
_EMBEDDING_ROWS = tuple((row.shift, 0xFFFFFFFF if row.inverted else 0, row.offset) for row in EMBEDDINGS)
_EMBEDDING_BLOCKS = tuple(
    (row.block.first >> 128 - row.block.length, 128 - row.block.length, columns)
    for row, columns in zip(EMBEDDINGS, _EMBEDDING_ROWS, strict=True)
)
_V4_SUBNET = 1 << 63  # IPv6 subnets have 56 bits, so no IPv4 subnet is one of them


class Partition:
    """Immutable. Runs of addresses with one outcome: run i goes from starts[i] to starts[i + 1] - 1.

    `starts4` is array("I"); an IPv6 start is high6[i] << 64 | low6[i], both array("Q"); outcomes are
    array("b"), "h" or "i", as narrow as they fit. Every first start is 0, neighbours differ. `outcomes6` has
    EMBEDDED - i for the block of EMBEDDINGS[i] (unless all of IPv4 has one outcome: then it has that).
    `elsewhere` is the outcome of the catch-all rules, or OUTCOME_DEFAULT: what an asker without a place gets.
    Outcomes are indices into `routes`, which are sorted, all different and none empty.
    """

    __slots__ = ("elsewhere", "high6", "low6", "outcomes4", "outcomes6", "routes", "starts4")

    def __init__(
        self,
        starts4: "array[int]",
        outcomes4: "array[int]",
        high6: "array[int]",
        low6: "array[int]",
        outcomes6: "array[int]",
        elsewhere: int,
        routes: tuple[Route, ...],
    ) -> None:
        self.starts4 = starts4
        self.outcomes4 = outcomes4
        self.high6 = high6
        self.low6 = low6
        self.outcomes6 = outcomes6
        self.elsewhere = elsewhere
        self.routes = routes

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
        starts = (self.starts4, self.outcomes4, self.high6, self.low6, self.outcomes6)
        return (Partition, (*starts, self.elsewhere, self.routes))


def subnet_of(family: int, value: int) -> tuple[int, int]:
    """The number (64 bits) that stands for a client's subnet, and the scope within which it stays the same.

    An IPv6 address that has an IPv4 address in it counts as that one. The scope is in bits of the family
    asked about: a /24 of IPv4 is 40 bits of 6to4.
    """
    if family == 4:
        return _V4_SUBNET | value >> 8, 24
    for block, length, (shift, inverted, offset) in _EMBEDDING_BLOCKS:
        if value >> length == block:
            return _V4_SUBNET | ((value >> shift & 0xFFFFFFFF) ^ inverted) >> 8, offset + 24
    return value >> 72, 56


def octets_of(asker: str) -> bytes:
    """The 4 or 16 octets of an address as the socket gives it, without an interface.

    Raises OSError for what is not an address.
    """
    return inet_pton(AF_INET6 if ":" in asker else AF_INET, asker)


def asker_subnet(asker: str) -> int:
    """The number that stands for the subnet of an address that asked; see `octets_of`."""
    if ":" in asker:
        return subnet_of(6, int.from_bytes(inet_pton(AF_INET6, asker)))[0]
    return _V4_SUBNET | int.from_bytes(inet_pton(AF_INET, asker)) >> 8


def build(rules: Rules, locator: "Locator") -> Partition:
    """Divide the address space by what `rules` say of each address, as `locator` knows it.

    Raises ValueError for more than SHARES_MAX rules with a share.
    """
    from geodns.geo.divide import divide  # numpy, which a process that only serves does not need

    return divide(rules, locator)
