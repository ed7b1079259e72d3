"""Checks of `geo` and `dynamic`: octoDNS's lints, and a few of our own."""

from collections.abc import Iterator
from ipaddress import IPv4Network, IPv6Network

from geodns.zone import rdata
from geodns.zone.checks.view import Finding, View, once
from geodns.zone.fields import SHARES_MAX
from geodns.zone.model import Fallback, Policy, Pool, RRset, Rule, Steering
from geodns.zone.source import shorten

Network = IPv4Network | IPv6Network


POOLS_SHOWN = 20  # in a hint


def _steered(view: View) -> Iterator[tuple[RRset, Steering]]:
    for rrset in view.steered:
        if rrset.steering is not None:
            yield rrset, rrset.steering


def pools(view: View) -> Iterator[tuple[RRset, Steering, Pool]]:
    """Every pool with the record that it is in; so those of `$zone` come with each record that has them."""
    for rrset, steering in _steered(view):
        for pool in steering.pools.values():
            yield rrset, steering, pool


def _is_geo(steering: Steering) -> bool:
    """True for the short form: a rule for each pool, and the pool named as the place."""
    return all(rule.geos == rule.pools for rule in steering.rules)


def _known(view: View, steering: Steering) -> str:
    """A hint with the pools that there are: "pools: fra, iad; in $zone: lhr"."""
    own = [pool.name for pool in steering.pools.values() if not pool.is_shared]
    shared = [name for name in view.zone.pools if name not in own]
    parts = [f"pools: {_some(own)}"] if own else []
    parts += [f"in $zone: {_some(shared)}"] if shared else []
    return "; ".join(parts) or "there are no pools"


def _some(names: list[str]) -> str:
    shown = ", ".join(map(shorten, names[:POOLS_SHOWN]))
    return shown if len(names) <= POOLS_SHOWN else f"{shown} and {len(names) - POOLS_SHOWN} more"


def pool_empty(view: View) -> Iterator[Finding]:
    for rrset, steering, pool in pools(view):
        if pool.values or pool.is_shared or rrset.owner.key in view.broken:
            continue
        if _is_geo(steering):
            hint = "leave it out, and the next larger place answers"
            yield Finding(rrset, pool.mark, f'"{pool.name}" has no values', hint)
        else:
            yield Finding(rrset, pool.mark, f"{called(pool)} has no values")


@once
def pool_without_type(view: View) -> Iterator[Finding]:
    for rrset, _, pool in pools(view):
        if pool.is_shared and not pool.values and rrset.owner.key not in view.broken:
            kind = rdata.type_name(rrset.type)
            what = f"{called(pool)} of $zone has no {kind} data"
            yield Finding(rrset, pool.mark, what, f"give one of its values {kind}: ...")


def called(pool: Pool) -> str:
    """How a message calls a pool."""
    return f'pool "{shorten(pool.name)}"'


def size_of(view: View, pool: Pool) -> int:
    """How many values a pool has, or sites: of one type, those may have less, or the same."""
    return len(view.zone.pools[pool.name].sites) if pool.is_shared else len(pool.values)


