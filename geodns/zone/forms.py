"""The structure of a zone file, said once: it validates, it words the problems, and it is the JSON Schema.

Values and geo codes stay the nodes that `source` read (Any), so that their places are kept; their meaning is
a matter of `rdata` and `parse`.
"""

import difflib
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import ErrorDetails, PydanticCustomError

from geodns.zone.source import Items, Mapping, Node, Text, shorten

TTL_SECONDS_MAX = 2**31 - 1  # RFC 2181 section 8
WEIGHT_MAX = 65535  # the width of an SRV weight, RFC 2782; octoDNS stops at 100
SERIAL_MAX = 2**32 - 1  # RFC 1035 section 3.3.13
ASN_MAX = 2**32 - 1  # RFC 6793
POOLS_MAX = 256  # per record: every pool is rendered when the zone is loaded
VALUES_MAX = 4096  # per record or pool: more addresses than this do not fit into an answer of 65,535 octets
RULES_MAX = 1024  # per record: every rule divides the address space further

_INTEGER = re.compile(r"-?[0-9]{1,20}")
_DECIMAL = re.compile(r"[-+]?[0-9]{1,6}(\.[0-9]{1,12})?")
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
            raise _wrong(f'"{shorten(text)}" is not a whole number from {low} to {high}', hint)
        raise _wrong(f"a whole number is wanted here, not a {_kind(value)}", hint)

    return validate


def _decimal(low: float, high: float) -> Callable[[Any], float]:
    def validate(value: Any) -> float:
        if isinstance(value, str) and _DECIMAL.fullmatch(value) and low <= float(value) <= high:
            return float(value)
        shown = f'"{shorten(value)}"' if isinstance(value, str) else f"a {_kind(value)}"
        raise _wrong(f"{shown} is not a number from {low:g} to {high:g}")

    return validate


def _flag(value: Any) -> bool:
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    shown = f'"{shorten(value)}"' if isinstance(value, str) else f"a {_kind(value)}"
    raise _wrong(f"{shown} is not true or false")


def _null_is_none(value: Any) -> Any:
    return None if isinstance(value, Text) and value.is_null else value


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _as_pool_value(value: Any) -> Any:
    return {"value": value} if isinstance(value, str) else value


def _wrong(what: str, hint: str = "") -> PydanticCustomError:
    # Braces in the text would be taken for placeholders, so it travels as one.
    return PydanticCustomError("geodns", "{what}", {"what": what, "hint": hint})


def _kind(value: Any) -> str:
    return "list" if isinstance(value, list) else "mapping" if isinstance(value, dict) else "text"


_VALUE_SCHEMA: dict[str, Any] = {"type": ["string", "number", "object"]}
_GEO_PATTERN = "^(AF|AN|AS|EU|NA|OC|SA)(-[A-Z]{2}(-[A-Z0-9]{1,3})?)?$"

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
GeoCode = Annotated[Any, WithJsonSchema({"type": "string", "pattern": _GEO_PATTERN})]
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


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LocationForm(_Form):
    """Where a pool is, in degrees."""

    lat: Annotated[float, Field(ge=-90, le=90), BeforeValidator(_decimal(-90, 90))] = Field(
        description="degrees, north positive"
    )
    lon: Annotated[float, Field(ge=-180, le=180), BeforeValidator(_decimal(-180, 180))] = Field(
        description="degrees, east positive"
    )


class PoolValueForm(_Form):
    """One value of a pool."""

    value: Value = Field(description="record data of the record's type")
    weight: Weight | None = Field(
        default=None,
        description="share of the answers; once one value has a weight, one value is drawn for each answer",
    )
    status: Annotated[str, Field(pattern="^(up|down|obey)$")] = Field(
        default="obey", description="obey: what the health check says; up or down: whatever that says"
    )


class PoolForm(_Form):
    """A named set of values that belong together, usually those of one site."""

    values: Annotated[
        list[Annotated[PoolValueForm, BeforeValidator(_as_pool_value)]],
        BeforeValidator(_as_list),
        Field(max_length=VALUES_MAX),
    ] = Field(description="what this pool answers")
    fallback: Annotated[str | None, BeforeValidator(_null_is_none)] = Field(
        default=None,
        description="the pool that stands in when no value is up; default: the record's own values",
    )
    location: LocationForm | None = Field(default=None, description="where the pool is")


class RuleForm(_Form):
    """Who is sent to which pool. A rule with no condition takes everybody who is left; it comes last."""

    pool: str = Field(description="the name of a pool")
    geos: Annotated[list[GeoCode], BeforeValidator(_as_list)] | None = Field(
        default=None, description="continents (EU), countries (NA-US), subdivisions (NA-US-CA)"
    )
    subnets: Annotated[list[Subnet], BeforeValidator(_as_list)] | None = Field(
        default=None, description="networks of clients, such as 192.0.2.0/24"
    )
    asns: Annotated[list[Asn], BeforeValidator(_as_list)] | None = Field(
        default=None, description="numbers of autonomous systems, such as 64500"
    )


class DynamicForm(_Form):
    """octoDNS's dynamic form: pools, and rules that say who is sent to which."""

    pools: dict[str, PoolForm] = Field(description="the pools by name", min_length=1, max_length=POOLS_MAX)
    rules: list[RuleForm] = Field(
        description="subnets win over asns, those over geos; narrower over wider",
        min_length=1,
        max_length=RULES_MAX,
    )


class OctodnsForm(BaseModel):
    """octoDNS's own settings of a record; keys of its providers are left alone."""

    model_config = ConfigDict(extra="allow")

    lenient: Flag = Field(
        default=False, description="the author knows: warnings about this record are not told"
    )
    ignored: Flag = Field(
        default=False, description="octoDNS does not publish this record, and geodns does not serve it"
    )
    healthcheck: Any = Field(default=None, description="how the values are checked (not yet looked at)")
    included: Any = Field(default=None, description="octoDNS providers (not looked at)")
    excluded: Any = Field(default=None, description="octoDNS providers (not looked at)")


