"""Checks of `geo` and `dynamic`: octoDNS's lints, and a few of our own."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from geodns.zone.checks.view import Finding, View
from geodns.zone.model import Policy, Pool, RRset, Steering

Network = IPv4Network | IPv6Network


def _steered(view: View) -> Iterator[tuple[RRset, Steering]]:
    for rrset in view.steered:
        if rrset.steering is not None:
            yield rrset, rrset.steering


def _is_geo(steering: Steering) -> bool:
    """True for the short form: a rule for each pool, and the pool named as the place."""
    return all(rule.geos == rule.pools for rule in steering.rules)


def _pools(steering: Steering) -> str:
    return f"pools: {', '.join(steering.pools)}"


def pool_empty(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        if rrset.owner.key in view.broken:
            continue
        for pool in steering.pools.values():
            if not pool.values:
                what = (
                    f'"{pool.name}" has no values'
                    if _is_geo(steering)
                    else f'pool "{pool.name}" has no values'
                )
                hint = "leave it out, and the next larger place answers" if _is_geo(steering) else ""
                yield Finding(rrset, pool.mark, what, hint)


def pool_unknown(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for number, rule in enumerate(steering.rules, 1):
            for pool in rule.pools:
                if pool not in steering.pools:
                    what = f'rule {number} leads to the pool "{pool}", which does not exist'
                    yield Finding(rrset, rule.mark, what, _pools(steering))


def fallback_unknown(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for pool in steering.pools.values():
            for fallback in pool.fallbacks:
                if fallback.pool not in steering.pools:
                    what = f'pool "{pool.name}" falls back to "{fallback.pool}", which does not exist'
                    yield Finding(rrset, pool.mark, what, _pools(steering))


def fallback_loop(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        told: set[str] = set()
        for pool in steering.pools.values():
            way = _way(steering.pools, pool)
            if way[-1] == pool.name and len(way) > 1 and pool.name not in told:
                told.update(way)
                yield Finding(rrset, pool.mark, f"the fallbacks lead in a circle: {' -> '.join(way)}")


def _way(pools: dict[str, Pool], start: Pool) -> list[str]:
    """The pools from one over its fallbacks, until the last or one that was there before."""
    way = [start.name]
    pool: Pool | None = start
    while pool is not None and pool.fallbacks:
        fallback = pool.fallbacks[0].pool
        seen = fallback in way
        way.append(fallback)
        if seen:
            break
        pool = pools.get(fallback)
    return way


def pool_unused(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        used = {pool for rule in steering.rules for pool in rule.pools}
        for name in list(used):
            if name in steering.pools:
                used.update(_way(steering.pools, steering.pools[name]))
        for pool in steering.pools.values():
            if pool.name not in used:
                what = f'pool "{pool.name}" is not used'
                yield Finding(
                    rrset, pool.mark, what, "no rule leads to it, and no fallback of a pool that is used"
                )


def catch_all(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        if _is_geo(steering) or rrset.owner.key in view.broken:
            continue
        numbers = [number for number, rule in enumerate(steering.rules, 1) if rule.is_catch_all]
        last = len(steering.rules)
        if not numbers:
            hint = "let the last rule have nothing but a pool"
            yield Finding(rrset, steering.rules[-1].mark, "there is no rule for everybody else", hint)
        for number in numbers:
            if number != last and number == numbers[0]:
                hint = "the rules behind it are never reached"
                what = f"rule {number} takes everybody, and is not the last rule"
                yield Finding(rrset, steering.rules[number - 1].mark, what, hint)
            elif number != numbers[0]:
                what = f"rule {number} takes everybody, as rule {numbers[0]} does"
                yield Finding(rrset, steering.rules[number - 1].mark, what, "a record has one such rule")


def rule_twice(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        seen: dict[object, int] = {}
        for number, rule in enumerate(steering.rules, 1):
            for target in (*rule.subnets, *(f"AS{asn}" for asn in rule.asns), *rule.geos):
                first = seen.setdefault(target, number)
                if first != number:
                    what = f"rule {number} asks for {target}, which rule {first} has taken"
                    yield Finding(rrset, rule.mark, what)


def rule_order(view: View) -> Iterator[Finding]:
    """No broader place or subnet before a narrower one."""
    for rrset, steering in _steered(view):
        if _is_geo(steering):
            continue  # a mapping has no order
        places: dict[str, int] = {}
        subnets: dict[Network, int] = {}
        for number, rule in enumerate(steering.rules, 1):
            for geo in rule.geos:
                if wider := next((code for code in _wider_geos(geo) if code in places), None):
                    what = f"rule {number} asks for {geo}, which is in the {wider} of rule {places[wider]}"
                    yield Finding(rrset, rule.mark, what, "the narrower rule comes first")
            for subnet in rule.subnets:
                if network := _wider_subnet(subnet, subnets):
                    first = subnets[network]
                    what = f"rule {number} asks for {subnet}, which is in the {network} of rule {first}"
                    yield Finding(rrset, rule.mark, what, "the narrower rule comes first")
            places.update((geo, number) for geo in rule.geos if geo not in places)
            subnets.update((subnet, number) for subnet in rule.subnets if subnet not in subnets)


def _wider_geos(geo: str) -> Iterator[str]:
    while "-" in geo:
        geo = geo.rpartition("-")[0]
        yield geo


def _wider_subnet(subnet: Network, subnets: dict[Network, int]) -> Network | None:
    if not subnets:
        return None
    for prefix in range(subnet.prefixlen - 1, -1, -1):
        wider = subnet.supernet(new_prefix=prefix)
        if wider in subnets:
            return wider
    return None


_KINDS = ("subnets", "asns", "geos")  # the strongest first


def rule_kinds(view: View) -> Iterator[Finding]:
    """Subnets win over ASNs, and those over places, whatever the order: say so where the order says
    otherwise.
    """
    for rrset, steering in _steered(view):
        weakest = 0
        for number, rule in enumerate(steering.rules, 1):
            if rule.is_catch_all:
                continue
            kind = 0 if rule.subnets else 1 if rule.asns else 2
            if kind < weakest:
                weaker = _KINDS[weakest]
                what = f"rule {number} has {_KINDS[kind]}, and wins over the {weaker} of a rule before it"
                yield Finding(rrset, rule.mark, what, "put subnets first, then asns, then geos")
            weakest = max(weakest, kind)


def weights_zero(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for pool in steering.pools.values():
            if (
                pool.values
                and pool.policy is Policy.WEIGHTED
                and not any(value.weight for value in pool.values)
            ):
                yield Finding(
                    rrset, pool.mark, f'pool "{pool.name}": every weight is 0, so nothing can be drawn'
                )


def weight_alone(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for pool in steering.pools.values():
            if len(pool.values) == 1 and pool.values[0].weight > 1:
                what = f'pool "{pool.name}" has one value, and a weight that changes nothing'
                yield Finding(rrset, pool.values[0].mark, what)
