"""Checks of the nameservers' names: what the parent lists, what the zone lists, and whether they agree."""

from collections.abc import Iterator

from geodns.delegation.checks.finding import Change, Said, at_server, listed
from geodns.delegation.observed import Observed
from geodns.delegation.walk import Referral
from geodns.zone.model import Mark


def parent_unreachable(seen: Observed) -> Iterator[Said]:
    if seen.walked.failure:
        hint = "the network here, --root, or the parent itself; what follows is as our zone file has it"
        yield Said(f"the parent was not found: {seen.walked.failure}", Change("at this machine", hint))


def not_delegated(seen: Observed) -> Iterator[Said]:
    if seen.walked.failure or seen.delegated:
        return
    said = seen.walked.referrals[0]
    alias = said.reply.alias(seen.apex)
    if alias is not None:
        what = f"{seen.parent} has a CNAME to {alias} there, and no nameservers"
    elif said.reply.is_good or said.reply.rcode == "NXDOMAIN":
        what = f"{seen.parent} has no nameservers for it ({said.reply.rcode})"
    else:
        what = f"{said.server} answers {said.reply.rcode} and does not refer"
    hint = f"enter the nameservers: geodns delegation {seen.apex}"
    yield Said(f"{seen.apex} is not delegated: {what}", Change(seen.form.keeper, hint, seen.form.ns_mark))


def parent_servers_differ(seen: Observed) -> Iterator[Said]:
    first = seen.referral
    if first is None:
        return
    for other in seen.walked.referrals:
        same_glue = other.is_child or first.is_child or other.glue == first.glue
        if other.names != first.names or not same_glue:
            lists = ", ".join(f"{referral.server} has {_told(referral)}" for referral in (first, other))
            what = f"the parent's servers differ: {lists}"
            yield Said(what, Change(seen.form.keeper, "a change may be on its way: ask again in an hour"))
            return


def ns_missing_at_parent(seen: Observed) -> Iterator[Said]:
    if not seen.delegated:
        return
    for host in seen.form.hosts:
        if host.name not in seen.delegated:
            addresses = listed(address.text for address in host.addresses)
            hint = f"add {host.name} ({addresses}), or take it out of the zone"
            what = f"{seen.parent} does not list {host.name}, which is a nameserver of the zone"
            yield Said(what, Change(seen.form.keeper, hint, host.mark))


def ns_extra_at_parent(seen: Observed) -> Iterator[Said]:
    for name in sorted(seen.delegated - seen.wanted):
        what = f"{seen.parent} lists {name}, which is no nameserver of the zone"
        hint = f"remove {name}, or add it to the zone's NS"
        yield Said(what, Change(seen.form.keeper, hint, seen.form.ns_mark))


def ns_child_differs(seen: Observed) -> Iterator[Said]:
    for server in seen.good():
        if server.ns.is_good and (names := server.ns.names(seen.apex)) != seen.wanted:
            what = f"{server} lists {listed(sorted(names))}, and our file {listed(sorted(seen.wanted))}"
            yield Said(
                what, Change(at_server(server), "bring the zone file there, or here", seen.form.ns_mark)
            )


def ns_too_few(seen: Observed) -> Iterator[Said]:
    # RFC 1034 section 4.1: "we require every zone to be available on at least two servers".
    if len(seen.effective) < 2:
        what = f"there is one nameserver, {listed(seen.effective)}; when it is down, so is the zone"
        yield Said(what, Change("", "add a second one, on a machine in another network", seen.form.ns_mark))


def ns_is_cname(seen: Observed) -> Iterator[Said]:
    # RFC 2181 section 10.3: "The domain name used as the value of a NS resource record [...] must not be an
    # alias."
    for name in sorted(seen.names):
        found = [seen.found.get(name), *(server.hosts.get(name) for server in seen.good())]
        alias = next((one.alias for one in found if one is not None and one.alias is not None), None)
        if alias is not None:
            hint = f"name the server by {alias}, here and {seen.form.keeper}"
            yield Said(f"the nameserver {name} is an alias of {alias}", Change("", hint, _mark(seen, name)))


def ns_without_address(seen: Observed) -> Iterator[Said]:
    for name in sorted(seen.names):
        found = seen.found.get(name)
        if seen.addresses(name) or (found is not None and found.alias is not None):
            continue
        why = f": {found.failure}" if found is not None and found.failure else ""
        hint = f"give {name} an address where its zone is, or use another nameserver"
        yield Said(f"nobody can find an address of {name}{why}", Change("", hint, _mark(seen, name)))


def _told(referral: Referral) -> str:
    return listed(
        f"{name} ({listed(sorted(referral.glue[name]))})" if referral.glue[name] else str(name)
        for name in sorted(referral.names)
    )


def _mark(seen: Observed, name: object) -> Mark:
    return next((host.mark for host in seen.form.hosts if host.name == name), seen.form.ns_mark)
