"""GET /v1/map: over HTTP, from a real atlas that another process made, and when there is none."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from geodns.config import Config, Geo
from geodns.control.app import ControlApp
from geodns.control.worldmap import MapPaths
from geodns.server import atlas as atlas_module
from geodns.server.atlas import AtlasError, AtlasMaker
from tests.conftest import TEST_DATABASE, make_snapshot, with_health
from tests.control.test_app import TOKEN, Endpoint
from tests.goldens import Values
from tests.test_world import ZONES

ASKED = "/v1/map?name=www.example.com"


class MapEndpoint(Endpoint):
    def __init__(self) -> None:
        super().__init__()
        self.snapshot = make_snapshot(ZONES)
        overrides = {"127.0.0.0/8": "database"}
        self.config = Config(geo=Geo(databases=[str(TEST_DATABASE)], overrides=overrides))
        self.maker = AtlasMaker(lambda: self.config)
        maps = MapPaths(lambda: self.snapshot, self.maker.divide, AtlasError)
        self.app = ControlApp(self.keeper, TOKEN, lambda kind, text: self.said.append(text), maps.routes())
        self.app.is_serving = True

    async def get(self) -> dict:
        _, body = await self.ask("GET", ASKED, headers={"Accept-Encoding": "identity"})
        return json.loads(body)


@pytest.fixture
async def endpoint() -> AsyncIterator[MapEndpoint]:
    endpoint = MapEndpoint()
    await endpoint.app.start(endpoint.sockets)
    yield endpoint
    await endpoint.app.stop()


async def test_a_map_is_of_the_snapshot_that_is_served(endpoint: MapEndpoint):
    """It is kept as long as the snapshot is, and another one when something goes down."""
    response, _ = await endpoint.ask("GET", ASKED)
    etag = response.headers["ETag"]
    assert "fra" == (await endpoint.get())["countries"]["EU-DE"]["pool"]
    assert 304 == (await endpoint.ask("GET", ASKED, headers={"If-None-Match": etag}))[0].status
    endpoint.snapshot = with_health(endpoint.snapshot, Values(down={"192.0.2.10", "192.0.2.11"}))
    assert "iad" == (await endpoint.get())["countries"]["EU-DE"]["pool"]


async def test_what_is_no_question(endpoint: MapEndpoint):
    """Is refused with a sentence."""
    long = "a" * 64
    for query in (
        f"name={long}",
        "name=a..b",
        "name=www.example.com&type=NONSENSE",
        "name=www.example.com&type=",
    ):
        assert 400 == await endpoint.status("GET", f"/v1/map?{query}"), query


async def test_a_database_that_is_gone(endpoint: MapEndpoint, tmp_path: Path):
    """Says so, and the map is there again with the database; nothing of it is a bug."""
    missing = replace_databases(endpoint.config, str(tmp_path / "none.mmdb"))
    endpoint.config, good = missing, endpoint.config
    (tmp_path / "none.mmdb").write_text("not a database")
    response, body = await endpoint.ask("GET", ASKED)
    assert 503 == response.status
    assert "none.mmdb" in json.loads(body)["error"]
    endpoint.config = good
    assert "fra" == (await endpoint.get())["countries"]["EU-DE"]["pool"]
    assert [] == endpoint.said


async def test_an_atlas_that_takes_too_long(endpoint: MapEndpoint, monkeypatch: pytest.MonkeyPatch):
    """Its process is ended, and who waits is told."""
    monkeypatch.setattr(atlas_module, "MAKE_SECONDS", 0.0)
    response, body = await endpoint.ask("GET", ASKED)
    assert (503, "the map was not made within 0 s") == (response.status, json.loads(body)["error"])


async def test_many_ask_at_once(endpoint: MapEndpoint):
    """They wait for one atlas and one map, and get the same."""
    found = await asyncio.gather(*(endpoint.get() for _ in range(5)))
    assert all(each == found[0] for each in found)


def replace_databases(config: Config, path: str) -> Config:
    return config.model_copy(update={"geo": config.geo.model_copy(update={"databases": [path]})})
