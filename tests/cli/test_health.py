"""`geodns up`, `down`, `auto` and `status`: what they write, what they show, and how they refuse."""

import json
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

ZONE = """\
'': {type: NS, value: ns1.example.com.}
ns1: {type: A, value: 203.0.113.1}
www:
  type: A
  ttl: 60
  value: 203.0.113.80
  dynamic:
    pools:
      fra: {values: [203.0.113.10, 203.0.113.11], fallback: iad}
      iad: {values: [203.0.113.20]}
    rules: [{geos: [EU], pool: fra}, {pool: iad}]
api:
  type: A
  value: 203.0.113.80
  dynamic: {pools: {fra: {values: [203.0.113.10]}}, rules: [{pool: fra}]}
"""


@pytest.fixture(autouse=True)
def zone(folder: Path) -> None:
    """Two steered records that share a value."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE)


def overrides(folder: Path) -> list[str]:
    return (folder / "state" / "overrides").read_text().splitlines()


def test_down_for_a_time(run: Run, folder: Path) -> None:
    """One line says what is forced, until when, how much it matches, and where that is written."""
    result = run("down", "fra", "--for", "2h", "--reason", "power works")
    assert result.exit_code == 0
    until = re.search(r"until (\S+ \S+) UTC", result.stdout)
    assert until is not None
    assert f"fra is down until {until[1]} UTC: 2 values in 2 records (state/overrides)\n" == result.stdout
    end = datetime.strptime(until[1], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    assert timedelta(minutes=119) < end - datetime.now(UTC) < timedelta(minutes=121)
    assert [f"fra down until {until[1].replace(' ', 'T')}Z # power works"] == overrides(folder)


@pytest.mark.parametrize(
    ("target", "matched"),
    [
        ("203.0.113.10", "1 value in 2 records"),
        ("203.0.113.1?", "2 values in 2 records"),
        ("WWW.example.com/A/FRA", "2 values in 1 record"),
        ("www.example.com/A/fra/203.0.113.11", "1 value in 1 record"),
        ("*", "3 values in 2 records"),
    ],
)
def test_targets(run: Run, target: str, matched: str) -> None:
    """A value, a pool, a pool or value of one record, in any case, and patterns over them."""
    assert f"{target} is up: {matched} (state/overrides)\n" == run("up", target).stdout


def test_a_target_that_matches_nothing(run: Run, folder: Path) -> None:
    """It is refused as the typing error it may be, unless --force says that it is none."""
    result = run("down", "lhr")
    assert 1 == result.exit_code
    assert result.stderr.startswith('geodns: no value of the zones in zones matches "lhr" (')
    assert not (folder / "state").exists()
    assert "lhr is down: 0 values in 0 records (state/overrides)\n" == run("down", "lhr", "--force").stdout
    assert ["lhr down"] == overrides(folder)


def test_auto(run: Run, folder: Path) -> None:
    """It takes away the lines with this target, and tells of others that still match."""
    run("down", "fra")
    run("down", "203.0.113.1*")
    expected = (
        "fra: 1 line taken out of state/overrides\nstate/overrides:1: 203.0.113.1* still forces down what"
    )
    assert f"{expected} it matches of that\n" == run("auto", "fra").stdout
    result = run("auto", "203.0.113.10")
    assert 1 == result.exit_code
    expected = 'geodns: no line of state/overrides has the target "203.0.113.10"; it is forced by'
    assert f"{expected} state/overrides:1 (203.0.113.1*)\n" == result.stderr
    assert "203.0.113.1*: 1 line taken out of state/overrides\n" == run("auto", "203.0.113.1*").stdout
    assert 'has the target "fra"\n' == run("auto", "fra").stderr[-21:]


@pytest.mark.parametrize("seconds", ["0", "-1", "2x", "", "1.2.3h", "9" * 30 + "h"])
def test_a_time_that_is_none(run: Run, folder: Path, seconds: str) -> None:
    """What is no duration, or no time that a calendar has, is refused."""
    result = run("down", "fra", "--for", seconds)
    assert result.exit_code in (1, 2)
    assert len(result.stderr.splitlines()) < 5
    assert not (folder / "state" / "overrides").exists()


def test_a_broken_file_is_left_alone(run: Run, folder: Path) -> None:
    """Its problem is told with its place, by the commands and by `geodns check`; nothing is written."""
    (folder / "state").mkdir()
    (folder / "state" / "overrides").write_text("fra sideways\n")
    for command in (["down", "fra"], ["auto", "fra"]):
        result = run(*command)
        assert 1 == result.exit_code
        told = result.stderr.splitlines()
        assert told[0].endswith('state/overrides:1:5: "sideways" is neither up nor down') or "1:5" in told[0]
        assert "geodns: state/overrides was not changed" == told[-1]
    assert ["fra sideways"] == overrides(folder)
    for arguments in (["check"], ["check", "state/overrides"]):
        result = run(*arguments)
        assert 1 == result.exit_code
        assert result.stdout.startswith("state/overrides:1:5: ")


def test_a_broken_zone_is_told(run: Run, folder: Path) -> None:
    """What it steers can not be matched; the other zones are."""
    (folder / "zones" / "example.net.yaml").write_text("www: {type: A, value: 1}\n")
    result = run("down", "fra")
    assert 0 == result.exit_code
    assert "zones/example.net.yaml:1:23: " in result.stderr


# status

STATUS: dict[str, Any] = {
    "id": "ns1",
    "at": 1000.0,
    "is_looked": True,
    "values": [
        {
            "text": "203.0.113.10",
            "is_up": False,
            "real": True,
            "status": None,
            "forced": {
                "place": "state/overrides:3",
                "target": "fra",
                "is_up": False,
                "until": 4600.0,
                "reason": "power\x1b[31m works",
            },
            "since": 100.0,
            "ttl": None,
            "checks": ["tcp 203.0.113.10:443"],
            "records": ["www.example.com/A/fra", "a.example.com/A/fra", "b.example.com/A/fra"],
            "record_count": 1234,
        },
        {
            "text": "203.0.113.20",
            "is_up": True,
            "real": None,
            "status": True,
            "forced": None,
            "since": None,
            "ttl": None,
            "checks": [],
            "records": ["www.example.com/A/iad"],
            "record_count": 1,
        },
    ],
    "checks": {
        "tcp 203.0.113.10:443": {
            "key": "tcp 203.0.113.10:443",
            "own": True,
            "peers": {"http://192.0.2.2:5380": False},
            "failures": 1,
            "successes": 0,
            "rise": 2,
            "fall": 3,
            "ok": False,
            "detail": "connection refused",
            "at": 998.0,
        }
    },
    "pools": [
        {
            "name": "fra",
            "is_up": False,
            "weight_up": 1,
            "weight": 4,
            "min_up": 0.5,
            "records": ["www.example.com/A/fra"],
            "record_count": 1,
        }
    ],
    "peers": [{"peer": "http://192.0.2.3:5380", "counts": False, "detail": "timed out"}],
    "overrides": [],
    "problems": ["state/overrides:4:1: broken"],
}


class Server(HTTPServer):
    """A control endpoint that tells `told`, with `status`, and remembers who asked."""

    told: bytes = json.dumps(STATUS).encode()
    status = 200
    shown: str | None = None


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.shown = self.headers["Authorization"]
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.told)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def configured(folder: Path, server: Server, more: str = "") -> None:
    text = f"control: {{listen: '127.0.0.1:{server.server_port}'{more}}}\n"
    (folder / "geodns.yaml").write_text(text)


def test_status_is_a_table(run: Run, folder: Path, server: Server) -> None:
    """A row for each value, remarks on pools, peers and problems, and a summary on stderr."""
    configured(folder, server)
    result = run("status")
    assert 0 == result.exit_code
    lines = [re.sub(r" {2,}", "|", line.rstrip()) for line in result.stdout.splitlines()]
    assert [
        "VALUE|STATE|SINCE|FORCED|CHECK|LAST RESULT|RECORDS",
        "203.0.113.10|down (checks: up)|15m ago|down for 1h by state/overrides:3 (power\\x1b[31m works)"
        "|tcp 203.0.113.10:443|connection refused, 2s ago, 1 of 3 failures, 1 of 1 peers see it down"
        "|www.example.com/A/fra, a.example.com/A/fra, b.example.com/A/fra and 1,231 more",
        "203.0.113.20|up|up by the zone file|www.example.com/A/iad",
        "state/overrides:4:1: broken; the overrides before it hold",
        "pool fra is down (www.example.com/A/fra): 1 of 4 of its weight is up, 50% are needed",
        "peer http://192.0.2.3:5380 is silent and does not count: timed out",
    ] == lines
    assert "geodns: ns1: 2 values, 1 down, 1 forced, 1 check\n" == result.stderr


def test_status_as_json(run: Run, folder: Path, server: Server) -> None:
    """--format json is what the server told, and the token of the config is shown to it."""
    (folder / "token").write_text("e5e973e5a6b2a43f48e7dc849e37bfcf\n")
    (folder / "token").chmod(0o600)
    configured(folder, server, ", token_file: token")
    expected = {**STATUS, "challenges": []}
    assert expected == json.loads(run("status", "--format", "json").stdout)
    assert "Bearer e5e973e5a6b2a43f48e7dc849e37bfcf" == server.shown


def test_status_of_another_address(run: Run, folder: Path, server: Server) -> None:
    """--control asks elsewhere than the config says."""
    assert 0 == run("status", "--control", f"127.0.0.1:{server.server_port}").exit_code


@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (401, b'{"error": "to read needs the token"}', "refuses: to read needs the token"),
        (200, b"<html>", "what answers at 127.0.0.1:PORT is no geodns"),
        (200, b"[]", "what answers at 127.0.0.1:PORT is no geodns"),
        (200, b'{"values": [{}], "checks": {}}', "what the server tells is not of this version of geodns"),
    ],
)
def test_status_refused(
    run: Run, folder: Path, server: Server, status: int, told: bytes, expected: str
) -> None:
    """What the server says against it, and whatever else answers there, is one line."""
    configured(folder, server)
    server.status, server.told = status, told
    result = run("status")
    assert 1 == result.exit_code
    assert expected.replace("PORT", str(server.server_port)) in result.stderr
    assert 1 == len(result.stderr.splitlines())


def test_status_of_nobody(run: Run, folder: Path, server: Server) -> None:
    """Without a server, and without an address to ask at, a line says so."""
    result = run("status")
    assert (1, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "the config has no control.listen to ask at" in result.stderr
    configured(folder, server)
    server.shutdown()
    server.server_close()
    result = run("status")
    assert (1, 1) == (result.exit_code, len(result.stderr.splitlines()))
    assert "nobody answers at 127.0.0.1:" in result.stderr
