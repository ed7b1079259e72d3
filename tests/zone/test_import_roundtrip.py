"""Zones -> YAML -> zones -> master files -> zones: what comes back is what went in."""

import shutil
import subprocess
from dataclasses import fields, is_dataclass
from pathlib import Path

import dns.rdata
import dns.rdataclass
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.name import ROOT, BadName, Name
from geodns.zone import load_text, rdata, rfc1035, yamlout, zone_file_name, zone_name
from geodns.zone.model import Alias, Mark, RRset, Zone
from geodns.zone.parse import parse
from geodns.zone.source import Source

HERE = Mark("made")

# One text at least of every type that dnspython has a class for; each is read, written and read again.
TEXTS = {
    "A": ["192.0.2.1"],
    "AAAA": ["2001:db8::1", "::", "2001:db8:1:2:3:4:5:6", "1:2:3:4:5:6:7:8"],
    "AFSDB": ["1 afs.example.com."],
    "AMTRELAY": ["10 0 1 203.0.113.15"],
    "APL": ["1:192.168.32.0/21 !1:192.168.38.0/28"],
    "AVC": ['"app-name:WOLFGANG|app-class:OAM"'],
    "CAA": ['0 issue "letsencrypt.org; validationmethods=dns-01"', '128 issue ";"'],
    "CDNSKEY": ["257 3 13 AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU"],
    "CDS": ["2371 13 2 1F987CC6583E92DF0890718C42A2A3F0E3F8B5E5D1B5A4B5C5D5E5F5A5B5C5D5", "0 0 0 00"],
    "BRID": ["AwEAAaet"],
    "CERT": ["PGP 0 0 AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU"],
    "CNAME": ["Target.Example.net."],
    "CSYNC": ["66 3 A NS AAAA"],
    "DHCID": ["AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA="],
    "DNAME": ["elsewhere.example."],
    "DNSKEY": ["256 3 13 AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU"],
    "DS": ["60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"],
    "DLV": ["60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118"],
    "DSYNC": ["CDS NOTIFY 5359 notify.example.com."],
    "EUI48": ["00-00-5e-00-53-2a"],
    "EUI64": ["00-00-5e-ef-10-00-00-2a"],
    "GPOS": ["-22.6882 116.8652 250.0"],
    "HHIT": ["AwEAAaet"],
    "HINFO": ['"PC" "not \\"yes\\""'],
    "HIP": ["2 200100107B1A74DF365639CC39F1D578 AwEAAbdx rvs.example.com."],
    "HTTPS": [
        "0 pool.example.",
        '1 . alpn="h2,h3" port="8443" ipv4hint="192.0.2.1"',
        '1 . key667="hello\\210qoo"',
    ],
    "IPSECKEY": ["10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4AQ=="],
    "ISDN": ['"150862028003217" "004"'],
    "KEY": ["256 3 13 AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU"],
    "KX": ["10 kx.example.com."],
    "L32": ["10 10.1.2.0"],
    "L64": ["10 2001:0db8:1140:1000"],
    "LOC": ["52 14 05.000 N 00 08 50.000 E 10.00m 1.00m 10000.00m 10.00m"],
    "LP": ["10 l64.example.com."],
    "MX": ["10 Mail.Example.com.", "0 ."],
    "NAPTR": ['100 50 "s" "z3950+I2L+I2C" "" _z3950._tcp.example.com.', '1 2 "u" "E2U" "!^.*$!a:\\\\1!" .'],
    "NID": ["10 0014:4fff:ff20:ee64"],
    "NINFO": ['"some" "text"'],
    "NS": ["ns1.example.com."],
    "NSAP": ["0x47.0005.80.005a00.0000.0001.e133.ffffff000161.00"],
    "NSAP-PTR": ["nsap.example.com."],
    "NSEC": ["host.example.com. A MX RRSIG NSEC TYPE1234"],
    "NSEC3": ["1 1 12 aabbccdd 2t7b4g4vsa5smi47k61mv5bv1a22bojr MX DNSKEY NS SOA NSEC3PARAM RRSIG"],
    "NSEC3PARAM": ["1 0 12 aabbccdd", "1 0 0 -"],
    "OPENPGPKEY": ["AwEAAaetidLzsKWUt4swWR8yu0wPHPiUi8LU"],
    "PTR": ["0\\/25.host.example.com."],
    "PX": ["10 map822.example.com. mapx400.example.com."],
    "RESINFO": ["qnamemin exterr=15,16,17"],
    "RP": ["mbox\\.name.example.com. txt.example.com."],
    "RRSIG": ["A 13 3 3600 20300101000000 20200101000000 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip"],
    "RT": ["0 relay.example.com."],
    "SIG": ["A 13 3 3600 20300101000000 20200101000000 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip"],
    "SMIMEA": ["3 1 1 8ce14cbe1fafae9fb25845d335e0e4168ce14cbe1fafae9fb25845d335e0e416"],
    "SPF": ['"v=spf1 -all"'],
    "SRV": ["0 5 5060 Sip.Example.com.", "0 0 0 ."],
    "SSHFP": ["4 2 123456789abcdef67890123456789abcdef67890123456789abcdef123456789"],
    "SVCB": [
        '16 foo.example.org. mandatory="alpn,port" alpn="h2" port="53"',
        '1 . no-default-alpn alpn="h3"',
    ],
    "TLSA": ["3 1 1 8ce14cbe1fafae9fb25845d335e0e4168ce14cbe1fafae9fb25845d335e0e416"],
    "TXT": [
        '"no"',
        '"a" "b"', '"\\000\\255\\;\\"" ""', '"ü ☃ 😀"', '"  "',
        '"\\\\# 1 00"', '"v=DKIM1; k=rsa"',
        '"\\013\\010\\009"',
    ],
    "URI": ['10 1 "ftp://ftp1.example.com/public"'],
    "WALLET": ['"currency" "address"'],
    "WKS": ["192.0.2.1 6 25"],
    "X25": ['"311061700956"'],
    "ZONEMD": ["2018031900 1 1 " + "62e6cf51b02e54b9" * 6],
    "TYPE65280": ["\\# 3 010203", "\\# 0"],
}  # fmt: skip

