"""Distances are those on the globe, and the nearest sites come first."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.geo.nearest import EARTH_KM, biased, distances, orders

FRANKFURT = (50.1109, 8.6821)
NEW_YORK = (40.7128, -74.0060)
LONDON = (51.5074, -0.1278)
SYDNEY = (-33.8688, 151.2093)

coordinates = st.tuples(st.floats(-90, 90), st.floats(-180, 180))
sites = st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180), st.integers(-99, 99)), min_size=1)


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    return float(distances(np.array([one]), [(*other, 0)])[0, 0])


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        # On the WGS 84 ellipsoid, by Vincenty's formulae
        (FRANKFURT, NEW_YORK, 6219.5),
        (LONDON, SYDNEY, 16989.3),
        ((-36.8509, 174.7645), (34.0522, -118.2437), 10477.4),  # Auckland, Los Angeles
        ((-18.1416, 178.4419), (-13.8333, -171.7667), 1151.1),  # Suva, Apia: over the antimeridian
        ((-0.1807, -78.4678), (1.3521, 103.8198), 19743.4),  # Quito, Singapore: nearly antipodes
        (FRANKFURT, FRANKFURT, 0),
    ],
)
def test_known_distances(one: tuple[float, float], other: tuple[float, float], expected: float) -> None:
    """The distance of two cities is within 0.5 % of what geodesists have, in both directions."""
    assert expected == pytest.approx(kilometres(one, other), rel=0.005)
    assert kilometres(one, other) == pytest.approx(kilometres(other, one))


@given(coordinates, coordinates)
def test_any_distance(one: tuple[float, float], other: tuple[float, float]) -> None:
    """No two points are further apart than half of the globe; poles and antipodes are no trouble."""
    far = kilometres(one, other)
    assert 0 <= far <= math.pi * EARTH_KM * 1.000001
    antipode = (-one[0], one[1] - 180)
    assert math.pi * EARTH_KM == pytest.approx(far + kilometres(antipode, other), abs=1e-3)


@pytest.mark.parametrize(
    ("bias", "expected"), [(0, 1000), (25, 750), (99, 10), (-25, 4000 / 3), (-99, 100_000)]
)
def test_bias(bias: int, expected: float) -> None:
    """Route 53: d * (1 - bias / 100) of a positive bias, d / (1 + bias / 100) of a negative one."""
    assert expected == pytest.approx(biased(np.array([[1000.0]]), [(0, 0, bias)])[0, 0])


@given(st.lists(coordinates, min_size=1, max_size=5), sites, st.integers(1, 5))
def test_orders(points: list[tuple[float, float]], where: list[tuple[float, float, int]], kept: int) -> None:
    """No site that is left out or stands further behind is nearer by more than a metre."""
    for point, order in zip(points, orders(np.array(points), where, kept).tolist(), strict=True):
        assert min(kept, len(where)) == len(set(order))
        far = [float(biased(distances(np.array([point]), where), where)[0, at]) for at in range(len(where))]
        others = [far[at] for at in range(len(where)) if at not in order]
        along = [*(far[at] for at in order), *([min(others)] if others else [])]
        assert all(one <= other + 0.001 for one, other in pairwise(along))


def test_equally_near() -> None:
    """Of sites at one place, or that a bias makes equally near, the first is the nearest."""
    point = np.array([[0.0, 10.0]])
    assert [[0, 1, 2]] == orders(point, [(0, 20, 0), (0, 20, 0), (0, 0, 0)], 3).tolist()
    assert [[1, 2, 0]] == orders(point, [(0, 30, 0), (0, 30, 50), (0, 20, 0)], 3).tolist()


def test_unknown_points() -> None:
    """A point that nobody knows has no order, whatever else is asked in the same breath."""
    points = np.array([[np.nan, np.nan], LONDON])
    assert [[-1, -1], [1, 2]] == orders(points, [(*SYDNEY, 0), (*FRANKFURT, 0), (*NEW_YORK, 0)], 2).tolist()
