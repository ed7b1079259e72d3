"""Checks of addresses: those that the parent has beside the names, and those that nobody can reach."""

from collections.abc import Iterator

from geodns.delegation.checks.finding import Change, Said, at_server, listed
from geodns.delegation.form import Host
from geodns.delegation.observed import Observed
from geodns.geo.address import BadAddress, parse, special
from geodns.name import Name
from geodns.zone.model import Mark


def glue_missing(seen: Observed) -> Iterator[Said]:
    # RFC 9471 section 3.1: "all in-domain glue records" belong into a referral.
    for name, glue in _glue(seen):
        if name.is_under(seen.apex) and not glue:
            host = seen.form.host(name)
            addresses = listed(address.text for address in host.addresses) if host else "its addresses"
            what = f"{seen.parent} has no address for {name}, which is below {seen.apex}: nobody can find it"
            mark = _first_mark(seen, host)
            yield Said(what, Change(seen.form.keeper, f"make the host object {name} with {addresses}", mark))


def glue_wrong(seen: Observed) -> Iterator[Said]:
    for name, glue in _glue(seen):
        right = _right(seen, name)
        if right and (wrong := glue - right):
            what = (
                f"{seen.parent} has {listed(sorted(wrong))} for {name}, and the zone {listed(sorted(right))}"
            )
            hint = f"set the addresses of the host object {name} to {listed(sorted(right))}"
            mark = _first_mark(seen, seen.form.host(name))
            yield Said(what, Change(seen.form.keeper, hint, mark))


def glue_incomplete(seen: Observed) -> Iterator[Said]:
    for name, glue in _glue(seen):
        if not name.is_under(seen.apex) or not glue or glue - _right(seen, name):
            continue
        if lacking := _right(seen, name) - glue:
            what = f"{seen.parent} does not have {listed(sorted(lacking))} for {name}"
            hint = f"add {listed(sorted(lacking))} to the host object {name}"
            host = seen.form.host(name)
            marks = [] if host is None else [own.mark for own in host.addresses if own.text in lacking]
            yield Said(what, Change(seen.form.keeper, hint, next(iter(marks), None)))


def address_child_differs(seen: Observed) -> Iterator[Said]:
    for server in seen.good():
        for name, told in sorted(server.hosts.items()):
            host = seen.form.host(name)
            if host is None or host.is_steered or told.failure or told.alias is not None:
                continue
            ours = frozenset(address.text for address in host.addresses)
            if told.addresses != ours:
                what = (
                    f"{server} has {listed(sorted(told.addresses))} for {name}, "
                    f"and our file {listed(sorted(ours))}"
                )
                hint = "bring the zone file there, or here"
                yield Said(what, Change(at_server(server), hint, _first_mark(seen, host)))


def address_special(seen: Observed) -> Iterator[Said]:
    for name in sorted(seen.names):
        for text in sorted(seen.addresses(name)):
            try:
                found = special(parse(text))
            except BadAddress:
                continue
            if found is not None:
                what = f"{name} has {text}, which is {found.what} ({found.source}): the world cannot reach it"
                host = seen.form.host(name)
                marks = [] if host is None else [own.mark for own in host.addresses if own.text == text]
                where = "" if marks else seen.form.keeper
                yield Said(what, Change(where, "give the public address", next(iter(marks), None)))


def _glue(seen: Observed) -> Iterator[tuple[Name, frozenset[str]]]:
    if seen.referral is not None and not seen.referral.is_child:
        yield from sorted(seen.referral.glue.items())


def _right(seen: Observed, name: Name) -> frozenset[str]:
    """The addresses according to whoever has the say: our file, or what a walk finds outside the zone."""
    host = seen.form.host(name)
    if name.is_under(seen.apex):
        if host is not None:
            return frozenset(address.text for address in host.addresses)
        told = [server.hosts[name].addresses for server in seen.good() if name in server.hosts]
        return told[0] if told else frozenset()
    found = seen.found.get(name)
    return frozenset() if found is None else found.addresses


def _first_mark(seen: Observed, host: Host | None) -> Mark:
    if host is None:
        return seen.form.ns_mark
    return host.addresses[0].mark if host.addresses else host.mark
