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
geo: {{databases: [{database}], overrides: {{127.0.0.0/8: database, "::1/128": OC-NZ}}}}
server: {{id: ns1}}
control: {{listen: "127.0.0.1:{port}"}}
"""


def traffic(port: int, query: str = "") -> dict:
    with urllib.request.urlopen(
        f"http://127.0.0.1:{port}/v1/traffic{query}", timeout=PATIENCE_SECONDS
    ) as got:
        return json.loads(got.read())


def ask(port: int, port_v6: int) -> None:
    """21 queries: 10 from Mexico, 4 from Costa Rica, 2 from Jamaica, 4 from ::1, and one for no name."""
    client = Client(port)
    for _ in range(10):
        client.ask(query("where.example.com", subnet="127.3.0.0/24"))
    client.rcode("nothing.example.com")
    client = Client(port_v6, "::1")
    for _ in range(4):
        client.ask(query("where.example.com"))
    for subnet in ("2002:7f04:1::/48", "64:ff9b::7f04:100/120", "64:ff9b::7f05:100/120"):
        client.ask(query("where.example.com", subnet=subnet))
        client.ask(query("where.example.com", subnet=subnet))


def query(name: str, subnet: str | None = None) -> bytes:
    options = [] if subnet is None else [dns.edns.ECSOption.from_text(subnet)]
    return dns.message.make_query(name, "TXT", use_edns=0, options=options).to_wire()


@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_the_last_minutes(engine: str, tmp_path: Path):
    """Within two seconds or so of a query it is in the counts, by rcode, zone, type and pool, and its
    client's country is among the places, be it IPv4 or IPv6; `since` leaves out what is known.
    """
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    control = free_port()
    config = CONFIG.format(database=TEST_DATABASE, port=control)
    listen = ("127.0.0.1:0", "[::1]:0")
    with serving(tmp_path, "--engine", engine, config=config, listen=listen) as process:
        ports = process.ports()
        end = monotonic() + PATIENCE_SECONDS
        while not traffic(control)["seconds"]:  # what is counted before is in no second
            assert monotonic() < end
            sleep(0.1)
        ask(*ports)
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
    assert [16, 4] == [row["queries"] for row in told["pools"]]
    places = {row["place"]: row["queries"] for row in told["places"] if row["place"]}
    assert {"NA-MX": 10, "NA-CR": 4, "NA-JM": 2, "OC-NZ": 4} == places
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
