"""When each check is made: a heap by due time, and what is under way. No clock and no sockets.

A check is due at once when it is new; next after a part of its interval that its key decides, so that what
started together spreads evenly; and from then on an interval, less some jitter, after it last began. So
from one look to the next is never longer than the interval, unless there is too much to do. Then what waits
longest goes first, and a check that takes longer than its interval queues up behind the others again. What
was late by more than half of its interval, as all are after a pause, is spread anew: else all of them would
come in one burst for hours.
"""

import heapq
import math
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from geodns.health.words import Probe


@dataclass(slots=True)
class _Entry:
    probe: Probe
    due: float
    turn: int = 0  # of the item on the heap that counts; items of earlier turns are void
    is_queued: bool = False
    looks: int = 0
    began: float = 0.0
    is_late: bool = False  # by so much that many others must have been, too


@dataclass(frozen=True, slots=True)
class Start:
    """A look to begin now. `late` is by how many seconds; None at the first, which has no time of its own."""

    probe: Probe
    late: float | None


class Schedule:
    """Which checks are to begin. `at_once` are under way at most, and never two of one key.

    Times are seconds of any clock that only goes forward. `draw` gives numbers from 0 to 1, for the jitter.
    """

    def __init__(self, at_once: int, draw: Callable[[], float] = random.random) -> None:
        self.at_once = at_once
        self._draw = draw
        self._entries: dict[str, _Entry] = {}
        self._heap: list[tuple[float, float, str, int]] = []  # due, phase, key, turn
        self._running: set[str] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, probe: Probe, now: float) -> None:
        """Make this check from now on; one that is known goes on as before, with its new interval."""
        entry = self._entries.get(probe.key)
        if entry is None:
            self._entries[probe.key] = entry = _Entry(probe, now)
        else:
            entry.probe = probe
            entry.due = min(entry.due, now + probe.interval)
        if probe.key not in self._running:
            self._queue(probe.key, entry)

    def drop(self, key: str) -> None:
        """Make this check no more. One that is under way still counts as such until it is `done`."""
        self._entries.pop(key, None)

    def start(self, now: float) -> list[Start]:
        """What is to begin now, the most overdue first; each counts as under way until it is `done`."""
        starts = []
        while len(self._running) < self.at_once and self._is_due(now):
            key = heapq.heappop(self._heap)[2]
            entry = self._entries[key]
            entry.is_queued = False
            late = now - entry.due if entry.looks else None
            entry.is_late = late is not None and late > entry.probe.interval / 2
            starts.append(Start(entry.probe, late))
            entry.looks += 1
            entry.began = now
            self._running.add(key)
        return starts

    def done(self, key: str, now: float) -> None:
        """The look at this check has ended."""
        self._running.discard(key)
        entry = self._entries.get(key)
        if entry is None or entry.is_queued:
            return
        if entry.looks:  # else the check was dropped and put anew while its last look was under way
            entry.due = max(now, entry.began + self._gap(entry))
        self._queue(key, entry)

    def wait(self, now: float) -> float | None:
        """Seconds until something is to begin; None when only a `put` or a `done` can change that."""
        if len(self._running) >= self.at_once:
            return None
        self._skip_void()
        return max(0.0, self._heap[0][0] - now) if self._heap else None

    def _gap(self, entry: _Entry) -> float:
        interval, jitter = entry.probe.interval, entry.probe.jitter
        if entry.looks == 1:
            return interval * _first_gap(phase(entry.probe.key), jitter)
        if entry.is_late:
            return interval * (0.5 + self._draw())
        return interval * (1 - jitter * self._draw())

    def _queue(self, key: str, entry: _Entry) -> None:
        entry.turn += 1
        entry.is_queued = True
        heapq.heappush(self._heap, (entry.due, phase(key), key, entry.turn))

    def _is_due(self, now: float) -> bool:
        self._skip_void()
        return bool(self._heap) and self._heap[0][0] <= now

    def _skip_void(self) -> None:
        """Take items off the heap that were replaced, or whose check was dropped."""
        while self._heap:
            _, _, key, turn = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and entry.is_queued and entry.turn == turn:
                return
            heapq.heappop(self._heap)


def _first_gap(share: float, jitter: float) -> float:
    """The part of the interval after which a check is looked at for the second time.

    Gaps are even between 1 - jitter and 1. Somebody who comes at any time meets what is left of one of them,
    which is distributed thus; begun so, as many looks fall into each moment ever after (renewal theory's
    equilibrium). Evenly from 0 to 1 instead, there would be twice as many where one round meets the next.
    """
    mean = 1 - jitter / 2
    if share * mean <= 1 - jitter:
        return share * mean
    return 1 - math.sqrt(2 * jitter * mean * (1 - share))


def phase(key: str) -> float:
    """A number above 0, at most 1, that is evenly spread over keys."""
    return (zlib.crc32(key.encode()) + 1) / (1 << 32)
