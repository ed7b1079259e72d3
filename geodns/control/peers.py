"""Asking the control endpoints of other instances, as this instance."""

import asyncio
import json
from typing import Any

import aiohttp

from geodns.health.prober.http import USER_AGENT, plain

PEER_SECONDS = 5.0  # for a peer to answer: to take something up and ask itself takes 0.1 s
ANSWER_OCTETS_MAX = 16 << 20  # of everything that a peer knows of challenges

STATE = "/v1/acme/state"


class PeerCalls:
    """Both methods never raise for what a peer does."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str, token: str, etag: str) -> tuple[Any, str] | None:
        """What a peer knows, with its ETag; None when that is what it was, or when it can not be had."""
        headers = {"If-None-Match": etag} if etag else {}
        try:
            status, found, etag = await self._ask("GET", url, token, headers=headers)
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None  # health tells of a peer that is silent
        return (found, etag) if status == 200 else None

    async def put(self, url: str, token: str, told: dict[str, Any]) -> dict[str, Any]:
        """Tell a peer something; its report: {"id": ..., "ok": bool, "detail": why not}."""
        try:
            status, found, _ = await self._ask("PUT", url, token, data=json.dumps(told))
        except TimeoutError:
            detail = f"no answer within {PEER_SECONDS:g} s"
        except aiohttp.ClientError as error:
            detail = str(plain(error))
        except ValueError as error:
            detail = str(error)
        else:
            if status == 200 and isinstance(found, dict) and isinstance(found.get("ok"), bool):
                name, why = str(found.get("id", url)), str(found.get("detail", ""))
                return {"id": name, "ok": found["ok"], "detail": why}
            detail = f"HTTP {status}"
            if isinstance(found, dict) and isinstance(found.get("error"), str):
                detail = f"{detail}: {found['error']}"
        return {"id": url, "ok": False, "detail": detail}

    async def _ask(self, method: str, url: str, token: str, **more: Any) -> tuple[int, Any, str]:
        """The status, the JSON and the ETag of an answer."""
        headers = {"User-Agent": USER_AGENT, **more.pop("headers", {})}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        async with (
            asyncio.timeout(PEER_SECONDS),
            self._client().request(
                method, url + STATE, headers=headers, allow_redirects=False, **more
            ) as answer,
        ):
            body = await answer.content.read(ANSWER_OCTETS_MAX) if answer.status != 304 else b""
            while body and (part := await answer.content.read(ANSWER_OCTETS_MAX)):
                body += part
                if len(body) > ANSWER_OCTETS_MAX:
                    raise ValueError(f"what it says is larger than {ANSWER_OCTETS_MAX} octets")
            try:
                found = json.loads(body) if body else None
            except (ValueError, RecursionError):
                raise ValueError("what it says is not JSON") from None
            return answer.status, found, answer.headers.get("ETag", "")

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
            )
        return self._session
