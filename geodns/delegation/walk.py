"""From the root servers to the parent of a zone, and to the addresses of names: what a resolver would do.

    root --NS of each label--> zones on the way --> the parent: all its servers are asked for the referral

Asked is for one more label at a time, so that a server of two zones in a row is seen as both.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from geodns.delegation.reply import Asker, Question, Reply
from geodns.name import ROOT, Name
from geodns.zone.rdata import AAAA, DS, NS, A

DETOURS_MAX = 4  # nameservers whose addresses need other nameservers' addresses first; the Internet has 2
LABELS_MAX = 40  # of a name that is walked to; the longest in use, those of ip6.arpa, have 34
NAMESERVERS_MAX = 32  # of one zone; the root has 13
ADDRESSES_MAX = 8  # of one nameserver
AT_A_TIME = 4  # servers of a zone on the way that are asked at once, before the next ones


@dataclass(frozen=True, slots=True)
class Server:
    """One address of a nameserver."""

    name: Name
    address: str

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.address else 4

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True, slots=True)
class Referral:
    """What one server of the parent says of the zone. `is_child`: it serves the zone as well."""

    server: Server
    reply: Reply
    names: frozenset[Name]
    glue: dict[Name, frozenset[str]]  # for each of the names, none if the parent has none
    is_child: bool = False


@dataclass(frozen=True, slots=True)
class Walked:
    """The way to a zone's parent. `failure` says where it ended before, "" if it did not."""

    path: tuple[Name, ...]  # the zones, from the root to the parent
    referrals: tuple[Referral, ...] = ()  # of the parent's servers that answered
    silent: tuple[Server, ...] = ()  # those that did not
    ds: tuple[str, ...] = ()  # at the parent
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The addresses of a name as a resolver finds them. `failure` says why there are none."""

    addresses: frozenset[str] = frozenset()
    alias: Name | None = None
    failure: str = ""


class Lost(Exception):
    """A zone on the way has no server that helps; the text says which, and what its servers said."""


class Walker:
    """Walks through one view of the world, and remembers the zones it came through."""

    def __init__(self, asker: Asker, roots: Iterable[Server]) -> None:
        self.asker = asker
        self._zones: dict[Name, tuple[Server, ...]] = {ROOT: tuple(roots)}
        self._found: dict[Name, Found] = {}

    def parent_of(self, apex: Name) -> Walked:
        """Walk to the parent of `apex` and ask all its servers for the delegation."""
        try:
            path = self._descend(apex.parent(), DETOURS_MAX)
        except Lost as lost:
            return Walked((ROOT,), failure=str(lost))
        servers = self._zones[path[-1]]
        replies = self.asker.ask_all([(Question(apex, NS), server.address) for server in servers])
        asked = list(zip(servers, replies, strict=True))
        referrals = tuple(_referral(apex, server, reply) for server, reply in asked if reply.is_answered)
        if not referrals:
            return Walked(path, failure=_all_failed(path[-1], servers, replies))
        silent = tuple(server for server, reply in asked if not reply.is_answered)
        return Walked(path, referrals, silent, self._ds(apex, [referral.server for referral in referrals]))

    def addresses(self, name: Name, detours: int = DETOURS_MAX) -> Found:
        """Walk to `name` and ask for its addresses."""
        if name not in self._found:
            self._found[name] = Found(failure="its servers lead in a circle")  # until we are back
            self._found[name] = self._addresses(name, detours)
        return self._found[name]

    def _addresses(self, name: Name, detours: int) -> Found:
        try:
            zone = self._descend(name, detours)[-1]
            replies = [self._first(zone, Question(name, rtype)) for rtype in (A, AAAA)]
        except Lost as lost:
            return Found(failure=str(lost))
        addresses = frozenset(address for reply in replies for address in answered_addresses(reply, name))
        alias = next((found for reply in replies if (found := reply.alias(name))), None)
        failure = "" if addresses else f"{zone} has no address for it ({replies[0].rcode})"
        return Found(frozenset(usable(addresses)), alias, failure)

    def _ds(self, apex: Name, servers: list[Server]) -> tuple[str, ...]:
        questions = [(Question(apex, DS), server.address) for server in servers[:AT_A_TIME]]
        good = [reply for reply in self.asker.ask_all(questions) if reply.is_good]
        return tuple(sorted({data for reply in good for data in reply.data(apex, DS)}))

    def _descend(self, name: Name, detours: int) -> tuple[Name, ...]:
        """The zones down to the one that `name` is in, each with its servers in `_zones`. Raises Lost."""
        path = [ROOT]
        for at in list(_down_to(name))[:LABELS_MAX]:
            if at in self._zones:
                path.append(at)
                continue
            reply = self._first(path[-1], Question(at, NS))
            names = reply.names(at) or reply.referred(at)
            if names:
                self._zones[at] = self._servers(at, names, reply, detours) or self._lost(at, path[-1], reply)
                path.append(at)
        return tuple(path)

    def _servers(self, zone: Name, names: Iterable[Name], reply: Reply, detours: int) -> tuple[Server, ...]:
        """The addresses of a zone's nameservers: glue where there is some, else by detours."""
        ordered = sorted(names)[:NAMESERVERS_MAX]
        servers = [Server(name, address) for name in ordered for address in usable(reply.addresses(name))]
        if servers:
            return tuple(servers)
        if detours:
            for name in ordered:
                if not name.is_under(zone):
                    found = self.addresses(name, detours - 1)
                    servers += [Server(name, address) for address in usable(found.addresses)]
        return tuple(servers)

    def _lost(self, zone: Name, above: Name, reply: Reply) -> tuple[Server, ...]:
        """For nameservers without address: the servers that answered, if they have the zone. Raises Lost."""
        if not reply.is_authoritative:
            raise Lost(f"no nameserver of {zone} has an address")
        return self._zones[above]

    def _first(self, zone: Name, question: Question) -> Reply:
        """The first answer of the zone's servers that leads on. Raises Lost."""
        servers = self._zones[zone]
        replies: list[Reply] = []
        for at in range(0, len(servers), AT_A_TIME):
            some = [(question, server.address) for server in servers[at : at + AT_A_TIME]]
            replies += self.asker.ask_all(some)
            for reply in replies[at:]:
                if _leads_on(reply, question):
                    return reply
        raise Lost(_all_failed(zone, servers, replies))


