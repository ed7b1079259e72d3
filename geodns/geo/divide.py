"""Partitions, made with numpy where databases are loaded: never on the way of a query.

    Locator.geography, .systems, subnets --by rules--> ladders, laid over one another
    ladders + Locator.coordinates --nearest.orders--> routes --embedded IPv4--> Partition

A ladder is the positions of the rules that take an address, one after the other: those with a share, and then
one without, which closes it. An open one goes on with what lies below it.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from geodns.geo.address import EMBEDDINGS, Address, Prefix, canonical_prefix
from geodns.geo.codes import current
from geodns.geo.nearest import orders
from geodns.geo.partition import (
    EMBEDDED,
    OUTCOME_DEFAULT,
    OUTCOME_NOT_PUBLIC,
    SHARES_MAX,
    Partition,
    Route,
    Rule,
    Rules,
    Step,
)
from geodns.geo.runs import (
    TRANSPARENT,
    Runs,
    align,
    everywhere,
    flatten,
    merge_equal,
    overlay,
    v4_arrays,
    v6_arrays,
)

if TYPE_CHECKING:
    from geodns.geo.locator import Locator

T = TypeVar("T")

Ladder = tuple[int, ...]

_TABLE_MAX = 1 << 24  # octets; values further apart are sorted to find the different ones


def divide(rules: Rules, locator: "Locator") -> Partition:
    """See `partition.build`."""
    if sum(rule.share for rule in rules) > SHARES_MAX:
        raise ValueError(f"more than {SHARES_MAX} rules with a share")
    division = _Division(rules, locator)
    four = division.family(4)
    six = _embed(division.family(6), four)
    elsewhere = division.elsewhere
    if _all_same(four, elsewhere) and _all_same(six, elsewhere):
        # Who asks about a private subnet gets what everybody gets: nothing was chosen, so the scope is 0.
        four, six = everywhere(4, elsewhere), everywhere(6, elsewhere)
    return _numbered(four, six, elsewhere, division.routes.found)


class _Index(Generic[T]):
    """Things that are different, numbered as they come."""

    def __init__(self) -> None:
        self._known: dict[T, int] = {}

    def at(self, thing: T) -> int:
        return self._known.setdefault(thing, len(self._known))

    @property
    def found(self) -> tuple[T, ...]:
        return tuple(self._known)


class _Division:
    """The runs of a family, for one list of rules. `routes` fill up as they are found."""

    def __init__(self, rules: Rules, locator: "Locator") -> None:
        self._rules = rules
        self._locator = locator
        self._ladders: _Index[Ladder] = _Index()
        self.routes: _Index[Route] = _Index()
        self._rest = self._take(at for at, rule in enumerate(rules) if rule.is_catch_all)
        self._with_sites = tuple(at for at, rule in enumerate(rules) if rule.is_ordered)
        self.elsewhere = self._route(self._rest, {})

    def family(self, family: int) -> Runs:
        """Runs of indices into `routes`, OUTCOME_DEFAULT and OUTCOME_NOT_PUBLIC."""
        ladders = self._by_place(family)
        if any(rule.asns for rule in self._rules):
            ladders = self._over(ladders, self._by_system(family))
        return self._routed(family, self._over(ladders, self._by_subnet(family)))

    # ladders

    def _take(self, found: Iterable[int]) -> Ladder:
        """The ladder of rules in the order in which they take an address, each once."""
        ladder: dict[int, None] = {}
        for at in found:
            ladder[at] = None
            if not self._rules[at].share:
                break
        return tuple(ladder)

    def _is_open(self, ladder: Ladder) -> bool:
        return not ladder or self._rules[ladder[-1]].share

    def _having(self, part: Callable[[Rule], Iterable[T]]) -> dict[T, list[int]]:
        """The positions of the rules that have each of what `part` finds in them."""
        having: dict[T, list[int]] = defaultdict(list)
        for at, rule in enumerate(self._rules):
            for thing in part(rule):
                having[thing].append(at)
        return dict(having)

    def _by_place(self, family: int) -> Runs:
        having = self._having(lambda rule: map(current, rule.geos))
        geography = self._locator.geography(family)
        values = np.empty(len(geography.codes), dtype=np.int32)
        for at, codes in enumerate(geography.codes):
            if codes is None:
                values[at] = OUTCOME_NOT_PUBLIC
            else:
                found = chain.from_iterable(having.get(code, ()) for code in map(current, codes))
                values[at] = self._ladders.at(self._take(chain(found, self._rest)))
        return merge_equal(Runs(geography.runs.keys, values[geography.runs.values]))

    def _by_system(self, family: int) -> Runs:
        having = self._having(lambda rule: rule.asns)
        systems = self._locator.systems(family)
        values = np.full(len(systems.numbers), TRANSPARENT, dtype=np.int32)
        wanted = np.array(sorted(having), dtype=np.int64)
        for at in np.flatnonzero(np.isin(systems.numbers, wanted)).tolist():
            values[at] = self._ladders.at(self._take(having[int(systems.numbers[at])]))
        return merge_equal(Runs(systems.runs.keys, values[systems.runs.values]))

    def _by_subnet(self, family: int) -> Runs:
        having = self._having(lambda rule: _prefixes(rule, family))
        around: list[tuple[Prefix, Ladder]] = []  # the prefixes that the current one is in
        values: list[tuple[int, int, int]] = []
        for prefix in sorted(having):  # a prefix sorts before those inside it
            while around and not around[-1][0].covers(Address(family, prefix.first)):
                around.pop()
            ladder = self._take(chain(having[prefix], around[-1][1] if around else ()))
            around.append((prefix, ladder))
            values.append((prefix.first, prefix.length, self._ladders.at(ladder)))
        return flatten(family, values)

    def _over(self, below: Runs, above: Runs) -> Runs:
        """The ladders of `above`, the open ones continued by those of `below`."""
        ladders = self._ladders.found
        is_open = np.array([self._is_open(ladder) for ladder in ladders] or [False], dtype=bool)
        if not is_open[above.values[above.values >= 0]].any():
            return overlay(below, above)
        keys, under, over = align(below, above)
        values = np.where(over == TRANSPARENT, under, over)
        mixed = np.flatnonzero((over >= 0) & is_open[np.maximum(over, 0)])

        def continued(high: int, low: int) -> int:
            rest = self._rest if low == OUTCOME_NOT_PUBLIC else ladders[low]
            return self._ladders.at(self._take(chain(ladders[high], rest)))

        values[mixed] = _paired(over[mixed], under[mixed], continued)
        return merge_equal(Runs(keys, values))

    # routes

    def _routed(self, family: int, runs: Runs) -> Runs:
        ladders = self._ladders.found
        wanted = {at for value in _distinct(runs.values) if value >= 0 for at in ladders[value]}
        if not wanted.intersection(self._with_sites):
            return _mapped(runs, lambda value: self._route(ladders[value], {}) if value >= 0 else value)
        near, classes = self._near(family)
        keys, values, of_class = align(runs, near)

        def routed(value: int, at: int) -> int:
            return self._route(ladders[value], classes[at]) if value >= 0 else value

        return merge_equal(Runs(keys, _paired(values, of_class, routed)))

    def _route(self, ladder: Ladder, order: dict[int, tuple[int, ...]]) -> int:
        """The index of a ladder's route, where the sites of its rules are in this order."""
        rules = self._rules
        steps = (
            Step(rules[at].outcome, order.get(at, ()))
            for at in ladder
            if rules[at].outcome != OUTCOME_DEFAULT
        )
        route = tuple(steps)
        return self.routes.at(route) if route else OUTCOME_DEFAULT

    def _near(self, family: int) -> tuple[Runs, list[dict[int, tuple[int, ...]]]]:
        """Runs of addresses for which all sites are in the same order, and that order for each rule."""
        coordinates = self._locator.coordinates(family)
        parts = [
            orders(coordinates.points, self._rules[at].sites, self._rules[at].kept) for at in self._with_sites
        ]
        rows, index = np.unique(np.concatenate(parts, axis=1), axis=0, return_inverse=True)
        runs = Runs(coordinates.runs.keys, index.reshape(-1).astype(np.int32)[coordinates.runs.values])
        ends = np.cumsum([part.shape[1] for part in parts]).tolist()
        begins = [0, *ends[:-1]]
        classes = [
            {
                at: tuple(row[begin:end])
                for at, begin, end in zip(self._with_sites, begins, ends, strict=True)
                if row[begin] >= 0
            }
            for row in rows.tolist()
        ]
        return merge_equal(runs), classes


