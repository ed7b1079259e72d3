"""CheckedZone -> Form: what the registrar's form wants to know, each with its place in the zone file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from geodns.name import Name
from geodns.problems import Problem, Severity
from geodns.zone import rdata
from geodns.zone.checks.view import View
from geodns.zone.model import CheckedZone, Mark, RRset, Zone

CDS = 59  # RFC 7344 section 3.1
CDS_DELETE = b"\0\0\0\0\0"  # RFC 8078 section 4: "remove the DS"
UNWRITTEN = 0  # the serial to load a zone with, so that one that the file does not say can be told
REVERSE = tuple(Name.parse(text) for text in ("in-addr.arpa.", "ip6.arpa."))

ZoneOf = Callable[[Name], Zone | None]
"""Another zone of ours that has this name; None when we have none."""


class Glue(Enum):
    """Whether the parent needs the addresses of a nameserver beside its name.

    RFC 9471 section 2: in-domain names are below the zone itself, and cannot be found without; sibling names
    are below the parent, in another zone of the same registry; all the others have their addresses elsewhere.
    """

    REQUIRED = "required"
    OPTIONAL = "optional"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class HostAddress:
    """One address of a nameserver, and where the zone file says it."""

    text: str
    mark: Mark

    @property
    def family(self) -> int:
        """4 or 6."""
        return 6 if ":" in self.text else 4


@dataclass(frozen=True, slots=True)
class Host:
    """A nameserver as the parent should have it. `addresses` are those our zone files have.

    `is_steered`: the addresses depend on who asks; these are the default ones.
    """

    name: Name
    mark: Mark
    glue: Glue
    addresses: tuple[HostAddress, ...]
    is_steered: bool = False


@dataclass(frozen=True, slots=True)
class Form:
    """What the parent should say of a zone: its nameservers, their glue, its DS records.

    `parent_file` is the parent's zone file where that is ours, else "". `serial` is None where the file does
    not say it, since it is then the time of the file's last change, on whichever machine that was.
    """

    apex: Name
    parent: Name
    file: str
    hosts: tuple[Host, ...]
    ns_mark: Mark
    ns_ttl: int  # seconds
    glue_ttls: dict[Name, int]  # seconds
    soa_mark: Mark
    serial: int | None
    ds: tuple[str, ...]  # presentation format
    parent_file: str = ""

    @property
    def keeper(self) -> str:
        """Where the parent's side is changed."""
        if self.parent_file:
            return f"in {self.parent_file}, the parent zone"
        if any(self.apex.is_under(block) for block in REVERSE):
            return "at whoever gave you the addresses"
        return "at the registrar"

    def host(self, name: Name) -> Host | None:
        return next((host for host in self.hosts if host.name == name), None)


def fill(checked: CheckedZone, zone_of: ZoneOf, parent: Name | None = None) -> tuple[Form, list[Problem]]:
    """The form of a zone, and what its author should know beside it.

    The zone was loaded with the serial UNWRITTEN. `zone_of` is asked for names outside the zone and for the
    parent. `parent` is the name above if left out.
    """
    zone = checked.zone
    parent = zone.apex.parent() if parent is None else parent
    ns = zone.rrsets[zone.apex.key][rdata.NS]
    soa = zone.rrsets[zone.apex.key][rdata.SOA]
    finder = _Finder(zone, parent, zone_of)
    hosts = tuple(
        finder.host(Name(data), mark) for data, mark in dict(zip(ns.rdatas, ns.marks, strict=True)).items()
    )
    form = Form(
        apex=zone.apex,
        parent=parent,
        file=zone.file,
        hosts=hosts,
        ns_mark=ns.mark,
        ns_ttl=ns.ttl,
        glue_ttls=finder.ttls,
        soa_mark=soa.mark,
        serial=None if zone.serial == UNWRITTEN else zone.serial,
        ds=tuple(_ds(zone)),
        parent_file=_file_of(parent, zone_of),
    )
    return form, list(_advice(form, ns))


def _file_of(apex: Name, zone_of: ZoneOf) -> str:
    zone = zone_of(apex)
    return zone.file if zone is not None and zone.apex == apex else ""


class _Finder:
    """Looks up nameservers' addresses in the zone itself and in the operator's other zones."""

    def __init__(self, zone: Zone, parent: Name, zone_of: ZoneOf) -> None:
        self.zone = zone
        self.parent = parent
        self.zone_of = zone_of
        self.ttls: dict[Name, int] = {}

    def host(self, name: Name, mark: Mark) -> Host:
        zone: Zone | None = self.zone
        if name.is_under(self.zone.apex):
            glue = Glue.REQUIRED
        else:
            # A parent that is the root has every other name below it; only those right in it are its hosts.
            in_registry = name.is_under(self.parent) and not self.parent.is_root
            glue = Glue.OPTIONAL if in_registry else Glue.NONE
            zone = self.zone_of(name)
        found = [] if zone is None else list(_addresses(zone, name))
        for rrset, _ in found:
            self.ttls.setdefault(name, rrset.ttl)
        addresses = tuple(address for _, several in found for address in several)
        steered = any(rrset.steering is not None for rrset, _ in found)
        return Host(name, mark, glue, addresses, steered)


def _addresses(zone: Zone, name: Name) -> Iterator[tuple[RRset, list[HostAddress]]]:
    """The A and AAAA of a name of the zone: its own, a wildcard's, or those of the target of its ALIAS."""
    view = View(zone, frozenset())
    key = view.resolve(name)
    seen: set[bytes] = set()
    while key is not None and key in zone.aliases and key not in seen:
        seen.add(key)
        key = view.resolve(zone.aliases[key].target)
    for rtype in (rdata.A, rdata.AAAA):
        rrset = None if key is None else view.get(key, rtype)
        if rrset is not None:
            pairs = zip(rrset.rdatas, rrset.marks, strict=True)
            yield rrset, [HostAddress(rdata.to_text(rtype, data), mark) for data, mark in pairs]


def _ds(zone: Zone) -> Iterator[str]:
    """RFC 7344 section 4: the CDS at the apex is what the zone's owner wants as DS at the parent."""
    cds = zone.rrsets[zone.apex.key].get(CDS)
    for data in () if cds is None else cds.rdatas:
        if not data.startswith(CDS_DELETE):
            yield rdata.to_text(CDS, data)


def _advice(form: Form, ns: RRset) -> Iterator[Problem]:
    if len(form.hosts) < 2:
        # RFC 1034 section 4.1: "By administrative fiat, we require every zone to be available on at least two
        # servers".
        what = "there is one nameserver; registries want two or more, on separate machines"
        yield _warning(form.ns_mark, "@ NS", what, "add ns2", "ns-too-few")
    if ns.steering is not None:
        what = "the nameservers are steered by place, but the parent has one set of them: the default values"
        yield _warning(form.ns_mark, "@ NS", what, "", "ns-steered")
    for host in form.hosts:
        if host.glue is Glue.REQUIRED and host.is_steered:
            what = "the address is steered by place, but the parent has one for everybody: the default value"
            where = f"{host.name.relative_to(form.apex)} A"
            yield _warning(host.addresses[0].mark, where, what, "", "glue-steered")


def _warning(mark: Mark, where: str, what: str, hint: str, check: str) -> Problem:
    return Problem(mark.file, mark.line, mark.column, where, what, hint, Severity.WARNING, check)
