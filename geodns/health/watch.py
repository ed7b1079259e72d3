"""One check as it stands: what this instance sees of it, and what it comes to with the peers' votes."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from geodns import config
from geodns.health.monitor import Monitor, Timing, whole_seconds
from geodns.health.votes import verdict
from geodns.health.words import Probe, Result
from geodns.table.steer import TTL_UNBOUND, Check

if TYPE_CHECKING:
    from geodns.health.standing import Value

EXTERNAL = "external"


@dataclass(slots=True, eq=False)
class Watch:
    """`is_up`, `since` and `ttl` are what members obey, with all votes; `monitor` is what we see alone.

    `has_risen` says that it came up from a known down, `changes` how often a known state became another.
    `users` are the Values that rest on it, with the check as each of them has it: its times may differ.
    """

    probe: Probe
    monitor: Monitor
    users: dict["Value", Check] = field(default_factory=dict)
    last: Result | None = None
    is_up: bool | None = None
    since: float = 0.0
    has_risen: bool = False
    changes: int = 0
    ttl: int = TTL_UNBOUND

    @property
    def key(self) -> str:
        return self.probe.key

    def stand(self, votes: Collection[bool], now: float) -> bool:
        """Count the votes. True when the state that members obey, or its TTL, is another than before."""
        before = (self.is_up, self.ttl)
        is_up = verdict(self.monitor.is_up, votes)
        if is_up is not self.is_up:
            self.has_risen = is_up is True and self.is_up is False
            self.changes += None not in (is_up, self.is_up)
            self.is_up, self.since = is_up, now
        self.ttl = self._ttl(bool(votes))
        return before != (self.is_up, self.ttl)

    def _ttl(self, is_voted: bool) -> int:
        if self.probe.check.kind == EXTERNAL:
            return TTL_UNBOUND  # a report comes when it comes
        own = self.monitor.is_up
        if own is None and self.last is not None and not is_voted:
            return TTL_UNBOUND  # not allowed here: nothing will ever change it
        if own is None or own is not self.is_up:
            return whole_seconds(self.probe.interval)  # the next look, or a peer's, can change it
        return self.monitor.ttl


def timing_of(check: Check, settings: config.Health) -> Timing:
    """How the results of a check are counted, defaults filled in."""
    interval = settings.interval if check.interval is None else check.interval
    if check.kind == EXTERNAL:
        return Timing(interval, 1, 1, 1)  # whoever reports has thought about it
    return Timing(
        interval,
        settings.rise if check.rise is None else check.rise,
        settings.fall if check.fall is None else check.fall,
        settings.ok if check.ok is None else check.ok,
    )


def probe_of(check: Check, settings: config.Health) -> Probe:
    """How a check is made, defaults filled in."""
    return Probe(
        check,
        settings.interval if check.interval is None else check.interval,
        settings.timeout if check.timeout is None else check.timeout,
        settings.jitter if check.jitter is None else check.jitter,
        (check.source,) if check.source else tuple(settings.source),
    )


def chosen(checks: Collection[Check], settings: config.Health) -> Check:
    """Of checks that differ in their times alone, the one that is made: the most often, then soonest done."""

    def order(check: Check) -> tuple[object, ...]:
        probe = probe_of(check, settings)
        timing = timing_of(check, settings)
        return (*timing, probe.timeout, probe.jitter, probe.source)

    return min(checks, key=order)
