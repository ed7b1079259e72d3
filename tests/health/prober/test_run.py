"""The prober from orders to results, in this process: real sockets, and an outbox that keeps what it gets."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable

import pytest

from geodns.health.messages import Settings, Watch
from geodns.health.prober import run
from geodns.health.prober.outbox import Outbox
from geodns.health.prober.run import Prober, pace_of
from geodns.health.words import Probe, Result
from tests.health.prober import parts
from tests.health.prober.parts import SOON_SECONDS, answering, probe, serving, silent

SETTINGS = Settings(probes_at_once=10, is_exec_allowed=True, external="", peers=())


class Kept(Outbox):
    """An outbox without a pipe."""

    def __init__(self) -> None:
        super().__init__()
        self.results: asyncio.Queue[Result] = asyncio.Queue()
        self.lines: list[str] = []

    def result(self, result: Result) -> None:
        self.results.put_nowait(result)

    def say(self, text: str) -> None:
        self.lines.append(text)

    async def next(self) -> tuple[str, bool | None, str]:
        """Key, state and detail of the next result."""
        return (await self.results.get())[:3]


@pytest.fixture
async def outbox() -> Kept:
    return Kept()


@pytest.fixture
async def prober(outbox: Kept) -> AsyncIterator[Prober]:
    prober = Prober(outbox)
    prober.take(SETTINGS)
    running = asyncio.ensure_future(prober.run())
    yield prober
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not prober._flights


def watch(*probes: Probe) -> Watch:
    return Watch(probes, ())


async def test_every_kind_has_a_result(prober: Prober, outbox: Kept) -> None:
    """Good or bad, in a few words; the first round at once."""
    async with serving(answering(parts.http(503))) as port:
        prober.take(
            watch(
                probe("tcp", key="tcp", port=port),
                probe("http", key="http", port=port, host="a.test"),
                probe("https", key="nobody", port=1, host="a.test"),
                probe("dns", key="dns", port=1, question=("example.com.", "SOA")),
                probe("exec", "", key="exec", command=(sys.executable, "-c", "print('fine')")),
                probe("external", "", key="external", name="fra"),
                probe("tcp", "nowhere.invalid", key="name", port=80),
                probe("http", key="pattern", body="(", host="a.test"),
                probe("dns", key="question", question=("a..b", "SOA")),
                probe("gopher", key="kind"),
            )
        )
        found = [await outbox.next() for _ in range(10)]
    results = {key: (ok, detail) for key, ok, detail in found}
    assert (True, "connected") == results.pop("tcp")
    assert (False, "HTTP 503") == results.pop("http")
    assert (False, "connection refused") == results.pop("nobody")
    assert (False, "connection refused") == results.pop("dns")
    assert (True, "fine") == results.pop("exec")
    assert (None, "no report yet") == results.pop("external")
    assert results["name"][0] is False
    assert results.pop("name")[1].startswith("nowhere.invalid has no address: ")
    assert {None} == {ok for ok, _ in results.values()}  # what can not be asked says nothing of the target
    assert {"pattern", "question", "kind"} == set(results)


async def test_what_never_answers_times_out(prober: Prober, outbox: Kept) -> None:
    """After the check's own time, whatever it waits for."""
    async with serving(silent) as port:
        prober.take(
            watch(
                probe("http", key="http", port=port, host="a.test", timeout=SOON_SECONDS),
                probe("https", key="https", port=port, host="a.test", timeout=SOON_SECONDS),
                probe("exec", "", key="exec", command=("sleep", "60"), timeout=SOON_SECONDS),
            )
        )
        results = {await outbox.next() for _ in range(3)}
    assert {
        (key, False, f"timed out after {SOON_SECONDS:g} s") for key in ("http", "https", "exec")
    } == results


async def test_time_in_which_we_did_not_run_is_given_back(prober: Prober, outbox: Kept) -> None:
    """A machine that stood still does not bring everything down: once, a look gets its time again."""
    asked = asyncio.Event()
    may_answer = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await may_answer.wait()
        await answering(parts.http(200))(reader, writer)

    async with serving(late) as port:
        prober.take(watch(probe("http", key="http", port=port, host="a.test", timeout=60.0)))
        await asked.wait()
        flight = prober._flights["http"]
        prober._lag += 1000.0
        prober._expire(flight)  # as it would have come first after the stop
        may_answer.set()
        assert ("http", True, "HTTP 200") == await outbox.next()
        assert flight.is_prolonged


