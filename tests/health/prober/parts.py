"""What the tests of the prober share: checks, and servers on loopback that do as they are told."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from geodns.health.words import Probe
from geodns.table.steer import Check

SOON_SECONDS = 0.2  # until something that never answers has timed out
PATIENCE_SECONDS = 20.0  # for something that takes a moment, on a machine that is busy with other things
HOST = "www.example.com"

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def probe(
    kind: str,
    target: str = "127.0.0.1",
    *,
    key: str = "",
    interval: float = 10.0,
    timeout: float = PATIENCE_SECONDS,
    jitter: float = 0.0,
    source: tuple[str, ...] = (),
    **check: object,
) -> Probe:
    """A check of this kind; its key is the kind and what distinguishes it, unless it is given."""
    text = key or f"{kind} {target} {check}"
    return Probe(Check(text, kind, target, **check), interval, timeout, jitter, source)


@asynccontextmanager
async def serving(
    handler: Handler, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """A TCP server that has `handler` for every connection; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has seen enough
        finally:
            writer.close()

    server = await asyncio.start_server(handle, host, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def answering(answer: bytes, asked: list[bytes] | None = None) -> Handler:
    """Reads the head of a request, into `asked`, and answers."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if asked is not None:
            asked.append(head)
        writer.write(answer)
        await writer.drain()

    return handle


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accepts, reads, and never says a word."""
    await reader.read(-1)


def http(status: int, body: bytes = b"ok\n") -> bytes:
    """An HTTP answer."""
    return b"HTTP/1.1 %d Some\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Certificates:
    """An authority of our own, and what it signs: EC keys, made by openssl."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authority = folder / "ca.pem"
        self._openssl("req", "-x509", *self._new("ca"), "-out", "ca.pem", "-subj", "/CN=A Test")

    def server(self, name: str, host: str, days: int = 2) -> ssl.SSLContext:
        """A server's context with a certificate for `host`; `days` below 0: it has expired."""
        names = f"subjectAltName=DNS:{host}"
        self._openssl(
            "req", *self._new(name), "-out", f"{name}.csr", "-subj", f"/CN={host}", "-addext", names
        )
        signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-copy_extensions", "copy")
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", *signing, "-days", str(days), "-out", f"{name}.pem"
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        return context

    def _new(self, name: str) -> tuple[str, ...]:
        return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True, timeout=60)
