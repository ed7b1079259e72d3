"""The same zones and questions to Knot DNS and NSD: every difference is known, and has its reason."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import dns.flags
import dns.message
import dns.rcode
import pytest

from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.name import Name
from geodns.table.compile import compile_zone, link
from geodns.zone import load_text
from geodns.zone.checks import check
from geodns.zone.model import CheckedZone, Zone
from geodns.zone.rfc1035 import read_text
from tests import goldens
from tests.compare.peers import PROGRAMS, running
from tests.conftest import NOW, SERIAL

FILES = ["names.md", "wildcards.md", "delegations.md", "aliases.md", "root.md", "edns.md"]
ALIAS = "  - {type: ALIAS, ttl: 30, value: host.example.com.}\n"  # the peers have none
TYPES = ["A", "AAAA", "NS", "SOA", "MX", "TXT", "CNAME", "DNAME", "DS", "SRV", "HTTPS", "PTR"]
ANSWER_SECONDS = 5


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


def zones_of(file: str) -> dict[str, CheckedZone]:
    """The zones of a golden, without what the peers do not have."""
    zones = {}
    for name, text in goldens.read(goldens.ANSWERS / file).zones.items():
        checked, _ = load_text(text.replace(ALIAS, "").encode(), Name.parse(name), name, SERIAL)
        assert checked is not None
        zones[name] = checked
    return zones


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


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("file", FILES)
def test_every_question_is_answered_as_the_peers_do(program: str, file: str, tmp_path: Path) -> None:
    """All names of the goldens' zones with twelve types, with and without EDNS: the same as Knot and NSD."""
    compare(program, zones_of(file), tmp_path)


RANDOM_SEED = int(os.environ.get("RANDOM_SEED", "20261122"))
RANDOM_ZONES = int(os.environ.get("RANDOM_ZONES", "12"))  # 150 take minutes, and found nothing more
LABELS = ["a", "b", "c", "*", "d.a", "a.b", "*.b", "b.*", "c.d.a", "e.c", "*.e.c", "sub", "ns.sub", "x.sub"]


def random_zone(random: Random, number: int) -> CheckedZone | None:
    """A zone of a few names that get in each other's way; None when `check` finds an error in it."""
    apex = f"z{number}.test."

    def name() -> str:
        return f"{random.choice(LABELS)}.{apex}"

    lines = [
        f"{apex} 300 SOA ns.{apex} h.{apex} 1 2 3 4 60",
        f"{apex} 300 NS a.{apex}",
        f"a.{apex} 300 A 192.0.2.1",
    ]
    for _ in range(random.randint(2, 12)):
        kind = random.choice(["A", "A", "AAAA", "TXT", "MX", "CNAME", "CNAME", "DNAME", "NS", "SRV"])
        data = {
            "A": f"192.0.2.{random.randint(1, 5)}",
            "AAAA": f"2001:db8::{random.randint(1, 5)}",
            "TXT": '"text"',
            "MX": f"10 {name()}",
            "SRV": f"0 0 1 {name()}",
        }.get(kind, name())
        owner = name()
        if kind in ("NS", "DNAME") and owner.startswith("*"):
            continue  # RFC 4592 sections 4.2 and 4.4 leave open what that means, and the peers differ
        lines.append(f"{owner} 300 {kind} {data}")
    zone = read_text("\n".join(lines) + "\n", "random", Name.parse(apex)).zone
    return None if zone is None else check(zone)[0]


@pytest.mark.parametrize("program", PROGRAMS)
def test_random_zones_are_answered_as_the_peers_do(program: str, tmp_path: Path) -> None:
    """Wildcards, cuts, aliases and DNAMEs thrown together: the same as Knot and NSD, whatever comes of it."""
    random = Random(RANDOM_SEED)
    zones: dict[str, CheckedZone] = {}
    number = 0
    while len(zones) < RANDOM_ZONES:
        number += 1
        zone = random_zone(random, number)
        if zone is not None:
            zones[str(zone.zone.apex)] = zone
    compare(program, zones, tmp_path)


def compare(program: str, checked: dict[str, CheckedZone], folder: Path) -> None:
    zones = {name: zone.zone for name, zone in checked.items()}
    snapshot = Snapshot(link(compile_zone(zone) for zone in checked.values()))
    asked = 0
    with running(program, zones, folder) as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(ANSWER_SECONDS)
        client.connect(("127.0.0.1", port))
        for name in sorted({name for zone in zones.values() for name in questions(zone)}):
            for rtype in TYPES:
                for edns in (0, False):
                    packet = dns.message.make_query(name, rtype, use_edns=edns).to_wire()
                    client.send(packet)
                    theirs = client.recv(65535)
                    ours = answer(packet, "127.0.0.1", snapshot, 0, NOW)
                    assert ours is not None
                    if ours != theirs:  # to read them takes longer than to ask
                        same_or_known(program, f"{name} {rtype} edns={edns}", Said.of(ours), Said.of(theirs))
                    asked += 1
    assert asked > 100


def is_inward(record: str) -> bool:
    """True for a DNAME whose target is below its owner."""
    owner, _, rtype, target = record.split(maxsplit=3)
    return rtype == "39" and target.endswith("." + owner)


def same_or_known(program: str, question: str, ours: Said, theirs: Said) -> None:
    """Equal, or different in one of the ways that are known."""
    if ours.is_truncated:
        # RFC 9471 (2023): a referral without room for the child's own glue says TC. NSD of 2022 does not
        # yet; both send what fits, which RFC 2181 section 9 tells everybody to ignore.
        assert theirs.rcode == ours.rcode, question
        assert theirs.is_truncated or program == "nsd", question
        return
    if program == "knotd" and ours.answer < theirs.answer and any(map(is_inward, ours.answer)):
        return  # a DNAME to below itself: Knot goes round several times, NSD and we once
    assert (theirs.rcode, theirs.flags) == (ours.rcode, ours.flags), question
    assert theirs.answer == ours.answer, question
    assert theirs.authority == ours.authority, question
    # Additional addresses are help: NSD with minimal-responses gives only glue, and Knot does not read a
    # service's target "." as its owner (RFC 9460 section 2.5.2). What they do give, we give.
    assert theirs.additional <= ours.additional, question
    if program == "knotd" and "HTTPS" not in question:
        assert theirs.additional == ours.additional, question
