"""Why an answer is what it is, for one client: told by the code that serves.

    snapshot + locator + health + (name, type, address) --explain--> Explanation --str--> text for people

The query is a real packet, answered by the Python engine, which reports every choice that it makes. What
stands here only puts that into words: `find` the name, `client` the place, `choice` the rest; `geo.reason`
adds which rule matched and why, `health` why a value is up or down.
"""

from dataclasses import dataclass

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from geodns.engine.answer import answer
from geodns.engine.choose import Chosen
from geodns.engine.snapshot import Snapshot
from geodns.explain.choice import choice_steps
from geodns.explain.client import client_steps
from geodns.explain.find import find_steps
from geodns.explain.step import LABEL_WIDTH, Step
from geodns.geo.address import WIDTH, Address, Prefix
from geodns.geo.locator import Locator
from geodns.health.health import Health
from geodns.name import Name
from geodns.zone.rdata import type_name


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
        lines += [f"{'  ' * (1 + step.depth)}{step.about:<{LABEL_WIDTH}} {step.said}" for step in self.steps]
        flags = ", authoritative" if self.authoritative else ""
        lines += [f"  {'answer':<{LABEL_WIDTH}} {self.rcode}{flags}"]
        lines += [f"    {record}" for record in self.answer]
        return "\n".join(lines)


def explain(
    snapshot: Snapshot,
    locator: Locator,
    name: Name,
    qtype: int,
    client: Address,
    now: int = 0,
    health: Health | None = None,
    subnet: Prefix | None = None,
) -> Explanation:
    """The answer that `client` gets when its whole address reaches us, by itself or in EDNS Client Subnet.

    With `subnet` (of one bit at least), `client` is a resolver that sends this subnet of a client of its own.
    `now` (Unix seconds) matters where a value is in its slow start. `snapshot` has been made with `locator`,
    and with the standings of `health`, which tells why a value is up or down.
    Raises geo.DatabaseError when a database has become unreadable.
    """
    question = f"{name} {type_name(qtype)}"
    sent = subnet or client.network(WIDTH[client.family])
    base = Address(sent.family, sent.first)
    option = dns.edns.ECSOption(str(base), sent.length, 0)
    owner = dns.name.from_wire(name.wire, 0)[0]
    rdtype = dns.rdatatype.RdataType.make(qtype)
    query = dns.message.make_query(owner, rdtype, id=0, use_edns=0, options=[option])
    trace: list[Chosen] = []
    wire = answer(query.to_wire(), str(client), snapshot, 0, now, stream=True, trace=trace)
    assert wire is not None  # silence is for packets that are no queries
    message = dns.message.from_wire(wire)
    located = locator.explain(base)
    if subnet is not None and not located.is_located and not any(chosen.scope for chosen in trace):
        located = locator.explain(client)  # the address that asked has decided, as `choose` says
    steps = find_steps(snapshot.table, name, qtype)
    steps += client_steps(located)
    if not trace and message.answer:
        steps.append(Step("choice", "none: everybody gets this answer (scope /0)"))
    for chosen in trace:
        steps += choice_steps(chosen, located, now, health)
    return Explanation(
        question=question,
        client=str(client) if subnet is None else f"{client}, which sends {subnet}",
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
