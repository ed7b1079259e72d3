"""Steering by health while the server runs: everything around `health.Health` that is not a decision.

    prober process --Results, PeerViews--+
    state/overrides --looked at----------+--> Health (in a thread of its own) --standings--> Served
    PUT /v1/external/NAME ---------------+      |
    Library --Steers of a new table------+      +--> state/health-ID.json, /v1/view, /v1/status, log

One thread has the Health, so that none of its work keeps TCP clients waiting, and so that a table and what is
up in it are published by the same hands. Whatever breaks (the prober, a file, a folder) is told, and the
states that are known go on to hold.
"""

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from geodns.config import Config, Tokens
from geodns.control.document import Document, document
from geodns.health import overrides, state
from geodns.health.health import Change, Health
from geodns.health.messages import Batch, Notice, PeerAddress, Report, Settings
from geodns.health.status import Status
from geodns.health.words import PeerHeard, PeerView, Probe, Result
from geodns.name import Name
from geodns.server.files import Fingerprint, fingerprint_of
from geodns.server.prober import ProberProcess
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.table.shape import Table
from geodns.table.steer import Steer

LOOK_SECONDS = 0.2  # between looks at the overrides and the clock: a command is obeyed within a second
SAVE_SECONDS = 3.0  # between two writings of the state
STATUS_SECONDS = 0.25  # for which a status is told again: to make one of 10,000 checks takes half a second
CHANGES_TOLD = 100  # lines about values, in CHANGES_SECONDS; a site that falls with its 10,000 names is one
CHANGES_SECONDS = 10.0
PROBLEMS_TOLD = 20  # of an overrides file
NEW = "(new)"  # before the key of a Steer that has checks made, and is not served yet
EXTERNAL = "external"

T = TypeVar("T")


