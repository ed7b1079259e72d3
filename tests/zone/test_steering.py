"""How records are steered: pools, rules, `$zone.pools` and health checks as the model has them."""

import pytest

from geodns.geo import codes, partition
from geodns.name import Name
from geodns.zone import fields, load_text
from geodns.zone.model import (
    CheckKind,
    Fallback,
    HealthCheck,
    Mark,
    Policy,
    Pool,
    RRset,
    Status,
    Steering,
    WhenAllDown,
    Zone,
)
from geodns.zone.rdata import AAAA, HTTPS, A, to_text

APEX = Name.parse("example.com.")
NS = "'': {type: NS, value: ns1.example.net.}\n"


def zone(text: str) -> Zone:
    """The zone of a text without errors."""
    checked, problems = load_text((NS + text).encode(), APEX, "z.yaml", 1)
    assert [] == [str(problem) for problem in problems if problem.is_error]
    assert checked is not None
    return checked.zone


def rrset(text: str, rtype: int = A, name: str = "www") -> RRset:
    return zone(text).rrsets[Name.parse(name, APEX).key][rtype]


def steering(text: str, rtype: int = A, name: str = "www") -> Steering:
    found = rrset(text, rtype, name).steering
    assert found is not None
    return found


def www(dynamic: str, more: str = "") -> str:
    """A record `www A` with this `dynamic`, in flow style, and these other keys."""
    return f"www: {{type: A, value: 203.0.113.1, dynamic: {{{dynamic}}}{more}}}\n"


def pool(settings: str) -> Pool:
    """The pool with these settings."""
    text = www(
        f"pools: {{fra: {{values: [203.0.113.10, 203.0.113.11], {settings}}}}}, rules: [{{pool: fra}}]"
    )
    return steering(text).pools["fra"]


def check(settings: str) -> HealthCheck:
    """The health check with these settings."""
    found = pool(f"healthcheck: {{{settings}}}").check
    assert found is not None
    return found


def problems(text: str) -> list[str]:
    return [str(problem) for problem in load_text((NS + text).encode(), APEX, "z.yaml", 1)[1]]


# --- pools --------------------------------------------------------------------------------------------------


def test_a_pool_with_every_setting() -> None:
    """Policy, number of answers, threshold, fallbacks, slow start, place and bias."""
    found = steering(
        www(
            "pools: {fra: {values: [203.0.113.10, 203.0.113.11], policy: hash, answers: 2, min_up: 75%,"
            " fallback: [iad, {pool: nrt, weight: 3}, default], slow_start: 1h30m,"
            " location: {lat: 50.1, lon: -8}, bias: -20},"
            " iad: {values: [203.0.113.20]}, nrt: {values: [203.0.113.30], fallback: {pool: iad}}},"
            " rules: [{pool: fra}]",
        )
    ).pools
    fra = found["fra"]
    assert (Policy.HASH, 2, 0.75, 5400, 50.1, -8.0, -20) == (
        fra.policy,
        fra.answers,
        fra.min_up,
        fra.slow_start,
        fra.latitude,
        fra.longitude,
        fra.bias,
    )
    assert (Fallback("iad"), Fallback("nrt", 3)) == fra.fallbacks
    assert (Fallback("iad"),) == found["nrt"].fallbacks


def test_what_is_not_written_is_not_set() -> None:
    """The defaults depend on the number of values, and are those of who uses them."""
    mark = Mark("z.yaml", 2, 54)
    found = pool("fallback: null")
    assert Pool("fra", found.values, Policy.ALL, (), mark) == found


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("values: [203.0.113.10]", Policy.ALL),
        ("values: [{value: 203.0.113.10, weight: 1}, 203.0.113.11]", Policy.WEIGHTED),
        ("values: [203.0.113.10], policy: weighted", Policy.WEIGHTED),
        ("values: [{value: 203.0.113.10, weight: 2}, 203.0.113.11], policy: all", Policy.ALL),
    ],
)
def test_a_pool_with_a_weight_is_drawn_from_unless_it_says_otherwise(values: str, expected: Policy) -> None:
    """octoDNS's reading of weights, and ours of `policy`."""
    text = www(f"pools: {{fra: {{{values}}}}}, rules: [{{pool: fra}}]")
    assert expected is steering(text).pools["fra"].policy


