"""What the endpoint hears and says: bodies within bounds; a document, a small JSON object, or an error with a
sentence.
"""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from aiohttp import web

from geodns.control.document import Document

PIECE_OCTETS = 1 << 16  # written at a time: what a socket's buffer takes

HEADERS = {"Server": "geodns", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Refuse(Exception):
    """The answer is an error with this status (RFC 9110 section 15.5) and sentence, and what `more` has."""

    def __init__(self, status: int, what: str, more: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__(what)
        self.status = status
        self.what = what
        self.more = more


@runtime_checkable
class Patient(Protocol):
    """A connection whose time can be made longer."""

    def allow(self, seconds: float) -> None: ...


def allow(request: web.Request, seconds: float) -> None:
    """Let this request's connection live so many seconds from now, for work that takes longer than most."""
    connection = None if request.transport is None else request.transport.get_protocol()
    if isinstance(connection, Patient):
        connection.allow(seconds)


async def read_body(request: web.Request, octets_max: int, seconds: float) -> bytes:
    """The body, when it is no larger, not packed, and all there within the time. Raises Refuse."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise Refuse(415, "send the body as it is, without a Content-Encoding")
    too_large = Refuse(413, f"the body is larger than {octets_max:,} octets")
    if (request.content_length or 0) > octets_max:
        raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > octets_max:
                    raise too_large
    except TimeoutError:
        raise Refuse(408, "the body took too long") from None
    return bytes(body)


async def send(
    request: web.Request,
    document: Document,
    content_type: str = "application/json",
    headers: Mapping[str, str] = MappingProxyType(HEADERS),
) -> web.StreamResponse:
    """The document, or only word that the client has it already; in pieces that nobody has to wait for."""
    response = web.StreamResponse(headers={**headers, "ETag": document.etag, "Vary": "Accept-Encoding"})
    response.force_close()
    response.content_type = content_type
    if content_type.startswith("text/"):
        response.charset = "utf-8"
    if document.etag in request.headers.get("If-None-Match", ""):
        response.set_status(304)
        return response
    body = document.body
    if document.packed is not None and "gzip" in request.headers.get("Accept-Encoding", "").lower():
        body = document.packed
        response.headers["Content-Encoding"] = "gzip"
    response.content_length = len(body)
    await response.prepare(request)
    for at in range(0, len(body), PIECE_OCTETS):
        await response.write(body[at : at + PIECE_OCTETS])
    await response.write_eof()
    return response


def error_reply(
    status: int,
    what: str,
    headers: Mapping[str, str] = MappingProxyType({}),
    more: Mapping[str, object] = MappingProxyType({}),
) -> web.StreamResponse:
    """An error: {"error": what}, and what `more` has."""
    # RFC 9110 section 15.5.2: a 401 MUST have a WWW-Authenticate field
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return reply(status, {"error": what, **more}, {**challenge, **headers})


def reply(
    status: int, value: object, headers: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """A small JSON value; what may be large is a Document."""
    response = web.json_response(value, status=status, headers={**HEADERS, **headers})
    response.force_close()  # one request a connection: peers and people ask seldom, and an idle one costs
    return response
