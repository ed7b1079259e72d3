"""The keeper by itself: what it publishes, what it saves, and what it does when something breaks."""

import asyncio
import io
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from geodns import config
from geodns.config import Config, Tokens
from geodns.engine.snapshot import Snapshot
from geodns.health.health import Change
from geodns.health.messages import Batch, Notice, Report, Settings
from geodns.health.words import PeerView, Probe, Result
from geodns.server import keeper as keeper_module
from geodns.server import prober as prober_module
from geodns.server.keeper import CHANGES_SECONDS, CHANGES_TOLD, Keeper, _Told, state_path
from geodns.server.prober import ProberProcess
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.table.compile import link
from geodns.table.steer import Check, Member, Policy, Pool, Steer, WhenAllDown, base_standing
from tests.server.serving import PATIENCE_SECONDS

KEY = "www.example.com. A"


def steer(*texts: str, pools: int = 1, kind: str = "tcp", key: str = KEY) -> Steer:
    """A Steer with so many equal pools of these values, each with a check of its own."""
    members = tuple(
        Member(text, 1, at, (Check(f"{kind} {text}", kind, text, name=text),))
        for at, text in enumerate(texts)
    )
    made = tuple(Pool(f"pool{at}", members, Policy.ALL, 0, 0.0, 0, (), at, "") for at in range(pools))
    return Steer(key, made, (), WhenAllDown.DEFAULT, 60, 5, base_standing(made))


def results(ok: bool, *texts: str, kind: str = "tcp") -> Batch:
    return Batch(
        [Result(f"{kind} {text}", ok, "fine" if ok else "refused", time.time(), 0.0) for text in texts]
    )


class Prober:
    """Remembers what it is to check."""

    def __init__(self, take: Callable[[Report], Any], say: Sayer, settings: Settings) -> None:
        self.settings = settings
        self.keys: set[str] = set()
        self.watched = asyncio.Event()

    def configure(self, settings: Settings) -> None:
        self.settings = settings

    def watch(self, added: Iterable[Probe], removed: Iterable[str]) -> None:
        self.keys = self.keys - set(removed) | {probe.key for probe in added}
        self.watched.set()

    async def run(self) -> None:
        await asyncio.Event().wait()


