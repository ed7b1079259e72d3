"""HTTP and HTTPS checks, with servers that behave and servers that do not."""

import asyncio
import ssl
from pathlib import Path

import pytest

from geodns.health.prober import http, pattern
from geodns.health.prober.http import BODY_OCTETS_MAX, Http
from geodns.health.prober.look import Failed, Unknown, prepared
from tests.health.prober import parts
from tests.health.prober.parts import HOST, SOON_SECONDS, Certificates, answering, probe, serving


async def looked(kind: str, target: str = "127.0.0.1", **more: object) -> str:
    made = probe(kind, target, **{"host": HOST, "path": "/_dns", **more})
    client = Http()
    try:
        return await prepared(made, client.looking(made))()
    finally:
        await client.close()


async def failure(kind: str, **more: object) -> str:
    with pytest.raises(Failed) as error:
        await looked(kind, **more)
    return str(error.value)


# HTTP


async def test_it_asks_the_address_for_the_host_and_path() -> None:
    """A connection to the value, a request that names the host; closed afterwards."""
    asked: list[bytes] = []
    async with serving(answering(parts.http(200), asked)) as port:
        assert "HTTP 200" == await looked("http", port=port, path="/up?deep=1")
    head = asked[0].decode()
    assert head.startswith("GET /up?deep=1 HTTP/1.1\r\n")
    assert f"\r\nHost: {HOST}:{port}\r\n" in head
    assert "\r\nUser-Agent: geodns/" in head
    assert "\r\nConnection: close\r\n" in head
    assert "Accept-Encoding" not in head


@pytest.mark.parametrize(
    ("kind", "host", "port", "expected"),
    [
        ("http", "www.example.com.", 80, "www.example.com"),
        ("https", "www.example.com", 443, "www.example.com"),
        ("https", "www.example.com", 80, "www.example.com:80"),
        ("http", "", 0, "192.0.2.1"),
        ("http", "2001:db8::1", 8080, "[2001:db8::1]:8080"),
    ],
)
def test_host_has_the_port_where_it_is_not_the_schemes(
    kind: str, host: str, port: int, expected: str
) -> None:
    """RFC 9110 section 7.2."""
    assert expected == http.host_header(probe(kind, "192.0.2.1", host=host, port=port).check)


async def test_over_ipv6() -> None:
    """The address stands in brackets where it has to."""
    async with serving(answering(parts.http(204, b"")), "::1") as port:
        assert "HTTP 204" == await looked("http", target="::1", port=port)


@pytest.mark.parametrize(
    ("status", "statuses", "is_up"),
    [
        (200, (), True),
        (302, (), True),
        (399, (), True),
        (404, (), False),
        (503, (), False),
        (503, (503,), True),
        (200, (503,), False),
    ],
)
async def test_the_status_decides(status: int, statuses: tuple[int, ...], is_up: bool) -> None:
    """200 to 399 unless it is written otherwise."""
    async with serving(answering(parts.http(status))) as port:
        if is_up:
            assert f"HTTP {status}" == await looked("http", port=port, statuses=statuses)
        else:
            assert f"HTTP {status}" == await failure("http", port=port, statuses=statuses)


async def test_a_redirect_is_not_followed() -> None:
    """It would be another server's health."""
    asked: list[bytes] = []
    answer = b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with serving(answering(answer, asked)) as port:
        assert "HTTP 302" == await looked("http", port=port)
    assert 1 == len(asked)


async def test_the_body_has_to_match_somewhere() -> None:
    """A pattern, not a text."""
    async with serving(answering(parts.http(200, b"status: all gr\xc3\xbcn\n"))) as port:
        assert "HTTP 200" == await looked("http", port=port, body=r"all gr.n$")
        assert "body does not match" == await failure("http", port=port, body="red")


async def test_an_endless_body_is_read_to_its_bound() -> None:
    """Without a pattern not at all."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"more and " * 1000)
            await writer.drain()

    async with serving(endless) as port:
        assert "HTTP 200" == await looked("http", port=port)
        expected = f"body does not match in its first {BODY_OCTETS_MAX} octets"
        assert expected == await failure("http", port=port, body="the end")


async def test_a_compressed_body_is_not_unpacked() -> None:
    """We asked for none; a bomb stays one."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nup!"
    async with serving(answering(answer)) as port:
        assert "HTTP 200" == await looked("http", port=port, body="up!")


