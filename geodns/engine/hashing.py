"""Spreading clients by their subnets: the same client, the same verdict, on every server and after a restart.

    subnet (64 bits, geo.partition.subnet_of) ^ seed --mix64--> 64 bits --> a share, or a score by weight

Rendezvous hashing (Thaler and Ravishankar 1998), by weight: every candidate gets a score, the highest wins. A
candidate that goes takes along only its own clients; a weight that is raised moves clients only to itself.
"""

from collections.abc import Sequence
from math import inf, log

_MASK = 0xFFFFFFFFFFFFFFFF
_FRACTION = 1 << 53  # a float has as many bits of precision
_SLOW_START = 0x736C6F7773746172  # "slowstar": apart from the same member's hash for its policy


def mix64(value: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014; variant 13 of Stafford's): 64 bits to 64."""
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & _MASK
    return value ^ value >> 31


def is_in_share(subnet: int, seed: int, share: int) -> bool:
    """Whether a share of all clients, in 2**-32, has this one; whom a small share has, a larger one has."""
    return mix64(subnet ^ seed) >> 32 < share


def is_kept_back(subnet: int, seed: int, elapsed: int, duration: int) -> bool:
    """Whether a value that is up for `elapsed` of its slow start of `duration` seconds is not yet for this
    client. Whom it has let in stays in.
    """
    return mix64(subnet ^ seed ^ _SLOW_START) >> 11 >= elapsed / duration * _FRACTION


def by_score(subnet: int, candidates: Sequence[tuple[int, int]]) -> list[int]:
    """The indices of the candidates, (seed, weight) each, the one that this client is sent to first.

    Among all clients each comes first as often as its weight says; one of weight 0 comes last.
    """
    scores = [
        log(((mix64(subnet ^ seed) >> 11) + 0.5) / _FRACTION) / weight if weight else -inf
        for seed, weight in candidates
    ]
    return sorted(range(len(scores)), key=scores.__getitem__, reverse=True)  # stable: ties as they came
