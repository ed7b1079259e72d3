"""As the first process of a container: the kernel keeps from it every signal that it has no handler for."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.server.serving import PATIENCE_SECONDS

TERM_BIT = 1 << (signal.SIGTERM - 1)
AS_FIRST = ("unshare", "--fork", "--pid", "--kill-child", "--")


def needs_namespaces() -> None:
    if shutil.which("unshare") is None or subprocess.run([*AS_FIRST, "true"], check=False).returncode:
        pytest.skip("needs the right to make PID namespaces (root)")


def start(folder: Path, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """geodns as process 1 of a namespace, and its number in ours, as soon as it hears SIGTERM."""
    command = [*AS_FIRST, sys.executable, "-m", "geodns", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    popen = subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE, text=True, env=environment)
    children = Path(f"/proc/{popen.pid}/task/{popen.pid}/children")
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if first := children.read_text().split():
            status = Path(f"/proc/{first[0]}/status").read_text()
            fields = dict(line.split(":\t", 1) for line in status.splitlines())
            if fields["Name"] != "unshare" and int(fields["SigCgt"], 16) & TERM_BIT:
                return popen, int(first[0])
    raise AssertionError("it never hears SIGTERM")


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_it_ends_at_once_however_early_it_is_told(tmp_path: Path, seconds: float) -> None:
    """Before it has imported anything, while it imports, binds and loads: it ends, and cleanly."""
    needs_namespaces()
    (tmp_path / "zones").mkdir()
    popen, pid = start(tmp_path, "serve", "--listen", "127.0.0.1:0")
    time.sleep(seconds)  # a moment of the start, whichever that is on this machine
    os.kill(pid, signal.SIGTERM)
    _, said = popen.communicate(timeout=PATIENCE_SECONDS)  # a signal that is not heard would be for ever
    assert (0, False) == (popen.returncode, "Traceback" in said), said


def test_another_command_says_that_it_was_ended(tmp_path: Path) -> None:
    """What was to be done is not done: the exit code is that of a program that SIGTERM ends."""
    needs_namespaces()
    popen, pid = start(tmp_path, "check", "zones")
    os.kill(pid, signal.SIGTERM)
    popen.communicate(timeout=PATIENCE_SECONDS)
    assert 128 + signal.SIGTERM == popen.returncode
