"""The settings of a zone file one by one: how each is written, what it may be, and its JSON Schema.

    text of the file --BeforeValidator--> value
                         |
                         +--> PydanticCustomError with what is wrong, in a user's words

`forms` puts them together. Bounds are here, each with its unit and its reason.
"""

import difflib
import re
import shlex
import warnings
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from geodns.name import BadName, Name
from geodns.zone import rdata
from geodns.zone.source import Text, shorten

TTL_SECONDS_MAX = 2**31 - 1  # RFC 2181 section 8
WEIGHT_MAX = 65535  # the width of an SRV weight, RFC 2782; octoDNS stops at 100
SERIAL_MAX = 2**32 - 1  # RFC 1035 section 3.3.13
ASN_MAX = 2**32 - 1  # RFC 6793
POOLS_MAX = 256  # per record: every pool is rendered when the zone is loaded
VALUES_MAX = 4096  # per record or pool: more addresses than this do not fit into an answer of 65,535 octets
RULES_MAX = 1024  # per record: every rule divides the address space further
RULE_POOLS_MAX = 64  # of one rule: each may have to be looked at before one is found that is up
FALLBACKS_MAX = 16  # of one pool: a dead site's clients need no more sites than this to be spread over
SHARES_MAX = 4  # rules with a share in a record: each can double what the address space is divided into
POOL_NAME_CHARACTERS_MAX = 128  # it stands in messages, in explain and in the status
SLOW_START_SECONDS_MAX = 86_400  # a day: whoever wants more changes weights
BIAS_MAX = 99  # percent, Route 53's: 100 would make every distance nothing

INTERVAL_SECONDS_MIN = 0.05  # twenty checks a second of one value are an attack on it
INTERVAL_SECONDS_MAX = 86_400.0
TIMEOUT_SECONDS_MIN = 0.01  # less than a round trip on a local network takes
TIMEOUT_SECONDS_MAX = 300.0
THRESHOLD_MAX = 1000  # checks in a row; at an interval of 10 s that is 3 hours
PATH_CHARACTERS_MAX = 2048  # what HTTP servers read of a request's first line
PATTERN_CHARACTERS_MAX = 1024  # of a body; longer ones are programs
COMMAND_WORDS_MAX = 64
COMMAND_CHARACTERS_MAX = 4096  # of one word; a path has no more
CHECK_NAME_CHARACTERS_MAX = 128
STATUSES = range(100, 600)  # RFC 9110 section 15

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,6}(\.[0-9]{1,12})?")
_DURATION = re.compile(
    r"(?=[0-9])(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)h)?(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)m)?"
    r"(?:([0-9]{1,9}(?:\.[0-9]{1,6})?)s?)?"
)
_STATUS_RANGE = re.compile(r"([0-9]{3})(?:\s*-\s*([0-9]{3}))?")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")  # RFC 1123 section 2.1, and underscores
_PATH = re.compile(r"/[!-\"$-~]*")  # RFC 9112 section 3.2.1: visible ASCII, and no fragment
_CHECK_NAME = re.compile(r"[A-Za-z0-9._:@-]+")
_SHARE_DIGITS = 12  # decimals that a share keeps, so that what is written is read back as the same
_TRUE = frozenset(("true", "yes", "on"))
_FALSE = frozenset(("false", "no", "off"))


def _whole(low: int, high: int, hint: str = "") -> Callable[[Any], int]:
    """A validator of whole numbers as they are written; 010, 1e3 and 1_000 mean different things to different
    people.
    """

    def validate(value: Any) -> int:
        if isinstance(value, str):
            text = str(value)
            if _INTEGER.fullmatch(text) and low <= int(text) <= high and text == str(int(text)):
                return int(text)
            raise wrong(f'"{shorten(text)}" is not a whole number from {low} to {high}', hint)
        raise wrong(f"a whole number is wanted here, not a {kind_of(value)}", hint)

    return validate


def decimal(low: float, high: float) -> Callable[[Any], float]:
    def validate(value: Any) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value) and low <= float(value) <= high:
            return float(value)
        raise wrong(f"{shown(value)} is not a number from {low:g} to {high:g}")

    return validate


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    raise wrong(f"{shown(value)} is not true or false")


def _share(least: float, what: str) -> Callable[[Any], float]:
    """A validator of parts of a whole, as `0.1` or `10%`."""

    def validate(value: Any) -> float:
        text = str(value).removesuffix("%").rstrip() if isinstance(value, str) else ""
        if _DECIMAL.fullmatch(text):
            number = float(text) / (100 if value.endswith("%") else 1)
            number = round(number, _SHARE_DIGITS)
            if least <= number <= 1:
                return number
        hint = "such as 10% or 0.1"
        raise wrong(f"{shown(value)} is not {what}", hint)

    return validate


