"""A geo database: a file in MaxMind's format, as runs of addresses with their Places.

    .mmdb file --tree--> left and right records --level by level--> leaves --distinct records--> Layer
            \\--maxminddb, one address--> Found(place, prefix length, names), for explain

The format: https://maxmind.github.io/MaxMind-DB/ (version 2.0). Of the tree a database has millions of nodes:
it is walked with numpy, all nodes of one depth at once. `data` says why maxminddb decodes no records here.
"""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import maxminddb
import numpy as np
from numpy.typing import NDArray

from geodns.geo.address import EMBEDDINGS, Address, Prefix
from geodns.geo.data import Data
from geodns.geo.place import NOWHERE, Place
from geodns.geo.records import KEYS, names_of, place_of
from geodns.geo.runs import KEY_TYPE, Runs, everywhere, merge_equal

FILE_OCTETS_MAX = 4 << 30  # the largest commercial databases have 1 to 2 GB
RUNS_MAX = (
    1 << 25
)  # 33 million leaves, about 2 GB while loading; the largest City databases have about 10 million
RECORDS_MAX = 1 << 22  # distinct records; a Place takes about 300 octets
_UNPROVEN = 1 << 16  # a tree may grow to so many leaves before it is proven that it ends,
_UNPROVEN_PER_NODE = (
    8  # and to so many more for each of its nodes: one without sharing has one more than nodes
)
_EPOCH_MAX = 253402300799  # the last second of the year 9999, where datetime ends

T = TypeVar("T")

_LOW = (1 << 64) - 1
_V4_HOME = Prefix(6, 0, 96)  # where IPv4 hangs in a tree for both families
_METADATA_MARKER = b"\xab\xcd\xefMaxMind.com"
_SEPARATOR_OCTETS = 16  # of zeros, between tree and data

_READER_ERRORS = (
    maxminddb.InvalidDatabaseError,
    ValueError,  # UnicodeDecodeError among them
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    MemoryError,
    EOFError,
    OSError,
)
"""What maxminddb, its C reader or the Python one, raises on damaged files."""