@pytest.mark.parametrize(
    ("written", "seconds"), [("300", 300), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("0", 0), ("0.5m", 30)]
)
def test_durations(written: str, seconds: int) -> None:
    """Seconds, or with units."""
    assert seconds == pool(f"slow_start: {written}").slow_start


@pytest.mark.parametrize(("written", "share"), [("0.5", 0.5), ("50%", 0.5), ("33.3 %", 0.333), ("100%", 1.0)])
def test_shares(written: str, share: float) -> None:
    """Parts of one or of a hundred."""
    assert share == pool(f"min_up: {written}").min_up


def test_weights_of_a_value_that_is_given_twice_are_added_up() -> None:
    """Where one is drawn; else once is enough. What comes out differs value by value."""
    text = "pools: {fra: {values: [{value: 203.0.113.10, weight: 3}, 203.0.113.11, {value: 203.0.113.10}]}}"
    found = steering(www(text + ", rules: [{pool: fra}]")).pools["fra"]
    assert [("203.0.113.10", 4), ("203.0.113.11", 1)] == [
        (to_text(A, value.rdata), value.weight) for value in found.values
    ]


def test_a_geo_code_stands_for_its_coordinates() -> None:
    """And it is an error if nobody knows them."""
    found = pool("location: EU-DE")
    assert codes.location("EU-DE") == (found.latitude, found.longitude)


def test_a_geo_code_without_coordinates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hint says what can be written instead."""
    monkeypatch.setattr(codes, "location", lambda code: None)
    text = "pools: {fra: {values: [203.0.113.10], location: EU-DE}}, rules: [{pool: fra}]"
    assert [
        "z.yaml:2:94: www A: location: no coordinates are known for EU-DE (write {lat: , lon: })"
    ] == problems(www(text))


# --- rules and records --------------------------------------------------------------------------------------


def test_rules_with_everything() -> None:
    """Several pools in order, the nearest of them, how many, and a share of the clients."""
    place = "location: {lat: 1, lon: 2}"
    rules = steering(
        www(
            f"pools: {{fra: {{values: [203.0.113.10], {place}}}, iad: {{values: [203.0.113.20], {place}}}}},"
            " rules: [{share: 10%, pool: fra}, {geos: EU, pools: [iad, fra]},"
            " {nearest: true, answers: 2, pools: [fra, iad]}]"
        )
    ).rules
    assert [
        (("fra",), (), False, 1, 0.1),
        (("iad", "fra"), ("EU",), False, 1, 1.0),
        (("fra", "iad"), (), True, 2, 1.0),
    ] == [(rule.pools, rule.geos, rule.nearest, rule.answers, rule.share) for rule in rules]


def test_as_many_shares_as_can_be_divided() -> None:
    """The zone's bound is the partition's."""
    assert partition.SHARES_MAX == fields.SHARES_MAX


def test_a_record_says_what_comes_when_all_is_down_and_how_low_its_ttl_may_go() -> None:
    """Also with `geo`."""
    text = (
        "www: {type: A, ttl: 60, ttl_min: 5, value: 203.0.113.1, when_all_down: nodata,"
        " geo: {EU: 203.0.113.2}}\n"
    )
    found = rrset(text)
    assert found.steering is not None
    assert (5, WhenAllDown.NODATA) == (found.ttl_min, found.steering.when_all_down)
    assert (None, WhenAllDown.DEFAULT) == (
        rrset(www("pools: {a: {values: 203.0.113.1}}, rules: [{pool: a}]")).ttl_min,
        steering(www("pools: {a: {values: 203.0.113.1}}, rules: [{pool: a}]")).when_all_down,
    )


def test_a_place_falls_back_to_the_next_larger_one_of_the_record() -> None:
    """Whatever the order in the file; the largest has none, and the record's values answer."""
    text = (
        "www: {type: A, value: 203.0.113.1,"
        " geo: {NA-US-CA: 203.0.113.2, NA: 203.0.113.3, EU-DE: 203.0.113.4, NA-US: 203.0.113.5}}\n"
    )
    pools = steering(text).pools
    assert {
        "NA-US-CA": (Fallback("NA-US"),),
        "NA": (),
        "EU-DE": (),
        "NA-US": (Fallback("NA"),),
    } == {name: known.fallbacks for name, known in pools.items()}


