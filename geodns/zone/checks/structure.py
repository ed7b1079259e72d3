"""Checks of how the names of a zone fit together: apex, cuts, aliases, targets."""

from collections.abc import Iterator

from geodns.name import Name
from geodns.zone.checks.view import ADDRESSES, Finding, View
from geodns.zone.model import Alias, Mark, RRset
from geodns.zone.rdata import (
    CNAME,
    DNAME,
    DS,
    HTTPS,
    MX,
    NS,
    NSEC,
    RRSIG,
    SOA,
    SRV,
    SVCB,
    type_name,
)

_BESIDE_CNAME = frozenset((CNAME, RRSIG, NSEC))  # RFC 4034 section 3 and 4
# RFC 4035 section 2.6 and 3.1.4.1: the parent's data at a cut. A DNAME there is told of by `dname_and_ns`.
_AT_CUT = frozenset((NS, DS, RRSIG, NSEC, DNAME))
_TARGET_AT = {NS: 0, MX: 2, SRV: 6}  # octets before the name


def ns_missing(view: View) -> Iterator[Finding]:
    if view.get(view.apex.key, NS) is None and view.apex.key not in view.broken:
        yield Finding(
            None,
            Mark(view.zone.file),
            f"the zone {view.apex} has no NS record",
            "such as '': {type: NS, values: [ns1.example.com., ns2.example.com.]}",
        )


def ns_without_address(view: View) -> Iterator[Finding]:
    for rrset in view.of(NS):
        for name, mark in view.targets(rrset):
            if not view.is_inside(name) or view.has_address(name) or view.is_alias(name):
                continue
            cut = view.cut_above(name.key)
            if cut is not None and cut != rrset.owner.key:
                continue  # another zone's server: that zone has its address, and its glue is checked there
            hint = f"write {view.short(name)}: {{type: A, value: ...}}"
            what = f"the nameserver {name} has no address in the zone"
            if cut is not None:
                what = (
                    f"the nameserver {name} is in the zone that it serves, and its address (glue) is not here"
                )
            yield Finding(rrset, mark, what, hint)


def ns_is_cname(view: View) -> Iterator[Finding]:
    # RFC 2181 section 10.3: "The domain name used as the value of a NS resource record [...] must not be an
    # alias."
    yield from _aliased(view, NS)


def target_is_cname(view: View) -> Iterator[Finding]:
    # RFC 2181 section 10.3 for MX, RFC 2782 for SRV: the target "MUST NOT be an alias".
    yield from _aliased(view, MX)
    yield from _aliased(view, SRV)


def _aliased(view: View, rtype: int) -> Iterator[Finding]:
    for rrset in view.of(rtype):
        for name, mark in view.targets(rrset, _TARGET_AT[rtype]):
            if view.is_inside(name) and view.cut_above(name.key) is None and view.is_alias(name):
                hint = "write the name that the alias leads to"
                yield Finding(rrset, mark, f"the target {name} is an alias", hint)


def target_missing(view: View) -> Iterator[Finding]:
    for rtype, skip in ((CNAME, 0), (DNAME, 0), (MX, 2), (SRV, 6), (SVCB, 2), (HTTPS, 2)):
        for rrset in view.of(rtype):
            for wire, mark in _names(view, rrset, skip):
                name = Name(wire)
                if name.is_root or not view.is_inside(name) or not _is_lost(view, name):
                    continue
                yield Finding(
                    rrset, mark, f"the target {name} does not exist in the zone", _nearest(view, name)
                )
    for alias in view.zone.aliases.values():
        if _is_lost(view, alias.target):
            hint = _nearest(view, alias.target)
            yield Finding(alias, alias.mark, f"the target {alias.target} does not exist in the zone", hint)


def _names(view: View, rrset: RRset, skip: int) -> Iterator[tuple[bytes, Mark]]:
    for name, mark in view.targets(rrset, skip):
        end = 0
        while name.wire[end]:  # SVCB has parameters behind the name
            end += 1 + name.wire[end]
        yield name.wire[: end + 1], mark


def _is_lost(view: View, name: Name) -> bool:
    if view.cut_above(name.key) is not None or view.dname_above(name.key) is not None:
        return False
    return view.resolve(name) is None


def _nearest(view: View, name: Name) -> str:
    double = name.wire[: len(name.wire) - len(view.apex.wire)]
    if double.lower().endswith(view.apex.key[:-1]) and len(view.apex.key) > 1:
        return "the zone's name stands in it twice"
    return ""


def target_without_address(view: View) -> Iterator[Finding]:
    for rtype in (MX, SRV):
        for rrset in view.of(rtype):
            for name, mark in view.targets(rrset, _TARGET_AT[rtype]):
                if name.is_root or not view.is_inside(name) or view.cut_above(name.key) is not None:
                    continue
                if _is_lost(view, name) or view.is_alias(name) or view.has_address(name):
                    continue
                yield Finding(rrset, mark, f"the target {name} has no address in the zone")


def cname_and_other(view: View) -> Iterator[Finding]:
    # RFC 1034 section 3.6.2: "If a CNAME RR is present at a node, no other data should be present".
    for rrset in view.of(CNAME):
        key = rrset.owner.key
        others = [type_name(rtype) for rtype in view.zone.rrsets[key] if rtype not in _BESIDE_CNAME]
        others += ["ALIAS"] if key in view.zone.aliases else []
        if not others:
            continue
        if key == view.apex.key:
            hint = f"write ALIAS instead of CNAME, if the target is in {view.apex}"
            yield Finding(rrset, rrset.mark, "there cannot be a CNAME at the apex, beside SOA and NS", hint)
        else:
            hint = "a name with a CNAME has no other record"
            yield Finding(rrset, rrset.mark, f"the CNAME stands beside {', '.join(others)}", hint)


