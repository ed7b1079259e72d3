"""The loader: a process that reads zone files and databases, compiles, says what came of it, and ends.

    stdin: Job --> zone.load -> table.compile_zone --+--> stdout: Messages
                   databases -> geo.partition.build -+

A process of its own, so that reading a large zone never takes the serving threads' interpreter lock; so that
a file which exhausts memory or time, or a database that crashes its reader, harms nobody; and so that all
memory of loading goes back to the system. It is short-lived: what it would keep, the serving process keeps.
"""

import gc
import os
import pickle
import resource
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO, TypeVar

# With numpy, and not later: a zone that has taken nearly all memory would leave too little to load it.
from geodns.geo import overrides
from geodns.geo.database import Database, DatabaseError, Layer
from geodns.geo.locator import Locator
from geodns.geo.partition import Rules, build
from geodns.problems import Problem
from geodns.server.files import Fingerprint, fingerprint_of
from geodns.server.messages import (
    EXIT_MEMORY,
    ChunkPickler,
    Databases,
    Done,
    Files,
    Job,
    Known,
    Message,
    PartitionMade,
    Reading,
    ZoneHead,
)
from geodns.table.compile import compile_zone
from geodns.zone import load, local_zones, zone_files

NODES_PER_CHUNK = 100  # about half a millisecond of unpickling, during which the other side answers no query
STEERS_PER_CHUNK = 20  # likewise
SERIAL_MASK = 0xFFFFFFFF  # RFC 1035 section 3.3.13: 32 bits

T = TypeVar("T")


def main() -> int:
    """Do the job on stdin. Returns the exit code."""
    job: Job = pickle.load(sys.stdin.buffer)
    # Messages have the pipe for themselves: what a library may print goes where tracebacks go.
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 16)
    os.dup2(2, 1)
    resource.setrlimit(resource.RLIMIT_AS, (job.memory_octets, job.memory_octets))
    os.nice(job.niceness)
    gc.disable()  # nothing here lives long, and the little that is cyclic ends with the process
    try:
        with out:
            _Loader(job, out).run()
    except MemoryError:
        os._exit(EXIT_MEMORY)  # Python may be unable to print a traceback, or to end in good order
    return 0


class _Loader:
    def __init__(self, job: Job, out: BinaryIO) -> None:
        self._job = job
        self._out = out
        self._wanted: dict[str, Rules] = {}  # rules of what was loaded now, by key

    def run(self) -> None:
        found, problems = zone_files(Path(self._job.zones))
        is_readable = not any(problem.file == self._job.zones for problem in problems if problem.is_error)
        files = {str(path): apex.key for apex, path in found.items()}
        self._say(Files(files, problems, is_readable))
        if self._job.with_local:
            for checked in local_zones():
                self._say_zone(ZoneHead("", (0, 0, 0), [], compile_zone(checked)))
        for path in files:
            self._load(path)
        self._divide()
        self._say(Done())

    def _load(self, path: str) -> None:
        fingerprint = fingerprint_of(path)
        known = self._job.known.get(path)
        if known is not None and known.is_settled and known.fingerprint == fingerprint:
            return
        self._say(Reading(path))
        self._out.flush()  # so that it is known if this file is the end of us
        table = None
        try:
            checked, problems = load(Path(path), _serial(fingerprint, known))
            if checked is not None:
                table = compile_zone(checked)
        except MemoryError:
            raise  # too little is left to judge the other files: it begins again without this one
        except Exception as error:
            what = f"reading the file failed: {type(error).__name__}: {error}"
            problems = [Problem(path, 0, 0, "", what, "a bug of geodns: please report it with the file")]
        if table is None:
            gc.collect()  # what a file that failed has left: the next one wants its memory
        self._say_zone(ZoneHead(path, fingerprint, problems, table))

    def _divide(self) -> None:
        """Make the partitions that are wanted and not there; databases are opened only if some rule asks."""
        job = self._job
        wanted = {key: rules for key, rules in self._wanted.items() if key not in job.have}
        asked = [rule for rules in (*wanted.values(), *job.rebuild.values()) for rule in rules]
        opened: list[tuple[Database, Layer]] = []
        problems: list[Problem] = []
        if any(rule.geos or rule.asns for rule in asked):
            gc.collect()  # what is left of the zones goes before the databases come: a third of the peak
            opened, problems = _open(job.databases)
        self._say(Databases(problems))
        if not problems:  # else the partitions made from the last good databases stay
            wanted |= job.rebuild
        locator = Locator(
            [database for database, _ in opened],
            overrides.parse(job.overrides)[0],
            [layer for _, layer in opened],
        )
        for key, rules in wanted.items():
            self._say(PartitionMade(key, build(rules, locator)))
            self._out.flush()

    def _say(self, message: Message) -> None:
        pickle.dump(message, self._out, pickle.HIGHEST_PROTOCOL)

    def _say_zone(self, head: ZoneHead) -> None:
        if head.table is None:
            self._say(head)
            return
        self._wanted.update(head.table.rules)
        nodes, steers = head.table.nodes, head.table.steers
        head.table.nodes, head.table.steers = {}, {}
        self._say(head)
        for steer_chunk in _chunks(steers.values(), STEERS_PER_CHUNK):
            pickle.dump(steer_chunk, self._out, pickle.HIGHEST_PROTOCOL)
        for chunk in _chunks(nodes.items(), NODES_PER_CHUNK):
            ChunkPickler(self._out, head.table).dump(chunk)


def _serial(fingerprint: Fingerprint, known: Known | None) -> int:
    """The serial for a SOA that is made: the file's time, or what comes after the serial that is served."""
    changed = fingerprint[0] // 10**9 & SERIAL_MASK
    if known is None or known.serial is None:
        return changed
    if known.fingerprint == fingerprint:
        return known.serial
    ahead = changed - known.serial & SERIAL_MASK
    # RFC 1982 section 3.2: greater is what is less than 2**31 ahead
    return changed if 0 < ahead < 1 << 31 else known.serial + 1 & SERIAL_MASK


def _chunks(given: Iterable[T], size: int) -> Iterator[list[T]]:
    """The pieces, and the empty piece that ends them."""
    items = iter(given)
    while chunk := list(islice(items, size)):
        yield chunk
    yield []


def _open(paths: tuple[str, ...]) -> tuple[list[tuple[Database, Layer]], list[Problem]]:
    """The databases that can be read, and what is wrong with the others."""
    opened: list[tuple[Database, Layer]] = []
    problems: list[Problem] = []
    for path in paths:
        try:
            database = Database(path)
            opened.append((database, database.layer()))  # all of it: a file may be damaged in its middle
        except DatabaseError as error:
            problems.append(Problem(path, 0, 0, "", error.what))
    return opened, problems


if __name__ == "__main__":
    sys.exit(main())
