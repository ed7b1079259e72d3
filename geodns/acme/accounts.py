"""Accounts of acme-dns's API: who may set the values of which subdomain.

A key is made here, of 240 random bits, and given out once. Of it a keyed BLAKE2b hash is kept: nobody finds
such a key by trying, so that a slow hash (scrypt) would protect nothing, and would give whoever asks often a
way to have the server work. The hash's key is the user's name: equal keys have other hashes.
"""

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from geodns.acme.words import Refused, seconds

KEY_OCTETS = 30  # of a key before base64url, which makes acme-dns's 40 characters of them
KEY_CHARACTERS_MAX = 128  # of a key that somebody shows
HASH_OCTETS = 32
ALLOW_FROM_MAX = 16  # networks of an account

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Account:
    """`hash` is that of the key; without `allow_from` it may be used from everywhere."""

    user: str
    hash: str
    subdomain: str
    allow_from: tuple[str, ...]
    at: float  # Unix seconds of its registration


def make_account(allow_from: Sequence[Network], now: float) -> tuple[Account, str]:
    """A new account and its key, which is known to nobody afterwards but whoever gets it."""
    user, subdomain = str(uuid.uuid4()), str(uuid.uuid4())
    key = secrets.token_urlsafe(KEY_OCTETS)
    return Account(user, _hash(user, key), subdomain, tuple(map(str, allow_from)), now), key


def opens(account: Account | None, key: str) -> bool:
    """Whether this is the account's key; takes as long when there is no such account."""
    user, expected = ("", "") if account is None else (account.user, account.hash)
    is_same = hmac.compare_digest(_hash(user, key[:KEY_CHARACTERS_MAX]), expected)
    return is_same and account is not None


def networks(given: Any) -> list[Network]:
    """acme-dns's `allowfrom`: a list of networks. Raises Refused."""
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise Refused(400, 'allowfrom is a list of networks, such as ["192.0.2.0/24"]')
    if len(given) > ALLOW_FROM_MAX:
        raise Refused(400, f"allowfrom has at most {ALLOW_FROM_MAX} networks")
    try:
        return [ip_network(text, strict=False) for text in given]
    except ValueError:
        raise Refused(400, 'allowfrom has networks, such as "192.0.2.0/24" or "2001:db8::/32"') from None


def is_within(address: str, allowed: Sequence[Network]) -> bool:
    """Whether an address, an IPv4 one in IPv6's form too, is in one of these networks."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in allowed)


def to_json(account: Account) -> dict[str, Any]:
    """As it goes to peers and into the state file."""
    return {
        "user": account.user,
        "hash": account.hash,
        "subdomain": account.subdomain,
        "allow_from": list(account.allow_from),
        "at": account.at,
    }


def from_json(given: Any) -> Account:
    """The inverse of `to_json`, of whatever comes. Raises Refused."""
    keys = {"user", "hash", "subdomain", "allow_from", "at"}
    if not isinstance(given, dict) or given.keys() != keys:
        raise Refused(400, "an account has user, hash, subdomain, allow_from and at")
    try:
        user, subdomain = (str(uuid.UUID(given[key])) for key in ("user", "subdomain"))
        is_hash = len(bytes.fromhex(given["hash"])) == HASH_OCTETS
    except (ValueError, TypeError, AttributeError):
        is_hash = False
    if not is_hash:
        raise Refused(400, "an account's user and subdomain are UUIDs, and hash is hexadecimal")
    allow_from = tuple(map(str, networks(given["allow_from"])))
    return Account(user, given["hash"], subdomain, allow_from, seconds(given["at"]))


def _hash(user: str, key: str) -> str:
    octets = key.encode("utf-8", "surrogateescape")
    return hashlib.blake2b(octets, key=user.encode(), digest_size=HASH_OCTETS).hexdigest()