NOT_IN_ZONES = {"OPT", "TSIG", "TKEY"}


def zone_of(apex: Name, records: list[tuple[Name, int, int, list[bytes]]], soa: tuple[bytes, int]) -> Zone:
    """A zone with these records (owner, type, TTL, data) and this SOA (data, TTL)."""
    rrsets = {apex.key: {rdata.SOA: RRset(apex, rdata.SOA, soa[1], (soa[0],), (HERE,), HERE)}}
    for owner, rtype, ttl, wires in records:
        wires = list(dict.fromkeys(wires))
        rrset = RRset(owner, rtype, ttl, tuple(wires), (HERE,) * len(wires), HERE)
        rrsets.setdefault(owner.key, {})[rtype] = rrset
    return Zone(apex, "made", rrsets)


def said(zone: Zone) -> dict[tuple[bytes, int], tuple[bytes, int, tuple[bytes, ...]]]:
    """All that a zone says, without the places where it stood."""
    return {
        (key, rtype): (rrset.owner.wire, rrset.ttl, rrset.rdatas)
        for key, rrsets in zone.rrsets.items()
        for rtype, rrset in rrsets.items()
    }


def by_yaml(zone: Zone) -> Zone:
    """The zone, written as YAML and read again."""
    text = yamlout.dump(zone)
    parsed = parse(Source(text.encode(), "back.yaml"), zone.apex)
    assert [str(problem) for problem in parsed.problems] == [], text
    assert parsed.zone is not None
    return parsed.zone


def by_master(zone: Zone) -> Zone:
    """The zone, written as a master file and read again."""
    text = "\n".join(rfc1035.write(zone)) + "\n"
    parsed = rfc1035.read_text(text, "back.zone", zone.apex)
    assert {problem.check for problem in parsed.problems} <= {"master-inner-wildcard"}, text
    assert parsed.zone is not None
    return parsed.zone


