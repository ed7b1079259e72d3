"""Zone -> master file."""

from collections.abc import Iterable, Iterator

from geodns.name import Name
from geodns.zone import rdata
from geodns.zone.model import Alias, RRset, Zone


def write(zone: Zone) -> Iterator[str]:
    """The lines of a master file that says what `zone` says, the SOA first and the rest in canonical order.

    What a master file cannot say is told in comments: steered records are their default values, an ALIAS is
    what its target has in this zone.
    """
    origin = zone.apex
    yield f"$ORIGIN {origin}"
    soa = zone.rrsets[origin.key][rdata.SOA]
    yield from _lines_of(soa, origin)
    owners = {name.key: name for name in _owners(zone)}
    for owner in sorted(owners.values()):
        for _, rrset in sorted(zone.rrsets.get(owner.key, {}).items()):
            if rrset is not soa:
                yield from _lines_of(rrset, origin)
        if owner.key in zone.aliases:
            yield from _lines_of_alias(zone.aliases[owner.key], zone)


def _owners(zone: Zone) -> Iterable[Name]:
    for rrsets in zone.rrsets.values():
        yield next(iter(rrsets.values())).owner
    for alias in zone.aliases.values():
        yield alias.owner


def _lines_of(rrset: RRset, origin: Name) -> Iterator[str]:
    owner = rrset.owner.relative_to(origin)
    type_text = rdata.type_name(rrset.type)
    if rrset.steering is not None:
        yield f"; {owner} {type_text} is steered by place; these are its default values"
    for data in rrset.rdatas:
        yield f"{owner}\t{rrset.ttl}\tIN\t{type_text}\t{rdata.to_text(rrset.type, data)}"


def _lines_of_alias(alias: Alias, zone: Zone) -> Iterator[str]:
    owner = alias.owner.relative_to(zone.apex)
    yield f"; {owner} is an ALIAS of {alias.target}; these are the addresses that the target has now"
    for rtype in (1, 28):
        target = zone.rrsets.get(alias.target.key, {}).get(rtype)
        for data in target.rdatas if target else ():
            yield f"{owner}\t{alias.ttl}\tIN\t{rdata.type_name(rtype)}\t{rdata.to_text(rtype, data)}"
