"""Checks of what a resolver makes of it."""

from collections.abc import Iterator

from geodns.delegation.checks.finding import Change, Said, listed
from geodns.delegation.observed import Observed
from geodns.zone.rdata import NS, SOA


def resolver_fails(seen: Observed) -> Iterator[Said]:
    resolved = seen.resolved
    if resolved is None:
        return
    reply = resolved.soa
    if not reply.is_answered:
        what = f"the resolver {resolved.address} {reply.outcome.value}"
        yield Said(what, Change("at this machine", "does it answer at all? --resolver names another"))
    elif reply.rcode != "NOERROR" or not reply.data(seen.apex, SOA):
        what = f"the resolver {resolved.address} answers {reply.rcode} and has no SOA of {seen.apex}"
        hint = "the other findings say why; if there are none, it remembers a failure for some minutes"
        yield Said(what, Change(seen.form.keeper, hint))


def resolver_differs(seen: Observed) -> Iterator[Said]:
    resolved = seen.resolved
    if resolved is None or not resolved.soa.data(seen.apex, SOA):
        return
    names = resolved.ns.names(seen.apex)
    if names and names != seen.wanted:
        ttl = max(record.ttl for record in resolved.ns.answer if record.type == NS)
        what = f"the resolver {resolved.address} has {listed(sorted(names))} as nameservers"
        yield Said(what, Change("", f"it may remember that for {ttl} seconds more", seen.form.ns_mark))
    for name, told in sorted(resolved.hosts.items()):
        host = seen.form.host(name)
        if host is None or host.is_steered or not host.addresses:
            continue
        ours = frozenset(address.text for address in host.addresses)
        if told.addresses != ours:
            what = (
                f"the resolver {resolved.address} has {listed(sorted(told.addresses))} for {name}, "
                f"and our file {listed(sorted(ours))}"
            )
            yield Said(what, Change("", "it may remember an older version", host.addresses[0].mark))
    serials = {_serial(server.heard.data(seen.apex, SOA)) for server in seen.good()}
    serial = _serial(resolved.soa.data(seen.apex, SOA))
    if serials and serial not in serials:
        what = (
            f"the resolver {resolved.address} has serial {serial}, and the servers {listed(sorted(serials))}"
        )
        hint = f"it may remember that for {resolved.soa.answer[0].ttl} seconds more"
        yield Said(what, Change("", hint, seen.form.soa_mark))


def _serial(soa: list[str]) -> str:
    return soa[0].split()[2] if soa and len(soa[0].split()) == 7 else ""
