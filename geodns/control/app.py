"""The HTTP endpoint: its paths, and a limit on everything that a client can draw out or make large.

GET /v1/view             what this instance sees, for its peers: {"id": ..., "checks": {key: true}}
GET /v1/status           every value and pool, for people and tools
PUT /v1/external/NAME    {"state": "up" or "down", "reason": ...}: somebody else's check
GET /healthz             ok, to everybody

Other modules of this room have more paths; who starts the endpoint passes them in.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from ipaddress import ip_address
from typing import Any, Protocol, cast

from aiohttp import web

from geodns.config import Limits
from geodns.control.document import Document
from geodns.control.guard import refusal
from geodns.control.replies import HEADERS, Refuse, error_reply, reply, send

BODY_OCTETS_MAX = 4096  # of a request: a state and a reason
LINE_OCTETS_MAX = 2048  # of a request line: the name of an external check, in percent signs
REASON_CHARACTERS_MAX = 200  # of an external check: a line of a log
LINGER_SECONDS = 1.0  # for a client to read why its body was refused
BACKLOG = 64  # connections that wait for us to accept them

PREFIX6_UNUSED_BITS = 64  # of an IPv6 client's address

HEALTHZ, READYZ = "/healthz", "/readyz"
OPEN_PATHS = frozenset({HEALTHZ, READYZ})  # to everybody: whoever probes has no token

_DEFAULT_LIMITS = Limits()

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Source(Protocol):
    """Whom the endpoint asks. All of it is called in the event loop, and takes no time there."""

    async def view(self) -> Document: ...

    async def status(self) -> Document: ...

    async def report(self, name: str, is_up: bool, reason: str) -> bool:
        """Take an external check's state; False when there is no check of this name."""


