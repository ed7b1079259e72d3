"""What a Steer is made of: the model's Steering with its names turned into indices, seeds and checks.

RRset.steering --steer_of--> Steer        rules and their subnets, ASNs and places --geo_rules--> geo.Rules
HealthCheck + a pool's value --_checks--> Checks, of which equal ones are made once
"""

import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from geodns.geo.partition import NEAREST_SPARES, Rules
from geodns.geo.partition import Rule as GeoRule
from geodns.name import Name
from geodns.table.render import names_in
from geodns.table.steer import (
    SHARE_ALL,
    Check,
    Member,
    Policy,
    Pool,
    Rule,
    Steer,
    WhenAllDown,
    base_standing,
)
from geodns.zone import model, rdata
from geodns.zone.model import CheckKind, HealthCheck, PoolValue, RRset, Status, Steering

A, CNAME, AAAA, DNAME, SVCB, HTTPS = 1, 5, 28, 39, 64, 65

SINGLE_TYPES = frozenset({CNAME, DNAME})
"""An owner has one of them: RFC 2181 section 10.1, RFC 6672 section 2.4."""

MIN_UP_DEFAULT = 0.5
"""Of pools of more than one value, as gdnsd's up_thresh of its weighted plugin."""

_PORTS = {CheckKind.TCP: 443, CheckKind.HTTP: 80, CheckKind.HTTPS: 443, CheckKind.DNS: 53}
_WEB = (CheckKind.HTTP, CheckKind.HTTPS)


def steer_of(rrset: RRset, apex: Name) -> Steer:
    """The Steer of a steered RRset of the zone `apex`. It has the pools that a rule can lead to."""
    steering = rrset.steering
    assert steering is not None
    names = _reachable(steering)
    pools = tuple(_pool(rrset, steering, steering.pools[name], names, apex) for name in names)
    half = (rrset.ttl + 1) // 2
    return Steer(
        key=f"{rrset.owner} {rdata.type_name(rrset.type)}",
        pools=pools,
        rules=tuple(_rule(rrset, rule, names) for rule in steering.rules),
        when_all_down=WhenAllDown(steering.when_all_down.value),
        ttl=rrset.ttl,
        ttl_min=min(rrset.ttl, half if rrset.ttl_min is None else rrset.ttl_min),
        base=base_standing(pools),
    )


def geo_rules(steering: Steering, steer: Steer) -> Rules:
    """The rules as `geo` sees them: who is sent, and to which of `steer.rules`.

    Of rules that lead to the same the first is the outcome of them all, so that the scopes of answers are as
    wide as they can be.
    """
    found: list[GeoRule] = []
    first: dict[object, int] = {}
    for given, rule in zip(steering.rules, steer.rules, strict=True):
        leads_to = (rule.pools, rule.nearest, rule.answers, rule.share)
        sites = tuple(_site(steer.pools[at]) for at in rule.pools) if rule.nearest else ()
        found.append(
            GeoRule(
                outcome=first.setdefault(leads_to, len(found)),
                subnets=tuple(
                    (net.version, int(net.network_address), net.prefixlen) for net in given.subnets
                ),
                asns=given.asns,
                geos=given.geos,
                share=rule.share < SHARE_ALL,
                sites=sites,
                kept=min(len(sites), rule.answers + NEAREST_SPARES) if rule.nearest else 0,
            )
        )
    return tuple(found)


def _site(pool: Pool) -> tuple[float, float, int]:
    assert pool.latitude is not None  # the zone check sees to it
    assert pool.longitude is not None
    return pool.latitude, pool.longitude, pool.bias


def _reachable(steering: Steering) -> dict[str, int]:
    """The pools that a rule leads to, by itself or over fallbacks, and their indices."""
    names: dict[str, int] = {}
    waiting = [name for rule in steering.rules for name in rule.pools]
    for name in waiting:  # grows
        if name not in names:
            names[name] = len(names)
            waiting += [fallback.pool for fallback in steering.pools[name].fallbacks]
    return names


def _rule(rrset: RRset, rule: model.Rule, names: dict[str, int]) -> Rule:
    return Rule(
        pools=tuple(dict.fromkeys(names[name] for name in rule.pools)),
        nearest=rule.nearest,
        answers=rule.answers if rule.nearest and rrset.type not in SINGLE_TYPES else 1,
        share=min(SHARE_ALL, max(1, round(rule.share * SHARE_ALL))),
        seed=_seed("rule", rrset.owner.key, *(name.encode() for name in rule.pools)),
        mark=str(rule.mark),
    )


def _pool(rrset: RRset, steering: Steering, pool: model.Pool, names: dict[str, int], apex: Name) -> Pool:
    policy = Policy(pool.policy.value)
    if rrset.type in SINGLE_TYPES:
        answers = 1
    elif pool.answers is None:
        answers = 0 if policy is Policy.ALL else 1
    else:
        answers = pool.answers
    min_up = pool.min_up
    if min_up is None:
        min_up = MIN_UP_DEFAULT if len(pool.values) > 1 else 0
    return Pool(
        name=pool.name,
        members=tuple(_members(rrset, pool, pool.check or steering.check, apex)),
        policy=policy,
        answers=answers,
        min_up=min_up,
        slow_start=pool.slow_start,
        fallbacks=tuple((names[fallback.pool], fallback.weight) for fallback in pool.fallbacks),
        # Without the type, so that the addresses of both families of a name move together.
        seed=_seed("pool", rrset.owner.key, pool.name.encode()),
        mark=str(pool.mark),
        latitude=pool.latitude,
        longitude=pool.longitude,
        bias=pool.bias,
    )


