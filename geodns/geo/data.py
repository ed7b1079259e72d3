"""The data section of a database: a small decoder that trusts nothing in the file.

    octets, offset --Data.at--> map, array, text, number     of maps only some keys, shared parts only once

maxminddb's C reader would be faster still, but it takes the process with it when a file is damaged: one
changed octet in a record is enough (3.2.0, about one random change in 300). Its Python reader takes too long
for all of a database. The format: https://maxmind.github.io/MaxMind-DB/, "Output Data Types".
"""

import struct
from collections.abc import Callable
from typing import Any

DEPTH_MAX = 32  # of maps and arrays in one another; MaxMind's own databases have 4
VALUES_PER_OCTET_MAX = 8  # decoded in all, so that records that overlap cost no more than reading the file
VALUES_FREE = 1 << 16  # and these on top, for small files

_POINTER, _TEXT, _DOUBLE, _BYTES, _UINT16, _UINT32, _MAP = range(1, 8)
_INT32, _UINT64, _UINT128, _ARRAY, _CONTAINER, _END, _BOOLEAN, _FLOAT = range(8, 16)

# "The size is 29 + the next byte", "285 + the next two bytes", "65821 + the next three bytes"
_SIZE_BASE = (29, 285, 65821)
# Added to the value of a pointer of 2, 3 and 4 octets; one of 5 octets has 32 bits of its own.
_POINTER_BASE = (0, 2048, 526336, 0)

_unpack_double: Callable[[bytes, int], tuple[float]] = struct.Struct(">d").unpack_from
_unpack_float: Callable[[bytes, int], tuple[float]] = struct.Struct(">f").unpack_from


class BadData(ValueError):
    """The data are not what the format says; the text tells what and where."""


class Data:
    """A data section. `keys` are the map keys whose values are decoded; None: all of them.

    What is decoded is shared between records: never change it.
    """

    def __init__(self, octets: bytes, keys: frozenset[str] | None = None) -> None:
        self._octets = octets
        self._keys = keys
        self._pointed: dict[int, Any] = {}
        self._values_left = VALUES_PER_OCTET_MAX * len(octets) + VALUES_FREE

    def __len__(self) -> int:
        return len(self._octets)

    def at(self, offset: int) -> Any:
        """The value at an offset. Raises BadData."""
        try:
            return self._value(offset, 0)[0]
        except (IndexError, struct.error):
            raise BadData(f"the record at {offset} goes beyond the end of the data") from None
        except UnicodeDecodeError:
            raise BadData(f"the record at {offset} has text that is not UTF-8") from None

    def _value(self, at: int, depth: int) -> tuple[Any, int]:
        """The value at an offset, and where the next one begins."""
        octets = self._octets
        control = octets[at]
        at += 1
        kind = control >> 5
        if kind == _POINTER:
            return self._pointer(control, at, depth)
        size = control & 31
        if kind == 0:  # an extended type
            kind = 7 + octets[at]
            at += 1
        if size >= 29:
            size, at = self._long_size(size, at)
        if kind == _MAP:
            return self._map(size, at, depth + 1)
        if kind == _ARRAY:
            return self._array(size, at, depth + 1)
        if kind == _BOOLEAN:
            return size != 0, at
        end = at + size
        if end > len(octets):
            raise IndexError
        if kind == _TEXT:
            return octets[at:end].decode(), end
        if kind in (_UINT16, _UINT32, _UINT64, _UINT128):
            return int.from_bytes(octets[at:end]), end
        if kind == _DOUBLE and size == 8:
            return _unpack_double(octets, at)[0], end
        if kind == _FLOAT and size == 4:
            return _unpack_float(octets, at)[0], end
        if kind == _INT32:  # "a negative number has its 4 bytes"
            return int.from_bytes(octets[at:end], signed=size == 4), end
        if kind == _BYTES:
            return octets[at:end], end
        raise BadData(f"the value at {at} has type {kind} and {size} octets, which there is not")

    def _pointer(self, control: int, at: int, depth: int) -> tuple[Any, int]:
        size = control >> 3 & 3
        end = at + size + 1
        target = int.from_bytes(self._octets[at:end]) + _POINTER_BASE[size]
        if size < 3:
            target += (control & 7) << 8 * (size + 1)
        if target not in self._pointed:
            if self._octets[target] >> 5 == _POINTER:
                raise BadData(f"the pointer at {at} points to a pointer")
            self._pointed[target] = self._value(target, depth)[0]
        return self._pointed[target], end

    def _long_size(self, size: int, at: int) -> tuple[int, int]:
        end = at + size - 28
        return _SIZE_BASE[size - 29] + int.from_bytes(self._octets[at:end]), end

    def _map(self, size: int, at: int, depth: int) -> tuple[dict[str, Any], int]:
        self._spend(size, at, depth)
        value_of = self._value
        keys = self._keys
        result: dict[str, Any] = {}
        for _ in range(size):
            key, at = value_of(at, depth)
            if type(key) is not str:
                raise BadData(f"the map before {at} has a key that is not text")
            if keys is None or key in keys:
                result[key], at = value_of(at, depth)
            else:
                at = self._after(at, depth)
        return result, at

    def _array(self, size: int, at: int, depth: int) -> tuple[list[Any], int]:
        self._spend(size, at, depth)
        result = []
        for _ in range(size):
            value, at = self._value(at, depth)
            result.append(value)
        return result, at

    def _after(self, at: int, depth: int) -> int:
        """Where the value after the one at `at` begins; pointers are not followed."""
        control = self._octets[at]
        at += 1
        kind, size = control >> 5, control & 31
        if kind == _POINTER:
            return at + (control >> 3 & 3) + 1
        if kind == 0:
            kind = 7 + self._octets[at]
            at += 1
        if size >= 29:
            size, at = self._long_size(size, at)
        if kind == _BOOLEAN:
            return at
        if kind not in (_MAP, _ARRAY):
            return at + size
        self._spend(size, at, depth + 1)
        for _ in range(2 * size if kind == _MAP else size):
            at = self._after(at, depth + 1)
        return at

    def _spend(self, values: int, at: int, depth: int) -> None:
        if depth > DEPTH_MAX:
            raise BadData(f"the value at {at} is more than {DEPTH_MAX} levels deep, or contains itself")
        self._values_left -= values
        if self._values_left < 0:
            raise BadData("the records overlap, or their lengths are wrong")
