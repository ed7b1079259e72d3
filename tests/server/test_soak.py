"""Everything at once for a while: load over UDP and TCP, reloads, health flaps, reports, scrapes, writes over
HTTP, log rotation.

`make test` does so for 6 seconds with each engine, `make soak` for 10 minutes (SOAK_SECONDS) with each.
"""

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from statistics import median
from threading import Event

import pytest

from tests.conftest import TEST_DATABASE
from tests.ports import free_port
from tests.server.api import TOKEN, Api
from tests.server.serving import (
    IS_NATIVE_BUILT,
    PATIENCE_SECONDS,
    Client,
    Load,
    serving,
    write_zone,
    zone_text,
)

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))  # for each engine
IS_LONG = SECONDS >= 300
WARM_SHARE = 60 / SECONDS if IS_LONG else 0.5  # of the time: memory may grow that long
TURN_SECONDS = 0.1
MIB = 1 << 20
# Of memory after that: five minutes of counts, and gaps in the heap. A short run ends while it warms up.
GROWTH_OCTETS_MAX = (4 if IS_LONG else 12) * MIB
GROWTH_DESCRIPTORS_MAX = 16  # connections of the load and of the endpoint come and go
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
HELPERS = {"geodns.health.prober": "prober", "geodns.control.worker": "clerk"}
WRITTEN = "written.test"
NATIVE = pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built"))


class Usage:
    """Memory and descriptors of the server, and the memory of its helpers, looked at again and again."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        self.memory: list[dict[str, int]] = []
        self.descriptors: list[int] = []

    def look(self) -> None:
        self.memory.append({"server": _resident(self._folder), **dict(self._helpers())})
        self.descriptors.append(len(os.listdir(self._folder / "fd")))

    def _helpers(self) -> Iterator[tuple[str, int]]:
        for children in self._folder.glob("task/*/children"):
            try:
                for pid in children.read_text().split():
                    folder = Path(f"/proc/{pid}")
                    for word in (folder / "cmdline").read_bytes().decode().split("\0"):
                        if word in HELPERS:
                            yield HELPERS[word], _resident(folder)
            except OSError:  # a thread or a process that has just ended
                continue

    def check(self) -> None:
        """What was used at the end, against what was used at the most while it was warming up."""
        warm = int(len(self.memory) * WARM_SHARE)
        early, late = max(self.descriptors[:warm]), max(self.descriptors[warm:])
        print(f"descriptors {early}, later {late}")
        grown = []
        for name in ("server", *HELPERS.values()):
            before = max((row[name] for row in self.memory[:warm] if name in row), default=0)
            later = [row[name] for row in self.memory[warm:] if name in row]
            after = median(later[-max(1, len(later) // 10) :]) if later else 0
            print(f"memory of the {name}: {before / MIB:.1f} MiB, later {after / MIB:.1f} MiB")
            print(f"    in tenths of the time: {self._course(name)}")
            if before and after - before > GROWTH_OCTETS_MAX:
                grown.append(name)
        assert [] == grown
        assert late - early <= GROWTH_DESCRIPTORS_MAX

    def _course(self, name: str) -> str:
        """Memory in tenths of the time."""
        every = max(1, len(self.memory) // 10)
        return " ".join(f"{row.get(name, 0) / MIB:.1f}" for row in self.memory[every - 1 :: every])


def _resident(folder: Path) -> int:
    return int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Trouble:
    """What an operator, tools and sites do in a day, one after the other."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._version = 1
        self.done: Counter[str] = Counter()
        self._next = cycle(
            (self._save, self._flap, self._scrape, self._break, self._flap, self._traffic, self._mend)
        )

    def turn(self) -> None:
        does = next(self._next)
        does()
        self.done[does.__name__.strip("_")] += 1
        if self.done.total() % 50 == 0:
            self._api.process.send(signal.SIGHUP)
            self.done["SIGHUP"] += 1

    def _save(self) -> None:
        self._version += 1
        write_zone(self._api.zones, self._version, extra=STEERED)

    def _break(self) -> None:
        (self._api.zones / "example.org.yaml").write_text("'': {type: NS\n")

    def _mend(self) -> None:
        write_zone(self._api.zones, name="example.org")

    def _flap(self) -> None:
        state = "down" if self.done["flap"] % 2 else "up"
        assert 200 == self._api.ask("PUT", "/v1/external/soak", {"state": state}).status

    def _scrape(self) -> None:
        assert b"geodns_queries_total{" in self._api.ask("GET", "/metrics").body

    def _traffic(self) -> None:
        assert self._api.ask("GET", "/v1/traffic").json["window_seconds"]


