"""Damping: held to a model that is written from gdnsd.config(5), word by word, and not from our code."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.health.monitor import Monitor, Timing
from geodns.table.steer import TTL_UNBOUND


@dataclass
class Model:
    """All results since the last change of state, read anew each time: no counters."""

    timing: Timing
    is_up: bool | None = None
    since_change: list[bool] = field(default_factory=list)

    def take(self, ok: bool) -> None:
        if self.is_up is None:
            self.is_up = ok
            return
        self.since_change.append(ok)
        if self.is_up and self.failures() == self.timing.fall:
            self.is_up, self.since_change = False, []
        elif not self.is_up and self.streak() == self.timing.rise:
            self.is_up, self.since_change = True, []

    def streak(self) -> int:
        """The successes in a row at the end."""
        count = 0
        for ok in reversed(self.since_change):
            if not ok:
                break
            count += 1
        return count

    def failures(self) -> int:
        """Failures since the last time that there were `ok` successes in a row."""
        failures = streak = 0
        for ok in self.since_change:
            streak = streak + 1 if ok else 0
            failures += not ok
            if streak >= self.timing.ok:
                failures = 0
        return failures

    def ttl(self) -> int:
        needed = self.timing.fall - self.failures() if self.is_up else self.timing.rise - self.streak()
        return max(1, int(needed * self.timing.interval))


TIMINGS = st.builds(
    Timing,
    st.sampled_from((0.05, 0.3, 1.0, 2.5, 10.0, 86_400.0)),
    st.integers(1, 5),
    st.integers(1, 5),
    st.integers(1, 5),
)


@given(TIMINGS, st.lists(st.booleans(), min_size=1, max_size=60))
def test_states_and_ttls_are_gdnsd_s(timing: Timing, results: list[bool]) -> None:
    """State and TTL after every result are those of gdnsd's rules."""
    monitor, model = Monitor(timing), Model(timing)
    for at, ok in enumerate(results):
        before = None if monitor.is_up is None else (monitor.is_up, monitor.ttl)
        changed = monitor.take(ok, float(at))
        model.take(ok)
        assert (model.is_up, model.ttl()) == (monitor.is_up, monitor.ttl)
        assert changed or before == (monitor.is_up, monitor.ttl)


@given(TIMINGS.filter(lambda timing: timing.rise > 1 and timing.fall > 1 and timing.ok == 1))
def test_every_other_failure_changes_nothing(timing: Timing) -> None:
    """A value that fails every other check keeps its state, whichever it is."""
    for first in (True, False):
        monitor = Monitor(timing)
        states = set()
        for at in range(100):
            monitor.take((at % 2 == 0) is first, float(at))
            states.add(monitor.is_up)
        assert {first} == states


@pytest.mark.parametrize(
    ("interval", "expected"), [(0.05, 1), (0.4, 1), (2.5, 7), (86_400.0, 259_200), (1e12, TTL_UNBOUND - 1)]
)
def test_a_ttl_is_whole_seconds_and_at_least_one(interval: float, expected: int) -> None:
    """Three failures away: the interval thrice, rounded down, never 0 and never what means unbound."""
    monitor = Monitor(Timing(interval, 2, 3, 1))
    monitor.take(True, 0.0)
    assert expected == monitor.ttl


def test_thresholds_that_shrink_below_the_count_act_at_the_next_result() -> None:
    """`fall` lowered from 5 to 2 with 3 failures counted: the next failure brings it down."""
    monitor = Monitor(Timing(10.0, 2, 5, 1))
    for ok in (True, False, False, False):
        monitor.take(ok, 0.0)
    monitor.timing = Timing(10.0, 2, 2, 1)
    assert (True, 10) == (monitor.is_up, monitor.ttl)
    monitor.take(False, 7.0)
    assert (False, 7.0) == (monitor.is_up, monitor.since)
