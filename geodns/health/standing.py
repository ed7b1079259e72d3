"""From checks to Standings: what is computed once for all that rest on the same.

    Watches -> Value (what a member rests on) -> Group (what a pool rests on) -> Shape (what a Steer rests on)

Ten thousand records that use the same sites have one Shape between them, so a site that falls costs one
computation and ten thousand assignments.
"""

from dataclasses import dataclass, field

from geodns.health.watch import Watch
from geodns.table.steer import (
    TTL_UNBOUND,
    Check,
    Member,
    Pool,
    PoolStanding,
    Standing,
    Steer,
    can_be_chosen,
    stand,
)


@dataclass(slots=True, eq=False)
class Value:
    """A set of checks that members rest on; up when one of them is, or when nothing is known of one.

    `ramp` is when it came up from a known down, in whole Unix seconds. `texts` are the members that obey it
    (no status in the zone file, not forced), with the number of records that each stands in.
    """

    checks: tuple[Check, ...]
    watches: tuple[Watch, ...]
    is_up: bool = True
    since: float = 0.0
    ramp: int | None = None
    ttl: int = TTL_UNBOUND
    groups: dict["Group", None] = field(default_factory=dict)  # a set that keeps its order
    texts: dict[str, int] = field(default_factory=dict)

    def begin(self) -> None:
        """Take over what the checks know already, or what was saved of them."""
        up = [watch for watch in self.watches if watch.is_up is not False]
        self.is_up = bool(up)
        self.since = min(watch.since for watch in (up or self.watches))
        self.ramp = int(self.since) if up and all(watch.has_risen for watch in up) else None
        self.ttl = self._ttl()

    def change(self, now: float) -> bool:
        """Look at the checks again. True when the state is another."""
        is_up = any(watch.is_up is not False for watch in self.watches)
        has_changed = is_up is not self.is_up
        if has_changed:
            self.is_up, self.since = is_up, now
            self.ramp = int(now) if is_up else None
        self.ttl = self._ttl()
        return has_changed

    def _ttl(self) -> int:
        if self.is_up:  # it falls with the last of the checks that hold it
            return max(watch.ttl for watch in self.watches if watch.is_up is not False)
        return min(watch.ttl for watch in self.watches)


@dataclass(frozen=True, slots=True, eq=False)
class Seat:
    """A member as a Group has it. `forced` is what an override says; `released` is when one that said down
    ended, in whole Unix seconds, as long as the slow start since then lasts.
    """

    member: Member
    value: Value | None
    forced: bool | None
    released: int | None

    @property
    def fixed(self) -> bool | None:
        """The state that no check changes: an override's, else the zone file's."""
        return self.member.is_up if self.forced is None else self.forced

    @property
    def is_up(self) -> bool:
        fixed = self.fixed
        if fixed is not None:
            return fixed
        return self.value is None or self.value.is_up

    def since(self) -> int | None:
        """When it came up, of a member that had been down and obeys its checks."""
        if self.fixed is not None:
            return None
        ramp = None if self.value is None else self.value.ramp
        return max((at for at in (ramp, self.released) if at is not None), default=None)

    def ttl(self, pool: Pool) -> int:
        if self.value is None or self.fixed is not None or not can_be_chosen(pool, self.member):
            return TTL_UNBOUND
        return self.value.ttl


GroupKey = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Group:
    """Pools that stand the same: equal weights and thresholds over the same checks and overrides."""

    key: GroupKey
    pool: Pool  # one of them
    seats: tuple[Seat, ...]
    standing: PoolStanding
    shapes: dict["Shape", None] = field(default_factory=dict)

    @property
    def values(self) -> tuple[Value, ...]:
        return tuple(dict.fromkeys(seat.value for seat in self.seats if seat.value is not None))

    @property
    def ramps_end(self) -> int | None:
        """When the first slow start is over, in Unix seconds; None without one."""
        started = [since for _, since in self.standing.ramps]
        return min(started) + self.pool.slow_start if started else None

    def change(self, now: float) -> bool:
        """Compute the standing again. True when it is another."""
        before = self.standing
        self.standing = standing_of(self.pool, self.seats, now)
        return self.standing != before


@dataclass(slots=True, eq=False)
class Shape:
    """Steers that stand the same, by key."""

    groups: tuple[Group, ...]
    base: Standing
    standing: Standing
    steers: dict[str, Steer] = field(default_factory=dict)

    @property
    def is_told(self) -> bool:
        """Whether it differs from what everybody assumes of a Steer that is not told of."""
        return self.standing != self.base or any(pool.ttl != TTL_UNBOUND for pool in self.standing.pools)

    def change(self) -> bool:
        """Compute the standing again. True when it is another."""
        before = self.standing
        self.standing = Standing(tuple(group.standing for group in self.groups))
        return self.standing != before


def group_key(pool: Pool, seats: tuple[Seat, ...]) -> GroupKey:
    """All that the standing of a pool depends on."""
    members = tuple(
        (can_be_chosen(pool, member), member.weight, member.is_up, seat.value, seat.forced, seat.released)
        for seat in seats
        for member in (seat.member,)
    )
    return (pool.min_up, pool.slow_start, members)


def standing_of(pool: Pool, seats: tuple[Seat, ...], now: float) -> PoolStanding:
    """How a pool stands now. Its TTL is the least of its members'; forced ones have none."""
    is_up = tuple(seat.is_up for seat in seats)
    ttl = min((seat.ttl(pool) for seat in seats), default=TTL_UNBOUND)
    return stand(pool, is_up, _ramps(pool, seats, now) if pool.slow_start else (), ttl)


def _ramps(pool: Pool, seats: tuple[Seat, ...], now: float) -> tuple[tuple[int, int], ...]:
    found: list[tuple[int, int]] = []
    for at, seat in enumerate(seats):
        since = seat.since()
        if since is None or not seat.is_up or not can_be_chosen(pool, seat.member):
            continue
        if now - since < pool.slow_start:
            found.append((at, since))
    return tuple(found)
