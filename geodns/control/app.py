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
from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any, Protocol, cast

from aiohttp import web

from geodns.control.document import Document
from geodns.control.guard import refusal
from geodns.control.replies import Refuse, error_reply, reply, send

BODY_OCTETS_MAX = 4096  # of a request: a state and a reason
LINE_OCTETS_MAX = 2048  # of a request line: the name of an external check, in percent signs
FIELD_OCTETS_MAX = 4096  # of a header field: more than any token
REASON_CHARACTERS_MAX = 200  # of an external check: a line of a log
CONNECTIONS_MAX = 64  # at a time: peers and people; each is a file descriptor
REQUEST_SECONDS = 5.0  # from a connection to the end of its request's header; as much again for its body
CONNECTION_SECONDS = 30.0  # from a connection to its end: 5 MB over a bad line
LINGER_SECONDS = 1.0  # for a client to read why its body was refused
BACKLOG = 64  # connections that wait for us to accept them

HEALTHZ = "/healthz"

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Source(Protocol):
    """Whom the endpoint asks. All of it is called in the event loop, and takes no time there."""

    async def view(self) -> Document: ...

    async def status(self) -> Document: ...

    async def report(self, name: str, is_up: bool, reason: str) -> bool:
        """Take an external check's state; False when there is no check of this name."""


class ControlApp:
    """Serves on sockets that listen already. All methods are for the event loop's thread.

    `token` may be assigned at any time. `say_rarely` is told what goes wrong inside, with its kind.
    `routes` are more paths, behind the same guard; a `Refuse` that they raise becomes the answer.
    """

    def __init__(
        self,
        source: Source,
        token: str | None,
        say_rarely: Callable[[str, str], None],
        routes: Iterable[web.AbstractRouteDef] = (),
    ) -> None:
        self.token = token
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
        self._runner = web.AppRunner(
            self._app,
            handle_signals=False,
            shutdown_timeout=0,
            access_log=None,
            logger=_silent(),
            max_line_size=LINE_OCTETS_MAX,
            max_field_size=FIELD_OCTETS_MAX,
            lingering_time=LINGER_SECONDS,
            auto_decompress=False,
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
        if server is None or len(self._connections) >= CONNECTIONS_MAX:
            return _Refused()
        inner = server()
        connection = self._connections[inner] = _Connection(inner, lambda: self._connections.pop(inner, None))
        return connection

    # Requests

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if request.protocol in self._connections:
            self._connections[request.protocol].has_asked()
        try:
            if request.path != HEALTHZ:
                self._check(request)
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
        async with asyncio.timeout(REQUEST_SECONDS):
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

    def __init__(self, inner: Any, forget: Callable[[], object]) -> None:
        self._inner = inner
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
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(limit, self.abort) for limit in (REQUEST_SECONDS, CONNECTION_SECONDS)]
        self._inner.connection_made(transport)

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


class _Refused(asyncio.Protocol):
    """The protocol of a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


def _silent() -> logging.Logger:
    """aiohttp logs what clients send that is no HTTP, with all of it: nothing that a log should have."""
    logger = logging.Logger("geodns.control", logging.CRITICAL + 1)
    logger.addHandler(logging.NullHandler())
    return logger