class RecordForm(_Form):
    """The records of one name and type."""

    type: str = Field(description="A, AAAA, CNAME, MX, TXT, ..., or TYPEnnn (RFC 3597)")
    ttl: Seconds | None = Field(
        default=None, description="how long resolvers may keep the answer, in seconds"
    )
    value: Values | None = Field(default=None, description="the record data, if there is one")
    values: Values | None = Field(
        default=None, description="the record data; the answer where nothing below has a better one"
    )
    geo: dict[str, Values] | None = Field(
        default=None, description="places and their answers: the smallest place that the client is in wins"
    )
    dynamic: DynamicForm | None = Field(
        default=None, description="pools of values, and rules that lead to them"
    )
    octodns: Annotated[OctodnsForm | None, BeforeValidator(_null_is_none)] = Field(
        default=None, description="octoDNS's settings of this record"
    )


class SoaForm(_Form):
    """The zone's SOA record; what is left out has a usual value."""

    mname: str | None = Field(
        default=None, description="the primary nameserver; else the first NS of the zone"
    )
    rname: str | None = Field(
        default=None, description="mailbox of who is responsible; else hostmaster.<zone>"
    )
    serial: Serial | None = Field(
        default=None, description="else the time of the file, in seconds since 1970"
    )
    refresh: Seconds = Field(default=7200, description="seconds")
    retry: Seconds = Field(default=900, description="seconds")
    expire: Seconds = Field(default=1209600, description="seconds")
    minimum: Seconds = Field(
        default=300, description="seconds that resolvers keep negative answers, RFC 2308"
    )
    ttl: Seconds | None = Field(default=None, description="of the SOA record itself, in seconds")


class ZoneForm(_Form):
    """Settings of the whole zone."""

    ttl: Seconds | None = Field(default=None, description="of records that give none, in seconds; else 3600")
    soa: SoaForm | None = Field(default=None, description="the SOA record; it is made when it is not given")


_FORMS_BY_PLACE: tuple[tuple[tuple[str, ...], type[BaseModel]], ...] = (
    ((), RecordForm),
    (("dynamic",), DynamicForm),
    (("dynamic", "pools", "*"), PoolForm),
    (("dynamic", "pools", "*", "values", "*"), PoolValueForm),
    (("dynamic", "pools", "*", "location"), LocationForm),
    (("dynamic", "rules", "*"), RuleForm),
)


def explain(error: ErrorDetails, node: Node, form: type[BaseModel]) -> tuple[int, str, str, str]:
    """(place, what, hint, check) of a problem that pydantic found in `node`, in a user's words."""
    place = error["loc"]
    inner = _node_at(node, place)
    key = str(place[-1]) if place else ""
    kind = error["type"]
    if kind == "missing":
        at = _node_at(node, place[:-1]).at
        return at, f'"{shorten(key)}" is missing', "", "missing-key"
    if kind == "extra_forbidden":
        parent = _node_at(node, place[:-1])
        known = _known_keys(place[:-1], form)
        close = difflib.get_close_matches(key, known, 1)
        hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"
        at = parent.key_at(key) if isinstance(parent, Mapping) and key in parent else parent.at
        return at, f'unknown key "{shorten(key)}"', hint, "unknown-key"
    if kind == "geodns":
        context = error.get("ctx", {})
        return inner.at, f"{_named(place)}{context['what']}", str(context["hint"]), "bad-setting"
    what, hint = _standard(kind, error, inner)
    return inner.at, f"{_named(place)}{what}", hint, "bad-setting"


def _named(place: tuple[int | str, ...]) -> str:
    names = [str(part) for part in place if isinstance(part, str) and part not in ("values",)]
    return f"{shorten(names[-1])}: " if names else ""


def _standard(kind: str, error: ErrorDetails, node: Node) -> tuple[str, str]:
    found = f'"{shorten(node)}"' if isinstance(node, Text) and node else f"a {_kind(node)}"
    if isinstance(node, Text) and node.is_null:
        found = "nothing"
    if kind == "string_type":
        return f"a text is wanted here, not {found}", ""
    if kind in ("list_type", "model_type", "dict_type", "model_attributes_type"):
        return f"a {'list' if kind == 'list_type' else 'mapping'} is wanted here, not {found}", ""
    if kind == "string_pattern_mismatch":
        return f"{found} is not one of {error['ctx']['pattern'].strip('^$()').replace('|', ', ')}", ""
    if kind == "too_long":
        return (
            f"at most {error['ctx']['max_length']} are allowed, here are {error['ctx']['actual_length']}",
            "",
        )
    if kind == "too_short":
        return "it is empty", ""
    return str(error["msg"])[:1].lower() + str(error["msg"])[1:], ""


def _node_at(node: Node, place: tuple[int | str, ...]) -> Node:
    """The node at a path, or the last one on the way that is there."""
    for part in place:
        if isinstance(node, Mapping) and part in node:
            node = node[part]  # type: ignore[index]  # a str finds the Text that equals it
        elif isinstance(node, Items) and isinstance(part, int) and part < len(node):
            node = node[part]
    return node


def _known_keys(place: tuple[int | str, ...], form: type[BaseModel]) -> list[str]:
    if form is ZoneForm:
        return list((SoaForm if place else ZoneForm).model_fields)
    for pattern, known in _FORMS_BY_PLACE:
        if len(pattern) == len(place) and all(
            want in ("*", str(part)) for want, part in zip(pattern, place, strict=True)
        ):
            return list(known.model_fields)
    return []
