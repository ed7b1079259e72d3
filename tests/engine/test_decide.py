"""`decide` against a slow reading of the same rules, for any pools, rules, states, clients and draws."""

from itertools import combinations, product
from math import log

from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.engine.decide import Decision, Verdict, decide
from geodns.engine.hashing import mix64
from geodns.geo.partition import Route, Step
from geodns.table.steer import (
    SHARE_ALL,
    TTL_UNBOUND,
    Member,
    Policy,
    Pool,
    Rule,
    Standing,
    Steer,
    WhenAllDown,
    base_standing,
    stand,
)

NOW = 1_700_000_000
POOLS_MAX = 4
words64 = st.integers(0, 2**64 - 1)


@st.composite
def pools(draw: st.DrawFn, count: int) -> Pool:
    """Any pool, also with fallbacks in a circle: nothing here may depend on the zone check."""
    weights = draw(st.lists(st.integers(0, 3), max_size=4))
    policy = draw(st.sampled_from(Policy))
    fallbacks = draw(
        st.lists(st.tuples(st.integers(0, count - 1), st.integers(1, 3)), max_size=3, unique=True)
    )
    return Pool(
        name="",
        members=tuple(Member(str(at), weight, draw(words64)) for at, weight in enumerate(weights)),
        policy=policy,
        answers=draw(st.integers(0 if policy is Policy.ALL else 1, 3)),
        min_up=draw(st.sampled_from([0.0, 0.5, 1.0])),
        slow_start=draw(st.sampled_from([0, 100, 100])),
        fallbacks=tuple(fallbacks),
        seed=draw(words64),
        mark="",
    )


