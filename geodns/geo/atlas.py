"""How the addresses of each place are divided among the outcomes of partitions: a map, and not one address.

    Locator --survey--> Atlas (places of runs of addresses)
    Atlas + Partitions --shares--> Share(place, outcomes, addresses, example), ...

It counts IPv4 addresses: every place has some, and they are nearly where people are.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geodns.geo.locator import Locator
from geodns.geo.partition import Partition
from geodns.geo.runs import Runs, align, to_array


class Atlas(NamedTuple):
    """The IPv4 addresses from starts[i] to starts[i + 1] - 1 are in codes[places[i]].

    `starts` is array("I"), `places` array("H"); `codes` are geo codes, the most specific ones that are known:
    "NA-US-CA", and "" for addresses without a place.
    """

    starts: "array[int]"
    places: "array[int]"
    codes: tuple[str, ...]


class Share(NamedTuple):
    """So many public addresses of a place have these outcomes, one for each partition; `example` is in the
    middle of the largest run of them.
    """

    code: str
    outcomes: tuple[int, ...]
    addresses: int
    example: int


def survey(locator: Locator) -> Atlas:
    """What the databases and overrides say of every IPv4 address. Raises DatabaseError."""
    geography = locator.geography(4)
    index: dict[str, int] = {"": 0}
    of_codes = [index.setdefault(codes[0] if codes else "", len(index)) for codes in geography.codes]
    places = np.array(of_codes, dtype=np.uint16)[geography.runs.values]
    keep = np.append(True, places[1:] != places[:-1])
    return Atlas(
        to_array("I", geography.runs.keys[keep].astype(np.uint32)), to_array("H", places[keep]), tuple(index)
    )


def shares(atlas: Atlas, partitions: Sequence[Partition]) -> list[Share]:
    """Every place with every combination of outcomes that occurs in it, places in the order of the atlas."""
    keys = np.frombuffer(atlas.starts, dtype=np.uint32)
    places = np.frombuffer(atlas.places, dtype=np.uint16).astype(np.int32)
    columns = [places]
    for partition in partitions:
        keys, columns = _divided(keys, columns, partition)
    groups, group_of = _grouped(columns)
    lengths = np.diff(keys.astype(np.int64), append=1 << 32)
    addresses = np.bincount(group_of, weights=lengths, minlength=len(groups))
    largest = np.empty(len(groups), dtype=np.int64)
    by_length = np.argsort(lengths)
    largest[group_of[by_length]] = by_length  # of several for one group the last one stays
    examples = keys[largest].astype(np.int64) + lengths[largest] // 2
    return [
        Share(atlas.codes[place], tuple(outcomes), int(count), int(example))
        for (place, *outcomes), count, example in zip(
            groups.tolist(), addresses.tolist(), examples.tolist(), strict=True
        )
    ]


def _divided(
    keys: NDArray[np.uint32], columns: list[NDArray[np.int32]], partition: Partition
) -> tuple[NDArray[np.uint32], list[NDArray[np.int32]]]:
    """The columns at each key of both, and one more: the partition's outcomes."""
    outcomes = np.array(partition.outcomes4, dtype=np.int32)
    runs = Runs(np.frombuffer(partition.starts4, dtype=np.uint32), outcomes)
    joined, at, found = align(Runs(keys, np.arange(len(keys), dtype=np.int32)), runs)
    return joined, [*(column[at] for column in columns), found]


def _grouped(columns: list[NDArray[np.int32]]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """The distinct rows of the columns, sorted, and which of them each row is."""
    known = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        least = int(column.min())
        width = int(column.max()) - least + 1
        known = _numbered(known * width + (column - least))
    first = np.empty(int(known.max()) + 1, dtype=np.int64)
    first[known] = np.arange(len(known))
    return np.stack([column[first] for column in columns], axis=1), known


def _numbered(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """The values as numbers from 0 on without a gap, in the same order."""
    if int(values.max()) > len(values):
        found: NDArray[np.int64] = np.unique(values, return_inverse=True)[1]
        return found
    numbers = np.cumsum(np.bincount(values) > 0) - 1  # a fifth of the time that sorting takes
    return numbers[values]
