"""All that is known of addresses: databases and overrides together.

Database.layer ... --fields of the first that has them--> Geography, Systems, Coordinates --divide-->
    Partition
Database.lookup ... ----------------- the same -----------> Explanation, for one address and for people
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from geodns.geo import overrides as overrides_
from geodns.geo.address import (
    NOT_PUBLIC,
    Address,
    Embedding,
    Prefix,
    Special,
    canonical,
    embedding,
    special,
)
from geodns.geo.database import Database, Layer
from geodns.geo.overrides import DATABASE, Override, Overrides
from geodns.geo.place import NOWHERE, Place
from geodns.geo.runs import TRANSPARENT, Runs, align, everywhere, flatten, merge_equal, overlay

T = TypeVar("T")


class Geography(NamedTuple):
    """The runs' values are indices into `codes`: those of a place; () for nowhere, None for not public."""

    runs: Runs
    codes: tuple[tuple[str, ...] | None, ...]


class Systems(NamedTuple):
    """The runs' values are indices into `numbers`, of autonomous systems; number 0 is none."""

    runs: Runs
    numbers: NDArray[np.int64]


class Coordinates(NamedTuple):
    """The runs' values are indices into the rows of `points`: latitude and longitude in degrees.

    NaN where nobody knows, in row 0 alone: never 0, 0, which is a place.
    """

    runs: Runs
    points: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Source:
    """What one database said: `prefix` is its own, `names` are for people, the smallest place first."""

    file: str
    type: str
    prefix: Prefix
    place: Place
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """How an address got its Place.

    `used` is the address after `embedding` was taken into account. `special` says why it has no place of its
    own; `is_located` is False when that is so and no override changes it. `place` is the result, and
    `sources` are the databases asked, first the one that wins.
    """

    asked: Address
    used: Address
    embedding: Embedding | None
    special: Special | None
    override: Override | None
    sources: tuple[Source, ...]
    place: Place
    is_located: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Names for the place, from the first database that has some; none where an override decided."""
        if self.override is not None and self.override.place != DATABASE:
            return ()
        return next((source.names for source in self.sources if source.names), ())


class Locator:
    """Databases, in the order of their precedence, and overrides. Not for several threads at once.

    `layers` saves loading a database again that was loaded before (`Database.layer`), by its position.
    """

    def __init__(
        self,
        databases: Sequence[Database] = (),
        overrides: Overrides = overrides_.NONE,
        layers: Sequence[Layer] | None = None,
    ) -> None:
        self.databases = tuple(databases)
        self.overrides = overrides
        self._layers = None if layers is None else tuple(layers)
        self._geography: dict[int, Geography] = {}
        self._systems: dict[int, Systems] = {}
        self._coordinates: dict[int, Coordinates] = {}

    @classmethod
    def open(cls, paths: Iterable[str], overrides: Overrides = overrides_.NONE) -> "Locator":
        """Open the files; their contents are loaded when they are first needed. Raises DatabaseError."""
        return cls([Database(path) for path in paths], overrides)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All of each database. Raises DatabaseError the first time."""
        if self._layers is None:
            self._layers = tuple(database.layer() for database in self.databases)
        return self._layers

    def geography(self, family: int) -> Geography:
        """The geo codes of every address of a family: 4 or 6."""
        if family not in self._geography:
            self._geography[family] = self._make_geography(family)
        return self._geography[family]

    def systems(self, family: int) -> Systems:
        """The AS of every address of a family: 4 or 6."""
        if family not in self._systems:
            self._systems[family] = self._make_systems(family)
        return self._systems[family]

    def coordinates(self, family: int) -> Coordinates:
        """Where every address of a family (4 or 6) is: `Place.position`."""
        if family not in self._coordinates:
            self._coordinates[family] = self._make_coordinates(family)
        return self._coordinates[family]

    def explain(self, address: Address) -> Explanation:
        """Where an address is, and why. Raises DatabaseError when a file has become unreadable."""
        used = canonical(address)
        reserved = special(used)
        override = self.overrides.find(used)
        by_database = reserved is None or (override is not None and override.place == DATABASE)
        sources = []
        for database in self.databases:
            found = database.lookup(used)
            prefix = used.network(found.length)
            sources.append(Source(database.path, database.metadata.type, prefix, found.place, found.names))
        place = joined(source.place for source in sources) if by_database else NOWHERE
        if override is not None and override.place != DATABASE:
            given = override.as_place()
            place = replace(given, asn=place.asn, organization=place.organization)
        return Explanation(
            asked=address,
            used=used,
            embedding=embedding(address),
            special=reserved,
            override=override,
            sources=tuple(sources),
            place=place,
            is_located=reserved is None or override is not None,
        )

    def _make_geography(self, family: int) -> Geography:
        runs, places = _projected(
            self.layers, family, _geography_of, NOWHERE, lambda one, other: joined((one, other))
        )
        known: dict[tuple[str, ...] | None, int] = {(): 0, None: 1}
        base = _indexed(runs, [known.setdefault(place.codes(), len(known)) for place in places])
        given = [
            (
                override.prefix,
                _SHOWN if override.place == DATABASE else known.setdefault(override.codes, len(known)),
            )
            for override in self.overrides
        ]
        return Geography(_masked(family, base, known[None], given), tuple(known))

    def _make_systems(self, family: int) -> Systems:
        runs, numbers = _projected(
            self.layers, family, lambda place: place.asn, 0, lambda one, other: one or other
        )
        # A place that the operator gives leaves the AS as it is: hidden where the address is not public.
        given = [
            (override.prefix, _SHOWN if override.place == DATABASE else _PASSED)
            for override in self.overrides
        ]
        hidden = len(numbers)  # one more row, without a number
        return Systems(_masked(family, runs, hidden, given), np.array([*numbers, 0], dtype=np.int64))

    def _make_coordinates(self, family: int) -> Coordinates:
        runs, places = _projected(
            self.layers, family, _without_system, NOWHERE, lambda one, other: joined((one, other))
        )
        known: dict[tuple[float, float] | None, int] = {None: 0}

        def index_of(place: Place) -> int:
            position = place.position()
            return known.setdefault(position and position[:2], len(known))

        base = _indexed(runs, [index_of(place) for place in places])
        given = [
            (override.prefix, _SHOWN if override.place == DATABASE else index_of(override.as_place()))
            for override in self.overrides
        ]
        points = [point or (np.nan, np.nan) for point in known]
        return Coordinates(_masked(family, base, known[None], given), np.array(points, dtype=np.float64))


