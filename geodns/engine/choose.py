"""Choosing: where is the client, who answers it, and what was rendered for that.

client --partition--> route --decide--> members --> Plan, or Bodies to be put together
"""

from typing import NamedTuple

from geodns.engine.decide import Decision, Verdict, decide, drawn, told_ttl
from geodns.engine.left import Left
from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import ClientSubnet
from geodns.geo.partition import Route, asker_subnet, subnet_of
from geodns.table.shape import Body, Choice, Plan
from geodns.table.steer import SHARE_ALL, TTL_UNBOUND, Policy, Standing, WhenAllDown

Answer = tuple[Plan | None, tuple[Body, ...], int, int, int]
"""How an answer goes on: with a plan, or without one and with bodies to put together; the ECS scope in bits;
the most that the TTL may be; the draw that was used last.
"""


class Chosen(NamedTuple):
    """A choice as it was made, for explain. `located` is the scope (bits) that the partition alone gives."""

    choice: Choice
    decision: Decision
    scope: int
    located: int
    subnet: int


def choose(
    choice: Choice,
    subnet: ClientSubnet | None,
    client: str,
    snapshot: Snapshot,
    draw: int,
    now: int,
    trace: list[Chosen] | None = None,
    left: Left | None = None,
) -> Answer:
    """What this client gets, and the ECS scope within which everybody's answer is one of the same.

    The address in ECS decides if it is public or has a rule, else the address that asked. `trace` gets the
    choice, and why it was made; `left` the pools that answer.
    """
    partition = snapshot.partitions[choice.key]
    if subnet is not None and subnet.source:
        outcome, scope = partition.locate(subnet.family, subnet.address, client)
    else:
        outcome, scope = partition.outcome_of(client), 0
    steer = choice.steer
    standing = snapshot.standings.get(steer.key) or steer.base
    route = partition.routes[outcome] if outcome >= 0 else ()
    if trace is None:
        usual = _usual(choice, route, standing, draw, left)
        if usual is not None:
            plan, bodies, ttl = usual
            return plan, bodies, scope, ttl, draw
    if subnet is not None and subnet.source:
        number, bits = subnet_of(subnet.family, subnet.address)
    else:
        number, bits = asker_subnet(client), 0
    decision = decide(steer, standing, route, number, draw, now)
    if left is not None:
        if not decision.members:
            left.add_pool("")
        for at, _ in decision.members:
            left.add_pool(steer.pools[at].name)
    located = scope
    if decision.hashed and bits > scope:
        scope = bits
    if trace is not None:
        trace.append(Chosen(choice, decision, scope, located, number))
    return *_rendered(choice, decision), scope, decision.ttl, decision.draw


def _usual(
    choice: Choice, route: Route, standing: Standing, draw: int, left: Left | None
) -> tuple[Plan | None, tuple[Body, ...], int] | None:
    """How the answer goes on, and the most that its TTL may be, where the first pool answers and nothing is
    hashed: what `decide` comes to as well, only sooner. None: let it decide.
    """
    if not route:
        if left is not None:
            left.add_pool("")
        return choice.default, (), TTL_UNBOUND
    at, order = route[0]
    steer = choice.steer
    rule = steer.rules[at]
    if rule.share != SHARE_ALL or rule.answers != 1:
        return None
    at = rule.pools[order[0] if order else 0]
    found = standing.pools[at]
    if not found.is_up or found.ramps:
        return None
    up, alternative, ttl = found.up, choice.alternatives[at], found.ttl
    plans = alternative.plans
    if ttl != TTL_UNBOUND:
        ttl = told_ttl(steer, ttl)
    pool = steer.pools[at]
    if len(up) == 1:
        if left is not None:
            left.add_pool(pool.name)
        return plans[up[0]], (), ttl
    if pool.policy is Policy.ALL and not pool.answers:
        if left is not None:
            left.add_pool(pool.name)
        if len(up) == len(plans):
            return alternative.whole, (), ttl
        return *_together(plans[up[0]], [alternative.records[member] for member in up]), ttl
    if pool.policy is Policy.WEIGHTED and pool.answers == 1:
        if left is not None:
            left.add_pool(pool.name)
        return plans[drawn([pool.members[member].weight for member in up], up, draw)], (), ttl
    return None


def _rendered(choice: Choice, decision: Decision) -> tuple[Plan | None, tuple[Body, ...]]:
    """What was rendered for a decision: one plan, or the records that come together."""
    members = decision.members
    if not members:
        is_nodata = decision.verdict is Verdict.ALL_DOWN and choice.steer.when_all_down is WhenAllDown.NODATA
        return (choice.nodata if is_nodata else choice.default), ()
    pool, first = members[0]
    alternative = choice.alternatives[pool]
    if len(members) == 1:
        return alternative.plans[first], ()
    whole = range(len(alternative.plans))
    if alternative.whole and [(pool, at) for at in whole] == list(members):
        return alternative.whole, ()
    return _together(alternative.plans[first], [choice.alternatives[at].records[one] for at, one in members])


def _together(first: Plan, records: list[Body]) -> tuple[Plan | None, tuple[Body, ...]]:
    """These records, equal ones once; `first` is the plan of the first of them."""
    bodies = {body.data: body for body in records}
    return (None, tuple(bodies.values())) if len(bodies) > 1 else (first, ())