labels = st.one_of(
    st.sampled_from(
        [b"*", b"www", b"WWW", b"no", b"1.0", b"null", b"@", b"$zone", b"$TTL", b"0/25", b"a b", b"~"]
    ),
    st.sampled_from(
        [b"\\", b'"', b";", b"(", b"\0", b"\xff", b"\xc3\xbc", b"<<", b"-", b"IN", b"A", b"300", b"#"]
    ),
    st.binary(min_size=1, max_size=63),
    st.text("abcXYZ019-_", min_size=1, max_size=12).map(str.encode),
)


@st.composite
def names(draw: st.DrawFn, under: Name = ROOT, most: int = 3) -> Name:
    name = under
    for label in draw(st.lists(labels, max_size=most)):
        try:
            name = name.child(label)
        except BadName:
            break
    return name


u16 = st.integers(0, 65535).map(lambda number: number.to_bytes(2))
ttls = st.one_of(st.sampled_from([0, 1, 300, 3600, 2**31 - 1]), st.integers(0, 2**31 - 1))
strings = st.one_of(
    st.binary(max_size=255),
    st.text("abc ;\"'\\\n\t%ü☃\x85", max_size=60).map(lambda text: text.encode()[:255]),
).map(lambda data: bytes([len(data)]) + data)
sampled = st.sampled_from([(name, text) for name, texts in TEXTS.items() for text in texts])


@st.composite
def datas(draw: st.DrawFn) -> tuple[int, list[bytes]]:
    kind = draw(st.integers(0, 9))
    many = {"min_size": 1, "max_size": 3}
    if kind == 0:
        return rdata.A, draw(st.lists(st.binary(min_size=4, max_size=4), **many))
    if kind == 1:
        return rdata.AAAA, draw(st.lists(st.binary(min_size=16, max_size=16), **many))
    if kind == 2:
        rtype = draw(st.sampled_from([rdata.NS, rdata.PTR, rdata.CNAME, rdata.DNAME]))
        return rtype, [name.wire for name in draw(st.lists(names(), **many))]
    if kind == 3:
        return rdata.MX, [draw(u16) + name.wire for name in draw(st.lists(names(), **many))]
    if kind == 4:
        return rdata.TXT, draw(st.lists(st.lists(strings, min_size=1, max_size=5).map(b"".join), **many))
    if kind == 5:
        return rdata.SRV, [draw(u16) * 3 + name.wire for name in draw(st.lists(names(), **many))]
    if kind == 6:
        values = st.lists(st.binary(max_size=40), **many)
        return rdata.CAA, [b"\0\x05issue" + value for value in draw(values)]
    if kind == 7:
        return draw(st.integers(65280, 65534)), draw(st.lists(st.binary(max_size=300), **many))
    name, text = draw(sampled)
    return rdata.type_number(name), [rdata.from_text(rdata.type_number(name), text, ROOT)]


@st.composite
def zones(draw: st.DrawFn) -> Zone:
    apex = draw(names(most=3))
    numbers = draw(st.lists(st.integers(0, 2**32 - 1), min_size=5, max_size=5))
    soa = draw(names()).wire + draw(names()).wire + b"".join(number.to_bytes(4) for number in numbers)
    spelled = {apex.key: apex}
    records = []
    for _ in range(draw(st.integers(0, 8))):
        owner = draw(names(under=apex))
        owner = spelled.setdefault(owner.key, owner)
        rtype, wires = draw(datas())
        records.append((owner, rtype, draw(ttls), wires))
    return zone_of(apex, records, (soa, draw(ttls)))


@given(zones())
@settings(max_examples=200, deadline=None)
def test_a_zone_survives_yaml_and_master_file(zone: Zone) -> None:
    """Any zone, written as YAML, read, written as a master file and read again, says what it said."""
    there = by_yaml(zone)
    assert said(zone) == said(there)
    assert said(zone) == said(by_master(there))


