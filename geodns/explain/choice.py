"""One choice: its rules, distances, pools, values, TTL and scope: what `engine.decide` did, in words."""

from collections.abc import Sequence
from datetime import UTC, datetime

from geodns.engine.choose import Chosen
from geodns.engine.decide import Decision, Looked, Verdict
from geodns.explain.step import Step
from geodns.geo.address import Address
from geodns.geo.locator import Explanation as Located
from geodns.geo.partition import Rule
from geodns.geo.reason import Match, distances, ladder
from geodns.health.health import Health
from geodns.health.status import CheckRow, ValueRow
from geodns.table.shape import Choice
from geodns.table.steer import SHARE_ALL, TTL_UNBOUND, Member, Policy, Pool, Steer, WhenAllDown
from geodns.zone.rdata import type_name

_SHOWN = 10  # values of a pool, or distances; a hundred help nobody

Known = tuple[tuple[tuple[ValueRow | None, ...], ...], dict[str, CheckRow]]
"""What health knows of the members of a Steer's pools, and of their checks."""


def choice_steps(chosen: Chosen, located: Located, now: int, health: Health | None) -> list[Step]:
    """The rules one by one, the pools that were looked at with their values, the TTL, the scope."""
    choice, decision = chosen.choice, chosen.decision
    steer = choice.steer
    known = ((), {}) if health is None else health.explain(steer.key)
    steps = [Step("choice", f"{choice.owner} {type_name(choice.type)}, TTL {steer.ttl}")]
    steps += _rule_steps(choice, decision, ladder(choice.rules, located))
    steps += _distance_steps(choice, decision, located)
    for looked in decision.looked:
        steps += _pool_steps(steer, decision, looked, now, known)
    if decision.rushed:
        steps.append(Step("", "nothing else can answer, so that no slow start is waited for", 1))
    steps.append(Step("values", _values(choice, decision), 1))
    if decision.looked:
        steps.append(Step("ttl", _ttl(steer, decision), 1))
    steps.append(Step("scope", _scope(chosen, located), 1))
    return steps


# ------------------------------------------------------------------------------------------------- rules


def _rule_steps(choice: Choice, decision: Decision, found: tuple[Match, ...]) -> list[Step]:
    steer = choice.steer
    why = {told.rule: told.why for told in found}
    taken = {passed.rule: passed.is_taken for passed in decision.passed}
    steps = []
    for at, (given, rule) in enumerate(zip(choice.rules, steer.rules, strict=True)):
        verdict = "no"
        if at in why and rule.share == SHARE_ALL:
            verdict = f"yes: {why[at]}" if decision.rule == given.outcome else "not reached"
        elif at in why and given.outcome in taken:
            verdict = "in its share" if taken[given.outcome] else "not in its share"
            verdict = f"{'yes' if taken[given.outcome] else 'no'}: {why[at]}, and {verdict}"
        steps.append(Step(f"rule {at + 1}", f"{rule_text(given, rule.share)}: {verdict}  [{rule.mark}]", 1))
    if decision.verdict is Verdict.NO_RULE:
        steps.append(Step("rule", f"none: {found[-1].why}; the record's own values", 1))
    return steps


def rule_text(rule: Rule, share: int) -> str:
    """Whom a rule takes: "198.51.100.0/24 AS64500 EU", "0.1 of everybody else"."""
    parts = [str(Address(family, first)) + f"/{length}" for family, first, length in rule.subnets]
    parts += [f"AS{asn}" for asn in rule.asns]
    parts += rule.geos
    who = " ".join(parts) or "everybody else"
    return who if share == SHARE_ALL else f"{share / SHARE_ALL:.4g} of {who}"


def _distance_steps(choice: Choice, decision: Decision, located: Located) -> list[Step]:
    """How far the pools are, where the nearest one was looked for."""
    steer = choice.steer
    if decision.rule is None or not steer.rules[decision.rule].nearest:
        return []
    rule = steer.rules[decision.rule]
    given = next(given for given in choice.rules if given.outcome == decision.rule)
    found = distances(given, located)
    position = located.place.position()
    if not found or position is None:
        return [Step("nearest", "nobody knows where the client is: the pools in the order of the rule", 1)]
    source = f" (the middle of {position.code})" if position.code else ""
    steps = [Step("nearest", f"to {position.latitude:.2f}, {position.longitude:.2f}{source}", 1)]
    for site in found[:_SHOWN]:
        pool = steer.pools[rule.pools[site.site]]
        bias = f", counted as {site.biased:,.0f} km for its bias of {pool.bias:+d}" if pool.bias else ""
        steps.append(Step("", f"{pool.name}: {site.kilometres:,.0f} km{bias}", 2))
    return steps


# ------------------------------------------------------------------------------------------------- pools


def _pool_steps(steer: Steer, decision: Decision, looked: Looked, now: int, known: Known) -> list[Step]:
    """A pool that was looked at, whether it can answer, and what is known of each of its values."""
    pool = steer.pools[looked.pool]
    words = pool.name
    if looked.parent >= 0:
        words += f" (fallback of {steer.pools[looked.parent].name}{_one_of(steer.pools[looked.parent])})"
    why = _why_not(pool, looked)
    if not why and looked.pool not in dict(decision.members):
        why = "not needed"
    steps = [Step("pool", f"{words}: {why}" if why else words, 1)]
    rows = known[0][looked.pool] if known[0] else (None,) * len(pool.members)
    ramps = dict(looked.standing.ramps)
    for at, (member, row) in enumerate(zip(pool.members, rows, strict=True)):
        told = _member(member, row, known[1], now)
        if at in ramps and now - ramps[at] < pool.slow_start:
            let_in = "this client is let in" if at in looked.open else "this client is not let in yet"
            told += f"; slow start, {now - ramps[at]} s of {pool.slow_start} s: {let_in}"
        if told and at < _SHOWN:
            steps.append(Step("", f"{member.text} {told}", 2))
    return steps


