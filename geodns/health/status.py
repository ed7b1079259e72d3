"""Everything that is known, as rows for people and JSON (`dataclasses.asdict`). Times are Unix seconds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from geodns.health.board import Board, Spot
from geodns.health.overrides import Line, Overrides, prefix_of
from geodns.health.standing import Group, Seat, Value
from geodns.health.votes import Peers
from geodns.health.watch import Watch
from geodns.problems import Problem
from geodns.table.steer import TTL_UNBOUND, Pool, Steer

RECORDS_TOLD_MAX = 100  # of one value or pool: a shared site has as many as there are names


@dataclass(frozen=True, slots=True)
class CheckRow:
    """A check: what this instance sees alone (None: nothing yet), what each peer that counts sees, and the
    state that comes of it. The last result's `ok` is None when nothing could be said; `at` is None when there
    is no result yet. `changes` is how often the state became another since the start.
    """

    key: str
    kind: str
    target: str
    own: bool | None
    own_since: float | None
    peers: dict[str, bool]
    is_up: bool | None
    failures: int
    successes: int
    rise: int
    fall: int
    ok: bool | None
    detail: str
    at: float | None
    took: float | None
    interval: float
    ttl: int | None
    changes: int


@dataclass(frozen=True, slots=True)
class ForcedRow:
    """The line of the overrides file that forces a state."""

    place: str
    target: str
    is_up: bool
    until: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class ValueRow:
    """A value of pools, once for all pools in which it stands the same.

    `is_up` is what answers go by; `real` what the checks say (None without checks or before the first look),
    `status` the zone file's up or down. `records` are the first RECORDS_TOLD_MAX of `record_count` pools as
    "owner/TYPE/pool". `ttl` is the seconds to the next possible change.
    """

    text: str
    is_up: bool
    real: bool | None
    status: bool | None
    forced: ForcedRow | None
    since: float | None
    ttl: int | None
    checks: list[str]
    records: list[str]
    record_count: int


@dataclass(frozen=True, slots=True)
class PoolRow:
    """A pool, once for all records in which it stands the same. `ramps` are values in their slow start, with
    the time since when.
    """

    name: str
    is_up: bool
    up: list[str]
    weight_up: int
    weight: int
    min_up: float
    ramps: dict[str, int]
    ttl: int | None
    records: list[str]
    record_count: int


@dataclass(frozen=True, slots=True)
class PeerRow:
    """A peer; one that is silent does not count. `id` is its name for itself, `zones` have its serials."""

    peer: str
    id: str
    counts: bool
    heard: float | None
    checks: int
    detail: str
    zones: dict[str, int]


@dataclass(frozen=True, slots=True)
class OverrideRow:
    """A line of the overrides file. `members` is how many values of pools it forces now."""

    place: str
    target: str
    is_up: bool
    until: float | None
    reason: str
    is_expired: bool
    members: int


@dataclass(frozen=True, slots=True)
class ChangeRow:
    """A value went up or down at Unix second `at`, in `records` records."""

    at: float
    text: str
    is_up: bool
    why: str
    check: str
    records: int


@dataclass(frozen=True, slots=True)
class Status:
    """The whole of it at Unix second `at`. `problems` are those of an overrides file that is not used.
    `history` are the last changes, the oldest first; all of them from `history_since` on are there.
    """

    at: float
    is_looked: bool
    values: list[ValueRow]
    checks: dict[str, CheckRow]
    pools: list[PoolRow]
    peers: list[PeerRow]
    overrides: list[OverrideRow]
    problems: list[str]
    history: list[ChangeRow]
    history_since: float


@dataclass(frozen=True, slots=True)
class Sources:
    """What a Status is made of."""

    now: float
    steers: Mapping[str, Steer]
    board: Board
    peers: Peers
    lines: Mapping[str, Mapping[Spot, Line]]
    overrides: Overrides
    problems: tuple[Problem, ...]
    history: Sequence[ChangeRow]
    history_since: float


def make(sources: Sources, is_looked: bool) -> Status:
    """The rows, in the order of the values' texts and the pools' names."""
    return Status(
        sources.now,
        is_looked,
        _values(sources),
        {key: _check(watch, sources.peers) for key, watch in sorted(sources.board.watches.items())},
        _pools(sources.board),
        [_peer(sources.peers, name) for name in sorted(peer.name for peer in sources.peers)],
        _overrides(sources),
        [str(problem) for problem in sources.problems],
        list(sources.history),
        sources.history_since,
    )


def of_steer(sources: Sources, key: str) -> tuple[tuple[ValueRow | None, ...], ...]:
    """The row of each member of each pool of one Steer; None for one that nothing is known of."""
    placed = sources.board.placed.get(key)
    if placed is None:
        return ()
    lines, prefix = sources.lines.get(key, {}), prefix_of(placed.steer)
    rows: list[tuple[ValueRow | None, ...]] = []
    for pool_at, (pool, group) in enumerate(zip(placed.steer.pools, placed.shape.groups, strict=True)):
        here = _Records()
        here.add(prefix, pool)
        rows.append(
            tuple(
                None
                if seat.value is None and seat.fixed is None
                else _value(
                    (member.text, member.is_up, seat.value, lines.get((pool_at, at))), seat, pool, here
                )
                for at, (member, seat) in enumerate(zip(pool.members, group.seats, strict=True))
            )
        )
    return tuple(rows)


def check_row(sources: Sources, key: str) -> CheckRow:
    """The row of one check, by its key."""
    return _check(sources.board.watches[key], sources.peers)


@dataclass(slots=True)
class _Records:
    """The first records of a row, and how many there are."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, prefix: str, pool: Pool) -> None:
        self.count += 1
        if self.count <= RECORDS_TOLD_MAX:
            self.shown.append(f"{prefix}{pool.name}")


