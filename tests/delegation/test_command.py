"""`geodns delegation` without a network: formats, mistakes, and what a silent world looks like."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geodns.cli import main
from geodns.delegation.hints import ROOT_SERVERS, root_addresses
from geodns.delegation.network import Network
from tests.conftest import TEST_DATABASE
from tests.delegation.world import EXAMPLE, NS1, NS2, world

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `geodns delegation ARGS...` in a folder with zones/example.com.yaml."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.com.yaml").write_text(EXAMPLE)

    def run(*args: str) -> Result:
        result = CliRunner().invoke(main, ["delegation", *args])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def asked_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Questions go to a world in memory instead of the network."""
    around = world()
    monkeypatch.setattr(Network, "ask_all", lambda self, *args: around.ask_all(*args))


def test_the_table(run: Run) -> None:
    """What to type, in rows; then what to do, in order."""
    told = run("example.com").stdout
    for row in ("name server 1", "ns1.example.com ", *NS1, *NS2, "DS record", "nothing"):
        assert row in told
    steps = [line for line in told.splitlines() if line[:2] in ("1.", "2.", "3.", "4.", "5.")]
    assert 5 == len(steps)


def test_json(run: Run) -> None:
    """The same as data, with the places in the file."""
    told = json.loads(run("example.com", "--format", "json").stdout)
    assert ["ns1.example.com.", "ns2.example.com."] == [host["name"] for host in told["nameservers"]]
    first = told["nameservers"][0]["addresses"][0]
    assert (NS1[0], 4, "zones/example.com.yaml", 9) == tuple(
        first[key] for key in ("address", "family", "file", "line")
    )
    assert ([], "com.") == (told["ds"], told["parent"])


def test_zone_and_epp(run: Run) -> None:
    """Both go to stdout as they are, and nothing else does."""
    lines = run("zones/example.com.yaml", "--format", "zone").stdout.splitlines()
    assert "example.com. 3600 IN NS ns1.example.com." in lines
    groups = run("example.com", "--format", "epp").stdout.split("\n\n")
    assert 3 == len(groups)
    assert all(group.startswith("<?xml") for group in groups)


def test_the_parent_can_be_said(run: Run) -> None:
    """Where the registry is more than one label up."""
    assert "for the zone net.:" in run("example.com", "--format", "zone", "--parent", "net").stdout


def test_the_addresses_of_our_other_zones_count(run: Run) -> None:
    """A nameserver in another zone of the same folder is looked up there."""
    text = "'': {type: NS, values: [ns1.example.com., ns2.example.com.]}\n"
    Path("zones/shop.com.yaml").write_text(text)
    told = json.loads(run("shop.com", "--format", "json").stdout)
    assert ["optional", "optional"] == [host["glue"] for host in told["nameservers"]]
    assert NS1[0] == told["nameservers"][0]["addresses"][0]["address"]


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["example.net"], "there is no zones/example.net.yaml (--zones says where the zone files are)"),
        (["a..b"], '"a..b" has an empty label'),
        (["zones/broken.com.yaml"], "zones/broken.com.yaml has errors"),
        (["zones/.yaml"], "the root zone has no parent"),
        (["example.com", "--root", "192.0.2.1"], "--root and --resolver go with --verify"),
        (["example.com", "--verify", "--format", "epp"], "--verify tells as text or json, not as epp"),
        (["example.com", "--verify", "--root", "x"], '"x" is not an IP address'),
        (["example.com", "--verify", "--resolver", "x"], '"x" is not an IP address'),
        (["example.com", "--verify", "--root", "1.2.3.4:5", "--root", "1.2.3.5:6"], "there can be one only"),
        (["example.com", "--verify", "--timeout", "0"], "Invalid value for '--timeout'"),
    ],
)
def test_mistakes_are_told(run: Run, args: list[str], expected: str) -> None:
    """In a line, without a traceback."""
    Path("zones/broken.com.yaml").write_text("www: {type: A, value: x}\n")
    Path("zones/.yaml").write_text("'': {type: NS, value: ns.}\nns: {type: A, value: 192.0.2.1}\n")
    result = run(*args)
    assert result.exit_code in (1, 2)
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_verify_of_a_good_delegation(run: Run, asked_world: None) -> None:
    """The servers as they were seen, and no finding."""
    result = run("example.com", "--verify", "--root", "192.0.2.129", "--geo-db", str(TEST_DATABASE))
    assert "example.com. below com., by way of . -> com." in result.stdout
    assert "64496" in result.stdout
    assert (0, "geodns: 38 checks: no fault\n") == (result.exit_code, result.stderr)


def test_verify_tells_what_to_change(run: Run, asked_world: None) -> None:
    """A row for each finding, with the place; exit code 1."""
    path = Path("zones/example.com.yaml")
    path.write_text(EXAMPLE.replace(NS2[0], "198.51.100.77"))
    result = run("example.com", "--verify", "--root", "192.0.2.129", "--geo-db", str(TEST_DATABASE))
    assert 1 == result.exit_code
    for part in ("error", "glue-wrong", "at the registrar: set the", "zones/example.com.yaml:12:22"):
        assert part in " ".join(result.stdout.split())
    told = run("example.com", "--verify", "--root", "192.0.2.129", "--format", "json")
    finding = next(one for one in json.loads(told.stdout)["findings"] if one["check"] == "glue-wrong")
    assert (12, 22) == (finding["change"]["line"], finding["change"]["column"])


def test_notices_are_no_fault(run: Run, asked_world: None) -> None:
    """Without a database nobody knows the AS, which is worth a row, and not the exit code."""
    result = run("example.com", "--verify", "--root", "192.0.2.129")
    assert (0, "geodns: 38 checks: no fault, 1 notice\n") == (result.exit_code, result.stderr)


def test_a_closed_port_is_no_traceback(run: Run) -> None:
    """On this machine, at a port where nobody listens: findings, and an end within the time."""
    result = run("example.com", "--verify", "--root", "127.0.0.1:1", "--timeout", "0.05", "--format", "json")
    told = json.loads(result.stdout)
    assert 1 == result.exit_code
    assert "parent-unreachable" == told["findings"][0]["check"]


def test_a_world_that_keeps_us_asking(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is left in a line."""
    monkeypatch.setattr("geodns.delegation.network.QUESTIONS_MAX", 10)
    result = run("example.com", "--verify", "--root", "127.0.0.1:1", "--timeout", "0.05")
    assert (1, "geodns: example.com. leads to more questions than a delegation can need\n") == (
        result.exit_code,
        result.stderr,
    )


def test_root_hints() -> None:
    """Thirteen servers with two addresses each, all different, IPv4 first."""
    addresses = [address for _, address in root_addresses()]
    assert (13, 26) == (len(ROOT_SERVERS), len(set(addresses)))
    assert all(":" not in address for address in addresses[:13])


def test_root_hints_are_those_of_the_system() -> None:
    """The same as Debian's dns-root-data has, where that is installed."""
    file = Path("/usr/share/dns/root.hints")
    if not file.exists():
        pytest.skip("dns-root-data is not installed")
    words = [line.split() for line in file.read_text().splitlines()]
    theirs = {(word[0].lower(), word[-1]) for word in words if len(word) > 3 and word[-2] in ("A", "AAAA")}
    assert theirs == set(root_addresses())
