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


@dataclass(frozen=True, slots=True)
class PoolValue:
    """One value of a pool; `weight` is 0 to 65535 and counts only in a weighted pool."""

    rdata: Rdata
    weight: int
    status: Status
    mark: Mark


class Policy(Enum):
    """How a pool answers: with `ALL` its values, or with one of them, drawn by weight."""

    ALL = "all"
    WEIGHTED = "weighted"


@dataclass(frozen=True, slots=True)
class Pool:
    """A named set of values that belong together, usually one site's.

    `fallback` names the pool that stands in when none of the values is up.
    """

    name: str
    values: tuple[PoolValue, ...]
    policy: Policy
    fallback: str | None
    mark: Mark
    latitude: float | None = None
    longitude: float | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """Clients in any of `subnets`, `asns` or `geos` go to `pool`; a rule without any of them takes the rest.

    `geos` are upper-case codes: continent, continent-country or continent-country-subdivision ("NA-US-CA").
    """

    pool: str
    subnets: tuple[IPv4Network | IPv6Network, ...]
    asns: tuple[int, ...]
    geos: tuple[str, ...]
    mark: Mark

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

    @property
    def serial(self) -> int:
        """Of the SOA, RFC 1035 section 3.3.13."""
        soa = self.rrsets[self.apex.key][6].rdatas[0]
        return int.from_bytes(soa[-20:-16])


@dataclass(frozen=True, slots=True)
class CheckedZone:
    """A zone in which `checks.check` found no error. Make it only there."""

    zone: Zone
