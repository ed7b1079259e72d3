"""Checks of each nameserver by itself: is it there, has it the zone, does it speak DNS as resolvers do?"""

from collections.abc import Iterator

import dns.dnssec
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.DNSKEY

from geodns.delegation.checks.finding import Change, Said, at_server, listed
from geodns.delegation.observed import Observed, Seen
from geodns.delegation.reply import ODD_OPTION, PAYLOAD_OCTETS, Outcome, Reply
from geodns.zone.model import Mark
from geodns.zone.rdata import DNSKEY

NAME_OCTETS_MAX = 255  # RFC 1035 section 3.1: a referral may be for so long a name


def _asked(seen: Observed) -> Iterator[Seen]:
    """The servers that could be asked from here."""
    return (server for server in seen.servers if seen.was_asked(server))


def server_silent(seen: Observed) -> Iterator[Said]:
    for server in _asked(seen):
        if not server.is_alive:
            over_tcp = "" if server.tcp.outcome is Outcome.SILENT else f", and over TCP {_what(server.tcp)}"
            what = f"{server} {_what(server.soa)} over UDP{over_tcp}"
            hint = "start geodns there, let UDP and TCP port 53 through, or correct the address"
            yield Said(what, Change(at_server(server), hint, _mark(seen, server)))


def udp_silent(seen: Observed) -> Iterator[Said]:
    for server in _asked(seen):
        if server.is_alive and not (server.soa.is_answered or server.plain.is_answered):
            what = f"{server} answers over TCP, but over UDP it {_what(server.soa)}"
            yield Said(what, Change(at_server(server), "let UDP port 53 through", _mark(seen, server)))


def tcp_silent(seen: Observed) -> Iterator[Said]:
    # RFC 7766 section 5: "Authoritative server implementations MUST support TCP".
    for server in _asked(seen):
        if server.is_alive and not server.tcp.is_answered:
            what = f"{server} answers over UDP, but over TCP it {_what(server.tcp)}"
            yield Said(what, Change(at_server(server), "let TCP port 53 through", _mark(seen, server)))


def server_lame(seen: Observed) -> Iterator[Said]:
    for server in seen.alive():
        if not server.is_good:
            reply = server.heard
            what = f"{server} does not serve {seen.apex}: it answers {_how(reply)}"
            hint = f"bring {seen.form.file} there (geodns serve says what it loads), or correct the address"
            yield Said(what, Change(at_server(server), hint, _mark(seen, server)))


def _how(reply: Reply) -> str:
    if reply.rcode != "NOERROR":
        return f"with {reply.rcode}"
    return "without a SOA" if reply.is_authoritative else "without authority"


def tcp_differs(seen: Observed) -> Iterator[Said]:
    for server in seen.good():
        if server.tcp.is_lame and server.heard is not server.tcp:
            what = f"{server} serves {seen.apex} over UDP, but not over TCP ({server.tcp.rcode})"
            yield Said(what, Change(at_server(server), "is it the same server that answers TCP there?"))


def recursion_open(seen: Observed) -> Iterator[Said]:
    # RFC 5358 section 4: recursion for everybody is an amplifier for attacks.
    for server in seen.servers:
        reply = server.recursion
        if reply.is_answered and reply.has_recursion and not reply.is_authoritative:
            if reply.rcode not in ("NOERROR", "NXDOMAIN"):
                continue
            what = f"{server} answers anybody about other zones: it is an open resolver"
            yield Said(what, Change(at_server(server), "let it answer for its own zones only"))


def edns_broken(seen: Observed) -> Iterator[Said]:
    # RFC 6891 section 7: "Lack of presence of an OPT record in a request MUST be taken as an indication that
    # the requestor does not implement any part of this specification"; with one, it is to be answered.
    for server in seen.servers:
        if server.plain.is_good and not server.soa.is_good:
            how = f"with {server.soa.rcode}" if server.soa.is_answered else "by nothing at all"
            what = f"{server} answers plain DNS, but a query with EDNS {how}"
            yield Said(
                what, Change(at_server(server), "a firewall in between that drops EDNS? else another server")
            )


