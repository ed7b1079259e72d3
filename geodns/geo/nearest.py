"""Which sites are the nearest to whom: great-circle distances, and Route 53's bias on them.

    clients' coordinates, sites --distances--> kilometres --biased--> kilometres --orders--> nearest first

A bias makes the area of a site larger (up to 99) or smaller (down to -99), as Amazon Route 53's geoproximity
routing defines it.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

EARTH_KM = 6371.0088  # the mean radius R1 of the IUGG

_CHUNK_CELLS = 1 << 20  # distances at a time: 8 MB for each array on the way
_METRES = 1000  # per kilometre; two sites that differ by less are equally far, whatever the rounding

Sites = Sequence[tuple[float, float, int]]
"""(latitude, longitude, bias) of each, as in `partition.Rule.sites`."""

Numbers = NDArray[np.float64]


def distances(points: Numbers, sites: Sites) -> Numbers:
    """Kilometres from each point (rows of latitude and longitude in degrees) to each site (columns).

    By the haversine formula, on a sphere: within 0.5 % of the distance on the ellipsoid.
    """
    north, east = np.radians(points[:, :1]), np.radians(points[:, 1:])
    site = np.radians(np.array([row[:2] for row in sites], dtype=np.float64))
    half = np.sin((site[:, 0] - north) / 2) ** 2
    half += np.cos(north) * np.cos(site[:, 0]) * np.sin((site[:, 1] - east) / 2) ** 2
    found: Numbers = 2 * EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0)))
    return found


def biased(kilometres: Numbers, sites: Sites) -> Numbers:
    """Distances as the bias of each site (columns) has them: d * (1 - bias / 100) of a positive bias,
    d / (1 + bias / 100) of a negative one.
    """
    bias = np.array([row[2] for row in sites], dtype=np.float64) / 100
    return kilometres * np.where(bias > 0, 1 - bias, 1 / (1 + np.minimum(bias, 0)))


def orders(points: Numbers, sites: Sites, kept: int) -> NDArray[np.int32]:
    """For each point (rows of latitude and longitude in degrees) the positions in `sites` of the `kept`
    nearest, nearest first; of equally near ones the first. Points of NaN have -1 in all columns.
    """
    kept = min(kept, len(sites))
    found = np.empty((len(points), kept), dtype=np.int32)
    rows = max(1, _CHUNK_CELLS // len(sites))
    for at in range(0, len(points), rows):
        part = points[at : at + rows]
        far = np.rint(biased(distances(part, sites), sites) * _METRES)
        found[at : at + rows] = np.argsort(far, axis=1, kind="stable")[:, :kept]
    found[np.isnan(points).any(axis=1)] = -1
    return found
