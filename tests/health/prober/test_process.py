"""The process itself: what goes in, what comes out, and how it ends."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geodns.health.messages import Batch, Frames, Notice, Report, Settings, frame, watch_frames
from geodns.health.words import Probe, Result
from tests.health.prober.parts import PATIENCE_SECONDS, probe

SETTINGS = Settings(probes_at_once=50, is_exec_allowed=True, external="", peers=())


class Process:
    """A prober, spoken to over its pipes."""

    def __init__(self, popen: "subprocess.Popen[bytes]") -> None:
        self.popen = popen
        self._frames = Frames()

    def watch(self, *probes: Probe, settings: Settings = SETTINGS) -> None:
        self.popen.stdin.write(frame(settings) + b"".join(watch_frames(probes, ())))
        self.popen.stdin.flush()

    def reports(self) -> Iterator[Report]:
        """What it says, as it comes; ends with the pipe."""
        while True:
            yield from self._frames
            assert select.select([self.popen.stdout], [], [], PATIENCE_SECONDS)[0], "it says nothing"
            octets = os.read(self.popen.stdout.fileno(), 65536)
            if not octets:
                return
            self._frames.feed(octets)

    def results(self) -> Iterator[Result]:
        for report in self.reports():
            if isinstance(report, Batch):
                yield from report.results


@contextmanager
def prober() -> Iterator[Process]:
    popen = subprocess.Popen(
        [sys.executable, "-P", "-m", "geodns.health.prober"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    with popen:
        try:
            yield Process(popen)
        finally:
            popen.kill()


def forever(pids: Path) -> Probe:
    """A command that says who it is, and stays."""
    return probe("exec", "", key="exec", command=("/bin/sh", "-c", f"sleep 600 & echo $! > {pids}; wait"))


@pytest.mark.parametrize("how", ["stdin ends", "SIGTERM", "what is no message"])
def test_it_ends_at_once_with_its_commands(how: str, tmp_path: Path) -> None:
    """Without a traceback, and with nothing left behind."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    with prober() as process:
        process.watch(forever(pids))
        child = int(pids.read_text())
        if how == "SIGTERM":
            process.popen.terminate()
        elif how == "stdin ends":
            process.popen.stdin.close()
        else:
            process.popen.stdin.write(b"\0\0\0\4nope")
            process.popen.stdin.flush()
        assert 0 == process.popen.wait(PATIENCE_SECONDS)
        said = process.popen.stderr.read().decode()
    assert ("what is no message" in said) == (how == "what is no message")
    assert "Traceback" not in said
    gone = select.poll()
    try:
        gone.register(os.pidfd_open(child))
    except ProcessLookupError:
        return
    assert gone.poll(PATIENCE_SECONDS * 1000)


def test_ctrl_c_is_not_for_it() -> None:
    """The server ends it; its own commands do heed the signal."""
    with prober() as process:
        script = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
        process.watch(probe("exec", "", key="exec", command=(sys.executable, "-c", script)))
        results = process.results()
        assert "True" == next(results).detail
        process.popen.send_signal(signal.SIGINT)
        process.watch(probe("tcp", key="tcp", port=1))
        assert "tcp" == next(results).key


def test_results_come_in_batches() -> None:
    """Many at once cost the server few messages, and none of them is large."""
    with prober() as process:
        process.watch(*(probe("tcp", f"127.0.0.{n}", key=str(n), port=1) for n in range(1, 251)))
        batches, keys = [], set()
        for report in process.reports():
            if isinstance(report, Batch):
                batches.append(len(report.results))
                keys |= {result.key for result in report.results}
            if len(keys) == 250:
                break
    assert max(batches) <= 100
    assert len(batches) < 50


def test_the_external_file_is_heard(tmp_path: Path) -> None:
    """With a line for the log when it is broken."""
    file = tmp_path / "external"
    file.write_text("fra down for today\niad dwon\n")
    settings = Settings(50, False, str(file), ())
    with prober() as process:
        process.watch(probe("external", "", key="external fra", name="fra"), settings=settings)
        reports = process.reports()
        seen = [next(reports), next(reports)]
    assert Notice(f'{file}:2: iad: "dwon" is neither up nor down') in seen
    results = next(report for report in seen if isinstance(report, Batch)).results
    assert [("external fra", False, "for today")] == [result[:3] for result in results]
