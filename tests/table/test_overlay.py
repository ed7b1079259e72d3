"""Challenges in front of a zone's nodes: what is answered, by both engines, and where none can stand."""

from dataclasses import replace

import dns.message
import dns.name
import dns.rcode
import dns.zone
import pytest

from geodns.acme.words import rdata
from geodns.engine.snapshot import Snapshot
from geodns.name import Name
from geodns.table.compile import link
from geodns.table.overlay import Misplaced, overlaid, place
from tests.conftest import ENGINES, NOW, Answer, make_snapshot

PARENT = """
'': {type: NS, values: [ns1.nameserver.test.]}
www: {type: A, value: 192.0.2.1}
'*': [{type: A, value: 192.0.2.9}, {type: MX, value: 10 mail.example.net.}]
'*.cname': {type: CNAME, value: elsewhere.example.net.}
'*.there.plain': {type: A, value: 192.0.2.10}
plain: {type: TXT, values: [a]}
_acme-challenge.txt: {type: TXT, ttl: 300, values: [static]}
_acme-challenge.alias: {type: CNAME, value: second.validation.example.com.}
second.validation: {type: CNAME, value: third.validation.example.com.}
_acme-challenge.there: {type: CNAME, value: x.child.example.com.}
_acme-challenge.away: {type: CNAME, value: x.example.net.}
_acme-challenge.loop: {type: CNAME, value: loop.example.com.}
loop: {type: CNAME, value: _acme-challenge.loop.example.com.}
_acme-challenge.geo: {type: TXT, values: [a], geo: {EU: [b]}}
_acme-challenge.geoalias: {type: CNAME, value: a.example.com., geo: {EU: [b.example.com.]}}
where: {type: A, values: [192.0.2.80], geo: {EU: [192.0.2.81]}}
'*.where': {type: A, values: [192.0.2.82], geo: {EU: [192.0.2.83]}}
sub: {type: NS, value: ns.elsewhere.test.}
moved: {type: DNAME, value: example.net.}
child: {type: NS, value: ns1.nameserver.test.}
"""
CHILD = """
'': {type: NS, values: [ns1.nameserver.test.]}
www: {type: A, value: 192.0.2.2}
"""


@pytest.fixture
def snapshot() -> Snapshot:
    return make_snapshot({"example.com": PARENT, "child.example.com": CHILD})


def key(text: str) -> bytes:
    return Name.parse(text).key


def challenged(snapshot: Snapshot, texts: dict[str, list[str]]) -> Snapshot:
    """The snapshot with these TXT values in front."""
    datas = {key(owner): tuple(map(rdata, values)) for owner, values in texts.items()}
    return replace(snapshot, table=overlaid(snapshot.table, datas))


def ask(answer: Answer, snapshot: Snapshot, name: str, rtype: str = "TXT") -> dns.message.Message:
    query = dns.message.make_query(name, rtype)
    wire = answer(query.to_wire(), "192.0.2.77", snapshot, 0, NOW)
    assert wire is not None
    return dns.message.from_wire(wire)


def said(message: dns.message.Message) -> list[str]:
    """The rcode, and the answer's records without their class."""
    records = [line.replace(" IN ", " ") for rrset in message.answer for line in rrset.to_text().split("\n")]
    return [dns.rcode.to_text(message.rcode()), *records]


def test_a_challenge_beside_what_the_zone_has(answer: Answer, snapshot: Snapshot):
    """Several values, TTL 0, together with what the file has for the name; nothing else is changed."""
    assert overlaid(snapshot.table, {}) is snapshot.table
    now = challenged(snapshot, {"_acme-challenge.www.example.com": ["one", "two"], "example.com": ["apex"]})
    name = "_acme-challenge.www.example.com."
    assert ["NOERROR", f'{name} 0 TXT "one"', f'{name} 0 TXT "two"'] == said(ask(answer, now, name))
    assert ["NOERROR", 'example.com. 0 TXT "apex"'] == said(ask(answer, now, "example.com"))
    assert "NS" in ask(answer, now, "example.com", "NS").answer[0].to_text()
    for other in ("www", "no.such.name.plain", "_acme-challenge.no.www", "x.sub", "x.moved", "x.child"):
        for rtype in ("A", "TXT", "DS"):
            name = f"{other}.example.com"
            assert (
                ask(answer, snapshot, name, rtype).to_text().partition("\n")[2]
                == (ask(answer, now, name, rtype).to_text().partition("\n")[2])
            )
    merged = challenged(snapshot, {"_acme-challenge.txt.example.com": ["one", "static"]})
    name = "_acme-challenge.txt.example.com."
    assert ["NOERROR", f'{name} 0 TXT "static"', f'{name} 0 TXT "one"'] == said(ask(answer, merged, name))


def test_a_challenge_is_as_if_it_stood_in_the_file(answer: Answer, snapshot: Snapshot):
    """Every question about the names around it is answered as by a zone file with the record: NXDOMAIN,
    NODATA, empty non-terminals and the SOA of negative answers.
    """
    names = ["_acme-challenge.www", "_acme-challenge.a.b.plain"]
    written = "".join(f"{name}: {{type: TXT, ttl: 0, values: [one, two]}}\n" for name in names)
    expected = make_snapshot({"example.com": PARENT + written, "child.example.com": CHILD})
    now = challenged(snapshot, {f"{name}.example.com": ["one", "two"] for name in names})
    around = ["", "www", "b.plain", "a.b.plain", "c.b.plain", "x.a.b.plain", "plain", "c.plain"]
    for name in [*around, *names, *(f"x.{name}" for name in names)]:
        for rtype in ("A", "TXT", "NS", "ANY", "MX"):
            query = dns.message.make_query(f"{name}.example.com".lstrip("."), rtype, id=1).to_wire()
            given = (query, "192.0.2.77")
            assert answer(*given, expected, 0, NOW) == answer(*given, now, 0, NOW), (name, rtype)


