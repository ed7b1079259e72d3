"""EXEC: a command of the operator's; exit status 0 is a success. No shell, and little environment.

The command leads a process group of its own, and the whole group ends with the look: killed, not asked.
"""

import asyncio
import contextlib
import os
import signal

from geodns.health.prober.look import Failed, Unknown, short
from geodns.health.words import Probe

EXEC_AT_ONCE = 16  # commands under way: each is a process, and whatever it starts
OUTPUT_OCTETS_MAX = 1 << 20  # of one command; more is no line for people, and costs our time
LINE_OCTETS_MAX = 4096  # of that are kept, for the first line
LAST_WORDS_SECONDS = 0.05  # for its pipes to end after it did; if not, something that it started has them
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
STDOUT, STDERR = 1, 2


async def look(probe: Probe) -> str:
    """Run the command of this check. Raises Failed, or Unknown when it can not be run."""
    run = _Run()
    try:
        process = await _started(run, probe)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else str(error)
        raise Unknown(short(f"{probe.check.command[0]} can not be run: {said}".lower())) from None
    try:
        await run.ended
    finally:
        _end(process, run)
    return _said(run, process.get_returncode())


async def _started(run: "_Run", probe: Probe) -> asyncio.SubprocessTransport:
    """The command, started. When we are cancelled meanwhile, it is ended as any other."""
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: run,
            *probe.check.command,
            stdin=asyncio.subprocess.DEVNULL,
            env=environment(probe),
            process_group=0,
        )
    )
    try:
        return (await asyncio.shield(starting))[0]
    except asyncio.CancelledError:
        with contextlib.suppress(OSError, ValueError):
            _end((await starting)[0], run)  # it takes a millisecond; asyncio would kill the leader alone
        raise


def _end(process: asyncio.SubprocessTransport, run: "_Run") -> None:
    if process.get_returncode() is None or not run.is_silent:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.get_pid(), signal.SIGKILL)
    process.close()


def environment(probe: Probe) -> dict[str, str]:
    """What the command finds in its environment: what there is to say of its check, and what is INHERITED."""
    check = probe.check
    ours = {
        "GEODNS_CHECK": check.key,
        "GEODNS_TARGET": check.target,
        "GEODNS_PORT": str(check.port or ""),
        "GEODNS_HOST": check.host,
        "GEODNS_TIMEOUT": f"{probe.timeout:g}",
        "GEODNS_INTERVAL": f"{probe.interval:g}",
    }
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {name: value for name, value in ours.items() if value}


class _Run(asyncio.SubprocessProtocol):
    """One command under way. `ended` is set when it has exited, or has said too much."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.lines = {STDOUT: b"", STDERR: b""}
        self.is_too_loud = False
        self._octets = 0
        self._open = {STDOUT, STDERR}
        self._has_exited = False

    @property
    def is_silent(self) -> bool:
        """Nobody can write to its pipes any more, so nothing is left of its group."""
        return not self._open

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._octets += len(data)
        self.lines[fd] = (self.lines[fd] + data)[:LINE_OCTETS_MAX]
        if self._octets > OUTPUT_OCTETS_MAX:
            self.is_too_loud = True
            self._end()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._open.discard(fd)
        if self._has_exited and not self._open:
            self._end()

    def process_exited(self) -> None:
        self._has_exited = True
        if not self._open:
            self._end()
        else:
            asyncio.get_running_loop().call_later(LAST_WORDS_SECONDS, self._end)

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


def _said(run: _Run, code: int | None) -> str:
    """What came of it: the first line it wrote, or its exit status. Raises Failed."""
    text = (run.lines[STDERR] or run.lines[STDOUT]).decode(errors="replace").strip()
    line = short(text.partition("\n")[0])
    if run.is_too_loud:
        raise Failed(f"the command wrote more than {OUTPUT_OCTETS_MAX} octets")
    if code == 0:
        return line or "exit status 0"
    ended = f"exit status {code}" if code is None or code > 0 else f"ended by {_signal(-code)}"
    raise Failed(f"{ended}: {line}" if line else ended)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
