"""Every row of the table of checks, by function call: what it tells, when, and its silence otherwise."""

import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from geodns.delegation.checks import CHECKS, Finding, Level, run
from geodns.delegation.observed import Observed, Resolved, Seen
from geodns.delegation.reply import ODD_OPTION, UNASKED, Outcome, Record, Reply
from geodns.delegation.walk import Found, Server, Walked
from geodns.name import Name
from geodns.zone.rdata import NS
from tests.conftest import ROOT
from tests.delegation.world import (
    COM_HEAD,
    COM_SERVERS,
    COM_ZONE,
    EXAMPLE,
    NS1,
    NS2,
    ROOT_SERVER,
    Fault,
    form_of,
    look,
    world,
)

APEX = Name.parse("example.com.")
NS1_NAME, NS2_NAME = Name.parse("ns1.example.com."), Name.parse("ns2.example.com.")
SILENT = Reply(Outcome.SILENT, edns=None)
CLOSED = Reply(Outcome.CLOSED, edns=None)
NO_ROUTE = Reply(Outcome.NO_ROUTE, edns=None)
RESOLVER = "203.0.113.1"


def good() -> Observed:
    return look(world())


def on_ns2(change: Callable[[Seen], Seen], seen: Observed | None = None) -> Observed:
    """What is seen, changed for the addresses of ns2."""
    seen = seen or good()
    servers = (change(server) if NS2_NAME in server.names else server for server in seen.servers)
    return replace(seen, servers=tuple(servers))


def with_replies(**replies: Reply) -> Observed:
    return on_ns2(lambda server: replace(server, **replies))


def parent(text: str, faults: dict[str, Fault] | None = None) -> Observed:
    """With this zone com."""
    return look(world(com=text, faults=faults))


def without_glue_of_ns2(reply: Reply) -> Reply:
    return replace(reply, additional=tuple(r for r in reply.additional if r.owner != NS2_NAME))


def lame(reply: Reply) -> Reply:
    return replace(reply, rcode="REFUSED", is_authoritative=False, answer=())


def lame_ns2() -> Observed:
    return on_ns2(
        lambda server: replace(server, soa=lame(server.soa), tcp=lame(server.tcp), plain=lame(server.plain))
    )


def large(reply: Reply) -> Reply:
    return replace(reply, octets=1233)


def resolved(**changes: object) -> Observed:
    """With a resolver that says what ns1 says, but for the changes."""
    seen = good()
    first = seen.servers[0]
    hosts = dict(first.hosts)
    return replace(seen, resolved=replace(Resolved(RESOLVER, first.soa, first.ns, hosts), **changes))


def soa_of(reply: Reply, old: str, new: str) -> Reply:
    answer = tuple(replace(record, data=record.data.replace(old, new)) for record in reply.answer)
    return replace(reply, answer=answer)


def with_soa(old: str, new: str) -> Observed:
    return on_ns2(lambda server: replace(server, soa=soa_of(server.soa, old, new)))


def third(name: str) -> Observed:
    """The world with a third nameserver, which is elsewhere."""
    example = EXAMPLE.replace("- ns2.example.com.\n", f"- ns2.example.com.\n      - {name}\n")
    com = COM_ZONE.replace("ns2.example.com.]", f"ns2.example.com., {name}]")
    return look(world(com=com, example=example), form_of(example))


def single() -> Observed:
    """The world with ns1 alone, here and at the parent."""
    example = EXAMPLE.replace("      - ns2.example.com.\n", "")
    return look(world(com=COM_ZONE.replace(", ns2.example.com.]", "]"), example=example), form_of(example))


def without(*addresses: str) -> Observed:
    """The world without these addresses, here and at the parent."""
    example, com = EXAMPLE, COM_ZONE
    for address in addresses:
        example = re.sub(rf"  - {{[^}}]*{address}[^}}]*}}\n", "", example)
        com = re.sub(rf"(, )?{{[^{{}}]*{address}'?}}(, )?", "", com)
    return look(world(com=com, example=example), form_of(example))


def ns2_at(v4: str, v6: str) -> Observed:
    """The world with ns2 elsewhere, where everybody knows of it."""
    example, com = (text.replace(NS2[0], v4).replace(NS2[1], v6) for text in (EXAMPLE, COM_ZONE))
    around = world(com=com, example=example)
    around.servers |= {v4: around.servers[NS2[0]], v6: around.servers[NS2[1]]}
    return replace(look(around, form_of(example)), systems={NS1[0]: 1, v4: 2, NS1[1]: 3, v6: 4})


