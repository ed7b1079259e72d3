"""Every check has a small broken zone that provokes it: tests/zone/broken/<check>.yaml."""

from collections.abc import Callable
from pathlib import Path

import pytest

from geodns.name import Name
from geodns.problems import Severity
from geodns.zone import load_text
from geodns.zone.checks import CHECKS, check
from geodns.zone.files import CHECKS as FILE_CHECKS
from geodns.zone.model import Mark, RRset, Zone
from geodns.zone.parse import CHECKS as PARSE_CHECKS
from geodns.zone.source import CHECKS as SOURCE_CHECKS

BROKEN = sorted(Path(__file__).parent.joinpath("broken").glob("*.yaml"))
NS = "'': {type: NS, value: ns1.example.net.}\n"

# Too large for a file of their own; they are made here.
MADE: dict[str, Callable[[], str]] = {
    "yaml-too-long": lambda: f"www: {{type: TXT, value: {'x' * 300_000}}}\n",
    "too-many-values": lambda: f"www: {{type: A, values: [{', '.join(['192.0.2.1'] * 5000)}]}}\n",
    "too-many-problems": lambda: "".join(f"h{number}: {{}}\n" for number in range(2000)),
    "rrset-over-message": lambda: (
        f"www: {{type: TXT, values: [{', '.join(f'{at:>0250}' for at in range(300))}]}}\n"
    ),
}
# Not of a file's contents: tests/zone/test_files.py and test_source.py have them.
ELSEWHERE = {"file-unreadable", "file-too-large", *FILE_CHECKS}