def _one_of(parent: Pool) -> str:
    several = len(parent.fallbacks) > 1
    return f", one of {len(parent.fallbacks)} in the order of the client's subnet" if several else ""


def _why_not(pool: Pool, looked: Looked) -> str:
    """Why a pool cannot answer; "" for one that can."""
    if looked.can_answer:
        return ""
    if not looked.standing.up:
        return "all of its values are down"
    if not looked.standing.is_up:
        weight = sum(pool.members[at].weight for at in looked.standing.up)
        total = sum(member.weight for member in pool.members)
        return f"too little of it is up ({weight} of {total}, min_up {pool.min_up:.0%})"
    return "its slow start does not let this client in yet"


def _member(member: Member, row: ValueRow | None, checks: dict[str, CheckRow], now: int) -> str:
    """A value's state, since when, and why; "" for one that nobody checks."""
    if row is None:
        return "" if member.is_up is None else f"is {_state(member.is_up)} (status in the zone file)"
    words = f"is {_state(row.is_up)}"
    forced = row.forced
    if forced is not None:
        until = "" if forced.until is None else f" until {_at(forced.until)}"
        reason = f": {forced.reason}" if forced.reason else ""
        words += f", forced by {forced.place}{until}{reason}"
    elif row.status is not None:
        words += " (status in the zone file)"
    elif row.real is None:
        words += ": nobody has looked yet"
    else:
        since = "" if row.since is None else f" since {_at(row.since)} ({_ago(now - row.since)})"
        words += f"{since}: {'; '.join(_check(checks[key]) for key in row.checks)}"
    return words


def _check(check: CheckRow) -> str:
    """Why a check says what it says: the last result, what is counted, and the votes."""
    words = check.detail or "no result yet"
    if check.own and check.failures:
        words += f", {check.failures} of {check.fall} failures"
    elif check.own is False and check.successes:
        words += f", {check.successes} of {check.rise} successes"
    if check.peers:
        votes = [*check.peers.values(), *([] if check.own is None else [check.own])]
        words += f", {votes.count(False)} of {len(votes)} instances see it down"
    return f"{words} ({check.key})"


def _state(is_up: bool) -> str:
    return "up" if is_up else "down"


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _ago(seconds: float) -> str:
    seconds = max(0, int(seconds))
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit} {name}"
    return f"{seconds} s"


# ------------------------------------------------------------------------------------------------ answer


def _values(choice: Choice, decision: Decision) -> str:
    """The values that can be answered, with their chances where one is drawn."""
    steer = choice.steer
    if not decision.members:
        if decision.verdict is Verdict.NO_RULE:
            return _listed(choice.values)
        if steer.when_all_down is WhenAllDown.NODATA:
            return "none, as everything is down (when_all_down: nodata)"
        return f"{_listed(choice.values)}: the record's own, as everything is down"
    pools = dict.fromkeys(pool for pool, _ in decision.members)
    told = "; ".join(_of_pool(steer.pools[at], decision, at) for at in pools)
    if decision.verdict is Verdict.ALL_DOWN:
        told += ": as if they were up, as everything is down (when_all_down: all)"
    return told


def _of_pool(pool: Pool, decision: Decision, at: int) -> str:
    answering = [pool.members[member] for index, member in decision.members if index == at]
    open_ = next((looked.open for looked in decision.looked if looked.pool == at), ())
    if pool.policy is Policy.HASH and len(open_) > 1:
        shares = _chances(pool, open_, [member.weight for member in (pool.members[at] for at in open_)])
        return f"{_listed([member.text for member in answering])} (by the client's subnet, of {shares})"
    if len(answering) == len(open_) or decision.verdict is Verdict.ALL_DOWN:
        return _listed([member.text for member in answering])
    weights = [pool.members[member].weight if pool.policy is Policy.WEIGHTED else 1 for member in open_]
    return f"{'one' if len(answering) == 1 else len(answering)} of {_chances(pool, open_, weights)}"


def _chances(pool: Pool, open_: Sequence[int], weights: Sequence[int]) -> str:
    total = sum(weights)
    return _listed(
        [f"{pool.members[at].text} ({weight / total:.0%})" for at, weight in zip(open_, weights, strict=True)]
    )


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else ""
    return ", ".join(values[:_SHOWN]) + more


def _ttl(steer: Steer, decision: Decision) -> str:
    least = min(looked.standing.ttl for looked in decision.looked)
    if least == TTL_UNBOUND:
        return f"{steer.ttl} s: no check can change this"
    told = min(decision.ttl, steer.ttl)
    return f"{told} s: in {least} s it can be otherwise (ttl_min {steer.ttl_min}, ttl {steer.ttl})"


def _scope(chosen: Chosen, located: Located) -> str:
    network = located.asked.network(chosen.scope)
    by = ", ".join(sorted(word.value for word in chosen.decision.hashed))
    because = f" (its subnet decides: {by})" if by else ""
    return f"/{chosen.scope}: everybody in {network} gets this{because}"
