"""What is said of challenges: names, values, Changes, and why something is refused."""

import re
from dataclasses import dataclass
from typing import Any

from geodns.name import BadName, Name

LABEL = b"_acme-challenge"  # RFC 8555 section 8.4
VALUE_CHARACTERS = 43  # RFC 8555 section 8.4: a SHA-256 digest in base64url without padding

_VALUE = re.compile(rf"[A-Za-z0-9_-]{{{VALUE_CHARACTERS}}}")


class Refused(ValueError):
    """What was asked for is not done; `status` is that of RFC 9110 section 15.5, the text a sentence."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


@dataclass(frozen=True, slots=True)
class Change:
    """A value of a name was set, or cleared, `at` a time; it is not answered after `until` (Unix seconds).

    A value that was cleared is remembered until then, so that a peer who has not heard brings it not back.
    """

    owner: bytes  # lower-case wire form
    value: str
    is_set: bool
    at: float
    until: float


def owner_of(text: str) -> Name:
    """Where the challenge for a domain stands: `_acme-challenge` below it, unless that is written already.

    A wildcard's is that of the domain (RFC 8555 section 7.1.3). Raises Refused.
    """
    try:
        name = Name.parse(text)
        if name.is_wildcard:
            name = name.parent()
        return name if name.key.startswith(bytes([len(LABEL)]) + LABEL) else name.child(LABEL)
    except (BadName, ValueError) as error:
        raise Refused(400, str(error)) from None


def checked_value(value: Any) -> str:
    """The value of a challenge. Raises Refused."""
    if not isinstance(value, str) or not _VALUE.fullmatch(value):
        what = f"a dns-01 value is {VALUE_CHARACTERS} letters, digits, _ and -"
        raise Refused(400, f"{what}: the digest of a key authorization")
    return value


def rdata(value: str) -> bytes:
    """A TXT record's data (RFC 1035 section 3.3.14), of a value that is short enough for one string."""
    return bytes([len(value)]) + value.encode("ascii")


def to_json(change: Change) -> dict[str, Any]:
    """As it goes to peers and into the state file."""
    return {
        "name": str(Name(change.owner)),
        "value": change.value,
        "set": change.is_set,
        "at": change.at,
        "until": change.until,
    }


def from_json(given: Any) -> Change:
    """The inverse of `to_json`, of whatever comes. Raises Refused."""
    if not isinstance(given, dict) or given.keys() != {"name", "value", "set", "at", "until"}:
        raise Refused(400, "a change has name, value, set, at and until")
    if not isinstance(given["name"], str) or not isinstance(given["set"], bool):
        raise Refused(400, "a change's name is a text, and set is true or false")
    try:
        owner = Name.parse(given["name"]).key
    except (BadName, ValueError) as error:
        raise Refused(400, str(error)) from None
    return Change(
        owner, checked_value(given["value"]), given["set"], seconds(given["at"]), seconds(given["until"])
    )


def seconds(given: Any) -> float:
    """A time in Unix seconds, of whatever comes. Raises Refused."""
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 1 << 40:
        raise Refused(400, "a time is a number of Unix seconds")
    return float(given)