def another_file(old: str, new: str) -> Observed:
    """The world as it is, and another file here."""
    return replace(good(), form=form_of(EXAMPLE.replace(old, new)))


def one_system() -> Observed:
    return replace(good(), systems={NS1[0]: 64496, NS2[0]: 64496, NS1[1]: 4200000000, NS2[1]: 4200000005})


def no_route_to_v6() -> Observed:
    seen = good()
    silence = {"soa": NO_ROUTE, "tcp": NO_ROUTE, "plain": NO_ROUTE}
    servers = (replace(server, **silence) if server.family == 6 else server for server in seen.servers)
    return replace(seen, servers=tuple(servers))


def bogus() -> Observed:
    """A DS, and servers that have no key."""
    seen = good()
    servers = tuple(replace(server, dnskey=Reply(is_authoritative=True)) for server in seen.servers)
    return replace(seen, servers=servers, walked=replace(seen.walked, ds=(f"12345 13 2 {'0' * 64}",)))


def another_address(server: Seen) -> Seen:
    return replace(server, hosts={NS1_NAME: Found(frozenset({"192.0.2.99"}))})


def to_all_of_com(fault: Callable[[Reply], Reply]) -> dict[str, Fault]:
    return dict.fromkeys(COM_SERVERS, lambda question, reply: fault(reply))


Case = tuple[Callable[[], Observed], set[str]]

CASES: dict[str, Case] = {
    "parent-unreachable": (lambda: look(world(faults={ROOT_SERVER: lambda question, reply: SILENT})), set()),
    "not-delegated": (lambda: parent(COM_HEAD), set()),
    "ns-missing-at-parent": (lambda: parent(COM_ZONE.replace(", ns2.example.com.]", "]")), {"ns-too-few"}),
    "ns-extra-at-parent": (
        lambda: parent(COM_ZONE.replace("ns2.example.com.]", "ns2.example.com., ns3.elsewhere.net.]")),
        set(),
    ),
    "ns-child-differs": (
        lambda: on_ns2(lambda server: replace(server, ns=replace(server.ns, answer=server.ns.answer[:1]))),
        set(),
    ),
    "ns-is-cname": (lambda: third("alias.net."), set()),
    "ns-without-address": (lambda: third("nobody.elsewhere.net."), set()),
    "ns-too-few": (single, set()),
    "glue-missing": (lambda: parent(COM_ZONE, to_all_of_com(without_glue_of_ns2)), set()),
    "glue-wrong": (
        lambda: parent(COM_ZONE.replace(NS2[0], "198.51.100.99")),
        {"server-silent", "system-unknown"},
    ),
    "address-special": (
        lambda: another_file(NS2[0], "10.0.0.1"),
        {"glue-wrong", "address-child-differs"},
    ),
    "address-child-differs": (lambda: on_ns2(another_address), set()),
    "server-silent": (lambda: with_replies(soa=SILENT, tcp=CLOSED, plain=SILENT, ns=UNASKED), set()),
    "udp-silent": (lambda: with_replies(soa=SILENT, plain=SILENT), set()),
    "tcp-silent": (lambda: with_replies(tcp=CLOSED), set()),
    "server-lame": (lame_ns2, set()),
    "tcp-differs": (lambda: on_ns2(lambda server: replace(server, tcp=lame(server.tcp))), set()),
    "edns-broken": (lambda: with_replies(soa=SILENT), set()),
    "ds-broken": (bogus, set()),
    "recursion-open": (lambda: with_replies(recursion=Reply(has_recursion=True)), set()),
    "resolver-fails": (lambda: resolved(soa=Reply(rcode="SERVFAIL")), set()),
    "serial-differs": (lambda: with_soa(" 7 ", " 6 "), set()),
    "soa-differs": (lambda: with_soa("hostmaster", "root"), set()),
    "glue-incomplete": (lambda: parent(COM_ZONE.replace(f", {{type: AAAA, value: '{NS2[1]}'}}", "")), set()),
    "parent-servers-differ": (
        lambda: parent(COM_ZONE, {COM_SERVERS[1]: lambda question, reply: without_glue_of_ns2(reply)}),
        set(),
    ),
    "address-shared": (lambda: parent(COM_ZONE.replace(NS2[0], NS1[0])), {"glue-wrong"}),
    "same-network": (lambda: ns2_at("192.0.2.99", "2001:db8:501::1"), set()),
    "same-system": (one_system, set()),
    "family-few": (lambda: without(NS2[0]), set()),
    "edns-missing": (
        lambda: on_ns2(lambda server: replace(server, soa=replace(server.soa, edns=None))),
        set(),
    ),
    "edns-odd": (
        lambda: on_ns2(lambda server: replace(server, odd=replace(server.odd, options=(ODD_OPTION,)))),
        set(),
    ),
    "answer-too-large": (lambda: on_ns2(lambda server: replace(server, ns=large(server.ns))), set()),
    "referral-too-large": (lambda: parent(COM_ZONE, to_all_of_com(large)), set()),
    "resolver-differs": (lambda: resolved(hosts={NS1_NAME: Found(frozenset({"192.0.2.99"}))}), set()),
    "serial-is-not-ours": (lambda: another_file("serial: 7", "serial: 8"), set()),
    "system-unknown": (lambda: replace(good(), systems={NS1[0]: 64496}), set()),
    "family-missing": (lambda: without(NS1[1], NS2[1]), set()),
    "family-unasked": (no_route_to_v6, set()),
}
"""For each check, what is seen when its fault is there, and the checks that tell of the same as well."""