@pytest.mark.skipif(not shutil.which("named-compilezone"), reason="BIND is not installed")
@given(zones())
@settings(max_examples=20, deadline=None)
def test_named_agrees_with_what_we_write_and_read(zone: Zone) -> None:
    """named reads any zone that we write to the same records, and we read what named then writes."""
    zone = _as_named_takes_it(zone)
    text = "\n".join(rfc1035.write(zone)) + "\n"
    command = ["named-compilezone", "-q", "-i", "none", "-k", "ignore", "-n", "ignore", "-m", "ignore"]
    command += ["-s", "relative", "-o", "-", "--", str(zone.apex), "/dev/stdin"]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr.decode() + text
    back = rfc1035.read_text(done.stdout, "named", zone.apex).zone
    assert back is not None
    assert _sorted(back) == _sorted(zone)


def _as_named_takes_it(zone: Zone) -> Zone:
    """The zone below "example.com." with an NS, without what named refuses, and with types that it knows."""
    apex = Name.parse("example.com.")
    good = {rdata.A, rdata.AAAA, rdata.PTR, rdata.MX, rdata.TXT, rdata.SRV}
    soa = zone.rrsets[zone.apex.key][rdata.SOA]
    records = [(apex, rdata.NS, 300, [Name.parse("ns.example.net.").wire])]
    for rrsets in zone.rrsets.values():
        for rrset in rrsets.values():
            own = rrset.owner.wire[: len(rrset.owner.wire) - len(zone.apex.wire)]
            if (rrset.type in good or rrset.type > 65279) and len(own) + len(apex.wire) <= 255:
                records.append((Name(own + apex.wire), rrset.type, rrset.ttl, list(rrset.rdatas)))
    return zone_of(apex, records, (soa.rdatas[0], soa.ttl))


def _sorted(zone: Zone) -> dict[tuple[bytes, int], tuple[int, list[bytes]]]:
    """What a zone says; the order of records and the case of owners are named's own."""
    return {key: (ttl, sorted(wires)) for key, (_, ttl, wires) in said(zone).items()}


@pytest.mark.parametrize("name", sorted(TEXTS))
def test_every_type_survives(name: str) -> None:
    """Data of every type comes back from YAML and from a master file as the same octets."""
    apex = Name.parse("example.com.")
    rtype = rdata.type_number(name)
    wires = [rdata.from_text(rtype, text, apex) for text in TEXTS[name]]
    soa = rdata.from_text(rdata.SOA, "ns1 host 1 2 3 4 5", apex)
    zone = zone_of(apex, [(apex.child(b"owner"), rtype, 300, wires)], (soa, 60))
    assert said(zone) == said(by_master(by_yaml(zone)))


def test_the_list_of_types_is_complete() -> None:
    """The list above has every type that dnspython has a class for and that a zone may hold."""
    known = {dns.rdatatype.to_text(kind) for kind in dns.rdatatype.RdataType if _has_class(kind)}
    assert set() == known - NOT_IN_ZONES - {"SOA"} - set(TEXTS)


def _has_class(kind: dns.rdatatype.RdataType) -> bool:
    return dns.rdata.get_rdata_class(dns.rdataclass.IN, kind) is not dns.rdata.GenericRdata


def test_twenty_thousand_records_survive() -> None:
    """A zone of 20,000 records comes back whole."""
    apex = Name.parse("example.com.")
    soa = rdata.from_text(rdata.SOA, "ns1 host 4294967295 2 3 4 5", apex)
    records = [
        (apex.child(b"host%d" % number), rdata.A, number, [number.to_bytes(4)]) for number in range(20_000)
    ]
    zone = zone_of(apex, records, (soa, 60))
    assert said(zone) == said(by_master(by_yaml(zone)))


