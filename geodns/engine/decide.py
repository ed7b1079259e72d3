"""Who answers: which rule takes the client, which of its pools can answer now, and with which members.

    route (geo) --shares--> rule --candidates, fallbacks--> pools --policy--> members

It knows indices only, neither names nor packets nor records. The clock and the dice come in as arguments.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from geodns.engine.hashing import by_score, is_in_share, is_kept_back
from geodns.geo.partition import Route
from geodns.table.steer import (
    SHARE_ALL,
    TTL_UNBOUND,
    Policy,
    Pool,
    PoolStanding,
    Rule,
    Standing,
    Steer,
    WhenAllDown,
    can_be_chosen,
)

DRAW_BITS = 32
"""A draw is an integer of this many random bits."""

_MULTIPLIER = 0x9E3779B1  # odd, near 2**32 / golden ratio: spreads the draw for a second choice (Knuth, 6.4)
_NO_PARENT = -1


class Verdict(Enum):
    """Pools answer; no rule takes the client; or no pool can, and `when_all_down` says what then."""

    POOLS = "pools"
    NO_RULE = "no rule"
    ALL_DOWN = "all down"


class Hashed(Enum):
    """What the client's subnet had a say in."""

    SHARE = "share"
    POLICY = "policy"
    FALLBACK = "fallback"
    SLOW_START = "slow start"


class Passed(NamedTuple):
    """A rule with a share that the client met, and whether it is in that share."""

    rule: int
    is_taken: bool


class Looked(NamedTuple):
    """A pool that was looked at.

    `open` are the members that this client may have: up, and not kept back by their slow start. `parent` is
    the pool whose fallback it is, -1 where the rule itself names it.
    """

    pool: int
    standing: PoolStanding
    open: tuple[int, ...]
    parent: int

    @property
    def can_answer(self) -> bool:
        return self.standing.is_up and bool(self.open)


class Decision(NamedTuple):
    """Who answers one client, and why; indices are those of `steer.pools`, `steer.rules` and pools' members.

    `members` are (pool, member), in the order in which they stand in the answer; none of them means the
    record's own values (`verdict` NO_RULE, or ALL_DOWN with DEFAULT), or no record (ALL_DOWN with NODATA).
    `rushed` says that without its slow start alone a pool could answer. `ttl` (seconds) is the most that the
    answer may say, TTL_UNBOUND where no check can change it. `draw` is the last one used.
    """

    verdict: Verdict
    passed: tuple[Passed, ...]
    rule: int | None
    looked: tuple[Looked, ...]
    rushed: bool
    members: tuple[tuple[int, int], ...]
    ttl: int
    hashed: frozenset[Hashed]
    draw: int


def decide(steer: Steer, standing: Standing, route: Route, subnet: int, draw: int, now: int) -> Decision:
    """Who answers a client with this route and subnet (geo.partition), when the pools stand as they do."""
    hashed: set[Hashed] = set()
    passed: list[Passed] = []
    for step in route:
        rule = steer.rules[step.rule]
        if rule.share < SHARE_ALL:
            hashed.add(Hashed.SHARE)
            is_taken = is_in_share(subnet, rule.seed, rule.share)
            passed.append(Passed(step.rule, is_taken))
            if not is_taken:
                continue
        return _by_rule(steer, standing, step.rule, step.order, subnet, draw, now, tuple(passed), hashed)
    return Decision(Verdict.NO_RULE, tuple(passed), None, (), False, (), TTL_UNBOUND, frozenset(hashed), draw)


def _by_rule(
    steer: Steer,
    standing: Standing,
    rule_at: int,
    order: tuple[int, ...],
    subnet: int,
    draw: int,
    now: int,
    passed: tuple[Passed, ...],
    hashed: set[Hashed],
) -> Decision:
    rule = steer.rules[rule_at]
    search = _Search(steer, standing, subnet, now, hashed)
    first = _in_order(rule, order)
    found = search.pools(first, rule.answers)
    rushed = False
    if not found and search.is_holding_back:
        # Better all clients on a value that has just come back than none on it.
        search.is_patient = False
        rushed = True
        found = search.pools(first, rule.answers)
    verdict = Verdict.POOLS
    open_members = [(looked.pool, looked.open) for looked in found]
    if not found:
        verdict = Verdict.ALL_DOWN
        rushed = False
        if steer.when_all_down is WhenAllDown.ALL:
            open_members = [(at, _choosable(steer.pools[at])) for at in first[: rule.answers]]
    members: list[tuple[int, int]] = []
    for at, open_ in open_members:
        picked, draw = _by_policy(steer.pools[at], open_, subnet, draw, hashed)
        members += [(at, member) for member in picked]
    looked = tuple(search.looked.values())
    return Decision(
        verdict,
        passed,
        rule_at,
        looked,
        rushed,
        tuple(members),
        told_ttl(steer, min((pool.standing.ttl for pool in looked), default=TTL_UNBOUND)),
        frozenset(hashed),
        draw,
    )