def _down_to(name: Name) -> Iterator[Name]:
    """Every name from the top-level domain down to `name`, the root left out."""
    names = []
    while not name.is_root:
        names.append(name)
        name = name.parent()
    yield from reversed(names)


def _leads_on(reply: Reply, question: Question) -> bool:
    if not reply.is_answered:
        return False
    if reply.is_authoritative:
        return reply.rcode in ("NOERROR", "NXDOMAIN")
    return reply.rcode == "NOERROR" and bool(reply.referred(question.name))


def answered_addresses(reply: Reply, name: Name) -> list[str]:
    """The addresses of `name` in the answer section."""
    return reply.data(name, A) + reply.data(name, AAAA)


def usable(addresses: Iterable[str]) -> list[str]:
    """As many as are looked at, IPv4 first, since every machine has that."""
    return sorted(addresses, key=lambda address: (":" in address, address))[:ADDRESSES_MAX]


def _referral(apex: Name, server: Server, reply: Reply) -> Referral:
    is_child = reply.is_authoritative and bool(reply.names(apex))
    names = frozenset(sorted(reply.names(apex) or reply.referred(apex))[:NAMESERVERS_MAX])
    glue = {name: frozenset(usable(reply.addresses(name))) for name in names}
    return Referral(server, reply, names, glue, is_child)


def _all_failed(zone: Name, servers: Iterable[Server], replies: Iterable[Reply]) -> str:
    said = [
        f"{server} {'answers ' + reply.rcode if reply.is_answered else reply.outcome.value}"
        for server, reply in zip(servers, replies, strict=False)
    ]
    more = f" and {len(said) - 3} more" if len(said) > 3 else ""
    return f"none of the servers of {zone} helps: {', '.join(said[:3])}{more}"