# --- pools of the zone --------------------------------------------------------------------------------------

SITES = """$zone:
  pools:
    fra:
      values:
        - {A: 203.0.113.10, AAAA: '2001:db8::10', HTTPS: 1 . alpn=h2, weight: 3}
        - {A: [203.0.113.11, 203.0.113.12], AAAA: '2001:db8::11', HTTPS: 2 ., status: down}
      fallback: iad
      policy: hash
    iad:
      values: [{A: 203.0.113.20, AAAA: '2001:db8::20', HTTPS: 1 .}]
    nrt: {values: [203.0.113.30, '2001:db8::30']}
"""
SITE_USERS = """www:
  - {type: A, value: 203.0.113.1, dynamic: {rules: [{pool: fra}]}}
  - {type: AAAA, value: '2001:db8::1', dynamic: {rules: [{pool: fra}]}}
  - {type: HTTPS, value: 1 ., dynamic: {rules: [{pool: fra}]}}
api:
  - type: A
    value: 203.0.113.1
    dynamic: {pools: {iad: {values: [203.0.113.99]}}, rules: [{geos: AS, pools: [nrt, iad]}, {pool: fra}]}
"""


@pytest.mark.parametrize("text", [SITES + SITE_USERS, SITE_USERS + SITES], ids=["before", "behind"])
def test_records_have_the_pools_of_the_zone_that_they_name(text: str) -> None:
    """With the values of their own type, and with what those fall back to; `$zone` may stand anywhere."""
    found = steering(text, A)
    assert {"fra", "iad"} == set(found.pools)
    assert all(known.is_shared for known in found.pools.values())
    fra = found.pools["fra"]
    assert (Policy.HASH, (Fallback("iad"),)) == (fra.policy, fra.fallbacks)
    assert [
        ("203.0.113.10", 3, Status.OBEY),
        ("203.0.113.11", 1, Status.DOWN),
        ("203.0.113.12", 1, Status.DOWN),
    ] == [(to_text(A, value.rdata), value.weight, value.status) for value in fra.values]
    https = steering(text, HTTPS).pools["fra"].values
    assert ['1 . alpn="h2"', "2 ."] == [to_text(HTTPS, value.rdata) for value in https]
    assert ("203.0.113.11", "203.0.113.12", "2001:db8::11") == https[1].addresses


def test_a_record_has_its_own_pool_rather_than_the_zones() -> None:
    """Also where a pool of the zone falls back to that name; its values are its own sites."""
    pools = steering(SITES + SITE_USERS, A, "api").pools
    assert {"iad": False, "nrt": True, "fra": True} == {name: pools[name].is_shared for name in pools}
    assert ["203.0.113.99"] == [to_text(A, value.rdata) for value in pools["iad"].values]
    assert (b"", ()) == (pools["iad"].values[0].site, pools["iad"].values[0].addresses)


