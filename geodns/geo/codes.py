"""Geo codes: continent, continent-country, continent-country-subdivision ("EU", "EU-DE", "NA-US-CA").

    text --check--> None, or what is wrong with it (and what was meant)
    code --describe--> "California, United States"
    code --location--> (36.33, -120.46)

Countries are ISO 3166-1 alpha-2 and XK (Kosovo: user-assigned, and in every database), on the continent that
MaxMind and DB-IP give them: Turkey and Cyprus in AS, Russia in EU. Subdivisions are ISO 3166-2, former codes
included, since databases and zone files outlive a change of ISO's. The tables are countries.csv,
subdivisions.csv and locations.csv (made by scripts/make_locations.py) beside this file.
"""

import csv
import re
import unicodedata
from collections.abc import Iterator
from difflib import get_close_matches
from functools import cache
from importlib.resources import files

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}

_CODES_SHOWN = 6  # in a message; a country can have 200 subdivisions

# Not ISO codes, but written for one: the United Kingdom's is reserved (GB is assigned), Greece's is the
# European Union's.
_ALIASES = {"UK": "GB", "EL": "GR"}


def check(code: str) -> str | None:
    """What is wrong with a geo code, or None: '"EU-US" is not a geo code (US is in NA: "NA-US")'."""
    if is_code(code):
        return None
    hint = _hint(code)
    return f'"{_shorten(code)}" is not a geo code' + (f" ({hint})" if hint else "")


def is_code(code: str) -> bool:
    """True for a geo code in upper case that exists."""
    parts = code.split("-")
    if len(parts) == 1:
        return code in CONTINENTS
    if continent_of(parts[1]) != parts[0] or not parts[0]:
        return False
    return len(parts) == 2 or (len(parts) == 3 and is_subdivision(parts[1], parts[2]))


def describe(code: str) -> str:
    """A geo code in words, "California, United States"; a code that does not exist as it is."""
    parts = code.split("-")
    if not is_code(code):
        return code
    if len(parts) == 1:
        return CONTINENTS[code]
    country = _countries()[parts[1]][1]
    if len(parts) == 2:
        return country
    return f"{_subdivisions()[parts[1]][parts[2]] or parts[2]}, {country}"


def continent_of(country: str) -> str:
    """The continent of an ISO 3166-1 code, or "" when there is no such country."""
    row = _countries().get(country)
    return row[0] if row else ""


def is_subdivision(country: str, subdivision: str) -> bool:
    """True when ISO 3166-2 has, or had, `country`-`subdivision`."""
    return subdivision in _subdivisions().get(country, {})


def current(code: str) -> str:
    """The geo code that ISO uses now for what `code` meant: "AS-IN-TS" of "AS-IN-TG"; any other code as it
    is.

    A zone file and a database may be of different years, and still mean the same.
    """
    return _renamed().get(code, code)


def contains(code: str, other: str) -> bool:
    """True when `other` is a geo code of the same place, or of a part of it: "NA-US" contains "NA-US-CA"."""
    code, other = current(code), current(other)
    return code == other or other.startswith(f"{code}-")


def location(code: str) -> tuple[float, float] | None:
    """Latitude and longitude (degrees) of the middle of a geo code, where most of its addresses are.

    Every continent and country has one, and of the subdivisions those of the countries whose subdivisions are
    in geo-db/city-lite.mmdb; None for the others.
    """
    return _locations().get(current(code))


def subdivision_named(country: str, name: str) -> str:
    """The code of a subdivision by its name, whatever the case and the accents, or ""."""
    return _names().get(country, {}).get(_fold(name), "")


def geo_of(country: str, subdivision: str = "") -> str:
    """The geo code of an ISO 3166-1 and -2 code: "NA-US-CA" of "US" and "CA"."""
    return "-".join(part for part in (continent_of(country), country, subdivision) if part)


def all_codes() -> Iterator[str]:
    """Every geo code: continents, countries, subdivisions, each in alphabetical order."""
    yield from CONTINENTS
    for country in _countries():
        yield geo_of(country)
    for country in _countries():
        for subdivision in _subdivisions().get(country, {}):
            yield geo_of(country, subdivision)