def state_path(config: Config, server_id: str) -> Path:
    """Where the state of this instance is saved; others may share the folder."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", server_id)[:100] or "_"
    return config.state / f"health-{name}.json"


@dataclass(slots=True)
class _First:
    """The first looks that somebody waits for: the keys of their checks."""

    keys: set[str]
    are_done: threading.Event = field(default_factory=threading.Event)


class Keeper:
    """`prepare` and `publish` are for the thread that loads, everything else for the event loop's.

    `on_change` is called, in any thread, when a value went up or down.
    """

    def __init__(
        self,
        config: Config,
        tokens: Tokens,
        server_id: str,
        served: Served,
        say: Sayer,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self._config = config
        self._server_id = server_id
        self._served = served
        self._say = say
        self._on_change = on_change
        self._thread = ThreadPoolExecutor(1, "health")
        self._prober = ProberProcess(self._heard, say, _settings(config, tokens))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopped = False
        self._overrides: tuple[Path, Fingerprint] | None = None  # as they were read last
        self._seen_overrides: tuple[Path, Fingerprint] | None = None  # as they were looked at last
        self._is_writable = True  # whether the state could be saved the last time
        # These belong to the thread of the Health.
        self._health = Health(config.health)
        self._steers: Mapping[str, Steer] = {}
        self._probes: dict[str, Probe] = {}
        self._first: _First | None = None
        self._is_restored = False
        self._is_lost = False  # after a bug: what the Health says may not fit the table
        self._is_dirty = False
        self._told = _Told(say)
        self._seen: dict[str, bool] = {}  # our view that was told last
        self._serials: dict[str, int] = {}  # of the zones that are served from files; replaced, never changed
        # Documents that were made, and of what.
        self._views: tuple[object, object, str, Document] | None = None
        self._status: tuple[float, Document] | None = None
        self._making = asyncio.Lock()

    # The life of it

    async def start(self) -> None:
        """Begin; nothing is checked before the first `prepare`."""
        self._loop = asyncio.get_running_loop()
        await self._look_at_overrides()
        self._tasks = [asyncio.create_task(self._prober.run()), asyncio.create_task(self._run())]

    def interrupt(self) -> None:
        """Let nobody wait for looks any more: the server ends."""
        self._is_stopped = True
        first = self._first
        if first is not None:
            first.are_done.set()

    async def stop(self) -> None:
        """End the prober and save the state. Never raises."""
        self.interrupt()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self.save()
        except Exception as error:
            self._failed(error)
        self._thread.shutdown(wait=False)

    def configure(self, config: Config, tokens: Tokens, server_id: str) -> None:
        """Go by another config from now on; the states of the checks are kept."""
        self._config, self._server_id = config, server_id
        self._prober.configure(_settings(config, tokens))
        self._thread.submit(self._guarded, self._configure, config)

    # A new table

    def prepare(self, steers: Mapping[str, Steer]) -> bool:
        """Look at what is new in these, within health.startup_timeout; False when the server ends."""
        try:
            first = self._thread.submit(self._guarded, self._prepare, steers).result()
        except RuntimeError:  # it has ended
            return False
        if first is not None and not self._is_stopped:
            seconds = self._config.health.startup_timeout
            if not first.are_done.wait(seconds):
                checks = f"{len(first.keys):,} checks" if len(first.keys) != 1 else "1 check"
                self._say(
                    f"{checks} had no result within {seconds:g} s (health.startup_timeout): until one comes, "
                    "the values that rest on them count as up"
                )
        return not self._is_stopped

    def publish(self, steers: Mapping[str, Steer], **changes: Any) -> None:
        """Serve from a snapshot with these changes, among them a table, and with what is up of its steers."""
        with contextlib.suppress(RuntimeError):  # it has ended, and so does the server
            self._thread.submit(self._publish, steers, changes).result()

    # What the control endpoint asks

    async def view(self) -> Document:
        """What this instance sees by itself."""
        view = await self._ask(self._health.view)
        async with self._making:
            # another view is another dict: to compare the contents would take a millisecond
            known, serials, server_id = self._views, self._serials, self._server_id
            if known is None or known[0] is not view or known[1] is not serials or known[2] != server_id:
                value = {"id": server_id, "checks": view, "zones": serials}
                known = self._views = (view, serials, server_id, await asyncio.to_thread(document, value))
            return known[3]

    async def status(self) -> Document:
        """Everything that is known, for people and tools."""
        async with self._making:
            if self._status is None or time.monotonic() - self._status[0] > STATUS_SECONDS:
                status = await self._ask(self._health.status)
                value = {"id": self._server_id, **{name: getattr(status, name) for name in status.__slots__}}
                self._status = (time.monotonic(), await asyncio.to_thread(document, value))
            return self._status[1]

    async def rows(self) -> Status:
        """The same, as it is."""
        return await self._ask(self._health.status)

    async def report(self, name: str, is_up: bool, reason: str) -> bool:
        """Take an external check's state; False when there is no check of this name."""
        return await self._ask(self._report, name, is_up, reason)

    async def with_health(self, work: Callable[[Health], T]) -> T:
        """Have this done, quickly, by the thread that has the Health, and between its changes."""
        return await self._ask(work, self._health)

    @property
    def checks_down(self) -> tuple[int, int]:
        """How many checks see something down, of how many that have a result."""
        seen = self._seen
        return sum(not is_up for is_up in seen.values()), len(seen)

    # In the event loop

    async def _ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """Have the Health's thread do this."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _heard(self, report: Report) -> None:
        match report:
            case Batch(results):
                await self._ask(self._guarded, self._take, results)
            case PeerView() | PeerHeard():
                await self._ask(self._guarded, self._hear, report)
            case Notice(text):
                self._say(text)

    async def _run(self) -> None:
        saved = time.monotonic()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look_at_overrides()
                await self._ask(self._guarded, self._tick)
                if self._is_dirty and time.monotonic() - saved > SAVE_SECONDS:
                    await self.save()
                    saved = time.monotonic()
            except Exception as error:
                self._failed(error)

    async def _look_at_overrides(self) -> None:
        """Read the overrides when they are others than before, and nobody writes in them any more."""
        path = self._config.overrides_file
        now = (path, await asyncio.to_thread(fingerprint_of, str(path)))
        is_settled = self._seen_overrides in (now, None)
        self._seen_overrides = now
        if now == self._overrides or not is_settled:
            return
        self._overrides = now
        found = await asyncio.to_thread(overrides.read, path)
        for problem in found.problems[:PROBLEMS_TOLD]:
            self._say.problem(problem)
        if found.problems:
            self._say(f"{path} was not taken up; the overrides before it hold")
        await self._ask(self._guarded, self._override, found)

    async def save(self) -> None:
        """Write the state down, for the next start."""
        if not self._probes:
            return
        self._is_dirty = False
        saved = await self._ask(self._health.save)
        problems = await asyncio.to_thread(state.write, state_path(self._config, self._server_id), saved)
        if problems and self._is_writable:
            what = "the state of the checks is not saved, and a restart will have to look anew"
            self._say(f"{problems[0]}; {what}")
        self._is_writable = not problems

    # In the Health's thread

    def _guarded(self, work: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return work(*arguments)
        except Exception as error:
            self._failed(error)
            return None

    def _failed(self, error: Exception) -> None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        what = f"the health of values: {type(error).__name__}: {error}{where}"
        self._say.rarely("keeper", f"{what}; a bug of geodns, and what was known before holds")

    def _prepare(self, steers: Mapping[str, Steer]) -> _First | None:
        both = dict(self._steers)
        for key, steer in steers.items():
            if both.get(key) is not steer:
                # The table that is served has another one of this key, which is still to be told apart.
                new = replace(steer, key=f"{NEW} {key}") if key in both else steer
                both[new.key] = new
        if len(both) == len(self._steers):
            return None
        added = self._adopt(both)
        if added and not self._is_restored:
            self._restore()
        self._settle([])
        keys = {probe.key for probe in added} - self._health.view().keys()
        if not keys:
            return None
        self._first = _First(keys)
        return self._first

    def _adopt(self, steers: Mapping[str, Steer]) -> list[Probe]:
        added, gone = self._health.adopt(steers, time.time())
        self._watch(added, gone)
        return added

    def _watch(self, added: list[Probe], gone: list[str]) -> None:
        for key in gone:
            self._probes.pop(key, None)
        self._probes.update((probe.key, probe) for probe in added)
        if self._loop is not None and (added or gone):
            self._loop.call_soon_threadsafe(self._prober.watch, added, gone)

    def _restore(self) -> None:
        """Begin where the process before us ended."""
        self._is_restored = True
        path = state_path(self._config, self._server_id)
        saved, problems = state.read(path)
        if saved is not None:
            problems = [
                replace(problem, file=str(path)) for problem in self._health.restore(saved, time.time())
            ]
        for problem in problems:
            self._say(f"{problem}; every value has to be looked at anew")

    def _publish(self, steers: Mapping[str, Steer], changes: dict[str, Any]) -> None:
        try:
            self._adopt(steers)
            self._is_lost = False
        except Exception as error:
            self._failed(error)
            self._is_lost = True
        self._steers = steers
        self._first = None
        table = changes.get("table")
        if isinstance(table, Table):
            zones = table.zones.values()
            self._serials = {str(Name(zone.apex)): zone.serial for zone in zones if not zone.local}
        standings = {} if self._is_lost else self._health.standings
        self._served.publish(**changes, standings=standings)
        self._guarded(self._settle, [])

    def _settle(self, changes: list[Change]) -> None:
        """Publish and tell what came of something."""
        standings = self._health.standings
        if standings is not self._served.snapshot.standings and not self._is_lost:
            self._served.publish(standings=standings)
        self._told.tell(changes)
        view = self._health.view()
        if view is not self._seen:
            self._seen = view
            self._on_change()
            self._is_dirty = True
        if changes:
            self._is_dirty = True

    def _take(self, results: Iterable[Result]) -> None:
        results = list(results)
        self._settle(self._health.take(results, time.time()))
        first = self._first
        if first is not None:
            first.keys.difference_update(result.key for result in results)
            if not first.keys:
                first.are_done.set()

    def _hear(self, view: PeerView | PeerHeard) -> None:
        self._settle(self._health.hear(view, time.time()))

    def _override(self, found: overrides.Overrides) -> None:
        self._settle(self._health.override(found, time.time()))

    def _tick(self) -> None:
        self._settle(self._health.tick(time.time()))
        self._told.tick()

    def _report(self, name: str, is_up: bool, reason: str) -> bool:
        checks = [probe.check for probe in self._probes.values() if probe.check.kind == EXTERNAL]
        keys = [check.key for check in checks if check.name == name]
        detail = reason or f"reported {'up' if is_up else 'down'}"
        self._take(Result(key, is_up, detail, time.time(), 0.0) for key in keys)
        return bool(keys)

    def _configure(self, config: Config) -> None:
        added, gone = self._health.configure(config.health, time.time())
        self._watch(added, gone)
        self._settle([])


class _Told:
    """Tells changes, and of very many only how many they were."""

    def __init__(self, say: Sayer, clock: Callable[[], float] = time.monotonic) -> None:
        self._say = say
        self._clock = clock
        self._began = float("-inf")
        self._lines = 0
        self._kept_back = {True: 0, False: 0}

    def tell(self, changes: Iterable[Change]) -> None:
        for change in changes:
            self.tick()
            if self._lines < CHANGES_TOLD:
                self._say(str(change), "health")
            else:
                self._kept_back[change.is_up] += 1
            self._lines += 1

    def tick(self) -> None:
        """Let time pass; what was kept back is told in one line."""
        if self._clock() - self._began < CHANGES_SECONDS:
            return
        for is_up, count in self._kept_back.items():
            if count:
                self._say(f"and {count:,} more values went {'up' if is_up else 'down'}")
        self._began, self._lines, self._kept_back = self._clock(), 0, {True: 0, False: 0}


def _settings(config: Config, tokens: Tokens) -> Settings:
    """What the prober has to know of the config."""
    peers = zip(config.peers, tokens.peers, strict=True)
    return Settings(
        probes_at_once=config.health.probes_at_once,
        is_exec_allowed=config.health.exec,
        external="" if config.health.external is None else str(config.health.external),
        peers=tuple(PeerAddress(peer.url, token or "") for peer, token in peers),
    )
