"""GET /v1/traffic: what was asked in the last minutes (docs/http-api.md)."""

import asyncio
import re
import time
from collections.abc import Callable

from aiohttp import web

from geodns.control.document import document
from geodns.control.replies import Refuse, send
from geodns.traffic.recent import Recent

_SINCE = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")


def routes(recent: Recent, server_id: Callable[[], str]) -> list[web.RouteDef]:
    """The path, for a ControlApp."""

    async def traffic(request: web.Request) -> web.StreamResponse:
        since = request.query.get("since", "0")
        if not _SINCE.fullmatch(since):
            raise Refuse(400, "since is a Unix time in seconds")
        value = await asyncio.to_thread(recent.traffic, time.time(), float(since))
        return await send(request, await asyncio.to_thread(document, {"id": server_id(), **value}))

    return [web.get("/v1/traffic", traffic, allow_head=False)]