_SHOWN = -1  # in a mask: what the databases say
_PASSED = -2  # in a mask: as if there were no override


def joined(places: Iterable[Place]) -> Place:
    """One Place of several databases' Places: the fields of the first that has them.

    A country is taken only with its own continent, and subdivision and coordinates only with their own
    country: a database put first to correct another is not led astray by where that one has its mistake.
    """
    result = NOWHERE
    for place in places:
        agrees = not result.continent or place.continent == result.continent
        if not result.continent or (agrees and not result.country):
            if place.continent or place.country:
                result = replace(result, **_fields(place, "continent", "country", "subdivision", "within"))
        elif not result.subdivision and agrees and place.country == result.country:
            result = replace(result, **_fields(place, "subdivision", "within"))
        if result.latitude is None and _is_within(place, result):
            result = replace(result, **_fields(place, "latitude", "longitude"))
        if not result.asn:
            result = replace(result, **_fields(place, "asn", "organization"))
    return result


def _is_within(place: Place, other: Place) -> bool:
    """True when nothing that both say of continent, country and subdivision differs."""
    pairs = (
        (place.continent, other.continent),
        (place.country, other.country),
        (place.subdivision, other.subdivision),
    )
    return all(one == two or not (one and two) for one, two in pairs)


def _fields(place: Place, *names: str) -> dict[str, Any]:
    return {name: getattr(place, name) for name in names}


def _geography_of(place: Place) -> Place:
    if not place.continent and not place.country:
        return NOWHERE
    return Place(place.continent, place.country, place.subdivision, within=place.within)


def _without_system(place: Place) -> Place:
    if not place.continent and not place.country and place.latitude is None:
        return NOWHERE  # at once: an ASN database has a hundred thousand of these
    return replace(place, asn=0, organization="")


def _projected(
    layers: Sequence[Layer], family: int, part: Callable[[Place], T], empty: T, join: Callable[[T, T], T]
) -> tuple[Runs, Sequence[T]]:
    """The runs of all the layers together, and what their values are indices into.

    Only the part of a Place that `part` takes: databases that have nothing of it would only split the runs.
    """
    runs: Runs = everywhere(family, 0)
    parts: Sequence[T] = (empty,)
    for layer in layers:
        known: dict[T, int] = {}
        index = [known.setdefault(part(place), len(known)) for place in layer.places]
        if len(known) == 1:
            continue
        own, of_own = _indexed(layer.runs(family), index), tuple(known)
        runs, parts = (own, of_own) if len(parts) == 1 else _paired(runs, parts, own, of_own, join)
    return runs, parts


def _paired(
    one: Runs, parts: Sequence[T], other: Runs, others: Sequence[T], join: Callable[[T, T], T]
) -> tuple[Runs, Sequence[T]]:
    keys, left, right = align(one, other)
    pairs, values = np.unique(left.astype(np.int64) * len(others) + right, return_inverse=True)
    known: dict[T, int] = {}
    index = [
        known.setdefault(join(parts[pair // len(others)], others[pair % len(others)]), len(known))
        for pair in pairs.tolist()
    ]
    return _indexed(Runs(keys, values.astype(np.int32)), index), tuple(known)


def _indexed(runs: Runs, index: Sequence[int]) -> Runs:
    return merge_equal(Runs(runs.keys, np.array(index, dtype=np.int32)[runs.values]))


def _masked(family: int, base: Runs, hidden: int, given: Iterable[tuple[Prefix, int]]) -> Runs:
    """`base` with `hidden` for the addresses that are not public, and over both what the overrides give."""
    reserved = flatten(
        family,
        [(row.prefix.first, row.prefix.length, hidden) for row in NOT_PUBLIC if row.prefix.family == family],
    )
    own = flatten(family, [(at.first, at.length, value) for at, value in given if at.family == family])
    mask = overlay(reserved, _replaced(own, _PASSED))
    return overlay(base, _replaced(mask, _SHOWN))


def _replaced(runs: Runs, value: int) -> Runs:
    return merge_equal(Runs(runs.keys, np.where(runs.values == value, np.int32(TRANSPARENT), runs.values)))