async def test_a_check_that_is_removed_says_nothing_more(prober: Prober, outbox: Kept) -> None:
    """Its look ends at once; put again it is looked at again."""
    is_asked = asyncio.Event()
    is_gone = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        await reader.read(-1)
        is_gone.set()

    async with serving(handle) as port:
        made = probe("http", key="http", port=port, host="a.test")
        prober.take(watch(made))
        await is_asked.wait()
        prober.take(Watch((), ("http",)))
        await is_gone.wait()
        assert outbox.results.empty()
        is_asked.clear()
        prober.take(watch(made))
        prober.take(Watch((), ("http",)))  # before its task has run
        prober.take(watch(made))
        await is_asked.wait()


async def test_probes_at_once_are_under_way_at_most(prober: Prober, outbox: Kept) -> None:
    """All of them, and never one more."""
    under_way = most = 0
    is_full = asyncio.Event()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        if under_way == 10:
            is_full.set()
        await is_full.wait()
        await answering(parts.http(200))(reader, writer)
        under_way -= 1

    async with serving(handle) as port:
        prober.take(watch(*(probe("http", key=str(n), port=port, host="a.test") for n in range(30))))
        results = [await outbox.next() for _ in range(30)]
    assert {str(n) for n in range(30)} == {key for key, _, _ in results}
    assert 10 == most


async def test_commands_run_only_where_they_are_allowed(prober: Prober, outbox: Kept) -> None:
    """The config says so, not the zone; and it may change its mind."""
    prober.take(Settings(10, False, "", ()))
    prober.take(watch(probe("exec", "", key="exec", command=("true",))))
    assert ("exec", None, "not allowed (health.exec)") == await outbox.next()
    prober.take(SETTINGS)
    assert ("exec", True, "exit status 0") == await outbox.next()
    prober.take(Settings(10, False, "", ()))
    assert ("exec", None, "not allowed (health.exec)") == await outbox.next()


async def test_nothing_begins_while_nobody_reads(prober: Prober, outbox: Kept) -> None:
    """Results do not pile up before a server that is busy otherwise; after that it goes on."""
    outbox.pause_writing()
    prober.take(watch(probe("tcp", key="tcp", port=1)))
    assert prober._timer is None
    assert not prober._flights
    outbox.resume_writing()
    assert ("tcp", False, "connection refused") == await outbox.next()


async def test_a_bug_in_a_look_is_that_looks_alone(
    prober: Prober, outbox: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a library raises."""

    def broken(probe: Probe) -> Callable[[str], object]:
        async def look_at(address: str) -> str:
            raise ZeroDivisionError("octets of a stranger")

        return look_at

    monkeypatch.setattr(run.tcp, "looking", broken)
    prober.take(watch(probe("tcp", key="tcp", port=1)))
    assert ("tcp", False, "octets of a stranger") == await outbox.next()


def test_there_are_as_many_looks_as_file_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is raised as far as it goes; the rest waits rather than fails."""
    limits = [1024, 4096]
    monkeypatch.setattr(run.resource, "getrlimit", lambda which: tuple(limits))
    monkeypatch.setattr(run.resource, "setrlimit", lambda which, new: limits.__setitem__(slice(2), new))
    assert 100 == run.room_for(100)
    assert [1024, 4096] == limits
    assert 2000 == run.room_for(2000)
    assert [2000 + run.SPARE_DESCRIPTORS, 4096] == limits
    assert 4096 - run.SPARE_DESCRIPTORS == run.room_for(100_000)


def test_the_pace() -> None:
    """Median, 99th percentile and most of the lateness."""
    pace = pace_of([number / 1000 for number in range(1000, 0, -1)])
    assert (1000, 0.501, 0.991, 1.0) == (pace.looks, pace.late_median, pace.late_p99, pace.late_most)
    assert 0 == pace_of([]).looks
