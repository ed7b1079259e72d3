"""Everything at once for a while: load over UDP and TCP, reloads, health flaps, reports, scrapes, log
rotation.

`make test` does so for 6 seconds with each engine, `make soak` for 10 minutes (SOAK_SECONDS) in all.
"""

import json
import os
import signal
import time
import urllib.request
from itertools import cycle
from pathlib import Path
from statistics import median

import pytest

from tests.conftest import TEST_DATABASE
from tests.ports import free_port
from tests.server.serving import IS_NATIVE_BUILT, Load, Process, serving, write_zone

SECONDS = float(os.environ.get("SOAK_SECONDS", "12")) / 2  # for each engine
WARM_SHARE = 0.5 if SECONDS < 120 else 60 / SECONDS  # of the time: memory may grow that long
TURN_SECONDS = 0.1
GROWTH_OCTETS_MAX = (
    12 << 20
)  # of resident memory after that; a leak of 1 kB a reload would be more in ten minutes
GROWTH_SHARE_MAX = 0.10
GROWTH_DESCRIPTORS_MAX = 16  # connections of the load and of the endpoint come and go
TOKEN = "0123456789abcdef0123456789abcdef"
CONFIG = """
geo: {{databases: [{database}], overrides: {{127.0.0.0/8: database}}}}
server: {{id: soak}}
control: {{listen: "127.0.0.1:{port}", token_file: token}}
health: {{startup_timeout: 0}}
querylog: {{file: queries.log, rotate_octets: 200000, rotate_keep: 2, truncate: {{v4: 24}}}}
dnstap: {{file: queries.tap}}
"""
STEERED = """
steered:
  type: A
  ttl: 1
  values: [192.0.2.1]
  octodns: {healthcheck: {protocol: EXTERNAL, name: soak}}
  dynamic: {pools: {fra: {values: [{value: 192.0.2.2}]}}, rules: [{pool: fra}]}
"""
NATIVE = pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built"))


class Usage:
    """Memory and descriptors of the server, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.memory: list[int] = []
        self.descriptors: list[int] = []

    def look(self) -> None:
        resident = int((self._folder / "statm").read_text().split()[1])
        self.memory.append(resident * os.sysconf("SC_PAGE_SIZE"))
        self.descriptors.append(len(os.listdir(self._folder / "fd")))

    def check(self) -> None:
        """What was used at the end, against what was used at the most while it was warming up."""
        warm = int(len(self.memory) * WARM_SHARE)
        before, after = max(self.memory[:warm]), median(self.memory[-max(1, len(self.memory) // 10) :])
        told = f"{before >> 20} MiB, later {int(after) >> 20} MiB"
        early, late = max(self.descriptors[:warm]), max(self.descriptors[warm:])
        print(f"memory {told}; descriptors {early}, later {late}")
        assert after - before <= max(GROWTH_OCTETS_MAX, GROWTH_SHARE_MAX * before), told
        assert late - early <= GROWTH_DESCRIPTORS_MAX


class Trouble:
    """What an operator, tools and sites do in a day, one after the other."""

    def __init__(self, folder: Path, process: Process, port: int) -> None:
        self._folder = folder
        self._process = process
        self._url = f"http://127.0.0.1:{port}"
        self._version = 1
        self.turns = 0
        self._next = cycle(
            (self._reload, self._flap, self._scrape, self._break, self._flap, self._traffic, self._mend)
        )

    def turn(self) -> None:
        next(self._next)()
        self.turns += 1
        if self.turns % 50 == 0:
            self._process.send(signal.SIGHUP)

    def _reload(self) -> None:
        self._version += 1
        write_zone(self._folder / "zones", self._version, extra=STEERED)

    def _break(self) -> None:
        (self._folder / "zones" / "example.org.yaml").write_text("'': {type: NS\n")

    def _mend(self) -> None:
        write_zone(self._folder / "zones", name="example.org")

    def _flap(self) -> None:
        state = "down" if self.turns % 2 else "up"
        self._ask("/v1/external/soak", {"state": state})

    def _scrape(self) -> None:
        assert b"geodns_queries_total{" in self._ask("/metrics")

    def _traffic(self) -> None:
        assert json.loads(self._ask("/v1/traffic"))["window_seconds"]

    def _ask(self, path: str, report: object = None) -> bytes:
        data = None if report is None else json.dumps(report).encode()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        method = "GET" if data is None else "PUT"
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            body: bytes = response.read()
            return body


@pytest.mark.timeout(int(SECONDS) + 300)
@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_a_day_in_a_while(engine: str, tmp_path: Path) -> None:
    """No query is lost or half old, memory and descriptors do not grow once the server is warm, the logs stay
    within their bounds, and nothing is said that is a bug.
    """
    (tmp_path / "zones").mkdir()
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    write_zone(tmp_path / "zones", extra=STEERED)
    write_zone(tmp_path / "zones", name="example.org")
    control = free_port()
    config = CONFIG.format(database=TEST_DATABASE, port=control)
    with serving(tmp_path, "--engine", engine, config=config) as process:
        (port,) = process.ports()
        usage, trouble = Usage(process.popen.pid), Trouble(tmp_path, process, control)
        end = time.monotonic() + SECONDS
        with Load(port, per_connection=100) as load:
            while time.monotonic() < end:
                trouble.turn()
                usage.look()
                time.sleep(TURN_SECONDS)
        assert 0 == process.end()
    print(f"{engine}: {load.asked:,} queries, {trouble.turns:,} turns, {len(load.versions):,} versions seen")
    assert (0, []) == (load.lost, load.torn)
    assert load.asked > 10 * SECONDS  # however busy the machine is
    assert len(load.versions) > 1
    assert {"queries.log", "queries.log.1", "queries.log.2"} >= {
        one.name for one in tmp_path.glob("queries.log*")
    }
    assert sum(one.stat().st_size for one in tmp_path.glob("queries.log*")) < 1_000_000
    assert [] == [line for line in process.said if "a bug" in line]
    usage.check()
