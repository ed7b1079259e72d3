"""What the checks look at: a zone with its records by type, its cuts, and what can be found under a name."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps

from geodns.name import Name
from geodns.problems import Severity
from geodns.zone.model import Alias, Mark, RRset, Zone
from geodns.zone.rdata import AAAA, CNAME, DNAME, NS, A, type_name

ADDRESSES = (A, AAAA)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where a check does not hold. `about` is the record concerned, None for the zone."""

    about: RRset | Alias | None
    mark: Mark
    what: str
    hint: str = ""


Function = Callable[["View"], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Check:
    """A row of the table: its name, what becomes of a file in which it does not hold, and what it asks."""

    name: str
    severity: Severity
    function: Function
    asks: str


class View:
    """A zone as the checks need it. `broken` are the keys of names of which records could not be read."""

    def __init__(self, zone: Zone, broken: frozenset[bytes]) -> None:
        self.zone = zone
        self.apex = zone.apex
        self.broken = broken
        self._by_type: dict[int, list[RRset]] = defaultdict(list)
        self.steered: list[RRset] = []
        for types in zone.rrsets.values():
            for rrset in types.values():
                self._by_type[rrset.type].append(rrset)
                if rrset.steering is not None:
                    self.steered.append(rrset)
        self.cuts = {rrset.owner.key for rrset in self._by_type[NS]} - {zone.apex.key}
        self._dnames = {rrset.owner.key for rrset in self._by_type[DNAME]}
        self._names: set[bytes] | None = None

    def of(self, *types: int) -> Iterator[RRset]:
        """The RRsets of these types."""
        for rtype in types:
            yield from self._by_type.get(rtype, ())

    def all(self) -> Iterator[RRset]:
        for rrsets in self._by_type.values():
            yield from rrsets

    def get(self, key: bytes, rtype: int) -> RRset | None:
        types = self.zone.rrsets.get(key)
        return None if types is None else types.get(rtype)

    def label(self, about: RRset | Alias | None) -> str:
        """How a message calls a record: "www A"; "" for the zone."""
        if about is None:
            return ""
        kind = type_name(about.type) if isinstance(about, RRset) else "ALIAS"
        return f"{about.owner.relative_to(self.apex)} {kind}"

    def short(self, name: Name) -> str:
        return name.relative_to(self.apex)

    def is_inside(self, name: Name) -> bool:
        return name.is_under(self.apex)

    def cut_above(self, key: bytes) -> bytes | None:
        """The highest zone cut at or above a name."""
        return self._highest(key, self.cuts)

    def dname_above(self, key: bytes) -> bytes | None:
        """The highest DNAME above a name (not at it)."""
        found = self._highest(key, self._dnames)
        return None if found == key else found

    def _highest(self, key: bytes, keys: set[bytes]) -> bytes | None:
        if not keys:
            return None
        found = None
        for ancestor in ancestors(key, self.apex.key):
            if ancestor in keys:
                found = ancestor
        return found

    def resolve(self, name: Name) -> bytes | None:
        """The key under which a name of the zone is answered: its own, or the wildcard's; None: NXDOMAIN.

        RFC 4592 section 3.3.1: only the wildcard right below the closest encloser counts.
        """
        if name.key in self.names:
            return name.key
        for ancestor in ancestors(name.key, self.apex.key):
            if ancestor in self.names:
                wildcard = b"\x01*" + ancestor
                return wildcard if wildcard in self.names else None
        return None

    @property
    def names(self) -> set[bytes]:
        """The keys of every name that exists, empty non-terminals and broken names included."""
        if self._names is None:
            self._names = self._all_names()
        return self._names

    def _all_names(self) -> set[bytes]:
        apex = self.apex.key
        names = {apex}
        for key in (*self.zone.rrsets, *self.zone.aliases, *self.broken):
            while key not in names and len(key) > len(apex):
                names.add(key)
                key = key[1 + key[0] :]
        return names

    def has_address(self, name: Name) -> bool:
        """True when a name of the zone answers A or AAAA, or when nobody can tell (broken, delegated)."""
        if self.dname_above(name.key):
            return True
        key = self.resolve(name)
        if key is None:
            return False
        if key in self.broken or key in self.zone.aliases:
            return True
        types = self.zone.rrsets.get(key, {})
        return A in types or AAAA in types

    def is_alias(self, name: Name) -> bool:
        """True when a name of the zone is answered by a CNAME, its own, a wildcard's or one that a DNAME
        makes.
        """
        if self.dname_above(name.key):
            return True
        key = self.resolve(name)
        return key is not None and CNAME in self.zone.rrsets.get(key, {})

    def targets(self, rrset: RRset, skip: int = 0) -> Iterator[tuple[Name, Mark]]:
        """The names in the data of a record and of its pools, behind `skip` octets."""
        for wire, mark in datas(rrset):
            yield Name(wire[skip:]), mark


def once(function: Function) -> Function:
    """A check that tells of one place once: a pool of `$zone` is in many records, and so is a YAML alias."""

    @wraps(function)
    def findings(view: View) -> Iterator[Finding]:
        told: set[tuple[Mark, str]] = set()
        for finding in function(view):
            if (finding.mark, finding.what) not in told:
                if not (isinstance(finding.about, RRset) and finding.about.lenient):
                    told.add((finding.mark, finding.what))
                yield finding

    return findings


def datas(rrset: RRset) -> Iterator[tuple[bytes, Mark]]:
    """Every record data of an RRset, its own and that of its pools."""
    yield from zip(rrset.rdatas, rrset.marks, strict=True)
    if rrset.steering is not None:
        for pool in rrset.steering.pools.values():
            for value in pool.values:
                yield value.rdata, value.mark


def ancestors(key: bytes, apex: bytes) -> Iterator[bytes]:
    """A key and those above it, up to the apex."""
    while len(key) > len(apex):
        yield key
        key = key[1 + key[0] :]
    yield apex


def quoted(names: Iterable[str]) -> str:
    return ", ".join(names)