def _hint(code: str) -> str:
    if not code.isascii() or len(code) > 40:
        return "such as EU, EU-DE or NA-US-CA"
    upper = code.strip().upper().replace("_", "-").replace("/", "-")
    if upper != code and is_code(upper):
        return f'it is written "{upper}"'
    country, _, subdivision = upper.partition("-")
    if country not in CONTINENTS and is_subdivision(country, subdivision):
        return _did_you_mean([geo_of(country, subdivision)])
    parts = [_ALIASES.get(part, part) if at < 2 else part for at, part in enumerate(upper.split("-"))]
    country_at = next(
        (at for at, part in enumerate(parts[:2]) if at == len(parts[:2]) - 1 and continent_of(part)), None
    )
    if country_at is not None:
        return _hint_in_country(parts[country_at], parts[country_at + 1 :], given=parts[:country_at])
    if continent_of(parts[0]) and parts[0] not in CONTINENTS:
        return _hint_in_country(parts[0], parts[1:], given=[])
    if parts[0] in CONTINENTS and len(parts) >= 2 and parts[1]:
        near = [geo_of(country) for country, row in _countries().items() if _fold(row[1]) == _fold(parts[1])]
        return _did_you_mean(near) or f"there is no country {parts[1]} in ISO 3166-1"
    named = [geo_of(country) for country, row in _countries().items() if _fold(row[1]) == _fold(upper)]
    named += [key for key, name in CONTINENTS.items() if _fold(name) == _fold(upper)]
    near = get_close_matches(upper, [*CONTINENTS, *map(geo_of, _countries())], n=3, cutoff=0.85)
    return _did_you_mean(named or near) or f"continents are {', '.join(CONTINENTS)}; then EU-DE, NA-US-CA"


def _hint_in_country(country: str, rest: list[str], given: list[str]) -> str:
    whole = geo_of(country, "-".join(rest))
    if is_code(whole):
        if given and given[0] != continent_of(country) and given[0] in CONTINENTS:
            return f'{country} is in {continent_of(country)}: "{whole}"'
        return _did_you_mean([whole])
    if not rest:
        return _did_you_mean([geo_of(country)])
    wanted = "-".join(rest)
    if found := subdivision_named(country, wanted):
        return _did_you_mean([geo_of(country, found)])
    known = [key for key, name in _subdivisions().get(country, {}).items() if name]
    if not known:
        return f"{country} has no subdivisions in ISO 3166-2"
    near = get_close_matches(wanted, known, n=_CODES_SHOWN, cutoff=0.5) or known[:_CODES_SHOWN]
    return f"{country} has no subdivision {wanted}; it has {', '.join(near)}" + (
        f" and {len(known) - len(near)} more" if len(known) > len(near) else ""
    )


def _did_you_mean(found: list[str]) -> str:
    return f"did you mean {' or '.join(found)}?" if found else ""


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "..."


def _fold(name: str) -> str:
    """For comparison: no accents, no case, nothing but letters and digits."""
    bare = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().casefold()
    return re.sub(r"[^a-z0-9]", "", bare)


def _rows(name: str) -> list[list[str]]:
    text = files("geodns.geo").joinpath(name).read_text(encoding="utf-8")
    return list(csv.reader(text.splitlines()[1:]))


@cache
def _countries() -> dict[str, tuple[str, str]]:
    """By ISO 3166-1 code: continent and English name."""
    return {country: (continent, name) for country, continent, name in _rows("countries.csv")}


@cache
def _subdivisions() -> dict[str, dict[str, str]]:
    """By country, then by the code's second part: the name."""
    table: dict[str, dict[str, str]] = {}
    for code, name, _now in _rows("subdivisions.csv"):
        country, _, part = code.partition("-")
        table.setdefault(country, {})[part] = name
    return table


@cache
def _renamed() -> dict[str, str]:
    """Geo codes of former ISO codes: those of today."""
    return {
        geo_of(code[:2], code[3:]): geo_of(now[:2], now[3:])
        for code, _, now in _rows("subdivisions.csv")
        if len(now) > 1
    }


@cache
def _locations() -> dict[str, tuple[float, float]]:
    return {code: (float(north), float(east)) for code, north, east in _rows("locations.csv")}


@cache
def _names() -> dict[str, dict[str, str]]:
    """By country, then by the folded name: the second part of the present code."""
    table: dict[str, dict[str, str]] = {}
    for code, name, now in _rows("subdivisions.csv"):
        country, _, part = code.partition("-")
        if name and not now:
            table.setdefault(country, {}).setdefault(_fold(name), part)
    return table
