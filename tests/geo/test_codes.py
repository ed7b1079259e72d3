"""Geo codes: which exist, what is wrong with the others, and that databases agree on them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.geo import codes
from geodns.geo.database import Database

ROOT = Path(__file__).parents[2]


def test_every_code_is_one() -> None:
    """Every code that is listed passes the check and has a description; a renamed one exists."""
    listed = list(codes.all_codes())
    assert len(set(listed)) == len(listed)
    assert 7 + 250 < len(listed)
    for code in listed:
        assert codes.check(code) is None
        assert code != codes.describe(code) or "-" not in code
        assert codes.is_code(codes.current(code))
        assert codes.current(code) == codes.current(codes.current(code))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("EU-US", '"EU-US" is not a geo code (US is in NA: "NA-US")'),
        ("NA-US-BY", '"NA-US-BY" is not a geo code (US has no subdivision BY; it has '),
        ("US", '"US" is not a geo code (did you mean NA-US?)'),
        ("US-CA", '"US-CA" is not a geo code (did you mean NA-US-CA?)'),
        ("DE-BY", '"DE-BY" is not a geo code (did you mean EU-DE-BY?)'),
        ("EU-UK", '"EU-UK" is not a geo code (did you mean EU-GB?)'),
        ("eu-de", '"eu-de" is not a geo code (it is written "EU-DE")'),
        ("EU_DE", '"EU_DE" is not a geo code (it is written "EU-DE")'),
        ("Germany", '"Germany" is not a geo code (did you mean EU-DE?)'),
        ("Asia", '"Asia" is not a geo code (did you mean AS?)'),
        ("NA-US-California", '"NA-US-California" is not a geo code (did you mean NA-US-CA?)'),
        ("AS-BV-1", '"AS-BV-1" is not a geo code (BV has no subdivisions in ISO 3166-2)'),
        ("EU-QQ", '"EU-QQ" is not a geo code (there is no country QQ in ISO 3166-1)'),
        ("XX", '"XX" is not a geo code (continents are AF, AN, AS, EU, NA, OC, SA; then EU-DE, NA-US-CA)'),
        ("", '"" is not a geo code (continents are AF, AN, AS, EU, NA, OC, SA; then EU-DE, NA-US-CA)'),
    ],
)
def test_message(code: str, expected: str) -> None:
    """What is wrong with a code is said together with what was meant."""
    assert (codes.check(code) or "").startswith(expected)


@given(st.text() | st.text("AEFGNORSUC0123-", max_size=12))
def test_check_never_fails(text: str) -> None:
    """Any text is a code or gets one line that is not endless."""
    problem = codes.check(text)
    assert (problem is None) == codes.is_code(text)
    assert len(problem or "") < 250


def test_descriptions() -> None:
    """Codes are told in words."""
    expected = {
        "NA-US-CA": "California, United States",
        "EU-DE": "Germany",
        "OC": "Oceania",
        "AS-TR": "Turkey",
        "EU-XK": "Kosovo",
        "EU-QQ": "EU-QQ",
    }
    assert expected == {code: codes.describe(code) for code in expected}


def test_every_country_has_a_location() -> None:
    """Every continent and country is somewhere on the globe, and not at 0, 0, where unknown ones are."""
    places = {code: codes.location(code) for code in codes.all_codes() if code.count("-") < 2}
    assert 7 + 250 == len(places)
    for code, place in places.items():
        assert place is not None, code
        assert abs(place[0]) <= 90, code
        assert abs(place[1]) <= 180, code
        assert max(map(abs, place)) > 1, code


@pytest.mark.parametrize(
    ("code", "latitude", "longitude"),
    [
        ("EU-DE", 51, 10),
        ("NA-US", 39, -95),
        ("NA-US-CA", 36, -120),
        ("SA-BR", -19, -47),
        ("OC-FJ", -18, 178),  # on both sides of the antimeridian
        ("AS-IN-TG", 18, 79),  # a former code
        ("AS-IN-TS", 18, 79),
    ],
)
def test_location(code: str, latitude: float, longitude: float) -> None:
    """A code is where its people are, within a few degrees."""
    assert (latitude, longitude) == pytest.approx(codes.location(code), abs=8)


def test_no_location() -> None:
    """A subdivision of which nobody knows where it is, and what is no code, are nowhere."""
    assert [None, None, None] == [codes.location(code) for code in ("EU-FR-75C", "XX", "")]


def test_subdivisions_by_name() -> None:
    """A subdivision's name is found whatever its case and accents."""
    assert "CA" == codes.subdivision_named("US", "california")
    assert "SP" == codes.subdivision_named("BR", "Sao Paulo")
    assert "" == codes.subdivision_named("BR", "California")


def test_continents_are_those_of_the_databases() -> None:
    """Every country has the continent, and every subdivision exists, that the worldwide database gives it."""
    places = Database(ROOT / "geo-db" / "city-lite.mmdb").layer().places
    found = {place.country: place.continent for place in places if place.country}
    assert 250 == len(found)
    assert found == {country: codes.continent_of(country) for country in found}
    assert [] == [code for place in places for code in place.codes() if codes.check(code)]


def test_continents_that_people_ask_about() -> None:
    """Turkey and Cyprus are in Asia, Russia and Kosovo in Europe, as MaxMind has them."""
    expected = {
        "TR": "AS",
        "CY": "AS",
        "RU": "EU",
        "XK": "EU",
        "EG": "AF",
        "GE": "AS",
        "KZ": "AS",
        "MX": "NA",
        "AQ": "AN",
    }
    assert expected == {country: codes.continent_of(country) for country in expected}


def test_the_listing_of_the_test_database() -> None:
    """Every subdivision in test-small.json is an ISO 3166-2 code."""
    networks = json.loads((Path(__file__).parent / "data" / "test-small.json").read_text())["networks"]
    unknown = {
        (record["country"]["iso_code"], part["iso_code"])
        for record in (network["record"] for network in networks)
        for part in record.get("subdivisions", [])
        if not codes.is_subdivision(record["country"]["iso_code"], part["iso_code"])
    }
    assert set() == unknown


def test_a_code_contains_its_parts() -> None:
    """And itself, also by a former name; not what only begins alike."""
    assert codes.contains("NA-US", "NA-US-CA")
    assert codes.contains("NA", "NA-US-CA")
    assert codes.contains("AS-IN-TG", "AS-IN-TS")
    assert not codes.contains("NA-US-CA", "NA-US")
    assert not codes.contains("NA-US-C", "NA-US-CA")
