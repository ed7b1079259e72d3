"""EXTERNAL: a file that other tools write, with a line for each name: `NAME up|down [reason]`.

It is read when it changes, and a result is told when it differs from the last one told: so what the file says
and what came otherwise (HTTP PUT) count in the order in which they were said.
"""

import asyncio
import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass

from geodns.health.prober.look import short
from geodns.health.words import Probe, Result

LOOK_SECONDS = 0.5  # between looks at the file's time and size
OCTETS_MAX = 4 << 20  # of the file: 40,000 names with a reason each
PROBLEMS_MAX = 10  # lines for the log, each time the file is read; the results have all of them
STATES = {"up": True, "down": False}

Said = tuple[bool | None, str]
"""State and reason; None: the line says neither."""

_Stamp = tuple[int, int, int] | str
"""Of the file: time in nanoseconds, size and inode; or why it can not be read."""


def parse(text: str, file: str) -> tuple[dict[str, Said], list[str]]:
    """What the file says of each name (of two lines the last), and what is wrong with it, line by line."""
    said: dict[str, Said] = {}
    problems = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split(maxsplit=2)
        if not words or words[0].startswith("#"):
            continue
        state = STATES.get(words[1].lower()) if len(words) > 1 else None
        if state is None:
            what = f'"{short(words[1])}" is neither up nor down' if len(words) > 1 else "no state: up or down"
            problems.append(f"{file}:{number}: {short(words[0])}: {what}")
            said[words[0]] = (None, f"{file}:{number}: {what}")
        else:
            said[words[0]] = (state, short(words[2]) if len(words) > 2 else "")
    return said, problems


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: _Stamp
    said: dict[str, Said]
    problems: list[str]


class External:
    """The checks of this kind, and the file. `tell` takes results, `say` lines for the log."""

    def __init__(self, tell: Callable[[Result], None], say: Callable[[str], None]) -> None:
        self._tell = tell
        self._say = say
        self._file = ""
        self._names: dict[str, str] = {}  # by key of the check
        self._told: dict[str, Said] = {}
        self._read: _Read | None = None  # None: not yet
        self._is_wanted = asyncio.Event()

    def watch(self, file: str) -> None:
        """Read this file from now on; "" for none."""
        if file != self._file:
            self._file = file
            self._read = None
            self._is_wanted.set()

    def put(self, probe: Probe) -> None:
        """Tell results of this check from now on, the first as soon as the file was read."""
        self._names[probe.key] = probe.check.name
        if self._read is not None or not self._file:
            self._tell_key(probe.key)
        else:
            self._is_wanted.set()

    def drop(self, key: str) -> None:
        self._names.pop(key, None)
        self._told.pop(key, None)

    async def run(self) -> None:
        """Look at the file again and again; in a thread, as it may be on a disk that is far away."""
        while True:
            self._is_wanted.clear()
            await self.look()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._is_wanted.wait()

    async def look(self) -> None:
        """Look at the file once, and tell what changed."""
        file = self._file
        if not file or not self._names:
            return
        last = None if self._read is None else self._read.stamp
        read = await asyncio.to_thread(_changed, file, last)
        if read is None or file != self._file:
            return
        self._take(read)

    def _take(self, read: _Read) -> None:
        before = self._read
        if isinstance(read.stamp, str) and before is not None:
            read = _Read(read.stamp, before.said, read.problems)  # what it said last holds
        self._read = read
        for problem in read.problems[:PROBLEMS_MAX]:
            self._say(problem)
        if len(read.problems) > PROBLEMS_MAX:
            self._say(f"{self._file}: {len(read.problems) - PROBLEMS_MAX} more broken lines")
        for key in self._names:
            self._tell_key(key)

    def _tell_key(self, key: str) -> None:
        said = self._said_of(self._names[key])
        if self._told.get(key) != said:
            self._told[key] = said
            self._tell(Result(key, said[0], said[1], time.time(), 0.0))

    def _said_of(self, name: str) -> Said:
        if self._read is None:
            return None, "no report yet"
        if isinstance(self._read.stamp, str) and name not in self._read.said:
            return None, self._read.stamp
        return self._read.said.get(name, (None, f"{self._file} does not say"))


def _changed(file: str, last: _Stamp | None) -> _Read | None:
    """The file as it is now, or None when it is as it was."""
    try:
        status = os.stat(file)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == last:
            return None
        if not stat.S_ISREG(status.st_mode):  # a pipe would keep us waiting
            return _broken(f"{file}: not a file", last)
        with open(file, "rb") as opened:
            octets = opened.read(OCTETS_MAX + 1)
        if len(octets) > OCTETS_MAX:
            return _broken(f"{file}: larger than {OCTETS_MAX} octets", last)
    except OSError as error:
        return _broken(f"{file}: {(error.strerror or str(error)).lower()}", last)
    return _Read(stamp, *parse(octets.decode(errors="replace"), file))


def _broken(what: str, last: _Stamp | None) -> _Read | None:
    return None if what == last else _Read(what, {}, [what])
