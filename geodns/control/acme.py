"""The paths for ACME challenges: ours, and those of acme-dns.

GET /v1/acme-dns-01             the challenges that are answered
PUT /v1/acme-dns-01/NAME        {"value": ..., "seconds": 3600}: set one more value of NAME
DELETE /v1/acme-dns-01/NAME     {"value": ...} or nothing: clear it, or all of NAME
GET, PUT /v1/acme/state         for peers: what an instance knows, and what it is told

POST /register, POST /update, GET /health    as https://github.com/joohoi/acme-dns has them

The paths of acme-dns have a guard of their own (X-Api-User and X-Api-Key, or who may register), and are
there only where the config has `acme.zone`.
"""

import asyncio
import json
from typing import Any, Protocol

from aiohttp import web

from geodns.acme import accounts
from geodns.acme.words import Refused
from geodns.config import OPEN, Acme
from geodns.control.document import Document
from geodns.control.guard import shows
from geodns.control.replies import HEADERS, Refuse, reply, send

BODY_SECONDS = 5.0  # for a body of a packet or two
FIELD_CHARACTERS_MAX = 128  # of a user or a key

ACME_DNS = frozenset({"/register", "/update", "/health"})


class Challenges(Protocol):
    """Whom the paths ask. What can not be done raises `acme.words.Refused`."""

    @property
    def settings(self) -> Acme: ...

    def live(self) -> dict[str, Any]: ...

    def state(self) -> Document: ...

    async def put(self, name: str, value: Any, seconds: float = ...) -> dict[str, Any]: ...

    async def clear(self, name: str, value: Any = None) -> dict[str, Any]: ...

    async def merge(self, given: Any) -> dict[str, Any]: ...

    async def register(self, allow_from: list[accounts.Network]) -> dict[str, Any]: ...

    async def update(
        self, user: str, key: str, address: str, subdomain: Any, value: Any
    ) -> dict[str, Any]: ...


class AcmePaths:
    """`token` opens what registering needs, and may be assigned at any time."""

    def __init__(self, challenges: Challenges, token: str | None) -> None:
        self.token = token
        self._challenges = challenges

    @property
    def own_guard(self) -> frozenset[str]:
        """The paths that the token does not guard."""
        return frozenset() if self._challenges.settings.zone is None else ACME_DNS

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/v1/acme-dns-01", self._live, allow_head=False),
            web.put("/v1/acme-dns-01/{name}", self._set),
            web.delete("/v1/acme-dns-01/{name}", self._clear),
            web.get("/v1/acme/state", self._state, allow_head=False),
            web.put("/v1/acme/state", self._merge),
            web.post("/register", self._register),
            web.post("/update", self._update),
            web.get("/health", self._health, allow_head=False),
        ]

    # Ours

    async def _live(self, request: web.Request) -> web.StreamResponse:
        return reply(200, self._challenges.live())

    async def _set(self, request: web.Request) -> web.StreamResponse:
        body = await _body(request, {"value", "seconds"})
        seconds = body.get("seconds")
        more = {} if seconds is None else {"seconds": _seconds(seconds)}
        name, value = request.match_info["name"], body.get("value")
        return reply(200, await _asked(self._challenges.put(name, value, **more)))

    async def _clear(self, request: web.Request) -> web.StreamResponse:
        value = (await _body(request, {"value"})).get("value")
        return reply(200, await _asked(self._challenges.clear(request.match_info["name"], value)))

    async def _state(self, request: web.Request) -> web.StreamResponse:
        # There are hashes of keys in it, so that to be on this machine is not enough.
        if not shows(request.headers.getall("Authorization", []), self.token):
            raise Refuse(401, "this needs the token (Authorization: Bearer TOKEN)")
        return await send(request, self._challenges.state())

    async def _merge(self, request: web.Request) -> web.StreamResponse:
        return reply(200, await _asked(self._challenges.merge(await _body(request))))

    # acme-dns's

    async def _register(self, request: web.Request) -> web.StreamResponse:
        self._check_is_on()
        self._check_may_register(request)
        body = await _body(request, {"allowfrom"})
        try:
            allow_from = accounts.networks(body.get("allowfrom", []))
        except Refused as error:
            raise Refuse(error.status, f"invalid_allowfrom_cidr: {error}") from None
        return reply(201, await _asked(self._challenges.register(allow_from)))

    async def _update(self, request: web.Request) -> web.StreamResponse:
        self._check_is_on()
        user, key = (_field(request, name) for name in ("X-Api-User", "X-Api-Key"))
        body = await _body(request, {"subdomain", "txt"})
        wanted = self._challenges.update(
            user, key, request.remote or "", body.get("subdomain"), body.get("txt")
        )
        return reply(200, await _asked(wanted))

    async def _health(self, request: web.Request) -> web.StreamResponse:
        self._check_is_on()
        return web.Response(headers=HEADERS)

    def _check_is_on(self) -> None:
        if self._challenges.settings.zone is None:
            raise Refuse(404, "acme-dns's paths are here where the config has acme.zone")

    def _check_may_register(self, request: web.Request) -> None:
        shown = request.headers.getall("Authorization", [])
        if shown:
            if not shows(shown, self.token):
                raise Refuse(401, "this is not the token")
            return
        if "Origin" in request.headers:
            # a page of any site can have its visitors' browsers send this from an address that may
            raise Refuse(403, "a page of another site registers nothing without the token")
        allowed = self._challenges.settings.allow_register
        if OPEN not in allowed and not accounts.is_within(request.remote or "", accounts.networks(allowed)):
            raise Refuse(401, "to register needs the token, or an address in acme.allow_register")


async def _asked(work: Any) -> Any:
    """What comes of it; what is refused becomes the answer."""
    try:
        return await work
    except Refused as error:
        raise Refuse(error.status, str(error)) from None


async def _body(request: web.Request, keys: set[str] | None = None) -> dict[str, Any]:
    """The JSON object of a request, with none but these keys; an empty body is an empty object."""
    async with asyncio.timeout(BODY_SECONDS):
        octets = await request.read()
    if not octets:
        return {}
    try:
        body = json.loads(octets)
    except (ValueError, RecursionError):
        raise Refuse(400, "the body is not JSON") from None
    if not isinstance(body, dict):
        raise Refuse(400, "the body is to be a JSON object")
    if keys is not None and not body.keys() <= keys:
        raise Refuse(400, f"the body has {' and '.join(sorted(keys))}, and nothing else")
    return body


def _seconds(given: Any) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise Refuse(400, "seconds is a number")
    return float(given)


def _field(request: web.Request, name: str) -> str:
    values = request.headers.getall(name, [])
    if len(values) != 1 or len(values[0]) > FIELD_CHARACTERS_MAX:
        raise Refuse(401, "an update has X-Api-User and X-Api-Key, as /register gave them")
    return values[0]
