"""Checks of the nameservers together: do they say the same, and can they fail one by one?"""

from collections import defaultdict
from collections.abc import Iterator

from geodns.delegation.checks.finding import Change, Said, at_server, listed
from geodns.delegation.observed import Observed, Seen
from geodns.geo.address import BadAddress, parse
from geodns.name import Name
from geodns.zone.rdata import SOA

NETWORK_BITS = {4: 24, 6: 48}  # the longest prefixes that are routed by themselves: one cable, one fault
_FAMILIES = {4: "IPv4", 6: "IPv6"}


def _soa(seen: Observed, server: Seen) -> list[str]:
    """The fields of the SOA: mname, rname, serial, refresh, retry, expire, minimum."""
    data = server.heard.data(seen.apex, SOA)
    return data[0].split() if data else []


def serial_differs(seen: Observed) -> Iterator[Said]:
    serials: dict[str, list[Seen]] = defaultdict(list)
    for server in seen.good():
        if len(fields := _soa(seen, server)) == 7:
            serials[fields[2]].append(server)
    if len(serials) < 2:
        return
    said = "; ".join(f"{serial}: {listed(servers)}" for serial, servers in sorted(serials.items()))
    if seen.form.serial is None:
        hint = "copy the file with its time (rsync -t, scp -p), or write the serial into it"
    else:
        hint = "bring the same zone file to all of them"
    oldest = serials[min(serials, key=int)][0]
    yield Said(
        f"the servers have different serials: {said}", Change(at_server(oldest), hint, seen.form.soa_mark)
    )


def soa_differs(seen: Observed) -> Iterator[Said]:
    found: dict[tuple[str, ...], Seen] = {}
    for server in seen.good():
        if len(fields := _soa(seen, server)) == 7:
            found.setdefault((*(text.lower() for text in fields[:2]), *fields[3:]), server)
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        what = f"{first} and {second} have different SOAs: {' '.join(one)}; {' '.join(other)}"
        hint = "bring the same zone file to all of them"
        yield Said(what, Change(at_server(second), hint, seen.form.soa_mark))


def serial_is_not_ours(seen: Observed) -> Iterator[Said]:
    serials = {fields[2] for server in seen.good() if len(fields := _soa(seen, server)) == 7}
    if seen.form.serial is not None and serials and str(seen.form.serial) not in serials:
        what = f"the servers have serial {listed(sorted(serials))}, and our file {seen.form.serial}"
        yield Said(what, Change("", "is the file that they serve the one that is here?", seen.form.soa_mark))


def address_shared(seen: Observed) -> Iterator[Said]:
    for server in seen.servers:
        names = [name for name in server.names if name in seen.effective]
        if len(names) > 1:
            what = f"{listed(names)} are one machine: both have {server.address}"
            yield Said(what, Change("", "give each its own", seen.form.ns_mark))


def same_network(seen: Observed) -> Iterator[Said]:
    # RFC 2182 section 3.1: "Secondary servers must be placed at both topologically and geographically
    # dispersed locations on the Internet".
    for family, names in _by_family(seen).items():
        networks = {_network(address) for addresses in names.values() for address in addresses}
        if len(names) > 1 and len(networks) == 1:
            what = f"all {_FAMILIES[family]} addresses are in one network, {listed(networks)}"
            hint = "a second machine elsewhere: another site, another provider"
            yield Said(what, Change("", hint, seen.form.ns_mark))


def same_system(seen: Observed) -> Iterator[Said]:
    for family, names in _by_family(seen).items():
        systems = {seen.systems.get(address, 0) for addresses in names.values() for address in addresses}
        if len(names) > 1 and len(systems) == 1 and 0 not in systems:
            what = f"all {_FAMILIES[family]} addresses are in one autonomous system, AS{listed(systems)}"
            hint = "a second machine at another provider"
            yield Said(what, Change("", hint, seen.form.ns_mark))


def system_unknown(seen: Observed) -> Iterator[Said]:
    unknown = [server.address for server in seen.servers if not seen.systems.get(server.address)]
    if unknown:
        what = f"no database knows the autonomous system of {listed(unknown)}"
        yield Said(what, Change("at this machine", "an ASN database in geo.databases, or --geo-db"))


def family_few(seen: Observed) -> Iterator[Said]:
    if 0 < (few := len(_by_family(seen)[4])) < 2 <= len(seen.effective):
        what = f"{few} nameserver has an IPv4 address; half the world has no other"
        yield Said(what, Change("", "give the others one", seen.form.ns_mark))


def family_missing(seen: Observed) -> Iterator[Said]:
    if (few := len(_by_family(seen)[6])) < 2 <= len(seen.effective):
        what = f"{few or 'no'} nameserver has an IPv6 address"
        yield Said(what, Change("", "AAAA records beside the A records", seen.form.ns_mark))


def family_unasked(seen: Observed) -> Iterator[Said]:
    unasked = [server for server in seen.servers if not seen.was_asked(server)]
    if unasked:
        families = listed(sorted({_FAMILIES[server.family] for server in unasked}))
        what = f"this machine has no {families}, so that nothing is known of {listed(unasked)}"
        yield Said(what, Change("at this machine", f"run it where there is {families}"))


def _by_family(seen: Observed) -> dict[int, dict[Name, list[str]]]:
    """The addresses of the nameservers that resolvers use, by family and name."""
    found: dict[int, dict[Name, list[str]]] = {4: {}, 6: {}}
    for name in sorted(seen.effective):
        for address in sorted(seen.addresses(name)):
            found[6 if ":" in address else 4].setdefault(name, []).append(address)
    return found


def _network(text: str) -> str:
    try:
        address = parse(text)
    except BadAddress:
        return text
    return str(address.network(NETWORK_BITS[address.family]))