@pytest.mark.parametrize(
    "text", [".", "example.com.", "0/25.2.0.192.in-addr.arpa.", "a\\.b.example.", "\\000\\255.x.", "%2f.x."]
)
def test_a_zone_name_survives_as_file_name(text: str) -> None:
    """A zone's name, "/" and escapes included, comes back from the name of its file."""
    name = Name.parse(text)
    assert "/" not in zone_file_name(name)
    assert name == zone_name(zone_file_name(name))


def test_an_alias_survives_yaml() -> None:
    """octoDNS's ALIAS is written as one."""
    apex = Name.parse("example.com.")
    soa = rdata.from_text(rdata.SOA, "ns1 host 1 2 3 4 5", apex)
    www = apex.child(b"www")
    zone = zone_of(apex, [(www, rdata.A, 300, [b"\1\2\3\4"])], (soa, 60))
    zone.aliases[apex.key] = Alias(apex, 120, www, HERE)
    there = by_yaml(zone)
    assert [(apex, 120, www)] == [(alias.owner, alias.ttl, alias.target) for alias in there.aliases.values()]
    assert said(zone) == said(there)


STEERED = """
$zone:
  ttl: 60
  soa: {mname: ns1.example.com., rname: h.example.com., serial: 7}
  pools:
    ams:
      values:
        - {A: 203.0.113.40, AAAA: '2001:db8::40', HTTPS: 1 . alpn=h2, weight: 3}
        - {A: [203.0.113.41, 203.0.113.42], status: down}
      healthcheck: {protocol: TCP, port: 8080}
      location: EU-NL
      fallback: default
    spare: {values: [{MX: {preference: 10, exchange: mx.example.net.}}, 203.0.113.43], fallback: ams}
'': {type: NS, value: ns1.example.com.}
ns1: {type: A, value: 192.0.2.1}
short:
  type: A
  value: 192.0.2.80
  geo:
    EU: 203.0.113.10
    NA-US: [203.0.113.20, 203.0.113.21]
    OC: []
'*':
  type: A
  value: 192.0.2.80
  octodns: {lenient: true}
  dynamic:
    pools:
      fra: {values: [{value: 203.0.113.10, weight: 3}, {value: 203.0.113.11, status: down}], fallback: iad}
      iad: {values: [{value: 203.0.113.20}], location: {lat: 39.000001, lon: -0.00001}}
    rules:
      - {subnets: [10.0.0.0/8, '2001:db8::/32'], pool: fra}
      - {asns: [64500], pool: iad}
      - {geos: [EU, AF], pool: fra}
      - {pool: iad}
shared: {type: A, value: 192.0.2.80, dynamic: {rules: [{pool: spare}]}}
places:
  type: A
  value: 192.0.2.80
  when_all_down: nodata
  geo: {NA-US-CA: 203.0.113.10, NA: 203.0.113.11}
all:
  type: A
  ttl: 60
  ttl_min: 7
  value: 192.0.2.80
  when_all_down: all
  octodns:
    healthcheck:
      {protocol: HTTPS, host: null, path: /up, port: 8443, status: [200-202, 301], body: '^"ok"\\s',
       verify: no, interval: 0.5s, timeout: 1m, rise: 2, fall: 3, ok: 4, jitter: 12.5%, source: 192.0.2.9}
  dynamic:
    pools:
      a:
        values: [{value: 203.0.113.10, weight: 0}, 203.0.113.11]
        policy: hash
        answers: 2
        min_up: 33.3%
        fallback: [b, {pool: ams, weight: 5}]
        slow_start: 1h
        location: {lat: 1, lon: -2.5}
        bias: -99
        healthcheck: {protocol: DNS, question: www.example.net. AAAA}
      b:
        values: [{value: 203.0.113.12, weight: 2}, 203.0.113.13]
        policy: all
        fallback: [ams, c]
        location: NA-US-CA
        healthcheck: {protocol: DNS, host: a.example}
      c: {values: [203.0.113.14], policy: weighted, healthcheck: {protocol: EXEC, command: [a, 'b c', '']}}
      d: {values: [203.0.113.15, 203.0.113.16], healthcheck: {protocol: EXTERNAL, name: 'yes'}, fallback: a}
    rules:
      - {share: 33.3333333%, pool: d}
      - {nearest: true, answers: 2, pools: [a, b]}
"""


