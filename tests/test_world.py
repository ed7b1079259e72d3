"""What everybody gets: the world of one record is what single clients in it are told."""

from functools import lru_cache

import pytest

from geodns.engine.snapshot import Snapshot
from geodns.explain import explain
from geodns.explain.world import World, world
from geodns.geo.address import Address
from geodns.geo.atlas import Share, shares, survey
from geodns.geo.partition import OUTCOME_NOT_PUBLIC
from geodns.name import Name
from tests.conftest import NOW, make_locator, make_snapshot, with_health
from tests.goldens import Values

ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
plain: {type: A, value: 192.0.2.1}
www:
  type: A
  values: [192.0.2.80]
  dynamic:
    pools:
      fra: {values: [192.0.2.10, 192.0.2.11], fallback: iad, location: {lat: 50.1, lon: 8.7}}
      iad: {values: [192.0.2.20], location: {lat: 39.0, lon: -77.5}}
      lab: {values: [192.0.2.30], fallback: iad}
    rules:
      - {subnets: [127.1.0.0/17], pool: lab}
      - {asns: [64500], pool: iad}
      - {geos: [EU, AF], pool: fra}
      - {pool: iad}
alias: {type: CNAME, value: www.example.com.}
near:
  type: A
  values: [192.0.2.80]
  dynamic:
    pools:
      fra: {values: [192.0.2.10], location: {lat: 50.1, lon: 8.7}}
      iad: {values: [192.0.2.20], location: {lat: 39.0, lon: -77.5}}
      sin: {values: [192.0.2.50], location: {lat: 1.4, lon: 103.8}}
    rules: [{nearest: true, pools: [fra, iad, sin]}]
canary:
  type: A
  values: [192.0.2.80]
  dynamic:
    pools: {old: {values: [192.0.2.1]}, new: {values: [192.0.2.2]}}
    rules: [{geos: [EU], share: 25%, pool: new}, {pool: old}]
"""
ZONES = {"example.com": ZONE}


@lru_cache
def divide(partitions: tuple) -> list[Share]:
    return shares(survey(make_locator()), partitions)


def seen(name: str, snapshot: Snapshot | None = None) -> World:
    return world(snapshot or make_snapshot(ZONES), divide, Name.parse(f"{name}.example.com"), 1, NOW)


def test_every_address_is_counted_once():
    """The shares are the whole address space, and each example has the outcomes it stands for."""
    snapshot = make_snapshot(ZONES)
    partitions = tuple(snapshot.partitions.values())
    found = divide(partitions)
    assert 1 << 32 == sum(share.addresses for share in found)
    for share in found:
        assert share.outcomes == tuple(part.locate4(share.example).outcome for part in partitions)


@pytest.mark.parametrize("name", ["www", "alias", "near"])
def test_a_country_gets_what_its_clients_are_told(name: str):
    """`geodns explain` for clients of a country comes to one of its parts, mostly to the first."""
    snapshot, locator = make_snapshot(ZONES), make_locator()
    told = seen(name)
    assert len(told.countries) > 10
    for share in divide(tuple(snapshot.partitions.values())):
        country = "-".join(share.code.split("-")[:2])
        if OUTCOME_NOT_PUBLIC in share.outcomes or country not in told.countries:
            continue
        row = told.countries[country]
        client = Address(4, share.example)
        said = explain(snapshot, locator, Name.parse(f"{name}.example.com"), 1, client, NOW)
        values = {record.split()[-1] for record in said.answer if " IN A " in record}
        parts = row.parts or (row,)
        assert any(values <= set(part.values) for part in parts), (country, said)


def test_why_a_country_gets_it():
    """The rule is the one that the place fits, also where another rule leads to the same pool."""
    found = seen("www").countries
    assert ("fra", 3, "rule 3: EU (Europe)") == (found["EU-DE"].pool, found["EU-DE"].rule, found["EU-DE"].why)
    assert ("iad", 4) == (found["AS-JP"].pool, found["AS-JP"].rule)
    assert "rule 4: everybody else" == found["AS-JP"].why


def test_a_country_that_is_divided():
    """A subnet rule inside a country is a part of it, as large as the addresses it takes."""
    divided = {code: row for code, row in seen("www").countries.items() if row.parts}
    (row,) = [row for row in divided.values() if any(part.pool == "lab" for part in row.parts)]
    assert row.mixed
    assert 1.0 == pytest.approx(sum(part.share for part in row.parts))


def test_a_share_of_the_clients():
    """A canary takes its share of every place that its rule has."""
    row = seen("canary").countries["EU-DE"]
    assert {"old": 0.75, "new": 0.25} == {part.pool: part.share for part in row.parts}
    assert () == seen("canary").countries["AS-JP"].parts


def test_values_that_are_down():
    """A pool that is down gives way to its fallback, and the map says so."""
    snapshot = with_health(make_snapshot(ZONES), Values(down={"192.0.2.10", "192.0.2.11"}))
    told = seen("www", snapshot)
    assert ("iad", ("192.0.2.20",)) == (told.countries["EU-DE"].pool, told.countries["EU-DE"].values)
    assert "rule 3: EU (Europe); fra cannot answer now" == told.countries["EU-DE"].why
    assert not told.pools["fra"].is_up
    assert ("192.0.2.10", "192.0.2.11") == told.pools["fra"].down


def test_a_record_that_all_get():
    """Without steering there is one answer and no country."""
    told = seen("plain")
    assert {} == told.countries
    assert ("192.0.2.1",) == told.default.values
    assert "NXDOMAIN" == seen("missing").rcode
