"""The peers: what other instances of these nameservers see, asked for every second.

`GET URL/v1/view` with the peer's token gives `{"checks": {KEY: true|false}}` and an ETag; a view that did not
change is answered with 304 and costs next to nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Container
from dataclasses import dataclass

import aiohttp

from geodns.health.messages import PeerAddress
from geodns.health.prober.http import HEADERS_MAX, LINE_OCTETS_MAX, USER_AGENT, plain
from geodns.health.prober.look import Failed, Unknown, short
from geodns.health.words import PeerHeard, PeerView

PEER_INTERVAL_SECONDS = 1.0
PEER_TIMEOUT_SECONDS = 2.0  # a view is made in milliseconds; what takes longer is as good as silent
VIEW_OCTETS_MAX = 8 << 20  # of 100,000 checks with long names

Tell = Callable[[PeerView | PeerHeard], None]


@dataclass(slots=True)
class _Peer:
    """A peer, and what it said last (None: not heard, or not heard since we have other checks)."""

    address: PeerAddress
    etag: str = ""
    up: dict[str, bool] | None = None
    task: asyncio.Task[None] | None = None


class Peers:
    """Asks all of them, while `is_ready`. `keys` are our checks: nothing else of a view is told."""

    def __init__(self, tell: Tell, keys: Container[str], is_ready: Callable[[], bool] = lambda: True) -> None:
        self._tell = tell
        self._is_ready = is_ready
        self._keys = keys
        self._peers: dict[PeerAddress, _Peer] = {}
        self._turn = 0  # how often there were other checks
        self._session: aiohttp.ClientSession | None = None

    def watch(self, addresses: tuple[PeerAddress, ...]) -> None:
        """Ask these from now on; one that stays is asked as before."""
        for address in self._peers.keys() - set(addresses):
            task = self._peers.pop(address).task
            if task is not None:
                task.cancel()
        for address in addresses:
            if address not in self._peers:
                peer = self._peers[address] = _Peer(address)
                peer.task = asyncio.get_running_loop().create_task(self._run(peer))

    def forget(self) -> None:
        """Have all views told again: we have other checks now."""
        self._turn += 1
        for peer in self._peers.values():
            peer.etag = ""

    async def close(self) -> None:
        self.watch(())
        if self._session is not None:
            await self._session.close()

    async def _run(self, peer: _Peer) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            if self._is_ready():
                self._tell(await self._ask(peer))
            await asyncio.sleep(began + PEER_INTERVAL_SECONDS - loop.time())

    async def _ask(self, peer: _Peer) -> PeerView | PeerHeard:
        """One question to a peer, and what to tell of it."""
        url = peer.address.url
        try:
            async with asyncio.timeout(PEER_TIMEOUT_SECONDS):
                up = await self._view(peer)
        except TimeoutError:
            why = f"timed out after {PEER_TIMEOUT_SECONDS:g} s"
        except aiohttp.ClientError as error:
            why = str(plain(error))
        except (Failed, Unknown) as error:
            why = str(error)
        except ValueError as error:  # of a token or URL that no request can be made of
            why = short(str(error))
        else:
            if up is None or up == peer.up:
                return PeerHeard(url, time.time())
            peer.up = up
            return PeerView(url, up, "", time.time())
        peer.etag, peer.up = "", None
        return PeerView(url, None, why, time.time())

    async def _view(self, peer: _Peer) -> dict[str, bool] | None:
        """The peer's view of our checks; None when it is as it was."""
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if peer.address.token:
            headers["Authorization"] = f"Bearer {peer.address.token}"
        if peer.etag:
            headers["If-None-Match"] = peer.etag
        url = f"{peer.address.url.rstrip('/')}/v1/view"
        turn = self._turn
        async with self._client().get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status == 304 and peer.etag and peer.up is not None:
                return None
            if answer.status == 401:
                raise Failed("HTTP 401: it does not take our token")
            if answer.status != 200:
                raise Failed(f"HTTP {answer.status}")
            up = parse(await _body(answer), self._keys)
            peer.etag = answer.headers.get("ETag", "") if turn == self._turn else ""
            return up

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding",),
                max_line_size=LINE_OCTETS_MAX,
                max_field_size=LINE_OCTETS_MAX,
                max_headers=HEADERS_MAX,
            )
        return self._session


def parse(body: bytes, keys: Container[str]) -> dict[str, bool]:
    """The states of those checks in a view that are in `keys`. Raises Failed for what is no view."""
    try:
        view = json.loads(body)
    except (ValueError, RecursionError):
        raise Failed("what it says is not JSON") from None
    checks = view.get("checks") if isinstance(view, dict) else None
    if not isinstance(checks, dict) or not all(isinstance(is_up, bool) for is_up in checks.values()):
        raise Failed('what it says is no view: {"checks": {KEY: true or false}}')
    return {key: is_up for key, is_up in checks.items() if key in keys}


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while part := await answer.content.read(VIEW_OCTETS_MAX):
        body += part
        if len(body) > VIEW_OCTETS_MAX:
            raise Failed(f"what it says is larger than {VIEW_OCTETS_MAX} octets")
    return bytes(body)
