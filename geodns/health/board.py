"""Who rests on what: from a check to everything that has to be computed again when it changes.

place(steer) --> Shape, Groups, Values, Watches, each shared by all that are equal
changed Watches --settle--> changed Values --> Groups --> Shapes --> `standings`
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from geodns import config
from geodns.health.monitor import Monitor
from geodns.health.standing import Group, GroupKey, Seat, Shape, Value, group_key, standing_of
from geodns.health.watch import Watch, chosen, probe_of, timing_of
from geodns.health.words import Probe
from geodns.table.steer import Check, Pool, Standing, Steer

Spot = tuple[int, int]
"""A member of a Steer: (index of the pool, index of the member in it)."""


@dataclass(slots=True, eq=False)
class Placed:
    """Where a Steer stands, and which of its members obey their checks: (Value, text), each once."""

    steer: Steer
    shape: Shape
    obeying: tuple[tuple[Value, str], ...]


class Board:
    """Everything that is checked or forced, and nothing else."""

    def __init__(
        self,
        settings: config.Health,
        begin: Callable[[Watch, float], None],
        stand: Callable[[Watch, float], bool],
    ) -> None:
        """`begin` tells a new Watch what is known of its check; `stand` lets it count the votes."""
        self.settings = settings
        self._begin = begin
        self._stand = stand
        self.watches: dict[str, Watch] = {}
        self.placed: dict[str, Placed] = {}
        self.standings: Mapping[str, Standing] = {}
        self._values: dict[tuple[Check, ...], Value] = {}
        self._groups: dict[GroupKey, Group] = {}
        self._shapes: dict[tuple[Group, ...], Shape] = {}
        self._changed: dict[str, Standing | None] = {}  # to be published; None: not told any more
        self._emptied: dict[Shape, None] = {}
        self._touched: dict[str, None] = {}  # keys of checks whose users changed
        self._untold: set[str] = set()  # keys of checks that nobody was told of yet
        self._ramping: dict[Group, None] = {}

    # ------------------------------------------------------------------------------- placing and removing

    def place(
        self, steer: Steer, forced: Mapping[Spot, bool], released: Mapping[Spot, int], now: float
    ) -> None:
        """Add a Steer, or move it to where it stands with these overrides. `sweep` has to follow."""
        groups = tuple(
            self._group(pool, tuple(self._seats(pool, at, forced, released, now)), now)
            for at, pool in enumerate(steer.pools)
        )
        shape = self._shapes.get(groups)
        if shape is None:
            standing = Standing(tuple(group.standing for group in groups))
            shape = self._shapes[groups] = Shape(groups, steer.base, standing)
            for group in groups:
                group.shapes[shape] = None
        self.remove(steer.key)
        shape.steers[steer.key] = steer
        obeying = tuple(_obeying(groups, steer))
        for value, text in obeying:
            value.texts[text] = value.texts.get(text, 0) + 1
        self.placed[steer.key] = Placed(steer, shape, obeying)
        self._tell(shape, (steer.key,))

    def remove(self, key: str) -> None:
        """Take a Steer away, if it is there. `sweep` has to follow."""
        placed = self.placed.pop(key, None)
        if placed is None:
            return
        del placed.shape.steers[key]
        if not placed.shape.steers:
            self._emptied[placed.shape] = None
        for value, text in placed.obeying:
            value.texts[text] -= 1
            if not value.texts[text]:
                del value.texts[text]
        self._changed[key] = None

    def sweep(self, now: float) -> tuple[list[Probe], list[str]]:
        """Forget what nothing rests on any more: the probes that are new or changed, and the keys gone."""
        for shape in self._emptied:
            if not shape.steers:
                del self._shapes[shape.groups]
                for group in dict.fromkeys(shape.groups):
                    self._leave(group, shape)
        self._emptied.clear()
        return self._settle_probes(now)

    def configure(self, settings: config.Health, now: float) -> tuple[list[Probe], list[str]]:
        """Take other defaults: the probes that are changed by them, and no keys."""
        self.settings = settings
        self._touched.update(dict.fromkeys(self.watches))
        return self._settle_probes(now)

    def _group(self, pool: Pool, seats: tuple[Seat, ...], now: float) -> Group:
        key = group_key(pool, seats)
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(key, pool, seats, standing_of(pool, seats, now))
            for value in group.values:
                value.groups[group] = None
            self._note_ramps(group)
        return group

    def _seats(
        self, pool: Pool, at: int, forced: Mapping[Spot, bool], released: Mapping[Spot, int], now: float
    ) -> Iterator[Seat]:
        for member_at, member in enumerate(pool.members):
            value = self._value(member.checks, now) if member.checks else None
            spot = (at, member_at)
            yield Seat(member, value, forced.get(spot), released.get(spot))

    def _value(self, checks: tuple[Check, ...], now: float) -> Value:
        value = self._values.get(checks)
        if value is None:
            watches = tuple(dict.fromkeys(self._watch(check, now) for check in checks))
            value = self._values[checks] = Value(checks, watches)
            for check in checks:
                self.watches[check.key].users[value] = check
                self._touched[check.key] = None
            value.begin()
        return value

    def _watch(self, check: Check, now: float) -> Watch:
        watch = self.watches.get(check.key)
        if watch is None:
            watch = Watch(probe_of(check, self.settings), Monitor(timing_of(check, self.settings)))
            self.watches[check.key] = watch
            self._untold.add(check.key)
            self._begin(watch, now)
        return watch

    def _leave(self, group: Group, shape: Shape) -> None:
        del group.shapes[shape]
        if group.shapes:
            return
        del self._groups[group.key]
        self._ramping.pop(group, None)
        for value in group.values:
            del value.groups[group]
            if not value.groups:
                del self._values[value.checks]
                for watch in value.watches:
                    del watch.users[value]
                    self._touched[watch.key] = None

    def _settle_probes(self, now: float) -> tuple[list[Probe], list[str]]:
        probes: list[Probe] = []
        gone: list[str] = []
        retimed: list[Watch] = []
        for key in self._touched:
            watch = self.watches[key]
            if not watch.users:
                del self.watches[key]
                gone.append(key)
                continue
            check = chosen(watch.users.values(), self.settings)
            probe, timing = probe_of(check, self.settings), timing_of(check, self.settings)
            if probe != watch.probe or key in self._untold:
                probes.append(probe)
            if timing != watch.monitor.timing:
                watch.monitor.timing = timing
                retimed.append(watch)
            watch.probe = probe
        self._touched.clear()
        self._untold.clear()
        self.settle([watch for watch in retimed if self._stand(watch, now)], now)
        return probes, gone

    # ------------------------------------------------------------------------------------------- changing

    def settle(self, watches: Iterable[Watch], now: float) -> list[tuple[Value, Watch]]:
        """Compute what rests on these checks: the values that turned, each with a check that did it."""
        values = {value: watch for watch in watches for value in watch.users}
        turned = [(value, watch) for value, watch in values.items() if value.change(now)]
        self._settle_groups(_groups_of(values), now)
        return turned

    def resume(self, watches: Iterable[Watch], now: float) -> None:
        """As `settle`, for checks whose state was saved: it begins where it ended, as if it had been so."""
        values = dict.fromkeys(value for watch in watches for value in watch.users)
        for value in values:
            value.begin()
        self._settle_groups(_groups_of(values), now)

    def tick(self, now: float) -> None:
        """End the slow starts that are over."""
        over = [group for group in self._ramping if group.ramps_end is None or group.ramps_end <= now]
        self._settle_groups(over, now)

    def publish(self) -> None:
        """Replace `standings` if anything is different."""
        told = self.standings
        # by identity: a Shape keeps its Standing until it is another, and there may be very many keys
        changed = {key: standing for key, standing in self._changed.items() if told.get(key) is not standing}
        self._changed.clear()
        if changed:
            after = dict(told)
            after.update((key, standing) for key, standing in changed.items() if standing is not None)
            for key, standing in changed.items():
                if standing is None:
                    del after[key]
            self.standings = after

    def value_of(self, checks: tuple[Check, ...]) -> Value | None:
        """What a member with these checks rests on, if anything that is placed does."""
        return self._values.get(checks)

    def _settle_groups(self, groups: Iterable[Group], now: float) -> None:
        shapes: dict[Shape, None] = {}
        for group in groups:
            if group.change(now):
                shapes.update(group.shapes)
            self._note_ramps(group)
        for shape in shapes:
            if shape.change():
                self._tell(shape, shape.steers)

    def _note_ramps(self, group: Group) -> None:
        if group.standing.ramps:
            self._ramping[group] = None
        else:
            self._ramping.pop(group, None)

    def _tell(self, shape: Shape, keys: Iterable[str]) -> None:
        self._changed.update(dict.fromkeys(keys, shape.standing if shape.is_told else None))


def _groups_of(values: Iterable[Value]) -> dict[Group, None]:
    return dict.fromkeys(group for value in values for group in value.groups)


def _obeying(groups: tuple[Group, ...], steer: Steer) -> dict[tuple[Value, str], None]:
    """The members that obey their checks, equal ones once."""
    return {
        (seat.value, member.text): None
        for group, pool in zip(groups, steer.pools, strict=True)
        for seat, member in zip(group.seats, pool.members, strict=True)
        if seat.value is not None and seat.fixed is None
    }
