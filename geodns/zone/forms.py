"""The structure of a zone file, said once: it validates, it words the problems, and it is the JSON Schema.

Values and geo codes stay the nodes that `source` read (Any), so that their places are kept; their meaning is
a matter of `rdata` and `parse`. How single settings are written is in `fields`.
"""

import difflib
import types
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import ErrorDetails

from geodns.geo import codes
from geodns.zone.fields import (
    FALLBACKS_MAX,
    POOLS_MAX,
    RULE_POOLS_MAX,
    RULES_MAX,
    VALUES_MAX,
    Address,
    Answers,
    Asn,
    Bias,
    CheckName,
    Command,
    FallbackWeight,
    Flag,
    GeoCode,
    Host,
    Interval,
    Jitter,
    Latitude,
    Longitude,
    MinUp,
    Path,
    Pattern,
    PoolPolicy,
    Port,
    Protocol,
    Question,
    RuleAnswers,
    Seconds,
    Serial,
    Share,
    SlowStart,
    Statuses,
    Subnet,
    Threshold,
    Timeout,
    Value,
    Values,
    ValueStatus,
    Weight,
    WhenDown,
    as_fallback,
    as_list,
    as_pool_value,
    as_site,
    kind_of,
    null_is_none,
    null_or_list,
    wrong,
)
from geodns.zone.source import Items, Mapping, Node, Text, shorten


class _Form(BaseModel):
    # deferred: a process makes the validators that it uses, and not those of the parts once more
    model_config = ConfigDict(extra="forbid", defer_build=True)


class LocationForm(_Form):
    """Where a pool is, in degrees."""

    lat: Latitude = Field(description="degrees, north positive")
    lon: Longitude = Field(description="degrees, east positive")


def _location(value: Any) -> Any:
    """A geo code stands for the coordinates of its place."""
    if not isinstance(value, str):
        return value
    text = str(value)
    if what := codes.check(text):
        raise wrong(what, "", "bad-geo-code")
    found = codes.location(text)
    if found is None:
        raise wrong(f"no coordinates are known for {text}", "write {lat: , lon: }", "bad-geo-code")
    return LocationForm.model_construct(lat=found[0], lon=found[1])


class HealthCheckForm(_Form):
    """How values are checked; what is left out is as health in geodns.yaml has it."""

    protocol: Protocol = Field(
        default="HTTPS", description="what is done; UDP and ICMP are octoDNS's, and not done here"
    )
    host: Host = Field(
        default=None,
        description="HTTP Host and TLS server name; null: the value; else the record's name",
    )
    path: Path = Field(default="/_dns", description="of HTTP and HTTPS")
    port: Port | None = Field(
        default=None, description="443 for TCP and HTTPS, 80 for HTTP, 53 for DNS if left out"
    )
    status: Statuses | None = Field(
        default=None, description="HTTP statuses that are a success, such as 200-299; else 200 to 399"
    )
    body: Pattern = Field(
        default="", description="a regular expression that the body of the response matches somewhere"
    )
    verify: Flag = Field(default=True, description="whether the certificate of HTTPS is verified")
    question: Question = Field(default=None, description="of DNS: a name and a type; else the zone's SOA")
    command: Command = Field(
        default=None, description="of EXEC: the program and its arguments; exit status 0 is a success"
    )
    name: CheckName | None = Field(default=None, description="of EXTERNAL: under which name others report")
    interval: Interval | None = Field(default=None, description="from check to check")
    timeout: Timeout | None = Field(default=None, description="of one check")
    rise: Threshold | None = Field(default=None, description="successes in a row that bring a value up")
    fall: Threshold | None = Field(default=None, description="failures that bring a value down")
    ok: Threshold | None = Field(
        default=None, description="successes in a row that forget the failures counted so far"
    )
    jitter: Jitter | None = Field(
        default=None, description="share of the interval by which each check is moved at random"
    )
    source: Address | None = Field(default=None, description="the address to check from")


