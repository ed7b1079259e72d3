"""Regular expressions on what strangers send: a search that takes too long is broken off.

Python's matcher backtracks: `(a+)+$` on forty letters takes longer than anybody lives. It holds the
interpreter's lock all the while, so a thread for it would help nobody. But it heeds signals: a timer ends it.
"""

import re
import signal
from types import FrameType

SEARCH_SECONDS = 0.1  # of processor time; a sane pattern takes a millisecond on 64 KiB


class TooLong(Exception):
    """The search took longer than SEARCH_SECONDS."""


class _Alarm(BaseException):
    """A class of its own, so that it can come from nowhere else."""


def _ring(number: int, frame: FrameType | None) -> None:
    raise _Alarm


def compiled(text: str) -> re.Pattern[str]:
    """The pattern. Raises ValueError for a text that is none."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"body: not a regular expression: {error}") from None


def is_found(pattern: re.Pattern[str], text: str) -> bool:
    """Whether the pattern matches somewhere in the text. Raises TooLong. Only for the main thread."""
    before = signal.signal(signal.SIGVTALRM, _ring)
    try:
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, SEARCH_SECONDS)
            return pattern.search(text) is not None
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except _Alarm:
        raise TooLong from None
    finally:
        signal.signal(signal.SIGVTALRM, before)