_ValueKey = tuple[str, bool | None, Value | None, Line | None]


def _values(sources: Sources) -> list[ValueRow]:
    rows: dict[_ValueKey, tuple[Seat, Pool, _Records]] = {}
    for key, placed in sources.board.placed.items():
        lines = sources.lines.get(key, {})
        prefix = prefix_of(placed.steer)
        for pool_at, (pool, group) in enumerate(zip(placed.steer.pools, placed.shape.groups, strict=True)):
            for at, (member, seat) in enumerate(zip(pool.members, group.seats, strict=True)):
                line = lines.get((pool_at, at))
                if seat.value is None and seat.fixed is None:
                    continue
                row = (member.text, member.is_up, seat.value, line)
                if row not in rows:
                    rows[row] = (seat, pool, _Records())
                rows[row][2].add(prefix, pool)
    found = [_value(row, *parts) for row, parts in rows.items()]
    return sorted(found, key=lambda row: (row.text, row.checks, row.records))


def _value(key: _ValueKey, seat: Seat, pool: Pool, records: _Records) -> ValueRow:
    text, status, value, line = key
    is_known = value is not None and any(watch.is_up is not None for watch in value.watches)
    return ValueRow(
        text,
        seat.is_up,
        value.is_up if value is not None and is_known else None,
        status,
        None if line is None else ForcedRow(line.place, line.target, line.is_up, line.until, line.reason),
        _since(value) if value is not None and is_known else None,
        _bounded(seat.ttl(pool)),
        [] if value is None else [watch.key for watch in value.watches],
        records.shown,
        records.count,
    )


def _since(value: Value) -> float:
    """When it took its state; not before the first look at what holds it."""
    return max(value.since, min(watch.since for watch in value.watches if watch.is_up is not None))


def _check(watch: Watch, peers: Peers) -> CheckRow:
    monitor, last = watch.monitor, watch.last
    return CheckRow(
        watch.key,
        watch.probe.check.kind,
        watch.probe.check.target,
        monitor.is_up,
        None if monitor.is_up is None else monitor.since,
        dict(peers.ballots(watch.key)),
        watch.is_up,
        monitor.failures,
        monitor.successes,
        monitor.timing.rise,
        monitor.timing.fall,
        None if last is None else last.ok,
        "" if last is None else last.detail,
        None if last is None else last.at,
        None if last is None else last.took,
        watch.probe.interval,
        _bounded(watch.ttl),
        watch.changes,
    )


def _pools(board: Board) -> list[PoolRow]:
    rows: dict[tuple[str, Group, tuple[str, ...]], tuple[Pool, _Records]] = {}
    for placed in board.placed.values():
        prefix = prefix_of(placed.steer)
        for pool, group in zip(placed.steer.pools, placed.shape.groups, strict=True):
            key = (pool.name, group, tuple(member.text for member in pool.members))
            if key not in rows:
                rows[key] = (pool, _Records())
            rows[key][1].add(prefix, pool)
    found = [_pool(pool, group, records) for (_, group, _), (pool, records) in rows.items()]
    return sorted(found, key=lambda row: (row.name, row.records))


def _pool(pool: Pool, group: Group, records: _Records) -> PoolRow:
    standing = group.standing
    return PoolRow(
        pool.name,
        standing.is_up,
        [pool.members[at].text for at in standing.up],
        sum(seat.member.weight for seat in group.seats if seat.is_up),
        sum(member.weight for member in pool.members),
        pool.min_up,
        {pool.members[at].text: since for at, since in standing.ramps},
        _bounded(standing.ttl),
        records.shown,
        records.count,
    )


def _peer(peers: Peers, name: str) -> PeerRow:
    peer = next(peer for peer in peers if peer.name == name)
    heard = None if peer.heard == float("-inf") else peer.heard
    return PeerRow(peer.name, peer.id, peer.counts, heard, len(peer.up), peer.detail, dict(peer.zones))


def _overrides(sources: Sources) -> list[OverrideRow]:
    members: dict[Line, int] = {}
    for line in _forcing(sources):
        members[line] = members.get(line, 0) + 1
    return [
        OverrideRow(
            line.place,
            line.target,
            line.is_up,
            line.until,
            line.reason,
            not line.holds(sources.now),
            members.get(line, 0),
        )
        for line in sources.overrides.lines
    ]


def _forcing(sources: Sources) -> Iterator[Line]:
    for lines in sources.lines.values():
        yield from lines.values()


def _bounded(ttl: int) -> int | None:
    return None if ttl == TTL_UNBOUND else ttl