def test_a_site_is_the_same_for_all_types_and_wherever_it_stands() -> None:
    """So a client that stays with its site by hash gets the same one for A, AAAA and HTTPS."""
    four, six, https = (
        [value.site for value in steering(SITES + SITE_USERS, rtype).pools["fra"].values]
        for rtype in (A, AAAA, HTTPS)
    )
    assert six == https == four[:2]
    assert 3 == len(set(four))
    without = SITES.replace(
        "        - {A: 203.0.113.10, AAAA: '2001:db8::10', HTTPS: 1 . alpn=h2, weight: 3}\n", ""
    )
    assert four[1:] == [value.site for value in steering(without + SITE_USERS, A).pools["fra"].values]


def test_sites_that_share_an_address_are_still_different_ones() -> None:
    """Each keeps its clients for the type in which they differ."""
    text = (
        "$zone: {pools: {a: {policy: hash, values: [{A: 203.0.113.1, AAAA: '2001:db8::1'},"
        " {A: 203.0.113.1, AAAA: '2001:db8::2'}]}}}\n"
        "www: {type: AAAA, value: '2001:db8::9', dynamic: {rules: [{pool: a}]}}\n"
    )
    sites = [value.site for value in steering(text, AAAA).pools["a"].values]
    assert 2 == len(set(sites))


def test_what_sites_have_in_common_is_one_value() -> None:
    """As HTTPS data usually is: with all their weights and addresses, but those of a site that is down."""
    text = (
        "$zone: {pools: {a: {policy: hash, values: [{A: 203.0.113.1, HTTPS: 1 ., weight: 2},"
        " {A: 203.0.113.2, HTTPS: 1 ., weight: 3}, {A: 203.0.113.3, HTTPS: 1 ., status: down}]}}}\n"
        "www: {type: HTTPS, value: 1 ., dynamic: {rules: [{pool: a}]}}\n"
    )
    assert [] == problems(text)
    (value,) = steering(text, HTTPS).pools["a"].values
    assert (5, Status.OBEY, ("203.0.113.1", "203.0.113.2")) == (value.weight, value.status, value.addresses)


def test_one_error_in_a_zones_pool_is_one_problem() -> None:
    """What only follows from it in the records is not told, nor what follows from a broken `$zone`."""
    sites = SITES.replace("A: 203.0.113.20,", "A: 203.0.113.300,")
    assert ['z.yaml:11:20: $zone: "203.0.113.300" is not an IPv4 address'] == problems(sites + SITE_USERS)
    broken = SITES.replace("policy: hash", "polcy: hash")
    assert ['z.yaml:9:7: $zone: unknown key "polcy" (did you mean "policy"?)'] == problems(
        broken + SITE_USERS
    )


# --- health checks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["geo: {EU: 203.0.113.10}", "dynamic: {pools: {a: {values: 203.0.113.10}}, "
                                  "rules: [{pool: a}]}"], ids=["geo", "dynamic"])  # fmt: skip
def test_a_record_without_a_health_check_has_none(form: str) -> None:
    """octoDNS would check; here it is said."""
    assert steering(f"www: {{type: A, value: 203.0.113.1, {form}}}\n").check is None
    text = f"www: {{type: A, value: 203.0.113.1, {form}, octodns: {{healthcheck: {{}}}}}}\n"
    found = steering(text).check
    assert found is not None
    assert HealthCheck(CheckKind.HTTPS, found.mark) == found


