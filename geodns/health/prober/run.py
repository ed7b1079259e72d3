"""Makes the looks that the schedule says are due, and tells what came of each.

Every look is a task with a deadline. Time in which this process did not get to run (a busy machine, a paused
one) does not count against it: else everything would seem to have timed out at once.
"""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from geodns.health.messages import Order, Pace, Settings, Watch
from geodns.health.prober import dns, exec, tcp
from geodns.health.prober.external import External
from geodns.health.prober.http import Http
from geodns.health.prober.look import Failed, Unknown, is_our_own, prepared, short, why
from geodns.health.prober.outbox import Outbox
from geodns.health.prober.peers import Peers
from geodns.health.prober.schedule import Schedule, Start
from geodns.health.words import Probe, Result

TICK_SECONDS = (
    0.005  # what is due is begun this often: waking for each of a thousand a second costs a tenth more
)
LAG_TICK_SECONDS = 0.1  # between looks at how late the loop runs; less lateness than a tenth of it is none
PACE_SECONDS = 10.0
SPARE_DESCRIPTORS = 256  # beside one for each look: for the pipes, commands, peers and name lookups
LATE_SECONDS = 1.0  # what begins later than this, in the 99th percentile, is worth a line in the log
NOTICE_SECONDS = 300.0  # between two such lines

Look = Callable[[], Awaitable[str]]


@dataclass(slots=True)
class _Flight:
    """A look under way. `lag` is the loop's at its start."""

    probe: Probe
    lag: float
    task: asyncio.Task[None] | None = None
    deadline: asyncio.TimerHandle | None = None
    is_prolonged: bool = False
    is_expired: bool = False


