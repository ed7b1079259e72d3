"""Lines for the operator, on stderr: whole, one at a time, and never the reason that something else fails."""

import sys
import threading
import time
from typing import TextIO

RARELY_SECONDS = (
    10.0  # between two lines of one kind that a stranger's packets can cause: they shall not fill a disk
)


class Sayer:
    """Writes `geodns: ...` lines. Safe to call from every thread."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stderr if out is None else out
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def __call__(self, text: str) -> None:
        """Say `geodns: text`."""
        self.line(f"geodns: {text}")

    def line(self, text: str) -> None:
        """Write a line as it is, such as a Problem, which begins with its own address."""
        try:
            with self._lock:
                self._out.write(text.replace("\n", " ") + "\n")
                self._out.flush()
        except (OSError, ValueError):
            pass  # stderr is closed, or its pipe or disk is full: a server goes on answering

    def rarely(self, kind: str, text: str) -> None:
        """Say it, unless one of this kind was said within RARELY_SECONDS; the next counts them."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(kind, -RARELY_SECONDS) < RARELY_SECONDS:
                self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
                return
            self._last[kind] = now
            kept_back = self._kept_back.pop(kind, 0)
        self(f"{text} (and {kept_back} more of this kind before)" if kept_back else text)
