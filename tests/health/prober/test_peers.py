"""What other instances see: real HTTP on loopback, a question at a time."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from geodns.health.messages import PeerAddress
from geodns.health.prober import peers
from geodns.health.prober.look import Failed
from geodns.health.prober.peers import Peers, parse
from geodns.health.words import PeerHeard, PeerView
from tests.health.prober.parts import serving, silent

TOKEN = "let me in"


class Instance:
    """A peer: its view, with an ETag, for those who have the token."""

    def __init__(self) -> None:
        self.checks: dict[str, object] = {"a": True, "b": False}
        self.statuses: list[int] = []

    async def view(self, request: web.Request) -> web.Response:
        response = self._answer(request)
        self.statuses.append(response.status)
        return response

    def _answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        body = json.dumps({"id": "ns2", "checks": self.checks})
        etag = f'"{hash(body)}"'
        if request.headers.get("If-None-Match") == etag:
            return web.Response(status=304, headers={"ETag": etag})
        return web.Response(text=body, headers={"ETag": etag})


@asynccontextmanager
async def running(view: Callable[[web.Request], object]) -> AsyncIterator[str]:
    """A control endpoint with this view; its URL."""
    app = web.Application()
    app.router.add_get("/v1/view", view)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


class Asking:
    """Peers that asks at once, again and again, and what it tells."""

    def __init__(self, keys: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(peers, "PEER_INTERVAL_SECONDS", 0.0)
        self.told: asyncio.Queue[PeerView | PeerHeard] = asyncio.Queue()
        self.peers = Peers(self.told.put_nowait, keys)

    async def next(self, kind: type) -> PeerView | PeerHeard:
        """The next that is told of this kind."""
        while not isinstance(told := await self.told.get(), kind):
            pass
        return told


@pytest.fixture
async def asking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asking]:
    asking = Asking({"a", "b"}, monkeypatch)
    yield asking
    await asking.peers.close()


async def test_a_view_is_told_when_it_changes(asking: Asking) -> None:
    """And that it did not change is told with next to nothing, asked for with its ETag."""
    instance = Instance()
    async with running(instance.view) as url:
        asking.peers.watch((PeerAddress(url, TOKEN),))
        first = await asking.told.get()
        assert (url, {"a": True, "b": False}, "") == first[:3]
        assert url == (await asking.told.get()).peer
        assert [200, 304] == instance.statuses[:2]
        instance.checks["b"] = True
        assert {"a": True, "b": True} == (await asking.next(PeerView)).up


async def test_only_our_checks_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a peer has beside them is its own affair; when we have others it is asked anew."""
    keys = {"a"}
    asking = Asking(keys, monkeypatch)
    async with running(Instance().view) as url:
        asking.peers.watch((PeerAddress(url + "/", TOKEN),))
        assert {"a": True} == (await asking.next(PeerView)).up
        await asking.next(PeerHeard)
        keys.add("b")
        asking.peers.forget()
        assert {"a": True, "b": False} == (await asking.next(PeerView)).up
        await asking.peers.close()


async def test_a_wrong_token_is_the_reason(asking: Asking) -> None:
    """Nothing was heard then."""
    async with running(Instance().view) as url:
        asking.peers.watch((PeerAddress(url, "open sesame"),))
        told = await asking.told.get()
    assert (url, None, "HTTP 401: it does not take our token") == told[:3]


async def test_after_silence_the_view_is_told_again(asking: Asking) -> None:
    """Also if it is what it was before."""
    instance = Instance()
    is_broken = False

    async def view(request: web.Request) -> web.Response:
        return web.Response(status=500) if is_broken else await instance.view(request)

    async with running(view) as url:
        asking.peers.watch((PeerAddress(url, TOKEN),))
        assert {"a": True, "b": False} == (await asking.next(PeerView)).up
        is_broken = True
        assert (None, "HTTP 500") == (await asking.next(PeerView))[1:3]
        is_broken = False
        while (told := await asking.next(PeerView)).up is None:
            pass
        assert {"a": True, "b": False} == told.up


async def test_a_peer_that_is_not_there_or_says_nothing(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither keeps the other waiting."""
    monkeypatch.setattr(peers, "PEER_TIMEOUT_SECONDS", 0.5)
    async with serving(silent) as port:
        urls = {
            "http://127.0.0.1:1": "connection refused",
            f"http://127.0.0.1:{port}": "timed out after 0.5 s",
        }
        asking.peers.watch(tuple(PeerAddress(url, "") for url in urls))
        seen: dict[str, str] = {}
        while seen.keys() != urls.keys():
            told = await asking.told.get()
            assert told.up is None
            seen[told.peer] = told.detail
        await asking.peers.close()
    assert urls == seen


async def test_a_redirect_is_not_followed(asking: Asking) -> None:
    """Our token is for the peer alone."""

    async def view(request: web.Request) -> web.Response:
        raise web.HTTPFound("http://127.0.0.2:1/")

    async with running(view) as url:
        asking.peers.watch((PeerAddress(url, TOKEN),))
        assert "HTTP 302" == (await asking.told.get()).detail


async def test_an_endless_view_is_not_read(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody fills our memory."""
    monkeypatch.setattr(peers, "VIEW_OCTETS_MAX", 10_000)

    async def view(request: web.Request) -> web.Response:
        return web.Response(text='{"checks": {}}' + " " * 20_000)

    async with running(view) as url:
        asking.peers.watch((PeerAddress(url, TOKEN),))
        assert "what it says is larger than 10000 octets" == (await asking.told.get()).detail


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"{}", b'{"checks": []}', b'{"checks": {"a": 1}}', b"[" * 100_000, b'{"checks"'],
    ids=str,
)
def test_what_is_no_view_is_an_error(body: bytes) -> None:
    """Whatever it is."""
    with pytest.raises(Failed, match="what it says is"):
        parse(body, {"a"})


def test_what_a_view_has_beside_the_checks() -> None:
    """The peer's name and serials, as far as they are what they should be; its votes count in any case."""
    view = {
        "id": "ns\n2",
        "checks": {"a": True, "b": False},
        "zones": {"example.com.": 7, "x.": -1, "y.": "8"},
    }
    said = parse(json.dumps(view).encode(), {"a"})
    assert {"a": True} == said.up
    assert "\n" not in said.id
    assert said.id.startswith("ns")
    assert (("example.com.", 7),) == said.zones
    assert () == parse(b'{"checks": {}, "zones": [], "id": 7}', set()).zones
