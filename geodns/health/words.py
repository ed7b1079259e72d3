"""What the parts of this room say to each other. Times are Unix seconds, durations seconds."""

from dataclasses import dataclass
from typing import NamedTuple

from geodns.table.steer import Check


@dataclass(frozen=True, slots=True)
class Probe:
    """A check with every default filled in: what the prober makes again and again."""

    check: Check
    interval: float
    timeout: float
    jitter: float
    source: tuple[str, ...]  # addresses to check from, one for each family at most

    @property
    def key(self) -> str:
        return self.check.key


class Result(NamedTuple):
    """What one look came to; `detail` is a short text for people: "HTTP 503", "connection refused".

    `ok` is None when nothing can be said: the check is not allowed here, or nobody has reported yet. It
    counts neither as a success nor as a failure.
    """

    key: str  # of the check
    ok: bool | None
    detail: str
    at: float
    took: float


class PeerView(NamedTuple):
    """What a peer sees: by a check's key, whether it is up; None: the peer was not heard.

    `id` is what it calls itself, and `zones` are those it serves, with their serials.
    """

    peer: str  # its URL, as the config has it
    up: dict[str, bool] | None
    detail: str
    at: float
    id: str = ""
    zones: tuple[tuple[str, int], ...] = ()


class PeerHeard(NamedTuple):
    """A peer was heard, and sees what it saw before."""

    peer: str
    at: float
