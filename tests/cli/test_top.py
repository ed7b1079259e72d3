"""`geodns top`, on a real terminal and without one."""

import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS, Client, query, serving

ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
www:
  type: A
  values: [192.0.2.80]
  dynamic:
    pools: {fra: {values: [{value: 192.0.2.1, status: down}]}}
    rules: [{pool: fra}]
"""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a server that has answered something."""
    folder = tmp_path_factory.mktemp("top")
    (folder / "zones").mkdir()
    (folder / "zones" / "example.com.yaml").write_text(ZONE)
    (folder / "state").mkdir()
    (folder / "state" / "overrides").write_text("fra down # power works\n")
    port = free_port()
    config = f"server: {{id: ns1}}\ncontrol: {{listen: '127.0.0.1:{port}'}}\n"
    with serving(folder, config=config) as server:
        client = Client(server.ports()[0])
        for _ in range(20):
            client.ask(query("www.example.com", "A"))
        client.socket.close()
        yield f"127.0.0.1:{port}"


def command(*controls: str) -> list[str]:
    options = [option for control in controls for option in ("--control", control)]
    return [sys.executable, "-m", "geodns", "top", *options]


def run(folder: Path, *controls: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command(*controls), cwd=folder, capture_output=True, text=True, check=False)


def test_without_a_terminal_it_is_one_frame(control: str, tmp_path: Path) -> None:
    """What is printed has the instances side by side, and can be grepped."""
    done = run(tmp_path, control, control)
    assert 0 == done.returncode, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["ns1", "ns1"] in lines
    assert ["zones", "1", "1"] in lines
    assert ["values", "1,", "1", "down", "1,", "1", "down"] in lines
    assert "192.0.2.1" in done.stdout
    assert "power works" in done.stdout


def test_where_nobody_answers(control: str, tmp_path: Path) -> None:
    """One that is silent is a column; when all are, it is an error in one line."""
    silent = f"127.0.0.1:{free_port()}"
    assert "nobody answers" in run(tmp_path, control, silent).stdout.replace("\n", " ")
    done = run(tmp_path, silent)
    assert 1 == done.returncode
    assert [f"geodns: nobody answers at {silent}: connection refused"] == done.stderr.splitlines()


@pytest.mark.parametrize("key", [b"q", b"\x1b"])
def test_on_a_terminal_until_a_key_is_pressed(control: str, tmp_path: Path, key: bytes) -> None:
    """It draws on the alternate screen, ends with the key, and leaves the terminal as it was."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (40, 120))
    before = termios.tcgetattr(theirs)
    environment = os.environ | {"TERM": "xterm-256color"}
    top = subprocess.Popen(
        command(control),
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    try:
        seen = b""
        until = time.monotonic() + PATIENCE_SECONDS
        while b"q ends it" not in seen and time.monotonic() < until:
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 65536)
        assert b"\x1b[?1049h" in seen
        assert b"queries/s" in seen
        os.write(ours, key)
        while top.poll() is None and time.monotonic() < until:
            if select.select([ours], [], [], 0.1)[0]:
                seen += os.read(ours, 65536)
        assert 0 == top.wait(PATIENCE_SECONDS)
        assert before == termios.tcgetattr(theirs)
    finally:
        top.kill()
        top.wait()
        os.close(ours)
        os.close(theirs)