class PoolValueForm(_Form):
    """One value of a pool."""

    value: Value = Field(description="record data of the record's type")
    weight: Weight | None = Field(
        default=None,
        description="share of the answers; once one value has a weight, one value is drawn for each answer",
    )
    status: ValueStatus = Field(
        default="obey", description="obey: what the health check says; up or down: whatever that says"
    )


class SiteForm(BaseModel):
    """A value of a pool of $zone: the data of one site, by record type (A, AAAA, HTTPS, ...)."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    weight: Weight | None = Field(
        default=None,
        description="share of the answers; once one site has a weight, one is drawn for each answer",
    )
    status: ValueStatus = Field(
        default="obey", description="obey: what the health check says; up or down: whatever that says"
    )


class FallbackForm(_Form):
    """One of several pools that stand in for another."""

    pool: str = Field(description="the name of a pool")
    weight: FallbackWeight | None = Field(
        default=None, description="share of the clients that it takes; 1 if left out"
    )


class PoolSettings(_Form):
    """What pools of a record and of the zone have in common."""

    values: Any
    policy: PoolPolicy | None = Field(
        default=None,
        description="all: every value; weighted: drawn by weight; hash: by weight and the client's subnet; "
        "if left out, weighted once a value has a weight, else all",
    )
    answers: Answers | None = Field(
        default=None, description="how many values an answer has at most; else all, or one that is drawn"
    )
    min_up: MinUp | None = Field(
        default=None,
        description="the pool is down when less than this part of its weight is up, such as 50%; "
        "0.5 if it has more than one value",
    )
    fallback: Annotated[
        list[Annotated[FallbackForm, BeforeValidator(as_fallback)]] | None, BeforeValidator(null_or_list)
    ] = Field(
        default=None,
        max_length=FALLBACKS_MAX,
        description="the pool that stands in when this one is down, or several, over which the clients are "
        "spread; default: none",
    )
    slow_start: SlowStart | None = Field(
        default=None, description="how long a value that came back up takes to get its whole share"
    )
    location: Annotated[LocationForm | None, BeforeValidator(_location)] = Field(
        default=None, description="where the pool is: coordinates or a geo code"
    )
    bias: Bias | None = Field(
        default=None,
        description="percent: positive draws clients from farther away, negative leaves them to others",
    )
    healthcheck: Annotated[HealthCheckForm | None, BeforeValidator(null_is_none)] = Field(
        default=None, description="how the values are checked, instead of what the record says"
    )


class PoolForm(PoolSettings):
    """A named set of values that belong together, usually those of one site."""

    values: Annotated[
        list[Annotated[PoolValueForm, BeforeValidator(as_pool_value)]],
        BeforeValidator(as_list),
        Field(max_length=VALUES_MAX),
    ] = Field(description="what this pool answers")


class ZonePoolForm(PoolSettings):
    """A pool that any record of the zone can name; it gives each the data of its own type."""

    values: Annotated[
        list[Annotated[SiteForm, BeforeValidator(as_site)]],
        BeforeValidator(as_list),
        Field(max_length=VALUES_MAX),
    ] = Field(description="the sites: what each has for each type of record, or an address")


class RuleForm(_Form):
    """Who is sent to which pool. A rule with no condition takes everybody who is left; it comes last."""

    pool: str | None = Field(default=None, description="the name of a pool")
    pools: Annotated[list[str], BeforeValidator(as_list), Field(max_length=RULE_POOLS_MAX)] | None = Field(
        default=None,
        description="names of pools in order of preference: the first that is up answers",
        min_length=1,
    )
    geos: Annotated[list[GeoCode], BeforeValidator(as_list)] | None = Field(
        default=None, description="continents (EU), countries (NA-US), subdivisions (NA-US-CA)"
    )
    subnets: Annotated[list[Subnet], BeforeValidator(as_list)] | None = Field(
        default=None, description="networks of clients, such as 192.0.2.0/24"
    )
    asns: Annotated[list[Asn], BeforeValidator(as_list)] | None = Field(
        default=None, description="numbers of autonomous systems, such as 64500"
    )
    nearest: Flag = Field(
        default=False, description="prefer the pool that is nearest to the client; each needs a location"
    )
    answers: RuleAnswers | None = Field(
        default=None, description="with nearest: so many of the nearest pools answer together"
    )
    share: Share | None = Field(
        default=None, description="the part of the clients that this rule takes, such as 10%; else all"
    )


class DynamicForm(_Form):
    """octoDNS's dynamic form: pools, and rules that say who is sent to which."""

    pools: dict[str, PoolForm] | None = Field(
        default=None,
        description="the pools by name; rules and fallbacks may name those of $zone as well",
        min_length=1,
        max_length=POOLS_MAX,
    )
    rules: list[RuleForm] = Field(
        description="subnets win over asns, those over geos; narrower over wider",
        min_length=1,
        max_length=RULES_MAX,
    )


