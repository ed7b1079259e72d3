"""`geodns geo lookup` and `geodns explain`, with the test database: 127.N.0.1 is in the Nth country."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ZONE, Run
from tests.conftest import TEST_DATABASE

CONFIG = f"""\
geo:
  databases: ['{TEST_DATABASE}']
  overrides: {{127.0.0.0/8: database, 10.0.0.0/8: EU-DE}}
"""


@pytest.fixture
def config(folder: Path) -> Path:
    """A geodns.yaml with the test database, in which loopback addresses have places."""
    path = folder / "geodns.yaml"
    path.write_text(CONFIG)
    return path


def test_lookup(run: Run, config: Path) -> None:
    """Place, codes, AS, prefix and database of an address."""
    lines = run("geo", "lookup", "127.1.0.1").stdout.splitlines()
    assert lines[0] == "127.1.0.1"
    assert "  override  127.0.0.0/8 is database" in lines
    assert "  codes     NA-US-NY NA-US NA" in lines
    assert any(line.startswith("  place     New York, United States") for line in lines)
    assert any(line.startswith(f"  database  {TEST_DATABASE} (") and "127.1." in line for line in lines)


def test_lookup_of_several(run: Run, config: Path) -> None:
    """An override decides, a private address without one has no place, and embedded addresses count."""
    told = run("geo", "lookup", "10.1.2.3", "192.168.0.1", "2002:a01:203::1").stdout
    first, second, third = told.split("\n\n")
    assert "  codes     EU-DE EU\n" in first
    assert "  place     none: 192.168.0.0/16 is private (RFC 1918)" in second
    assert "  counts as 10.1.2.3 (6to4, RFC 3056 section 2)" in third


def test_lookup_json(run: Run, config: Path) -> None:
    """--format json has the same as data."""
    (found,) = json.loads(run("geo", "lookup", "127.1.0.1", "--format", "json").stdout)
    assert found["codes"] == ["NA-US-NY", "NA-US", "NA"]
    assert found["databases"][0]["file"] == str(TEST_DATABASE)
    assert found["override"] == {"prefix": "127.0.0.0/8", "place": "database"}


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["geo", "lookup", "localhost"], '"localhost" is not an IP address'),
        (["geo", "lookup", "1.2.3.4", "--geo-db", "missing.mmdb"], "geodns: missing.mmdb: "),
        (["geo", "lookup", "1.2.3.4", "--geo-db", "example.com.zone"], "geodns: example.com.zone: "),
        (["geo", "lookup", "1.2.3.4", "--config", "missing.yaml"], "missing.yaml: "),
        (["geo", "lookup"], "Missing argument"),
        (["explain", "a..b"], '"a..b" has an empty label'),
        (["explain", "www.example.com", "FOO"], '"FOO" is not a record type'),
        (["explain", "www.example.com", "A", "--from", "x"], '"x" is not an IP address'),
    ],
)
def test_mistakes_are_told(run: Run, args: list[str], expected: str) -> None:
    """A bad address, database, config, name or type is told without a traceback."""
    result = run(*args)
    assert result.exit_code in (1, 2)
    assert expected in result.stderr
    assert "Traceback" not in result.output


def test_lookup_without_a_database(run: Run, folder: Path) -> None:
    """Without a database that is said, and the rest is told all the same."""
    result = run("geo", "lookup", "192.0.2.1")
    assert result.exit_code == 0
    assert "no database is configured" in result.stderr


def test_explain(run: Run, config: Path) -> None:
    """The reasoning of the serving code, for the client that --from names."""
    result = run("explain", "www.example.com", "--from", "127.1.0.1")
    assert result.exit_code == 0
    assert result.stdout.startswith("www.example.com. A for 127.1.0.1\n")
    assert "www.example.com. 60 IN A 203.0.113.80" in result.stdout
    told = json.loads(run("explain", "www.example.com", "--from", "127.1.0.1", "--format", "json").stdout)
    assert told["answer"] == ["www.example.com. 60 IN A 203.0.113.80"]


def test_explain_of_a_built_in_zone(run: Run) -> None:
    """localhost is explained as well, unless the config switches the built-in zones off."""
    assert "127.0.0.1" in run("explain", "localhost").stdout
    Path("geodns.yaml").write_text("local_zones: false\n")
    assert "none of the zones" in run("explain", "localhost").stdout


def test_explain_of_a_broken_zone(run: Run, folder: Path) -> None:
    """A broken zone is told on stderr, and what becomes of its names."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE.replace("203.0.113.80", "x"))
    result = run("explain", "www.example.com")
    assert "zones/example.com.yaml:8:10: " in result.stderr
    assert "no version of it without an error" in result.stdout


def test_explain_looks_at_its_own_zones_only(run: Run, folder: Path) -> None:
    """A broken zone elsewhere is none of its business."""
    (folder / "zones" / "example.org.yaml").write_text("x\n")
    assert run("explain", "www.example.com").stderr == ""
