"""Spreading clients: the shares are what the weights say, and what changes moves only its own clients."""

import random
from collections import Counter
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.engine.decide import decide
from geodns.engine.hashing import by_score, is_in_share, is_kept_back, mix64
from geodns.geo.partition import Step, subnet_of
from geodns.table.steer import (
    SHARE_ALL,
    Member,
    Policy,
    Pool,
    Rule,
    Steer,
    WhenAllDown,
    base_standing,
)

COUNT = 100_000
SUBNETS = [subnet_of(4, number << 8)[0] for number in range(0x010000, 0x010000 + COUNT)]
"""Neighbours, as they are in the world, and not random numbers, which any hash would spread."""

seeds = st.integers(0, 2**64 - 1)
subnets = st.integers(0, 2**64 - 1)


def steer_of(weights: list[int], policy: Policy, answers: int) -> Steer:
    members = tuple(Member(str(at), weight, mix64(at + 1)) for at, weight in enumerate(weights))
    pools = (Pool("web", members, policy, answers, 0.5, 0, (), 7, ""),)
    rules = (Rule((0,), False, 1, SHARE_ALL, 8, ""),)
    return Steer("www. A", pools, rules, WhenAllDown.DEFAULT, 60, 30, base_standing(pools))


def members_of(steer: Steer, subnet: int, draw: int) -> tuple[int, ...]:
    decision = decide(steer, steer.base, (Step(0),), subnet, draw, 0)
    return tuple(member for _, member in decision.members)


def test_the_mixer_is_splitmix64s() -> None:
    """The first numbers of SplitMix64 with seed 0 (Vigna's splitmix64.c): other engines get the same."""
    gamma = 0x9E3779B97F4A7C15
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert expected == [mix64(gamma * count & 2**64 - 1) for count in (1, 2, 3)]


@pytest.mark.parametrize("policy", [Policy.WEIGHTED, Policy.HASH])
def test_a_pool_of_three_to_one_gets_three_quarters(policy: Policy) -> None:
    """Over 100,000 distinct subnets, within 1 %: drawn, and by the subnet."""
    steer = steer_of([3, 1], policy, 1)
    dice = random.Random(20261122)
    got = Counter(members_of(steer, subnet, dice.getrandbits(32)) for subnet in SUBNETS)
    assert 0.74 < got[0,] / COUNT < 0.76
    assert COUNT == got.total()


def test_a_value_that_goes_takes_along_only_its_own_clients() -> None:
    """Of ten values one is removed: at most 10.5 % of the subnets move, those that had it."""
    ten = [(mix64(at), 1) for at in range(10)]
    nine = ten[:3] + ten[4:]
    moved = 0
    for subnet in SUBNETS:
        before, after = ten[by_score(subnet, ten)[0]], nine[by_score(subnet, nine)[0]]
        assert before == after or before == ten[3]
        moved += before == ten[3]
    assert 0.095 * COUNT < moved <= 0.105 * COUNT


def test_a_weight_that_is_raised_moves_clients_only_to_itself() -> None:
    """From 1:1:1 to 2:1:1: from a third to a half, and nobody between the other two."""
    before = [(mix64(at), 1) for at in range(3)]
    after = [(before[0][0], 2), *before[1:]]
    moved = 0
    for subnet in SUBNETS[::5]:
        first, now = by_score(subnet, before)[0], by_score(subnet, after)[0]
        assert now in (first, 0)
        moved += now != first
    assert abs(moved / len(SUBNETS[::5]) - (1 / 2 - 1 / 3)) < 0.01


@given(subnets, st.lists(st.tuples(seeds, st.integers(0, 65535)), min_size=1, max_size=6, unique=True))
def test_every_candidate_has_a_place(subnet: int, candidates: list[tuple[int, int]]) -> None:
    """An order of all of them, with those of weight 0 at the end."""
    order = by_score(subnet, candidates)
    assert list(range(len(candidates))) == sorted(order)
    weightless = [not candidates[at][1] for at in order]
    assert sorted(weightless) == weightless


def test_a_share_is_that_share() -> None:
    """10 % of the subnets, within 1 %, and a larger share has them all and more."""
    tenth = [subnet for subnet in SUBNETS if is_in_share(subnet, 12345, SHARE_ALL // 10)]
    assert abs(len(tenth) / COUNT - 0.1) < 0.01
    assert all(is_in_share(subnet, 12345, SHARE_ALL // 5) for subnet in tenth)


def test_shares_and_weights_do_not_know_each_other() -> None:
    """Of the clients of a canary each value of a pool has as many as of the others."""
    pool = [(mix64(at), 1) for at in range(2)]
    tenth = [subnet for subnet in SUBNETS if is_in_share(subnet, 12345, SHARE_ALL // 10)]
    first = sum(by_score(subnet, pool)[0] == 0 for subnet in tenth)
    assert abs(first / len(tenth) - 0.5) < 0.02


@given(subnets, seeds, st.integers(1, 86400), st.integers(-10, 86400), st.integers(0, 86400))
def test_whom_a_slow_start_has_let_in_stays_in(
    subnet: int, seed: int, duration: int, elapsed: int, more: int
) -> None:
    """The longer it lasts the more subnets, and in the end all; before it began, nobody."""
    if not is_kept_back(subnet, seed, elapsed, duration):
        assert elapsed > 0
        assert not is_kept_back(subnet, seed, elapsed + more, duration)
    assert not is_kept_back(subnet, seed, duration + more, duration)


def test_a_slow_start_lets_in_as_many_as_it_is_old() -> None:
    """After a quarter of the time a quarter of the subnets."""
    let_in = sum(not is_kept_back(subnet, 99, 75, 300) for subnet in SUBNETS[::5])
    assert abs(let_in / len(SUBNETS[::5]) - 0.25) < 0.01


@pytest.mark.parametrize(("weights", "policy"), [([1] * 4, Policy.ALL), ([8, 1, 1], Policy.WEIGHTED)])
def test_several_are_drawn_without_replacement(weights: list[int], policy: Policy) -> None:
    """`answers: 2`: each pair, in each order, as often as drawing one after the other makes it."""
    steer = steer_of(weights, policy, 2)
    dice = random.Random(3)
    rounds = 40_000
    got = Counter(members_of(steer, 0, dice.getrandbits(32)) for _ in range(rounds))
    total = sum(weights)
    for first, second in permutations(range(len(weights)), 2):
        expected = weights[first] / total * weights[second] / (total - weights[first])
        assert abs(got[first, second] / rounds - expected) < 0.01
