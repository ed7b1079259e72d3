"""`make serve`: two servers, until Ctrl-C, and nothing left behind."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from geodns.config import Listen
from geodns.server.sockets import bind_all
from tests.conftest import ROOT
from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS, Client, query, texts


@contextmanager
def two_servers(ports: list[int]) -> Iterator[subprocess.Popen[str]]:
    """What `make serve` runs, on other ports, as a group of its own (as a terminal has it)."""
    command = [sys.executable, "scripts/serve_two.py", *map(str, ports)]
    popen = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "NOTIFY_SOCKET": ""},
    )
    try:
        yield popen
    finally:
        popen.kill()
        popen.wait(PATIENCE_SECONDS)
        popen.stdout.close()


def lines_until(popen: subprocess.Popen[str], text: str) -> list[str]:
    lines = []
    for line in popen.stdout:
        lines.append(line.rstrip())
        if text in line:
            return lines
    raise AssertionError(f"no {text!r} among {lines}")


def nobody_listens(ports: list[int]) -> bool:
    """Waits until the ports are free: whoever had them is gone."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        try:
            for bound in bind_all([Listen("127.0.0.1", port) for port in ports], 1 << 12):
                bound.close()
            return True
        except Exception:
            continue
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_two_servers_answer_and_end(number: signal.Signals):
    """ns1 and ns2 answer from zones/, three questions are told, and whatever ends it ends both."""
    ports = [free_port() for _ in range(4)]  # two for DNS and two for HTTP
    with two_servers(ports) as popen:
        told = lines_until(popen, "Ctrl-C stops both")
        assert 3 == sum(line.startswith("  dig @127.0.0.1 -p ") for line in told)
        names = [texts(Client(port).ask(query("id.server", "TXT", rdclass="CH"))) for port in ports[:2]]
        assert [["ns1"], ["ns2"]] == names
        os.kill(popen.pid, number)
        assert popen.wait(PATIENCE_SECONDS) == (-9 if number == signal.SIGKILL else 0)
        assert nobody_listens(ports)


def test_a_port_that_is_taken_is_one_line():
    """One line says which port and by whom; the other server is not left running."""
    ports = [free_port() for _ in range(4)]  # two for DNS and two for HTTP
    taken = bind_all([Listen("127.0.0.1", ports[1])], 1 << 12)
    with two_servers(ports) as popen:
        said = popen.stdout.read().splitlines()
        assert popen.wait(PATIENCE_SECONDS) > 0
        assert 1 == sum("can not listen on" in line for line in said)
        assert "One of the servers has ended, so the other one was stopped." == said[-1]
        assert not any("Traceback" in line for line in said)
    for bound in taken:
        bound.close()
    assert nobody_listens(ports)


def test_the_environment_is_made_when_pyproject_changes(tmp_path: Path):
    """`make serve` installs once, and again only after pyproject.toml was changed."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)

    def would_install() -> bool:
        command = ["make", "--no-print-directory", "-n", "serve"]
        said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert ".venv/bin/python scripts/serve_two.py" == said.splitlines()[-1]
        return "-m venv" in said

    assert would_install()
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "installed").touch()
    assert not would_install()
    later = time.time() + 10
    os.utime(tmp_path / "pyproject.toml", (later, later))
    assert would_install()
