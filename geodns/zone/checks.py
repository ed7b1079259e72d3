"""placeholder"""
from geodns.problems import Problem
from geodns.zone.model import CheckedZone, Zone


def check(zone: Zone, broken: frozenset[bytes] = frozenset()) -> tuple[CheckedZone | None, list[Problem]]:
    return CheckedZone(zone), []