def _prefixes(rule: Rule, family: int) -> Iterable[Prefix]:
    """The subnets of a rule as addresses are looked up, each once."""
    found = (canonical_prefix(Prefix(*subnet)) for subnet in rule.subnets)
    return dict.fromkeys(prefix for prefix in found if prefix is not None and prefix.family == family)


def _mapped(runs: Runs, work: Callable[[int], int]) -> Runs:
    """Runs with what `work` makes of each value."""
    made = {value: work(value) for value in _distinct(runs.values)}
    if all(value == new for value, new in made.items()):
        return runs
    low = min(made)
    table = np.zeros(max(made) - low + 1, dtype=np.int32)
    table[[value - low for value in made]] = list(made.values())
    return merge_equal(Runs(runs.keys, table[runs.values - low]))


def _paired(
    one: NDArray[np.int32], other: NDArray[np.int32], work: Callable[[int, int], int]
) -> NDArray[np.int32]:
    """What `work` makes of each pair of values, asked once for every pair that there is."""
    ones, others = _distinct(one), _distinct(other)
    at_one, at_other = np.searchsorted(ones, one), np.searchsorted(others, other)
    pairs = at_one * len(others) + at_other
    table = np.zeros(len(ones) * len(others), dtype=np.int32)
    for pair in _distinct(pairs):
        table[pair] = work(ones[pair // len(others)], others[pair % len(others)])
    found: NDArray[np.int32] = table[pairs]
    return found


def _distinct(values: NDArray[Any]) -> list[int]:
    """The different values, sorted: as numpy.unique, but millions of small ones are not sorted."""
    low, high = int(values.min()), int(values.max())
    if high - low > _TABLE_MAX:
        return list(np.unique(values).tolist())
    seen = np.zeros(high - low + 1, dtype=bool)
    seen[values - low] = True
    return list((np.flatnonzero(seen) + low).tolist())


def _embed(six: Runs, four: Runs) -> Runs:
    same = int(four.values[0]) if len(four.values) == 1 else None
    blocks = (
        (row.block.first, row.block.length, EMBEDDED - at if same is None else same)
        for at, row in enumerate(EMBEDDINGS)
    )
    return overlay(six, flatten(6, blocks))


def _all_same(runs: Runs, elsewhere: int) -> bool:
    return all(
        value in (elsewhere, OUTCOME_NOT_PUBLIC) or value <= EMBEDDED for value in _distinct(runs.values)
    )


def _numbered(four: Runs, six: Runs, elsewhere: int, routes: tuple[Route, ...]) -> Partition:
    """The Partition, with only the routes that an address has, sorted."""
    used = {elsewhere, *_distinct(four.values), *_distinct(six.values)}
    kept = sorted((at for at in used if at >= 0), key=lambda at: routes[at])
    number = {at: place for place, at in enumerate(kept)}
    four, six = (_mapped(runs, lambda value: number.get(value, value)) for runs in (four, six))
    left = tuple(routes[at] for at in kept)
    return Partition(*v4_arrays(four), *v6_arrays(six), number.get(elsewhere, elsewhere), left)
