#!/usr/bin/env python3
"""geodns/geo/locations.csv: where each geo code is, for clients and pools without coordinates of their own.

usage: make_locations.py [DATABASE]     instead of geo-db/city-lite.mmdb

The middle of a code is the mean of its addresses' places, each as a point on the globe, so that Fiji is not
in Africa. IPv4 addresses count, as they are nearly where people are; without any, IPv6 networks (/48).
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from geodns.geo import codes
from geodns.geo.database import Database, Layer

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "geodns" / "geo" / "locations.csv"
DECIMALS = 2  # of a degree: a kilometre, and the database is coarser


def main() -> None:
    layer = Database(sys.argv[1] if sys.argv[1:] else ROOT / "geo-db" / "city-lite.mmdb").layer()
    four, six = sums(layer, addresses4(layer)), sums(layer, networks6(layer))
    found = {code: location(point) for code, point in (six | four).items()}
    missing = [code for code in codes.all_codes() if code.count("-") < 2 and code not in found]
    if missing:
        sys.exit(f"the database has no coordinates for {', '.join(missing)}")
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["code", "latitude", "longitude"])
        table.writerows([code, *found[code]] for code in codes.all_codes() if code in found)


def addresses4(layer: Layer) -> np.ndarray:
    """How many IPv4 addresses each of the places has."""
    lengths = np.diff(layer.v4.keys.astype(np.int64), append=1 << 32)
    return np.bincount(layer.v4.values, weights=lengths, minlength=len(layer.places))


def networks6(layer: Layer) -> np.ndarray:
    """How many IPv6 networks of 48 bits each of the places has; parts of one count as such."""
    halves = np.ascontiguousarray(layer.v6.keys).view(">u8").reshape(-1, 2)
    starts = halves[:, 0].astype(np.float64) / 2**16 + halves[:, 1].astype(np.float64) / 2**80
    return np.bincount(layer.v6.values, weights=np.diff(starts, append=2.0**48), minlength=len(layer.places))


def sums(layer: Layer, weights: np.ndarray) -> dict[str, np.ndarray]:
    """For each code that has addresses: the sum of their points on the globe."""
    found: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(3))
    for place, weight in zip(layer.places, weights.tolist(), strict=True):
        if place.latitude is None or place.longitude is None or not weight:
            continue
        north, east = np.radians([place.latitude, place.longitude])
        point = np.array([np.cos(north) * np.cos(east), np.cos(north) * np.sin(east), np.sin(north)])
        for code in place.codes():
            found[codes.current(code)] += weight * point
    return dict(found)


def location(point: np.ndarray) -> tuple[str, str]:
    """Latitude and longitude of a direction, in degrees."""
    north = np.degrees(np.arctan2(point[2], np.hypot(point[0], point[1])))
    east = np.degrees(np.arctan2(point[1], point[0]))
    return f"{north:.{DECIMALS}f}", f"{east:.{DECIMALS}f}"


if __name__ == "__main__":
    main()