class DatabaseError(ValueError):
    """A database cannot be used; the text is the path and what is wrong with it."""

    def __init__(self, path: "str | os.PathLike[str]", what: str) -> None:
        super().__init__(f"{os.fspath(path)}: {what}")
        self.path = os.fspath(path)
        self.what = what


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a database says of itself. `built` is the time of its making, UTC."""

    type: str
    built: datetime
    description: str
    ip_version: int
    node_count: int
    record_size: int  # bits


class Layer(NamedTuple):
    """All of a database: the values of the runs are indices into `places`; places[0] is NOWHERE.

    Addresses in the IPv6 blocks that stand for IPv4 addresses have no data here.
    """

    v4: Runs
    v6: Runs
    places: tuple[Place, ...]

    def runs(self, family: int) -> Runs:
        return self.v4 if family == 4 else self.v6


class Found(NamedTuple):
    """One lookup: `length` is that of the database's prefix, in the address's family."""

    place: Place
    length: int
    names: tuple[str, ...]  # the smallest first: ("New York", "United States", "North America")


class Database:
    """An open database: `metadata` tells what it is, `layer` loads all of it, `lookup` asks the file."""

    def __init__(self, path: "str | os.PathLike[str]") -> None:
        """Raises DatabaseError."""
        self.path = os.fspath(path)
        self._identity = _identity(self._guard(lambda: os.stat(self.path)))
        mode, octets = self._identity[:2]
        if not stat.S_ISREG(mode):  # a pipe would be waited for
            raise DatabaseError(self.path, "is not a file")
        if not octets:
            raise DatabaseError(self.path, "is empty")
        if octets > FILE_OCTETS_MAX:
            raise DatabaseError(self.path, f"is larger than {FILE_OCTETS_MAX >> 30} GB")
        self._octets = octets
        # MODE_FILE: the Python reader, which a damaged file cannot crash, nor, unlike a mapping, one that is
        # cut short while it is open.
        self._reader = self._guard(lambda: maxminddb.open_database(self.path, maxminddb.MODE_FILE))
        self.metadata = self._guard(self._metadata)

    def close(self) -> None:
        """Give the file back; Layers stay good."""
        self._reader.close()

    def lookup(self, address: Address) -> Found:
        """What the file says of a canonical address (see `address.canonical`). Raises DatabaseError."""
        if address.family == 6 and self.metadata.ip_version == 4:
            return Found(NOWHERE, 0, ())
        if _V4_HOME.covers(address):  # the reader would take these for IPv4 addresses, which they are not
            return Found(NOWHERE, _V4_HOME.length, ())
        record, length = self._guard(lambda: self._reader.get_with_prefix_len(str(address)))
        if not isinstance(record, dict):
            return Found(NOWHERE, length, ())
        return Found(place_of(record), length, names_of(record))

    def layer(self) -> Layer:
        """Walk the whole tree and decode every distinct record once. Raises DatabaseError."""
        return self._guard(self._layer)

    def _guard(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except DatabaseError:
            raise
        except FileNotFoundError:
            raise DatabaseError(self.path, "there is no such file") from None
        except OSError as error:
            raise DatabaseError(self.path, f"cannot be read: {error.strerror or error}") from None
        except _READER_ERRORS as error:
            raise DatabaseError(
                self.path, f"is not a database in MaxMind's format, or it is damaged: {_reason(error)}"
            ) from None

    def _metadata(self) -> Metadata:
        told = self._reader.metadata()
        for name, allowed in (("ip_version", (4, 6)), ("record_size", (24, 28, 32))):
            if getattr(told, name) not in allowed:
                choice = ", ".join(map(str, allowed))
                raise DatabaseError(self.path, f"has {name} {getattr(told, name)!r}, not one of {choice}")
        count, epoch = told.node_count, told.build_epoch
        if (
            not isinstance(count, int)
            or count < 1
            or self._tree_octets(count, told.record_size) > self._octets
        ):
            raise DatabaseError(self.path, f"is too short for its {count!r} nodes: is it complete?")
        description = told.description if isinstance(told.description, dict) else {}
        return Metadata(
            type=str(told.database_type),
            built=datetime.fromtimestamp(min(max(int(epoch), 0), _EPOCH_MAX), UTC),
            description=str(description.get("en") or next(iter(description.values()), "")),
            ip_version=told.ip_version,
            node_count=count,
            record_size=told.record_size,
        )

    @staticmethod
    def _tree_octets(node_count: int, record_size: int) -> int:
        return node_count * record_size // 4 + _SEPARATOR_OCTETS

    def _layer(self) -> Layer:
        tree, data = self._contents()
        index: dict[int, int] = {}
        places = {NOWHERE: 0}
        four = self._runs(4, tree.v4(), data, index, places)
        six = self._runs(6, tree.v6(), data, index, places) if tree.bits == 128 else everywhere(6, 0)
        return Layer(four, six, tuple(places))

    def _contents(self) -> "tuple[_Tree, Data]":
        meta = self.metadata
        with open(self.path, "rb") as file:
            if _identity(os.fstat(file.fileno())) != self._identity:
                raise DatabaseError(self.path, "was replaced while it was read")
            octets = file.read()
        tree_octets = self._tree_octets(meta.node_count, meta.record_size)
        data_end = octets.rfind(_METADATA_MARKER)
        if data_end < tree_octets:
            raise DatabaseError(self.path, f"is too short for its {meta.node_count} nodes: is it complete?")
        nodes = np.frombuffer(octets, dtype=np.uint8, count=tree_octets - _SEPARATOR_OCTETS)
        left, right = _split(nodes, meta.record_size)
        bits = 128 if meta.ip_version == 6 else 32
        return _Tree(self.path, left, right, meta.node_count, bits), Data(octets[tree_octets:data_end], KEYS)

    def _runs(
        self, family: int, leaves: "_Leaves", data: Data, index: dict[int, int], places: dict[Place, int]
    ) -> Runs:
        """The leaves with the index of their Place; `index` (by offset) and `places` grow."""
        with_data = np.flatnonzero(leaves.records != self.metadata.node_count)
        # "$data_section_offset = $record_value - $node_count - 16"
        skipped = self.metadata.node_count + _SEPARATOR_OCTETS
        offsets = leaves.records[with_data].astype(np.int64) - skipped
        if len(offsets) and (offsets.min() < 0 or offsets.max() >= len(data)):
            raise DatabaseError(
                self.path, "is damaged: its tree points outside the data, or it is incomplete"
            )
        is_used = np.zeros(len(data), dtype=bool)
        is_used[offsets] = True
        distinct = np.flatnonzero(is_used)
        if len(distinct) > RECORDS_MAX:
            raise DatabaseError(self.path, f"has more than {RECORDS_MAX:,} distinct records")
        for offset in distinct.tolist():
            if offset not in index:
                index[offset] = places.setdefault(_place(data.at(offset)), len(places))
        values = np.zeros(len(leaves.records), dtype=np.int32)
        in_order = np.array([index[offset] for offset in distinct.tolist()], dtype=np.int32)
        values[with_data] = in_order[np.searchsorted(distinct, offsets)]
        return merge_equal(Runs(leaves.keys, values))


def _place(record: object) -> Place:
    return place_of(record) if isinstance(record, dict) else NOWHERE


class _Leaves(NamedTuple):
    """`records[i]` of the tree (node_count: no data) holds from `keys[i]` to the next key."""

    keys: NDArray[Any]
    records: NDArray[np.uint32]


class _Level(NamedTuple):
    """The children of all nodes of one depth, in the order of their addresses; the leaves among them."""

    size: int
    inner: NDArray[np.int32]  # which of the children are nodes
    outer: NDArray[np.int32]  # and which are leaves
    records: NDArray[np.uint32]  # of the leaves, as the two that follow
    high: NDArray[Any]  # the first address: all of it, or the upper half
    low: NDArray[Any] | None  # the lower half


class _Block(NamedTuple):
    """A prefix with no data of its own, by the halves of its first address."""

    length: int
    high: int
    low: int


class _Tree:
    """The binary tree: two records a node. A record below node_count is a node, any other a leaf.

    It may be a DAG: subtrees can be shared, and the IPv4 tree is, by the blocks that stand for it. A damaged
    one may have cycles.
    """

    def __init__(
        self, path: str, left: NDArray[np.uint32], right: NDArray[np.uint32], node_count: int, bits: int
    ) -> None:
        self.path = path
        self.left = left
        self.right = right
        self.node_count = node_count
        self.bits = bits

    def v4(self) -> _Leaves:
        """The leaves of IPv4, which hang below 96 zero bits in a tree for both families."""
        root = 0
        for _ in range(self.bits - 32):
            if root < self.node_count:
                root = int(self.left[root])
        return _joined(*_in_order(self._levels(root, 32, np.dtype(np.uint32), ()), 4))

    def v6(self) -> _Leaves:
        """The leaves of IPv6, with no data in the blocks that stand for IPv4."""
        prefixes = [*(row.block for row in EMBEDDINGS), _V4_HOME]
        blocks = tuple(_Block(row.length, row.first >> 64, row.first & _LOW) for row in prefixes)
        return _joined(*_in_order(self._levels(0, 128, np.dtype(np.uint64), blocks), 6))

    def _levels(
        self, root: int, bits: int, key_type: "np.dtype[Any]", blocks: tuple[_Block, ...]
    ) -> list[_Level]:
        """Go down the tree. Addresses of 128 bits come in halves; `key_type` holds 32 or 64 bits."""
        half = min(bits, 64)
        nodes = np.array([root], dtype=np.uint32)
        high = np.zeros(1, dtype=key_type)
        low: NDArray[Any] | None = None
        levels: list[_Level] = []
        unproven = _UNPROVEN_PER_NODE * self.node_count + _UNPROVEN
        leaves = 0
        for depth in range(bits + 1):
            if depth:
                nodes = self._children(nodes)
                high, low = _follow(high, low, half - 1 - (depth - 1) % half)
            for block in blocks:
                if block.length == depth:
                    here = high == key_type.type(block.high)
                    nodes[here if low is None else here & (low == key_type.type(block.low))] = self.node_count
            is_inner = nodes < self.node_count
            inner = np.flatnonzero(is_inner).astype(np.int32)
            outer = np.flatnonzero(~is_inner).astype(np.int32)
            lows = None if low is None else low[outer]
            levels.append(_Level(len(nodes), inner, outer, nodes[outer], high[outer], lows))
            if not len(inner):
                return levels
            leaves += len(outer)
            nodes, high = nodes[inner], high[inner]
            low = np.zeros_like(high) if depth == 64 else None if low is None else low[inner]
            if leaves + len(nodes) > unproven:
                self._prove(nodes, leaves, bits - depth)
                unproven = RUNS_MAX
        raise DatabaseError(self.path, f"is damaged: its tree has paths longer than {self.bits} bits")

    def _children(self, nodes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        children = np.empty(2 * len(nodes), dtype=np.uint32)
        children[0::2] = self.left[nodes]
        children[1::2] = self.right[nodes]
        return children

    def _prove(self, nodes: NDArray[np.uint32], leaves: int, bits: int) -> None:
        """Count what is below `nodes`, shared subtrees once a level. Raises DatabaseError for too much."""
        distinct, paths = np.unique(nodes, return_counts=True)
        ways: NDArray[Any] = paths.astype(np.float64)
        total = float(leaves)
        for _ in range(bits):
            children = np.concatenate([self.left[distinct], self.right[distinct]])
            ways = np.concatenate([ways, ways])
            inner = children < self.node_count
            total += float(ways[~inner].sum())
            distinct, inverse = np.unique(children[inner], return_inverse=True)
            ways = np.bincount(inverse, weights=ways[inner], minlength=len(distinct))
            if total + float(ways.sum()) > RUNS_MAX:
                raise DatabaseError(
                    self.path,
                    f"is damaged or too large: its tree goes in circles or has over {RUNS_MAX:,} networks",
                )


def _follow(
    high: NDArray[Any], low: NDArray[Any] | None, bit: int
) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """The first addresses of both children of nodes with these: `bit` is set in that of the right one."""
    high = np.repeat(high, 2)
    if low is None:
        high[1::2] |= high.dtype.type(1 << bit)
        return high, None
    low = np.repeat(low, 2)
    low[1::2] |= low.dtype.type(1 << bit)
    return high, low


def _in_order(levels: list[_Level], family: int) -> tuple[NDArray[Any], NDArray[np.uint32]]:
    """The keys and records of the leaves of all the levels, sorted; takes the levels away.

    Going up, the leaves below each node are counted; going down, that tells where each leaf belongs. Both are
    linear, where sorting would be most of the work of loading.
    """
    lefts: list[NDArray[np.int32]] = []
    below = np.zeros(0, dtype=np.int32)
    for level in reversed(levels):
        counts = np.ones(level.size, dtype=np.int32)
        counts[level.inner] = below
        lefts.append(counts[0::2].copy())
        below = counts if level.size == 1 else counts[0::2] + counts[1::2]
    total = int(below[0])
    halves = np.zeros((total, 1 if family == 4 else 2), dtype=np.uint32 if family == 4 else ">u8")
    records = np.empty(total, dtype=np.uint32)
    parents = np.zeros(1, dtype=np.int32)
    levels.reverse()
    while levels:
        level, left = levels.pop(), lefts.pop()
        positions = parents
        if level.size > 1:
            positions = np.empty(level.size, dtype=np.int32)
            positions[0::2] = parents
            positions[1::2] = parents + left
        at = positions[level.outer]
        records[at] = level.records
        halves[at, 0] = level.high
        if level.low is not None:
            halves[at, 1] = level.low
        parents = positions[level.inner]
    return halves.view(KEY_TYPE[family]).reshape(-1), records


def _joined(keys: NDArray[Any], records: NDArray[np.uint32]) -> _Leaves:
    keep = np.empty(len(records), dtype=bool)
    keep[0] = True
    np.not_equal(records[1:], records[:-1], out=keep[1:])
    return _Leaves(keys[keep], records[keep])


def _split(raw: NDArray[np.uint8], record_size: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The left and right records of the nodes: "Node Layout" of the format's description."""
    octets = raw.reshape(-1, record_size // 4)
    width = record_size // 8
    left = np.zeros(len(octets), dtype=np.uint32)
    right = np.zeros(len(octets), dtype=np.uint32)
    for at in range(width):
        left = left << np.uint32(8) | octets[:, at]
        right = right << np.uint32(8) | octets[:, at - width]
    if record_size == 28:  # "the middle byte is split": its high half belongs to the left record
        middle = octets[:, 3].astype(np.uint32)
        left |= (middle >> np.uint32(4)) << np.uint32(24)
        right |= (middle & np.uint32(15)) << np.uint32(24)
    return left, right


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mode, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns)


def _reason(error: BaseException) -> str:
    text = str(error).partition(". Is this a valid MaxMind DB file")[0].strip()
    return text or type(error).__name__
