"""What the records of a file mean."""

from ipaddress import ip_network

from geodns.name import Name
from geodns.zone import load_text
from geodns.zone.model import Fallback, Mark, Policy, RRset, Status, Zone
from geodns.zone.rdata import to_text

APEX = Name.parse("example.com.")
NS = "'': {type: NS, value: ns1.example.net.}\n"


def zone(text: str, serial: int | None = None, apex: Name = APEX) -> Zone:
    checked, problems = load_text(text.encode(), apex, "z.yaml", serial)
    assert [] == [str(problem) for problem in problems if problem.is_error]
    assert checked is not None
    return checked.zone


def rrset(text: str, rtype: int, name: str = "www") -> RRset:
    return zone(NS + text).rrsets[Name.parse(name, APEX).key][rtype]


def test_a_record_and_where_it_stands() -> None:
    """Owner, type, TTL and data; the marks are those of the type and of each value."""
    found = rrset("www:\n  type: A\n  ttl: 60\n  values:\n    - 203.0.113.1\n    - 203.0.113.2\n", 1)
    assert (
        RRset(
            Name.parse("www.example.com."),
            1,
            60,
            (b"\xcb\0\x71\1", b"\xcb\0\x71\2"),
            (Mark("z.yaml", 6, 7), Mark("z.yaml", 7, 7)),
            Mark("z.yaml", 3, 9),
        )
        == found
    )


def test_names() -> None:
    """'' and @ are the apex; names are relative, absolute with a dot, escaped, or of other alphabets."""
    text = (
        "'@': {type: NS, value: ns1.example.net.}\n'*.a': {type: A, value: 203.0.113.1}\n"
        "b.example.com.: {type: A, value: 203.0.113.1}\n'c\\.d': {type: TXT, value: x}\n"
        "bücher: {type: A, value: 203.0.113.1}\n"
        "no: {type: A, value: 203.0.113.1}\n0/25: {type: TXT, value: x}\n"
    )
    assert {
        "example.com.",
        "*.a.example.com.",
        "b.example.com.",
        "c\\.d.example.com.",
        "xn--bcher-kva.example.com.",
        "no.example.com.",
        "0/25.example.com.",
    } == {str(next(iter(types.values())).owner) for types in zone(text).rrsets.values()}


def test_the_ttl_of_a_record_that_gives_none() -> None:
    """3600, or what `$zone` says, wherever it stands in the file."""
    records = "www: {type: A, value: 203.0.113.1}\nal: {type: ALIAS, value: www.example.com.}\n"
    for settings, expected in (("", 3600), ("$zone: {ttl: 300}\n", 300)):
        for text in (settings + NS + records, NS + records + settings):
            found = zone(text)
            key = Name.parse("www.example.com.").key
            assert (expected, expected) == (
                found.rrsets[key][1].ttl,
                found.aliases[Name.parse("al.example.com.").key].ttl,
            )


def test_a_soa_that_is_not_written_is_made() -> None:
    """First NS, hostmaster, usual timers, and the serial that was asked for (the file's time)."""
    found = zone(NS, serial=1_700_000_000)
    soa = found.rrsets[APEX.key][6]
    assert found.soa_made
    assert 1_700_000_000 == found.serial
    assert "ns1.example.net. hostmaster.example.com. 1700000000 7200 900 1209600 300" == to_text(
        6, soa.rdatas[0]
    )


def test_parts_of_the_soa_can_be_given() -> None:
    """`$zone.soa` says some of it, the rest is made."""
    found = zone(
        "$zone: {ttl: 60, soa: {rname: me.example.net., serial: 7, minimum: 5, ttl: 30}}\n" + NS, serial=1
    )
    soa = found.rrsets[APEX.key][6]
    assert not found.soa_made
    assert (30, "ns1.example.net. me.example.net. 7 7200 900 1209600 5") == (
        soa.ttl,
        to_text(6, soa.rdatas[0]),
    )


def test_a_soa_record_is_a_record() -> None:
    """It is accepted among the records as any type is."""
    value = "ns1.example.net. me.example.net. 7 7200 900 1209600 300"
    found = zone(f"'': [{{type: NS, value: ns1.example.net.}}, {{type: SOA, value: {value}}}]\n", serial=1)
    assert (7, False) == (found.serial, found.soa_made)


