"""What was seen of a delegation: by the parent, by each of the zone's servers, by a resolver. Plain data."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from geodns.delegation.form import Form
from geodns.delegation.reply import UNASKED, Outcome, Reply
from geodns.delegation.walk import Found, Referral, Walked
from geodns.name import Name
from geodns.zone.rdata import SOA


@dataclass(frozen=True, slots=True)
class Seen:
    """One address of the zone's nameservers, and its replies. Those not asked for are UNASKED.

    `soa` came over UDP with EDNS, `tcp` over TCP, `plain` over UDP without EDNS; `version` was asked with
    EDNS version 1, `odd` with an option and a flag that nobody knows, `recursion` for the parent's SOA.
    """

    names: tuple[Name, ...]
    address: str
    soa: Reply = UNASKED
    tcp: Reply = UNASKED
    plain: Reply = UNASKED
    ns: Reply = UNASKED
    version: Reply = UNASKED
    odd: Reply = UNASKED
    recursion: Reply = UNASKED
    dnskey: Reply = UNASKED
    hosts: Mapping[Name, Found] = field(default_factory=dict)  # what it says of the in-domain nameservers

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    @property
    def heard(self) -> Reply:
        """The best answer for the SOA; of equals that over UDP with EDNS, then without, then over TCP."""
        replies = (self.soa, self.plain, self.tcp)
        return max(replies, key=lambda reply: (reply.is_good, reply.is_answered))

    @property
    def is_alive(self) -> bool:
        return self.heard.is_answered

    @property
    def is_good(self) -> bool:
        """True when it has the zone and says so."""
        return self.heard.is_good and any(record.type == SOA for record in self.heard.answer)

    def __str__(self) -> str:
        return f"{self.names[0]} ({self.address})"


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a resolver answers about the zone, and about the addresses of its nameservers."""

    address: str
    soa: Reply
    ns: Reply
    hosts: Mapping[Name, Found]


@dataclass(frozen=True, slots=True)
class Observed:
    """All of it. `found` has what a walk finds for nameservers outside the zone; `systems` AS numbers, 0 for
    unknown, by address.
    """

    form: Form
    walked: Walked
    found: Mapping[Name, Found]
    servers: tuple[Seen, ...]
    systems: Mapping[str, int] = field(default_factory=dict)
    resolved: Resolved | None = None

    @property
    def apex(self) -> Name:
        return self.form.apex

    @property
    def parent(self) -> Name:
        """The zone in which the delegation stands."""
        return self.walked.path[-1]

    @property
    def referral(self) -> Referral | None:
        """The delegation: that of the first of the parent's servers that has one."""
        return next((referral for referral in self.walked.referrals if referral.names), None)

    @property
    def delegated(self) -> frozenset[Name]:
        """The nameservers according to the parent."""
        return frozenset() if self.referral is None else self.referral.names

    @property
    def wanted(self) -> frozenset[Name]:
        """The nameservers according to our zone file."""
        return frozenset(host.name for host in self.form.hosts)

    @property
    def names(self) -> frozenset[Name]:
        return self.delegated | self.wanted

    @property
    def effective(self) -> frozenset[Name]:
        """The nameservers that resolvers use: the parent's, or ours as long as it has none."""
        return self.delegated or self.wanted

    def was_asked(self, server: Seen) -> bool:
        """False where the fault is here: no route, or nobody of its family answers, the parent included."""
        if server.soa.outcome is Outcome.NO_ROUTE:
            return False
        heard = [other.family for other in self.servers if other.is_alive]
        heard += [referral.server.family for referral in self.walked.referrals]
        silent = [other.family for other in self.walked.silent]
        return server.family in heard or server.family not in silent

    def good(self) -> Iterator[Seen]:
        """The servers that have the zone."""
        return (server for server in self.servers if server.is_good)

    def alive(self) -> Iterator[Seen]:
        """The servers that answer anything."""
        return (server for server in self.servers if server.is_alive)

    def addresses(self, name: Name) -> frozenset[str]:
        """Every address of a nameserver, whoever says so."""
        host = self.form.host(name)
        glue = frozenset() if self.referral is None else self.referral.glue.get(name, frozenset())
        ours = frozenset() if host is None else frozenset(address.text for address in host.addresses)
        return glue | ours | self.found.get(name, Found()).addresses
