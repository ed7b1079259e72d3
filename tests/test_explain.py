"""`explain` says what the server does: never something else, and in words."""

import re
from dataclasses import replace

import dns.edns
import dns.message
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns import config
from geodns.engine.answer import answer
from geodns.engine.choose import Chosen
from geodns.explain import explain
from geodns.geo.address import WIDTH, Address, parse
from geodns.geo.reason import route
from geodns.health import overrides
from geodns.health.health import Health
from geodns.health.words import Result
from geodns.name import Name
from tests.conftest import make_locator, make_snapshot, snapshot_of_golden

A, AAAA = 1, 28


def explained(name: str, client: str, qtype: int = A) -> str:
    snapshot = snapshot_of_golden("places.md")
    return str(explain(snapshot, make_locator(), Name.parse(name), qtype, parse(client)))


def test_a_choice_is_told_rule_by_rule() -> None:
    """Zone, name, address, place, every rule with its place in the file, pool, values, scope, answer."""
    said = explained("www.example.com.", "127.1.0.1").splitlines()
    assert said[0] == "www.example.com. A for 127.1.0.1"
    assert "  zone      example.com. (example.com.yaml, serial 1)" in said
    assert "  place     NA-US-NY (New York, United States), AS64601 Test AS64601" in said
    assert "    rule 1    EU: no  [example.com.yaml:16:5]" in said
    assert any(line.startswith("    rule 3    NA-US-NY: yes: 127.1.0.1 is in NA-US-NY") for line in said)
    assert said[-6:] == [
        "    pool      NA-US-NY",
        "    values    203.0.113.30",
        "    ttl       60 s: no check can change this",
        "    scope     /16: everybody in 127.1.0.0/16 gets this",
        "  answer    NOERROR, authoritative",
        "    www.example.com. 60 IN A 203.0.113.30",
    ]


def test_fallbacks_are_told_one_by_one() -> None:
    """Which pools were passed over, and why."""
    said = explained("app.example.com.", "127.3.0.1")
    assert "pool      dead: all of its values are down" in said
    assert "pool      dead2 (fallback of dead): all of its values are down" in said
    assert "pool      office (fallback of dead2)" in said


def test_weights_are_told_as_shares() -> None:
    """A weighted pool says how often each of its values comes."""
    said = explained("app.example.com.", "127.1.3.1")
    assert "values    one of 203.0.113.51 (75%), 203.0.113.52 (25%)" in said


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        ("::1", "place     none: ::/96 is unspecified, loopback or IPv4-compatible (RFC 4291 section 2.5)"),
        ("192.168.7.1", "place     none: 192.168.0.0/16 is private (RFC 1918); the default answers"),
        ("0.0.0.0", "place     none: 0.0.0.0/8 is unspecified (RFC 1122 section 3.2.1.3)"),
        ("2002:7f01:301::1", "address   127.1.3.1, as 2002:7f01:301::1 is 6to4 (RFC 3056 section 2)"),
    ],
)
def test_an_address_without_a_place_of_its_own_is_told_why(client: str, expected: str) -> None:
    """Loopback, private and unspecified addresses, and those with an IPv4 address in them."""
    assert expected in explained("www.example.com.", client)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("any.wild.example.com.", "does not exist; the wildcard *.wild.example.com. stands in for it"),
        ("nothing.example.com.", "does not exist; the closest name above it is example.com., which has no"),
        ("wild.example.com.", "exists, without this type (types: none: it has only names below it)"),
        ("a.moved.example.com.", "is below the DNAME at moved.example.com., which redirects it"),
        ("example.org.", "none of the zones that are served has this name"),
    ],
)
def test_what_a_name_is_in_its_zone(name: str, expected: str) -> None:
    """RFC 1034's cases in words."""
    assert expected in explained(name, "127.1.0.1")


ADDRESSES = st.builds(Address, st.just(4), st.integers(127 << 24, (127 << 24) + 0x2A0000)) | st.builds(
    Address, st.just(6), st.integers(0x20010DB8 << 96, 0x20010DB9 << 96)
)


@given(client=ADDRESSES, name=st.sampled_from(["www", "app", "go", "x.wild", "text", "mx"]))
@settings(max_examples=200, deadline=None)
def test_the_rule_that_is_told_is_the_rule_that_served(client: Address, name: str) -> None:
    """For any client the rule that explain names leads to the pool that the engine chose."""
    snapshot = snapshot_of_golden("places.md")
    located = make_locator().explain(client)
    options = [dns.edns.ECSOption(str(client), WIDTH[client.family], 0)]
    query = dns.message.make_query(f"{name}.example.com.", "MX" if name == "mx" else "A", options=options)
    trace: list[Chosen] = []
    answer(query.to_wire(), "192.0.2.53", snapshot, 0, 0, trace=trace)
    for chosen in trace:
        steps = route(chosen.choice.rules, located)
        if located.is_located:  # else the address that asks decides
            assert chosen.decision.rule == (steps[0].rule if steps else None)


