"""The status page: files that say nothing of this instance, and ask the endpoint for what they show.

So they are given to everybody, as a browser can show no token before it has a page to ask for it.
"""

import hashlib
import zlib
from importlib.resources import files

from aiohttp import web

from geodns.control.document import Document
from geodns.control.replies import HEADERS, send

_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_GZIP = 16 + zlib.MAX_WBITS  # zlib's way to say: with the header of RFC 1952

# Nothing but our own files, no inline script or style, no frame around it, no form that leads elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {
    **HEADERS,
    "Cache-Control": "no-cache",  # ask whether it is another one now, by the ETag
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Page:
    """`/` and `/assets/NAME`."""

    def __init__(self) -> None:
        self._files = {
            f"/assets/{file.name}": (_packed(file.read_bytes()), _TYPES["." + file.name.rpartition(".")[2]])
            for file in files("geodns.control").joinpath("assets").iterdir()
            if not file.name.startswith(".")
        }
        self._files["/"] = self._files.pop("/assets/index.html")

    @property
    def paths(self) -> frozenset[str]:
        """What everybody may read."""
        return frozenset(self._files)

    def routes(self) -> list[web.RouteDef]:
        return [web.get(path, self._file, allow_head=False) for path in self._files]

    async def _file(self, request: web.Request) -> web.StreamResponse:
        document, content_type = self._files[request.path]
        return await send(request, document, content_type, PAGE_HEADERS)


def _packed(body: bytes) -> Document:
    packer = zlib.compressobj(zlib.Z_BEST_COMPRESSION, wbits=_GZIP)
    packed = packer.compress(body) + packer.flush()
    return Document(body, packed, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