def _duration(low: float, high: float, whole: bool = False) -> Callable[[Any], float]:
    """A validator of durations: 300, 0.5s, 5m, 1h30m; the result is in seconds."""
    kind = "a duration in whole seconds" if whole else "a duration"

    def validate(value: Any) -> float:
        found = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if found is not None:
            hours, minutes, seconds = (float(part or 0) for part in found.groups())
            number = round(hours * 3600 + minutes * 60 + seconds, 6)
            if low <= number <= high and not (whole and number % 1):
                return number
        hint = "such as 30, 5m or 1h30m" if whole else "such as 10, 0.5s, 5m or 1h30m"
        raise wrong(f"{shown(value)} is not {kind} from {_seconds(low)} to {_seconds(high)}", hint)

    return validate


def _seconds(number: float) -> str:
    return f"{number:g} s" if number < 600 else f"{number / 3600:g} h"


def _one_of(known: Iterable[str], upper: bool = False) -> Callable[[Any], str]:
    words = tuple(known)

    def validate(value: Any) -> str:
        word = str(value).upper() if upper and isinstance(value, str) else value
        if isinstance(word, str) and word in words:
            return str(word)
        close = difflib.get_close_matches(str(word), words, 1) if isinstance(word, str) else []
        hint = f'did you mean "{close[0]}"?' if close else ""
        raise wrong(f"{shown(value)} is not one of {', '.join(words)}", hint)

    return validate


def as_fallback(value: Any) -> Any:
    return {"pool": value} if isinstance(value, str) else value


def _statuses(value: Any) -> tuple[int, ...]:
    """HTTP statuses: one, a range, or a list of them, as all the numbers that are meant."""
    found: set[int] = set()
    for item in value if isinstance(value, list) else [value]:
        ends = _STATUS_RANGE.fullmatch(item) if isinstance(item, str) else None
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (0, 0)
        if first not in STATUSES or last not in STATUSES or first > last:
            raise wrong(f"{shown(item)} is not an HTTP status, or a range of them", "such as 200 or 200-299")
        found.update(range(first, last + 1))
    if not found:
        raise wrong("the list is empty", "such as 200 or 200-299")
    return tuple(sorted(found))


def _host(value: Any) -> Any:
    """A host name or address for Host and SNI; nothing else may come into a request."""
    if isinstance(value, Text) and value.is_null:
        return None
    text = str(value) if isinstance(value, str) else ""
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        host = text.removesuffix(".") if text.isascii() else str(Name.parse(text + ".")).removesuffix(".")
    except (BadName, ValueError):
        host = ""
    if not _HOST.fullmatch(host):
        hint = "null stands for the value; a port has a key of its own"
        raise wrong(f"{shown(value)} is not a host name or an address", hint)
    return host


def _path(value: Any) -> str:
    # octoDNS's documentation has the default without its slash.
    text = (value if value.startswith("/") else f"/{value}") if isinstance(value, str) else ""
    if _PATH.fullmatch(text) and len(text) <= PATH_CHARACTERS_MAX:
        return str(text)
    raise wrong(f"{shown(value)} is not the path of a URL", "such as /_dns; other characters as %XX")


