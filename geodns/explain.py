"""Why an answer is what it is, for one client: told by the code that serves.

    snapshot + locator + (name, type, address) --explain--> Explanation --str--> text for people

The query is a real packet, answered by the Python engine, which reports every choice that it makes. What
stands here only puts that into words; `geo.reason` adds which rule matched and why.
"""

from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from geodns.engine.answer import Chosen, answer
from geodns.engine.lookup import closest_encloser
from geodns.engine.snapshot import Snapshot
from geodns.geo import codes
from geodns.geo.address import WIDTH, Address
from geodns.geo.locator import Explanation as Located
from geodns.geo.locator import Locator
from geodns.geo.partition import Rule
from geodns.geo.reason import match
from geodns.name import Name
from geodns.table.shape import Alternative, Dname, Node, Plan, Table
from geodns.zone.rdata import type_name

_NOW = 0  # no cookie is asked for, so the time does not matter
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


def explain(snapshot: Snapshot, locator: Locator, name: Name, qtype: int, client: Address) -> Explanation:
    """The answer that `client` gets when its whole address reaches us, by itself or in EDNS Client Subnet.

    `snapshot` has been made with `locator`. Raises geo.DatabaseError when a database has become unreadable.
    """
    question = f"{name} {type_name(qtype)}"
    subnet = dns.edns.ECSOption(str(client), WIDTH[client.family], 0)
    owner = dns.name.from_wire(name.wire, 0)[0]
    rdtype = dns.rdatatype.RdataType.make(qtype)
    query = dns.message.make_query(owner, rdtype, id=0, use_edns=0, options=[subnet])
    trace: list[Chosen] = []
    wire = answer(query.to_wire(), str(client), snapshot, 0, _NOW, stream=True, trace=trace)
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
    """The rules one by one, the pool, its values, the scope."""
    choice, alternative = chosen.choice, chosen.alternative
    found = match(choice.rules, located)
    steps = [Step("choice", f"{choice.owner} {type_name(choice.type)}, TTL {choice.ttl}")]
    for at, (rule, mark) in enumerate(zip(choice.rules, choice.rule_marks, strict=True)):
        verdict = f"yes: {found.why}" if at == found.rule else "no"
        steps.append(Step(f"rule {at + 1}", f"{_rule(rule)}: {verdict}  [{mark}]", 1))
    if found.rule is None:
        steps.append(Step("rule", f"none: {found.why}; the record's own values", 1))
    else:
        way = choice.ways[found.rule]
        steps += [
            Step("pool", f"{pool}: all of its values are down, so its fallback", 1) for pool in way[:-1]
        ]
    steps.append(Step("pool", alternative.pool, 1))
    steps.append(Step("values", _values(alternative), 1))
    steps.append(Step("scope", _scope(chosen.scope, located), 1))
    return steps


def _rule(rule: Rule) -> str:
    parts = [str(Address(family, first)) + f"/{length}" for family, first, length in rule.subnets]
    parts += [f"AS{asn}" for asn in rule.asns]
    parts += rule.geos
    return " ".join(parts) or "everybody else"


def _values(alternative: Alternative) -> str:
    if len(alternative.plans) == 1:
        shown = list(alternative.values[0])
    else:
        shown = [
            f"{', '.join(values)} ({weight / alternative.total:.0%})"
            for values, weight in zip(alternative.values, alternative.weights, strict=True)
        ]
    more = f" and {len(shown) - _VALUES_SHOWN} more" if len(shown) > _VALUES_SHOWN else ""
    how = "one of " if len(alternative.plans) > 1 else ""
    return how + ", ".join(shown[:_VALUES_SHOWN]) + more


def _scope(scope: int, located: Located) -> str:
    return f"/{scope}: everybody in {located.asked.network(scope)} is sent to this pool"