def alias_and_address(view: View) -> Iterator[Finding]:
    for key, alias in view.zone.aliases.items():
        beside = [type_name(rtype) for rtype in ADDRESSES if rtype in view.zone.rrsets.get(key, {})]
        if beside:
            what = f"the ALIAS stands beside {' and '.join(beside)}"
            yield Finding(alias, alias.mark, what, "an ALIAS answers A and AAAA itself")


def alias_loop(view: View) -> Iterator[Finding]:
    seen: set[bytes] = set()
    starts: list[RRset | Alias] = [rrset for rrset in view.of(CNAME) if rrset.rdatas]
    starts += view.zone.aliases.values()
    for start in starts:
        if way := _loop_from(view, start.owner, seen):
            shown = " -> ".join(view.short(name) for name in way)
            yield Finding(start, start.mark, f"the aliases lead in a circle: {shown}")


def _loop_from(view: View, start: Name, seen: set[bytes]) -> list[Name]:
    """The circle that a chain of aliases ends in, or nothing; a name in `seen` was followed before."""
    way: list[Name] = []
    name: Name | None = start
    while name is not None and name.key not in seen:
        seen.add(name.key)
        way.append(name)
        name = _next(view, name)
    if name is None or name not in way:
        return []
    return [*way[way.index(name) :], name]


def _next(view: View, name: Name) -> Name | None:
    key = view.resolve(name)
    if key is None or not view.is_inside(name):
        return None
    cname = view.get(key, CNAME)
    if cname is not None and cname.rdatas:
        return Name(cname.rdatas[0])
    alias = view.zone.aliases.get(key)
    return None if alias is None else alias.target


def dname_and_ns(view: View) -> Iterator[Finding]:
    # RFC 6672 section 2.3: a DNAME "MUST NOT appear at the same owner name as an NS RR", the apex aside.
    for rrset in view.of(DNAME):
        if rrset.owner.key in view.cuts:
            yield Finding(rrset, rrset.mark, "a DNAME cannot stand beside NS, but at the apex")


def below_dname(view: View) -> Iterator[Finding]:
    # RFC 6672 section 2.4: "Resource records MUST NOT exist at any subdomain of the owner of a DNAME RR."
    for about, key in _all(view):
        above = view.dname_above(key)
        if above is not None:
            what = f"the name is below the DNAME at {view.short(Name(above))}, nobody can see it"
            yield Finding(about, about.mark, what)


def below_cut(view: View) -> Iterator[Finding]:
    if not view.cuts:
        return
    glue = {name.key for rrset in view.of(NS) for name, _ in view.targets(rrset)}
    for about, key in _all(view):
        cut = view.cut_above(key)
        if cut is None:
            continue
        rtype = about.type if isinstance(about, RRset) else None
        if (key == cut and rtype in _AT_CUT) or (rtype in ADDRESSES and key in glue):
            continue
        where = "at" if key == cut else "below"
        what = (
            f"the record is {where} the zone cut {view.short(Name(cut))}, and is no glue: it is not answered"
        )
        yield Finding(about, about.mark, what, "it belongs into the zone that is delegated")


def _all(view: View) -> Iterator[tuple[RRset | Alias, bytes]]:
    for rrset in view.all():
        yield rrset, rrset.owner.key
    for key, alias in view.zone.aliases.items():
        yield alias, key


def soa_place(view: View) -> Iterator[Finding]:
    for rrset in view.of(SOA):
        if rrset.owner.key != view.apex.key:
            yield Finding(rrset, rrset.mark, f"a SOA stands at the apex, {view.apex}, and nowhere else")
        elif len(rrset.rdatas) > 1:
            yield Finding(rrset, rrset.marks[1], f"a zone has one SOA, here are {len(rrset.rdatas)}")


def ds_place(view: View) -> Iterator[Finding]:
    for rrset in view.of(DS):
        if rrset.owner.key == view.apex.key:
            yield Finding(rrset, rrset.mark, "the DS of a zone belongs into its parent zone")
        elif rrset.owner.key not in view.cuts:
            yield Finding(rrset, rrset.mark, "there is a DS, but no NS: nothing is delegated here")


def wildcard_cut(view: View) -> Iterator[Finding]:
    # RFC 4592 section 4.2 and 4.4: what a wildcard NS or DNAME means is left undefined.
    for rrset in view.of(NS, DNAME):
        if rrset.owner.is_wildcard:
            what = f"what {type_name(rrset.type)} at a wildcard means is not defined (RFC 4592)"
            yield Finding(rrset, rrset.mark, what)


def name_doubled(view: View) -> Iterator[Finding]:
    apex = view.apex.key
    if apex.count(b"\0") > 1 or len(view.apex.labels()) < 2:
        return
    twice = apex[:-1] + apex
    for about, key in _all(view):
        if key.endswith(twice):
            what = f"the name is {about.owner}, with the zone's name in it twice"
            yield Finding(about, about.mark, what, f"names are relative to {view.apex}")
