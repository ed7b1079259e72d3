"""The schedule, on a clock of its own."""

import heapq
import random
from collections import Counter
from itertools import pairwise

import pytest

from geodns.health.prober.schedule import Schedule, phase
from tests.health.prober.parts import probe


def keys(schedule: Schedule, now: float) -> list[str]:
    return [start.probe.key for start in schedule.start(now)]


def simulate(
    schedule: Schedule, seconds: float, takes: dict[str, float], now: float = 0.0
) -> list[tuple[float, str]]:
    """Run the schedule on a fake clock, each look taking its time (0.01 s); (time, key) of every start."""
    end = now + seconds
    starts: list[tuple[float, str]] = []
    ends: list[tuple[float, str]] = []
    while now < end or ends:
        if now >= end:
            now, key = heapq.heappop(ends)
            schedule.done(key, now)
            continue
        for start in schedule.start(now):
            starts.append((now, start.probe.key))
            heapq.heappush(ends, (now + takes.get(start.probe.key, 0.01), start.probe.key))
        wait = schedule.wait(now)
        nexts = [ends[0][0]] if ends else []
        nexts += [] if wait is None else [now + wait]
        now = min(nexts)
        while ends and ends[0][0] <= now:
            schedule.done(heapq.heappop(ends)[1], now)
    return starts


def test_the_first_round_is_at_once_but_for_probes_at_once() -> None:
    """Nothing is answered before it: it waits for nothing but room."""
    schedule = Schedule(at_once=3)
    for name in "abcde":
        schedule.put(probe("tcp", key=name), 0.0)
    first = keys(schedule, 0.0)
    assert 3 == len(first)
    assert schedule.wait(0.0) is None
    schedule.done(first[0], 0.5)
    assert 0.0 == schedule.wait(0.5)
    (fourth,) = keys(schedule, 0.5)
    schedule.done(fourth, 0.6)
    (fifth,) = keys(schedule, 0.6)
    assert set("abcde") == {*first, fourth, fifth}


def test_ten_thousand_checks_spread_over_the_interval() -> None:
    """After the first round no tenth of a second has much more than its share, round after round."""
    schedule = Schedule(at_once=20_000, draw=random.Random(1).random)
    for number in range(10_000):
        schedule.put(probe("tcp", key=f"tcp 192.0.2.{number}:80", interval=10.0, jitter=0.1), 0.0)
    starts = simulate(schedule, 40.0, {})
    counts = Counter(int(at * 10) for at, _ in starts if 0 < at < 40)
    assert max(counts.values()) < 105 + 5 * 10.3  # 10,000 / 95 of them, as a Poisson process has it
    assert min(counts.values()) > 105 - 5 * 10.3


@pytest.mark.parametrize("jitter", [0.0, 0.1, 1.0])
def test_from_look_to_look_is_never_longer_than_the_interval(jitter: float) -> None:
    """What `fall` failures cost in time can be said: jitter makes it less, never more."""
    schedule = Schedule(at_once=100)
    for name in "abcdefgh":
        schedule.put(probe("tcp", key=name, interval=2.0, jitter=jitter), 0.0)
    starts = simulate(schedule, 50.0, {})
    for name in "abcdefgh":
        times = [at for at, key in starts if key == name]
        gaps = [after - before for before, after in pairwise(times)]
        assert max(gaps) <= 2.0 + 1e-9
        assert min(gaps[1:]) >= min(2.0 * (1 - jitter), 0.01) - 1e-9


def test_a_check_is_never_under_way_twice() -> None:
    """One that takes longer than its interval is begun again when it is done, if there is room."""
    schedule = Schedule(at_once=10)
    schedule.put(probe("tcp", key="slow", interval=1.0), 0.0)
    assert ["slow"] == keys(schedule, 0.0)
    assert schedule.wait(0.0) is None
    assert [] == keys(schedule, 5.0)
    schedule.put(probe("tcp", key="slow", interval=2.0), 5.0)
    assert [] == keys(schedule, 9.0)
    schedule.done("slow", 9.0)
    assert ["slow"] == keys(schedule, 9.0)


