"""Who may read, and who may write: by the token they show, or by being on this machine."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

_READING = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP status (RFC 9110 section 15.5) and a sentence that says what to do."""

    status: int
    what: str


def refusal(
    method: str, hosts: Sequence[str], authorizations: Sequence[str], token: str | None, is_local: bool
) -> Refusal | None:
    """Why a request is refused; None when it is not.

    `hosts` and `authorizations` are the values of these header fields, `token` is ours, and `is_local` says
    that the connection came in at a loopback address that we listen on.
    """
    if authorizations:
        # A wrong token is never as good as none: somebody believes to be known here.
        return None if shows(authorizations, token) else Refusal(401, "this is not the token")
    if method not in _READING:
        if token is None:
            return Refusal(403, "nothing is written here as long as there is no control.token_file")
        return Refusal(401, "to write needs the token (Authorization: Bearer TOKEN)")
    if not is_local:
        return Refusal(401, "to read from another machine needs the token (Authorization: Bearer TOKEN)")
    # A page of any site can have its visitors' browsers ask 127.0.0.1 and read the answer, once the site's
    # name leads there (DNS rebinding). The browser then says the site's name, which is no address.
    if len(hosts) != 1 or not _is_own_host(hosts[0]):
        return Refusal(403, "without the token, ask by an address or by localhost")
    return None


def shows(authorizations: Sequence[str], token: str | None) -> bool:
    """Whether these values of an Authorization field are one, with our token."""
    if token is None or len(authorizations) != 1:
        return False
    scheme, _, shown = authorizations[0].partition(" ")
    if scheme.lower() != "bearer":
        return False
    # in constant time, so that the time it takes does not tell how much of a guess is right
    return hmac.compare_digest(shown.strip().encode("utf-8", "surrogateescape"), token.encode())


def _is_own_host(host: str) -> bool:
    """Whether a Host field (RFC 9110 section 7.2) has an address or localhost, with or without a port."""
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return False
    else:
        name, _, port = host.partition(":")
    if name.lower().rstrip(".") == "localhost":
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
