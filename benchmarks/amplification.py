"""How many octets a nameserver sends for one octet of a forged query over UDP, at the worst.

    zone file --names, types--> questions --with and without EDNS, ANY, DO--> server --> largest answer/query

Octets are those of DNS messages; IPv4's and UDP's headers are 28 more on both sides, and make ratios smaller.
Nothing is asked with a cookie. It asks this machine alone.

    python benchmarks/amplification.py                         geodns, Knot and NSD, with the zones here
    python benchmarks/amplification.py --zone FILE ...         with these
    python benchmarks/amplification.py --target 127.0.0.1:5301 --zone FILE    a server that runs already
"""

import argparse
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

import dns.message
import dns.rdatatype

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geodns.name import Name  # noqa: E402  after the path
from geodns.zone import load_text  # noqa: E402
from geodns.zone.files import zone_name  # noqa: E402
from geodns.zone.model import Zone  # noqa: E402
from tests.compare.peers import running  # noqa: E402
from tests.server.serving import serving  # noqa: E402

ANSWER_SECONDS = 2.0  # for an answer on this machine
HEADERS_OCTETS = 28  # of IPv4 and UDP
PAYLOADS = (None, 512, 1232, 4096)  # octets that EDNS offers; None: a query without it
SAMPLES = sorted((ROOT / "zones").glob("*.yaml"))


def _hosts(names: str) -> str:
    """The addresses of 13 nameservers."""
    records = "{{type: A, value: 203.0.113.{0}}}, {{type: AAAA, value: '2001:db8::{0:x}'}}"
    return "\n".join(f"{names.format(at)}: [{records.format(at)}]" for at in range(13))


# What makes answers large while they still fit: many records, long ones, addresses beside them, glue.
WORST = "w.test"
WORST_ZONE = f"""
'':
  - {{type: NS, values: [{", ".join(f"ns{at}.w.test." for at in range(13))}]}}
  - {{type: MX, values: [{", ".join(f"{at} ns{at}.w.test." for at in range(13))}]}}
a: {{type: A, values: [{", ".join(f"203.0.113.{at}" for at in range(74))}]}}
q: {{type: AAAA, values: [{", ".join(f'"2001:db8::{at:x}"' for at in range(42))}]}}
t: {{type: TXT, values: [{", ".join(f'"{at:03}{"x" * 240}"' for at in range(4))}, "{"y" * 170}"]}}
u: {{type: TXT, value: "{"z" * 440}"}}
s: {{type: SRV, values: [{", ".join(f"0 {at} 53 ns{at}.w.test." for at in range(13))}]}}
c: {{type: NS, values: [{", ".join(f"ns{at}.c.w.test." for at in range(13))}]}}
'*': {{type: TXT, value: "{"z" * 440}"}}
{_hosts("ns{}")}
{_hosts("ns{}.c")}
"""


class Found(NamedTuple):
    """One query and its answer, in octets; the largest ratio is the worst."""

    ratio: float
    query: int
    answer: int
    words: str


def questions(zone: Zone) -> Iterator[tuple[str, str]]:
    """(name, type) of everything that is there, and of what is not."""
    for key, rrsets in zone.rrsets.items():
        owner = str(Name(key)).replace("*", "any", 1)
        for rtype in {*rrsets, dns.rdatatype.ANY, dns.rdatatype.DS, dns.rdatatype.TXT}:
            yield owner, dns.rdatatype.to_text(dns.rdatatype.RdataType.make(rtype))
        yield f"x.{owner}", "A"
        yield f"x.{owner}", "NS"


def packets(zone: Zone) -> Iterator[tuple[str, bytes]]:
    """What to send, and what it is in words."""
    asked = [*dict.fromkeys(questions(zone)), ("example.", "A"), (".", "NS")]
    for name, rtype in asked:
        for payload in PAYLOADS:
            for dnssec in (False, True) if payload else (False,):
                more = {} if payload is None else {"use_edns": 0, "payload": payload, "want_dnssec": dnssec}
                edns = f", EDNS {payload}" if payload else ""
                words = f"{name} {rtype}{edns}" + (", DO" if dnssec else "")
                yield words, dns.message.make_query(name, rtype, **more).to_wire()


def worst(port: int, host: str, zone: Zone) -> dict[str, Found]:
    """The worst of all queries, and of those without EDNS."""
    found: dict[str, Found] = {}
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(ANSWER_SECONDS)
        asking.connect((host, port))
        for words, packet in packets(zone):
            asking.send(packet)
            octets = len(asking.recv(65535))
            one = Found(octets / len(packet), len(packet), octets, words)
            for kind in ("all", "EDNS" if ", EDNS" in words else "no EDNS"):
                found[kind] = max(found.get(kind, one), one)
    return found


@contextmanager
def server(program: str, zone: Zone, text: str) -> Iterator[int]:
    """The port at which it serves the zone."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        if program == "geodns":
            (folder / "zones").mkdir()
            (folder / "zones" / f"{str(zone.apex).rstrip('.')}.yaml").write_text(text)
            yield stack.enter_context(serving(folder)).ports()[0]
        else:
            yield stack.enter_context(running(program, {str(zone.apex): zone}, folder))


def main() -> None:
    """Ask, and print a row for each zone and server."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--zone", type=Path, action="append", default=[], help="a zone file")
    parser.add_argument("--target", metavar="ADDR:PORT", help="a server on this machine that serves them")
    options = parser.parse_args()
    files = options.zone or SAMPLES
    texts = {zone_name(path.name): path.read_text() for path in files}
    if not options.zone:
        texts[Name.parse(WORST)] = WORST_ZONE
    print("| zone | server | without EDNS | with EDNS | on the wire |\n|---|---|--:|--:|--:|")
    for apex, text in texts.items():
        checked, problems = load_text(text.encode(), apex, str(apex), 1)
        if checked is None:
            sys.exit("\n".join(map(str, problems)))
        if options.target:
            host, _, port = options.target.rpartition(":")
            if not ip_address(host.strip("[]")).is_loopback:
                sys.exit(f"{host} is not this machine")
            row(str(apex), options.target, worst(int(port), host.strip("[]"), checked.zone))
            continue
        for program in ("geodns", "knotd", "nsd"):
            with server(program, checked.zone, text) as port:
                row(str(apex), program, worst(port, "127.0.0.1", checked.zone))


def row(zone: str, program: str, found: dict[str, Found]) -> None:
    cells = [
        f"{one.ratio:.1f} ({one.query} to {one.answer}: {one.words})"
        for one in (found["no EDNS"], found["EDNS"])
    ]
    wire = found["all"]
    on_wire = (wire.answer + HEADERS_OCTETS) / (wire.query + HEADERS_OCTETS)
    print(f"| {zone} | {program} | {cells[0]} | {cells[1]} | {on_wire:.1f} |", flush=True)


if __name__ == "__main__":
    main()