def _pattern(value: Any) -> str:
    if not isinstance(value, str):
        raise wrong(f"a regular expression is wanted here, not a {kind_of(value)}")
    if len(value) > PATTERN_CHARACTERS_MAX:
        raise wrong(f"a pattern has at most {PATTERN_CHARACTERS_MAX} characters, here are {len(value)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a later Python may read differently
            re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        raise wrong(f'"{shorten(value)}" is not a regular expression: {error}') from None
    return str(value)


def _question(value: Any) -> tuple[str, str]:
    """`example.com. SOA`; the type is SOA when it is left out."""
    words = value.split() if isinstance(value, str) else []
    if len(words) not in (1, 2):
        raise wrong(f"{shown(value)} is not a name and a type", 'such as "example.com. SOA"')
    try:
        if not words[0].endswith("."):
            raise BadName(f'"{shorten(words[0])}" has no final dot')
        name = Name.parse(words[0])
        rtype = rdata.type_number(words[1] if len(words) > 1 else "SOA")
    except (BadName, ValueError) as error:
        raise wrong(str(error), 'such as "example.com. SOA"') from None
    return str(name), rdata.type_name(rtype)


def _command(value: Any) -> tuple[str, ...]:
    hint = "such as [/usr/lib/nagios/plugins/check_ping, -H, 203.0.113.10]"
    if isinstance(value, str):
        try:
            words: list[Any] = list(shlex.split(str(value)))
        except ValueError as error:
            reason = str(error).lower()
            raise wrong(f'"{shorten(value)}" cannot be split into words: {reason}', hint) from None
    else:
        words = value if isinstance(value, list) else []
    if not words or not all(isinstance(word, str) for word in words) or not words[0]:
        raise wrong("a command is a text, or a list of texts", hint)
    if len(words) > COMMAND_WORDS_MAX or max(map(len, words)) > COMMAND_CHARACTERS_MAX:
        most = f"{COMMAND_WORDS_MAX} words of {COMMAND_CHARACTERS_MAX:,} characters"
        raise wrong(f"a command has at most {most}")
    return tuple(map(str, words))


def _check_name(value: Any) -> str:
    if isinstance(value, str) and _CHECK_NAME.fullmatch(value) and len(value) <= CHECK_NAME_CHARACTERS_MAX:
        return str(value)
    hint = f"at most {CHECK_NAME_CHARACTERS_MAX} letters, digits and . _ : @ -"
    raise wrong(f"{shown(value)} is not a name that others can report under", hint)


def _address(value: Any) -> str:
    try:
        return str(ip_address(str(value) if isinstance(value, str) else ""))
    except ValueError:
        raise wrong(f"{shown(value)} is not an address") from None


def as_site(value: Any) -> Any:
    """An address alone is a site that has nothing else."""
    if not isinstance(value, str):
        return value
    try:
        return {"A" if ip_address(str(value)).version == 4 else "AAAA": value}
    except ValueError:
        hint = "other data stands under its type, such as {CNAME: www.example.net.}"
        raise wrong(f"{shown(value)} is not an address", hint, "bad-value") from None


def null_is_none(value: Any) -> Any:
    return None if isinstance(value, Text) and value.is_null else value


def null_or_list(value: Any) -> Any:
    return None if isinstance(value, Text) and value.is_null else as_list(value)


def as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def as_pool_value(value: Any) -> Any:
    return {"value": value} if isinstance(value, str) else value


def wrong(what: str, hint: str = "", check: str = "bad-setting") -> PydanticCustomError:
    # Braces in the text would be taken for placeholders, so it travels as one.
    return PydanticCustomError("geodns", "{what}", {"what": what, "hint": hint, "check": check})


def shown(value: Any) -> str:
    if isinstance(value, Text) and value.is_null:
        return "nothing"
    return f'"{shorten(value)}"' if isinstance(value, str) else f"a {kind_of(value)}"


def kind_of(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, dict) else "text"


PROTOCOLS = ("HTTP", "HTTPS", "TCP", "DNS", "EXEC", "EXTERNAL", "UDP", "ICMP")
NOT_DONE = frozenset(("UDP", "ICMP"))
"""octoDNS's protocols that tell nothing for sure, or need privileges; they are accepted, and not done."""

POLICIES = ("all", "weighted", "hash")
WHEN_ALL_DOWN = ("default", "all", "nodata")
SHARE_MIN = 1e-9  # less than one of the 2**32 parts that the engines tell apart


def _any_case(word: str) -> str:
    return "".join(f"[{char}{char.lower()}]" for char in word)


def _duration_schema(low: float, high: float) -> dict[str, Any]:
    pattern = r"^([0-9.]+h)?([0-9.]+m)?([0-9.]+s?)?$"
    return {"type": ["number", "string"], "minimum": low, "maximum": high, "pattern": pattern}


_SHARE_SCHEMA: dict[str, Any] = {
    "type": ["number", "string"],
    "minimum": 0,
    "maximum": 1,
    "pattern": r"^[0-9.]+ ?%?$",
}
_STATUS_SCHEMA: dict[str, Any] = {
    "type": ["integer", "string"],
    "minimum": STATUSES.start,
    "maximum": STATUSES.stop - 1,
    "pattern": "^[1-5][0-9]{2}( *- *[1-5][0-9]{2})?$",
}
_STATUSES_SCHEMA: dict[str, Any] = {
    "anyOf": [_STATUS_SCHEMA, {"type": "array", "items": _STATUS_SCHEMA, "minItems": 1}]
}
_COMMAND_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {"type": ["string", "number"]},
            "minItems": 1,
            "maxItems": COMMAND_WORDS_MAX,
        },
    ]
}
_VALUE_SCHEMA: dict[str, Any] = {"type": ["string", "number", "object"]}
GEO_PATTERN = "^(AF|AN|AS|EU|NA|OC|SA)(-[A-Z]{2}(-[A-Z0-9]{1,3})?)?$"

