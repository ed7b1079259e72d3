"""What the registrar's form gets, from the zone file alone, in all its formats."""

import xml.etree.ElementTree as ET

import pytest

from geodns.delegation import epp, written
from geodns.delegation.form import Form, Glue, fill
from geodns.delegation.steps import meaning, of_ds, steps
from geodns.name import Name
from geodns.zone.rfc1035 import read_text
from tests.delegation.world import EXAMPLE, NS1, NS2, checked, form_of, zone

NAMESPACES = {
    "epp": "urn:ietf:params:xml:ns:epp-1.0",
    "host": "urn:ietf:params:xml:ns:host-1.0",
    "domain": "urn:ietf:params:xml:ns:domain-1.0",
    "secDNS": "urn:ietf:params:xml:ns:secDNS-1.1",
}
DIGEST = "0123456789ABCDEF" * 4
MIXED = f"""
'':
  - {{type: NS, ttl: 3600, values: [ns1, ns.sister.com., ns.other.org.]}}
  - {{type: CDS, value: 2371 13 2 {DIGEST}}}
ns1: {{type: A, ttl: 7200, value: 192.0.2.1}}
""".replace("[ns1,", "[ns1.example.com.,")
SISTER = "'': {type: NS, values: [ns.sister.com.]}\nns: {type: A, value: 192.0.2.9}\n"


def mixed() -> Form:
    return form_of(MIXED, sister=zone(SISTER, "sister.com."))


def problems(text: str) -> list[str]:
    return list(map(str, fill(checked(text), lambda name: None)[1]))


def test_glue_is_for_names_below_the_zone() -> None:
    """RFC 9471: in-domain names need it, siblings may have it, and all the others have none."""
    assert [Glue.REQUIRED, Glue.OPTIONAL, Glue.NONE] == [host.glue for host in mixed().hosts]
    assert [["192.0.2.1"], ["192.0.2.9"], []] == [
        [address.text for address in host.addresses] for host in mixed().hosts
    ]


def test_everything_has_its_place_in_the_file() -> None:
    """Line and column of each name and of each address."""
    host = form_of().hosts[1]
    assert "zones/example.com.yaml:7:9" == str(host.mark)
    assert [(NS2[0], 12), (NS2[1], 13)] == [(address.text, address.mark.line) for address in host.addresses]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ("'*': {type: A, value: 192.0.2.5}", ["192.0.2.5"]),
        ("ns: {type: ALIAS, value: host.example.com.}\nhost: {type: A, value: 192.0.2.6}", ["192.0.2.6"]),
        ("ns: [{type: AAAA, value: '::2'}, {type: A, value: 192.0.2.7}]", ["192.0.2.7", "::2"]),
    ],
)
def test_addresses_are_those_that_would_be_answered(record: str, expected: list[str]) -> None:
    """Of the name itself, of a wildcard, of an ALIAS; IPv4 first."""
    form = form_of(f"'': {{type: NS, values: [ns.example.com., ns.elsewhere.net.]}}\n{record}\n")
    assert expected == [address.text for address in form.hosts[0].addresses]


def test_a_glued_name_below_a_cut_of_its_own() -> None:
    """A nameserver in a zone that is delegated further has its address here, as glue."""
    text = """
'': {type: NS, values: [ns.sub.example.com., ns1.example.com.]}
ns1: {type: A, value: 192.0.2.1}
sub: {type: NS, value: ns.sub.example.com.}
ns.sub: {type: A, value: 192.0.2.53}
"""
    assert ["192.0.2.53"] == [address.text for address in form_of(text).hosts[0].addresses]


def test_a_serial_is_known_when_it_is_written() -> None:
    """Otherwise it is the time of a file, and those of two machines' files say nothing."""
    assert 7 == form_of().serial
    assert form_of(EXAMPLE.replace("serial: 7, ", "")).serial is None
    assert form_of(EXAMPLE.partition("'':")[1] + EXAMPLE.partition("'':")[2]).serial is None


def test_who_keeps_the_parent() -> None:
    """A registrar; whoever has the addresses; or we ourselves, in a zone file that is named."""
    reverse = "'': {type: NS, values: [ns1.example.net., ns2.example.net.]}"
    assert "at the registrar" == form_of().keeper
    assert "at whoever gave you the addresses" == form_of(reverse, "2.0.192.in-addr.arpa.").keeper
    com = zone("'': {type: NS, values: [ns.example.net.]}", "com.", "zones/com.yaml")
    assert "in zones/com.yaml, the parent zone" == form_of(com=com).keeper


def test_advice() -> None:
    """What a registry wants and a zone need not have, or what it cannot say."""
    assert [] == problems(EXAMPLE)
    (told,) = problems("'': {type: NS, values: [ns1.example.com.]}\nns1: {type: A, value: 192.0.2.1}\n")
    assert "zones/example.com.yaml:1:12: warning: @ NS: there is one nameserver; registries want two" in told
    steered = EXAMPLE.replace(f"value: {NS1[0]}", f"value: {NS1[0]}, geo: {{EU: 192.0.2.7}}")
    (told,) = problems(steered)
    assert "ns1 A: the address is steered by place, but the parent has one for everybody" in told


# RFC 1035 lines


