"""What is loaded, and how it comes to be published: the serving process's side of a load.

    Job --> loader process --Messages, a little at a time--> Library --link--> Snapshot --one assignment-->
    Served

Whatever fails (a file, a database, the loader itself) leaves in place what was good before.
"""

import contextlib
import gc
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from geodns.config import Config
from geodns.engine.snapshot import Identity, Rrl
from geodns.geo.partition import Partition
from geodns.name import Name
from geodns.problems import Problem
from geodns.server.children import environment
from geodns.server.files import MISSING, Fingerprint, Scan, fingerprint_of, scan
from geodns.server.messages import (
    EXIT_MEMORY,
    Chunk,
    ChunkUnpickler,
    Databases,
    Done,
    Files,
    Job,
    Known,
    Message,
    PartitionMade,
    Reading,
    SteerChunk,
    ZoneHead,
)
from geodns.server.served import Served
from geodns.table.compile import link, table_steers
from geodns.table.shape import Node, Table, ZoneTable
from geodns.table.steer import Steer

REST_FACTOR = 1.0  # rest after each piece as long as it took: queries have half of the time at the least
YOUNG_OBJECTS_MAX = 10_000  # that the collector looks at at a time; about a millisecond
OBJECTS_PER_LOAD = 1_000  # frozen ones that the collector looks at for each load, taken together; 0.1 ms
NODES_PER_SLICE = 200  # nodes of an old zone freed at a time; about 0.2 ms
RETIRE_SECONDS = 5.0  # for queries under way to let go of an old snapshot; one takes less than a millisecond
RETIRE_STEP_SECONDS = 0.01
LOADER_TRIES = 4  # each but the last leaves out one more file that kills the loader
NICENESS = 10  # of a loader while we serve: answering comes first
KEEPALIVE_UNITS = 10  # of edns-tcp-keepalive in a second (RFC 7828 section 3.1: 100 ms)
KEEPALIVE_MAX = 65535  # RFC 7828 section 3.1: 16 bits
PIPE_OCTETS = 1 << 16  # read from the loader at a time: what a pipe holds
LAST_WORDS_SECONDS = 2.0  # for a loader to end whose pipe has ended
COMPLAINT_OCTETS = 4096  # of what a dying loader wrote to stderr; its last line is told


class LoaderError(Exception):
    """The loader did not come to its end; the message says why."""


@dataclass(slots=True)
class ZoneFile:
    """A zone file: the version served (None: there is no good one) and the problems of the newest."""

    apex: bytes
    fingerprint: Fingerprint = MISSING
    table: ZoneTable | None = None
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Settings:
    """What a snapshot has of the config."""

    identity: Identity
    cookie_secrets: tuple[bytes, ...]
    rrl: Rrl | None = None


@dataclass(slots=True)
class _Load:
    """One load under way: becomes the library's state when it is complete, and is forgotten otherwise."""

    scan: Scan
    again: frozenset[str]  # files to read although they are as they were
    files: dict[str, ZoneFile]
    local: list[ZoneTable]
    partitions: dict[str, Partition]
    is_rebuilding: bool
    problems: list[Problem] = field(default_factory=list)
    database_problems: list[Problem] = field(default_factory=list)
    loaded: dict[str, ZoneFile] = field(default_factory=dict)  # as their files are now
    removed: list[ZoneFile] = field(default_factory=list)
    reading: str = ""


class Publisher(Protocol):
    """Who brings tables and what is up together: the keeper, which checks the values of `steers`."""

    def prepare(self, steers: Mapping[str, Steer]) -> bool:
        """Look at what is new in these, within the time there is for it; False when the server ends."""

    def publish(self, steers: Mapping[str, Steer], **changes: Any) -> None:
        """Serve from a snapshot with these changes and with the standings of these steers, both at once."""


class _Unsteered:
    """Publishes where nobody checks anything."""

    def __init__(self, served: Served) -> None:
        self._served = served

    def prepare(self, steers: Mapping[str, Steer]) -> bool:
        return True

    def publish(self, steers: Mapping[str, Steer], **changes: Any) -> None:
        self._served.publish(**changes)