@st.composite
def rules(draw: st.DrawFn, count: int) -> Rule:
    named = draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True))
    nearest = draw(st.booleans())
    share = draw(st.sampled_from([SHARE_ALL, SHARE_ALL, SHARE_ALL // 2]))
    answers = draw(st.integers(1, 3)) if nearest else 1
    return Rule(tuple(named), nearest, answers, share, draw(words64), "")


@st.composite
def steers(draw: st.DrawFn) -> Steer:
    count = draw(st.integers(1, POOLS_MAX))
    made = tuple(draw(pools(count)) for _ in range(count))
    return Steer(
        key="www. A",
        pools=made,
        rules=tuple(draw(st.lists(rules(count), min_size=1, max_size=3))),
        when_all_down=draw(st.sampled_from(WhenAllDown)),
        ttl=60,
        ttl_min=20,
        base=base_standing(made),
    )


@st.composite
def standings(draw: st.DrawFn, steer: Steer) -> Standing:
    found = []
    for pool in steer.pools:
        chances = draw(st.sampled_from([[True], [False], [True, False]]))
        is_up = tuple(draw(st.sampled_from(chances)) for _ in pool.members)
        ramps = tuple(
            (at, NOW - draw(st.integers(-5, 120)))
            for at in range(len(pool.members))
            if pool.slow_start and is_up[at] and draw(st.booleans())
        )
        found.append(stand(pool, is_up, ramps, draw(st.sampled_from([TTL_UNBOUND, 5, 30, 45, 600]))))
    return Standing(tuple(found))


@st.composite
def routes(draw: st.DrawFn, steer: Steer) -> Route:
    """Rules with a share, then perhaps one without."""
    steps = []
    for at in draw(st.permutations(range(len(steer.rules)))):
        rule = steer.rules[at]
        positions = st.permutations(range(len(rule.pools))) if rule.nearest else st.just(())
        order = tuple(draw(positions))
        steps.append(Step(at, order[: draw(st.integers(0, len(order)))]))
        if rule.share == SHARE_ALL:
            break
    return tuple(steps)


@st.composite
def situations(draw: st.DrawFn) -> tuple[Steer, Standing, Route]:
    steer = draw(steers())
    return steer, draw(standings(steer)), draw(routes(steer))


class Reading:
    """The rules as they are written, one sentence after the other, with no thought of speed."""

    def __init__(self, steer: Steer, standing: Standing, route: Route, subnet: int) -> None:
        self.steer, self.standing, self.subnet = steer, standing, subnet
        self.looked: set[int] = set()
        self.rule: int | None = None
        self.chosen: list[tuple[int, list[int]]] = []  # pools with their members to choose from
        for step in route:
            rule = steer.rules[step.rule]
            if rule.share == SHARE_ALL or mix64(subnet ^ rule.seed) >> 32 < rule.share:
                self.rule = step.rule
                candidates = [rule.pools[at] for at in step.order]
                candidates += [at for at in rule.pools if at not in candidates]
                self._choose(candidates, rule.answers)
                break

    def _choose(self, candidates: list[int], answers: int) -> None:
        for patient in (True, False):
            found = self._first_up(candidates, answers, patient)
            level, seen = candidates, set(candidates)
            while level and not found:
                level = [at for parent in level for at in self._fallbacks(parent)]
                level = [at for at in dict.fromkeys(level) if at not in seen]
                seen |= set(level)
                found = self._first_up(level, 1, patient)
            if found:
                self.chosen = [(at, self._open(at, patient)) for at in found]
                return
        if self.steer.when_all_down is WhenAllDown.ALL:
            for at in candidates[:answers]:
                pool = self.steer.pools[at]
                members = [
                    member
                    for member, what in enumerate(pool.members)
                    if what.weight or pool.policy is Policy.ALL
                ]
                self.chosen.append((at, members))

    def _first_up(self, candidates: list[int], wanted: int, patient: bool) -> list[int]:
        found: list[int] = []
        for at in candidates:
            if len(found) < wanted:
                self.looked.add(at)
                if self.standing.pools[at].is_up and self._open(at, patient):
                    found.append(at)
        return found

    def _open(self, at: int, patient: bool) -> list[int]:
        pool, standing = self.steer.pools[at], self.standing.pools[at]
        since = dict(standing.ramps)

        def is_open(member: int) -> bool:
            if not patient or member not in since:
                return True
            hashed = mix64(self.subnet ^ pool.members[member].seed ^ 0x736C6F7773746172) >> 11
            return hashed < (NOW - since[member]) / pool.slow_start * 2**53

        return [member for member in standing.up if is_open(member)]

    def _fallbacks(self, at: int) -> list[int]:
        fallbacks = self.steer.pools[at].fallbacks
        seeds = [(self.steer.pools[pool].seed, weight) for pool, weight in fallbacks]
        return [fallbacks[i][0] for i in self._ranking(seeds)]

    def _ranking(self, candidates: list[tuple[int, int]]) -> list[int]:
        def score(at: int) -> float:
            seed, weight = candidates[at]
            return log(((mix64(self.subnet ^ seed) >> 11) + 0.5) / 2**53) / weight

        return sorted(range(len(candidates)), key=lambda at: -score(at))

    @property
    def possible(self) -> set[frozenset[tuple[int, int]]]:
        """Every set of members that a draw may come to."""
        each = [
            [{(at, member) for member in some} for some in self._sets(at, open_)] for at, open_ in self.chosen
        ]
        return {frozenset().union(*some) for some in product(*each)}

    def _sets(self, at: int, open_: list[int]) -> list[tuple[int, ...]]:
        pool = self.steer.pools[at]
        count = min(pool.answers or len(open_), len(open_))
        if pool.policy is Policy.HASH:
            members = [(pool.members[member].seed, pool.members[member].weight) for member in open_]
            return [tuple(open_[i] for i in self._ranking(members)[:count])]
        return list(combinations(open_, count))

    @property
    def ttl(self) -> int:
        least = min((self.standing.pools[at].ttl for at in self.looked), default=TTL_UNBOUND)
        return TTL_UNBOUND if least >= self.steer.ttl else max(least, self.steer.ttl_min)


def decided(situation: tuple[Steer, Standing, Route], subnet: int, draw: int) -> Decision:
    return decide(*situation, subnet, draw, NOW)


@given(situations(), words64, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_the_members_are_those_of_the_rules(
    situation: tuple[Steer, Standing, Route], subnet: int, draw: int
) -> None:
    """What answers, from which rule and pools, for how long: as the rules say it, read slowly."""
    decision = decided(situation, subnet, draw)
    expected = Reading(*situation, subnet)
    assert expected.rule == decision.rule
    assert frozenset(decision.members) in expected.possible
    assert len(set(decision.members)) == len(decision.members)
    assert expected.ttl == decision.ttl
    assert expected.looked == {looked.pool for looked in decision.looked}
    assert (decision.verdict is Verdict.NO_RULE) == (expected.rule is None)
    steer, standing, _ = situation
    for pool, member in decision.members:
        assert decision.verdict is Verdict.ALL_DOWN or member in standing.pools[pool].up
        assert steer.pools[pool].members[member].weight or steer.pools[pool].policy is Policy.ALL


@given(situations(), words64, words64, st.integers(0, 2**32 - 1))
@settings(max_examples=200, deadline=None)
def test_what_is_not_hashed_is_the_same_for_every_subnet(
    situation: tuple[Steer, Standing, Route], subnet: int, other: int, draw: int
) -> None:
    """So that the scope need not be a subnet's."""
    decision = decided(situation, subnet, draw)
    if not decision.hashed:
        assert decision == decided(situation, other, draw)
