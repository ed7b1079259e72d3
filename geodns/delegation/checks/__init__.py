"""Observed -> findings: a table of checks, each a row, in the manner of Zonemaster.

    Observed --every row of CHECKS--> Said --> Finding (its row's name and level)

`names` compares what the parent lists with the zone, `glue` looks at addresses, `servers` at each nameserver
by itself, `together` at all of them, `resolver` at what a resolver makes of it. All of them are pure.
"""

from geodns.delegation.checks import glue, names, resolver, servers, together
from geodns.delegation.checks.finding import Change, Check, Finding, Level
from geodns.delegation.observed import Observed

__all__ = ["CHECKS", "Change", "Check", "Finding", "Level", "run"]

_ERROR, _WARNING, _NOTICE = Level.ERROR, Level.WARNING, Level.NOTICE

CHECKS: tuple[Check, ...] = (
    Check(
        "parent-unreachable", _ERROR, names.parent_unreachable, "the parent's servers can be found and asked"
    ),
    Check("not-delegated", _ERROR, names.not_delegated, "the parent has nameservers for the zone"),
    Check("ns-missing-at-parent", _ERROR, names.ns_missing_at_parent, "the parent lists every nameserver"),
    Check("ns-extra-at-parent", _ERROR, names.ns_extra_at_parent, "the parent lists no other nameserver"),
    Check("ns-child-differs", _ERROR, names.ns_child_differs, "the servers list the nameservers of our file"),
    Check("ns-is-cname", _ERROR, names.ns_is_cname, "no nameserver is an alias, RFC 2181 section 10.3"),
    Check("ns-without-address", _ERROR, names.ns_without_address, "every nameserver has an address"),
    Check("ns-too-few", _ERROR, names.ns_too_few, "there are two nameservers or more, RFC 1034 section 4.1"),
    Check("glue-missing", _ERROR, glue.glue_missing, "the parent has the addresses of names below the zone"),
    Check("glue-wrong", _ERROR, glue.glue_wrong, "the parent has no wrong addresses"),
    Check("address-special", _ERROR, glue.address_special, "the world can reach the addresses"),
    Check(
        "address-child-differs", _ERROR, glue.address_child_differs, "the servers have our file's addresses"
    ),
    Check("server-silent", _ERROR, servers.server_silent, "every server answers"),
    Check("udp-silent", _ERROR, servers.udp_silent, "every server answers over UDP"),
    Check("tcp-silent", _ERROR, servers.tcp_silent, "every server answers over TCP, RFC 7766 section 5"),
    Check("server-lame", _ERROR, servers.server_lame, "every server has the zone, with authority"),
    Check("tcp-differs", _ERROR, servers.tcp_differs, "every server has the zone over TCP as well"),
    Check("edns-broken", _ERROR, servers.edns_broken, "every server answers queries with EDNS"),
    Check("ds-broken", _ERROR, servers.ds_broken, "a zone with a DS has the keys for it"),
    Check("recursion-open", _ERROR, servers.recursion_open, "no server resolves for everybody, RFC 5358"),
    Check("resolver-fails", _ERROR, resolver.resolver_fails, "the resolver resolves the zone"),
    Check("serial-differs", _WARNING, together.serial_differs, "the servers have the same serial"),
    Check("soa-differs", _WARNING, together.soa_differs, "the servers have the same SOA"),
    Check("glue-incomplete", _WARNING, glue.glue_incomplete, "the parent has every address, IPv6 too"),
    Check("parent-servers-differ", _WARNING, names.parent_servers_differ, "the parent's servers agree"),
    Check("address-shared", _WARNING, together.address_shared, "no two nameservers are one machine"),
    Check("same-network", _WARNING, together.same_network, "they are in several networks, RFC 2182"),
    Check("same-system", _WARNING, together.same_system, "they are in several autonomous systems"),
    Check("family-few", _WARNING, together.family_few, "two nameservers or more have IPv4"),
    Check("edns-missing", _WARNING, servers.edns_missing, "every server knows EDNS"),
    Check("edns-odd", _WARNING, servers.edns_odd, "EDNS is as RFC 6891 says: versions, options, flags"),
    Check("answer-too-large", _WARNING, servers.answer_too_large, "SOA and NS fit into 1232 octets"),
    Check("referral-too-large", _WARNING, servers.referral_too_large, "the referral fits into 1232 octets"),
    Check("resolver-differs", _WARNING, resolver.resolver_differs, "the resolver has what the servers have"),
    Check("serial-is-not-ours", _NOTICE, together.serial_is_not_ours, "the servers have our file's serial"),
    Check("system-unknown", _NOTICE, together.system_unknown, "the database knows the autonomous systems"),
    Check("family-missing", _NOTICE, together.family_missing, "two nameservers or more have IPv6"),
    Check("family-unasked", _NOTICE, together.family_unasked, "every address can be asked from here"),
)
"""Every check of a delegation; errors before warnings before notices."""


def run(seen: Observed) -> list[Finding]:
    """Every finding, in the order of the table."""
    return [
        Finding(check.name, check.level, said.what, said.change)
        for check in CHECKS
        for said in check.function(seen)
    ]
