"""Choosing an alternative: where is the client, which pool is that, and which of the pool's plans."""

from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import ClientSubnet
from geodns.table.shape import Alternative, Choice, Plan

DRAW_BITS = 32
"""A draw is an integer of this many random bits."""

_MULTIPLIER = 0x9E3779B1  # odd, near 2**32 / golden ratio: spreads the draw for a second choice (Knuth, 6.4)


def choose(
    choice: Choice, subnet: ClientSubnet | None, client: str, snapshot: Snapshot
) -> tuple[Alternative, int]:
    """The pool for this client, and the ECS scope (bits) within which everybody has the same one.

    The address in ECS decides if it is public or has a rule, else the address that asked.
    """
    partition = snapshot.partitions[choice.key]
    if subnet is not None and subnet.source:
        outcome, scope = partition.locate(subnet.family, subnet.address, client)
    else:
        outcome, scope = partition.outcome_of(client), 0
    if outcome < 0:
        return choice.default, scope
    return choice.alternatives[partition.routes[outcome][-1].rule], scope


def pick(alternative: Alternative, draw: int) -> Plan:
    """One of the plans, each as often as its weight says."""
    plans = alternative.plans
    if len(plans) == 1:
        return plans[0]
    point = draw * alternative.total >> DRAW_BITS
    for plan, weight in zip(plans, alternative.weights, strict=True):
        point -= weight
        if point < 0:
            return plan
    return plans[-1]


def next_draw(draw: int) -> int:
    """The draw for the next choice of the same answer."""
    return (draw * _MULTIPLIER + 1) & 0xFFFFFFFF