Seconds = Annotated[
    int,
    Field(ge=0, le=TTL_SECONDS_MAX),
    BeforeValidator(_whole(0, TTL_SECONDS_MAX, "in seconds, such as 300")),
]
Serial = Annotated[int, Field(ge=0, le=SERIAL_MAX), BeforeValidator(_whole(0, SERIAL_MAX))]
Weight = Annotated[int, Field(ge=0, le=WEIGHT_MAX), BeforeValidator(_whole(0, WEIGHT_MAX))]
Flag = Annotated[bool, BeforeValidator(_flag)]
Value = Annotated[Any, WithJsonSchema(_VALUE_SCHEMA)]
Values = Annotated[
    Any,
    WithJsonSchema(
        {"anyOf": [_VALUE_SCHEMA, {"type": "array", "items": _VALUE_SCHEMA, "maxItems": VALUES_MAX}]}
    ),
]
GeoCode = Annotated[Any, WithJsonSchema({"type": "string", "pattern": GEO_PATTERN})]
Subnet = Annotated[Any, WithJsonSchema({"type": "string", "pattern": "^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"})]
Asn = Annotated[
    Any,
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "maximum": ASN_MAX},
                {"type": "string", "pattern": "^AS[0-9]{1,10}$"},
            ]
        }
    ),
]


Protocol = Annotated[
    str,
    BeforeValidator(_one_of(PROTOCOLS, upper=True)),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_any_case(word) for word in PROTOCOLS)})$"}),
]
Host = Annotated[str | None, BeforeValidator(_host)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(_whole(1, 65535))]
Statuses = Annotated[Any, BeforeValidator(_statuses), WithJsonSchema(_STATUSES_SCHEMA)]
Interval = Annotated[
    float,
    BeforeValidator(_duration(INTERVAL_SECONDS_MIN, INTERVAL_SECONDS_MAX)),
    WithJsonSchema(_duration_schema(INTERVAL_SECONDS_MIN, INTERVAL_SECONDS_MAX)),
]
Timeout = Annotated[
    float,
    BeforeValidator(_duration(TIMEOUT_SECONDS_MIN, TIMEOUT_SECONDS_MAX)),
    WithJsonSchema(_duration_schema(TIMEOUT_SECONDS_MIN, TIMEOUT_SECONDS_MAX)),
]
SlowStart = Annotated[
    float,
    BeforeValidator(_duration(0, SLOW_START_SECONDS_MAX, whole=True)),
    WithJsonSchema(_duration_schema(0, SLOW_START_SECONDS_MAX)),
]
Threshold = Annotated[int, Field(ge=1, le=THRESHOLD_MAX), BeforeValidator(_whole(1, THRESHOLD_MAX))]
Jitter = Annotated[
    float, BeforeValidator(_share(0, "a share of the interval")), WithJsonSchema(_SHARE_SCHEMA)
]
MinUp = Annotated[
    float, BeforeValidator(_share(0, "a part of the weight, 0 to 100%")), WithJsonSchema(_SHARE_SCHEMA)
]
Share = Annotated[
    float,
    BeforeValidator(_share(SHARE_MIN, "a part of the clients, above 0% and at most 100%")),
    WithJsonSchema(_SHARE_SCHEMA),
]
PoolPolicy = Annotated[
    str, BeforeValidator(_one_of(POLICIES)), Field(json_schema_extra={"enum": [*POLICIES]})
]
WhenDown = Annotated[
    str, BeforeValidator(_one_of(WHEN_ALL_DOWN)), Field(json_schema_extra={"enum": [*WHEN_ALL_DOWN]})
]
ValueStatus = Annotated[str, Field(pattern="^(up|down|obey)$")]
Answers = Annotated[int, Field(ge=1, le=VALUES_MAX), BeforeValidator(_whole(1, VALUES_MAX))]
RuleAnswers = Annotated[int, Field(ge=1, le=RULE_POOLS_MAX), BeforeValidator(_whole(1, RULE_POOLS_MAX))]
Bias = Annotated[int, Field(ge=-BIAS_MAX, le=BIAS_MAX), BeforeValidator(_whole(-BIAS_MAX, BIAS_MAX))]
FallbackWeight = Annotated[int, Field(ge=1, le=WEIGHT_MAX), BeforeValidator(_whole(1, WEIGHT_MAX))]
Path = Annotated[str, BeforeValidator(_path)]
Pattern = Annotated[str, BeforeValidator(_pattern)]
Question = Annotated[Any, BeforeValidator(_question), WithJsonSchema({"type": "string"})]
Command = Annotated[Any, BeforeValidator(_command), WithJsonSchema(_COMMAND_SCHEMA)]
CheckName = Annotated[str, BeforeValidator(_check_name)]
Address = Annotated[str, BeforeValidator(_address)]
Latitude = Annotated[float, Field(ge=-90, le=90), BeforeValidator(decimal(-90, 90))]
Longitude = Annotated[float, Field(ge=-180, le=180), BeforeValidator(decimal(-180, 180))]
