"""GET /v1/map?name=NAME&type=TYPE: which pool answers each country now.

name, type --Atlas (made by another process)--> explain.world (in a thread) --> Document, kept per snapshot
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict

from aiohttp import web

from geodns.control.document import Document, document
from geodns.control.replies import Refuse, allow, send
from geodns.engine.snapshot import Snapshot
from geodns.explain.world import Divide, world
from geodns.name import BadName, Name
from geodns.zone.rdata import BadRdata, type_number

KEPT_MAX = 32  # maps that are remembered, 50 kB each: as many people look at different records
WAIT_SECONDS = 180.0  # for the first map: an atlas of the largest databases takes a minute or two
TYPE_USUAL = "A"


class MapPaths:
    """`snapshot` is the one that is served now; `divide` is awaited for the atlas, and may raise `unable`."""

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        divide: Callable[[], Awaitable[Divide]],
        unable: type[Exception],
    ) -> None:
        self._snapshot = snapshot
        self._divide = divide
        self._unable = unable
        self._making = asyncio.Lock()  # one at a time: it is work for a core
        self._made: dict[tuple[bytes, int], tuple[Snapshot, Divide, Document]] = {}

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/map", self._map, allow_head=False)]

    async def _map(self, request: web.Request) -> web.StreamResponse:
        name, qtype = _question(request)
        allow(request, WAIT_SECONDS)
        try:
            async with self._making:
                made = await self._document(name, qtype)
        except self._unable as error:
            raise Refuse(503, str(error)) from None
        return await send(request, made)

    async def _document(self, name: Name, qtype: int) -> Document:
        divide = await self._divide()
        snapshot = self._snapshot()
        key = name.key, qtype
        known = self._made.get(key)
        if known is None or known[0] is not snapshot or known[1] is not divide:
            made = await asyncio.to_thread(_make, snapshot, divide, name, qtype)
            self._made.pop(key, None)
            self._made[key] = known = snapshot, divide, made
            while len(self._made) > KEPT_MAX:
                del self._made[next(iter(self._made))]
        return known[2]


def _make(snapshot: Snapshot, divide: Divide, name: Name, qtype: int) -> Document:
    return document(asdict(world(snapshot, divide, name, qtype, int(time.time()))))


def _question(request: web.Request) -> tuple[Name, int]:
    """The name and the type that are asked about. Raises Refuse."""
    try:
        name = Name.parse(request.query.get("name", ""))
        return name, type_number(request.query.get("type", TYPE_USUAL).upper())
    except (BadName, BadRdata, ValueError) as error:
        raise Refuse(400, str(error)) from None
