"""What a check finds, and a row of the table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from geodns.delegation.observed import Observed, Seen
from geodns.zone.model import Mark


class Level(Enum):
    """`ERROR`: somebody somewhere gets no answer, or a wrong one. `WARNING`: everybody is answered, until the
    next thing goes wrong. `NOTICE`: worth knowing, and no fault.
    """

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


@dataclass(frozen=True, slots=True)
class Change:
    """What to change: where ("at the registrar", "at ns2.example.com. (192.0.2.2)"), what, and the place in
    our zone file that it is about, or that is to be changed when `where` is "".
    """

    where: str
    what: str
    mark: Mark | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that is not as a check wants it."""

    what: str
    change: Change


Function = Callable[[Observed], Iterator[Said]]


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table: its name, how bad it is, what decides, and what it asks."""

    name: str
    level: Level
    function: Function
    asks: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as a check wants it, and which check."""

    check: str
    level: Level
    what: str
    change: Change

    @property
    def is_fault(self) -> bool:
        """False for what is only worth knowing."""
        return self.level is not Level.NOTICE


def at_server(server: Seen) -> str:
    return f"at {server}"


def listed(items: Iterable[object]) -> str:
    """ "a, b and c", in order; "none" for nothing."""
    texts = [str(item) for item in items]
    if len(texts) < 2:
        return texts[0] if texts else "none"
    return f"{', '.join(texts[:-1])} and {texts[-1]}"
