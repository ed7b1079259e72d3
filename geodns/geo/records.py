"""A database's record -> Place. Two schemas: MaxMind's nested one, which DB-IP has as well, and IPinfo's
flat one.

    {"country": {"iso_code": "US"}, ...}  --+
    {"country_code": "US", "asn": "AS15169"} --+--place_of--> Place

Whatever is not what it should be (a number where text is due, a latitude of 1000) is as good as missing.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from geodns.geo import codes
from geodns.geo.place import Place

ASN_MAX = 2**32 - 1  # RFC 6793
ORGANIZATION_LETTERS_MAX = 200  # for people to read; the longest name in a real database has about 90

_COUNTRY = re.compile(r"[A-Z]{2}")
_SUBDIVISION = re.compile(r"[A-Z0-9]{1,3}")
_SYSTEM_KEYS = {"autonomous_system_number", "autonomous_system_organization"}

KEYS = frozenset(
    [
        "continent",
        "country",
        "code",
        "iso_code",
        "names",
        "en",
        "subdivisions",
        "location",
        "latitude",
        "longitude",
        "traits",
        "autonomous_system_number",
        "autonomous_system_organization",
        "country_code",
        "continent_code",
        "region",
        "region_code",
        "state1",
        "lat",
        "lng",
        "loc",
        "asn",
        "as_name",
        "name",
    ]
)
"""The map keys that `place_of` looks at, in any depth."""

Record = Mapping[str, Any]


def place_of(record: Record) -> Place:
    """The Place of a record of either schema; never raises."""
    if record.keys() <= _SYSTEM_KEYS:  # all of an ASN database, which has many distinct records
        asn, organization = _system(record)
        return Place(asn=asn, organization=organization)
    nested = isinstance(record.get("country"), dict) or isinstance(record.get("continent"), dict)
    if nested or "location" in record or "traits" in record:
        country = _country(_dict(record, "country").get("iso_code"))
        continent = _continent(_dict(record, "continent").get("code"), country)
        parts = _subdivisions(record.get("subdivisions"), country)
        latitude, longitude = _coordinates(_dict(record, "location"), "latitude", "longitude")
    else:
        country = _country(record.get("country_code")) or _country(record.get("country"))
        continent = _continent(record.get("continent_code"), country) or _continent(
            record.get("continent"), country
        )
        parts = _flat_subdivision(record, country)
        latitude, longitude = _flat_coordinates(record)
    asn, organization = _system(record)
    return Place(
        continent=continent,
        country=country,
        subdivision=parts[-1] if country and parts else "",
        latitude=latitude,
        longitude=longitude,
        asn=asn,
        organization=organization,
        within=tuple(reversed(parts[:-1])) if country else (),
    )


def names_of(record: Record) -> tuple[str, ...]:
    """City, subdivisions, country and continent in English, as far as they are known."""
    if isinstance(record.get("country"), dict):
        from geoip2.models import City  # not needed where partitions are built

        try:
            city = City(["en"], **{str(key): value for key, value in record.items()})
            parts = [city.city, *reversed(city.subdivisions), city.country, city.continent]
            found = [part.name for part in parts]
        except (TypeError, ValueError, AttributeError, KeyError):
            return ()
    else:
        found = [record.get(key) for key in ("city", "region", "country", "continent")]
    return tuple(name for name in found if isinstance(name, str) and name)


def _dict(record: Record, key: str) -> Record:
    value = record.get(key)
    return value if isinstance(value, dict) else {}


def _country(value: object) -> str:
    return value if isinstance(value, str) and _COUNTRY.fullmatch(value) else ""


def _continent(value: object, country: str) -> str:
    """The country's own, else what the record says: databases differ, and a geo code has to fit them all."""
    if continent := codes.continent_of(country):
        return continent
    return value if isinstance(value, str) and value in codes.CONTINENTS else ""


def _subdivisions(value: object, country: str) -> list[str]:
    """The codes of "subdivisions", which MaxMind sorts from the largest to the smallest."""
    if not isinstance(value, list):
        return []
    return [code for part in value if isinstance(part, dict) and (code := _subdivision(part, country))]


def _subdivision(part: Record, country: str) -> str:
    code = part.get("iso_code")
    if isinstance(code, str) and _SUBDIVISION.fullmatch(code):
        return code
    name = _dict(part, "names").get("en")  # all that DB-IP's own files have
    return codes.subdivision_named(country, name) if isinstance(name, str) else ""


def _flat_subdivision(record: Record, country: str) -> list[str]:
    for key in ("region_code", "region", "state1"):  # the last in sapics/ip-location-db
        value = record.get(key)
        if not isinstance(value, str):
            continue
        code = value.removeprefix(f"{country}-")
        if _SUBDIVISION.fullmatch(code) and (key == "region_code" or codes.is_subdivision(country, code)):
            return [code]
        if found := codes.subdivision_named(country, value):
            return [found]
    return []


def _coordinates(record: Record, north: str, east: str) -> tuple[float | None, float | None]:
    latitude, longitude = _degrees(record.get(north), 90), _degrees(record.get(east), 180)
    # 0, 0 is in the Gulf of Guinea; a database that has it (IP2Location's) means that it does not know.
    if latitude is None or longitude is None or latitude == longitude == 0:
        return None, None
    return latitude, longitude


def _flat_coordinates(record: Record) -> tuple[float | None, float | None]:
    for north, east in (("lat", "lng"), ("latitude", "longitude")):
        if north in record:
            return _coordinates(record, north, east)
    loc = record.get("loc")
    if isinstance(loc, str):
        latitude, _, longitude = loc.partition(",")
        return _coordinates({"lat": latitude, "lng": longitude}, "lat", "lng")
    return None, None


def _degrees(value: object, limit: int) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        degrees = float(value)
    except (ValueError, OverflowError):
        return None
    return degrees if math.isfinite(degrees) and abs(degrees) <= limit else None


def _system(record: Record) -> tuple[int, str]:
    for holder in (record, _dict(record, "traits")):  # "traits" in GeoIP2 Enterprise
        asn = _asn(holder.get("autonomous_system_number"))
        if asn:
            return asn, _organization(holder.get("autonomous_system_organization"))
    return _asn(record.get("asn")), _organization(record.get("as_name") or record.get("name"))


def _asn(value: object) -> int:
    """The number of 15169, "15169" or "AS15169"; 0 for anything else."""
    if isinstance(value, str):
        digits = value.upper().removeprefix("AS")
        value = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 10 else 0
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= ASN_MAX else 0


def _organization(value: object) -> str:
    return value[:ORGANIZATION_LETTERS_MAX] if isinstance(value, str) else ""