def _in_order(rule: Rule, order: tuple[int, ...]) -> tuple[int, ...]:
    """The rule's pools, the nearest of them first where that is known."""
    if not order:
        return rule.pools
    nearest = [rule.pools[position] for position in order]
    return (*nearest, *(at for at in rule.pools if at not in nearest))


class _Search:
    """Looking for pools that can answer one client; what was looked at is kept."""

    def __init__(self, steer: Steer, standing: Standing, subnet: int, now: int, hashed: set[Hashed]) -> None:
        self.looked: dict[int, Looked] = {}
        self.is_patient = True  # whether a slow start keeps clients back
        self.is_holding_back = False  # whether one did
        self._steer = steer
        self._standing = standing
        self._subnet = subnet
        self._now = now
        self._hashed = hashed

    def pools(self, first: Sequence[int], wanted: int) -> list[Looked]:
        """The first `wanted` of these that can answer, or else the first one of their fallbacks, the nearest
        level first.
        """
        found: list[Looked] = []
        for at in first:
            looked = self._look(at, _NO_PARENT)
            if looked.can_answer:
                found.append(looked)
                if len(found) == wanted:
                    break
        if found:
            return found
        level, seen = list(first), set(first)
        while level:
            following: list[int] = []
            for parent in level:
                for at in self._fallbacks(parent):
                    if at in seen:
                        continue
                    seen.add(at)
                    following.append(at)
                    looked = self._look(at, parent)
                    if looked.can_answer:
                        return [looked]
            level = following
        return []

    def _fallbacks(self, at: int) -> list[int]:
        fallbacks = self._steer.pools[at].fallbacks
        if len(fallbacks) < 2:
            return [pool for pool, _ in fallbacks]
        self._hashed.add(Hashed.FALLBACK)
        pools = self._steer.pools
        scores = by_score(self._subnet, [(pools[pool].seed, weight) for pool, weight in fallbacks])
        return [fallbacks[i][0] for i in scores]

    def _look(self, at: int, parent: int) -> Looked:
        standing = self._standing.pools[at]
        open_ = standing.up
        if standing.ramps and standing.is_up:
            kept = self._kept_back(self._steer.pools[at], standing)
            if self.is_patient:
                open_ = tuple(member for member in open_ if member not in kept)
        looked = Looked(at, standing, open_, parent)
        self.looked[at] = looked
        return looked

    def _kept_back(self, pool: Pool, standing: PoolStanding) -> set[int]:
        kept = set()
        for member, since in standing.ramps:
            elapsed = max(0, self._now - since)  # a clock may have been set back
            if member in standing.up and elapsed < pool.slow_start:
                self._hashed.add(Hashed.SLOW_START)
                if is_kept_back(self._subnet, pool.members[member].seed, elapsed, pool.slow_start):
                    kept.add(member)
                    self.is_holding_back = True
        return kept


def _choosable(pool: Pool) -> tuple[int, ...]:
    return tuple(at for at, member in enumerate(pool.members) if can_be_chosen(pool, member))


def _by_policy(
    pool: Pool, open_: tuple[int, ...], subnet: int, draw: int, hashed: set[Hashed]
) -> tuple[Sequence[int], int]:
    """The members that answer, of those that this client may have; and the draw that was used last."""
    wanted = pool.answers or len(open_)
    if pool.policy is Policy.HASH and len(open_) > 1:
        hashed.add(Hashed.POLICY)
        members = [(pool.members[at].seed, pool.members[at].weight) for at in open_]
        return [open_[i] for i in by_score(subnet, members)[:wanted]], draw
    if wanted >= len(open_):
        return open_, draw
    rest = list(open_)
    weights = [pool.members[at].weight if pool.policy is Policy.WEIGHTED else 1 for at in rest]
    picked = []
    for count in range(wanted):
        if count:
            draw = next_draw(draw)
        at = drawn(weights, range(len(rest)), draw)
        picked.append(rest.pop(at))
        weights.pop(at)
    return picked, draw


def drawn(weights: Sequence[int], candidates: Sequence[int], draw: int) -> int:
    """One of the candidates, each as often as its weight says."""
    point = draw * sum(weights) >> DRAW_BITS
    for candidate, weight in zip(candidates, weights, strict=True):
        point -= weight
        if point < 0:
            return candidate
    return candidates[-1]


def told_ttl(steer: Steer, ttl: int) -> int:
    """The most that an answer may say when in `ttl` seconds it can be another; TTL_UNBOUND: what it says."""
    return TTL_UNBOUND if ttl >= steer.ttl else max(ttl, steer.ttl_min)


def next_draw(draw: int) -> int:
    """The draw for what is chosen next in the same answer."""
    return (draw * _MULTIPLIER + 1) & 0xFFFFFFFF
