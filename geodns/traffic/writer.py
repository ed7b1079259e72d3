"""A thread that writes queries somewhere, from a queue with an end: whoever hands queries over never waits.

take --queue (dropped and counted when full)--> thread --write--> file or socket
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence

from geodns.traffic.event import Event

QUEUE_EVENTS_MAX = 10_000  # that wait to be written: a second's work
QUEUE_OCTETS_MAX = 16 << 20  # of their queries and answers: an answer over TCP may have 64 KiB
LOOK_SECONDS = 0.25  # between looks at whether a file is to be changed, when nothing is to be written
AGAIN_SECONDS = 1.0  # after a failure: a full disk or a reader that is gone
STOP_SECONDS = 2.0  # to write what waits, when the server ends


class Writer:
    """Writes from `start` until `stop`. What it writes to and how is said by `open`, `write` and `close`,
    which are called in its thread and may raise OSError.
    """

    name = ""

    def __init__(self, say_rarely: Callable[[str, str], None]) -> None:
        self.written = 0
        self.dropped = 0
        self._say_rarely = say_rarely
        self._queue: deque[Event] = deque()
        self._octets = 0
        self._condition = threading.Condition()
        self._is_over = False
        self._is_open = False
        self._is_to_reopen = False
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @property
    def share(self) -> float:
        """How many of all queries are wanted, from 0 to 1."""
        raise NotImplementedError

    def open(self) -> None:
        """Begin to write."""
        raise NotImplementedError

    def write(self, events: Sequence[Event]) -> int:
        """Write these; how many were."""
        raise NotImplementedError

    def close(self) -> None:
        """Write no more."""
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, within STOP_SECONDS, and end."""
        with self._condition:
            self._is_over = True
            self._condition.notify()
        if self._thread.ident is not None:
            self._thread.join(STOP_SECONDS)

    def reopen(self) -> None:
        """Begin anew, soon: another config holds, or somebody has moved the file away."""
        with self._condition:
            self._is_to_reopen = True
            self._condition.notify()

    def take(self, events: Sequence[Event]) -> None:
        """Have these written; what the queue has no room for is dropped."""
        if not events:
            return
        with self._condition:
            for event in events:
                octets = len(event.query) + len(event.answer)
                if len(self._queue) >= QUEUE_EVENTS_MAX or self._octets + octets > QUEUE_OCTETS_MAX:
                    self.dropped += 1
                else:
                    self._queue.append(event)
                    self._octets += octets
            self._condition.notify()

    def _run(self) -> None:
        while True:
            with self._condition:
                if not (self._queue or self._is_over or self._is_to_reopen):
                    self._condition.wait(LOOK_SECONDS)
                is_over, is_to_reopen = self._is_over, self._is_to_reopen
                self._is_to_reopen = False
                events = list(self._queue)
                self._queue.clear()
                self._octets = 0
            try:
                self._turn(events, is_to_reopen)
            except OSError as error:
                self._failed(f"can not be written: {error.strerror or error}", len(events))
            except Exception as error:
                self._failed(f"{type(error).__name__}: {error}; a bug of geodns", len(events))
            if is_over:
                self._shut()
                return

    def _turn(self, events: list[Event], is_to_reopen: bool) -> None:
        if is_to_reopen:
            self._shut()
        if not self.share:
            self._shut()
            return
        if not self._is_open:
            self.open()
            self._is_open = True
        self.written += self.write(events)

    def _failed(self, why: str, lost: int) -> None:
        self.dropped += lost
        self._say_rarely(self.name, f"{self.name}: {why}; {self.dropped:,} queries were dropped so far")
        self._shut()
        with self._condition:
            if not self._is_over:
                self._condition.wait_for(lambda: self._is_over or self._is_to_reopen, AGAIN_SECONDS)

    def _shut(self) -> None:
        if self._is_open:
            self._is_open = False
            try:
                self.close()
            except OSError as error:
                self._say_rarely(self.name, f"{self.name}: {error.strerror or error}")
