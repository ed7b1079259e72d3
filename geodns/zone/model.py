"""The model of a zone: what a file means, before and after it was checked.

Source -> Zone -> CheckedZone: `parse` makes a Zone of a Source, `checks.check` alone makes a CheckedZone, and
`table.compile` takes nothing else.
"""

from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network

from geodns.name import Name

Rdata = bytes
"""Record data in wire form, names in it uncompressed and in the spelling of the file."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Where something stands in its file: line and column count from 1; 0:0 for what geodns made itself."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


class Status(Enum):
    """octoDNS's `status` of a value: `OBEY` its health check, or `UP` or `DOWN` whatever that says."""

    OBEY = "obey"
    UP = "up"
    DOWN = "down"


class CheckKind(Enum):
    """What a health check does to find out whether something is up."""

    TCP = "tcp"
    HTTP = "http"
    HTTPS = "https"
    DNS = "dns"
    EXEC = "exec"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A health check as the zone file writes it. None and () mean: not written, a default holds.

    Times are seconds. `rise` successes in a row bring a value up, `fall` failures bring it down, and `ok`
    successes in a row forget the failures counted so far (gdnsd's up_thresh, down_thresh and ok_thresh).
    """

    kind: CheckKind
    mark: Mark
    port: int | None = None  # TCP 443, HTTP 80, HTTPS 443, DNS 53 where it is not written
    host: str | None = None  # HTTP Host and TLS server name; None: the record's name
    host_is_value: bool = False  # octoDNS's `host: null`: the value itself is the host
    path: str = "/_dns"  # octoDNS's default
    statuses: tuple[int, ...] = ()  # HTTP statuses that are a success; () is 200 to 399
    body: str = ""  # a regular expression that the body has to match somewhere; "" is any body
    verify: bool = True  # whether an HTTPS certificate is verified
    question: tuple[str, str] = ("", "")  # DNS: name and type
    command: tuple[str, ...] = ()  # EXEC
    name: str = ""  # EXTERNAL: under which name others report
    interval: float | None = None
    timeout: float | None = None
    rise: int | None = None
    fall: int | None = None
    ok: int | None = None
    jitter: float | None = None  # share of the interval, 0 to 1
    source: str = ""  # the address to check from


@dataclass(frozen=True, slots=True)
class PoolValue:
    """One value of a pool; `weight` is 0 to 65535 and counts only where one is chosen by weight.

    `site` is what stays the same for all types of a site of `$zone.pools` (b"": the value is its own site).
    `addresses` are those of that site, whose checks decide for a value that has no address itself.
    """

    rdata: Rdata
    weight: int
    status: Status
    mark: Mark
    site: bytes = b""
    addresses: tuple[str, ...] = ()


class Policy(Enum):
    """How a pool answers: with `ALL` its values, or with some of them, drawn by weight for each answer, or
    chosen by weight and the client's subnet, so that a client keeps its value.
    """

    ALL = "all"
    WEIGHTED = "weighted"
    HASH = "hash"


class WhenAllDown(Enum):
    """What a record answers when no pool can: its own values, all values as if they were up, or nothing."""

    DEFAULT = "default"
    ALL = "all"
    NODATA = "nodata"


@dataclass(frozen=True, slots=True)
class Fallback:
    """A pool that stands in for another; of several, each takes clients by its weight."""

    pool: str
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of values that belong together, usually one site's.

    `fallbacks` stand in when it is down, which it is when less than `min_up` of its weight is up, or nothing.
    `is_shared` says that it comes from `$zone.pools`; its values are those of the record's type.
    """

    name: str
    values: tuple[PoolValue, ...]
    policy: Policy
    fallbacks: tuple[Fallback, ...]
    mark: Mark
    latitude: float | None = None
    longitude: float | None = None
    answers: int | None = None  # how many values; None: all of them with ALL, else one
    min_up: float | None = None  # 0 to 1; None: 0.5 for more than one value
    slow_start: int = 0  # seconds in which a value that came back takes its share
    bias: int = 0  # -99 to 99, Route 53's
    check: HealthCheck | None = None  # None: the record's
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """A value of a pool of `$zone`: the data of one site for each type that it has.

    `id` is the same for all types, and different in every site of the pool.
    """

    id: bytes
    datas: dict[int, tuple[tuple[Rdata, Mark], ...]]
    weight: int
    status: Status
    mark: Mark
    addresses: tuple[str, ...] = ()  # those of types A and AAAA


@dataclass(frozen=True, slots=True)
class ZonePool:
    """A pool that every record of the zone can name. `pool` has its settings, and no values."""

    pool: Pool
    sites: tuple[Site, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """Clients in any of `subnets`, `asns` or `geos` go to `pools`; a rule without any of them takes the rest.

    `geos` are upper-case codes: continent, continent-country or continent-country-subdivision ("NA-US-CA").
    Of `pools` the first that is up answers; with `nearest`, the `answers` nearest ones that are up. `share`
    (above 0, at most 1) is the part of the clients' subnets that the rule takes.
    """

    pools: tuple[str, ...]
    subnets: tuple[IPv4Network | IPv6Network, ...]
    asns: tuple[int, ...]
    geos: tuple[str, ...]
    mark: Mark
    nearest: bool = False
    answers: int = 1
    share: float = 1.0

    @property
    def is_catch_all(self) -> bool:
        return not (self.subnets or self.asns or self.geos)


@dataclass(frozen=True, slots=True)
class Steering:
    """Which pools an RRset has and who is sent to which. `geo:` is read into this form as well:

    a pool for every code, named as the code, and a rule for each; no catch-all rule, so that the rest of the
    world gets the RRset's own values.
    """

    pools: dict[str, Pool]
    rules: tuple[Rule, ...]
    mark: Mark
    when_all_down: WhenAllDown = WhenAllDown.DEFAULT
    check: HealthCheck | None = None  # of the values of pools that have none of their own


@dataclass(frozen=True, slots=True)
class RRset:
    """The records of one owner and type. `rdatas` answer where `steering` has no better answer.

    `marks` has the place of each of the rdatas. `lenient` is octoDNS's: its author knows, so warnings about
    this record are not told.
    """

    owner: Name
    type: int
    ttl: int  # seconds, 0 to 2**31 - 1 (RFC 2181 section 8)
    rdatas: tuple[Rdata, ...]
    marks: tuple[Mark, ...]
    mark: Mark
    steering: Steering | None = None
    lenient: bool = False
    ttl_min: int | None = None  # seconds; of an answer that depends on health. None: half of `ttl`


@dataclass(frozen=True, slots=True)
class Alias:
    """octoDNS's ALIAS: the owner answers A and AAAA with what `target`, a name of this zone, has."""

    owner: Name
    ttl: int
    target: Name
    mark: Mark


@dataclass(frozen=True, slots=True)
class Zone:
    """A zone as its file says it, read but not checked.

    `rrsets` is by owner's key (lower-case wire form), then by type. `soa_made` says that the file has no SOA
    and geodns made one; the SOA always stands in `rrsets`.
    """

    apex: Name
    file: str
    rrsets: dict[bytes, dict[int, RRset]]
    aliases: dict[bytes, Alias] = field(default_factory=dict)
    soa_made: bool = False
    local: bool = False  # one of the built-in zones: localhost and its kin
    pools: dict[str, ZonePool] = field(default_factory=dict)  # `$zone.pools`; steerings have their values too

    @property
    def serial(self) -> int:
        """Of the SOA, RFC 1035 section 3.3.13."""
        soa = self.rrsets[self.apex.key][6].rdatas[0]
        return int.from_bytes(soa[-20:-16])


@dataclass(frozen=True, slots=True)
class CheckedZone:
    """A zone in which `checks.check` found no error. Make it only there."""

    zone: Zone
