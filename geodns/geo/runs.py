"""Address space as sorted runs, and what can be done with them in numpy, many at a time.

    prefixes --flatten--> Runs --overlay, merge_equal--> Runs --v4_arrays, v6_arrays--> arrays of a Partition

Runs tile their whole family: run i begins at keys[i] and ends before keys[i + 1]; keys[0] is 0. IPv4 keys
are uint32, IPv6 keys 16-octet strings in network order, which numpy sorts, searches and compares like any
other type.
"""

from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geodns.geo.address import WIDTH

KEY_TYPE: dict[int, "np.dtype[Any]"] = {4: np.dtype(np.uint32), 6: np.dtype("S16")}

TRANSPARENT = -(2**31)
"""In the runs laid over others: what is below stays."""


class Runs(NamedTuple):
    """`values[i]` (int32) holds from `keys[i]` to the next key."""

    keys: NDArray[Any]
    values: NDArray[np.int32]


def keys_of(family: int, starts: list[int]) -> NDArray[Any]:
    """Keys of addresses as integers."""
    if family == 4:
        return np.array(starts, dtype=np.uint32)
    return np.frombuffer(b"".join(start.to_bytes(16) for start in starts), dtype="S16")


def everywhere(family: int, value: int) -> Runs:
    """One run."""
    return Runs(keys_of(family, [0]), np.array([value], dtype=np.int32))


def merge_equal(runs: Runs) -> Runs:
    """Neighbours with the same value become one run."""
    keep = np.empty(len(runs.values), dtype=bool)
    keep[0] = True
    np.not_equal(runs.values[1:], runs.values[:-1], out=keep[1:])
    return runs if keep.all() else Runs(runs.keys[keep], runs.values[keep])


def overlay(below: Runs, above: Runs) -> Runs:
    """The runs of `above` where they are not TRANSPARENT, else `below`; equal neighbours are merged."""
    if len(above.values) == 1:
        return below if above.values[0] == TRANSPARENT else Runs(above.keys, above.values)
    joined, under, over = align(below, above)
    return merge_equal(Runs(joined, np.where(over == TRANSPARENT, under, over)))


def align(one: Runs, other: Runs) -> tuple[NDArray[Any], NDArray[np.int32], NDArray[np.int32]]:
    """The keys of both, and the values that either has at each."""
    at = np.searchsorted(one.keys, other.keys, side="right")
    new = one.keys[at - 1] != other.keys
    keys = np.insert(one.keys, at[new], other.keys[new])
    ones = np.insert(one.values, at[new], one.values[at[new] - 1])
    # Where each of `other`'s keys has come to stand: behind the new ones before it.
    positions = at - 1 + np.cumsum(new)
    begins = np.zeros(len(keys), dtype=np.int32)
    begins[positions] = 1
    others = other.values[np.cumsum(begins) - 1]
    return keys, ones, others


def flatten(family: int, prefixes: Iterable[tuple[int, int, int]]) -> Runs:
    """Runs of (first, length, value): the longest prefix wins, then the first; TRANSPARENT elsewhere."""
    width = WIDTH[family]
    top = 1 << width
    distinct: dict[tuple[int, int], int] = {}
    for first, length, value in prefixes:
        distinct.setdefault((first, length), value)
    starts: list[int] = [0]
    values: list[int] = [TRANSPARENT]

    def begin(start: int, value: int) -> None:
        if start == top:
            return
        if starts[-1] == start:
            values[-1] = value
        else:
            starts.append(start)
            values.append(value)

    open_: list[tuple[int, int]] = [
        (top, TRANSPARENT)
    ]  # (end, value) of the prefixes around the current address
    for (first, length), value in sorted(distinct.items()):  # a prefix sorts before those inside it
        while open_[-1][0] <= first:
            end, _ = open_.pop()
            begin(end, open_[-1][1])
        begin(first, value)
        open_.append((first + (1 << width - length), value))
    while len(open_) > 1:
        end, _ = open_.pop()
        begin(end, open_[-1][1])
    return merge_equal(Runs(keys_of(family, starts), np.array(values, dtype=np.int32)))


def to_array(typecode: str, values: NDArray[Any]) -> "array[int]":
    """A standard-library array, which pickles as its octets and is searched by bisect without numpy."""
    result: array[int] = array(typecode)
    result.frombytes(np.ascontiguousarray(values).tobytes())
    return result


def v4_arrays(runs: Runs) -> tuple["array[int]", "array[int]"]:
    """starts4 and outcomes4 of a Partition."""
    return to_array("I", runs.keys.astype(np.uint32)), _outcomes(runs.values)


def v6_arrays(runs: Runs) -> tuple["array[int]", "array[int]", "array[int]"]:
    """high6, low6 and outcomes6 of a Partition."""
    halves = np.ascontiguousarray(runs.keys).view(">u8").reshape(-1, 2).astype(np.uint64)
    return to_array("Q", halves[:, 0]), to_array("Q", halves[:, 1]), _outcomes(runs.values)


def _outcomes(values: NDArray[Any]) -> "array[int]":
    """As narrow as they fit: a worldwide database has a million runs, and every list of rules its own."""
    for typecode, dtype in (("b", np.int8), ("h", np.int16)):
        if np.iinfo(dtype).min <= values.min() and values.max() <= np.iinfo(dtype).max:
            return to_array(typecode, values.astype(dtype))
    return to_array("i", values.astype(np.int32))