class ControlApp:
    """Serves on sockets that listen already. All methods are for the event loop's thread.

    `token`, `limits`, `is_serving` and `own_guard` may be assigned at any time; as long as nothing is served,
    only OPEN_PATHS and `open_paths` are. `say_rarely` is told what goes wrong inside, with its kind. `routes`
    are more paths, with the same guard before them, but for `open_paths`; a `Refuse` that they raise becomes
    the answer. The paths in `own_guard` look themselves who may do what: clients of acme-dns show no token.
    """

    def __init__(
        self,
        source: Source,
        token: str | None,
        say_rarely: Callable[[str, str], None],
        routes: Iterable[web.AbstractRouteDef] = (),
        limits: Limits = _DEFAULT_LIMITS,
        open_paths: Collection[str] = (),
    ) -> None:
        self.token = token
        self.limits = limits
        self.is_serving = False
        self.own_guard: frozenset[str] = frozenset()
        self._open_paths = OPEN_PATHS.union(open_paths)
        self._source = source
        self._say_rarely = say_rarely
        self._local: set[tuple[str, int]] = set()  # loopback addresses that we listen on
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.BaseProtocol, _Connection] = {}  # by aiohttp's protocol
        self._app = web.Application(middlewares=[self._guarded], client_max_size=BODY_OCTETS_MAX)
        self._app.router.add_get("/v1/view", self._view, allow_head=False)
        self._app.router.add_get("/v1/status", self._status, allow_head=False)
        self._app.router.add_put("/v1/external/{name}", self._external)
        self._app.router.add_get(HEALTHZ, self._healthz, allow_head=False)
        self._app.add_routes(routes)
        self._logger = _silent()
        self._runner = web.AppRunner(
            self._app,
            handle_signals=False,
            shutdown_timeout=0,
            access_log=None,
            logger=self._logger,
            handler_cancellation=True,
        )

    async def start(self, sockets: Iterable[Any]) -> None:
        """Serve on these sockets, which are closed with us."""
        await self._runner.setup()
        loop = asyncio.get_running_loop()
        for sock in sockets:
            host, port = sock.getsockname()[:2]
            if ip_address(host).is_loopback:
                self._local.add((host, port))
            self._servers.append(await loop.create_server(self._accepted, sock=sock, backlog=BACKLOG))

    async def stop(self) -> None:
        """End all connections at once: what they wanted can be asked again."""
        for server in self._servers:
            server.close()
        for connection in list(self._connections.values()):
            connection.abort()
        await self._runner.cleanup()

    def _accepted(self) -> asyncio.Protocol:
        """The protocol of a connection that was accepted just now."""
        server = self._runner.server
        if server is None or len(self._connections) >= self.limits.http_connections:
            return _Refused()
        inner = _Requests(
            server,
            loop=asyncio.get_running_loop(),
            access_log=self._logger,
            logger=self._logger,
            max_line_size=LINE_OCTETS_MAX,
            max_field_size=self.limits.http_header_octets,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
        )
        connection = self._connections[inner] = _Connection(
            inner, self.limits, self._admit, lambda: self._connections.pop(inner, None)
        )
        return connection

    def _admit(self, client: str) -> bool:
        """Whether one more connection of this client is not too many; it is counted already."""
        theirs = sum(connection.client == client for connection in self._connections.values())
        return theirs <= self.limits.http_connections_per_client

    # Requests

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.protocol in self._connections:
            self._connections[request.protocol].has_asked()
        try:
            if request.path not in self._open_paths:
                if request.path not in self.own_guard:
                    self._check(request)
                if not self.is_serving:
                    raise Refuse(503, "the zones are not loaded yet")
            return await handler(request)
        except Refuse as error:
            return error_reply(error.status, error.what, more=error.more)
        except TimeoutError:
            return error_reply(408, "the body took too long")
        except web.HTTPException as error:
            allowed = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
            return error_reply(error.status, error.reason.lower(), allowed)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:
            # the path, and nothing else of the request: there is a token in its header
            what = f"{request.method} {request.path} failed: {type(error).__name__}: {error}"
            self._say_rarely("control", f"control: {what}; a bug of geodns")
            return error_reply(500, "a bug of geodns; its log says more")

    def _check(self, request: web.Request) -> None:
        sockname = () if request.transport is None else request.transport.get_extra_info("sockname", ())
        refused = refusal(
            request.method,
            request.headers.getall("Host", []),
            request.headers.getall("Authorization", []),
            self.token,
            tuple(sockname[:2]) in self._local,
        )
        if refused is not None:
            raise Refuse(refused.status, refused.what)

    async def _healthz(self, request: web.Request) -> web.StreamResponse:
        return reply(200, {"status": "ok"})

    async def _view(self, request: web.Request) -> web.StreamResponse:
        return await send(request, await self._source.view())

    async def _status(self, request: web.Request) -> web.StreamResponse:
        return await send(request, await self._source.status())

    async def _external(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        async with asyncio.timeout(self.limits.http_request_seconds):
            is_up, reason = _report(await request.read())
        if not await self._source.report(name, is_up, reason):
            raise Refuse(404, "no value that is served has an external check of this name")
        return reply(200, {"name": name, "state": "up" if is_up else "down"})


def _report(body: bytes) -> tuple[bool, str]:
    """The state and the reason of a report. Raises Refuse."""
    try:
        report = json.loads(body)
    except (ValueError, RecursionError):
        raise Refuse(400, "the body is not JSON") from None
    if not isinstance(report, dict) or report.get("state") not in ("up", "down"):
        raise Refuse(400, 'the body is to be {"state": "up"} or {"state": "down"}, and "reason" if you like')
    reason = report.get("reason") or ""
    if not isinstance(reason, str) or not report.keys() <= {"state", "reason"}:
        raise Refuse(400, 'beside "state" there is "reason", a text, and nothing else')
    printable = "".join(char if char.isprintable() else " " for char in reason)
    return report["state"] == "up", printable[:REASON_CHARACTERS_MAX].strip()


class _Connection(asyncio.Protocol):
    """aiohttp's protocol of a connection, with an end to the time that it takes.

    aiohttp lets clients take all the time they want to ask, and to read what they get.
    """

    def __init__(
        self, inner: Any, limits: Limits, admit: Callable[[str], bool], forget: Callable[[], object]
    ) -> None:
        self.client = ""  # the IPv4 address, or the IPv6 /64
        self._inner = inner
        self._limits = limits
        self._admit = admit
        self._forget = forget
        self._transport: asyncio.Transport | None = None
        self._timers: list[asyncio.TimerHandle] = []

    def has_asked(self) -> None:
        """The header of a request is there."""
        self._timers[0].cancel()

    def allow(self, seconds: float) -> None:
        """Let it live so many seconds from now."""
        self._timers[1].cancel()
        self._timers[1] = asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """End it without a word."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("peername")
        self.client = _counted_as(peer[0]) if peer else ""  # gone before we could ask
        loop = asyncio.get_running_loop()
        seconds = (self._limits.http_request_seconds, self._limits.http_connection_seconds)
        self._timers = [loop.call_later(limit, self.abort) for limit in seconds]
        self._inner.connection_made(transport)
        if not self._admit(self.client):
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in self._timers:
            timer.cancel()
        self._forget()
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        found: bool | None = self._inner.eof_received()
        return found

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


class _Requests(web.RequestHandler):
    """aiohttp's protocol, which tells nobody what it could not read: there may be a token in it."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        response = super().handle_error(request, status, exc, "this is no request that can be read")
        response.headers.update(HEADERS)
        return response


def _counted_as(client: str) -> str:
    """The client as the limit per client sees it: an IPv4 address, or an IPv6 /64, all of one host's."""
    address = ip_address(client)
    if address.version == 4:
        return client
    return str(int(address) >> PREFIX6_UNUSED_BITS)


class _Refused(asyncio.Protocol):
    """The protocol of a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


def _silent() -> logging.Logger:
    """aiohttp logs what clients send that is no HTTP, with all of it: nothing that a log should have."""
    logger = logging.Logger("geodns.control", logging.CRITICAL + 1)
    logger.addHandler(logging.NullHandler())
    return logger
