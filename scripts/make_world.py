#!/usr/bin/env python3
"""geodns/control/assets/world.svg: the outlines of the countries, for the status page.

usage: make_world.py COUNTRIES     countries-110m.json of world-atlas (TopoJSON, made of Natural Earth); needs
                                   pycountry, as the countries there have numbers

Projected as Natural Earth (Savric et al. 2011, the polynomial of d3-geo), in whole units of a map WIDTH wide.
Each country is one element with its ISO code as id: a path, or a circle where the outlines have none.
"""

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pycountry

from geodns.geo import codes

OUTPUT = Path(__file__).parents[1] / "geodns" / "control" / "assets" / "world.svg"
WIDTH = 2000
NORTH, SOUTH = 84.0, -58.0  # degrees: what is shown
LEFT_OUT = {"AQ"}  # it is below the lower edge
ISLAND_RADIUS = 5  # of a country without an outline: it can be hit with a mouse
AREA_MIN = 3.0  # square units: a smaller piece of land can not be seen
# Without a numeric id in the outlines: what geo databases say of addresses there.
UNNUMBERED = {"N. Cyprus": "CY", "Somaliland": "SO", "Kosovo": "XK"}

_SCALE = WIDTH / (2 * 0.8707 * math.pi)

Point = tuple[int, int]
Arc = list[tuple[float, float]]  # degrees east and north


def main() -> None:
    world = json.loads(Path(sys.argv[1]).read_text())
    arcs = _arcs(world)
    rings: dict[str, list[list[Point]]] = defaultdict(list)
    for geometry in world["objects"]["countries"]["geometries"]:
        code = _code(geometry)
        if code not in LEFT_OUT:
            rings[code] += [ring for ring in map(_placed, _rings(geometry, arcs)) if _area(ring) >= AREA_MIN]
    shapes = [f'<path id="{code}" d="{_path(rings[code])}"/>' for code in sorted(rings) if rings[code]]
    shapes += [_circle(code) for code in _countries() if not rings.get(code) and code not in LEFT_OUT]
    top, bottom = _project(0, NORTH)[1], _project(0, SOUTH)[1]
    box = f"0 {top} {WIDTH} {bottom - top}"
    OUTPUT.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}">\n'
        f'<path class="sea" d="{_path([_edge()])}"/>\n' + "\n".join(shapes) + "\n</svg>\n"
    )
    print(f"{OUTPUT.name}: {len(shapes)} countries, {OUTPUT.stat().st_size:,} octets, viewBox {box}")


def _code(geometry: dict[str, Any]) -> str:
    number = geometry.get("id")
    if number is None:
        return UNNUMBERED[geometry["properties"]["name"]]
    return str(pycountry.countries.get(numeric=number).alpha_2)


def _countries() -> Iterator[str]:
    """ISO 3166-1 codes, those that geo databases use."""
    return (code.split("-")[1] for code in codes.all_codes() if code.count("-") == 1)


def _arcs(world: dict[str, Any]) -> list[Arc]:
    """TopoJSON section 2.1.3 and 2.1.4: positions are differences, in steps of the transform."""
    (scale_x, scale_y), (east, north) = world["transform"]["scale"], world["transform"]["translate"]
    found = []
    for steps in world["arcs"]:
        x = y = 0
        arc = []
        for step_x, step_y in steps:
            x, y = x + step_x, y + step_y
            arc.append((x * scale_x + east, y * scale_y + north))
        found.append(arc)
    return found


def _rings(geometry: dict[str, Any], arcs: list[Arc]) -> Iterator[Arc]:
    """Each ring of a geometry; an arc ~i is arc i, the other way round (section 2.1.4)."""
    polygons = geometry["arcs"] if geometry["type"] == "MultiPolygon" else [geometry["arcs"]]
    for polygon in polygons:
        for ring in polygon:
            points: Arc = []
            for at in ring:
                arc = arcs[at] if at >= 0 else arcs[~at][::-1]
                points += arc[1:] if points else arc
            yield from _within(points)


def _within(ring: Arc) -> Iterator[Arc]:
    """A ring that crosses the antimeridian as one on either side of it."""
    turns = 0
    straight: Arc = []  # with longitudes that go on beyond 180
    for at, (east, north) in enumerate(ring):
        step = east - ring[at - 1][0] if at else 0.0
        turns += (step < -180) - (step > 180)
        straight.append((east + 360 * turns, north))
    for shift in (-360, 0, 360):
        moved = [(east + shift, north) for east, north in straight]
        found = _clipped(_clipped(moved, -180, 1), 180, -1)
        if found:
            yield found


def _clipped(ring: Arc, edge: float, side: int) -> Arc:
    """What of a ring is east (`side` 1) or west (-1) of a meridian (Sutherland and Hodgman, 1974)."""
    found: Arc = []
    for at, (east, north) in enumerate(ring):
        before_east, before_north = ring[at - 1]
        is_in, was_in = side * (east - edge) >= 0, side * (before_east - edge) >= 0
        if is_in != was_in:
            part = (edge - before_east) / (east - before_east)
            found.append((edge, before_north + part * (north - before_north)))
        if is_in:
            found.append((east, north))
    return found


def _project(east: float, north: float) -> Point:
    lam, phi = math.radians(east), math.radians(north)
    two = phi * phi
    four = two * two
    x = lam * (0.8707 - 0.131979 * two + four * (-0.013791 + four * (0.003971 * two - 0.001529 * four)))
    y = phi * (1.007226 + two * (0.015085 + four * (-0.044475 + 0.028874 * two - 0.005916 * four)))
    return round(WIDTH / 2 + x * _SCALE), round(-y * _SCALE)


def _placed(ring: Arc) -> list[Point]:
    """A ring on the map, without points that fall on the one before."""
    points = [_project(*position) for position in ring]
    return [point for at, point in enumerate(points) if not at or point != points[at - 1]]


def _area(ring: list[Point]) -> float:
    turned = ring[1:] + ring[:1]
    return abs(sum(x * b - a * y for (x, y), (a, b) in zip(ring, turned, strict=True))) / 2


def _path(rings: list[list[Point]]) -> str:
    """SVG 2 section 9.3: relative lines, the sign of a number parting it from the one before."""
    parts = []
    for ring in rings:
        (x, y), text = ring[0], f"M{ring[0][0]} {ring[0][1]}l"
        for to_x, to_y in ring[1:]:
            text += f"{' ' if text[-1] != 'l' and to_x >= x else ''}{to_x - x}"
            text += f"{' ' if to_y >= y else ''}{to_y - y}"
            x, y = to_x, to_y
        parts.append(text + "z")
    return "".join(parts)


def _edge() -> list[Point]:
    """Around the part of the globe that is shown."""
    steps = [SOUTH + (NORTH - SOUTH) * at / 40 for at in range(41)]
    return [_project(180, north) for north in steps] + [_project(-180, north) for north in reversed(steps)]


def _circle(code: str) -> str:
    north, east = codes.location(codes.geo_of(code)) or (0.0, 0.0)
    x, y = _project(east, north)
    return f'<circle id="{code}" cx="{x}" cy="{y}" r="{ISLAND_RADIUS}"/>'


if __name__ == "__main__":
    main()