def found(seen: Observed) -> list[str]:
    return [finding.check for finding in run(seen)]


def test_a_good_delegation_has_no_finding() -> None:
    """Silence, if there is nothing to say; with a resolver as well."""
    assert [] == run(good())
    assert [] == run(resolved())


@pytest.mark.parametrize("check", CASES)
def test_a_fault_is_found_by_its_check(check: str) -> None:
    """Each check tells of its fault, and no other check tells of anything else."""
    seen, others = CASES[check]
    assert {check} | others == set(found(seen()))


def test_every_check_has_its_case() -> None:
    """A new row needs one."""
    assert [] == [check.name for check in CHECKS if check.name not in CASES]
    assert len(CASES) == len(CHECKS)


def test_every_check_is_in_the_docs() -> None:
    """docs/delegation.md has a row for each, as the table has it."""
    page = (ROOT / "docs" / "delegation.md").read_text()
    rows = [f"| `{check.name}` | {check.level.value} | {check.asks} |" for check in CHECKS]
    assert [] == [row for row in rows if row not in page]


def test_the_table_is_in_order() -> None:
    """Errors first, then warnings, then notices, and every row asks something."""
    levels = [list(Level).index(check.level) for check in CHECKS]
    assert sorted(levels) == levels
    assert all(check.asks for check in CHECKS)


def only(seen: Observed) -> Finding:
    (finding,) = run(seen)
    return finding


@pytest.mark.parametrize(
    ("check", "place", "what"),
    [
        ("not-delegated", "zones/example.com.yaml:4:11", "no nameservers for it (NXDOMAIN)"),
        ("glue-missing", "zones/example.com.yaml:12:22", "has no address for ns2.example.com."),
        ("glue-incomplete", "zones/example.com.yaml:13:25", "does not have 2001:db8:500::1"),
        ("ns-is-cname", "zones/example.com.yaml:8:9", "alias of ns2.elsewhere.net."),
        ("serial-differs", "zones/example.com.yaml:2:8", "6: ns2.example.com. (198.51.100.1)"),
        ("server-silent", "zones/example.com.yaml:12:22", "does not answer over UDP, and over TCP"),
    ],
)
def test_a_finding_has_the_place_in_the_file(check: str, place: str, what: str) -> None:
    """The line of our zone file that it is about."""
    finding = run(CASES[check][0]())[0]
    assert place == str(finding.change.mark)
    assert what in finding.what


def test_the_parent_may_be_ours() -> None:
    """Then the change is in the parent's zone file, and not at a registrar."""
    seen = look(world(com=COM_HEAD))
    seen = replace(seen, form=replace(seen.form, parent_file="zones/com.yaml"))
    assert "in zones/com.yaml, the parent zone" == only(seen).change.where


def test_serials_of_files_without_one() -> None:
    """When the files' times differ, the hint says how to copy them."""
    seen = with_soa(" 7 ", " 6 ")
    written = only(seen).change.what
    unwritten = only(replace(seen, form=form_of(EXAMPLE.replace("serial: 7, ", "")))).change.what
    assert ("bring the same" in written, "rsync -t" in unwritten) == (True, True)


