"""The domains below com in the lab: a good one, and one for each planted fault."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from tests.delegation import lab as labs
from tests.delegation.lab import NS1, NS2, UNBOUND

Lines = list[str]


def zone_text(
    serial: int = 7,
    ns1: tuple[str, ...] = NS1,
    ns2: tuple[str, ...] = NS2,
    names: tuple[str, ...] = ("ns1.@", "ns2.@"),
    more: str = "",
) -> str:
    """A zone with these addresses of its nameservers; "@" in `names` is its own name."""
    own = {"ns1.@": ns1, "ns2.@": ns2}
    lines = [f"$zone: {{soa: {{mname: ns1.@, rname: hostmaster.@, serial: {serial}, minimum: 60}}}}"]
    lines += ["'':", f"  - {{type: NS, values: [{', '.join(names)}]}}"]
    for name in own.keys() & set(names):
        lines.append(f"{name[:-2]}:")
        lines += [
            f"  - {{type: {'AAAA' if ':' in address else 'A'}, value: '{address}'}}" for address in own[name]
        ]
    lines.append("www: {type: A, ttl: 60, value: 192.0.2.80, geo: {NA: 203.0.113.20, EU: 203.0.113.10}}")
    lines.append(
        "'*.fresh': {type: A, ttl: 60, value: 192.0.2.80, "
        "geo: {NA: 203.0.113.20, EU: 203.0.113.10, AS: 203.0.113.50}}"
    )
    return "\n".join(lines) + "\n" + more


def without(*words: str) -> Callable[[Lines], Lines]:
    """The delegation without the lines that have one of these words."""
    return lambda lines: [line for line in lines if not any(word in line.split() for word in words)]


def exchanged(old: str, new: str) -> Callable[[Lines], Lines]:
    return lambda lines: [line.replace(old, new) for line in lines]


def extended(*more: str) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines, *more]


@dataclass(frozen=True)
class Domain:
    """A domain with a fault: its zone, what the parent makes of the delegation, and the zone on ns2."""

    finds: set[str]  # the checks that tell of it, and no others
    where: str = "at the registrar"  # the place of the first one's change begins so
    zone: str = ""
    parent: Callable[[Lines], Lines] = list
    on_ns2: str | None = ""  # "": the same; None: no such zone


DOMAINS: dict[str, Domain] = {
    "example": Domain(set()),
    "ns-missing": Domain({"ns-missing-at-parent", "ns-too-few"}, parent=without("ns2.ns-missing.com.")),
    "ns-extra": Domain(
        {"ns-extra-at-parent"},
        parent=extended("ns-extra.com. NS ns3.ns-extra.com.", "ns3.ns-extra.com. A 198.51.100.17"),
    ),
    "glue-wrong": Domain({"glue-wrong"}, parent=exchanged("198.51.100.1", "192.0.2.17")),
    "glue-missing": Domain({"glue-missing"}, parent=without("198.51.100.1", "2001:db8:500::1")),
    "glue-incomplete": Domain({"glue-incomplete"}, parent=without("2001:db8:500::1")),
    "not-delegated": Domain({"not-delegated"}, parent=lambda lines: []),
    "ds": Domain({"ds-broken"}, parent=extended(f"ds.com. DS 12345 13 2 {'0' * 64}")),
    "cname": Domain({"ns-is-cname"}, "", zone_text(names=("ns1.@", "ns2.@", "alias.example.com."))),
    "serial": Domain({"serial-differs"}, "at ns1.", on_ns2=zone_text(serial=8)),
    "old": Domain(
        {"ns-child-differs", "serial-differs"},
        "at ns2.",
        on_ns2=zone_text(serial=6, names=("ns1.@", "ns2.@", "ns.example.com.")),
    ),
    "down": Domain({"server-silent"}, "at ns2.", zone_text(ns2=("198.51.100.99", NS2[1]))),
    "tcp": Domain({"tcp-silent"}, "at ns2.", zone_text(ns2=(labs.NO_TCP, NS2[1]))),
    "lame": Domain({"server-lame"}, "at ns2.", on_ns2=None),
    "authority": Domain({"server-lame"}, "at ns2.", zone_text(ns2=(labs.NO_AUTHORITY, NS2[1]))),
    "edns": Domain({"edns-broken"}, "at ns2.", zone_text(ns2=(labs.NO_EDNS, NS2[1]))),
    "edns-missing": Domain({"edns-missing"}, "at ns2.", zone_text(ns2=(labs.AMNESIA, NS2[1]))),
    "edns-version": Domain({"edns-odd"}, "at ns2.", zone_text(ns2=(labs.OLD_EDNS, NS2[1]))),
    "network": Domain(
        {"same-network", "same-system"}, "", zone_text(ns1=("192.0.2.1", NS1[1]), ns2=("192.0.2.2", NS2[1]))
    ),
    "system": Domain({"same-system"}, "", zone_text(ns1=(NS1[0], "2001:db8:501::1"), ns2=(NS2[0], NS2[1]))),
    "resolver": Domain({"server-lame", "recursion-open"}, "at ns2.", zone_text(ns2=(UNBOUND, NS2[1]))),
}
HELPERS = "alias: {type: CNAME, value: ns2.example.com.}\nns: {type: A, value: 198.51.100.1}\n"


def zone_of(label: str) -> str:
    return own(label, DOMAINS[label].zone or zone_text()) + (HELPERS if label == "example" else "")


def zone_on_ns2(label: str) -> str | None:
    text = DOMAINS[label].on_ns2
    return own(label, text) if text else zone_of(label) if text == "" else None


def own(label: str, text: str) -> str:
    return text.replace("@", f"{label}.com.")


# What others keep of addresses: which name, and which autonomous system

SYSTEMS = {NS1[0]: 64496, NS1[1]: 4200000000, NS2[0]: 65536, NS2[1]: 4200000005}
REVERSE = ("2.0.192.in-addr.arpa", "100.51.198.in-addr.arpa", "8.b.d.0.1.0.0.2.ip6.arpa")
AS_LOOKUP = "asnlookup.zonemaster.net"  # in Team Cymru's form, which Zonemaster asks


def registries() -> dict[str, str]:
    """The reverse zones of ns1 and ns2, and a zone with the AS numbers of their addresses."""
    head = "'': {type: NS, values: [ns1.example.com., ns2.example.com.]}\n"
    zones = dict.fromkeys((*REVERSE, AS_LOOKUP), head)
    for name, addresses in (("ns1", NS1), ("ns2", NS2)):
        for address in addresses:
            reverse = ip_address(address).reverse_pointer
            zone = next(zone for zone in REVERSE if reverse.endswith(zone))
            zones[zone] += f"{reverse.removesuffix('.' + zone)}: {{type: PTR, value: {name}.example.com.}}\n"
            digits, _, kind = reverse.rpartition(".arpa")[0].rpartition(".")
            owner = f"{digits}.{'origin6' if kind == 'ip6' else 'origin'}"
            prefix = ip_network(f"{address}/{48 if ':' in address else 24}", strict=False)
            zones[AS_LOOKUP] += f'{owner}: {{type: TXT, value: "{SYSTEMS[address]} | {prefix} | ZZ"}}\n'
    return zones