def _members(rrset: RRset, pool: model.Pool, check: HealthCheck | None, apex: Name) -> Iterable[Member]:
    seen: Counter[bytes] = Counter()
    host = _host(apex if pool.is_shared else rrset.owner)
    for value in pool.values:
        site = value.site or value.rdata
        # A value that is given twice has two weights, and each of them counts only with a seed of its own.
        seed = _seed("member", site, *([seen[site].to_bytes(4)] if seen[site] else []))
        seen[site] += 1
        yield Member(
            text=rdata.to_text(rrset.type, value.rdata),
            weight=value.weight,
            seed=seed,
            checks=_checks(check, rrset, value, host, apex) if check else (),
            is_up=None if value.status is Status.OBEY else value.status is Status.UP,
        )


def _checks(check: HealthCheck, rrset: RRset, value: PoolValue, host: str, apex: Name) -> tuple[Check, ...]:
    """The checks of a value, of which one has to succeed; () for what has nothing that could be checked."""
    if check.kind in (CheckKind.EXEC, CheckKind.EXTERNAL):
        return (_check(check, "", host, apex),)
    return tuple(_check(check, target, host, apex) for target in _targets(rrset, value))


def _targets(rrset: RRset, value: PoolValue) -> tuple[str, ...]:
    """The addresses, or the host name, that stand for a value."""
    if rrset.type in (A, AAAA):
        return (rdata.to_text(rrset.type, value.rdata),)
    if value.addresses:
        return value.addresses
    name_in = names_in(rrset.type)
    if rrset.type != CNAME and name_in is None:
        return ()
    target = Name(value.rdata if name_in is None else name_in(value.rdata))
    if target.is_root and rrset.type in (SVCB, HTTPS):
        target = rrset.owner  # RFC 9460 section 2.5.2
    if target.is_root or target.key.startswith(b"\x01*"):
        return ()  # no service (RFC 2782, RFC 7505), or whatever somebody asked for
    return (_host(target),)


def _check(check: HealthCheck, target: str, host: str, apex: Name) -> Check:
    is_web = check.kind in _WEB
    question = check.question if any(check.question) else (str(apex), "SOA")
    if check.host_is_value:
        host = target
    elif check.host is not None:
        host = check.host
    found = Check(
        key="",  # it follows from all the others
        kind=check.kind.value,
        target=target,
        port=check.port or _PORTS.get(check.kind, 0),
        host=host if is_web else "",
        path=check.path if is_web else "",
        statuses=check.statuses if is_web else (),
        body=check.body if is_web else "",
        verify=check.verify or check.kind is not CheckKind.HTTPS,
        question=question if check.kind is CheckKind.DNS else ("", ""),
        command=check.command if check.kind is CheckKind.EXEC else (),
        name=check.name if check.kind is CheckKind.EXTERNAL else "",
        interval=check.interval,
        timeout=check.timeout,
        rise=check.rise,
        fall=check.fall,
        ok=check.ok,
        jitter=check.jitter,
        source=check.source,
    )
    return replace(found, key=_key(found))


def _key(check: Check) -> str:
    """A check's text for people: what is asked of whom, and then what is unusual about it.

    Times are not in it: who wants to know the same thing more often does not make it another check.
    """
    target = f"[{check.target}]" if ":" in check.target else check.target
    words = [check.kind]
    if check.target:
        words.append(f"{target}:{check.port}")
    words += [_quoted(word) for word in (check.host, check.path, check.name) if word]
    words += [_quoted(word) for word in (*check.question, *check.command) if word]
    if check.statuses:
        words.append(f"status {_ranges(check.statuses)}")
    if check.body:
        words.append(f"body {json.dumps(check.body)}")
    if not check.verify:
        words.append("unverified")
    if check.source:
        words.append(f"from {check.source}")
    return " ".join(words)


def _quoted(word: str) -> str:
    return shlex.quote(word) if any(char.isspace() or char in "\"'" for char in word) else word


def _ranges(statuses: tuple[int, ...]) -> str:
    """(200, 201, 202, 404) as "200-202,404"."""
    parts: list[str] = []
    begin = end = 0
    for status in sorted(set(statuses)):
        if parts and status == end + 1:
            parts[-1] = f"{begin}-{status}"
        else:
            begin = status
            parts.append(str(status))
        end = status
    return ",".join(parts)


def _host(name: Name) -> str:
    """A host name as HTTP and TLS write it: without the dot at the end."""
    return str(name).removesuffix(".")


def _seed(kind: str, *parts: bytes) -> int:
    """64 bits that stand for these octets, the same in every process and on every server."""
    told = b"".join(len(part).to_bytes(4) + part for part in parts)
    return int.from_bytes(hashlib.blake2b(told, digest_size=8, person=kind.encode()).digest())
