"""The damping of one check: how many successes and failures make a state, as gdnsd counts them.

    unknown --first result--> UP --`fall` failures--> DOWN --`rise` successes in a row--> UP

While UP, `ok` successes in a row forget the failures counted so far; isolated ones do not (gdnsd.config(5),
up_thresh, ok_thresh, down_thresh).
"""

from dataclasses import dataclass
from typing import NamedTuple

from geodns.table.steer import TTL_UNBOUND

TTL_LEAST = 1  # second; a TTL of 0 says that nothing may be kept, which is more than we know


class Timing(NamedTuple):
    """When a check is made, in seconds, and how its results are counted."""

    interval: float
    rise: int
    fall: int
    ok: int


@dataclass(slots=True)
class Monitor:
    """One check's state as this instance sees it; `is_up` None: nothing is known yet.

    `is_settled` False: the state is an old one, and the next result decides at once, as the first does.
    `since` is when the present state began.
    """

    timing: Timing
    is_up: bool | None = None
    failures: int = 0
    successes: int = 0
    since: float = 0.0
    is_settled: bool = False

    def take(self, ok: bool, now: float) -> bool:
        """Count a result. True when the state or the count changed, and with it the TTL."""
        if not self.is_settled:
            return self._settle(ok, now)
        if self.is_up:
            return self._succeed_while_up() if ok else self._fail_while_up(now)
        return self._succeed_while_down(now) if ok else self._fail_while_down()

    @property
    def ttl(self) -> int:
        """Seconds to the next possible change of a known state: the results it takes, an interval each."""
        needed = self.timing.fall - self.failures if self.is_up else self.timing.rise - self.successes
        # at least one: the thresholds may be lower than when the results were counted
        return whole_seconds(max(1, needed) * self.timing.interval)

    def _settle(self, ok: bool, now: float) -> bool:
        self.is_settled = True
        if self.is_up is not ok:
            self._turn(ok, now)
        self.failures = self.successes = 0
        return True

    def _turn(self, is_up: bool, now: float) -> None:
        self.is_up = is_up
        self.failures = self.successes = 0
        self.since = now

    def _succeed_while_up(self) -> bool:
        if not self.failures:
            return False
        self.successes += 1
        if self.successes >= self.timing.ok:
            self.failures = self.successes = 0
        return True

    def _fail_while_up(self, now: float) -> bool:
        self.successes = 0
        self.failures += 1
        if self.failures >= self.timing.fall:
            self._turn(False, now)
        return True

    def _succeed_while_down(self, now: float) -> bool:
        self.successes += 1
        if self.successes >= self.timing.rise:
            self._turn(True, now)
        return True

    def _fail_while_down(self) -> bool:
        counted, self.successes = self.successes, 0
        return counted > 0


def whole_seconds(seconds: float) -> int:
    """A TTL: rounded down, at least 1, and less than the one that means that nothing can change."""
    return min(max(int(seconds), TTL_LEAST), TTL_UNBOUND - 1)