STEERED = """
'': {type: NS, values: [ns1.example.com.]}
ns1: {type: A, value: 192.0.2.1}
www:
  type: A
  ttl: 60
  value: 192.0.2.80
  octodns: {healthcheck: {protocol: HTTP, path: /health, interval: 20, fall: 3}}
  dynamic:
    pools:
      fra:
        values: [{value: 203.0.113.10, weight: 3}, 203.0.113.11]
        location: EU-DE
        bias: -50
        fallback: [nrt, {pool: syd, weight: 3}]
        slow_start: 5m
      nrt: {values: [203.0.113.20], location: AS-JP}
      syd: {values: [203.0.113.30], location: {lat: -33.9, lon: 151.2}}
      new: {values: [203.0.113.40]}
    rules:
      - {share: 0.01%, pool: new}
      - {nearest: true, pools: [fra, nrt]}
"""


def said_with(told: list[tuple[str, bool, float]], lines: str = "", now: int = 1000) -> str:
    """The explanation for a client in Paris after results: (value, success, time); and overrides."""
    snapshot = make_snapshot({"example.com.": STEERED})
    steers = {key: steer for zone in snapshot.table.zones.values() for key, steer in zone.steers.items()}
    health = Health(config.Health())
    health.adopt(steers, 0)
    checks = {check.target: check.key for steer in steers.values() for check in steer.checks}
    for value, ok, at in told:
        detail = "HTTP 200" if ok else "connection refused"
        health.take([Result(checks[value], ok, detail, at, 0.01)], at)
    health.override(overrides.parse(lines, "overrides"), now)
    health.tick(now)
    snapshot = replace(snapshot, standings=health.standings)
    client = parse("127.13.0.1")
    return str(explain(snapshot, make_locator(), Name.parse("www.example.com."), A, client, now, health))


KEY = "http 203.0.113.{}:80 www.example.com /health"


def test_distances_and_shares_are_told() -> None:
    """How far each pool is, what its bias makes of that, and that the client is not in the canary's share."""
    said = said_with([])
    assert (
        "rule 1    0.0001 of everybody else: no: takes what no other rule does, and not in its share" in said
    )
    assert "    nearest   to " in said
    assert re.search(r"fra: [0-9,]+ km, counted as [0-9,]+ km for its bias of -50\n", said)
    assert re.search(r"nrt: [0-9,]+ km\n", said)
    assert "203.0.113.10 is up: nobody has looked yet" in said
    assert "(its subnet decides: share)" in said


def test_health_is_told_with_since_when_and_why() -> None:
    """The last result, what is counted, the threshold that is missed, and what can change when."""
    said = said_with([("203.0.113.10", False, 880.0), ("203.0.113.11", True, 400.0)])
    assert "pool      fra: too little of it is up (1 of 4, min_up 50%)" in said
    down = "203.0.113.10 is down since 1970-01-01T00:14:40Z (2 min): connection refused"
    assert f"{down} ({KEY.format(10)})" in said
    assert f"203.0.113.11 is up since 1970-01-01T00:06:40Z (10 min): HTTP 200 ({KEY.format(11)})" in said
    assert "ttl       30 s: in 20 s it can be otherwise (ttl_min 30, ttl 60)" in said


def test_what_is_counted_is_told() -> None:
    """One failure of three changes nothing yet, and is no secret."""
    said = said_with([("203.0.113.10", True, 400.0), ("203.0.113.10", False, 420.0)])
    assert "connection refused, 1 of 3 failures (http 203.0.113.10:80 " in said


def test_a_slow_start_is_told() -> None:
    """How far it is, and whether it lets this client in."""
    said = said_with([("203.0.113.10", ok, at) for ok, at in ((False, 800.0), (True, 820.0), (True, 998.0))])
    assert re.search(r"203.0.113.10 is up .*; slow start, 2 s of 300 s: this client is not let in yet", said)


def test_an_override_is_told_with_its_line() -> None:
    """Who forces a value, until when, and the fallbacks that follow from it."""
    said = said_with([], "fra down until 1970-01-01T01:00:00Z # power works\nnrt down\nsyd down\n")
    forced = "is down, forced by overrides:1 until 1970-01-01T01:00:00Z: power works"
    assert f"203.0.113.10 {forced}" in said
    assert "pool      syd (fallback of fra, one of 2 in the order of the client's subnet): all of its" in said
    assert "values    192.0.2.80: the record's own, as everything is down" in said
