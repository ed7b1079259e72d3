"""When to load again: a saved zone file, a replaced database, SIGHUP.

    inotify (watchfiles) --+
    a look now and then ---+--> is something different? --> Library.load, in a thread
    SIGHUP ----------------+--> the config as well, and everything

inotify is quick and does not see everything (network file systems, links to files elsewhere, a folder that
was replaced); a look at every file's time of change sees everything and is not quick. Together they are both.
"""

import asyncio
import contextlib
from collections.abc import Callable

from watchfiles import awatch

from geodns.config import Config
from geodns.problems import Problem
from geodns.server.files import watched_folders
from geodns.server.keeper import Keeper
from geodns.server.library import Library
from geodns.server.notify import Notifier
from geodns.server.say import Sayer

BURST_FACTOR = 5  # changes that do not cease are read after as many times the quiet that is waited for
SCAN_SHARE = 0.05  # of the time at most for looking at files: a million of them take a while


class Reloader:
    """Keeps a library up to date while `run` runs. All methods are for the event loop's thread."""

    def __init__(
        self,
        library: Library,
        say: Sayer,
        notifier: Notifier,
        reread: Callable[[], tuple[Config | None, list[Problem]]],
        status: Callable[[], str],
    ) -> None:
        self._library = library
        self._say = say
        self._notifier = notifier
        self._reread = reread
        self._status = status
        self.config_problems: list[Problem] = []  # of the config that was read last
        self._wake = asyncio.Event()
        self._is_asked = False
        self._waiting: list[asyncio.Future[bool]] = []
        self._rewatch = asyncio.Event()

    def ask(self) -> None:
        """Read the config and everything else again, soon (SIGHUP)."""
        self._is_asked = True
        self._wake.set()

    async def reload(self) -> tuple[bool, list[Problem]]:
        """As `ask`, and wait until it is done: whether it was, and the problems of the config."""
        done = asyncio.get_running_loop().create_future()
        self._waiting.append(done)
        self.ask()
        is_loaded: bool = await done
        return is_loaded, self.config_problems

    async def run(self) -> None:
        """Never returns; cancel it."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._watch())
            tasks.create_task(self._look())
            tasks.create_task(self._load())

    async def _load(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._is_asked:
                self._is_asked = False
                waiting, self._waiting = self._waiting, []
                self._notifier.reloading()
                config, self.config_problems = self._reread()
                is_loaded = False
                if config is not None:
                    self._rewatch.set()
                    is_loaded = await loop.run_in_executor(None, self._library.load, True)
                self._notifier.ready(self._status())
                for done in waiting:
                    if not done.done():  # who asked may be gone
                        done.set_result(is_loaded)
            elif await loop.run_in_executor(None, self._library.is_stale):
                await loop.run_in_executor(None, self._library.load)
                self._notifier.ready(self._status())

    async def _watch(self) -> None:
        while True:
            self._rewatch = asyncio.Event()
            folders = watched_folders(self._library.config)
            quiet = self._library.config.limits.reload_quiet_milliseconds
            try:
                if folders:
                    # rust_timeout: how often it looks whether it should end
                    async for _ in awatch(
                        *folders,
                        watch_filter=None,
                        recursive=False,
                        step=quiet,
                        debounce=quiet * BURST_FACTOR,
                        stop_event=self._rewatch,
                    ):
                        self._wake.set()
            except (OSError, RuntimeError) as error:
                self._say.rarely("watch", f"changes are found by looking only: {error}")
            if not self._rewatch.is_set():
                await asyncio.sleep(self._library.config.limits.rescan_seconds)
            self._wake.set()  # what happened while nobody watched

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        folders = await loop.run_in_executor(None, self._identities)
        while True:
            began = loop.time()
            with contextlib.suppress(OSError):
                now = await loop.run_in_executor(None, self._identities)
                if now != folders:  # a watch on a folder that was replaced is a watch on the old one
                    folders = now
                    self._rewatch.set()
            self._wake.set()
            took = loop.time() - began
            await asyncio.sleep(max(self._library.config.limits.rescan_seconds, took / SCAN_SHARE))

    def _identities(self) -> set[tuple[str, int, int]]:
        found = set()
        for folder in watched_folders(self._library.config):
            seen = folder.stat()
            found.add((str(folder), seen.st_dev, seen.st_ino))
        return found


def status(library: Library, keeper: Keeper) -> str:
    """A line for the service manager."""
    broken = sum(any(problem.is_error for problem in file.problems) for file in library.files.values())
    down, checks = keeper.checks_down
    parts = [
        f"{len(library.zones)} zones",
        *([f"{broken} of the files broken"] if broken else []),
        *([f"{down} of {checks} checks see something down"] if down else []),
    ]
    return ", ".join(parts)
