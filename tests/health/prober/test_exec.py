"""EXEC checks: real commands."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from geodns.health.prober import exec
from geodns.health.prober.look import Failed, Unknown
from tests.health.prober.parts import SOON_SECONDS, probe


def command(script: str, **more: object) -> object:
    return probe("exec", "192.0.2.1", command=("/bin/sh", "-c", script), **more)


async def test_exit_status_0_is_up() -> None:
    """Its first line is what is shown; stderr's rather than stdout's."""
    assert "exit status 0" == await exec.look(command("exit 0"))
    assert "all is well" == await exec.look(command("echo all is well; echo more"))
    assert "though" == await exec.look(command("echo well; echo though >&2"))


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 3", "exit status 3"),
        ("echo no route; exit 1", "exit status 1: no route"),
        ("printf 'red\\033[31m %0999d' 1; exit 1", "exit status 1: red [31m 000"),
        ("kill -9 $$", "ended by SIGKILL"),
    ],
)
async def test_anything_else_is_down(script: str, expected: str) -> None:
    """With the reason in its own words, bounded, and fit for a terminal."""
    with pytest.raises(Failed) as error:
        await exec.look(command(script))
    assert str(error.value).startswith(expected)
    assert len(str(error.value)) < 250


async def test_it_knows_what_it_checks_and_little_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the server may have secrets."""
    monkeypatch.setenv("A_SECRET", "do not tell")
    made = probe("exec", "192.0.2.1", key="exec me", port=53, host="a.test", timeout=3.0, command=("x",))
    assert {"PATH", "HOME", "LANG", "LC_ALL", "TZ"} >= {
        name for name in exec.environment(made) if not name.startswith("GEODNS_")
    }
    script = "echo $GEODNS_TARGET $GEODNS_PORT $GEODNS_HOST $GEODNS_TIMEOUT $GEODNS_CHECK [$A_SECRET]"
    said = await exec.look(command(script, key="me", port=53, host="a.test", timeout=3.0))
    assert "192.0.2.1 53 a.test 3 me []" == said


async def test_there_is_no_shell() -> None:
    """An argument is an argument."""
    made = probe("exec", "", command=("/bin/echo", "$HOME;", "`id`", "a b"))
    assert "$HOME; `id` a b" == await exec.look(made)


async def test_a_command_that_is_not_there_says_nothing_of_the_target() -> None:
    """It is our own trouble."""
    with pytest.raises(Unknown, match=r"/nowhere/check can not be run: no such file"):
        await exec.look(probe("exec", "", command=("/nowhere/check",)))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def ended(pid: int) -> None:
    """Wait until the process has ended: a killed process does so as soon as it is scheduled."""
    while is_running(pid):
        await asyncio.sleep(0)


async def test_the_whole_group_ends_with_its_time(tmp_path: Path) -> None:
    """A child in the background does not live on."""
    pids = tmp_path / "pids"
    os.mkfifo(pids)
    reading = asyncio.get_running_loop().run_in_executor(None, pids.read_text)
    looking = asyncio.ensure_future(exec.look(command(f"sleep 60 & echo $! $$ > {pids}; wait")))
    child, parent = map(int, (await reading).split())
    assert is_running(child)
    looking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await looking
    await ended(child)
    await ended(parent)


async def test_a_child_that_holds_the_pipes_does_not_hold_the_check() -> None:
    """The command has ended, and what it left behind ends too."""
    said = await asyncio.wait_for(exec.look(command("sleep 60 & echo $!")), 30)
    await ended(int(said))


async def test_a_command_that_never_stops_talking_is_stopped() -> None:
    """Nobody reads a megabyte of it."""
    made = probe("exec", "", command=(sys.executable, "-c", "while True: print('y' * 100_000)"))
    with pytest.raises(Failed, match=f"more than {exec.OUTPUT_OCTETS_MAX} octets"):
        await exec.look(made)


async def test_a_command_that_ignores_everything_ends_with_its_time() -> None:
    """It is killed, not asked."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(exec.look(command("trap '' TERM INT HUP; sleep 60; sleep 60")), SOON_SECONDS)
