"""The files of the page: for everybody, kept by their ETag, and with a policy that lets in nothing else."""

import re
from collections.abc import AsyncIterator

import pytest

from geodns.control.app import ControlApp
from geodns.control.page import Page
from tests.control.test_app import TOKEN, Endpoint

OCTETS_MAX = 40_000  # of all of it, packed: less than a second on a bad line


class PageEndpoint(Endpoint):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        routes = self.page.routes()
        self.app = ControlApp(self.keeper, TOKEN, self.said.append, routes, open_paths=self.page.paths)
        self.app.is_serving = True


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    endpoint = PageEndpoint()
    await endpoint.app.start(endpoint.sockets)
    yield endpoint
    await endpoint.app.stop()


async def test_everybody_gets_the_page_and_nothing_else(endpoint: PageEndpoint):
    """It has to be there before a token can be typed in; what it asks for is guarded as ever."""
    for path in ("/", "/assets/page.js", "/assets/page.css", "/assets/world.svg", "/assets/icon.svg"):
        assert 200 == await endpoint.status("GET", path, endpoint.open_port)
    assert 401 == await endpoint.status("GET", "/v1/view", endpoint.open_port)
    for path in (
        "/assets/",
        "/assets/../app.py",
        "/assets/%2e%2e/app.py",
        "/assets/index.html",
        "/index.html",
    ):
        assert 404 == await endpoint.status("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})


async def test_it_is_small_and_kept(endpoint: PageEndpoint):
    """A browser that has it already gets word of that and no body."""
    octets = 0
    for path in endpoint.page.paths:
        response, body = await endpoint.ask("GET", path, headers={"Accept-Encoding": "gzip"})
        octets += len(body)
        etag = response.headers["ETag"]
        response, body = await endpoint.ask("GET", path, headers={"If-None-Match": etag})
        assert (304, b"") == (response.status, body)
    assert octets < OCTETS_MAX


async def test_nothing_comes_from_elsewhere(endpoint: PageEndpoint):
    """The policy allows our own files only; the page has no script or style in it, and loads nothing else."""
    response, body = await endpoint.ask("GET", "/", headers={"Accept-Encoding": "identity"})
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "text/html; charset=utf-8" == response.headers["Content-Type"]
    text = body.decode()
    assert [] == re.findall(r"<script(?![^>]* src=\"/assets/)[^>]*>|<style|style=\"|\son\w+=", text)
    assert [] == re.findall(r'(?:src|<link[^>]*href)="(?!/assets/)', text)
