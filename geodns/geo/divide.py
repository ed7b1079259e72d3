"""Partitions, made with numpy where databases are loaded: never on the way of a query.

Locator.geography, .systems --by rules--> outcomes --overlay subnets, embedded IPv4--> Partition
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from geodns.geo.address import EMBEDDINGS, Prefix, canonical_prefix
from geodns.geo.codes import current
from geodns.geo.partition import EMBEDDED, OUTCOME_DEFAULT, OUTCOME_NOT_PUBLIC, Partition, Rules, Step
from geodns.geo.runs import (
    TRANSPARENT,
    Runs,
    everywhere,
    flatten,
    merge_equal,
    overlay,
    v4_arrays,
    v6_arrays,
)

if TYPE_CHECKING:
    from geodns.geo.locator import Locator


def divide(rules: Rules, locator: "Locator") -> Partition:
    """See `partition.build`."""
    outcomes = tuple(dict.fromkeys(rule.outcome for rule in rules if rule.outcome != OUTCOME_DEFAULT))
    routes = tuple((Step(outcome),) for outcome in outcomes)
    rules = tuple(
        replace(rule, outcome=outcomes.index(rule.outcome)) if rule.outcome != OUTCOME_DEFAULT else rule
        for rule in rules
    )
    elsewhere = next(
        (rule.outcome for rule in rules if not (rule.subnets or rule.asns or rule.geos)), OUTCOME_DEFAULT
    )
    four = _family(4, rules, elsewhere, locator)
    six = _embed(_family(6, rules, elsewhere, locator), four)
    if _all_same(four, elsewhere) and _all_same(six, elsewhere):
        # Who asks about a private subnet gets what everybody gets: nothing was chosen, so the scope is 0.
        four, six = everywhere(4, elsewhere), everywhere(6, elsewhere)
    return Partition(*v4_arrays(four), *v6_arrays(six), elsewhere, routes)


def _family(family: int, rules: Rules, elsewhere: int, locator: "Locator") -> Runs:
    runs = _by_place(family, rules, elsewhere, locator)
    if any(rule.asns for rule in rules):
        runs = overlay(runs, _by_system(family, rules, locator))
    return overlay(runs, _by_subnet(family, rules))


def _by_place(family: int, rules: Rules, elsewhere: int, locator: "Locator") -> Runs:
    first: dict[str, int] = {}
    for rule in rules:
        for code in rule.geos:
            first.setdefault(current(code), rule.outcome)
    geography = locator.geography(family)
    outcomes = np.empty(len(geography.codes), dtype=np.int32)
    for at, codes in enumerate(geography.codes):
        if codes is None:
            outcomes[at] = OUTCOME_NOT_PUBLIC
        else:
            outcomes[at] = next((first[code] for code in map(current, codes) if code in first), elsewhere)
    return merge_equal(Runs(geography.runs.keys, outcomes[geography.runs.values]))


def _by_system(family: int, rules: Rules, locator: "Locator") -> Runs:
    first: dict[int, int] = {}
    for rule in rules:
        for asn in rule.asns:
            first.setdefault(asn, rule.outcome)
    systems = locator.systems(family)
    outcomes = np.full(len(systems.numbers), TRANSPARENT, dtype=np.int32)
    wanted = np.array(sorted(first), dtype=np.int64)
    found = np.flatnonzero(np.isin(systems.numbers, wanted))
    for at in found.tolist():
        outcomes[at] = first[int(systems.numbers[at])]
    return merge_equal(Runs(systems.runs.keys, outcomes[systems.runs.values]))


def _by_subnet(family: int, rules: Rules) -> Runs:
    prefixes = (
        (prefix.first, prefix.length, rule.outcome)
        for rule in rules
        for subnet in rule.subnets
        if (prefix := canonical_prefix(Prefix(*subnet))) is not None and prefix.family == family
    )
    return flatten(family, prefixes)


def _embed(six: Runs, four: Runs) -> Runs:
    same = int(four.values[0]) if len(four.values) == 1 else None
    blocks = (
        (row.block.first, row.block.length, EMBEDDED - at if same is None else same)
        for at, row in enumerate(EMBEDDINGS)
    )
    return overlay(six, flatten(6, blocks))


def _all_same(runs: Runs, elsewhere: int) -> bool:
    values = np.unique(runs.values).tolist()
    return all(value in (elsewhere, OUTCOME_NOT_PUBLIC) or value <= EMBEDDED for value in values)
