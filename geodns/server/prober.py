"""The prober's process as the server has it: started when there is something to check, or it has died.

    probes, settings --frames--> stdin  python -m geodns.health.prober  stdout --Reports--> `take`, one by one

It is wanted as long as there are probes. What is said to it is remembered here, so that a new process goes on
where the one before ended; what is up meanwhile is remembered by those who take the reports.
"""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from geodns.health.messages import FrameError, Frames, Report, Settings, frame, watch_frames
from geodns.health.words import Probe
from geodns.server.children import environment
from geodns.server.say import Sayer

READ_OCTETS = 1 << 16  # at a time: what a pipe holds
SILENT_SECONDS = 60.0  # it says something every 10 s; one that does not is stuck, or stopped
RESTART_SECONDS = 0.5  # before the first new one
RESTART_SECONDS_MAX = 60.0  # each waits twice as long as the one before
SETTLED_SECONDS = 60.0  # one that lived as long was not ill from its start
END_SECONDS = 0.5  # for it to end by itself, and to end the commands that it runs
COMPLAINT_OCTETS = 4096  # of what it wrote to stderr last; the last line is told when it dies


class ProberProcess:
    """All methods are for the event loop's thread. `take` is awaited before the next report is read."""

    def __init__(self, take: Callable[[Report], Awaitable[None]], say: Sayer, settings: Settings) -> None:
        self._take = take
        self._say = say
        self._settings = settings
        self._probes: dict[str, Probe] = {}
        self._orders: asyncio.Queue[Iterator[bytes]] = asyncio.Queue()
        self._is_wanted = asyncio.Event()
        self._is_unwanted = asyncio.Event()
        self._is_unwanted.set()
        self.pid: int | None = None

    def configure(self, settings: Settings) -> None:
        """Go by these from now on."""
        if settings != self._settings:
            self._settings = settings
            self._orders.put_nowait(iter([frame(settings)]))

    def watch(self, added: Iterable[Probe], removed: Iterable[str]) -> None:
        """Make these checks from now on, or otherwise than before, and those with these keys no more."""
        added, removed = tuple(added), tuple(removed)
        for key in removed:
            self._probes.pop(key, None)
        self._probes.update((probe.key, probe) for probe in added)
        self._orders.put_nowait(watch_frames(added, removed))
        wanted, unwanted = self._is_wanted, self._is_unwanted
        (wanted if self._probes else unwanted).set()
        (unwanted if self._probes else wanted).clear()

    async def run(self) -> None:
        """Never returns; cancel it, which ends the process."""
        loop = asyncio.get_running_loop()
        pause = RESTART_SECONDS
        while True:
            await self._is_wanted.wait()
            began = loop.time()
            try:
                why = await self._live()
            except OSError as error:
                why = f"the prober can not be started: {(error.strerror or str(error)).lower()}"
            if not why:
                continue
            if loop.time() - began > SETTLED_SECONDS:
                pause = RESTART_SECONDS
            self._say(f"{why}; what was up and down stays so, and a new one is started in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(2 * pause, RESTART_SECONDS_MAX)

    async def _live(self) -> str:
        """One process, from its start to its end; why it ended, "" when it was not wanted any more."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "geodns.health.prober"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(),
            start_new_session=True,  # Ctrl-C is for us; we end it
        )
        self.pid = process.pid
        complaints = bytearray()
        # what was asked for so far is told as a whole
        self._orders = asyncio.Queue()
        self._orders.put_nowait(iter([frame(self._settings)]))
        self._orders.put_nowait(watch_frames(list(self._probes.values()), ()))
        jobs: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._send(process)),
            asyncio.create_task(self._receive(process)),
            asyncio.create_task(self._is_unwanted.wait()),
        ]
        listening = asyncio.create_task(_keep_last(process, complaints))
        try:
            await asyncio.wait(jobs, return_when=asyncio.FIRST_COMPLETED)
            if self._is_unwanted.is_set():
                return ""
            return await self._why(process, jobs, listening, complaints)
        finally:
            self.pid = None
            for job in (*jobs, listening):
                job.cancel()
            await _end(process)
            await asyncio.gather(*jobs, listening, return_exceptions=True)
            # a command that it ran may live on and hold the pipes; asyncio has no other way to close our ends
            process._transport.close()  # type: ignore[attr-defined]

    async def _send(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        while True:
            for octets in await self._orders.get():
                process.stdin.write(octets)
                await process.stdin.drain()
                await asyncio.sleep(0)  # drain does not wait while the pipe takes it; others want their turn

    async def _receive(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        frames = Frames()
        while True:
            async with asyncio.timeout(SILENT_SECONDS):
                octets = await process.stdout.read(READ_OCTETS)
            if not octets:
                return
            frames.feed(octets)
            for message in frames:
                await self._take(message)  # type: ignore[arg-type]

    async def _why(
        self,
        process: asyncio.subprocess.Process,
        jobs: list[asyncio.Task[Any]],
        listening: "asyncio.Task[None]",
        complaints: bytearray,
    ) -> str:
        for job in jobs:
            error = job.exception() if job.done() else None
            if isinstance(error, TimeoutError):
                return f"the prober said nothing for {SILENT_SECONDS:g} s"
            if isinstance(error, FrameError):
                return f"the prober said what is no message ({error})"
            if error is not None and not isinstance(error, OSError):  # a pipe that broke: it has ended
                return f"what the prober said led to {error!r}, a bug of geodns"
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
                await listening
        return f"the prober ended: {_last_words(complaints, process.returncode)}"


async def _keep_last(process: asyncio.subprocess.Process, complaints: bytearray) -> None:
    """Read all that it writes to stderr, so that it never waits, and keep the last of it."""
    assert process.stderr is not None
    while octets := await process.stderr.read(READ_OCTETS):
        complaints += octets
        del complaints[:-COMPLAINT_OCTETS]


async def _end(process: asyncio.subprocess.Process) -> None:
    """It ends when its stdin does; in the end it is killed."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(END_SECONDS):
            await process.wait()
    except (TimeoutError, asyncio.CancelledError):
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _last_words(complaints: bytearray, code: int | None) -> str:
    lines = complaints.decode("utf-8", "replace").strip().splitlines()
    if lines:
        return lines[-1]
    if code is not None and code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return "it closed its pipe" if code is None else f"exit code {code}"