def test_a_wildcard_goes_on_to_answer(answer: Answer, snapshot: Snapshot):
    """A site that a wildcard serves stays where it is while it gets its certificate, steered ones too."""
    names = ["_acme-challenge.site", "_acme-challenge.a.cname", "_acme-challenge.deep.site.where"]
    names += ["_acme-challenge.below.b.cname", "b.cname"]
    now = challenged(snapshot, {f"{name}.example.com": ["one"] for name in names})
    for name in names:
        full = f"{name}.example.com."
        assert ["NOERROR", f'{full} 0 TXT "one"'] == said(ask(answer, now, full))
        assert ["NOERROR"] == said(ask(answer, now, full, "A"))
    for name in ("site", "x.site", "a.cname", "b.a.cname", "site.where", "deep.site.where", "x.site.where"):
        for rtype in ("A", "MX", "TXT", "NS"):
            for client in ("127.1.0.1", "127.3.0.1", "192.0.2.77"):
                query = dns.message.make_query(f"{name}.example.com", rtype, id=1).to_wire()
                before = answer(query, client, snapshot, 0, NOW)
                assert before == answer(query, client, now, 0, NOW), (name, rtype)


def test_aliases_are_followed(answer: Answer, snapshot: Snapshot):
    """A challenge goes where the aliases of its name lead, in the zone or in another one that is served; on
    the way there, each answer ends with its alias, so that nothing old is told.
    """
    assert [
        key("_acme-challenge.alias.example.com"),
        key("second.validation.example.com"),
        key("third.validation.example.com"),
    ] == place(snapshot.table, key("_acme-challenge.alias.example.com"))
    now = challenged(
        snapshot, {f"_acme-challenge.{name}.example.com": ["one"] for name in ("alias", "there")}
    )
    assert ["NOERROR", 'third.validation.example.com. 0 TXT "one"'] == said(
        ask(answer, now, "third.validation.example.com")
    )
    for name, target in (
        ("_acme-challenge.alias", "second.validation.example.com."),
        ("second.validation", "third.validation.example.com."),
        ("_acme-challenge.there", "x.child.example.com."),
    ):
        full = f"{name}.example.com."
        assert ["NOERROR", f"{full} 3600 CNAME {target}"] == said(ask(answer, now, full))
    assert ["NOERROR", 'x.child.example.com. 0 TXT "one"'] == said(ask(answer, now, "x.child.example.com"))
    assert "child.example.com." == str(ask(answer, now, "y.child.example.com").authority[0].name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("_acme-challenge.example.net", "no zone that is served has the name _acme-challenge.example.net."),
        ("_acme-challenge.sub.example.com", "a zone that is delegated to others"),
        ("sub.example.com", "a zone that is delegated to others"),
        ("_acme-challenge.moved.example.com", "below a DNAME"),
        (
            "_acme-challenge.away.example.com",
            "an alias of x.example.net., which is in no zone that is served",
        ),
        ("_acme-challenge.loop.example.com", "-> loop.example.com. -> _acme-challenge.loop.example.com."),
        ("_acme-challenge.geo.example.com", "TXT records are others for each place"),
        ("_acme-challenge.geoalias.example.com", "alias leads elsewhere for each place"),
        ("_acme-challenge.localhost", "is in a built-in zone"),
    ],
)
def test_where_no_challenge_can_stand(answer: Answer, snapshot: Snapshot, name: str, why: str):
    """The reason is a sentence; served all the same (the zone has changed since), it changes nothing."""
    with pytest.raises(Misplaced) as caught:
        place(snapshot.table, key(name))
    assert why in str(caught.value)
    now = challenged(snapshot, {name: ["one"]})
    assert said(ask(answer, snapshot, name)) == said(ask(answer, now, name))


@pytest.mark.skipif(len(ENGINES) < 2, reason="the native engine is not built")
def test_the_engines_agree(snapshot: Snapshot):
    """Octet for octet, at every name of the zones, those of the challenges, and above and below them."""
    owners = [
        "_acme-challenge.www",
        "_acme-challenge.alias",
        "_acme-challenge.there",
        "_acme-challenge.a.site",
    ]
    owners += [
        "_acme-challenge.deep.site.where",
        "_acme-challenge.txt",
        "_acme-challenge.a.b.plain",
        "x.child",
    ]
    now = challenged(snapshot, {f"{owner}.example.com": ["one", "two"] for owner in owners})
    names = [*map(Name, now.table.nodes), *(Name.parse(f"{owner}.example.com") for owner in owners)]
    names += [name.child(b"x") for name in names]
    names += [name.parent() for name in names]
    for name in set(names):
        for rtype in ("A", "TXT", "CNAME", "MX", "NS", "DS", "SOA", "ANY"):
            query = dns.message.make_query(str(name), rtype, id=1, use_edns=0).to_wire()
            said = {engine(query, "127.1.0.1", now, 0, NOW) for engine in ENGINES.values()}
            assert 1 == len(said), (str(name), rtype)


def test_a_table_linked_anew(snapshot: Snapshot):
    """The challenges of two zones, one inside the other, are overlays of each."""
    now = challenged(
        snapshot, {f"_acme-challenge.{name}": ["one"] for name in ("example.com", "child.example.com")}
    )
    assert {key("example.com"), key("child.example.com")} == {zone.apex for zone in now.table.overlays}
    assert () == link(now.table.zones.values()).overlays