def test_steering_survives_yaml() -> None:
    """`geo` and `dynamic` with all their settings, health checks and pools of `$zone`: nothing is lost."""
    apex = Name.parse("example.com.")
    zone = parse(Source(STEERED.encode(), "in.yaml"), apex).zone
    assert zone is not None
    text = yamlout.dump(zone)
    there = parse(Source(text.encode(), "back.yaml"), apex).zone
    assert there is not None
    assert _bare((zone.rrsets, zone.pools)) == _bare((there.rrsets, there.pools))
    assert "\n  geo:\n    EU:\n      - 203.0.113.10\n" in text
    assert text == yamlout.dump(there)


def _bare(node: object) -> object:
    """Everything in a part of the model, but where it stood."""
    if isinstance(node, Mark):
        return "mark"
    if is_dataclass(node):
        return type(node).__name__, [_bare(getattr(node, field.name)) for field in fields(node)]
    if isinstance(node, dict):
        return {_bare(key): _bare(value) for key, value in node.items()}
    return tuple(map(_bare, node)) if isinstance(node, tuple) else node


def test_steered_records_export_as_their_defaults() -> None:
    """A master file has the default values of a steered record, and a comment that says so."""
    zone = parse(Source(STEERED.encode(), "in.yaml"), Name.parse("example.com.")).zone
    assert zone is not None
    lines = list(rfc1035.write(zone))
    at = lines.index("short\t60\tIN\tA\t192.0.2.80")
    assert lines[at - 1] == "; short A is steered by place; these are its default values"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("www", "www"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "'::1'"),
        ("2001:db8::", "'2001:db8::'"),
        ("1:2:3:4:5:6:7:8", "'1:2:3:4:5:6:7:8'"),
        ("no", "'no'"),
        ("Y", "'Y'"),
        ("NULL", "'NULL'"),
        ("~", "'~'"),
        ("*", "'*'"),
        ("*.www", "'*.www'"),
        ("1.0", "'1.0'"),
        ("1e3", "'1e3'"),
        ("0x1F", "'0x1F'"),
        ("2026-11-22", "'2026-11-22'"),
        ("", "''"),
        ("it's", "'it''s'"),
        ("a: b", "'a: b'"),
        ("a\nb", '"a\\nb"'),
        ("\x85\u2028\U000e0001", '"\\x85\\u2028\\U000e0001"'),
    ],
)
def test_quotes_stand_where_yaml_would_misread(text: str, written: str) -> None:
    """A text that some YAML reader takes for something else is in quotes, and other texts are not."""
    assert written == yamlout.quote(text)


def test_write_file_keeps_a_file_that_is_there(tmp_path: Path) -> None:
    """Without force an existing file stays; with it the new one takes its place; no draft is left behind."""
    zone = zone_of(Name.parse("0/25.example."), [], (rdata.from_text(rdata.SOA, ". . 1 2 3 4 5", None), 60))
    path = yamlout.write_file(zone, tmp_path / "zones", "first")
    assert tmp_path / "zones" / "0%2F25.example.yaml" == path
    with pytest.raises(FileExistsError):
        yamlout.write_file(zone, tmp_path / "zones", "second")
    assert path.read_text() == "first"
    yamlout.write_file(zone, tmp_path / "zones", "third", force=True)
    assert path.read_text() == "third"
    assert [path] == list(path.parent.iterdir())


def test_a_made_soa_is_not_written() -> None:
    """A zone file without SOA stays one: its serial goes on growing with the file."""
    text = b"'': {type: NS, value: ns1.example.net.}\n"
    zone, _ = load_text(text, Name.parse("example.com."), "in.yaml", 5)
    assert zone is not None
    assert "soa" not in yamlout.dump(zone.zone)
