"""HTTP and HTTPS: GET, a new connection for every look, and no redirect followed.

It connects to the value's address and says the check's host: in Host, as the name in TLS, and as the name
that the certificate has to have.
"""

import re
import ssl
from contextlib import AbstractAsyncContextManager

import aiohttp
from yarl import URL

import geodns
from geodns.health.prober import pattern
from geodns.health.prober.look import Failed, LookAt, Unknown, is_our_own, short, source_for, why
from geodns.health.words import Probe
from geodns.table.steer import Check

BODY_OCTETS_MAX = (
    64 << 10
)  # of a body in which a pattern is looked for; a health page has less than a kilobyte
LINE_OCTETS_MAX = 8190  # of the answer's head; aiohttp's own bound, and that of most servers
HEADERS_MAX = 128  # aiohttp's own bound
PORTS = {"http": 80, "https": 443}
USER_AGENT = f"geodns/{geodns.__version__} (health check)"
GOOD = frozenset(range(200, 400))  # octoDNS and Route 53 count redirects as a success


class Http:
    """Makes the looks of both kinds: one session for each source address, one TLS context for each need."""

    def __init__(self) -> None:
        self._sessions: dict[str | None, aiohttp.ClientSession] = {}
        self._contexts: dict[bool, ssl.SSLContext] = {}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    def looking(self, probe: Probe) -> LookAt:
        """How to look for this check. Raises ValueError for one that no request can be made of."""
        check = probe.check
        headers = {"Host": host_header(check), "User-Agent": USER_AGENT, "Accept": "*/*"}
        good = frozenset(check.statuses) or GOOD
        body = pattern.compiled(check.body) if check.body else None
        _url(check, "192.0.2.1")  # so that what is wrong with it is known now

        async def look_at(address: str) -> str:
            try:
                async with self._get(probe, address, headers) as answer:
                    if answer.status not in good:
                        raise Failed(f"HTTP {answer.status}")
                    if body is not None:
                        await _search(body, answer)
                    return f"HTTP {answer.status}"
            except aiohttp.ClientError as error:
                raise plain(error) from None

        return look_at

    def _get(
        self, probe: Probe, address: str, headers: dict[str, str]
    ) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
        check = probe.check
        is_tls = check.kind == "https"
        return self._session(source_for(probe, address)).get(
            _url(check, address),
            headers=headers,
            allow_redirects=False,
            ssl=self._context(check.verify) if is_tls else True,
            server_hostname=_bare(check) if is_tls else None,
        )

    def _session(self, source: str | None) -> aiohttp.ClientSession:
        session = self._sessions.get(source)
        if session is None:
            connector = aiohttp.TCPConnector(
                limit=0,  # the schedule has one
                force_close=True,  # a connection kept open would not notice that nobody accepts new ones
                happy_eyeballs_delay=None,  # there is one address
                use_dns_cache=False,
                local_addr=None if source is None else (source, 0),
            )
            session = self._sessions[source] = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # the runner has one
                auto_decompress=False,  # a kilobyte can become a gigabyte
                skip_auto_headers=("Accept-Encoding",),
                read_bufsize=BODY_OCTETS_MAX,
                max_line_size=LINE_OCTETS_MAX,
                max_field_size=LINE_OCTETS_MAX,
                max_headers=HEADERS_MAX,
            )
        return session

    def _context(self, is_verified: bool) -> ssl.SSLContext:
        context = self._contexts.get(is_verified)
        if context is None:
            context = self._contexts[is_verified] = ssl.create_default_context()
            if not is_verified:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
        return context


def host_header(check: Check) -> str:
    """RFC 9110 section 7.2: the host, and the port where it is not the scheme's own."""
    host = _bare(check)
    host = f"[{host}]" if ":" in host else host
    return host if check.port in (0, PORTS[check.kind]) else f"{host}:{check.port}"


def _bare(check: Check) -> str:
    return (check.host or check.target).rstrip(".")


def _url(check: Check, address: str) -> URL:
    host = f"[{address}]" if ":" in address else address
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    return URL(f"{check.kind}://{host}:{check.port or PORTS[check.kind]}{path}")


async def _search(body: re.Pattern[str], answer: aiohttp.ClientResponse) -> None:
    """Raises Failed unless the pattern is found in the body's first BODY_OCTETS_MAX."""
    octets = bytearray()
    while len(octets) < BODY_OCTETS_MAX and (
        part := await answer.content.read(BODY_OCTETS_MAX - len(octets))
    ):
        octets += part
    try:
        if pattern.is_found(body, octets.decode(errors="replace")):
            return
    except pattern.TooLong:
        raise Failed(f"the search in the body took more than {pattern.SEARCH_SECONDS:g} s") from None
    is_whole = len(octets) < BODY_OCTETS_MAX
    raise Failed(f"body does not match{'' if is_whole else f' in its first {BODY_OCTETS_MAX} octets'}")


def plain(error: aiohttp.ClientError) -> Failed | Unknown:
    """What an error of aiohttp says, in a few words."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return Failed(why(error.certificate_error))
        case aiohttp.ClientConnectorError():
            detail = why(error.os_error)
            return Unknown(detail) if is_our_own(error.os_error) else Failed(detail)
        case aiohttp.ServerDisconnectedError():
            return Failed("connection closed without an answer")
        case aiohttp.ClientPayloadError():
            return Failed("the body ended too early")
        case aiohttp.ClientResponseError():
            return Failed(short(f"not an HTTP answer: {error.message}"))
        case OSError():
            return Failed(why(error))
    return Failed(short(str(error) or type(error).__name__))
