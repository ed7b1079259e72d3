"""Lines for the operator, on stderr: whole, one for each event, and never the reason that something else
fails.

For people, `geodns: ready: 2 zones on 127.0.0.1:53 (engine native)`; for machines an object of JSON with the
same words, and what they are made of: {"time": ..., "level": "info", "event": "ready", "message": "ready: 2
zones ...", "zones": 2, ...}.
"""

import json
import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from geodns.problems import Problem

RARELY_SECONDS = (
    10.0  # between two lines of one kind that a stranger's packets can cause: they shall not fill a disk
)
MESSAGE_CHARACTERS_MAX = 8192  # of a line: a packet in hexadecimal digits and some words

INFO, WARNING, ERROR = "info", "warning", "error"
AUTO, TEXT, JSON = "auto", "text", "json"


class Sayer:
    """Writes lines, in one of the forms that `log.format` names. Safe to call from every thread."""

    def __init__(self, out: TextIO | None = None, form: str = TEXT) -> None:
        self._out = sys.stderr if out is None else out
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}
        self.form = form

    def __call__(self, text: str, event: str = "message", level: str = INFO, **fields: object) -> None:
        """Say what has happened; `fields` are what the words are made of, for machines."""
        self._write(f"geodns: {text}", {"level": level, "event": event, "message": text, **fields})

    def problem(self, problem: Problem) -> None:
        """Say a problem, which begins with its own address."""
        fields = {
            "level": ERROR if problem.is_error else WARNING,
            "event": "problem",
            "message": str(problem),
            "file": problem.file,
            "line": problem.line,
            "column": problem.column,
            "where": problem.where,
            "what": problem.what,
            "hint": problem.hint,
        }
        self._write(str(problem), fields)

    def rarely(self, kind: str, text: str) -> None:
        """Say it, unless one of this kind was said within RARELY_SECONDS; the next counts them."""
        now = time.monotonic()
        with self._lock:
            if now - self._last.get(kind, -RARELY_SECONDS) < RARELY_SECONDS:
                self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
                return
            self._last[kind] = now
            kept_back = self._kept_back.pop(kind, 0)
        more = f" (and {kept_back} more of this kind before)" if kept_back else ""
        self(text + more, kind, WARNING, **({"kept_back": kept_back} if kept_back else {}))

    def _write(self, line: str, fields: Mapping[str, object]) -> None:
        try:
            if self.form == JSON or (self.form == AUTO and not self._out.isatty()):
                told = {"time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}Z", **fields}
                told["message"] = str(told["message"])[:MESSAGE_CHARACTERS_MAX]
                line = json.dumps(told, ensure_ascii=False, default=str)
            line = line.replace("\n", " ") + "\n"
            with self._lock:
                self._out.write(line)
                self._out.flush()
        except (OSError, ValueError):
            pass  # stderr is closed, or its pipe or disk is full: a server goes on answering
