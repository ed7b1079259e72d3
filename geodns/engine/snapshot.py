"""Everything an answer depends on besides the packet: published by one assignment, then never changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from geodns.geo.partition import Partition
from geodns.table.shape import Table
from geodns.table.steer import Standing

RRL_KEY_OCTETS = 16  # SipHash-2-4 has a key of 128 bits
RRL_BUCKETS = 1 << 19  # as many as Knot DNS has by default; 4 MiB, taken when limiting is switched on
UDP_SIZE_MAX_DEFAULT = 1232  # octets; DNS flag day 2020: an IPv6 packet of 1280 less its headers
TCP_KEEPALIVE_DEFAULT = 100  # units of 100 ms (RFC 7828 section 3.1): 10 s, the idle limit of our connections


@dataclass(frozen=True, slots=True)
class Identity:
    """What this server says of itself (RFC 4892, RFC 5001); an empty value is refused instead of told."""

    server_id: bytes = b""  # id.server and NSID
    hostname: bytes = b""  # hostname.bind
    version: bytes = b""  # version.bind and version.server


@dataclass(frozen=True, slots=True)
class Rrl:
    """How response rate limiting goes (`geodns.engine.rrl`).

    `rates` are responses a second to one network, by ResponseClass; 0: without limit. Of those over it every
    `slip`th is sent short, none with 0. `exempt` has networks as (4 or 16 octets, bits).
    """

    rates: tuple[int, int, int, int, int]
    burst_seconds: int  # what a network that was quiet may have at once is worth so many seconds
    slip: int
    bits4: int
    bits6: int  # at most 64
    exempt: tuple[tuple[bytes, int], ...]
    log_only: bool
    badcookie: bool  # whether one with half a cookie is told the other half instead of to come by TCP
    key: bytes  # RRL_KEY_OCTETS, of this process
    buckets: int = RRL_BUCKETS  # a power of two


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Snapshot:
    """The table, the geography of its choices, what is up, and the settings that show in answers.

    `partitions` has one for every `Choice.key` of the table; `standings`, by `Steer.key`, those that differ
    from `Steer.base`. The first of `cookie_secrets` (16 octets each)
    signs, all of them verify (RFC 9018 section 5: a rollover needs two).
    """

    table: Table
    partitions: Mapping[str, Partition] = field(default_factory=dict)
    identity: Identity = Identity()
    udp_size_max: int = UDP_SIZE_MAX_DEFAULT
    cookie_secrets: tuple[bytes, ...] = ()
    tcp_keepalive: int = TCP_KEEPALIVE_DEFAULT
    standings: Mapping[str, Standing] = field(default_factory=dict)
    rrl: Rrl | None = None
