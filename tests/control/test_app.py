"""The HTTP endpoint on real connections: what it answers, and what no client can make it do."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from geodns.config import Limits
from geodns.control import app as app_module
from geodns.control.app import BODY_OCTETS_MAX, REASON_CHARACTERS_MAX, ControlApp
from geodns.control.document import Document, document
from geodns.control.replies import allow, read_body, reply

TOKEN = "e5e973e5a6b2a43f48e7dc849e37bfcf"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
CHECKS = {f"tcp 203.0.113.{at}:443": at % 2 > 0 for at in range(250)}


class Keeper:
    """Answers as a server's keeper would, and remembers what was reported."""

    def __init__(self) -> None:
        self.checks = dict(CHECKS)
        self.reported: list[tuple[str, bool, str]] = []

    async def view(self) -> Document:
        return document({"id": "ns1", "checks": self.checks})

    async def status(self) -> Document:
        raise RuntimeError("out of order")

    async def report(self, name: str, is_up: bool, reason: str) -> bool:
        self.reported.append((name, is_up, reason))
        return name in ("fra", "a/b", "über")


class Endpoint:
    """A ControlApp at a loopback address, and at every address of the machine."""

    def __init__(self, routes: Iterable[web.AbstractRouteDef] = ()) -> None:
        self.keeper = Keeper()
        self.said: list[str] = []
        self.app = ControlApp(self.keeper, TOKEN, lambda kind, text: self.said.append(text), routes)
        self.app.is_serving = True
        self.sockets = [socket.create_server((host, 0)) for host in ("127.0.0.1", "0.0.0.0")]
        self.port, self.open_port = (sock.getsockname()[1] for sock in self.sockets)

    async def ask(
        self, method: str, path: str, port: int | None = None, **more: Any
    ) -> tuple[aiohttp.ClientResponse, bytes]:
        url = f"http://127.0.0.1:{port or self.port}{path}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(method, url, **more) as response,
        ):
            return response, await response.read()

    async def status(self, method: str, path: str, port: int | None = None, **more: Any) -> int:
        response, body = await self.ask(method, path, port, **more)
        if response.status >= 400:
            assert list(json.loads(body)) == ["error"]
        return response.status

    async def raw(self, sent: bytes) -> bytes:
        """What comes back until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(sent)
        try:
            with suppress(ConnectionError):
                return await reader.read()
            return b""
        finally:
            writer.close()


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    monkeypatch.setattr(app_module, "LINGER_SECONDS", 0.1)
    endpoint = Endpoint()
    await endpoint.app.start(endpoint.sockets)
    yield endpoint
    await endpoint.app.stop()


async def test_the_view(endpoint: Endpoint):
    """A peer gets the states of the checks, packed if it likes, and a 304 as long as they are the same."""
    response, body = await endpoint.ask("GET", "/v1/view", headers={"Accept-Encoding": "identity"})
    assert 200 == response.status
    assert {"id": "ns1", "checks": CHECKS} == json.loads(body)
    assert "application/json" == response.content_type
    packed, octets = await endpoint.ask("GET", "/v1/view")
    assert "gzip" == packed.headers["Content-Encoding"]
    assert len(octets) < len(body)
    again = {"If-None-Match": response.headers["ETag"]}
    response, body = await endpoint.ask("GET", "/v1/view", headers=again)
    assert (304, b"") == (response.status, body)
    endpoint.keeper.checks["tcp 203.0.113.1:443"] = False
    assert 200 == await endpoint.status("GET", "/v1/view", headers=again)


async def test_who_may_read(endpoint: Endpoint):
    """Without a token at the loopback address only, and not for a page of another site."""
    assert 200 == await endpoint.status("GET", "/v1/view")
    assert 403 == await endpoint.status("GET", "/v1/view", headers={"Host": "www.example.com"})
    assert 401 == await endpoint.status(
        "GET", "/v1/view", headers={"Authorization": "Bearer of-something-else"}
    )
    assert 401 == await endpoint.status("GET", "/v1/view", endpoint.open_port)
    assert 200 == await endpoint.status("GET", "/v1/view", endpoint.open_port, headers=BEARER)
    for port in (endpoint.port, endpoint.open_port):
        assert 200 == await endpoint.status("GET", "/healthz", port)
    response, _ = await endpoint.ask("GET", "/v1/view", endpoint.open_port)
    assert "Bearer" == response.headers["WWW-Authenticate"]


async def test_before_the_zones_are_loaded(endpoint: Endpoint):
    """Who may ask is told to wait, and nothing is taken from anybody; that the process lives is told."""
    endpoint.app.is_serving = False
    assert 503 == await endpoint.status("GET", "/v1/view")
    assert 401 == await endpoint.status("GET", "/v1/view", endpoint.open_port)
    report = {"state": "down"}
    assert 503 == await endpoint.status("PUT", "/v1/external/fra", json=report, headers=BEARER)
    assert [] == endpoint.keeper.reported
    assert 200 == await endpoint.status("GET", "/healthz")


async def test_a_report(endpoint: Endpoint):
    """A tool with the token says how its check stands; the reason becomes one printable line."""
    report = {"state": "down", "reason": "disk\n\x1b[31mfull " + "x" * 1000}
    assert 401 == await endpoint.status("PUT", "/v1/external/fra", json=report)
    assert [] == endpoint.keeper.reported
    response, body = await endpoint.ask("PUT", "/v1/external/fra", json=report, headers=BEARER)
    assert (200, {"name": "fra", "state": "down"}) == (response.status, json.loads(body))
    ((name, is_up, reason),) = endpoint.keeper.reported
    assert ("fra", False) == (name, is_up)
    assert reason.startswith("disk  [31mfull xx")
    assert REASON_CHARACTERS_MAX == len(reason)
    assert 200 == await endpoint.status("PUT", "/v1/external/%C3%BCber", json={"state": "up"}, headers=BEARER)
    assert 404 == await endpoint.status("PUT", "/v1/external/lhr", json={"state": "up"}, headers=BEARER)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"down",
        b"[]",
        b'"down"',
        b"{}",
        b'{"state": "DOWN"}',
        b'{"state": "up", "until": 1}',
        b"\xff",
        b"[" * 4000,
        b'{"state": "up", "reason": ["a"]}',
        b'{"state": ["up"]}',
    ],
)
async def test_what_is_no_report(endpoint: Endpoint, body: bytes):
    """A body that says anything else is refused, and nothing is taken from it."""
    assert 400 == await endpoint.status("PUT", "/v1/external/fra", data=body, headers=BEARER)
    assert [] == endpoint.keeper.reported


async def test_a_body_has_a_limit(endpoint: Endpoint):
    """Announced or not, and packed or not, a large body is refused before it is all there."""
    body = json.dumps({"state": "up", "reason": "x" * BODY_OCTETS_MAX}).encode()
    assert 413 == await endpoint.status("PUT", "/v1/external/fra", data=body, headers=BEARER)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    assert 413 == await endpoint.status("PUT", "/v1/external/fra", data=chunks(), headers=BEARER)
    packed = {**BEARER, "Content-Encoding": "gzip"}
    made = document({"state": "up", "reason": "x" * 100_000}).packed
    assert 400 == await endpoint.status("PUT", "/v1/external/fra", data=made, headers=packed)


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/view", 405),
        ("DELETE", "/v1/external/fra", 405),
        ("HEAD", "/v1/view", 405),
        ("GET", "/v1/external/fra", 405),
        ("GET", "/", 404),
        ("GET", "/v1/view/", 404),
        ("GET", "//v1/view", 404),
        ("GET", "/v1/../healthz/..", 404),
        ("GET", "/v2/view", 404),
        ("PUT", "/v1/external/", 404),
        ("PUT", "/v1/external/a/b", 404),
        ("PUT", "/v1/external/../../etc/passwd", 404),
        ("PUT", "/v1/external/..%2F..%2Fetc%2Fpasswd", 404),
        ("PUT", "/v1/external/fra%00", 404),
        ("PUT", "/v1/external/" + "x" * 1500, 404),
    ],
)
async def test_paths_and_methods(endpoint: Endpoint, method: str, path: str, expected: int):
    """What is not one of the five is not there; a name is a name and never a path."""
    body = b'{"state": "up"}'
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n"
    answer = await endpoint.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    assert f"HTTP/1.1 {expected} ".encode() == answer[:13]
    if expected == 405:
        assert b"\r\nAllow: " in answer


async def test_the_guard_comes_first(endpoint: Endpoint):
    """Without the token nobody learns which paths and names there are."""
    for path in ("/v1/external/fra", "/v1/external/lhr", "/v1/nothing"):
        assert 401 == await endpoint.status("PUT", path, json={"state": "up"})
    assert [] == endpoint.keeper.reported


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS client's first octets
        b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 100_000,
        b"GET /" + b"x" * 100_000,
        b"GET /healthz HTTP/1.1\r\n" + b"A: b\r\n" * 1000 + b"\r\n",
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"PUT /v1/external/fra HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"\x00" * 1000,
    ],
)
async def test_what_is_no_http(endpoint: Endpoint, sent: bytes, capfd: pytest.CaptureFixture[str]):
    """Garbage and headers without end are refused, with a 400 at most, and no log has any of it."""
    answer = await endpoint.raw(sent)
    assert answer[:13] in (b"", b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")
    assert 200 == await endpoint.status("GET", "/healthz")
    assert ("", "") == capfd.readouterr()
    assert [] == endpoint.said


async def test_one_request_a_connection(endpoint: Endpoint):
    """What is pipelined behind a request is not looked at."""
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer = await endpoint.raw(request * 3)
    assert 1 == answer.count(b"HTTP/1.1 200 OK")
    assert b"Connection: close" in answer


@pytest.mark.parametrize("sent", [b"", b"GET /v1/view HT", b"GET /v1/view HTTP/1.1\r\nHost: 127"])
async def test_a_slow_header(endpoint: Endpoint, sent: bytes):
    """A client that does not say what it wants is let go."""
    endpoint.app.limits = Limits(http_request_seconds=0.1)
    async with asyncio.timeout(10):
        assert b"" == await endpoint.raw(sent)


async def test_a_slow_body(endpoint: Endpoint):
    """A body that does not come is waited for in vain for a while."""
    endpoint.app.limits = Limits(http_request_seconds=0.1)
    head = f"PUT /v1/external/fra HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with asyncio.timeout(10):
        answer = await endpoint.raw(f"{head}Content-Length: 9\r\n\r\n".encode())
        assert b"HTTP/1.1 408 " == answer[:13]


async def test_bodies_of_other_paths():
    """What `read_body` takes is bounded in octets and in time, and a connection may be given more time."""

    async def take(request: web.Request) -> web.StreamResponse:
        allow(request, 60.0)
        return reply(200, len(await read_body(request, 10, 1.0)))

    endpoint = Endpoint([web.put("/take", take)])
    endpoint.app.limits = Limits(http_connection_seconds=0.5)
    await endpoint.app.start(endpoint.sockets)
    head = f"PUT /take HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n"
    async with asyncio.timeout(20):
        for rest, expected in (
            ("Content-Length: 3\r\n\r\nabc", 200),
            ("Content-Length: 11\r\n\r\nabcdefghijk", 413),
            ("Transfer-Encoding: chunked\r\n\r\nb\r\nabcdefghijk\r\n", 413),
            ("Content-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc", 415),
            ("Content-Length: 3\r\n\r\n", 408),  # in more than the connection would have had
        ):
            answer = await endpoint.raw(f"{head}{rest}".encode())
            assert f"HTTP/1.1 {expected} ".encode() == answer[:13]
    await endpoint.app.stop()


async def test_a_slow_reader(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch):
    """A client that does not read what it asked for is let go too."""
    endpoint.app.limits = Limits(http_connection_seconds=0.2)

    async def view() -> Document:
        return Document(bytes(32 << 20), None, '"large"')  # more than the sockets' buffers take

    monkeypatch.setattr(endpoint.keeper, "view", view)
    with socket.create_connection(("127.0.0.1", endpoint.port)) as slow:
        slow.sendall(b"GET /v1/view HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(10):
            while not endpoint.app._connections:
                await asyncio.sleep(0)
            while endpoint.app._connections:
                await asyncio.sleep(0.01)
    assert 200 == await endpoint.status("GET", "/healthz")


async def test_connections_have_a_limit(endpoint: Endpoint):
    """One too many is closed at once; when the others have gone, there is room again."""
    endpoint.app.limits = Limits(http_connections=10)
    idle = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(10)]
    assert b"" == await endpoint.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    for _, writer in idle:
        writer.close()
        await writer.wait_closed()
    async with asyncio.timeout(10):
        while not (await endpoint.raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")).startswith(
            b"HTTP/1.1 200"
        ):
            pass


async def test_connections_of_one_client_have_a_limit(endpoint: Endpoint):
    """A client that holds as many as it may gets no more, and others do."""
    endpoint.app.limits = Limits(http_connections_per_client=3)
    idle = [await asyncio.open_connection("127.0.0.1", endpoint.port) for _ in range(3)]
    request = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
    assert b"" == await endpoint.raw(request)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port, local_addr=("127.0.0.2", 0))
    writer.write(request)
    assert (await reader.read()).startswith(b"HTTP/1.1 200")
    for _, one in (*idle, (reader, writer)):
        one.close()
        await one.wait_closed()
    async with asyncio.timeout(10):
        while not (await endpoint.raw(request)).startswith(b"HTTP/1.1 200"):
            pass


async def test_a_header_drop_by_drop(endpoint: Endpoint):
    """An octet now and then ("slow loris") wins a client no time."""
    endpoint.app.limits = Limits(http_request_seconds=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port)
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while not reader.at_eof():
                writer.write(b"GET / HTTP/1.1\r\nA: b\r\n"[:1])
                await writer.drain()
                await asyncio.sleep(0.02)
    assert 200 == await endpoint.status("GET", "/healthz")


async def test_a_header_has_a_limit(endpoint: Endpoint):
    """A field longer than it may be is refused, without telling what was in it, or who we are."""
    endpoint.app.limits = Limits(http_header_octets=512)
    head = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
    assert b"HTTP/1.1 200" == (await endpoint.raw(f"{head}{TOKEN}\r\n\r\n".encode()))[:12]
    answer = await endpoint.raw(f"{head}{TOKEN * 100}\r\n\r\n".encode())
    assert b"400" == answer[9:12]
    assert TOKEN[:8].encode() not in answer
    assert b"aiohttp" not in answer


async def test_a_bug_is_told_without_the_token(endpoint: Endpoint, capfd: pytest.CaptureFixture[str]):
    """What fails inside is a line in the log and a 500; the token is in neither."""
    response, body = await endpoint.ask("GET", "/v1/status", headers=BEARER)
    assert 500 == response.status
    assert ["control: GET /v1/status failed: RuntimeError: out of order; a bug of geodns"] == endpoint.said
    assert TOKEN not in body.decode() + "".join(endpoint.said) + "".join(capfd.readouterr())


async def test_another_token(endpoint: Endpoint):
    """The token of a reloaded config counts from then on, the one before no more."""
    endpoint.app.token = "00112233445566778899aabbccddeeff"
    assert 401 == await endpoint.status("GET", "/v1/view", headers=BEARER)
    endpoint.app.token = TOKEN
    assert 200 == await endpoint.status("GET", "/v1/view", headers=BEARER)