class Kept:
    """A keeper in a folder, with a prober of straw."""

    def __init__(self, folder: Path, **health: Any) -> None:
        self.config = Config(state=folder / "state", health={"fall": 1, "rise": 1, **health})
        self.said = io.StringIO()
        self.served = Served(Snapshot(link([])), Sayer(self.said))
        self.keeper = Keeper(self.config, Tokens(), "ns 1", self.served, Sayer(self.said))

    @property
    def prober(self) -> Prober:
        return self.keeper._prober  # type: ignore[return-value]

    async def load(self, *steers: Steer) -> None:
        """As the library does it, without a table."""
        by_key = {each.key: each for each in steers}
        assert await asyncio.to_thread(self.keeper.prepare, by_key)
        await asyncio.to_thread(self.keeper.publish, by_key, table=self.served.snapshot.table)

    async def hear(self, report: Report) -> None:
        await self.keeper._heard(report)

    def up(self, key: str = KEY) -> tuple[int, ...]:
        """Which values of the first pool can be chosen."""
        return self.served.snapshot.standings[key].pools[0].up

    def lines(self) -> list[str]:
        return self.said.getvalue().splitlines()


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setattr(keeper_module, "ProberProcess", Prober)
    monkeypatch.setattr(keeper_module, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(keeper_module, "SAVE_SECONDS", 0.0)
    kept = Kept(tmp_path, startup_timeout=0)
    await kept.keeper.start()
    yield kept
    await kept.keeper.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def test_what_is_down_is_published(kept: Kept):
    """A result is in the snapshot once it was heard, and is told in a line."""
    await kept.load(steer("192.0.2.1", "192.0.2.2"))
    await kept.hear(results(True, "192.0.2.1", "192.0.2.2"))
    assert (0, 1) == kept.up()
    await kept.hear(results(False, "192.0.2.1"))
    assert (1,) == kept.up()
    await kept.hear(Notice("something"))
    line = "geodns: 192.0.2.1 is down: refused (tcp 192.0.2.1), 1 record rests on it"
    assert [line, "geodns: something"] == kept.lines()[-2:]
    assert (1, 2) == kept.keeper.checks_down


async def test_first_looks_are_waited_for(kept: Kept):
    """A table waits for the first looks at what is new in it; after startup_timeout it waits no more."""
    kept.keeper.configure(kept.config.model_copy(update={"health": config.Health(fall=1)}), Tokens(), "ns1")
    loading = asyncio.create_task(kept.load(steer("192.0.2.1", "192.0.2.2")))
    await kept.prober.watched.wait()
    assert {"tcp 192.0.2.1", "tcp 192.0.2.2"} == kept.prober.keys
    await kept.hear(results(True, "192.0.2.1"))
    assert not loading.done()
    await kept.hear(results(False, "192.0.2.2"))
    async with asyncio.timeout(1):
        await loading
    assert (0,) == kept.up()
    kept.keeper.configure(kept.config, Tokens(), "ns1")
    await kept.load(steer("192.0.2.1", "192.0.2.3"))
    assert KEY not in kept.served.snapshot.standings or (0, 1) == kept.up()
    expected = "geodns: 1 check had no result within 0 s (health.startup_timeout): until one comes,"
    assert kept.lines()[-1].startswith(expected)
    assert {"tcp 192.0.2.1", "tcp 192.0.2.3"} == kept.prober.keys


async def test_the_old_table_keeps_its_standing(kept: Kept):
    """While the new table waits for its looks, the old one stands as it does, by its own pools."""
    await kept.load(steer("192.0.2.1"))
    await kept.hear(results(False, "192.0.2.1"))
    kept.keeper.configure(kept.config.model_copy(update={"health": config.Health(fall=1)}), Tokens(), "ns1")
    loading = asyncio.create_task(kept.load(steer("192.0.2.1", "192.0.2.2", pools=3)))
    await until(lambda: "tcp 192.0.2.2" in kept.prober.keys)
    assert 1 == len(kept.served.snapshot.standings[KEY].pools)
    await kept.hear(results(True, "192.0.2.2"))
    await loading
    assert 3 == len(kept.served.snapshot.standings[KEY].pools)
    assert (1,) == kept.up()
    assert {KEY} == kept.served.snapshot.standings.keys()


async def test_a_table_and_its_standings_come_together(kept: Kept):
    """Whoever reads a snapshot while tables and states change never sees the standing of another table."""
    kinds = [steer("192.0.2.1", pools=1), steer("192.0.2.1", "192.0.2.2", pools=2)]
    await kept.load(kinds[0])
    wrong: list[int] = []
    seen = set()
    is_done = threading.Event()

    def read() -> None:
        while not is_done.is_set():
            snapshot = kept.served.snapshot
            standing = snapshot.standings.get(KEY)
            pools = snapshot.table.pools if isinstance(snapshot.table, Steer) else kinds[0].pools
            if standing is not None:
                seen.add(len(pools))
                if len(standing.pools) != len(pools):
                    wrong.append(len(pools))

    def load() -> None:
        for turn in range(100):
            new = kinds[turn % 2]
            assert kept.keeper.prepare({KEY: new})
            kept.keeper.publish({KEY: new}, table=new)

    reader = threading.Thread(target=read)
    reader.start()
    loading = asyncio.create_task(asyncio.to_thread(load))
    turn = 0
    while not loading.done():
        turn += 1
        await kept.hear(results(turn % 2 > 0, "192.0.2.1", "192.0.2.2"))
    is_done.set()
    reader.join()
    await loading
    assert [] == wrong
    assert {1, 2} == seen


async def test_external_reports(kept: Kept):
    """A report counts at once for every check of its name; of a name that nobody has it says so."""
    await kept.load(steer("fra", kind="external"), steer("fra", "iad", kind="external", key="a.example. A"))
    assert await kept.keeper.report("fra", False, "on fire")
    assert () == kept.up()
    assert (1,) == kept.up("a.example. A")
    assert not await kept.keeper.report("lhr", False, "")
    assert "on fire" in kept.lines()[-1]


async def test_documents(kept: Kept):
    """The view is made anew only when it is another; the status has every value."""
    await kept.load(steer("192.0.2.1"))
    await kept.hear(results(True, "192.0.2.1"))
    view = await kept.keeper.view()
    assert {"id": "ns 1", "checks": {"tcp 192.0.2.1": True}, "zones": {}} == json.loads(view.body)
    await kept.hear(results(True, "192.0.2.1"))
    assert view is await kept.keeper.view()
    await kept.hear(results(False, "192.0.2.1"))
    assert view.etag != (await kept.keeper.view()).etag
    status = json.loads((await kept.keeper.status()).body)
    assert ["192.0.2.1"] == [value["text"] for value in status["values"]]
    assert "refused" == status["checks"]["tcp 192.0.2.1"]["detail"]


async def test_the_state_is_saved_and_taken_up(kept: Kept, tmp_path: Path):
    """A change is on disk soon; the next keeper begins there, without waiting for looks."""
    await kept.load(steer("192.0.2.1"))
    await kept.hear(results(False, "192.0.2.1"))
    path = tmp_path / "state" / "health-ns_1.json"
    assert path == state_path(kept.config, "ns 1")
    await until(path.exists)

    def is_up() -> bool:
        checks = json.loads(path.read_text())["checks"]  # perhaps of the moment before the first result
        return "tcp 192.0.2.1" not in checks or checks["tcp 192.0.2.1"]["up"]

    await until(lambda: not is_up())
    after = Kept(tmp_path, startup_timeout=PATIENCE_SECONDS)
    await after.keeper.start()
    await after.load(steer("192.0.2.1"))
    assert () == after.up()
    assert [] == after.lines()
    await after.keeper.stop()


async def test_a_state_that_cannot_be_saved(kept: Kept, tmp_path: Path):
    """One line says so, however often it is tried; values are steered all the same."""
    (tmp_path / "state").write_text("in the way")
    await kept.load(steer("192.0.2.1"))
    for turn in range(3):
        kept.keeper._is_dirty = True
        await until(lambda: not kept.keeper._is_dirty)
        await kept.hear(results(turn % 2 > 0, "192.0.2.1"))
    await kept.keeper.stop()
    told = [line for line in kept.lines() if "not saved" in line]
    assert 1 == len(told)
    assert f"{tmp_path}/state" in told[0]
    assert () == kept.up()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 99}', '{"version": 1, "at": 1, "checks": 7}'])