def edns_missing(seen: Observed) -> Iterator[Said]:
    for server in seen.servers:
        if server.soa.is_good and server.soa.edns is None:
            what = f"{server} does not know EDNS: no client subnet, no answers above 512 octets"
            yield Said(what, Change(at_server(server), "is that geodns, or something in front of it?"))


def edns_odd(seen: Observed) -> Iterator[Said]:
    for server in seen.good():
        if server.soa.is_good and server.soa.edns is not None:
            for what in _odd(server):
                yield Said(
                    f"{server} {what}", Change(at_server(server), "is something in front of geodns there?")
                )


def _odd(server: Seen) -> Iterator[str]:
    version, odd = server.version, server.odd
    # RFC 6891 section 6.1.3: "If a responder does not implement the VERSION level of the request, then it
    # MUST respond with RCODE=BADVERS."
    if not version.is_answered:
        yield f"{_what(version)} when asked with EDNS version 1"
    elif version.rcode != "BADVERS" or version.edns is None:
        yield f"answers EDNS version 1 with {version.rcode} instead of BADVERS"
    # Section 6.1.2: "Any OPTION-CODE values not understood by a responder or requestor MUST be ignored."
    if not odd.is_answered:
        yield f"{_what(odd)} when asked with an unknown EDNS option"
    elif not odd.is_good or odd.edns is None:
        yield f"answers an unknown EDNS option with {odd.rcode} instead of ignoring it"
    # Section 6.1.4: the other flags are "set to zero by senders and ignored by receivers".
    elif odd.flags or ODD_OPTION in odd.options:
        yield "sends back an EDNS option or flag that it cannot know"


def answer_too_large(seen: Observed) -> Iterator[Said]:
    for server in seen.good():
        for kind, reply in (("SOA", server.soa), ("NS", server.ns)):
            if _is_large(reply):
                what = (
                    f"{server} has {reply.octets} octets to say about {kind}; {PAYLOAD_OCTETS} fit over UDP"
                )
                mark = seen.form.soa_mark if kind == "SOA" else seen.form.ns_mark
                yield Said(what, Change("", "fewer nameservers, or shorter names", mark))


def _is_large(reply: Reply) -> bool:
    return reply.is_answered and (reply.is_truncated or reply.octets > PAYLOAD_OCTETS)


def referral_too_large(seen: Observed) -> Iterator[Said]:
    if seen.referral is None or seen.referral.is_child:
        return
    longest = seen.referral.reply.octets + NAME_OCTETS_MAX - len(seen.apex.wire)
    if seen.referral.reply.is_truncated or longest > PAYLOAD_OCTETS:
        what = f"the referral of {seen.parent} takes {longest} octets for a long name; {PAYLOAD_OCTETS} fit"
        yield Said(what, Change(seen.form.keeper, "fewer nameservers, or shorter names", seen.form.ns_mark))


def ds_broken(seen: Observed) -> Iterator[Said]:
    # RFC 4035 section 5.2: without a DNSKEY that a DS stands for, the zone is bogus to those who validate.
    wanted = {tuple(data.split()[:2]) for data in seen.walked.ds}
    for server in seen.good() if wanted else ():
        keys = [record.data for record in server.dnskey.answer if record.type == DNSKEY]
        if server.dnskey.is_answered and wanted.isdisjoint(map(_tag_and_algorithm, keys)):
            tags = listed(sorted(tag for tag, _ in wanted))
            what = f"{seen.parent} has a DS for key {tags}, which {server} does not have: bogus to some"
            hint = "remove the DS; it is of another time, or of another provider"
            yield Said(what, Change(seen.form.keeper, hint, seen.form.ns_mark))
            return


def _tag_and_algorithm(dnskey: str) -> tuple[str, str]:
    key = dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.DNSKEY, dnskey)
    assert isinstance(key, dns.rdtypes.ANY.DNSKEY.DNSKEY)
    return str(dns.dnssec.key_id(key)), str(int(key.algorithm))


def _what(reply: Reply) -> str:
    return reply.outcome.value


def _mark(seen: Observed, server: Seen) -> Mark | None:
    """Where our zone file has the server's address."""
    for name in server.names:
        host = seen.form.host(name)
        for address in () if host is None else host.addresses:
            if address.text == server.address:
                return address.mark
    return None
