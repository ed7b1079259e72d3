"""What the endpoint says: a document, a small JSON object, or an error with a sentence."""

from collections.abc import Mapping
from types import MappingProxyType

from aiohttp import web

from geodns.control.document import Document

PIECE_OCTETS = 1 << 16  # written at a time: what a socket's buffer takes

HEADERS = {"Server": "geodns", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class Refuse(Exception):
    """The answer is an error with this status (RFC 9110 section 15.5) and sentence."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status
        self.what = what


async def send(request: web.Request, document: Document) -> web.StreamResponse:
    """The document, or only word that the client has it already; in pieces that nobody has to wait for."""
    response = web.StreamResponse(headers={**HEADERS, "ETag": document.etag, "Vary": "Accept-Encoding"})
    response.force_close()
    response.content_type = "application/json"
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
    status: int, what: str, headers: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """An error: {"error": what}."""
    # RFC 9110 section 15.5.2: a 401 MUST have a WWW-Authenticate field
    challenge = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return reply(status, {"error": what}, {**challenge, **headers})


def reply(
    status: int, value: object, headers: Mapping[str, str] = MappingProxyType({})
) -> web.StreamResponse:
    """A small JSON value; what may be large is a Document."""
    response = web.json_response(value, status=status, headers={**HEADERS, **headers})
    response.force_close()  # one request a connection: peers and people ask seldom, and an idle one costs
    return response
