"""What the serving process and its loader say to each other, pickled: one Job in, then Messages out.

    Files, (Reading, ZoneHead + SteerChunks + Chunks) ..., Databases, PartitionMade ..., Done

Both ends are this program, of one version, so that pickle is safe here and needs no schema.
"""

import pickle
from dataclasses import dataclass
from typing import BinaryIO

from geodns.geo.partition import Partition, Rules
from geodns.problems import Problem
from geodns.server.files import Fingerprint
from geodns.table.shape import Node, ZoneTable
from geodns.table.steer import Steer

EXIT_MEMORY = 12
"""The exit code of a loader that needed more memory than it may have; ENOMEM's number."""

_TABLE = "table"  # a ChunkPickler's name for it; a Steer's key has a blank in it

Chunk = list[tuple[bytes, Node]]
"""Nodes of a zone with their keys; an empty one ends the zone."""

SteerChunk = list[Steer]
"""Steers of a zone, which its nodes refer to; an empty one ends them."""


@dataclass(frozen=True, slots=True)
class Known:
    """A zone file as it was loaded before; `serial` is that of the version served, None without one.

    It is read again when its fingerprint is another now, or when `is_settled` is False.
    """

    fingerprint: Fingerprint
    serial: int | None
    is_settled: bool


@dataclass(frozen=True, slots=True)
class Job:
    """What to load.

    `have` are the keys of the partitions that need not be made; `rebuild` are rules whose partitions are to
    be made again if all of `databases` can be read, since a database changed.
    """

    zones: str
    known: dict[str, Known]
    with_local: bool
    databases: tuple[str, ...]
    overrides: dict[str, str]
    have: frozenset[str]
    rebuild: dict[str, Rules]
    memory_octets: int
    niceness: int


@dataclass(frozen=True, slots=True)
class Files:
    """The zone files, path to apex (lower-case wire form), or `is_readable` False for the folder."""

    apexes: dict[str, bytes]
    problems: list[Problem]
    is_readable: bool


@dataclass(frozen=True, slots=True)
class Reading:
    """This file is read now; what it does to the loader will be known to come from it."""

    path: str


@dataclass(frozen=True, slots=True)
class ZoneHead:
    """A file that was read. Its table has no steers and no nodes yet: they follow in pieces. No table: the
    file is broken.

    A built-in zone has the path "".
    """

    path: str
    fingerprint: Fingerprint
    problems: list[Problem]
    table: ZoneTable | None


@dataclass(frozen=True, slots=True)
class Databases:
    """What was wrong with the databases; nothing was rebuilt if there is something."""

    problems: list[Problem]


@dataclass(frozen=True, slots=True)
class PartitionMade:
    """The partition of the rules with this `Choice.key`."""

    key: str
    partition: Partition


@dataclass(frozen=True, slots=True)
class Done:
    """Everything was said; without it the loader has died."""


Message = Files | Reading | ZoneHead | Databases | PartitionMade | Done


class ChunkPickler(pickle.Pickler):
    """Writes one Chunk of `table`.

    A pickler for every chunk: one for all would remember every object, and its other side would have to
    forget them all at once. So the table and its Steers, to which many nodes refer, go by name; what else is
    shared is told again.
    """

    def __init__(self, out: BinaryIO, table: ZoneTable) -> None:
        super().__init__(out, pickle.HIGHEST_PROTOCOL)
        self._table = table

    def persistent_id(self, obj: object) -> str | None:
        if obj is self._table:
            return _TABLE
        return obj.key if type(obj) is Steer else None


class ChunkUnpickler(pickle.Unpickler):
    """Reads one Chunk, whose nodes will belong to `table`, which has its Steers already."""

    def __init__(self, source: BinaryIO, table: ZoneTable) -> None:
        super().__init__(source)
        self._table = table

    def persistent_load(self, pid: str) -> ZoneTable | Steer:
        return self._table if pid == _TABLE else self._table.steers[pid]