def pool_unknown(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for number, rule in enumerate(steering.rules, 1):
            for pool in rule.pools:
                if pool not in steering.pools:
                    what = f'rule {number} leads to the pool "{shorten(pool)}", which does not exist'
                    yield Finding(rrset, rule.mark, what, _known(view, steering))


@once
def fallback_unknown(view: View) -> Iterator[Finding]:
    for rrset, steering, pool in pools(view):
        for fallback in pool.fallbacks:
            if fallback.pool not in steering.pools:
                what = f'{called(pool)} falls back to "{shorten(fallback.pool)}", which does not exist'
                yield Finding(rrset, pool.mark, what, _known(view, steering))


def fallback_loop(view: View) -> Iterator[Finding]:
    told: set[tuple[str, ...]] = set()
    for rrset, steering in _steered(view):
        for way in _loops(steering.pools):
            first = steering.pools[way[0]]
            if all(steering.pools[name].is_shared for name in way):
                if tuple(way) in told:
                    continue  # the circle is in `$zone`, and the same for every record
                told.add(tuple(way))
            shown = " -> ".join(map(shorten, way))
            yield Finding(rrset, first.mark, f"the fallbacks lead in a circle: {shown}")


def _loops(known: dict[str, Pool]) -> list[list[str]]:
    """The circles of fallbacks, each from its first pool back to that; a pool is told of in one of them."""
    loops: list[list[str]] = []
    done: set[str] = set()
    for start in known:
        way: list[str] = []
        on_way: dict[str, Iterator[Fallback]] = {}
        entering: str | None = start
        while entering is not None or way:
            if entering is not None and entering in on_way:
                loop = way[way.index(entering) :]
                if not any(set(loop) & set(other) for other in loops):
                    loops.append([*loop, entering])
            elif entering is not None and entering not in done and entering in known:
                way.append(entering)
                on_way[entering] = iter(known[entering].fallbacks)
            entering = None
            if way:
                following = next(on_way[way[-1]], None)
                if following is None:
                    done.add(way[-1])
                    del on_way[way.pop()]
                else:
                    entering = following.pool
    return loops


def _reached(steering: Steering) -> set[str]:
    """The names of the pools that a rule leads to, or a fallback of a pool that is reached."""
    reached: set[str] = set()
    following = [name for rule in steering.rules for name in rule.pools]
    while following:
        name = following.pop()
        if name not in reached and name in steering.pools:
            reached.add(name)
            following += [fallback.pool for fallback in steering.pools[name].fallbacks]
    return reached


def pool_unused(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        reached = _reached(steering)
        for pool in steering.pools.values():
            if pool.name not in reached and not pool.is_shared:
                hint = "no rule leads to it, and no fallback of a pool that is used"
                yield Finding(rrset, pool.mark, f"{called(pool)} is not used", hint)


def zone_pool_unused(view: View) -> Iterator[Finding]:
    if not view.zone.pools or view.broken:
        return  # who could use it may be a record that could not be read
    used = {
        name
        for _, steering in _steered(view)
        for name in _reached(steering)
        if steering.pools[name].is_shared
    }
    for name, known in view.zone.pools.items():
        if name not in used:
            what = f"{called(known.pool)} of $zone is not used"
            hint = "no rule leads to it, and no fallback of a pool that is used"
            yield Finding(None, known.pool.mark, what, hint)


def catch_all(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        if _is_geo(steering) or rrset.owner.key in view.broken:
            continue
        last = len(steering.rules)
        shares = [number for number, rule in _catch_alls(steering) if rule.share < 1]
        numbers = [number for number, rule in _catch_alls(steering) if rule.share >= 1]
        hint = "let the last rule have nothing but a pool"
        if not numbers and last in shares:
            what = (
                f"rule {last} takes {_percent(steering.rules[-1])} of everybody, and no rule takes the rest"
            )
            yield Finding(rrset, steering.rules[-1].mark, what, hint)
        elif not numbers:
            yield Finding(rrset, steering.rules[-1].mark, "there is no rule for everybody else", hint)
        for number in numbers:
            mark = steering.rules[number - 1].mark
            if number != numbers[0]:
                what = f"rule {number} takes everybody, as rule {numbers[0]} does"
                yield Finding(rrset, mark, what, "a record has one such rule; others have a share")
            elif number != last:
                what = f"rule {number} takes everybody, and is not the last rule"
                yield Finding(rrset, mark, what, "the rules behind it are never reached")


def _catch_alls(steering: Steering) -> Iterator[tuple[int, Rule]]:
    for number, rule in enumerate(steering.rules, 1):
        if rule.is_catch_all:
            yield number, rule


def _percent(rule: Rule) -> str:
    return f"{rule.share * 100:g} %"


def shares_many(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        shares = [rule for rule in steering.rules if rule.share < 1]
        if len(shares) > SHARES_MAX:
            what = f"{len(shares)} rules have a share; {SHARES_MAX} may"
            yield Finding(rrset, shares[SHARES_MAX].mark, what, "each doubles the ways that a client can go")


def rule_twice(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        seen: dict[object, int] = {}
        for number, rule in enumerate(steering.rules, 1):
            for target in (*rule.subnets, *(f"AS{asn}" for asn in rule.asns), *rule.geos):
                first = seen.get(target, number)
                if rule.share >= 1:  # what has a share leaves clients to the next
                    seen.setdefault(target, number)
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
            if rule.is_catch_all and rule.share < 1 and (late := _narrower(steering.rules[number:])):
                what = f"rule {number} takes {_percent(rule)} of everybody that rule {number + late} leaves"
                yield Finding(rrset, rule.mark, what, "rules for places, ASNs and subnets come first")
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


def _narrower(rules: tuple[Rule, ...]) -> int:
    """How far behind stands the first rule that is for some clients only; 0 without one."""
    return next((at for at, rule in enumerate(rules, 1) if not rule.is_catch_all), 0)


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


@once
def weights_zero(view: View) -> Iterator[Finding]:
    for rrset, _, pool in pools(view):
        drawn = pool.policy is not Policy.ALL
        if drawn and pool.values and not any(value.weight for value in pool.values):
            yield Finding(rrset, pool.mark, f"{called(pool)}: every weight is 0, so nothing can be drawn")


@once
def weight_alone(view: View) -> Iterator[Finding]:
    for rrset, _, pool in pools(view):
        if size_of(view, pool) == 1 and any(value.weight > 1 for value in pool.values):
            what = f"{called(pool)} has one value, and a weight that changes nothing"
            yield Finding(rrset, pool.values[0].mark, what)


def nearest_location(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for number, rule in enumerate(steering.rules, 1):
            lost = [
                name
                for name in rule.pools
                if name in steering.pools and steering.pools[name].latitude is None
            ]
            if rule.nearest and lost:
                names = ", ".join(f'"{shorten(name)}"' for name in lost[:POOLS_SHOWN])
                what = f"rule {number} takes the nearest, and the location of {names} is not given"
                hint = "give each pool a location: {lat: , lon: } or a geo code"
                yield Finding(rrset, rule.mark, what, hint)


def nearest_alone(view: View) -> Iterator[Finding]:
    for rrset, steering in _steered(view):
        for number, rule in enumerate(steering.rules, 1):
            if rule.nearest and len(rule.pools) == 1:
                what = f'rule {number} takes the nearest of one pool, "{shorten(rule.pools[0])}"'
                yield Finding(rrset, rule.mark, what, "write pools: [...], or leave nearest out")


@once
def answers_many(view: View) -> Iterator[Finding]:
    for rrset, _, pool in pools(view):
        size = size_of(view, pool)
        if pool.answers is not None and pool.answers > size > 0:
            what = f"{called(pool)} should answer with {pool.answers} values, and has {size}"
            yield Finding(rrset, pool.mark, what)
    for rrset, steering in _steered(view):
        for number, rule in enumerate(steering.rules, 1):
            if rule.answers > len(rule.pools) > 0:
                what = f"rule {number} should answer with {rule.answers} pools, and has {len(rule.pools)}"
                yield Finding(rrset, rule.mark, what)
