"""A world without sockets: root, com and two nameservers as snapshots in memory, and faults between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import dns.message

from geodns.delegation.form import UNWRITTEN, Form, fill
from geodns.delegation.network import to_message, to_reply
from geodns.delegation.observe import observe
from geodns.delegation.observed import Observed
from geodns.delegation.reply import Outcome, Question, Reply
from geodns.delegation.walk import Server
from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.name import ROOT, Name
from geodns.zone import load_text
from geodns.zone.model import Zone
from tests.conftest import NOW, make_snapshot

ROOT_SERVER = "192.0.2.129"
COM_SERVERS = ("198.51.100.129", "198.51.100.145")
NET_SERVER = "203.0.113.129"
NS1 = ("192.0.2.1", "2001:db8:0:1::1")
NS2 = ("198.51.100.1", "2001:db8:500::1")
NS3 = "203.0.113.201"
CLIENT = "203.0.113.5"

ROOT_ZONE = f"""
'': {{type: NS, values: [a.root-servers.]}}
a.root-servers: {{type: A, value: {ROOT_SERVER}}}
com: {{type: NS, values: [a.com-servers., b.com-servers.]}}
a.com-servers: {{type: A, value: {COM_SERVERS[0]}}}
b.com-servers: {{type: A, value: {COM_SERVERS[1]}}}
net: {{type: NS, values: [ns.hoster.net.]}}
ns.hoster.net: {{type: A, value: {NET_SERVER}}}
"""
COM_HEAD = "'': {type: NS, values: [a.com-servers., b.com-servers.]}\n"
COM_ZONE = f"""{COM_HEAD}
example: {{type: NS, values: [ns1.example.com., ns2.example.com.]}}
ns1.example: [{{type: A, value: {NS1[0]}}}, {{type: AAAA, value: '{NS1[1]}'}}]
ns2.example: [{{type: A, value: {NS2[0]}}}, {{type: AAAA, value: '{NS2[1]}'}}]
"""
NET_ZONE = f"""
'': {{type: NS, values: [ns.hoster.net.]}}
ns.hoster: {{type: A, value: {NET_SERVER}}}
ns1.elsewhere: {{type: A, value: {NS1[0]}}}
ns2.elsewhere: {{type: A, value: {NS2[0]}}}
ns3.elsewhere: {{type: A, value: {NS3}}}
alias: {{type: CNAME, value: ns2.elsewhere.net.}}
"""
EXAMPLE = f"""\
$zone:
  soa: {{mname: ns1.example.com., rname: hostmaster.example.com., serial: 7, minimum: 60}}
'':
  - type: NS
    values:
      - ns1.example.com.
      - ns2.example.com.
ns1:
  - {{type: A, value: {NS1[0]}}}
  - {{type: AAAA, value: '{NS1[1]}'}}
ns2:
  - {{type: A, value: {NS2[0]}}}
  - {{type: AAAA, value: '{NS2[1]}'}}
"""
FILE = "zones/example.com.yaml"
SYSTEMS = {NS1[0]: 64496, NS2[0]: 65536, NS1[1]: 4200000000, NS2[1]: 4200000005, NS3: 64713}

Fault = Callable[[Question, Reply], Reply]


@dataclass
class World:
    """Who answers at which address, and what happens to the answers on their way."""

    servers: Mapping[str, Snapshot]
    faults: Mapping[str, Fault] = field(default_factory=dict)
    asked: list[tuple[Question, str]] = field(default_factory=list)

    def ask_all(self, questions: list[tuple[Question, str]], port: int | None = None) -> list[Reply]:
        self.asked += questions
        return [self._ask(question, address) for question, address in questions]

    def _ask(self, question: Question, address: str) -> Reply:
        if address in self.servers:
            packet = to_message(question).to_wire()
            wire = answer(packet, CLIENT, self.servers[address], 0, NOW, question.over_tcp)
            reply = Reply(Outcome.SILENT) if wire is None else to_reply(dns.message.from_wire(wire))
        else:
            reply = Reply(Outcome.SILENT, edns=None)
        return self.faults.get(address, lambda question, reply: reply)(question, reply)


@lru_cache
def snapshot(*zones: tuple[str, str]) -> Snapshot:
    """A server with these (zone, YAML)."""
    return make_snapshot(dict(zones))


def world(
    com: str = COM_ZONE,
    example: str = EXAMPLE,
    faults: Mapping[str, Fault] | None = None,
    **at_ns2: str,
) -> World:
    """The world around example.com; `ns2` is the zone as the second server has it."""
    second = at_ns2.get("ns2", example)
    servers = {ROOT_SERVER: snapshot((".", ROOT_ZONE)), NET_SERVER: snapshot(("net.", NET_ZONE))}
    servers |= dict.fromkeys(COM_SERVERS, snapshot(("com.", com)))
    servers |= dict.fromkeys((*NS1, NS3), snapshot(("example.com.", example)))
    servers |= dict.fromkeys(NS2, snapshot(("example.com.", second)))
    return World(servers, faults or {})


def zone(text: str, name: str = "example.com.", file: str = FILE) -> Zone:
    return checked(text, name, file).zone


def checked(text: str, name: str = "example.com.", file: str = FILE):
    found, problems = load_text(text.encode(), Name.parse(name), file, UNWRITTEN)
    assert found is not None, list(map(str, problems))
    return found


def form_of(text: str = EXAMPLE, name: str = "example.com.", **ours: Zone) -> Form:
    """The form of a zone; `ours` are the operator's other zones, by any word."""
    others = {other.apex: other for other in ours.values()}

    def zone_of(asked: Name) -> Zone | None:
        return next((other for apex, other in others.items() if asked.is_under(apex)), None)

    return fill(checked(text, name, f"zones/{name}yaml"), zone_of)[0]


ROOTS = [Server(Name.parse("a.root-servers."), ROOT_SERVER)]


def look(around: World, form: Form | None = None, resolver: tuple[str, int] | None = None) -> Observed:
    """What is seen of example.com in this world."""
    return observe(form or form_of(), around, ROOTS, resolver, lambda address: SYSTEMS.get(address, 0))


__all__ = ["ROOT", "World", "form_of", "look", "world", "zone"]