def test_a_health_check_with_everything() -> None:
    """Every setting of a check of HTTPS."""
    found = check(
        "protocol: https, host: www.example.net., path: '/up?x=1', port: 8443, status: [200-202, 301],"
        " body: '^ok$', verify: no, interval: 0.5s, timeout: 100, rise: 3, fall: 5, ok: 2, jitter: 20%,"
        " source: '2001:db8:0::1'"
    )
    assert (
        HealthCheck(
            CheckKind.HTTPS,
            found.mark,
            8443,
            "www.example.net",
            False,
            "/up?x=1",
            (200, 201, 202, 301),
            "^ok$",
            False,
            interval=0.5,
            timeout=100,
            rise=3,
            fall=5,
            ok=2,
            jitter=0.2,
            source="2001:db8::1",
        )
        == found
    )


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("protocol: TCP", {"kind": CheckKind.TCP, "port": None}),
        ("protocol: Dns", {"question": ("example.com.", "SOA")}),
        ("protocol: DNS, question: www.example.net. aaaa", {"question": ("www.example.net.", "AAAA")}),
        ("protocol: EXEC, command: \"a 'b c' d\"", {"command": ("a", "b c", "d")}),
        ("protocol: EXEC, command: [a, b c, 5]", {"command": ("a", "b c", "5")}),
        ("protocol: EXTERNAL, name: fra.web", {"name": "fra.web"}),
        ("host: null", {"host": None, "host_is_value": True}),
        ("path: _dns", {"path": "/_dns", "host_is_value": False}),
        ("host: 'bücher.example'", {"host": "xn--bcher-kva.example"}),
        ("host: '2001:DB8::1'", {"host": "2001:db8::1"}),
    ],
)
def test_kinds_of_health_checks(written: str, expected: dict[str, object]) -> None:
    """Protocols in any case, and what belongs to each."""
    found = check(written)
    assert expected == {key: getattr(found, key) for key in expected}


@pytest.mark.parametrize("host", ["'a b'", "a/b", "'a:80'", '"a\\r\\nX-Evil: 1"', "''", "'-'", "a..b"])
def test_nothing_but_a_host_comes_into_a_request(host: str) -> None:
    """A zone file cannot say more of an HTTP request than it is asked for."""
    text = www(f"pools: {{a: {{values: 203.0.113.1, healthcheck: {{host: {host}}}}}}}, rules: [{{pool: a}}]")
    assert 1 == len(problems(text)), host


def test_the_check_of_a_pool_stands_beside_that_of_the_record() -> None:
    """Both are in the model; the pool's is the one that counts."""
    text = www(
        "pools: {a: {values: 203.0.113.1, healthcheck: {protocol: TCP}}, b: {values: 203.0.113.2}},"
        " rules: [{pools: [a, b]}]",
        ", octodns: {healthcheck: {protocol: HTTP}}",
    )
    found = steering(text)
    kinds = [found.check, found.pools["a"].check, found.pools["b"].check]
    assert [CheckKind.HTTP, CheckKind.TCP, None] == [known and known.kind for known in kinds]


OCTODNS = """test:
  dynamic:
    pools:
      apac:
        fallback: na
        values:
        - value: 203.0.113.1
        - value: 203.0.113.2
      eu:
        fallback: na
        values:
        - value: 203.0.113.3
          weight: 2
        - value: 203.0.113.4
          weight: 3
          status: up
      na:
        fallback: default
        values:
        - value: 203.0.113.5
        - value: 203.0.113.6
    rules:
    - geos:
      - AF-ZA
      - AS
      - OC
      pool: apac
    - geos: [AF, EU]
      pool: eu
    - pool: na
  octodns:
    healthcheck:
      host: my-host-name
      path: /dns-health-check
      port: 443
      protocol: %s
    route53:
      healthcheck: {measure_latency: false, request_interval: 10}
    ns1:
      healthcheck: {connect_timeout: 2, response_timeout: 10}
    azuredns: {healthcheck: {interval: 10}}
    excluded: [cloudflare]
  ttl: 60
  type: A
  values:
  - 203.0.113.3
  - 203.0.113.4
  - 203.0.113.5
"""


@pytest.mark.parametrize("protocol", ["HTTPS", "HTTP", "TCP", "UDP", "ICMP"])
def test_what_octodns_documents_is_read(protocol: str) -> None:
    """Its dynamic records with each of its health checks, and its providers' settings, without an error."""
    text = OCTODNS % protocol
    what = f"z.yaml:37:17: warning: test A: {protocol} checks are not done here; the values count as up"
    not_done = protocol in ("UDP", "ICMP")
    assert ([what] if not_done else []) == problems(text)
    assert not_done == (steering(text, A, "test").check is None)
