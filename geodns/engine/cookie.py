"""Server cookies: RFC 7873, in the form that RFC 9018 fixes, so that ns1 and ns2 may share a secret."""

from siphash24 import siphash24

from geodns.geo.partition import octets_of

CLIENT_OCTETS = 8
SECRET_OCTETS = 16  # RFC 9018 section 4.4: SipHash-2-4 has a key of 128 bits
RENEW_SECONDS = 1800  # RFC 9018 section 4.3: a cookie older than half an hour is replaced
PAST_SECONDS = 3600  # RFC 9018 section 4.3: valid for an hour,
FUTURE_SECONDS = 300  # and for five minutes of clocks that disagree
_VERSION = 1
_VERSION_AND_RESERVED = b"\x01\0\0\0"
_SERVER_OCTETS = 16
_HASH_OCTETS = 8


def cookie_for(cookie: bytes, client: str, secrets: tuple[bytes, ...], now: int) -> bytes:
    """The COOKIE option's data for the answer to a query that came with `cookie`.

    `client` is the address that asked, in text; `now` is in Unix seconds. A good and young server cookie
    comes back as it is, anything else is answered with a new one.
    """
    if is_valid(cookie, client, secrets, now) and _age(cookie, now) < RENEW_SECONDS:
        return cookie
    return _make(cookie[:CLIENT_OCTETS], client, secrets[0], now)


def is_valid(cookie: bytes, client: str, secrets: tuple[bytes, ...], now: int) -> bool:
    """True when we made the server's part of `cookie`, for this client, not too long ago."""
    if (
        len(cookie) != CLIENT_OCTETS + _SERVER_OCTETS
        or not -FUTURE_SECONDS <= _age(cookie, now) <= PAST_SECONDS
    ):
        return False
    if cookie[CLIENT_OCTETS] != _VERSION:
        return False
    # The reserved octets are hashed as they came: whoever made the cookie may have given them a meaning.
    return any(cookie == _signed(cookie[:-_HASH_OCTETS], client, secret) for secret in secrets)


def _age(cookie: bytes, now: int) -> int:
    # RFC 9018 section 4.3: serial number arithmetic (RFC 1982), so that it works past 2106
    return ((now - int.from_bytes(cookie[12:16]) + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def _make(client_cookie: bytes, client: str, secret: bytes, now: int) -> bytes:
    return _signed(client_cookie + _VERSION_AND_RESERVED + (now & 0xFFFFFFFF).to_bytes(4), client, secret)


def _signed(head: bytes, client: str, secret: bytes) -> bytes:
    # RFC 9018 section 4.4; the hash stands in the little-endian order of the SipHash reference code
    digest: bytes = siphash24(head + octets_of(client), key=secret).digest()
    return head + digest
