"""Steering, apart from any rendering: which pools an RRset has, who goes where, and how the pools stand now.

    zone.model.Steering --compile--> Steer (part of the table; never changes)
    Steer + what is known of its members --health--> Standing (in the snapshot; replaced as a whole)
    Steer + Standing + client --engine.choose--> which members answer

A Steer is shared by every Choice that is made from it: one for each name and type whose answer leads there.
"""

from dataclasses import dataclass
from enum import Enum

SHARE_ALL = 1 << 32
"""`Rule.share` of a rule that takes everybody."""

TTL_UNBOUND = 0xFFFFFFFF
"""`PoolStanding.ttl` of a pool whose state no check can change."""


class Policy(Enum):
    """How a pool answers: all members, some drawn by weight, some by weight and the client's subnet."""

    ALL = "all"
    WEIGHTED = "weighted"
    HASH = "hash"


class WhenAllDown(Enum):
    """What is answered when no pool can: the record's own values, all members as if up, or nothing."""

    DEFAULT = "default"
    ALL = "all"
    NODATA = "nodata"


@dataclass(frozen=True, slots=True)
class Check:
    """One health check: equal checks are made once, however many members rest on them.

    `key` is its text for people, the same on every instance that has the zone, with all that makes it
    another check: "https 203.0.113.10:443 www.example.com /_dns". Times are seconds; None: the config's.
    """

    key: str
    kind: str  # tcp, http, https, dns, exec, external
    target: str  # an address, or a host name that is looked up for each check; "" for exec and external
    port: int = 0
    host: str = ""  # HTTP Host and TLS server name
    path: str = ""
    statuses: tuple[int, ...] = ()  # (): 200 to 399
    body: str = ""  # regular expression; "": any
    verify: bool = True
    question: tuple[str, str] = ("", "")
    command: tuple[str, ...] = ()
    name: str = ""  # external
    interval: float | None = None
    timeout: float | None = None
    rise: int | None = None
    fall: int | None = None
    ok: int | None = None
    jitter: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class Member:
    """A value of a pool.

    `text` is its presentation form with absolute names. It is up when one of `checks` is; without any it
    always is. `is_up` is the zone file's `status` of up or down, which no check changes (None: obey).
    `seed` (64 bits) stands for the value where clients are spread by their subnets.
    """

    text: str
    weight: int
    seed: int
    checks: tuple[Check, ...] = ()
    is_up: bool | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """`answers` members at most answer (0: all that are up). It is up when at least one member is, and with
    them at least `min_up` (0 to 1) of the weight.

    `fallbacks` are (index of a pool, weight); `seed` stands for the pool where clients are spread over
    several. `slow_start` is in seconds.
    """

    name: str
    members: tuple[Member, ...]
    policy: Policy
    answers: int
    min_up: float
    slow_start: int
    fallbacks: tuple[tuple[int, int], ...]
    seed: int
    mark: str  # file:line:column
    latitude: float | None = None
    longitude: float | None = None
    bias: int = 0


@dataclass(frozen=True, slots=True)
class Rule:
    """`pools` are indices, in order of preference; with `nearest` the partition has the order instead.

    `answers` pools answer together. `share` of SHARE_ALL subnets are taken, by `seed`; the others go on to
    what else would take them.
    """

    pools: tuple[int, ...]
    nearest: bool
    answers: int
    share: int
    seed: int
    mark: str


@dataclass(frozen=True, slots=True)
class PoolStanding:
    """How a pool stands: `up` are the indices of the members that can be chosen, in order.

    `is_up` says that they are enough. `ramps` are (member, Unix seconds since when it is up) of members
    in their slow start. `ttl` is the seconds to the next possible change, TTL_UNBOUND without one.
    """

    up: tuple[int, ...]
    is_up: bool
    ramps: tuple[tuple[int, int], ...] = ()
    ttl: int = TTL_UNBOUND


@dataclass(frozen=True, slots=True)
class Standing:
    """How the pools of one Steer stand, by index."""

    pools: tuple[PoolStanding, ...]


@dataclass(frozen=True, slots=True)
class Steer:
    """Everything that does not depend on who asks and for what name.

    `key` names it: owner and type, "www.example.com. A". `base` is its Standing as long as nothing was
    checked: everything up but for what the zone file says.
    """

    key: str
    pools: tuple[Pool, ...]
    rules: tuple[Rule, ...]
    when_all_down: WhenAllDown
    ttl: int  # seconds
    ttl_min: int  # seconds; an answer that depends on health may say less than `ttl`, never less than this
    base: Standing

    @property
    def checks(self) -> tuple[Check, ...]:
        """Every check that a member rests on, each once."""
        found = (check for pool in self.pools for member in pool.members for check in member.checks)
        return tuple(dict.fromkeys(found))


def can_be_chosen(pool: Pool, member: Member) -> bool:
    """A weight of 0 takes a member out where members are chosen by weight."""
    return member.weight > 0 or pool.policy is Policy.ALL


def stand(pool: Pool, is_up: tuple[bool, ...], ramps: tuple[tuple[int, int], ...], ttl: int) -> PoolStanding:
    """The standing of a pool whose members are up or not, one by one."""
    up = tuple(at for at, member in enumerate(pool.members) if is_up[at] and can_be_chosen(pool, member))
    total = sum(member.weight for member in pool.members)
    weight = sum(member.weight for at, member in enumerate(pool.members) if is_up[at])
    return PoolStanding(up, bool(up) and weight >= pool.min_up * total, ramps, ttl)


def base_standing(pools: tuple[Pool, ...]) -> Standing:
    """The standing of pools of which nobody has looked at a member yet."""
    return Standing(
        tuple(
            stand(pool, tuple(member.is_up is not False for member in pool.members), (), TTL_UNBOUND)
            for pool in pools
        )
    )
