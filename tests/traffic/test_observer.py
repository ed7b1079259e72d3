"""GET /v1/traffic of a real server: what was asked a moment ago, and from where."""

import json
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic, sleep

import dns.edns
import dns.message
import pytest

from tests.conftest import TEST_DATABASE
from tests.ports import free_port
from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS, Client, serving, write_zone

NATIVE = pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built"))
CONFIG = """
geo: {{databases: [{database}], overrides: {{127.0.0.0/8: database}}}}
server: {{id: ns1}}
control: {{listen: "127.0.0.1:{port}"}}
"""


def traffic(port: int, query: str = "") -> dict:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/v1/traffic{query}", timeout=PATIENCE_SECONDS
    ) as got:
        return json.loads(got.read())


def ask(port: int) -> None:
    client = Client(port)
    option = dns.edns.ECSOption.from_text("127.3.0.0/24")
    packet = dns.message.make_query("where.example.com", "TXT", use_edns=0, options=[option]).to_wire()
    for _ in range(20):
        client.ask(packet)
    client.rcode("nothing.example.com")


@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_the_last_minutes(engine: str, tmp_path: Path):
    """Within two seconds or so of a query it is in the counts, by rcode, zone, type and pool, and its
    client's country is among the places; `since` leaves out what is known.
    """
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    control = free_port()
    config = CONFIG.format(database=TEST_DATABASE, port=control)
    with serving(tmp_path, "--engine", engine, config=config) as process:
        (port,) = process.ports()
        end = monotonic() + PATIENCE_SECONDS
        while not traffic(control)["seconds"]:  # what is counted before is in no second
            assert monotonic() < end
            sleep(0.1)
        ask(port)
        while (told := traffic(control))["queries"] < 21 or told["seen"] < 21:
            assert monotonic() < end
            sleep(0.1)
        with pytest.raises(urllib.error.HTTPError, match="400"):
            traffic(control, "?since=yesterday")
        later = traffic(control, f"?since={told['seconds'][-1]['at']}")
    assert "ns1" == told["id"]
    rcodes: dict[str, int] = {}
    for second in told["seconds"]:
        for rcode, count in second["rcodes"].items():
            rcodes[rcode] = rcodes.get(rcode, 0) + count
    assert {"NOERROR": 20, "NXDOMAIN": 1} == rcodes
    assert [{"zone": "example.com.", "queries": 21}] == told["zones"]
    assert {"TXT": 21} == told["types"]
    assert [20] == [row["queries"] for row in told["pools"]]
    places = {row["place"]: row["queries"] for row in told["places"]}
    assert 20 in places.values()
    assert all(place == "" or place[2] == "-" for place in places)
    assert any(second["p50_us"] and second["p99_us"] >= second["p50_us"] for second in told["seconds"])
    assert {second["at"] for second in later["seconds"]}.isdisjoint({row["at"] for row in told["seconds"]})


def test_ready_or_not(tmp_path: Path):
    """503 as long as the zones are loaded, and 200 when they are served."""
    (tmp_path / "zones").mkdir()
    check = "octodns: {healthcheck: {protocol: EXTERNAL, name: nobody}}"
    dynamic = "dynamic: {pools: {fra: {values: [{value: 192.0.2.2}]}}, rules: [{pool: fra}]}"
    write_zone(tmp_path / "zones", extra=f"a: {{type: A, value: 192.0.2.1, {dynamic}, {check}}}")
    control = free_port()
    config = CONFIG.format(database=TEST_DATABASE, port=control) + "health: {startup_timeout: 3}\n"
    with serving(tmp_path, config=config) as process:
        codes = []
        end = monotonic() + PATIENCE_SECONDS
        while codes[-1:] != [200]:
            assert monotonic() < end
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{control}/readyz", timeout=5) as got:
                    codes.append(got.status)
            except urllib.error.HTTPError as error:
                codes.append(error.code)
            except OSError:
                codes.append(0)  # it does not listen yet
            sleep(0.05)
        process.ports()
    assert {503, 200} == set(codes) - {0}
