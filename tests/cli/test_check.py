"""`geodns check`: what it reads, how it tells, how it ends."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import ZONE, Run


def test_a_good_zone_is_silent(run: Run) -> None:
    """Without a problem stdout stays empty, the exit code is 0, and stderr says what was checked."""
    result = run("check")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "geodns: no problem in 1 file; 1 zone with 4 records can be served\n"


def test_every_problem_has_its_place(run: Run, folder: Path) -> None:
    """All problems of all files, YAML and RFC 1035, each with file, line and column; the exit code is 1."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE.replace("203.0.113.80", "203.0.113.800"))
    (folder / "zones" / "example.org.zone").write_text(
        "$TTL 1h\n@ SOA a.example.net. b 1 2h 15m 2w 5m\n NS a.example.net.\nx A 1\ny A 2\n"
    )
    result = run("check", "zones")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        'zones/example.com.yaml:8:10: www A: "203.0.113.800" is not an IPv4 address',
        'zones/example.org.zone:4:5: x A: "1" is not an IPv4 address',
        'zones/example.org.zone:5:5: y A: "2" is not an IPv4 address',
    ]
    assert "3 problems in 2 files" in result.stderr


def test_json(run: Run, folder: Path) -> None:
    """--format json has the problems as data, and counts."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE.replace("203.0.113.80", "10.0.0.1"))
    told = json.loads(run("check", "--format", "json").stdout)
    assert told == {
        "problems": [
            {
                "file": "zones/example.com.yaml",
                "line": 8,
                "column": 10,
                "severity": "warning",
                "where": "www A",
                "what": told["problems"][0]["what"],
                "hint": told["problems"][0]["hint"],
                "check": "address-special",
            }
        ],
        "files": 1,
        "zones": 1,
        "records": 4,
    }


def test_github(run: Run, folder: Path) -> None:
    """--format github writes workflow commands, with what would break them escaped."""
    (folder / "100%,a:b.zone").write_text("$TTL 1h\n@ SOA a b 1 2h 15m 2w 5m\n NS c.example.\nx A 5%\n")
    result = run("check", "--format", "github", "--origin", "example.org", "100%,a:b.zone")
    assert result.exit_code == 1
    assert result.stdout == (
        '::error file=100%25%2Ca%3Ab.zone,line=4,col=5::x A: "5%25" is not an IPv4 address\n'
    )


def test_warnings_count(run: Run, folder: Path) -> None:
    """A warning alone makes the exit code 1 as well."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE.replace("203.0.113.80", "127.0.0.1"))
    result = run("check")
    assert result.exit_code == 1
    assert "example.com.yaml:8:10: warning: www A: " in result.stdout
    assert "1 zone with 4 records can be served" in result.stderr


@pytest.mark.parametrize("name", ["example.com.zone", "db.example.com", "example.com"])
def test_master_files_of_any_name(run: Run, folder: Path, name: str) -> None:
    """A file that is not named as YAML is read as an RFC 1035 file."""
    (folder / "example.com.zone").rename(folder / name)
    assert run("check", name).exit_code == 0


def test_an_included_file_is_no_zone_of_its_own(run: Run, folder: Path) -> None:
    """In a folder, a *.zone file that another one includes is checked as a part of that one only."""
    zones = folder / "zones"
    (zones / "z.org.zone").write_text(
        "$TTL 1h\n@ SOA a.example.net. b 1 2h 15m 2w 5m\n NS a.example.net.\n$INCLUDE b.z.org.zone\n"
    )
    (zones / "zz.org.zone").write_text((zones / "z.org.zone").read_text().replace("$INCLUDE", ";"))
    (zones / "b.z.org.zone").write_text("x A 1\n")
    result = run("check", "zones")
    assert result.stdout.splitlines() == ['zones/b.z.org.zone:1:5: x A: "1" is not an IPv4 address']


def test_a_config_is_checked(run: Run, folder: Path) -> None:
    """geodns.yaml is read as a config, with the databases it names; without PATH its zones are checked."""
    (folder / "geodns.yaml").write_text("zones: elsewhere\ngeo: {databases: [missing.mmdb]}\n")
    (folder / "zones").rename(folder / "elsewhere")
    result = run("check")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stdout.splitlines()] == ["missing.mmdb"]
    assert "1 zone with 4 records" in result.stderr
    (folder / "ns1.yaml").write_text("listen: [nowhere:53]\n")
    assert "ns1.yaml:1:" in run("check", "ns1.yaml").stdout


def test_nothing_to_check(run: Run, folder: Path) -> None:
    """No PATH and no ./zones is told in a line; a file that is not there is a problem."""
    (folder / "zones").rename(folder / "other")
    result = run("check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("geodns: there is no folder ./zones here")
    assert run("check", "nowhere").stdout == "nowhere: the file cannot be read: no such file or directory\n"
    assert "no such file" in run("check", "nowhere.yaml").stdout
