"""The peers: what other instances of these nameservers see, asked for every second.

`GET URL/v1/view` with the peer's token gives `{"id": ..., "checks": {KEY: true|false}, "zones": {ZONE: N}}`
and an ETag; a view that did not change is answered with 304 and costs next to nothing.
"""

import asyncio
import json
import time
from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import NamedTuple

import aiohttp

from geodns.health.messages import PeerAddress
from geodns.health.prober.http import HEADERS_MAX, LINE_OCTETS_MAX, USER_AGENT, plain
from geodns.health.prober.look import Failed, Unknown, short
from geodns.health.words import PeerHeard, PeerView

PEER_INTERVAL_SECONDS = 1.0
PEER_TIMEOUT_SECONDS = 2.0  # a view is made in milliseconds; what takes longer is as good as silent
VIEW_OCTETS_MAX = 8 << 20  # of 100,000 checks with long names
ZONES_MAX = 10_000  # of a view: for people, who compare them with ours
NAME_CHARACTERS_MAX = 1004  # of a zone: 251 octets as \\DDD, each of them
ID_CHARACTERS_MAX = 64  # of a peer's name for itself

Tell = Callable[[PeerView | PeerHeard], None]


class Said(NamedTuple):
    """What a view has: our checks, the peer's name for itself, and the serials of its zones."""

    up: dict[str, bool]
    id: str
    zones: tuple[tuple[str, int], ...]


@dataclass(slots=True)
class _Peer:
    """A peer, and what it said last (None: not heard, or not heard since we have other checks)."""

    address: PeerAddress
    etag: str = ""
    said: Said | None = None
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
                said = await self._view(peer)
        except TimeoutError:
            why = f"timed out after {PEER_TIMEOUT_SECONDS:g} s"
        except aiohttp.ClientError as error:
            why = str(plain(error))
        except (Failed, Unknown) as error:
            why = str(error)
        except ValueError as error:  # of a token or URL that no request can be made of
            why = short(str(error))
        else:
            if said is None or said == peer.said:
                return PeerHeard(url, time.time())
            peer.said = said
            return PeerView(url, said.up, "", time.time(), said.id, said.zones)
        peer.etag, peer.said = "", None
        return PeerView(url, None, why, time.time())

    async def _view(self, peer: _Peer) -> Said | None:
        """The peer's view of our checks; None when it is as it was."""
        headers = {"User-Agent": USER_AGENT, "Accept": "application/json"}
        if peer.address.token:
            headers["Authorization"] = f"Bearer {peer.address.token}"
        if peer.etag:
            headers["If-None-Match"] = peer.etag
        url = f"{peer.address.url.rstrip('/')}/v1/view"
        turn = self._turn
        async with self._client().get(url, headers=headers, allow_redirects=False) as answer:
            if answer.status == 304 and peer.etag and peer.said is not None:
                return None
            if answer.status == 401:
                raise Failed("HTTP 401: it does not take our token")
            if answer.status != 200:
                raise Failed(f"HTTP {answer.status}")
            said = parse(await _body(answer), self._keys)
            peer.etag = answer.headers.get("ETag", "") if turn == self._turn else ""
            return said

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


def parse(body: bytes, keys: Container[str]) -> Said:
    """A view, of whose checks those count that are in `keys`. Raises Failed for what is no view."""
    try:
        view = json.loads(body)
    except (ValueError, RecursionError):
        raise Failed("what it says is not JSON") from None
    checks = view.get("checks") if isinstance(view, dict) else None
    if not isinstance(checks, dict) or not all(isinstance(is_up, bool) for is_up in checks.values()):
        raise Failed('what it says is no view: {"checks": {KEY: true or false}}')
    up = {key: is_up for key, is_up in checks.items() if key in keys}
    return Said(up, _name(view.get("id")), _zones(view.get("zones")))


def _name(value: object) -> str:
    """The peer's name for itself, as it may stand in a line of text."""
    return short(value)[:ID_CHARACTERS_MAX] if isinstance(value, str) else ""


def _zones(value: object) -> tuple[tuple[str, int], ...]:
    """Serials by zone; those of a peer of another version, or none, are no reason not to hear its votes."""
    if not isinstance(value, dict):
        return ()
    serials = [
        (name, serial)
        for name, serial in value.items()
        if isinstance(serial, int) and 0 <= serial < 1 << 32 and len(name) <= NAME_CHARACTERS_MAX
    ]
    return tuple(serials[:ZONES_MAX])


async def _body(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while part := await answer.content.read(VIEW_OCTETS_MAX):
        body += part
        if len(body) > VIEW_OCTETS_MAX:
            raise Failed(f"what it says is larger than {VIEW_OCTETS_MAX} octets")
    return bytes(body)