def test_what_was_not_asked_is_not_told_of() -> None:
    """A machine without IPv6 does not blame the servers."""
    assert ["family-unasked"] == found(no_route_to_v6())


def test_a_machine_without_an_answer_over_ipv6() -> None:
    """A route that leads nowhere: when the parent's servers are silent as well, it is not ours."""
    seen = good()
    servers = tuple(
        replace(server, soa=SILENT, tcp=SILENT, plain=SILENT) if server.family == 6 else server
        for server in seen.servers
    )
    alone = replace(seen, servers=servers)
    assert ["server-silent"] * 2 == found(alone)
    silent = (Server(Name.parse("a.com-servers."), "2001:db8:400::1"),)
    assert ["family-unasked"] == found(replace(alone, walked=replace(seen.walked, silent=silent)))


def test_a_dead_server_is_told_of_once() -> None:
    """It has no serial, no EDNS and no NS, and none of that is a finding of its own."""
    assert ["server-silent"] * 2 == found(CASES["server-silent"][0]())


def test_a_lame_server_is_told_of_once() -> None:
    """Likewise for one that does not have the zone."""
    assert ["server-lame"] * 2 == found(lame_ns2())


@pytest.mark.parametrize(
    ("change", "how"),
    [
        ({"rcode": "REFUSED", "answer": ()}, "with REFUSED"),
        ({"is_authoritative": False}, "without authority"),
        ({"answer": ()}, "without a SOA"),
    ],
)
def test_ways_to_be_lame(change: dict[str, object], how: str) -> None:
    """An error, an answer from a cache, and an authority for something else."""
    soa = replace(good().servers[2].soa, **change)
    told = run(with_replies(soa=soa, tcp=soa, plain=soa))
    assert ["server-lame"] * 2 == [finding.check for finding in told]
    assert told[0].what.endswith(f"it answers {how}")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (
            Reply(rcode="NOERROR", is_authoritative=True),
            ["answers EDNS version 1 with NOERROR instead of BADVERS"],
        ),
        (SILENT, ["does not answer when asked with EDNS version 1"]),
        (Reply(rcode="BADVERS"), []),
    ],
)
def test_edns_versions(reply: Reply, expected: list[str]) -> None:
    """RFC 6891 section 6.1.3: BADVERS, and nothing else."""
    told = [finding.what.partition(") ")[2] for finding in run(with_replies(version=reply))]
    assert expected * 2 == told


def test_a_ds_with_its_key_is_fine() -> None:
    """The key tag of RFC 4034's example key, at both sides."""
    key = "257 3 13 mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ=="
    reply = Reply(is_authoritative=True, answer=(Record(APEX, 48, 300, key),))
    seen = good()
    servers = tuple(replace(server, dnskey=reply) for server in seen.servers)
    walked = replace(seen.walked, ds=(f"2371 13 2 {'0' * 64}",))
    assert [] == run(replace(seen, servers=servers, walked=walked))


def test_the_resolver_may_be_silent() -> None:
    """A resolver that does not answer is not the zone's fault, and is said to be here."""
    finding = only(resolved(soa=SILENT))
    assert ("resolver-fails", "at this machine") == (finding.check, finding.change.where)


def test_the_resolver_remembers_old_nameservers() -> None:
    """With the time for which it may."""
    record = Record(APEX, NS, 1234, "ns.old.example.")
    finding = only(resolved(ns=Reply(answer=(record,))))
    assert "ns.old.example." in finding.what
    assert "1234 seconds" in finding.change.what


def test_a_child_at_the_parents_server() -> None:
    """A server of the parent that has the zone as well answers instead of referring, which is fine."""
    seen = look(world(faults={}))
    first = seen.walked.referrals[0]
    both = replace(first, is_child=True, glue=dict.fromkeys(first.names, frozenset()))
    assert [] == run(replace(seen, walked=replace(seen.walked, referrals=(both, *seen.walked.referrals[1:]))))


def test_nothing_at_all() -> None:
    """Not a single answer from anywhere is some findings, and no crash."""
    seen = look(world(faults={}), form_of())
    nothing = Walked((Name.parse("."),), failure="nobody is there")
    silent = tuple(Seen(server.names, server.address, SILENT, SILENT, SILENT) for server in seen.servers)
    told = found(Observed(seen.form, nothing, {}, silent))
    assert ["parent-unreachable", *["server-silent"] * 4, "system-unknown"] == told
