"""What a scrape tells, gathered from all who know a part of it."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from geodns.config import server_id
from geodns.name import Name
from geodns.server.keeper import Keeper
from geodns.server.library import Library, ZoneFile
from geodns.server.listeners import Listeners
from geodns.traffic.writer import Writer

if TYPE_CHECKING:
    from geodns.control.metrics import Facts, ZoneFacts


class Gatherer:
    """Asks the library, the keeper and the listeners. `not_ready` says why queries should go elsewhere."""

    def __init__(
        self,
        library: Library,
        keeper: Keeper,
        listeners: Listeners,
        engine: str,
        not_ready: Callable[[], str],
        writers: Sequence[Writer],
    ) -> None:
        self._library = library
        self._keeper = keeper
        self._listeners = listeners
        self._engine = engine
        self._not_ready = not_ready
        self._writers = writers

    async def gather(self) -> "Facts":
        """All of it, as it is now; for the event loop's thread."""
        from geodns.control.metrics import Facts  # with aiohttp, which only the endpoint needs

        library = self._library
        return Facts(
            server_id=server_id(library.config),
            engine=self._engine,
            sums=await asyncio.to_thread(self._listeners.sums),
            connections=self._listeners.connections,
            zones=[_zone(file) for file in list(library.files.values())],
            problems=len(library.problems),
            loaded_at=library.loaded_at,
            status=await self._keeper.rows(),
            not_ready=self._not_ready(),
            written={writer.name: writer.written for writer in self._writers},
            drops={writer.name: writer.dropped for writer in self._writers},
        )


def _zone(file: ZoneFile) -> "ZoneFacts":
    from geodns.control.metrics import FAILED, SERVED, STALE, ZoneFacts

    errors = sum(problem.is_error for problem in file.problems)
    table = file.table
    return ZoneFacts(
        str(Name(file.apex)),
        FAILED if table is None else STALE if errors else SERVED,
        None if table is None else table.serial,
        None if table is None else table.records,
        errors,
        len(file.problems) - errors,
    )
