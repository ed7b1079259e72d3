"""deploy/prometheus and deploy/grafana, by promtool and on real scrapes of both engines."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import yaml

from tests.ports import free_port
from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS, Client, serving, write_zone

DEPLOY = Path(__file__).parents[2] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "geodns.json"
OF_OTHERS = {"up"}  # Prometheus's own

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool is not there (apt-get install prometheus)"
)
ENGINES = [
    "python",
    pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built")),
]


def promtool(*arguments: str, stdin: str | None = None) -> str:
    """What promtool says; fails when it does."""
    done = subprocess.run(
        ["promtool", *arguments], input=stdin, capture_output=True, text=True, check=False, cwd=ALERTS.parent
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout + done.stderr


def expressions() -> list[str]:
    """Every query of the dashboard, with its variables filled in."""
    board = json.loads(DASHBOARD.read_text())
    found = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    found += [row["expr"] for row in board["annotations"]["list"]]
    return [re.sub(r"\$__rate_interval", "5m", expression) for expression in found]


def fetch(port: int, path: str, accept: str = "text/plain") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@needs_promtool
def test_the_rules() -> None:
    """promtool accepts every alert, and each fires when its test says, and not on a server that is well."""
    promtool("check", "rules", str(ALERTS))
    promtool("test", "rules", str(ALERTS.with_name("alerts_test.yaml")))
    rules = [rule["alert"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]]
    tests = yaml.safe_load(ALERTS.with_name("alerts_test.yaml").read_text())["tests"]
    well, *firing = tests
    assert rules == [row["alertname"] for row in well["alert_rule_test"]]
    assert rules == [test["name"] for test in firing]
    assert all(test["alert_rule_test"][0]["exp_alerts"] for test in firing)


@needs_promtool
def test_the_dashboard_asks_what_prometheus_understands(tmp_path: Path) -> None:
    """Every query of the dashboard is PromQL."""
    rules = [{"record": f"panel:{at}", "expr": text} for at, text in enumerate(expressions())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scrape(engine: str, tmp_path: Path) -> None:
    """promtool finds nothing wrong with a real scrape; counts are those of the queries; the alerts and the
    dashboard ask for nothing that there is not. /readyz goes by zones only where it is told to.
    """
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    (tmp_path / "zones" / "broken.test.yaml").write_text("'': {type: NS, value: 3}\n")
    check = "octodns: {healthcheck: {protocol: TCP, port: 1}}"
    pools = "{fra: {values: [{value: 127.0.0.1}]}}"
    dynamic = f"dynamic: {{pools: {pools}, rules: [{{pool: fra}}]}}"
    steered = f"checked: {{type: A, value: 192.0.2.1, {dynamic}, {check}}}"
    write_zone(tmp_path / "zones", name="example.org", extra=steered)
    port = free_port()
    config = f"""
engine: {engine}
server: {{id: ns1}}
control: {{listen: "127.0.0.1:{port}"}}
peers: [{{url: "http://127.0.0.1:1"}}]
health: {{startup_timeout: 60}}
"""
    with serving(tmp_path, config=config) as process:
        (dns_port,) = process.ports()
        client = Client(dns_port)
        for _ in range(3):
            client.texts("version.example.com")
        client.rcode("nothing.example.com")
        client.ask(_query_a("checked.example.org"))
        _, text = fetch(port, "/metrics")
        _, openmetrics = fetch(port, "/metrics", "application/openmetrics-text; version=1.0.0")
        ready, _ = fetch(port, "/readyz")
        unready, why = fetch(port, "/readyz?zones=all")
    row = 'geodns_queries_total{family="ipv4",rcode="%s",transport="udp",type="%s",zone="example.com."}'
    assert f"{row % ('NOERROR', 'TXT')} 3.0" in text.splitlines()
    assert f"{row % ('NXDOMAIN', 'TXT')} 1.0" in text.splitlines()
    assert 'geodns_pool_answers_total{pool="",zone="example.org."} 1.0' in text.splitlines()
    assert 'geodns_pools_down{pool="fra"} 1.0' in text.splitlines()
    assert 'geodns_zone_state{geodns_zone_state="failed",zone="broken.test."} 1.0' in text.splitlines()
    assert f'geodns_build_info{{engine="{engine}",id="ns1"' in text
    assert openmetrics.endswith("# EOF\n")
    assert (200, 503) == (ready, unready)
    assert "no good version of 1 of the zones" in why
    assert "broken" not in why  # to everybody, so without names
    known = set(re.findall(r"^(\w+)", re.sub(r"^#.*$", "", text, flags=re.M), flags=re.M))
    known |= set(re.findall(r"^# TYPE (\w+)", text, flags=re.M))
    asked = [rule["expr"] for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]]
    wanted = set(
        re.findall(r"\b((?:geodns|process)_\w+|up)\b(?=[{\[ )]|$)", " ".join([*asked, *expressions()]))
    )
    assert "geodns_queries_total" in wanted
    assert set() == wanted - known - OF_OTHERS - {"geodns_zone_state"}
    if shutil.which("promtool") is not None:
        assert "" == promtool("check", "metrics", stdin=text)


def _query_a(name: str) -> bytes:
    import dns.message

    return dns.message.make_query(name, "A").to_wire()