def expectations(path: Path) -> list[str]:
    lines = path.read_bytes().decode("utf-8", "replace").splitlines()
    return [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_a_broken_zone_is_told_of_as_it_expects(path: Path) -> None:
    """The problems are the `# expect:` lines of the file, and they are of the check that the file is named
    after.
    """
    checked, problems = load_text(path.read_bytes(), Name.parse("example.com."), path.name, 1)
    told = [str(problem).removeprefix(path.name).removeprefix(":").lstrip() for problem in problems]
    assert expectations(path) == told
    assert {path.stem} == {problem.check for problem in problems}
    assert (checked is None) == any(problem.is_error for problem in problems)


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_large_broken_zone_is_told_of(name: str) -> None:
    """The bounds that no small file can reach."""
    checked, problems = load_text((NS + MADE[name]()).encode(), Name.parse("example.com."), "z.yaml", 1)
    assert checked is None
    assert name in {problem.check for problem in problems}


def test_every_check_has_its_broken_zone_and_every_broken_zone_its_check() -> None:
    """A new row needs a file; a file that no row answers for is left over."""
    rows = [*(row.name for row in CHECKS), *PARSE_CHECKS, *SOURCE_CHECKS]
    assert len(rows) == len(set(rows))
    assert set(rows) - ELSEWHERE == {path.stem for path in BROKEN} | set(MADE)


def test_errors_stand_before_warnings_in_the_table() -> None:
    """Only so many problems are told of a zone; an error must not be lost behind warnings."""
    severities = [row.severity for row in CHECKS]
    assert sorted(severities, key=lambda severity: severity is Severity.WARNING) == severities


def test_a_zone_with_nothing_wrong_has_no_problems() -> None:
    """The zones that we ship are checked as users' zones are."""
    for path in Path(__file__).parents[2].joinpath("zones").glob("*.yaml"):
        _, problems = load_text(path.read_bytes(), Name.parse(path.stem), path.name)
        assert [] == list(map(str, problems))


def test_lenient_records_are_not_warned_about_but_errors_stay() -> None:
    """octoDNS's `lenient: true` means that the author knows."""
    text = (
        NS
        + "lab: {type: A, value: 10.0.0.1, octodns: {lenient: true}}\n"
        + "www: {type: CNAME, values: [a.example.net., b.example.net.], octodns: {lenient: yes}}\n"
    )
    _, problems = load_text(text.encode(), Name.parse("example.com."), "z.yaml")
    assert ["z.yaml:3:45: www CNAME: a CNAME has one value, here are 2"] == list(map(str, problems))


def test_what_only_follows_from_a_broken_record_is_not_told() -> None:
    """The nameserver's address has a typing error: that is one problem, not two."""
    text = "'': {type: NS, value: ns1.example.com.}\nns1: {type: A, value: 203.0.113.999}\n"
    _, problems = load_text(text.encode(), Name.parse("example.com."), "z.yaml")
    assert ['z.yaml:2:23: ns1 A: "203.0.113.999" is not an IPv4 address'] == list(map(str, problems))


@pytest.mark.parametrize(
    "text",
    [
        "'*': {type: A, value: 203.0.113.1}\n"
        "mail: {type: TXT, value: x}\nm: {type: MX, value: 1 any.example.com.}\n",
        "old: {type: DNAME, value: new.example.com.}\nwww.new: {type: A, value: 203.0.113.1}\n"
        "www: {type: CNAME, value: www.old.example.com.}\n",
        "sub: {type: NS, value: ns1.example.net.}\nwww: {type: CNAME, value: www.sub.example.com.}\n",
        "nomail: {type: MX, value: 0 .}\nnosrv: {type: SRV, value: 0 0 0 .}\n",
        "a: {type: NS, value: ns.b.example.com.}\nb: {type: NS, value: ns.b.example.com.}\n"
        "ns.b: {type: A, value: 203.0.113.1}\n",
        "_dmarc: {type: TXT, value: v=DMARC1}\n_sip._tcp: {type: SRV, value: 0 0 5060 sip.example.net.}\n",
        "sub:\n  - {type: NS, value: ns1.example.net.}\n  - {type: DS, value: 1 13 2 " + "AB" * 32 + "}\n",
        "svc: {type: HTTPS, value: 1 . alpn=h2}\nto: {type: HTTPS, value: 0 svc.example.com.}\n",
    ],
    ids=["wildcard", "dname", "delegated", "null", "sibling-glue", "underscores", "ds", "https"],
)
def test_what_is_right_is_not_warned_about(text: str) -> None:
    """Targets behind wildcards, DNAMEs and delegations, names for services, null MX: all of it is usual."""
    _, problems = load_text((NS + text).encode(), Name.parse("example.com."), "z.yaml")
    assert [] == list(map(str, problems))


def test_the_root_zone_can_be_checked() -> None:
    """Its apex has no label, and everything is in it."""
    text = "'': {type: NS, value: a.root-servers.net.}\na.root-servers.net: {type: A, value: 203.0.113.1}\n"
    checked, problems = load_text(text.encode(), Name.parse("."), ".yaml")
    assert checked is not None
    assert [] == list(map(str, problems))


def test_check_takes_zones_from_anywhere() -> None:
    """A zone that was read from another kind of file is checked the same way."""
    apex = Name.parse("example.com.")
    mark = Mark("example.com.zone", 3, 1)
    soa = RRset(apex, 6, 60, (b"\1a\0\1b\0" + bytes(20),), (mark,), mark)
    checked, problems = check(Zone(apex, "example.com.zone", {apex.key: {6: soa}}))
    assert checked is None
    assert "example.com.zone: the zone example.com. has no NS record" in str(problems[0])


def test_more_warnings_than_anybody_reads_are_cut_off() -> None:
    """And the last line says so; the zone is served."""
    text = NS + "".join(f"h{number}: {{type: A, value: 10.0.0.1}}\n" for number in range(1500))
    checked, problems = load_text(text.encode(), Name.parse("example.com."), "z.yaml")
    assert checked is not None
    assert 1001 == len(problems)
    assert "z.yaml: warning: there are more problems than these 1000" == str(problems[0])


def test_a_circle_that_a_chain_leads_into_is_told_once() -> None:
    """Names that lead into it have no problem of their own."""
    text = NS + "".join(
        f"{at}: {{type: CNAME, value: {to}.example.com.}}\n" for at, to in ("ab", "bc", "cb", "dc")
    )
    _, problems = load_text(text.encode(), Name.parse("example.com."), "z.yaml")
    assert ["z.yaml:2:11: warning: a CNAME: the aliases lead in a circle: b -> c -> b"] == list(
        map(str, problems)
    )
