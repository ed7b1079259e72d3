"""What the compiler makes of zones that the goldens do not have: long chains, large sets, zones in zones."""

import dns.flags
import dns.message
import dns.rcode
import pytest

from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.name import Name
from geodns.table.compile import CNAME_CHAIN_MAX, compile_zone, link
from geodns.table.shape import ZoneTable
from geodns.zone import load_text
from tests.conftest import NOW, make_snapshot

HEAD = "'': {type: NS, values: [ns1.example.net., ns2.example.net.]}\n"


def table_of(name: str, text: str) -> ZoneTable:
    checked, problems = load_text((HEAD + text).encode(), Name.parse(name), name, 1)
    assert checked is not None, problems
    return compile_zone(checked)


def ask(snapshot: Snapshot, name: str, rtype: str = "A", stream: bool = True) -> dns.message.Message:
    wire = answer(
        dns.message.make_query(name, rtype, use_edns=0).to_wire(), "127.1.0.1", snapshot, 0, NOW, stream
    )
    assert wire is not None
    return dns.message.from_wire(wire)


@pytest.mark.parametrize("length", [20, 5000])
def test_a_long_chain_is_cut_and_the_resolver_goes_on(length: int) -> None:
    """Of many aliases in a row an answer has as many as CNAME_CHAIN_MAX, and no error."""
    text = "".join(f"a{i}: {{type: CNAME, value: a{i + 1}.example.com.}}\n" for i in range(length))
    message = ask(Snapshot(link([table_of("example.com.", text)])), "a0.example.com.")
    assert dns.rcode.NOERROR == message.rcode()
    assert CNAME_CHAIN_MAX == len(message.answer)


def test_steered_aliases_in_a_circle_compile() -> None:
    """Aliases by place that lead to each other end after a few steps, here and for whoever asks."""
    pools = "value: {0}, dynamic: {{pools: {{p: {{values: [{{value: {0}}}]}}}}, rules: [{{pool: p}}]}}"
    text = "".join(
        f"{owner}: {{type: CNAME, {pools.format(target + '.example.com.')}}}\n"
        for owner, target in ("ab", "ba")
    )
    message = ask(make_snapshot({"example.com": HEAD + text}), "a.example.com.")
    assert dns.rcode.NOERROR == message.rcode()
    assert {"a.example.com.", "b.example.com."} >= {str(rrset.name) for rrset in message.answer}


def test_a_pool_may_be_called_default() -> None:
    """Its values answer, and not the record's own: the word means those only as a fallback."""
    text = """
www:
  type: A
  value: 192.0.2.80
  dynamic: {pools: {default: {values: [{value: 203.0.113.9}]}}, rules: [{pool: default}]}
"""
    (rrset,) = ask(make_snapshot({"example.com": HEAD + text}), "www.example.com.").answer
    assert ["203.0.113.9"] == [str(data) for data in rrset]


@pytest.mark.parametrize("owner", ["big", "'*.big'"])
def test_a_large_set_is_compressed_within_what_a_pointer_reaches(owner: str) -> None:
    """An answer of 45 kB over TCP has every name right, behind the 16 kB that pointers reach as well."""
    values = ", ".join(f"{{preference: {i}, exchange: mail-{i}.example.net.}}" for i in range(1500))
    table = table_of("example.com.", f"{owner}: {{type: MX, values: [{values}]}}\n")
    name = "big.example.com." if owner == "big" else f"{'x' * 63}.{'y' * 63}.big.example.com."
    message = ask(Snapshot(link([table])), name, "MX")
    expected = {f"{i} mail-{i}.example.net." for i in range(1500)}
    assert expected == {str(data) for data in message.answer[0]}


def test_a_child_zone_hides_what_the_parent_has_below_it() -> None:
    """Without a delegation in the parent, too, the child answers for its names."""
    parent = table_of(
        "example.com.", "a.child: {type: A, value: 192.0.2.1}\nchild: {type: TXT, value: parent}\n"
    )
    child = table_of("child.example.com.", "b: {type: A, value: 192.0.2.2}\n")
    both = Snapshot(link([child, parent]))
    assert dns.rcode.NXDOMAIN == ask(both, "a.child.example.com.").rcode()
    assert [] == ask(both, "child.example.com.", "TXT").answer
    assert ask(both, "b.child.example.com.").answer
    assert ask(Snapshot(link([parent])), "a.child.example.com.").answer


def test_a_zone_without_a_good_version_gets_servfail() -> None:
    """Resolvers try the other server, and EDE says that it is not for good."""
    table = link([table_of("example.com.", "")], failed=[Name.parse("broken.example.").key])
    message = ask(Snapshot(table), "www.broken.example.")
    assert (dns.rcode.SERVFAIL, 14) == (message.rcode(), int(message.options[0].code))  # type: ignore[attr-defined]
    assert dns.rcode.REFUSED == ask(Snapshot(table), "example.").rcode()
    assert dns.rcode.NOERROR == ask(Snapshot(table), "example.com.").rcode()


def test_only_optional_addresses_are_left_out_one_set_at_a_time() -> None:
    """RFC 2181 section 9: without room the last helpful RRset goes first, and TC is not set."""
    hosts = "".join(
        f"mail-{i}: {{type: AAAA, values: [{', '.join(f'2001:db8::{i}:{j}' for j in range(1, 9))}]}}\n"
        for i in range(1, 4)
    )
    values = ", ".join(f"{{preference: {i}, exchange: mail-{i}.example.com.}}" for i in range(1, 4))
    snapshot = Snapshot(link([table_of("example.com.", f"mx: {{type: MX, values: [{values}]}}\n{hosts}")]))
    query = dns.message.make_query("mx.example.com.", "MX", use_edns=0, payload=700)
    wire = answer(query.to_wire(), "192.0.2.1", snapshot, 0, NOW)
    assert wire is not None
    message = dns.message.from_wire(wire)
    assert ["mail-1.example.com.", "mail-2.example.com."] == [str(rrset.name) for rrset in message.additional]
    assert "TC" not in dns.flags.to_text(message.flags)
    assert len(wire) <= 700