def test_lines_for_the_parent() -> None:
    """Names and glue, absolute, so that they can stand in any file of the parent zone."""
    assert [
        "example.com.\t3600\tIN\tNS\tns1.example.com.",
        "example.com.\t3600\tIN\tNS\tns2.example.com.",
        f"ns1.example.com.\t3600\tIN\tA\t{NS1[0]}",
        f"ns1.example.com.\t3600\tIN\tAAAA\t{NS1[1]}",
        f"ns2.example.com.\t3600\tIN\tA\t{NS2[0]}",
        f"ns2.example.com.\t3600\tIN\tAAAA\t{NS2[1]}",
    ] == [line for line in written.lines(form_of()) if not line.startswith(";")]


def test_optional_glue_is_a_comment() -> None:
    """So is the reason for there being none; DS stands where the zone is signed."""
    lines = list(written.lines(mixed()))
    assert ";ns.sister.com.\t3600\tIN\tA\t192.0.2.9" in lines
    assert "; ns.other.org. is not below com.: its address stands in its own zone" in lines
    assert f"example.com.\t3600\tIN\tDS\t2371 13 2 {DIGEST}".lower() in [line.lower() for line in lines]


def test_lines_are_read_back_by_a_parent_zone() -> None:
    """A com with these lines is a zone without an error."""
    head = ["com. 300 SOA a.com. h.com. 1 2 3 4 5", "com. 300 NS a.com.", "a.com. 300 A 192.0.2.9"]
    read = read_text("\n".join([*head, *written.lines(mixed())]) + "\n", "com.zone", Name.parse("com."))
    assert [] == list(map(str, read.problems))
    assert read.zone is not None
    assert {2, 43} == set(read.zone.rrsets[Name.parse("example.com.").key])


# EPP


def documents(form: Form) -> list[ET.Element]:
    return [ET.fromstring(command) for command in epp.commands(form)]


def texts(document: ET.Element, path: str) -> list[str]:
    return [element.text or "" for element in document.iterfind(path, NAMESPACES)]


def test_host_objects_come_first() -> None:
    """A host:create with both families for each name, then the domain:update that names them."""
    first, second, last = documents(form_of())
    create = "epp:command/epp:create/host:create/"
    assert ["ns1.example.com"] == texts(first, create + "host:name")
    assert list(NS1) == texts(first, create + "host:addr")
    kinds = [element.get("ip") for element in second.iterfind(create + "host:addr", NAMESPACES)]
    assert ["v4", "v6"] == kinds
    update = "epp:command/epp:update/domain:update/"
    assert ["example.com"] == texts(last, update + "domain:name")
    assert ["ns1.example.com", "ns2.example.com"] == texts(
        last, update + "domain:add/domain:ns/domain:hostObj"
    )
    assert ["geodns-1", "geodns-2", "geodns-3"] == [
        texts(document, "epp:command/epp:clTRID")[0] for document in (first, second, last)
    ]


def test_hosts_of_others() -> None:
    """A sibling is made by its own registrar, a name of another registry has no address here."""
    first, second, last = documents(mixed())
    assert [["ns1.example.com"], ["ns.other.org"]] == [
        texts(document, "epp:command/epp:create/host:create/host:name") for document in (first, second)
    ]
    assert [] == texts(second, "epp:command/epp:create/host:create/host:addr")
    hosts = texts(last, "epp:command/epp:update/domain:update/domain:add/domain:ns/domain:hostObj")
    assert ["ns1.example.com", "ns.sister.com", "ns.other.org"] == hosts


def test_ds_goes_into_the_extension() -> None:
    """RFC 5910: behind the command, before the transaction's name."""
    last = documents(mixed())[-1]
    data = "epp:command/epp:extension/secDNS:update/secDNS:add/secDNS:dsData/"
    assert [["2371"], ["13"], ["2"], [DIGEST]] == [
        texts(last, data + f"secDNS:{what}") for what in ("keyTag", "alg", "digestType", "digest")
    ]
    command = last.find("epp:command", NAMESPACES)
    assert command is not None
    assert ["update", "extension", "clTRID"] == [element.tag.partition("}")[2] for element in command]


def test_each_command_is_a_group_of_lines() -> None:
    """No command has an empty line in it, so that empty lines divide them; names cannot break a comment."""
    commands = list(epp.commands(form_of("'': {type: NS, values: [ns.xn--bcher-kva.com., ns.other.org.]}")))
    assert all(command.startswith("<?xml ") and "\n\n" not in command for command in commands)
    assert 2 == len([ET.fromstring(command) for command in commands])


# Words


def test_meanings() -> None:
    """Each field says why it is as it is."""
    form = mixed()
    first, second, third = (meaning(host, form) for host in form.hosts)
    assert "needs its addresses (glue)" in first
    assert "optional" in second
    assert "the name alone" in third
    assert "as the zone's CDS has them" in of_ds(form)
    assert "leave it empty, and remove what is there" in of_ds(form_of())


def test_the_order_of_steps() -> None:
    """Host objects, then name servers, then DS, then a look at what came of it."""
    told = steps(form_of())
    order = ["dig", "first the host objects", "the domain's name servers", "DNSSEC", "--verify"]
    assert [True] * 5 == [word in step for word, step in zip(order, told, strict=True)]


def test_no_host_objects_without_glue() -> None:
    """Names elsewhere have theirs already."""
    told = steps(form_of("'': {type: NS, values: [ns1.other.org., ns2.other.org.]}"))
    assert not any("host objects" in step for step in told)


def test_steps_for_a_parent_of_ours() -> None:
    """There is no registrar between two zones of one operator."""
    com = zone("'': {type: NS, values: [ns.example.net.]}", "com.", "zones/com.yaml")
    told = steps(form_of(com=com))
    assert "Write the lines of --format zone in zones/com.yaml, the parent zone" in told
    assert not any("registrar" in step for step in told)
