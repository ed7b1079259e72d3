"""A geo database: a file in MaxMind's format, as runs of addresses with their Places.

    .mmdb file --tree--> left and right records --level by level--> leaves --distinct records--> Layer
            \\--maxminddb, one address--> Found(place, prefix length, names), for explain

The format: https://maxmind.github.io/MaxMind-DB/ (version 2.0). maxminddb decodes the records; the tree, of
which a database has millions of nodes, is walked with numpy, all nodes of one depth at once.
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
from geodns.geo.place import NOWHERE, Place
from geodns.geo.records import names_of, place_of
from geodns.geo.runs import Runs, everywhere, keys_of_halves, merge_equal

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
_V4_MASK = 0xFFFFFFFF
_FAMILY_BIT = 40  # above every index of a run
_V4_HOME = Prefix(6, 0, 96)  # where IPv4 hangs in a tree for both families
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
        if octets > FILE_OCTETS_MAX:
            raise DatabaseError(self.path, f"is larger than {FILE_OCTETS_MAX >> 30} GB")
        self._octets = octets
        self._reader = self._guard(lambda: maxminddb.open_database(self.path))
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
        tree = self._tree()
        leaves = {4: tree.v4()}
        if tree.bits == 128:
            leaves[6] = tree.v6()
        places, index = self._places(tree, leaves)
        four = _in_places(leaves[4], index, tree.node_count)
        six = _in_places(leaves[6], index, tree.node_count) if 6 in leaves else everywhere(6, 0)
        return Layer(four, six, places)

    def _tree(self) -> "_Tree":
        meta = self.metadata
        octets = self._tree_octets(meta.node_count, meta.record_size)
        with open(self.path, "rb") as file:
            if _identity(os.fstat(file.fileno())) != self._identity:
                raise DatabaseError(self.path, "was replaced while it was read")
            raw = np.frombuffer(file.read(octets), dtype=np.uint8)
        if len(raw) != octets:
            raise DatabaseError(self.path, "is incomplete")
        left, right = _split(raw[:-_SEPARATOR_OCTETS], meta.record_size)
        return _Tree(self.path, left, right, meta.node_count, 128 if meta.ip_version == 6 else 32)

    def _places(
        self, tree: "_Tree", leaves: "dict[int, _Leaves]"
    ) -> tuple[tuple[Place, ...], NDArray[np.int32]]:
        """The distinct Places, and for every offset in the data section the index of its Place."""
        data_octets = self._octets - self._tree_octets(tree.node_count, self.metadata.record_size)
        samples = np.zeros(
            data_octets, dtype=np.int64
        )  # family, then run: one that has the record; 0: no record
        for family, (_, records) in leaves.items():
            inside = np.flatnonzero(records != tree.node_count)
            offsets = records[inside] - tree.node_count - _SEPARATOR_OCTETS
            if len(offsets) and (offsets.min() < 0 or offsets.max() >= data_octets):
                raise DatabaseError(self.path, "is damaged: its tree points outside the data")
            samples[offsets] = inside | family << _FAMILY_BIT
        distinct = np.flatnonzero(samples)
        if len(distinct) > RECORDS_MAX:
            raise DatabaseError(self.path, f"has more than {RECORDS_MAX:,} distinct records")
        places: dict[Place, int] = {NOWHERE: 0}
        index = np.zeros(data_octets, dtype=np.int32)
        index[distinct] = [
            places.setdefault(self._place_at(leaves, sample), len(places))
            for sample in samples[distinct].tolist()
        ]
        return tuple(places), index

    def _place_at(self, leaves: "dict[int, _Leaves]", sample: int) -> Place:
        family = sample >> _FAMILY_BIT
        key = leaves[family].keys[sample & (1 << _FAMILY_BIT) - 1]
        address = (
            Address(4, int(key)) if family == 4 else Address(6, int.from_bytes(bytes(key).ljust(16, b"\0")))
        )
        record = self._reader.get(str(address))
        return place_of(record) if isinstance(record, dict) else NOWHERE


def _in_places(leaves: "_Leaves", index: NDArray[np.int32], node_count: int) -> Runs:
    values = np.zeros(len(leaves.records), dtype=np.int32)
    inside = leaves.records != node_count
    values[inside] = index[leaves.records[inside] - node_count - _SEPARATOR_OCTETS]
    return merge_equal(Runs(leaves.keys, values))


class _Leaves(NamedTuple):
    """`records[i]` of the tree (node_count: no data) holds from `keys[i]` to the next key."""

    keys: NDArray[Any]
    records: NDArray[np.int64]


class _Front(NamedTuple):
    """Nodes, or leaves, and the bits that lead there: the last 32 or 64, and the 64 before (`high`)."""

    nodes: NDArray[np.int64]
    prefix: NDArray[np.uint64]
    high: NDArray[np.uint64] | None

    def where(self, mask: NDArray[np.bool_]) -> "_Front":
        return _Front(self.nodes[mask], self.prefix[mask], None if self.high is None else self.high[mask])


class _Empty(NamedTuple):
    """A node at `depth` below which the walk does not go."""

    depth: int
    prefix: int
    high: int


class _Tree:
    """The binary tree: two records a node. A record below node_count is a node, any other a leaf.

    It may be a DAG: subtrees can be shared, and the IPv4 tree is, by the blocks that stand for it. A damaged
    one may have cycles.
    """

    def __init__(
        self, path: str, left: NDArray[np.int64], right: NDArray[np.int64], node_count: int, bits: int
    ) -> None:
        self.path = path
        self.left = left
        self.right = right
        self.node_count = node_count
        self.bits = bits
        self._unproven = _UNPROVEN_PER_NODE * node_count + _UNPROVEN

    def v4(self) -> _Leaves:
        """The leaves of IPv4, which hang below 96 zero bits in a tree for both families."""
        root = 0
        for _ in range(self.bits - 32):
            if root < self.node_count:
                root = int(self.left[root])
        leaves, rest = self._descend(_Front(np.array([root]), np.zeros(1, dtype=np.uint64), None), 32, ())
        if len(rest.nodes):
            raise self._endless()
        # Key and record in one number sort faster than an index does. A record has 32 bits at the most.
        packed = leaves.prefix << np.uint64(32) | leaves.nodes.astype(np.uint64)
        packed.sort()
        return _joined(
            (packed >> np.uint64(32)).astype(np.uint32), (packed & np.uint64(_V4_MASK)).astype(np.int64)
        )

    def v6(self) -> _Leaves:
        """The leaves of IPv6, with no data in the blocks that stand for IPv4."""
        blocks = [*(row.block for row in EMBEDDINGS), _V4_HOME]
        upper = tuple(_Empty(row.length, row.first >> 64, 0) for row in blocks if row.length <= 64)
        lower = tuple(
            _Empty(row.length - 64, row.first & _LOW, row.first >> 64) for row in blocks if row.length > 64
        )
        root = _Front(np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.uint64), None)
        shallow, rest = self._descend(root, 64, upper)
        order = np.argsort(shallow.prefix)
        high, records = shallow.prefix[order], shallow.nodes[order]
        deep, rest = self._descend(_Front(rest.nodes, np.zeros_like(rest.prefix), rest.prefix), 64, lower)
        if len(rest.nodes):
            raise self._endless()
        assert deep.high is not None
        order = np.lexsort((deep.prefix, deep.high))
        at = np.searchsorted(high, deep.high[order])
        low = np.insert(np.zeros(len(high), dtype=np.uint64), at, deep.prefix[order])
        high = np.insert(high, at, deep.high[order])
        return _joined(keys_of_halves(high, low), np.insert(records, at, deep.nodes[order]))

    def _descend(self, front: _Front, bits: int, empties: tuple[_Empty, ...]) -> tuple[_Front, _Front]:
        """Go down `bits` bits. Returns the leaves met on the way and the nodes that are left."""
        inner = front.nodes < self.node_count
        met = [front.where(~inner)]
        front = front.where(inner)
        done = 0
        for depth in range(1, bits + 1):
            front = self._children(front, bits - depth)
            for empty in empties:
                if empty.depth == depth:
                    here = front.prefix == np.uint64(empty.prefix)
                    front.nodes[
                        here if front.high is None else here & (front.high == np.uint64(empty.high))
                    ] = self.node_count
            inner = front.nodes < self.node_count
            met.append(front.where(~inner))
            front = front.where(inner)
            done += len(met[-1].nodes)
            if done + len(front.nodes) > self._unproven:
                self._prove(front.nodes, done, bits - depth)
        high = None if front.high is None else np.concatenate([_high(leaves) for leaves in met])
        leaves = _Front(
            np.concatenate([leaves.nodes for leaves in met]),
            np.concatenate([leaves.prefix for leaves in met]),
            high,
        )
        return leaves, front

    def _children(self, front: _Front, bit: int) -> _Front:
        nodes = np.empty(2 * len(front.nodes), dtype=np.int64)
        nodes[0::2] = self.left[front.nodes]
        nodes[1::2] = self.right[front.nodes]
        prefix = np.repeat(front.prefix, 2)
        prefix[1::2] |= np.uint64(1 << bit)
        return _Front(nodes, prefix, None if front.high is None else np.repeat(front.high, 2))

    def _prove(self, nodes: NDArray[np.int64], done: int, bits: int) -> None:
        """Count the leaves below `nodes`, shared subtrees once a level. Raises DatabaseError for too many."""
        distinct, paths = np.unique(nodes, return_counts=True)
        ways: NDArray[Any] = paths.astype(np.float64)
        leaves = float(done)
        for _ in range(bits):
            children = np.concatenate([self.left[distinct], self.right[distinct]])
            ways = np.concatenate([ways, ways])
            inner = children < self.node_count
            leaves += float(ways[~inner].sum())
            distinct, inverse = np.unique(children[inner], return_inverse=True)
            ways = np.bincount(inverse, weights=ways[inner], minlength=len(distinct))
            if leaves + float(ways.sum()) > RUNS_MAX:
                raise DatabaseError(
                    self.path,
                    f"is damaged or too large: its tree goes in circles or has over {RUNS_MAX:,} networks",
                )
        self._unproven = RUNS_MAX  # the next 64 bits are proven on their own when they, too, grow

    def _endless(self) -> DatabaseError:
        return DatabaseError(self.path, f"is damaged: its tree has paths longer than {self.bits} bits")


def _high(front: _Front) -> NDArray[np.uint64]:
    assert front.high is not None
    return front.high


def _joined(keys: NDArray[Any], records: NDArray[np.int64]) -> _Leaves:
    keep = np.empty(len(records), dtype=bool)
    keep[0] = True
    np.not_equal(records[1:], records[:-1], out=keep[1:])
    return _Leaves(keys[keep], records[keep])


def _split(raw: NDArray[np.uint8], record_size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The left and right records of the nodes: "Node Layout" of the format's description."""
    octets = raw.reshape(-1, record_size // 4).astype(np.int64)
    width = record_size // 8
    left = np.zeros(len(octets), dtype=np.int64)
    right = np.zeros(len(octets), dtype=np.int64)
    for at in range(width):
        left = left << 8 | octets[:, at]
        right = right << 8 | octets[:, at - width]
    if record_size == 28:  # "the middle byte is split": its high half belongs to the left record
        left |= (octets[:, 3] >> 4) << 24
        right |= (octets[:, 3] & 15) << 24
    return left, right


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_mode, status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns)


def _reason(error: BaseException) -> str:
    text = str(error).partition(". Is this a valid MaxMind DB file")[0].strip()
    return text or type(error).__name__