class Writer:
    """Somebody who changes a zone of theirs over HTTP, the whole file and one record in turn, and sees each
    change answered before the next.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._client = Client(api.dns)
        self._path = f"/v1/zones/{WRITTEN}"
        self._etag = ""
        self._said: dict[str, list[str]] = {}
        self.waited: list[float] = []  # seconds until a write was answered
        self.refused = 0

    def run(self, is_over: Event) -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            said = [f"a {number}", f"b {number}"]
            edited = f"edited: {{type: TXT, ttl: 1, values: {said}}}   # by hand\n"
            whole = zone_text(number, edited).encode()
            condition = {"If_Match": self._etag} if self._etag else {"If_None_Match": "*"}
            self._write({"version": said, "edited": said}, self._path, whole, **condition)
            said = [f"a {number} edited", f"b {number} edited"]
            record = {"ttl": 1, "values": said}
            self._write({"edited": said}, f"{self._path}/records/edited/TXT", record, If_Match=self._etag)
            self._be_refused(whole)
        assert edited.partition("#")[2] in self._api.ask("GET", self._path).body.decode()

    def _write(self, said: dict[str, list[str]], path: str, body: object, **condition: str) -> None:
        answer = self._api.ask("PUT", path, body, **condition)
        assert answer.status in (200, 201), answer
        assert answer.json["written"]
        self._etag = answer.etag
        before, self._said = self._said, self._said | said
        began = time.monotonic()
        for name, wanted in self._said.items():
            while (answered := self._client.texts(f"{name}.{WRITTEN}")) != wanted:
                assert answered == before.get(name, []), f"{answered} is neither {wanted} nor what was before"
                assert time.monotonic() - began < PATIENCE_SECONDS, f"{wanted} is not answered"
                time.sleep(TURN_SECONDS / 2)
        self.waited.append(time.monotonic() - began)

    def _be_refused(self, whole: bytes) -> None:
        """By another's version, and with a zone that has errors; which changes nothing."""
        broken = whole + b"broken: {type: A, value: 192.0.2.300}\n"
        for status, body, etag in ((412, whole, '"old"'), (422, broken, self._etag)):
            assert status == self._api.ask("PUT", self._path, body, If_Match=etag).status
            self.refused += 1
        assert self._etag == self._api.etag(WRITTEN)


@pytest.mark.timeout(int(SECONDS) + 300)
@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_a_day_in_a_while(engine: str, tmp_path: Path) -> None:
    """No query is lost or half old, what is written over HTTP is answered, memory and descriptors do not grow
    once the server is warm, the logs stay within their bounds, and nothing is said that is a bug.
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
        api = Api(tmp_path, control, port, process)
        usage, trouble, writer = Usage(process.popen.pid), Trouble(api), Writer(api)
        is_over, end = Event(), time.monotonic() + SECONDS
        with Load(port, per_connection=100) as load, ThreadPoolExecutor(1) as others:
            writing = others.submit(writer.run, is_over)
            try:
                while time.monotonic() < end and not writing.done():
                    trouble.turn()
                    usage.look()
                    time.sleep(TURN_SECONDS)
            finally:
                is_over.set()
            writing.result()
        assert 0 == process.end()
    print(f"\n{engine}, {SECONDS:g} s: {load.asked:,} queries, {load.lost} lost, {len(load.torn)} torn")
    print(f"slowest answer {load.slowest:.2f} s")
    print(f"{len(load.versions):,} versions seen; {dict(trouble.done)}")
    waited = sorted(writer.waited)
    print(f"{len(waited):,} writes, answered after {median(waited):.2f} s, the last after {waited[-1]:.2f} s")
    print(f"{writer.refused:,} writes refused")
    assert (0, []) == (load.lost, load.torn)
    assert load.asked > 10 * SECONDS  # however busy the machine is
    assert len(load.versions) > 1
    assert {"queries.log", "queries.log.1", "queries.log.2"} >= {
        one.name for one in tmp_path.glob("queries.log*")
    }
    assert sum(one.stat().st_size for one in tmp_path.glob("queries.log*")) < 1_000_000
    assert [] == [line for line in process.said if "a bug" in line]
    usage.check()
