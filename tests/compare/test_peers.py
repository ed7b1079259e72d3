"""The same zones and questions to Knot DNS and NSD: every difference is known, and has its reason."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from geodns.engine.answer import answer
from geodns.name import Name
from geodns.zone import load_text
from geodns.zone.model import Zone
from geodns.zone.rfc1035 import write
from tests import goldens
from tests.conftest import NOW, SERIAL, make_snapshot

FILES = ["names.md", "wildcards.md", "delegations.md", "aliases.md", "root.md", "edns.md"]
ALIAS = "  - {type: ALIAS, ttl: 30, value: host.example.com.}\n"  # the peers have none
TYPES = ["A", "AAAA", "NS", "SOA", "MX", "TXT", "CNAME", "DNAME", "DS", "SRV", "HTTPS", "PTR"]
START_SECONDS = 20  # of a peer, at the most
ANSWER_SECONDS = 5

KNOT = """
server:
  rundir: "{folder}"
  listen: 127.0.0.1@{port}
database:
  storage: "{folder}"
template:
  - id: default
    storage: "{folder}"
    zonefile-load: whole
    journal-content: none
zone:
{zones}
"""
NSD = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/pid"
  xfrdfile: "{folder}/xfrd"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/list"
  minimal-responses: yes
  rrl-ratelimit: 0
  server-count: 1
remote-control:
  control-enable: no
{zones}
"""


@dataclass(frozen=True)
class Said:
    """An answer in a form that can be compared: order, case and compression left out."""

    rcode: str
    flags: str
    answer: frozenset[str]
    authority: frozenset[str]
    additional: frozenset[str]

    @classmethod
    def of(cls, wire: bytes) -> "Said":
        message = dns.message.from_wire(wire)
        sections = [
            frozenset(
                f"{rrset.name} {rrset.ttl} {rrset.rdtype} {data}".lower() for rrset in part for data in rrset
            )
            for part in (message.answer, message.authority, message.additional)
        ]
        return cls(dns.rcode.to_text(message.rcode()), dns.flags.to_text(message.flags), *sections)

    @property
    def is_truncated(self) -> bool:
        return " TC" in self.flags


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def zones_of(file: str) -> dict[str, str]:
    zones = goldens.read(goldens.ANSWERS / file).zones
    return {name: text.replace(ALIAS, "") for name, text in zones.items()}


def zone_file(name: str) -> str:
    return (name.strip(".") or "root") + ".zone"


def questions(zone: Zone) -> Iterator[str]:
    """Every name of the zone, those up to the apex, and names below them that do not exist."""
    names = set()
    for key in zone.rrsets:
        name = Name(key)
        while name.is_under(zone.apex):
            below = name.child(b"zz")
            names |= {str(name), str(below), str(below.child(b"y"))}
            if name.is_root:
                break
            name = name.parent()
    yield from sorted(names)


@pytest.fixture(params=[("knotd", KNOT), ("nsd", NSD)], ids=["knot", "nsd"])
def peer(request: pytest.FixtureRequest) -> tuple[str, str]:
    program, config = request.param
    if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
        pytest.skip(f"{program} is not installed (apt-get install knot nsd)")
    return program, config


@pytest.mark.parametrize("file", FILES)
def test_every_question_is_answered_as_the_peers_do(peer: tuple[str, str], file: str, tmp_path: Path) -> None:
    """All names of the goldens' zones with twelve types, with and without EDNS: the same as Knot and NSD."""
    program, config = peer
    texts = zones_of(file)
    zones = {}
    for name, text in texts.items():
        checked, _ = load_text(text.encode(), Name.parse(name), name, SERIAL)
        assert checked is not None
        zones[name] = checked.zone
        (tmp_path / zone_file(name)).write_text("\n".join(write(checked.zone)) + "\n")
    port = free_port()
    if program == "knotd":
        listed = "".join(f'  - domain: "{name}"\n    file: {zone_file(name)}\n' for name in zones)
    else:
        listed = "".join(f'zone:\n  name: "{name}"\n  zonefile: {zone_file(name)}\n' for name in zones)
    conf = tmp_path / "conf"
    conf.write_text(config.format(folder=tmp_path, port=port, zones=listed))
    log = tmp_path / "log"
    arguments = [program, "-c", str(conf)] + (["-d"] if program == "nsd" else [])
    with log.open("w") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as process:
        try:
            wait_for(port, list(zones), log)
            compare(program, port, texts, zones)
        finally:
            process.terminate()


def wait_for(port: int, zones: list[str], log: Path) -> None:
    for name in zones:
        question = dns.message.make_query(name, "SOA")
        for _ in range(START_SECONDS * 10):
            try:
                if dns.query.udp(question, "127.0.0.1", timeout=0.1, port=port, ignore_errors=True).answer:
                    break
            except (dns.exception.Timeout, OSError):
                continue
        else:
            pytest.fail(f"the peer does not serve {name}: {log.read_text()[-2000:]}")


def compare(program: str, port: int, texts: dict[str, str], zones: dict[str, Zone]) -> None:
    snapshot = make_snapshot(texts)
    asked = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect(("127.0.0.1", port))
        for name in sorted({name for zone in zones.values() for name in questions(zone)}):
            for rtype in TYPES:
                for edns in (0, False):
                    packet = dns.message.make_query(name, rtype, use_edns=edns).to_wire()
                    client.send(packet)
                    theirs = Said.of(client.recv(65535))
                    ours_wire = answer(packet, "127.0.0.1", snapshot, 0, NOW)
                    assert ours_wire is not None
                    check(program, f"{name} {rtype} edns={edns}", Said.of(ours_wire), theirs)
                    asked += 1
    assert asked > 100


def check(program: str, question: str, ours: Said, theirs: Said) -> None:
    """Equal, or different in one of the ways that are known."""
    if ours.is_truncated:
        # RFC 9471 (2023): a referral without room for the child's own glue says TC. NSD of 2022 does not
        # yet; both send what fits, which RFC 2181 section 9 tells everybody to ignore.
        assert theirs.rcode == ours.rcode, question
        assert theirs.is_truncated or program == "nsd", question
        return
    assert (theirs.rcode, theirs.flags) == (ours.rcode, ours.flags), question
    assert theirs.answer == ours.answer, question
    assert theirs.authority == ours.authority, question
    # Additional addresses are help: NSD with minimal-responses gives only glue, and Knot does not read a
    # service's target "." as its owner (RFC 9460 section 2.5.2). What they do give, we give.
    assert theirs.additional <= ours.additional, question
    if program == "knotd" and "HTTPS" not in question:
        assert theirs.additional == ours.additional, question