class Prober:
    """All checks of one process. `take` takes orders, `run` makes the looks until it is cancelled."""

    def __init__(self, outbox: Outbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbox = outbox
        self._probes: dict[str, Probe] = {}
        self._looks: dict[str, Look] = {}
        self._network = Schedule(1)
        self._commands = Schedule(exec.EXEC_AT_ONCE)
        self._flights: dict[str, _Flight] = {}
        self._is_exec_allowed = False
        self._timer: asyncio.TimerHandle | None = None
        self._lag = 0.0  # seconds that the loop ran late, in all
        self._late: list[float] = []
        self._http = Http()
        self._external = External(outbox.result, outbox.say)
        self._peers = Peers(outbox.send, self._probes, lambda: outbox.is_ready)
        outbox.on_ready = self._plan

    def take(self, order: Order) -> None:
        """Do as the serving process says."""
        match order:
            case Settings():
                self._configure(order)
            case Watch(added, removed):
                for key in removed:
                    self._drop(key)
                for probe in added:
                    self._put(probe)
                self._peers.forget()
        self._plan()

    async def run(self) -> None:
        """Keep everything going that goes by itself."""
        jobs = [self._keep_lag(), self._keep_pace(), self._external.run()]
        tasks = [self._loop.create_task(job) for job in jobs]
        try:
            await asyncio.gather(*tasks)
        finally:
            await self._end(tasks)

    # Orders

    def _configure(self, settings: Settings) -> None:
        self._network.at_once = room = room_for(settings.probes_at_once)
        if room < settings.probes_at_once:
            self._outbox.say(f"there are file descriptors for {room} checks at once, no more (ulimit -n)")
        if settings.is_exec_allowed != self._is_exec_allowed:
            self._is_exec_allowed = settings.is_exec_allowed
            for probe in [probe for probe in self._probes.values() if probe.check.kind == "exec"]:
                self._put(probe)
        self._external.watch(settings.external)
        self._peers.watch(settings.peers)

    def _put(self, probe: Probe) -> None:
        key = probe.key
        self._probes[key] = probe
        if probe.check.kind == "external":
            self._external.put(probe)
            return
        if probe.check.kind == "exec" and not self._is_exec_allowed:
            self._drop(key)
            self._probes[key] = probe
            self._tell(probe, None, "not allowed (health.exec)", self._loop.time())
            return
        try:
            self._looks[key] = self._look_of(probe)
        except ValueError as error:
            self._looks[key] = _impossible(short(str(error)))
        self._schedule_of(probe).put(probe, self._loop.time())

    def _look_of(self, probe: Probe) -> Look:
        match probe.check.kind:
            case "tcp":
                return prepared(probe, tcp.looking(probe))
            case "http" | "https":
                return prepared(probe, self._http.looking(probe))
            case "dns":
                return prepared(probe, dns.looking(probe))
            case "exec":
                return lambda: exec.look(probe)
        raise ValueError(f'there is no check "{probe.check.kind}"')

    def _drop(self, key: str) -> None:
        self._probes.pop(key, None)
        self._looks.pop(key, None)
        self._external.drop(key)
        for schedule in (self._network, self._commands):
            schedule.drop(key)
        if (flight := self._flights.get(key)) is not None and flight.task is not None:
            flight.task.cancel()

    def _schedule_of(self, probe: Probe) -> Schedule:
        return self._commands if probe.check.kind == "exec" else self._network

    # What is due

    def _plan(self) -> None:
        """Have what is due next begun when it is due, or a tick later."""
        if not self._outbox.is_ready:
            return
        now = self._loop.time()
        waits = [wait for lane in (self._network, self._commands) if (wait := lane.wait(now)) is not None]
        if not waits:
            return
        at = now + max(min(waits), TICK_SECONDS)
        if self._timer is not None:
            if self._timer.when() <= at:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(at, self._begin_due)

    def _begin_due(self) -> None:
        self._timer = None
        if not self._outbox.is_ready:
            return
        now = self._loop.time()
        for schedule in (self._network, self._commands):
            for start in schedule.start(now):
                self._begin(start)
        self._plan()

    def _begin(self, start: Start) -> None:
        probe = start.probe
        if start.late is not None:
            self._late.append(start.late)
        flight = self._flights[probe.key] = _Flight(probe, self._lag)
        flight.task = self._loop.create_task(self._fly(flight, self._looks[probe.key]))
        flight.task.add_done_callback(partial(self._land, flight))  # also of a task that never got to run
        flight.deadline = self._loop.call_later(probe.timeout, self._expire, flight)

    def _expire(self, flight: _Flight) -> None:
        """The time is up: end the look, or give it back, once, what it lost because we were late."""
        lost = self._lag - flight.lag
        if lost > 0 and not flight.is_prolonged:
            flight.is_prolonged = True
            flight.deadline = self._loop.call_later(min(lost, flight.probe.timeout), self._expire, flight)
        elif flight.task is not None:
            flight.is_expired = True
            flight.task.cancel()

    async def _fly(self, flight: _Flight, look: Look) -> None:
        probe = flight.probe
        began = self._loop.time()
        ok: bool | None = False
        try:
            detail = await look()
            ok = True
        except (Failed, Unknown) as said:
            ok, detail = (None if isinstance(said, Unknown) else False), str(said)
        except asyncio.CancelledError:
            if not flight.is_expired:
                return  # dropped, or we end
            detail = f"timed out after {probe.timeout:g} s"
        except (
            Exception
        ) as error:  # whatever a stranger's octets make a library do, this look alone has failed
            ok, detail = (None if is_our_own(error) else False), why(error)
        if probe.key in self._probes:
            self._tell(probe, ok, detail, began)

    def _land(self, flight: _Flight, task: asyncio.Task[None]) -> None:
        key = flight.probe.key
        if flight.deadline is not None:
            flight.deadline.cancel()
        del self._flights[key]
        self._schedule_of(flight.probe).done(key, self._loop.time())
        self._plan()

    def _tell(self, probe: Probe, ok: bool | None, detail: str, began: float) -> None:
        self._outbox.result(Result(probe.key, ok, detail, time.time(), self._loop.time() - began))

    # What goes by itself

    async def _keep_lag(self) -> None:
        while True:
            due = self._loop.time() + LAG_TICK_SECONDS
            await asyncio.sleep(LAG_TICK_SECONDS)
            late = self._loop.time() - due
            if late > LAG_TICK_SECONDS / 10:
                self._lag += late

    async def _keep_pace(self) -> None:
        said = -NOTICE_SECONDS
        while True:
            await asyncio.sleep(PACE_SECONDS)
            pace = pace_of(self._late)
            self._late = []
            self._outbox.send(pace)
            if pace.late_p99 > LATE_SECONDS and self._loop.time() - said > NOTICE_SECONDS:
                said = self._loop.time()
                what = f"checks begin up to {pace.late_most:.1f} s late"
                self._outbox.say(f"{what}: there are too many for health.probes_at_once, or for one core")

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        tasks += [flight.task for flight in self._flights.values() if flight.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._peers.close()
        await self._http.close()


def room_for(looks: int) -> int:
    """Raise the limit of file descriptors for so many looks at once; how many there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = looks + SPARE_DESCRIPTORS
    if need > soft:  # RLIM_INFINITY is -1 in Python, and is no soft limit that anybody has
        soft = max(soft, need if hard == resource.RLIM_INFINITY else min(need, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(1, min(looks, soft - SPARE_DESCRIPTORS))


def pace_of(late: list[float]) -> Pace:
    """How these looks, by seconds of lateness, kept up."""
    if not late:
        return Pace(0, 0.0, 0.0, 0.0)
    late = sorted(late)
    return Pace(len(late), late[len(late) // 2], late[len(late) * 99 // 100], late[-1])


def _impossible(what: str) -> Look:
    async def look() -> str:
        raise Unknown(what)

    return look