class OctodnsForm(BaseModel):
    """octoDNS's own settings of a record; keys of its providers are left alone."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    lenient: Flag = Field(
        default=False, description="the author knows: warnings about this record are not told"
    )
    ignored: Flag = Field(
        default=False, description="octoDNS does not publish this record, and geodns does not serve it"
    )
    healthcheck: Annotated[HealthCheckForm | None, BeforeValidator(null_is_none)] = Field(
        default=None, description="how the values of pools and places are checked"
    )
    included: Any = Field(default=None, description="octoDNS providers (not looked at)")
    excluded: Any = Field(default=None, description="octoDNS providers (not looked at)")


class RecordForm(_Form):
    """The records of one name and type."""

    type: str = Field(description="A, AAAA, CNAME, MX, TXT, ..., or TYPEnnn (RFC 3597)")
    ttl: Seconds | None = Field(
        default=None, description="how long resolvers may keep the answer, in seconds"
    )
    ttl_min: Seconds | None = Field(
        default=None,
        description="the least that the TTL is lowered to while health may change, in seconds; else half",
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
    when_all_down: WhenDown | None = Field(
        default=None,
        description="when no pool can answer: default: the values; all: as if all were up; nodata: nothing",
    )
    octodns: Annotated[OctodnsForm | None, BeforeValidator(null_is_none)] = Field(
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
    pools: dict[str, ZonePoolForm] | None = Field(
        default=None,
        description="pools that the rules and fallbacks of every record can name",
        max_length=POOLS_MAX,
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
        known = list(_form_at(form, place[:-1]).model_fields)
        close = difflib.get_close_matches(key, known, 1)
        hint = f'did you mean "{close[0]}"?' if close else f"known are {', '.join(known)}"
        at = parent.key_at(key) if isinstance(parent, Mapping) and key in parent else parent.at
        return at, f'unknown key "{shorten(key)}"', hint, "unknown-key"
    if kind == "geodns":
        context = error.get("ctx", {})
        return inner.at, f"{_named(place)}{context['what']}", str(context["hint"]), str(context["check"])
    what, hint = _standard(kind, error, inner)
    return inner.at, f"{_named(place)}{what}", hint, "bad-setting"


def _named(place: tuple[int | str, ...]) -> str:
    names = [str(part) for part in place if isinstance(part, str) and part not in ("values",)]
    return f"{shorten(names[-1])}: " if names else ""


def _standard(kind: str, error: ErrorDetails, node: Node) -> tuple[str, str]:
    found = f'"{shorten(node)}"' if isinstance(node, Text) and node else f"a {kind_of(node)}"
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


def _form_at(form: type[BaseModel], place: tuple[int | str, ...]) -> type[BaseModel]:
    """The form that stands at a path in another one."""
    kind: Any = form
    for part in place:
        kind = _bare(kind)
        origin = get_origin(kind)
        kind = get_args(kind)[-1] if origin in (list, dict) else kind.model_fields[part].annotation
    found: type[BaseModel] = _bare(kind)
    return found


def _bare(kind: Any) -> Any:
    """A type without what Annotated and `| None` add to it."""
    while get_origin(kind) in (Annotated, Union, types.UnionType):
        kind = get_args(kind)[0]
    return kind