async def test_a_pattern_that_runs_away_is_stopped() -> None:
    """A backend with the wrong body must not stop all the other checks."""
    async with serving(answering(parts.http(200, b"a" * 60 + b"!"))) as port:
        expected = f"the search in the body took more than {pattern.SEARCH_SECONDS:g} s"
        assert expected == await failure("http", port=port, body="(a+)+$")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"", "connection closed without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n", "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "the body ended too early"),
    ],
    ids=["nothing", "ssh", "a long header", "many headers", "a short body"],
)
async def test_what_is_no_answer_is_a_failure(answer: bytes, expected: str) -> None:
    """In a few words, whatever a server sends."""
    async with serving(answering(answer)) as port:
        said = await failure("http", port=port, body="x")
    assert said.startswith(expected)
    assert len(said) <= 200


async def test_a_header_that_drips_has_no_more_time_than_others() -> None:
    """A slow loris is ended by the check's own time."""
    is_gone = asyncio.Event()

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        await reader.read(-1)
        is_gone.set()

    async with serving(drip) as port:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(looked("http", port=port), SOON_SECONDS)
        await is_gone.wait()  # the connection is not left behind


async def test_a_path_cannot_add_headers() -> None:
    """A line break in it is sent as one that is quoted."""
    asked: list[bytes] = []
    async with serving(answering(parts.http(200), asked)) as port:
        await looked("http", port=port, path="/a b\r\nX: y")
    assert b"\r\nX: y" not in asked[0]


async def test_a_source_that_is_not_ours_is_no_failure() -> None:
    """It says nothing of the target."""
    with pytest.raises(Unknown, match="cannot assign requested address"):
        await looked("http", port=80, source=("192.0.2.1",))


async def test_it_asks_from_the_source() -> None:
    """The target's family decides which."""
    seen: list[str] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peername")[0])
        await answering(parts.http(200))(reader, writer)

    async with serving(handle) as port:
        await looked("http", port=port, source=("127.0.0.9", "::1"))
    assert ["127.0.0.9"] == seen


# HTTPS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine trusts the test's authority."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.authority))
    return certificates.authority


async def test_the_certificate_has_to_be_the_hosts(certificates: Certificates, trusted: Path) -> None:
    """Verified against the host, not the address; which is also the name in TLS."""
    names: list[str | None] = []
    good = certificates.server("good", HOST)
    good.sni_callback = lambda connection, name, context: names.append(name)
    async with serving(answering(parts.http(200)), tls=good) as port:
        assert "HTTP 200" == await looked("https", port=port)
        said = await failure("https", port=port, host="other.example.com")
    assert "certificate is not valid for 'other.example.com'" in said
    assert [HOST, "other.example.com"] == names


async def test_a_certificate_that_has_expired_is_a_failure(certificates: Certificates, trusted: Path) -> None:
    """Browsers would not go there either; with `verify: false` it is none."""
    async with serving(answering(parts.http(200)), tls=certificates.server("old", HOST, days=-1)) as port:
        assert "certificate has expired" == await failure("https", port=port)
        assert "HTTP 200" == await looked("https", port=port, verify=False)


async def test_a_certificate_of_nobody_we_trust_is_a_failure(certificates: Certificates) -> None:
    """Here the machine does not know the authority."""
    async with serving(answering(parts.http(200)), tls=certificates.server("unknown", HOST)) as port:
        assert "unable to get local issuer certificate" == await failure("https", port=port)


async def test_tls_that_is_none_is_a_failure() -> None:
    """A plain server on the port: TLS says what it thinks of that."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com ESMTP\r\n")
        await reader.read(-1)

    async with serving(greet) as port:
        assert "TLS: wrong version number" == await failure("https", port=port)


async def test_tls_that_never_answers_ends_with_the_checks_time() -> None:
    """The handshake is a part of the look."""
    async with serving(parts.silent) as port:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(looked("https", port=port), SOON_SECONDS)


def test_the_minimum_of_tls_is_the_systems() -> None:
    """What no browser speaks any more is not up."""
    assert ssl.TLSVersion.TLSv1_2 <= Http()._context(True).minimum_version