def test_a_mailbox_is_no_rname() -> None:
    """The hint says how it is written."""
    text = "$zone: {soa: {rname: a.b@example.com}}\n" + NS
    _, problems = load_text(text.encode(), APEX, "z.yaml")
    assert [
        'z.yaml:1:22: $zone soa: "a.b@example.com" is not a domain name (write "a\\.b.example.com.")'
    ] == list(map(str, problems))


def test_the_short_form_is_a_pool_and_a_rule_for_each_place() -> None:
    """Scalars and lists; no rule for the rest of the world, which gets the record's own values."""
    steering = rrset(
        "www:\n  type: A\n  value: 203.0.113.1\n  geo:\n"
        "    EU: 203.0.113.2\n    NA-US: [203.0.113.3, 203.0.113.4]\n",
        1,
    ).steering
    assert steering is not None
    assert [(("EU",), ("EU",), 6), (("NA-US",), ("NA-US",), 7)] == [
        (rule.pools, rule.geos, rule.mark.line) for rule in steering.rules
    ]
    pool = steering.pools["NA-US"]
    assert (Policy.ALL, ()) == (pool.policy, pool.fallbacks)
    assert [(b"\xcb\0\x71\3", 1, Status.OBEY), (b"\xcb\0\x71\4", 1, Status.OBEY)] == [
        (value.rdata, value.weight, value.status) for value in pool.values
    ]


def test_the_dynamic_form() -> None:
    """Pools with weights, statuses, fallbacks and coordinates; rules of subnets, ASNs and places."""
    steering = rrset(
        """www:
  type: A
  value: 203.0.113.1
  dynamic:
    pools:
      fra:
        values: [{value: 203.0.113.2, weight: 3}, {value: 203.0.113.3, status: down}]
        fallback: iad
        location: {lat: 50.1, lon: -8}
      iad: {values: [203.0.113.4], fallback: default}
    rules:
      - {subnets: [192.0.2.0/24, '2001:db8::/32'], asns: [64500, AS64501], geos: [EU, NA-US-CA], pool: fra}
      - {pool: iad}
""",
        1,
    ).steering
    assert steering is not None
    fra, iad = steering.pools["fra"], steering.pools["iad"]
    assert [(3, Status.OBEY), (1, Status.DOWN)] == [(value.weight, value.status) for value in fra.values]
    assert (Policy.WEIGHTED, (Fallback("iad"),), 50.1, -8.0) == (
        fra.policy,
        fra.fallbacks,
        fra.latitude,
        fra.longitude,
    )
    assert (Policy.ALL, (), None) == (iad.policy, iad.fallbacks, iad.latitude)
    first, last = steering.rules
    assert (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32")) == first.subnets
    assert ((64500, 64501), ("EU", "NA-US-CA"), ("fra",)) == (first.asns, first.geos, first.pools)
    assert last.is_catch_all


def test_records_of_every_type_can_be_steered() -> None:
    """Values of pools are data of the record's type."""
    steering = rrset(
        "www: {type: MX, value: 10 a.example.net., geo: {EU: {preference: 5, exchange: b.example.net.}}}\n",
        15,
    ).steering
    assert steering is not None
    assert ["5 b.example.net."] == [to_text(15, value.rdata) for value in steering.pools["EU"].values]


def test_an_alias_leads_to_a_name_of_its_zone() -> None:
    """It stands beside other data at the apex."""
    found = zone(
        "'': [{type: NS, value: ns1.example.net.}, {type: ALIAS, ttl: 5, value: www.example.com.}]\n"
        "www: {type: A, value: 203.0.113.1}\n"
    )
    alias = found.aliases[APEX.key]
    assert (APEX, 5, Name.parse("www.example.com.")) == (alias.owner, alias.ttl, alias.target)


def test_octodns_settings_are_accepted() -> None:
    """Health checks and providers' settings are left alone; lenient is kept."""
    found = rrset(
        "www: {type: A, value: 203.0.113.1, octodns: {lenient: true, healthcheck: {protocol: TCP, port: 80},"
        " excluded: [route53], cloudflare: {proxied: true}}}\n",
        1,
    )
    assert found.lenient


def test_records_that_are_not_served() -> None:
    """URLFWD is no DNS record, an ignored one is not published."""
    found = zone(
        NS
        + "a: {type: URLFWD, value: {path: /, target: x, code: 301, masking: 2, query: 0}}\n"
        + "b: {type: A, value: 203.0.113.1, octodns: {ignored: true}}\n"
    )
    assert [APEX.key] == list(found.rrsets)
