"""Choosing: where is the client, who answers it, and what was rendered for that.

client --partition--> route --decide--> members --> Plan, or Bodies to be put together
"""

from typing import NamedTuple

from geodns.engine.decide import Decision, Verdict, decide, drawn, next_draw, told_ttl
from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import ClientSubnet
from geodns.geo.partition import Route, asker_subnet, subnet_of
from geodns.table.shape import Body, Choice, Plan
from geodns.table.steer import SHARE_ALL, TTL_UNBOUND, Policy, Standing, WhenAllDown


class Chosen(NamedTuple):
    """A choice as it was made: for the answer, and for explain.

    The answer goes on with `plan`, or with `bodies` where several records were put together. `scope` is in
    bits; `located` is what the partition alone says. `decision` is None where nobody wants to know and
    nothing had to be decided.
    """

    choice: Choice
    plan: Plan | None
    bodies: tuple[Body, ...]
    scope: int
    ttl: int
    draw: int
    located: int = 0
    subnet: int = 0
    decision: Decision | None = None


def choose(
    choice: Choice,
    subnet: ClientSubnet | None,
    client: str,
    snapshot: Snapshot,
    draw: int,
    now: int,
    explain: bool = False,
) -> Chosen:
    """What this client gets, and the ECS scope (bits) within which everybody's answer is one of the same.

    The address in ECS decides if it is public or has a rule, else the address that asked. `explain` has it
    say why.
    """
    partition = snapshot.partitions[choice.key]
    if subnet is not None and subnet.source:
        outcome, scope = partition.locate(subnet.family, subnet.address, client)
    else:
        outcome, scope = partition.outcome_of(client), 0
    steer = choice.steer
    route = partition.routes[outcome] if outcome >= 0 else ()
    standing = snapshot.standings.get(steer.key)
    if standing is None:
        standing = steer.base
    if not explain:
        usual = _usual(choice, route, standing, draw)
        if usual is not None:
            return Chosen(choice, usual[0], (), scope, usual[1], next_draw(draw))
    if subnet is not None and subnet.source:
        number, bits = subnet_of(subnet.family, subnet.address)
    else:
        number, bits = asker_subnet(client), 0
    decision = decide(steer, standing, route, number, draw, now)
    located = scope
    if decision.hashed and bits > scope:
        scope = bits
    plan, bodies = _rendered(choice, decision)
    return Chosen(choice, plan, bodies, scope, decision.ttl, decision.draw, located, number, decision)


def _usual(choice: Choice, route: Route, standing: Standing, draw: int) -> tuple[Plan, int] | None:
    """The plan, and the most that its TTL may be, where the first pool answers and nothing is hashed: what
    `decide` comes to as well, only sooner. None: let it decide.
    """
    if not route:
        return choice.default, TTL_UNBOUND
    steer = choice.steer
    rule = steer.rules[route[0].rule]
    if rule.share != SHARE_ALL or rule.answers != 1:
        return None
    order = route[0].order
    at = rule.pools[order[0] if order else 0]
    found = standing.pools[at]
    if not found.is_up or found.ramps:
        return None
    pool, up, alternative = steer.pools[at], found.up, choice.alternatives[at]
    if len(up) == 1:
        plan: Plan | None = alternative.plans[up[0]]
    elif pool.policy is Policy.ALL and not pool.answers and len(up) == len(alternative.plans):
        plan = alternative.whole
    elif pool.policy is Policy.WEIGHTED and pool.answers == 1:
        plan = alternative.plans[drawn([pool.members[i].weight for i in up], up, draw)]
    else:
        plan = None
    return (plan, told_ttl(steer, found.ttl)) if plan else None


def _rendered(choice: Choice, decision: Decision) -> tuple[Plan | None, tuple[Body, ...]]:
    """What was rendered for a decision: one plan, or the records that come together, equal ones once."""
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
    bodies = {body.data: body for body in (choice.alternatives[at].records[member] for at, member in members)}
    return (None, tuple(bodies.values())) if len(bodies) > 1 else (alternative.plans[first], ())
