"""What the HTTP API asks of the server: zones, explanations, places, forced states, a reload.

    control.api --> Desk --> Library (zones and problems), Keeper (health), Reloader, Clerks (zone files)

It decides nothing, and has no work done in the event loop's thread that could keep others waiting.
"""

import asyncio
import time
from math import ceil
from pathlib import Path

from geodns.config import Config
from geodns.control.forms import (
    Located,
    Overridden,
    Override,
    OverrideRow,
    Overrides,
    ProblemRow,
    Reloaded,
    ZoneRow,
    Zones,
)
from geodns.control.replies import Refuse
from geodns.control.tasks import Outcome, Task
from geodns.explain import Explanation, explain
from geodns.geo import overrides as places
from geodns.geo.address import Address, Prefix
from geodns.geo.database import DatabaseError
from geodns.geo.locator import Locator
from geodns.geo.report import report
from geodns.health import overrides
from geodns.health.health import Health
from geodns.name import Name
from geodns.problems import Problem
from geodns.server.clerks import Clerks
from geodns.server.files import Fingerprint, fingerprint_of
from geodns.server.keeper import Keeper
from geodns.server.library import Library, ZoneFile
from geodns.server.reload import Reloader
from geodns.server.served import Drained, Served
from geodns.table.compile import table_steers
from geodns.zone import zone_file_name


class Desk:
    """`control.api.Server`. All methods are for the event loop's thread."""

    def __init__(
        self, library: Library, keeper: Keeper, served: Served, reloader: Reloader, clerks: Clerks
    ) -> None:
        self._library = library
        self._keeper = keeper
        self._served = served
        self._reloader = reloader
        self._clerks = clerks
        self._locating = asyncio.Lock()
        self._locator: tuple[object, Locator] | None = None

    @property
    def config(self) -> Config:
        return self._library.config

    def file_of(self, apex: Name) -> str:
        """The name of the file that has this zone, as it was loaded last; that of a new one otherwise."""
        usual = zone_file_name(apex)
        files = self._library.files
        if str(self.config.zones / usual) in files:
            return usual
        return next((Path(path).name for path, file in files.items() if file.apex == apex.key), usual)

    async def zones(self) -> Zones:
        """Every zone file, sorted by its zone."""
        files, problems = dict(self._library.files), list(self._library.problems)
        return await asyncio.to_thread(_zones, files, problems)

    async def perform(self, task: Task) -> Outcome:
        """Work on zone files, in another process."""
        return await self._clerks.perform(task)

    async def explain(self, name: Name, qtype: int, client: Address, subnet: Prefix | None) -> Explanation:
        """Of the snapshot that is served now. Raises Refuse."""

        def explained(health: Health) -> Explanation:
            return explain(
                self._served.snapshot, locator, name, qtype, client, int(time.time()), health, subnet
            )

        async with self._locating:
            try:
                locator = await self._open_locator()
                return await self._keeper.with_health(explained)
            except DatabaseError as error:
                raise Refuse(409, str(error)) from None
            except Drained:
                raise Refuse(409, "this server is being replaced by another one; ask again") from None

    async def locate(self, address: Address) -> Located:
        """Where an address is. Raises Refuse."""
        async with self._locating:
            try:
                locator = await self._open_locator()
                found = await asyncio.to_thread(locator.explain, address)
            except DatabaseError as error:
                raise Refuse(409, str(error)) from None
        return Located.model_validate(report(found))

    async def _open_locator(self) -> Locator:
        """The databases as they are now; kept open until they change."""
        config = self._library.config
        prints = await asyncio.to_thread(_fingerprints, config)
        key = (prints, tuple(config.geo.overrides.items()))
        if self._locator is None or self._locator[0] != key:
            old, self._locator = self._locator, None
            for database in old[1].databases if old else ():
                database.close()
            given, _ = places.parse(config.geo.overrides)
            paths = [path for path, _ in prints]
            self._locator = key, await asyncio.to_thread(Locator.open, paths, given)
        return self._locator[1]

    async def overrides(self) -> Overrides:
        """The states that are forced."""
        found = await asyncio.to_thread(overrides.read, self.config.overrides_file)
        now = time.time()
        return Overrides(
            overrides=[_override_row(line) for line in found.lines if line.holds(now)],
            problems=[ProblemRow.of(problem) for problem in found.problems],
        )

    async def override(self, asked: Override) -> Overridden:
        """Force a state, or leave it to the checks; as `geodns up`, `down` and `auto` do. Raises Refuse."""
        return await asyncio.to_thread(self._override, asked)

    def _override(self, asked: Override) -> Overridden:
        try:
            steers = table_steers(self._served.snapshot.table).values()
        except Drained:
            raise Refuse(409, "this server is being replaced by another one; ask again") from None
        file = self.config.overrides_file
        reach = overrides.reach(asked.target, steers)
        until = None
        if asked.state != "auto":
            if not (reach.values or asked.force):
                hint = '"force": true to write it all the same'
                raise Refuse(422, f'no value that is served matches "{asked.target}" ({hint})')
            until = None if asked.for_ is None else ceil(time.time() + float(asked.for_))
        state = None if asked.state == "auto" else asked.state
        edited = overrides.edit(file, asked.target, state, until, asked.reason)
        if edited.problems:
            rows = [ProblemRow.of(problem).model_dump() for problem in edited.problems]
            raise Refuse(422, f"{file} was not changed", {"problems": rows})
        others = []
        if state is None:
            others = overrides.holding(asked.target, overrides.read(file).lines, steers, time.time())
        return Overridden(
            target=asked.target,
            state=asked.state,
            until=until,
            values=reach.values,
            records=reach.records,
            removed=edited.removed,
            others=[_override_row(line) for line in others],
        )

    async def reload(self) -> Reloaded:
        """Read everything again, as SIGHUP does, and wait until that is done."""
        is_loaded, problems = await self._reloader.reload()
        problems = [*problems, *self._library.problems]
        for file in self._library.files.values():
            problems += file.problems
        return Reloaded(
            loaded=is_loaded,
            zones=len(self._library.zones),
            problems=[ProblemRow.of(problem) for problem in problems],
        )


def _zones(files: dict[str, ZoneFile], problems: list[Problem]) -> Zones:
    found = sorted(files.items(), key=lambda item: Name(item[1].apex))
    rows = [_zone_row(path, file) for path, file in found]
    return Zones(zones=rows, problems=[ProblemRow.of(problem) for problem in problems])


def _zone_row(path: str, file: ZoneFile) -> ZoneRow:
    table = file.table
    is_broken = any(problem.is_error for problem in file.problems)
    return ZoneRow(
        zone=str(Name(file.apex)),
        file=path,
        serial=None if table is None else table.serial,
        state="failed" if table is None else "stale" if is_broken else "served",
        records=0 if table is None else table.records,
        problems=[ProblemRow.of(problem) for problem in file.problems],
    )


def _override_row(line: overrides.Line) -> OverrideRow:
    return OverrideRow(
        target=line.target,
        state="up" if line.is_up else "down",
        until=line.until,
        reason=line.reason,
        place=line.place,
    )


def _fingerprints(config: Config) -> tuple[tuple[str, Fingerprint], ...]:
    return tuple((str(path), fingerprint_of(str(path))) for path in config.database_files())
