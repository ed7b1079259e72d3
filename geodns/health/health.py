"""Health puts the parts together: what comes in, and the Standings that come of it. For one thread.

adopt, configure            the table's Steers and the config: what is to be checked
take, hear, override, tick  results, peers, the overrides file and the clock: what is up
standings                   what the engine reads
view, status, save          what peers, people and the next start read
"""

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from geodns import config
from geodns.health import state
from geodns.health import status as rows_
from geodns.health.board import Board, Spot
from geodns.health.overrides import Line, Matcher, Overrides, printable
from geodns.health.status import ChangeRow, CheckRow, Status, ValueRow
from geodns.health.votes import Peers
from geodns.health.watch import Watch
from geodns.health.words import PeerHeard, PeerView, Probe, Result
from geodns.problems import Problem
from geodns.table.steer import Member, Standing, Steer

HISTORY_MAX = 1000  # changes remembered, 300 octets each: a site of 100 values that flaps for a day
DETAIL_CHARACTERS_MAX = 200  # of a result's text: it stands in a line of the log


@dataclass(frozen=True, slots=True)
class Change:
    """A value that went up or down in `records` records. `check` is its key; "" where an override did it."""

    text: str
    is_up: bool
    why: str
    check: str
    records: int

    def __str__(self) -> str:
        state = "up" if self.is_up else "down"
        check = f" ({self.check})" if self.check else ""
        rest = "1 record rests" if self.records == 1 else f"{self.records:,} records rest"
        return f"{self.text} is {state}: {self.why}{check}, {rest} on it"


