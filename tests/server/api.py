"""A server with its HTTP API, and a client of it, for the tests of both."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.conftest import TEST_DATABASE
from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS, Process, serving

TOKEN = "e5e973e5a6b2a43f48e7dc849e37bfcf"
ZONE = """\
# by hand
$zone: {ttl: 300}
'':
  - {type: NS, values: [ns1.example.com.]}
ns1: {type: A, value: 192.0.2.1}   # the server
app:
  type: A
  values: [192.0.2.80]
  dynamic:
    pools:
      fra: {values: [{value: 203.0.113.10}, {value: 203.0.113.11}], fallback: iad}
      iad: {values: [{value: 203.0.113.20}]}
    rules:
      - {geos: [EU], pool: fra}
      - {pool: iad}
"""


@dataclass
class Answer:
    """What came back."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def etag(self) -> str:
        return self.headers["ETag"]


@dataclass
class Api:
    """A running server; `port` is its HTTP port, `dns` that of DNS."""

    folder: Path
    port: int
    dns: int
    process: Process

    @property
    def zones(self) -> Path:
        return self.folder / "zones"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(
        self, method: str, path: str, body: object = None, token: str | None = TOKEN, **headers: str
    ) -> Answer:
        """`headers` have _ for -; a body that is no bytes goes as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        octets = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection = HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        try:
            connection.request(method, path, octets, sent)
            response = connection.getresponse()
            return Answer(response.status, response.read(), dict(response.getheaders()))
        finally:
            connection.close()

    def etag(self, zone: str = "example.com") -> str:
        return self.ask("GET", f"/v1/zones/{zone}").etag


@contextmanager
def serving_api(folder: Path, *arguments: str, more: str = "", zone: str = ZONE) -> Iterator[Api]:
    """A server with one zone, example.com; `more` is added to its config."""
    port = free_port()
    (folder / "zones").mkdir(exist_ok=True)
    (folder / "zones" / "example.com.yaml").write_text(zone)
    (folder / "token").write_text(TOKEN)
    os.chmod(folder / "token", 0o600)
    config = f"control: {{listen: 127.0.0.1:{port}, token_file: token}}\n"
    config += f"geo: {{databases: [{TEST_DATABASE}], overrides: {{127.0.0.0/8: database}}}}\n{more}"
    with serving(folder, *arguments, config=config) as process:
        (dns,) = process.ports()
        yield Api(folder, port, dns, process)
