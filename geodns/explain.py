"""Why an answer is what it is, for one client: told by the code that serves.

    snapshot + locator + (name, type, address) --explain--> Explanation --str--> text for people

The query is a real packet, answered by the Python engine, which reports every choice that it makes. What
stands here only puts that into words; `geo.reason` adds which rule matched and why.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from geodns.engine.answer import answer
from geodns.engine.choose import Chosen
from geodns.engine.decide import Decision, Looked, Verdict
from geodns.engine.lookup import closest_encloser
from geodns.engine.snapshot import Snapshot
from geodns.geo import codes
from geodns.geo.address import WIDTH, Address
from geodns.geo.locator import Explanation as Located
from geodns.geo.locator import Locator
from geodns.geo.partition import Rule
from geodns.geo.reason import Match, ladder
from geodns.name import Name
from geodns.table.shape import Choice, Dname, Node, Plan, Table
from geodns.table.steer import SHARE_ALL, TTL_UNBOUND, Policy, Pool, Steer, WhenAllDown
from geodns.zone.rdata import type_name

_LABEL_WIDTH = 9  # columns of the text in front of what is said
_VALUES_SHOWN = 10  # of a pool; a hundred addresses help nobody


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the explanation: what it is about, and what is said; `depth` indents it."""

    about: str
    said: str
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reasoning, in the order in which the server goes about it, and the answer.

    `answer` has the records in presentation format; `scope` is the ECS scope in bits, None without a choice.
    """

    question: str
    client: str
    steps: tuple[Step, ...]
    rcode: str
    authoritative: bool
    answer: tuple[str, ...]
    scope: int | None

    def __str__(self) -> str:
        lines = [f"{self.question} for {self.client}", ""]
        lines += [f"{'  ' * (1 + step.depth)}{step.about:<{_LABEL_WIDTH}} {step.said}" for step in self.steps]
        flags = ", authoritative" if self.authoritative else ""
        lines += [f"  {'answer':<{_LABEL_WIDTH}} {self.rcode}{flags}"]
        lines += [f"    {record}" for record in self.answer]
        return "\n".join(lines)


def explain(
    snapshot: Snapshot, locator: Locator, name: Name, qtype: int, client: Address, now: int = 0
) -> Explanation:
    """The answer that `client` gets when its whole address reaches us, by itself or in EDNS Client Subnet.

    `now` (Unix seconds) matters where a value is in its slow start. `snapshot` has been made with `locator`.
    Raises geo.DatabaseError when a database has become unreadable.
    """
    question = f"{name} {type_name(qtype)}"
    subnet = dns.edns.ECSOption(str(client), WIDTH[client.family], 0)
    owner = dns.name.from_wire(name.wire, 0)[0]
    rdtype = dns.rdatatype.RdataType.make(qtype)
    query = dns.message.make_query(owner, rdtype, id=0, use_edns=0, options=[subnet])
    trace: list[Chosen] = []
    wire = answer(query.to_wire(), str(client), snapshot, 0, now, stream=True, trace=trace)
    assert wire is not None  # silence is for packets that are no queries
    message = dns.message.from_wire(wire)
    located = locator.explain(client)
    steps = _find_steps(snapshot.table, name, qtype)
    steps += _client_steps(located)
    if not trace and message.answer:
        steps.append(Step("choice", "none: everybody gets this answer (scope /0)"))
    for chosen in trace:
        steps += _choice_steps(chosen, located)
    return Explanation(
        question=question,
        client=str(client),
        steps=tuple(steps),
        rcode=dns.rcode.to_text(message.rcode()),
        authoritative=bool(message.flags & dns.flags.AA),
        answer=tuple(_records(message)),
        scope=max((chosen.scope for chosen in trace), default=None),
    )


def _records(message: dns.message.Message) -> list[str]:
    return [
        f"{'' if section == 'answer' else section + ': '}{line}"
        for section in ("answer", "authority", "additional")
        for rrset in getattr(message, section)
        for line in rrset.to_text().split("\n")
    ]


def _find_steps(table: Table, name: Name, qtype: int) -> list[Step]:
    """Which zone, and what the name is in it."""
    node = table.nodes.get(name.key)
    found = node or closest_encloser(table.nodes, name.key)
    if found is None:
        failed = [apex for apex in table.failed if name.is_under(Name(apex))]
        if failed:
            return [Step("zone", f"{Name(failed[0])} has a file, but no version of it without an error")]
        return [Step("zone", "none of the zones that are served has this name")]
    if node is not None and name.key in table.parent_side and type_name(qtype) == "DS":
        found = table.parent_side[name.key]
    zone = found.zone
    steps = [Step("zone", f"{Name(zone.apex)} ({zone.file}, serial {zone.serial})")]
    if node is not None:
        steps.append(Step("name", _existing(node, qtype)))
        return steps
    encloser = next(key for key in _ancestors(name) if table.nodes.get(key) is found)
    steps.append(Step("name", _missing(found, Name(encloser))))
    return steps


def _existing(node: Node, qtype: int) -> str:
    if isinstance(node.below, Plan):
        return "is where a child zone is delegated: a referral for all types but DS"
    types = " ".join(type_name(rtype) for rtype in sorted(node.plans)) or "none: it has only names below it"
    if qtype in node.plans:
        return f"exists, with types {types}"
    return f"exists, without this type (types: {types})"


def _missing(encloser: Node, name: Name) -> str:
    """What becomes of a name that does not exist, under its closest encloser (RFC 4592)."""
    if isinstance(encloser.below, Plan):
        return f"is in the child zone {name}, which is delegated: a referral"
    if isinstance(encloser.below, Dname):
        return f"is below the DNAME at {name}, which redirects it"
    if isinstance(encloser.below, Node):
        return f"does not exist; the wildcard {name.child(b'*')} stands in for it"
    return f"does not exist; the closest name above it is {name}, which has no wildcard"


def _ancestors(name: Name) -> list[bytes]:
    keys = []
    while not name.is_root:
        name = name.parent()
        keys.append(name.key)
    return keys


def _client_steps(located: Located) -> list[Step]:
    """Which address counts, and where it is."""
    steps = []
    if located.embedding is not None:
        row = located.embedding
        steps.append(Step("address", f"{located.used}, as {located.asked} is {row.name} ({row.source})"))
    else:
        steps.append(Step("address", f"{located.used}"))
    if located.override is not None:
        steps.append(
            Step("override", f"{located.override.prefix} is {located.override.place} (geo.overrides)")
        )
    elif located.special is not None:
        row_ = located.special
        steps.append(
            Step("place", f"none: {row_.prefix} is {row_.what} ({row_.source}); the default answers")
        )
        return steps
    place = located.place
    code = next(iter(place.codes()), "")
    words = [f"{code} ({codes.describe(code)})"] if code else []
    words += [f"AS{place.asn} {place.organization}".strip()] if place.asn else []
    steps.append(Step("place", ", ".join(words) or "unknown: no database has this address"))
    steps += [
        Step("", f"{source.file} has {source.prefix} as {_seen(source.place.codes(), source.place.asn)}")
        for source in located.sources
    ]
    return steps


def _seen(place: tuple[str, ...], asn: int) -> str:
    words = [*place[:1], *([f"AS{asn}"] if asn else [])]
    return " ".join(words) or "nothing it knows"


def _choice_steps(chosen: Chosen, located: Located) -> list[Step]:
    """The rules one by one, the pools that were looked at, the values, the TTL, the scope."""
    choice, decision = chosen.choice, chosen.decision
    steer = choice.steer
    steps = [Step("choice", f"{choice.owner} {type_name(choice.type)}, TTL {steer.ttl}")]
    steps += _rule_steps(choice, decision, ladder(choice.rules, located))
    for looked in decision.looked:
        steps.append(Step("pool", _pool(steer, looked, looked.pool in dict(decision.members)), 1))
    if decision.rushed:
        steps.append(Step("", "nothing else can answer, so that no slow start is waited for", 1))
    steps.append(Step("values", _values(choice, decision), 1))
    if decision.looked:
        steps.append(Step("ttl", _ttl(steer, decision), 1))
    steps.append(Step("scope", _scope(chosen, located), 1))
    return steps


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
        steps.append(Step(f"rule {at + 1}", f"{_rule(given, rule.share)}: {verdict}  [{rule.mark}]", 1))
    if decision.verdict is Verdict.NO_RULE:
        steps.append(Step("rule", f"none: {found[-1].why}; the record's own values", 1))
    return steps


def _pool(steer: Steer, looked: Looked, answers: bool) -> str:
    """One pool that was looked at, and why it does not answer."""
    pool = steer.pools[looked.pool]
    words = pool.name
    if looked.parent >= 0:
        words += f" (fallback of {steer.pools[looked.parent].name})"
    if answers and looked.can_answer:
        return words
    if not looked.standing.up:
        return f"{words}: all of its values are down"
    if not looked.standing.is_up:
        weight = sum(pool.members[at].weight for at in looked.standing.up)
        total = sum(member.weight for member in pool.members)
        return f"{words}: too little of it is up ({weight} of {total}, min_up {pool.min_up:.0%})"
    return f"{words}: its slow start does not let this client in yet"


def _ttl(steer: Steer, decision: Decision) -> str:
    least = min(looked.standing.ttl for looked in decision.looked)
    if least == TTL_UNBOUND:
        return f"{steer.ttl} s: no check can change this"
    told = min(decision.ttl, steer.ttl)
    return f"{told} s: in {least} s it can be otherwise (ttl_min {steer.ttl_min}, ttl {steer.ttl})"


def _rule(rule: Rule, share: int) -> str:
    parts = [str(Address(family, first)) + f"/{length}" for family, first, length in rule.subnets]
    parts += [f"AS{asn}" for asn in rule.asns]
    parts += rule.geos
    who = " ".join(parts) or "everybody else"
    return who if share == SHARE_ALL else f"{share / SHARE_ALL:.4g} of {who}"


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
        return _listed([member.text for member in answering]) + " (by the client's subnet)"
    if len(answering) == len(open_) or decision.verdict is Verdict.ALL_DOWN:
        return _listed([member.text for member in answering])
    weights = [pool.members[member].weight if pool.policy is Policy.WEIGHTED else 1 for member in open_]
    shown = [
        f"{pool.members[member].text} ({weight / sum(weights):.0%})"
        for member, weight in zip(open_, weights, strict=True)
    ]
    return f"{'one' if len(answering) == 1 else len(answering)} of {_listed(shown)}"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _VALUES_SHOWN} more" if len(values) > _VALUES_SHOWN else ""
    return ", ".join(values[:_VALUES_SHOWN]) + more


def _scope(chosen: Chosen, located: Located) -> str:
    network = located.asked.network(chosen.scope)
    by = ", ".join(sorted(word.value for word in chosen.decision.hashed))
    because = f" (its subnet decides: {by})" if by else ""
    return f"/{chosen.scope}: everybody in {network} gets this{because}"
