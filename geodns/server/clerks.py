"""The processes that read, check and change zone files for the HTTP API.

    Task --pickled--> stdin  python -m geodns.control.worker  stdout --length, pickled--> Outcome

A clerk is started when there is something to do, does one task at a time, and goes when it has been idle, was
given something large, or took too long. While they work, the thread that has the event loop only waits.
"""

import asyncio
import contextlib
import pickle
import signal
import sys
from collections.abc import Callable

from geodns import config
from geodns.control.document import Document
from geodns.control.tasks import EXIT_MEMORY, LENGTH, Checked, Limits, Outcome, Refused, Task
from geodns.server.children import environment
from geodns.server.say import Sayer

CLERKS_MAX = 2  # at a time: one zone of 100,000 records must not keep small ones waiting
IDLE_SECONDS = 30.0  # until one without work goes, with its 60 MB; to start one takes half a second
END_SECONDS = 2.0  # for one to end whose pipe has ended
LARGE_OCTETS = 1 << 20  # of a task or its outcome, after which a clerk goes and gives its memory back
NICENESS = 10  # answering comes first
OUTCOME_OCTETS_MAX = 1 << 28  # what 64 MiB of zone may come to


class Clerks:
    """All methods are for the event loop's thread. `limits` tells those of now."""

    def __init__(self, say: Sayer, limits: Callable[[], config.Limits]) -> None:
        self._say = say
        self._limits = limits
        self._idle: list[_Clerk] = []
        self._all: set[_Clerk] = set()
        self._free = asyncio.Semaphore(CLERKS_MAX)

    async def perform(self, task: Task) -> Outcome:
        """Have it done. What goes wrong on the way is a Refused too."""
        async with self._free:
            clerk = self._idle.pop() if self._idle else await self._start()
            if isinstance(clerk, Refused):
                return clerk
            is_well = False
            seconds = self._limits().http_work_seconds
            try:
                async with asyncio.timeout(seconds):
                    outcome, octets = await clerk.perform(task)
                is_well = octets <= LARGE_OCTETS
                return outcome
            except TimeoutError:
                what = f"the zone takes longer to read and check than limits.http_work_seconds, {seconds:g} s"
                return Refused(422, what)
            except (OSError, EOFError, pickle.UnpicklingError):
                code = await clerk.end()
                if code == EXIT_MEMORY:
                    return Refused(422, "the zone needs more memory than limits.loader_memory_octets")
                self._say.rarely("clerk", f"a helper of the HTTP API ended: {_how(code)}")
                return Refused(422, f"reading the zone ended the process that does it: {_how(code)}")
            finally:
                if is_well:
                    clerk.rest(lambda: self._dismiss(clerk))
                    self._idle.append(clerk)
                else:
                    self._dismiss(clerk)

    async def stop(self) -> None:
        """End them all."""
        for clerk in list(self._all):
            self._dismiss(clerk)
            await clerk.end()

    async def _start(self) -> "_Clerk | Refused":
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "geodns.control.worker"),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment(),
                start_new_session=True,  # Ctrl-C is for us; we end it
            )
        except OSError as error:
            self._say.rarely("clerk", f"a helper of the HTTP API can not be started: {error.strerror}")
            return Refused(507, "there are not the resources for it just now")
        clerk = _Clerk(process, Limits(self._limits().loader_memory_octets, NICENESS))
        self._all.add(clerk)
        return clerk

    def _dismiss(self, clerk: "_Clerk") -> None:
        self._all.discard(clerk)
        if clerk in self._idle:
            self._idle.remove(clerk)
        clerk.kill()


class _Clerk:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process, limits: Limits) -> None:
        assert process.stdin is not None
        self._process = process
        self._timer: asyncio.TimerHandle | None = None
        self._reaping: asyncio.Task[int] | None = None
        process.stdin.write(pickle.dumps(limits, pickle.HIGHEST_PROTOCOL))

    async def perform(self, task: Task) -> tuple[Outcome, int]:
        """The outcome, and the octets that went to and fro. Raises OSError, EOFError."""
        if self._timer is not None:
            self._timer.cancel()
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        asked = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
        stdin.write(asked)
        await stdin.drain()
        (length,) = LENGTH.unpack(await stdout.readexactly(LENGTH.size))
        if length > OUTCOME_OCTETS_MAX:
            raise EOFError
        outcome = pickle.loads(await stdout.readexactly(length))
        assert isinstance(outcome, (Checked, Refused, Document))
        return outcome, len(asked) + length

    def rest(self, then: Callable[[], object]) -> None:
        """It has nothing to do: `then` comes after a while."""
        self._timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, then)

    def kill(self) -> None:
        """End it now."""
        if self._timer is not None:
            self._timer.cancel()
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
        if self._reaping is None:
            self._reaping = asyncio.get_running_loop().create_task(self._process.wait())

    async def end(self) -> int:
        """Wait until it has ended, which it is about to; its exit code."""
        try:
            async with asyncio.timeout(END_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.kill()
            return await self._process.wait()


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