class Library:
    """The zones, partitions and problems of now. `load` brings them up to date and publishes them.

    One thread at a time may call `load` and `configure`; what is public may be read by all of them.
    """

    def __init__(
        self, config: Config, settings: Settings, served: Served, publisher: Publisher | None = None
    ) -> None:
        self.config = config
        self.settings = settings
        self.files: dict[str, ZoneFile] = {}
        self.problems: list[Problem] = []  # of the folder, of files that are no zones, and of the databases
        self.scanned: Scan | None = None  # what the last load looked at
        self.loaded_at = 0.0  # Unix seconds when a load was published last
        self._served = served
        self._publisher = publisher or _Unsteered(served)
        self._local: list[ZoneTable] = []
        self._partitions: dict[str, Partition] = {}
        self._databases: tuple[tuple[str, Fingerprint], ...] = ()  # those that the partitions are from
        self._overrides: dict[str, str] = {}
        self._is_first = True
        self._loads_until_sweep = 0
        self._loader: subprocess.Popen[bytes] | None = None
        self._is_stopped = False

    @property
    def zones(self) -> list[ZoneTable]:
        """The zones that are served from files."""
        return [file.table for file in self.files.values() if file.table is not None]

    def is_stale(self) -> bool:
        """Whether a file was changed, added or removed since the last load looked."""
        return scan(self.config) != self.scanned

    def stop(self) -> None:
        """End a load that is under way, from another thread; nothing will be loaded any more."""
        self._is_stopped = True
        loader = self._loader
        if loader is not None:
            loader.kill()

    def configure(self, config: Config, settings: Settings) -> None:
        """Take over another config; the next `load` goes by it."""
        if config.zones != self.config.zones:
            self.files = {str(config.zones / Path(path).name): file for path, file in self.files.items()}
        self.config = config
        self.settings = settings

    def load(self, everything: bool = False) -> bool:
        """Read what was changed (or `everything` anew), publish it, and say what came of it.

        False when the loader failed: then all is as it was, and the reason was said. Takes as long as it
        takes: run it in a thread.
        """
        # The cyclic collector would look at every node again and again while they come in, holding all
        # threads. So it sees the little that came before, and of what comes each piece once; then that is
        # frozen: it is not looked at until `_retire` takes it apart by hand. Connections that ended meanwhile
        # are garbage which would stay for ever if it was frozen with the rest; and for those that end later,
        # all that is frozen is looked at now and then.
        self._put_away()
        gc.disable()
        try:
            load = self._complete(everything)
            if load is None:
                return False
            before = [*self._local, *self.zones]
            # the table and not the snapshot: what is up is published between loads, with the same table
            old = weakref.ref(self._served.snapshot.table)
            old_nodes = self._served.snapshot.table.nodes
            self._adopt(load)
            if not self._publish():
                return False
            _freeze()  # before the collector may run again
        finally:
            gc.enable()
        self._tell(load)
        self._is_first = False
        after = {id(table) for table in (*self._local, *self.zones)}
        self._retire(old, [old_nodes, *(table.nodes for table in before if id(table) not in after)])
        return True

    def _complete(self, everything: bool) -> _Load | None:
        """A whole load; a file that the loader does not survive is left out, as one that is broken."""
        again = frozenset(self.files) if everything else frozenset()
        for tries_left in reversed(range(LOADER_TRIES)):
            load = self._begin(everything, again)
            self.scanned = load.scan
            try:
                for message in self._messages(load):
                    self._take(load, message)
                return load
            except LoaderError as error:
                for file in load.loaded.values():
                    if file.table is not None:
                        _free(file.table.nodes)
                if self._is_stopped:
                    return None
                if not load.reading or not tries_left:
                    self._served.say(f"{error}; what was served before is still served")
                    return None
                self._blame(load, error)
                again -= {load.reading}
        raise AssertionError("the last try returns")

    def _blame(self, load: _Load, error: LoaderError) -> None:
        path = load.reading
        problem = Problem(path, 0, 0, "", str(error))
        fingerprint = fingerprint_of(path)
        self.files[path] = replace(load.files[path], fingerprint=fingerprint, problems=[problem])
        self._served.say.problem(problem)
        self._served.say(f"{Name(load.files[path].apex)}: {path} is broken; {_instead(self.files[path])}")

    def _begin(self, everything: bool, again: frozenset[str]) -> _Load:
        seen = scan(self.config)
        present = {path for path, fingerprint in seen.databases if fingerprint != MISSING}
        gone = [path for path, _ in self._databases if path not in present]
        load = _Load(
            scan=seen,
            again=again,
            files={path: replace(file) for path, file in self.files.items()},
            local=self._local if self.config.local_zones else [],
            partitions=dict(self._partitions),
            is_rebuilding=everything
            or self._is_first
            or (seen.databases, self.config.geo.overrides) != (self._databases, self._overrides),
        )
        if gone and not everything:
            # Between `rm` and `cp` of somebody who replaces it, everybody would get the default answer.
            hint = "what it said is still served; SIGHUP to do without it"
            load.database_problems = [Problem(path, 0, 0, "", "the database is gone", hint) for path in gone]
            load.is_rebuilding = False
        return load

    def _job(self, load: _Load) -> Job:
        rules = {key: rules for table in (*self._local, *self.zones) for key, rules in table.rules.items()}
        return Job(
            zones=str(self.config.zones),
            known={
                path: Known(
                    file.fingerprint, file.table.serial if file.table else None, path not in load.again
                )
                for path, file in self.files.items()
            },
            with_local=self.config.local_zones and not self._local,
            databases=tuple(path for path, _ in load.scan.databases),
            overrides=self.config.geo.overrides,
            have=frozenset(self._partitions),
            rebuild=rules if load.is_rebuilding else {},
            memory_octets=self.config.limits.loader_memory_octets,
            niceness=0 if self._is_first else NICENESS,
        )

    def _messages(self, load: _Load) -> Iterator[Message]:
        """Run a loader. Raises LoaderError when it can not be started, dies, or takes too long."""
        seconds = self.config.limits.loader_seconds
        is_late = threading.Event()
        with tempfile.TemporaryFile() as complaints:
            try:
                loader = subprocess.Popen(
                    [sys.executable, "-P", "-m", "geodns.server.loader"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    bufsize=PIPE_OCTETS,
                    env=environment(),
                    start_new_session=True,  # Ctrl-C is for us; we end it
                )
            except OSError as error:
                raise LoaderError(f"the loader can not be started: {error.strerror}") from None

            def too_late() -> None:
                is_late.set()
                loader.kill()

            timer = threading.Timer(seconds, too_late)
            timer.daemon = True
            timer.start()
            self._loader = loader
            if self._is_stopped:
                loader.kill()
            try:
                yield from self._read(loader, self._job(load))
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                why = _last_words(complaints, _ended(loader), error)
                if is_late.is_set():
                    why = f"it was not done after {seconds:g} s (limits.loader_seconds)"
                while_reading = f" while it read {load.reading}" if load.reading else ""
                raise LoaderError(f"the loader failed{while_reading}: {why}") from None
            finally:
                timer.cancel()
                loader.kill()
                for pipe in (loader.stdin, loader.stdout):
                    with contextlib.suppress(BrokenPipeError):  # of a job that it did not live to read
                        cast(BinaryIO, pipe).close()
                loader.wait()
                self._loader = None

    def _read(self, loader: subprocess.Popen[bytes], job: Job) -> Iterator[Message]:
        stdin, stdout = cast(BinaryIO, loader.stdin), cast(BinaryIO, loader.stdout)
        pickle.dump(job, stdin, pickle.HIGHEST_PROTOCOL)
        stdin.flush()
        while True:
            message: Message = pickle.load(stdout)
            if isinstance(message, ZoneHead) and message.table is not None:
                self._read_table(stdout, message.table)
            yield message
            if isinstance(message, Done):
                return

    def _put_away(self) -> None:
        """Free what has ended since the last load and freeze what is alive; now and then look at it all."""
        if self._loads_until_sweep:
            self._loads_until_sweep -= 1
            _freeze()
            return
        gc.unfreeze()
        _freeze()
        self._loads_until_sweep = gc.get_freeze_count() // OBJECTS_PER_LOAD

    def _read_table(self, stdout: BinaryIO, table: ZoneTable) -> None:
        """Unpickling holds the interpreter lock, so it is done in pieces, with rests for queries."""
        began = time.perf_counter()
        _freeze()
        while steers := cast(SteerChunk, pickle.load(stdout)):
            table.steers.update((steer.key, steer) for steer in steers)
            _freeze(YOUNG_OBJECTS_MAX)
            began = self._rest(began)
        while nodes := cast(Chunk, ChunkUnpickler(stdout, table).load()):
            table.nodes.update(nodes)
            _freeze(YOUNG_OBJECTS_MAX)
            began = self._rest(began)

    def _rest(self, began: float) -> float:
        if not self._is_first:
            time.sleep(REST_FACTOR * (time.perf_counter() - began))
        return time.perf_counter()

    def _take(self, load: _Load, message: Message) -> None:
        match message:
            case Files():
                self._take_files(load, message)
            case Reading(path):
                load.reading = path
            case ZoneHead(path, fingerprint, problems, table):
                load.reading = ""
                if table is not None and not path:
                    load.local = [*load.local, table]
                    return
                old = load.files[path]
                # A broken file keeps the table of its last good version.
                load.files[path] = ZoneFile(old.apex, fingerprint, table or old.table, problems)
                load.loaded[path] = ZoneFile(old.apex, fingerprint, table, problems)
            case Databases(problems):
                load.database_problems += problems
            case PartitionMade(key, partition):
                load.partitions[key] = partition
            case Done():
                pass

    def _take_files(self, load: _Load, message: Files) -> None:
        load.problems = message.problems
        if not message.is_readable:
            return  # a folder that can not be read says nothing of its zones
        in_trouble = {problem.file for problem in message.problems if problem.is_error}
        for path in [path for path in load.files if path not in message.apexes and path not in in_trouble]:
            load.removed.append(load.files.pop(path))
        for path, apex in message.apexes.items():
            load.files.setdefault(path, ZoneFile(apex))

    def _adopt(self, load: _Load) -> None:
        self.files = load.files
        self.problems = load.problems + load.database_problems
        self._local = load.local
        needed = {key for table in (*self._local, *self.zones) for key in table.rules}
        self._partitions = {key: load.partitions[key] for key in needed}
        if not load.database_problems:
            self._databases = load.scan.databases
            self._overrides = self.config.geo.overrides

    def _linked(self) -> Table:
        by_apex = {
            table.apex: table for table in (*self._local, *self.zones)
        }  # a file overrides a built-in zone
        return link(by_apex.values(), [file.apex for file in self.files.values() if file.table is None])

    def _publish(self) -> bool:
        """False when the server ends before that."""
        table = self._linked()
        steers = table_steers(table)
        if not self._publisher.prepare(steers):
            return False
        limits = self.config.limits
        self.loaded_at = time.time()
        self._publisher.publish(
            steers,
            table=table,
            partitions=self._partitions,
            identity=self.settings.identity,
            udp_size_max=limits.udp_answer_octets,
            cookie_secrets=self.settings.cookie_secrets,
            rrl=self.settings.rrl,
            tcp_keepalive=min(int(limits.tcp_idle_seconds * KEEPALIVE_UNITS), KEEPALIVE_MAX),
        )
        return True

    def _tell(self, load: _Load) -> None:
        say = self._served.say
        for problem in (
            *self.problems,
            *(problem for file in load.loaded.values() for problem in file.problems),
        ):
            say.problem(problem)
        for path, newest in load.loaded.items():
            if newest.table is None:
                say(
                    f"{Name(newest.apex)}: {path} is broken; {_instead(load.files[path])}",
                    "zone-broken",
                    "error",
                    zone=Name(newest.apex),
                )
            elif not self._is_first:
                say(
                    f"{Name(newest.apex)}: serial {newest.table.serial}, {newest.table.records} records",
                    "zone-loaded",
                    zone=Name(newest.apex),
                    serial=newest.table.serial,
                    records=newest.table.records,
                )
        for file in load.removed:
            say(
                f"{Name(file.apex)}: not served any more: its file is gone",
                "zone-gone",
                zone=Name(file.apex),
            )
        if load.is_rebuilding and not load.scan.databases and self._needs_databases():
            patterns = ", ".join(self.config.geo.databases)
            say(f"there is no geo database ({patterns}): rules by place or AS match nobody")
        if load.is_rebuilding and not self._is_first and load.partitions:
            if load.database_problems:
                say("the geo databases were not taken up; what they said before is still served")
            else:
                say("the geo databases were taken up")

    def _needs_databases(self) -> bool:
        tables = (*self._local, *self.zones)
        return any(
            rule.geos or rule.asns for table in tables for rules in table.rules.values() for rule in rules
        )

    def _retire(self, old: weakref.ref[Table], maps: list[dict[bytes, Node]]) -> None:
        """Free what is served no more, when the last query that saw it is answered.

        A table and its nodes refer to each other, and frozen as they are no collector will find them. So they
        are taken apart here, a few at a time.
        """
        until = time.monotonic() + RETIRE_SECONDS
        while old() is not None:  # a query under way holds a snapshot that has it
            if time.monotonic() > until or self._is_stopped:
                return  # somebody keeps it: better to lose the memory than to pull it away under a query
            time.sleep(RETIRE_STEP_SECONDS)
        for nodes in maps:
            _free(nodes)


def _free(nodes: dict[bytes, Node]) -> None:
    """Empty a map of nodes in small steps, between which others get the interpreter."""
    while nodes:
        for _ in range(min(NODES_PER_SLICE, len(nodes))):
            nodes.popitem()
        time.sleep(0)


def _instead(file: ZoneFile) -> str:
    if file.table is None:
        return "its names are answered SERVFAIL until it is mended"
    return f"serial {file.table.serial} is still served"


def _ended(loader: subprocess.Popen[bytes]) -> int:
    """The exit code of a loader that says no more; it may need a moment to say why on stderr."""
    try:
        return loader.wait(LAST_WORDS_SECONDS)
    except subprocess.TimeoutExpired:
        loader.kill()
        return loader.wait()


def _freeze(objects: int = 0) -> None:
    """Put away what is alive of the objects that came since the last time, when they are so many."""
    if gc.get_count()[0] >= objects:
        gc.collect()
        gc.freeze()


def _last_words(complaints: BinaryIO, code: int, error: BaseException) -> str:
    if code == EXIT_MEMORY:
        return "it needs more memory than it may have (limits.loader_memory_octets)"
    complaints.seek(0, os.SEEK_END)
    complaints.seek(max(0, complaints.tell() - COMPLAINT_OCTETS))
    lines = complaints.read().decode("utf-8", "replace").strip().splitlines()
    if lines:
        return lines[-1]
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return str(error) or type(error).__name__