async def test_a_broken_state_is_told(kept: Kept, tmp_path: Path, text: str):
    """What can not be read is no state; everything is looked at anew."""
    (tmp_path / "state").mkdir()
    state_path(kept.config, "ns 1").write_text(text)
    await kept.load(steer("192.0.2.1"))
    assert "every value has to be looked at anew" in kept.lines()[0]
    assert "health-ns_1.json" in kept.lines()[0]


async def test_overrides_are_obeyed(kept: Kept, tmp_path: Path):
    """What is written is taken up, what is broken is told and changes nothing, what is taken away ends."""
    await kept.load(steer("192.0.2.1", "192.0.2.2"))
    file = tmp_path / "state" / "overrides"
    file.parent.mkdir()
    file.write_text("192.0.2.1 down\n")
    await until(lambda: kept.served.snapshot.standings.get(KEY) is not None and (1,) == kept.up())
    file.write_text("192.0.2.1 down\nfra sideways\n")
    await until(lambda: "was not taken up" in kept.lines()[-1])
    assert f"{file}:2:5: " in kept.lines()[-2]
    assert (1,) == kept.up()
    file.unlink()
    await until(lambda: (0, 1) == kept.up() if KEY in kept.served.snapshot.standings else True)


async def test_a_bug_keeps_what_was_known(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    """Whatever is raised inside is a line; what was published holds, and the next result counts."""
    await kept.load(steer("192.0.2.1"))
    await kept.hear(results(False, "192.0.2.1"))
    with monkeypatch.context() as patch:
        patch.setattr(kept.keeper._health, "take", None)
        await kept.hear(results(True, "192.0.2.1"))
        patch.setattr(kept.keeper._health, "adopt", None)
        await kept.load(steer("192.0.2.1", "192.0.2.2"))
    assert any("a bug of geodns, and what was known before holds" in line for line in kept.lines())
    assert {} == kept.served.snapshot.standings  # nothing is known of the new table's values
    await kept.load(steer("192.0.2.1", "192.0.2.2"))
    await kept.hear(results(False, "192.0.2.2"))
    assert () == kept.up()


async def test_peers_and_settings(kept: Kept, tmp_path: Path):
    """A peer's view counts as it comes; other settings, peers and tokens go to the prober at once."""
    await kept.load(steer("192.0.2.1"))
    await kept.hear(PeerView("http://192.0.2.2:5380", {"tcp 192.0.2.1": False}, "", time.time()))
    await kept.hear(results(True, "192.0.2.1"))
    assert (0,) == kept.up()
    await kept.hear(results(False, "192.0.2.1"))
    assert () == kept.up()
    changed = Config(
        state=tmp_path / "state",
        health={"exec": True, "external": "x", "probes_at_once": 7},
        peers=[{"url": "http://192.0.2.3:5380"}],
    )
    kept.keeper.configure(changed, Tokens(None, ("secret-of-the-peer",)), "ns1")
    settings = kept.prober.settings
    assert (7, True, "x") == (settings.probes_at_once, settings.is_exec_allowed, settings.external)
    assert [("http://192.0.2.3:5380", "secret-of-the-peer")] == [(p.url, p.token) for p in settings.peers]


async def test_nobody_waits_at_the_end(kept: Kept):
    """A load that waits for looks is let go when the server ends."""
    kept.keeper.configure(
        kept.config.model_copy(update={"health": config.Health(startup_timeout=300)}), Tokens(), ""
    )
    loading = asyncio.create_task(asyncio.to_thread(kept.keeper.prepare, {KEY: steer("192.0.2.1")}))
    await kept.prober.watched.wait()
    kept.keeper.interrupt()
    async with asyncio.timeout(PATIENCE_SECONDS):
        assert not await loading
    await kept.keeper.stop()
    assert not kept.keeper.prepare({KEY: steer("192.0.2.2")})


def test_many_changes_are_few_lines():
    """A hundred lines in ten seconds, then a count; afterwards lines again."""
    said = io.StringIO()
    now = 0.0
    told = _Told(Sayer(said), lambda: now)
    changes = [Change(f"192.0.2.{at}", at % 5 == 0, "why", "tcp", 1) for at in range(CHANGES_TOLD + 10)]
    told.tell(changes)
    assert CHANGES_TOLD == len(said.getvalue().splitlines())
    now += CHANGES_SECONDS
    told.tick()
    expected = ["geodns: and 2 more values went up", "geodns: and 8 more values went down"]
    assert expected == said.getvalue().splitlines()[-2:]
    told.tell(changes[:1])
    assert "geodns: 192.0.2.0 is up: why (tcp), 1 record rests on it" == said.getvalue().splitlines()[-1]


# The process

PROBE = Probe(Check("tcp 192.0.2.1", "tcp", "192.0.2.1"), 10.0, 1.0, 0.0, ())
SETTINGS = Settings(10, False, "", ())


class Started:
    """A ProberProcess whose program is a shell script."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        program = folder / "prober"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        monkeypatch.setattr(prober_module, "RESTART_SECONDS", 0.01)
        monkeypatch.setattr(prober_module, "RESTART_SECONDS_MAX", 0.04)
        self.said = io.StringIO()
        self.process = ProberProcess(self.take, Sayer(self.said), SETTINGS)
        self.running = asyncio.create_task(self.process.run())

    async def take(self, report: Report) -> None:
        raise AssertionError("it says nothing")

    async def lines(self, count: int) -> list[str]:
        await until(lambda: len(self.said.getvalue().splitlines()) >= count)
        return self.said.getvalue().splitlines()

    async def end(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 'oh no' >&2; exit 3", "the prober ended: oh no"),
        ("exit 3", "the prober ended: exit code 3"),
        ("kill -SEGV $$", "the prober ended: it was ended by SIGSEGV"),
        ("echo this is no message at all; exec sleep 60", "the prober said what is no message ("),
        ("exec sleep 60", "the prober said nothing for 0.1 s"),
    ],
)
async def test_a_prober_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: str
):
    """Why it ended is told, and another one is started, each after a longer wait."""
    if "sleep" in script:
        monkeypatch.setattr(prober_module, "SILENT_SECONDS", 0.1)
    started = Started(tmp_path, monkeypatch, script)
    started.process.watch([PROBE], [])
    lines = await started.lines(4)
    await started.end()
    assert all(line.startswith(f"geodns: {expected}") for line in lines)
    waits = [line.rpartition(" in ")[2] for line in lines[:4]]
    assert ["0.01 s", "0.02 s", "0.04 s", "0.04 s"] == waits


async def test_a_prober_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """That is told as well, and tried again."""
    started = Started(tmp_path, monkeypatch, "")
    (tmp_path / "prober").unlink()
    started.process.watch([PROBE], [])
    expected = "geodns: the prober can not be started: no such file or directory"
    assert all(line.startswith(expected) for line in await started.lines(2))
    await started.end()


async def test_a_prober_lives_while_it_is_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It starts with the first check, ends with the last one, and leaves nobody behind."""
    started = Started(tmp_path, monkeypatch, "exec sleep 60")
    process = started.process
    await asyncio.sleep(0)
    assert process.pid is None
    process.watch([PROBE], [])
    await until(lambda: process.pid is not None)
    process.watch([], [PROBE.key])
    await until(lambda: process.pid is None)
    process.watch([PROBE], [])
    await until(lambda: process.pid is not None)
    pid = process.pid
    assert pid is not None
    await started.end()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    assert "" == started.said.getvalue()