class Health:
    """Which values are up. Every method takes the time, in Unix seconds; nothing here reads a clock."""

    def __init__(self, settings: config.Health) -> None:
        self._peers = Peers()
        self._board = Board(settings, self._begin, self._stand)
        self._steers: Mapping[str, Steer] = {}
        self._unlooked: set[str] = set()
        self._view: dict[str, bool] | None = None
        self._saved = state.NOTHING
        self._now = 0.0
        self._history: deque[ChangeRow] = deque(maxlen=HISTORY_MAX)
        self._history_since = 0.0  # all changes from then on are in it
        self._overrides = Overrides()
        self._problems: tuple[Problem, ...] = ()
        self._matcher = Matcher()
        self._expiry: float | None = None
        self._lines: dict[str, dict[Spot, Line]] = {}  # by Steer, the lines that force its members
        self._released: dict[str, dict[tuple[str, str], int]] = {}  # by Steer, then by pool and value

    @property
    def standings(self) -> Mapping[str, Standing]:
        """How the Steers stand that are not as their `base` says, by key; replaced, never changed."""
        return self._board.standings

    @property
    def is_looked(self) -> bool:
        """Whether every check has a result, or a saved state."""
        return not self._unlooked

    # ---------------------------------------------------------------------------------- what is checked

    def adopt(self, steers: Mapping[str, Steer], now: float) -> tuple[list[Probe], list[str]]:
        """These are the Steers now: the probes to make from now on or otherwise than before, and the keys of
        those to make no more. Checks that stay keep their state.
        """
        self._now = now
        if not self._history_since:
            self._history_since = now
        before, self._steers = self._steers, dict(steers)
        for key, steer in self._steers.items():
            if before.get(key) is not steer:
                self._force(steer, self._matcher.find(steer), now)
        for key in before.keys() - self._steers.keys():
            self._board.remove(key)
            self._lines.pop(key, None)
            self._released.pop(key, None)
        return self._told(self._board.sweep(now))

    def configure(self, settings: config.Health, now: float) -> tuple[list[Probe], list[str]]:
        """These are the defaults now: the probes that are made otherwise than before, and no keys."""
        self._now = now
        return self._told(self._board.configure(settings, now))

    def _told(self, probes: tuple[list[Probe], list[str]]) -> tuple[list[Probe], list[str]]:
        added, gone = probes
        self._unlooked.difference_update(gone)
        for probe in added:
            watch = self._board.watches[probe.key]
            if watch.last is None and watch.monitor.is_up is None:
                self._unlooked.add(probe.key)
        self._view = None
        self._board.publish()
        return probes

    # -------------------------------------------------------------------------------------- what is up

    def take(self, results: Iterable[Result], now: float) -> list[Change]:
        """Count the results of checks. Those of checks that are not made any more are ignored."""
        self._now = now
        changed = []
        for result in results:
            watch = self._board.watches.get(result.key)
            if watch is not None and self._take(watch, result, now):
                changed.append(watch)
        return self._settle(changed, now) if changed else []

    def hear(self, view: PeerView | PeerHeard, now: float) -> list[Change]:
        """Count what a peer sees, or that it was not heard."""
        self._now = now
        return self._recount(self._peers.hear(view, now), now)

    def override(self, overrides: Overrides, now: float) -> list[Change]:
        """These lines force states now. With problems in them those from before stay."""
        self._now = now
        self._problems = overrides.problems
        if overrides.problems:
            return []
        self._overrides = overrides
        return self._force_anew(now)

    def tick(self, now: float) -> list[Change]:
        """Let time pass: overrides that expire, peers that fall silent, slow starts that are over."""
        self._now = now
        changes = self._recount(self._peers.tick(now), now)
        if self._expiry is not None and now >= self._expiry:
            changes += self._force_anew(now)
        self._end_releases(now)
        self._board.tick(now)
        self._board.publish()
        return changes

    def _take(self, watch: Watch, result: Result, now: float) -> bool:
        """Count one result. True when the votes have to be counted again."""
        is_first, watch.last = watch.last is None, _cleaned(result)
        self._unlooked.discard(result.key)
        if result.ok is None:
            return is_first
        before = watch.monitor.is_up
        if not watch.monitor.take(result.ok, now):
            return False
        if watch.monitor.is_up is not before:
            self._view = None
        return True

    def _recount(self, keys: Iterable[str], now: float) -> list[Change]:
        watches = self._board.watches
        return self._settle([watches[key] for key in keys if key in watches], now)

    def _settle(self, watches: Iterable[Watch], now: float) -> list[Change]:
        turned = self._board.settle([watch for watch in watches if self._stand(watch, now)], now)
        self._board.publish()
        return self._remember(
            [
                Change(text, value.is_up, self._why(watch), watch.key, records)
                for value, watch in turned
                for text, records in value.texts.items()
            ]
        )

    def _remember(self, changes: list[Change]) -> list[Change]:
        """The changes, which have come into the history."""
        for change in changes:
            if len(self._history) == HISTORY_MAX:
                self._history_since = self._history[0].at
            at = self._now
            row = ChangeRow(at, change.text, change.is_up, change.why, change.check, change.records)
            self._history.append(row)
        return changes

    def _stand(self, watch: Watch, now: float) -> bool:
        return watch.stand(self._peers.votes(watch.key), now)

    def _why(self, watch: Watch) -> str:
        """The last result, and who sees it so when there is more than one opinion."""
        own = watch.monitor.is_up
        votes = self._peers.votes(watch.key) + ([] if own is None else [own])
        here = "" if watch.last is None else watch.last.detail
        if len(votes) < 2 and own is not None:
            return here
        state = "up" if watch.is_up else "down"
        told = f"{votes.count(watch.is_up is not False)} of {len(votes)} instances see it {state}"
        return f"{told}; here: {here}" if here else told

    # ------------------------------------------------------------------------------------- what is forced

    def _force_anew(self, now: float) -> list[Change]:
        """Find out again which lines force what, and place the Steers for which that is another."""
        holding = [line for line in self._overrides.lines if line.holds(now)]
        self._expiry = min((line.until for line in holding if line.until is not None), default=None)
        self._matcher = Matcher(holding)
        turned: dict[Change, int] = {}
        for key in list(self._steers if holding else self._lines):
            steer = self._steers[key]
            lines, before = self._matcher.find(steer), self._lines.get(key, {})
            if _states(lines) != _states(before):
                for change in self._turns(steer, before, lines):
                    turned[change] = turned.get(change, 0) + 1
                self._release(steer, before, lines, now)
                self._force(steer, lines, now)
            elif lines:
                self._lines[key] = lines  # the same states, from lines that stand elsewhere now
        self._board.sweep(now)
        self._board.publish()
        return self._remember([replace(change, records=records) for change, records in turned.items()])

    def _force(self, steer: Steer, lines: dict[Spot, Line], now: float) -> None:
        """Place a Steer on the board, or take it away when nothing can change how it stands."""
        if lines:
            self._lines[steer.key] = lines
        else:
            self._lines.pop(steer.key, None)
        if lines or any(member.checks for pool in steer.pools for member in pool.members):
            forced = _states(lines)
            self._board.place(steer, forced, self._released_spots(steer, forced), now)
        else:
            self._board.remove(steer.key)

    def _turns(self, steer: Steer, before: dict[Spot, Line], after: dict[Spot, Line]) -> set[Change]:
        """The values of a record that go up or down when other lines force them."""
        turns = set()
        for spot in before.keys() | after.keys():
            member = _member(steer, spot)
            line = after.get(spot)
            is_up = self._is_up(member, line)
            if is_up is not self._is_up(member, before.get(spot)):
                why = _forced_by(line) if line else f"no longer forced by {before[spot].place}"
                turns.add(Change(member.text, is_up, why, "", 0))
        return turns

    def _is_up(self, member: Member, line: Line | None) -> bool:
        if line is not None:
            return line.is_up
        if member.is_up is not None:
            return member.is_up
        value = self._board.value_of(member.checks)
        return value is None or value.is_up

    def _release(self, steer: Steer, before: dict[Spot, Line], after: dict[Spot, Line], now: float) -> None:
        """Members that were forced down, and obey their checks again, start slowly."""
        released = self._released.setdefault(steer.key, {})
        for spot in before.keys() | after.keys():
            pool, member = steer.pools[spot[0]], _member(steer, spot)
            if spot in after:
                released.pop((pool.name, member.text), None)
            elif not before[spot].is_up and pool.slow_start and member.is_up is None:
                released[pool.name, member.text] = int(now)
        if not released:
            del self._released[steer.key]

    def _released_spots(self, steer: Steer, forced: Mapping[Spot, bool]) -> dict[Spot, int]:
        released = self._released.get(steer.key)
        if not released:
            return {}
        return {
            (pool_at, at): released[pool.name, member.text]
            for pool_at, pool in enumerate(steer.pools)
            for at, member in enumerate(pool.members)
            if (pool.name, member.text) in released and (pool_at, at) not in forced
        }

    def _end_releases(self, now: float) -> None:
        for key in list(self._released):
            steer, released = self._steers[key], self._released[key]
            lasting = {pool.name: pool.slow_start for pool in steer.pools}
            over = [spot for spot, at in released.items() if now - at >= lasting.get(spot[0], 0)]
            if over:
                for spot in over:
                    del released[spot]
                if not released:
                    del self._released[key]
                self._force(steer, self._lines.get(key, {}), now)
                self._board.sweep(now)

    # ---------------------------------------------------------------------------------------- what is told

    def view(self) -> dict[str, bool]:
        """What this instance sees by itself, for its peers: by a check's key, whether it is up. Not to be
        changed; another dict when something is different.
        """
        if self._view is None:
            states = ((key, watch.monitor.is_up) for key, watch in self._board.watches.items())
            self._view = {key: is_up for key, is_up in states if is_up is not None}
        return self._view

    def status(self) -> Status:
        """Everything that is known of every value that is checked or forced, for people and as JSON."""
        return rows_.make(self._sources(), self.is_looked)

    def explain(self, key: str) -> tuple[tuple[tuple[ValueRow | None, ...], ...], dict[str, CheckRow]]:
        """What is known of each member of each pool of one Steer (None: nothing), and of their checks."""
        sources = self._sources()
        rows = rows_.of_steer(sources, key)
        checks = {check for pool in rows for row in pool if row is not None for check in row.checks}
        return rows, {check: rows_.check_row(sources, check) for check in checks}

    def _sources(self) -> rows_.Sources:
        return rows_.Sources(
            self._now,
            self._steers,
            self._board,
            self._peers,
            self._lines,
            self._overrides,
            self._problems,
            self._history,
            self._history_since,
        )

    def save(self) -> dict[str, Any]:
        """What `restore` needs at the next start, for JSON."""
        return state.save(self._board.watches, self._peers, self._now)

    def restore(self, saved: dict[str, Any], now: float) -> list[Problem]:
        """Begin where an earlier process ended, with checks that have no result yet, also ones adopted later.

        A saved state that is broken changes nothing, and is a Problem.
        """
        self._now = now
        try:
            self._saved = state.parse(saved)
        except ValueError as error:
            return [Problem("the saved state", 0, 0, "", str(error))]
        voted = {key for view in self._saved.peers for key in self._peers.hear(view, now)}
        watches = [watch for watch in self._board.watches.values() if watch.monitor.is_up is None]
        for watch in watches:
            self._begin(watch, now)
            if watch.monitor.is_up is not None:
                self._unlooked.discard(watch.key)
        self._board.resume(watches, now)
        self._view = None
        self._recount(voted, now)
        return []

    def _begin(self, watch: Watch, now: float) -> None:
        """Give a check its saved state, once, and count the votes that there are."""
        saved = self._saved.checks.pop(watch.key, None)
        if saved is not None:
            monitor = watch.monitor
            monitor.is_up, monitor.since = saved.up, min(saved.since, now)
            watch.last = None if saved.last is None else _cleaned(saved.last)
            if not self._saved.is_old(now):
                monitor.failures, monitor.successes = saved.failures, saved.successes
                monitor.is_settled = True
        self._stand(watch, now)
        if saved is not None and watch.is_up is saved.stood:
            watch.since, watch.has_risen = min(saved.stood_since, now), saved.has_risen


def _cleaned(result: Result) -> Result:
    """A result as it may stand in a log: part of its text is what a server out there said."""
    detail = result.detail
    if len(detail) <= DETAIL_CHARACTERS_MAX and detail.isprintable():
        return result
    return result._replace(detail=printable(detail[:DETAIL_CHARACTERS_MAX]))


def _states(lines: Mapping[Spot, Line]) -> dict[Spot, bool]:
    return {spot: line.is_up for spot, line in lines.items()}


def _member(steer: Steer, spot: Spot) -> Member:
    pool, member = spot
    return steer.pools[pool].members[member]


def _forced_by(line: Line) -> str:
    return f"forced by {line.place}" + (f" ({line.reason})" if line.reason else "")
