"""Which rule takes an address, and why: the rules read one after the other, for `geodns explain`.

    rules + Explanation --match--> Match(rule, why)
    rules + Explanation --ladder--> a Match for each rule that can take the address, --route--> its steps
    Partition.locate and Partition.routes say the same, only faster

The tests hold the two to each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geodns.geo import codes, nearest
from geodns.geo.address import Prefix, canonical_prefix
from geodns.geo.locator import Explanation
from geodns.geo.partition import OUTCOME_DEFAULT, OUTCOME_NOT_PUBLIC, Route, Rule, Rules, Step

Numbered = Sequence[tuple[int, Rule]]
"""Rules with their positions."""


@dataclass(frozen=True, slots=True)
class Match:
    """`rule` is the index of the rule that takes the address, None where none does; `why` is a phrase for
    people.

    `outcome` is the rule's, OUTCOME_DEFAULT without one, and OUTCOME_NOT_PUBLIC for an address that says
    nothing of where a client is; `rule` is then the one that an asker with this address gets.
    """

    rule: int | None
    outcome: int
    why: str


class Distance(NamedTuple):
    """`site` is a position in `Rule.sites`; by the `biased` kilometres the sites are put in order."""

    site: int
    kilometres: float
    biased: float


def match(rules: Rules, explanation: Explanation) -> Match:
    """The longest subnet, then the AS, then the most specific geo code, then the catch-all."""
    return _match(rules, explanation, frozenset())


def ladder(rules: Rules, explanation: Explanation) -> tuple[Match, ...]:
    """The rules that have the address, one after the other: those with a share, each of which may take it,
    and at the end the one that takes what they leave (its `rule` is None where that is nobody).
    """
    found: list[Match] = []
    passed: frozenset[int] = frozenset()
    while True:
        told = _match(rules, explanation, passed)
        found.append(told)
        if told.rule is None or not rules[told.rule].share:
            return tuple(found)
        passed |= {told.rule}


def route(rules: Rules, explanation: Explanation) -> Route:
    """The steps for an asker with the address; () where the default follows at once."""
    taken = (rules[told.rule] for told in ladder(rules, explanation) if told.rule is not None)
    return tuple(
        Step(rule.outcome, _order(rule, explanation)) for rule in taken if rule.outcome != OUTCOME_DEFAULT
    )


def distances(rule: Rule, explanation: Explanation) -> list[Distance]:
    """How far each site of the rule is, in the order in which they are preferred; [] when nobody knows where
    the address is.
    """
    point = _point(explanation)
    if point is None or not rule.sites:
        return []
    kilometres = nearest.distances(point, rule.sites)
    far = nearest.biased(kilometres, rule.sites)
    order = nearest.orders(point, rule.sites, len(rule.sites))
    return [Distance(at, float(kilometres[0, at]), float(far[0, at])) for at in order[0].tolist()]


def _order(rule: Rule, explanation: Explanation) -> tuple[int, ...]:
    point = _point(explanation) if rule.is_ordered else None
    return () if point is None else tuple(nearest.orders(point, rule.sites, rule.kept)[0].tolist())


def _point(explanation: Explanation) -> NDArray[np.float64] | None:
    position = explanation.place.position()
    return None if position is None else np.array([position[:2]], dtype=np.float64)


def _match(rules: Rules, explanation: Explanation, passed: frozenset[int]) -> Match:
    """As `match`, without the rules that were passed by."""
    left = [(at, rule) for at, rule in enumerate(rules) if at not in passed]
    for by in (_by_subnet, _by_system, _by_place):
        if found := by(left, explanation):
            return found
    rest, outcome = next(
        ((at, rule.outcome) for at, rule in left if rule.is_catch_all), (None, OUTCOME_DEFAULT)
    )
    why = "no rule has this address" if rest is None else "takes what no other rule does"
    if not explanation.is_located:
        outcome = OUTCOME_NOT_PUBLIC
        why = f"{why}; {explanation.used} has no place" + (
            f": {explanation.special.what} ({explanation.special.source})" if explanation.special else ""
        )
    return Match(rest, outcome, why)


def _by_subnet(left: Numbered, explanation: Explanation) -> Match | None:
    best: tuple[int, int, Rule] | None = None  # length, position, rule
    for at, rule in left:
        for subnet in rule.subnets:
            prefix = canonical_prefix(Prefix(*subnet))
            if prefix and prefix.covers(explanation.used) and (best is None or prefix.length > best[0]):
                best = prefix.length, at, rule
    if best is None:
        return None
    length, at, rule = best
    network = explanation.used.network(length)
    return Match(at, rule.outcome, f"{explanation.used} is in the subnet {network}")


def _by_system(left: Numbered, explanation: Explanation) -> Match | None:
    asn = explanation.place.asn
    why = f"{explanation.used} is in AS{asn}"
    return next((Match(at, rule.outcome, why) for at, rule in left if asn and asn in rule.asns), None)


def _by_place(left: Numbered, explanation: Explanation) -> Match | None:
    for code in explanation.place.codes():
        for at, rule in left:
            if any(codes.current(geo) == codes.current(code) for geo in rule.geos):
                why = f"{explanation.used} is in {code} ({codes.describe(code)})"
                return Match(at, rule.outcome, why)
    return None