def test_a_check_that_was_dropped_and_put_again_waits_for_its_last_look() -> None:
    """Also then there are no two of one key; and then it begins at once, as a new one does."""
    schedule = Schedule(at_once=10)
    schedule.put(probe("tcp", key="a"), 0.0)
    assert ["a"] == keys(schedule, 0.0)
    schedule.drop("a")
    schedule.put(probe("tcp", key="a"), 1.0)
    assert [] == keys(schedule, 1.0)
    schedule.done("a", 2.0)
    assert ["a"] == keys(schedule, 2.0)


def test_what_is_dropped_is_begun_no_more() -> None:
    """And its room is free when it is done."""
    schedule = Schedule(at_once=1)
    schedule.put(probe("tcp", key="a"), 0.0)
    schedule.put(probe("tcp", key="b"), 0.0)
    (first,) = keys(schedule, 0.0)
    (other,) = {"a", "b"} - {first}
    schedule.drop(first)
    schedule.done(first, 1.0)
    assert [other] == keys(schedule, 1.0)
    schedule.done(other, 1.0)
    schedule.drop(other)
    assert [] == keys(schedule, 1000.0)
    assert 0 == len(schedule)


def test_a_shorter_interval_holds_at_once() -> None:
    """A reload that makes a check more frequent does not wait for the old interval to end."""
    schedule = Schedule(at_once=1)
    schedule.put(probe("tcp", key="a", interval=1000.0), 0.0)
    keys(schedule, 0.0)
    schedule.done("a", 0.0)
    schedule.put(probe("tcp", key="a", interval=1.0), 0.0)
    assert 1.0 >= schedule.wait(0.0)
    schedule.put(probe("tcp", key="a", interval=1000.0), 0.0)
    assert 1.0 >= schedule.wait(0.0)
    assert ["a"] == keys(schedule, 1.0)


def test_under_overload_everybody_has_a_turn() -> None:
    """Twice as much as there is room for: all are looked at about equally often, the slow ones too."""
    schedule = Schedule(at_once=5)
    names = [f"check {number}" for number in range(100)]
    for name in names:
        schedule.put(probe("tcp", key=name, interval=1.0), 0.0)
    takes = {name: 0.5 if number < 10 else 0.05 for number, name in enumerate(names)}
    counts = Counter(key for _, key in simulate(schedule, 100.0, takes))
    assert set(names) == set(counts)
    assert max(counts.values()) <= 1.25 * min(counts.values())


def test_after_a_pause_checks_spread_again() -> None:
    """All were late, all are made at once, and then they do not come in one burst ever after."""
    schedule = Schedule(at_once=20_000, draw=random.Random(2).random)
    for number in range(1000):
        schedule.put(probe("tcp", key=f"tcp 192.0.2.{number}:80", interval=10.0, jitter=0.1), 0.0)
    simulate(schedule, 20.0, {})
    for start in schedule.start(50.0):
        schedule.done(start.probe.key, 50.0)
    starts = simulate(schedule, 40.0, {}, now=50.0)
    counts = Counter(int(at) for at, _ in starts if 60 < at < 90)
    assert max(counts.values()) < 105 + 6 * 10.3
    assert min(counts.values()) > 105 - 6 * 10.3


def test_it_says_how_late_a_look_begins() -> None:
    """From the second look on: the first has no time of its own."""
    schedule = Schedule(at_once=1)
    schedule.put(probe("tcp", key="a", interval=8.0), 0.0)
    assert [None] == [start.late for start in schedule.start(3.0)]
    schedule.done("a", 4.0)
    due = 3.0 + 8.0 * phase("a")  # without jitter
    (start,) = schedule.start(due + 2.0)
    assert 2.0 == pytest.approx(start.late)
