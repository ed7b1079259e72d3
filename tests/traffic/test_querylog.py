"""The query log: what a line says, which queries have one, and that the files stay as they should."""

import json
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep

import dns.edns
import dns.message
import pytest

from geodns.config import QueryLog as Settings
from geodns.config import Truncate, load_config
from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.traffic import writer as writer_module
from geodns.traffic.event import NANOSECONDS, Event
from geodns.traffic.places import Places
from geodns.traffic.querylog import QueryLog, shortened
from geodns.traffic.rotate import RotatingFile
from geodns.traffic.writer import QUEUE_EVENTS_MAX
from tests.conftest import NOW, TEST_DATABASE, make_snapshot
from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS, Client, serving, write_zone

ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
www:
  type: A
  values: [192.0.2.1]
  dynamic:
    pools: {fra: {values: [{value: 192.0.2.2, weight: 1}, {value: 192.0.2.3, weight: 1}]}}
    rules: [{pool: fra}]
"""
NATIVE = pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built"))


def event(snapshot: Snapshot, name: str, client: str = "127.2.0.1", subnet: str = "", draw: int = 7) -> Event:
    """A query, as a listener would have kept it."""
    options = [dns.edns.ECSOption.from_text(subnet)] if subnet else []
    packet = dns.message.make_query(name, "A", use_edns=0, options=options).to_wire()
    reply = answer(packet, client, snapshot, draw, NOW)
    return Event(NOW * NANOSECONDS + 5_000, 42_000, draw, 1, False, client, 5353, packet, reply or b"")


class Log:
    """A QueryLog over one snapshot, whose lines are read when it has ended."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.snapshot: Snapshot | None = make_snapshot({"example.com": ZONE})
        self.path = folder / "queries.log"
        self.said: list[str] = []

        def look(places: Places) -> None:
            places.configure(((str(TEST_DATABASE), 1),), {"127.0.0.0/8": "database"})

        self.log = QueryLog(
            Settings.model_validate({"file": self.path, **settings}),
            lambda: self.snapshot,
            look,
            lambda kind, text: self.said.append(text),
        )
        self.log.start()

    def lines(self, *events: Event) -> list[dict]:
        self.log.take(events)
        self.log.stop()
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def until(condition: Callable[[], object]) -> None:
    end = monotonic() + PATIENCE_SECONDS
    while not condition():
        assert monotonic() < end
        sleep(0.02)


def test_a_line(tmp_path: Path):
    """Who asked what from where, and by which rule which pool's value it was: what the engine did, no
    guess.
    """
    log = Log(tmp_path)
    query = event(log.snapshot, "www.example.com", subnet="127.3.0.0/24")
    (line,) = log.lines(query)
    expected = {
        "time": "2023-11-14T22:13:20.000005Z",
        "client": "127.2.0.1",
        "transport": "udp",
        "name": "www.example.com.",
        "type": "A",
        "rcode": "NOERROR",
        "zone": "example.com.",
        "took_us": 42,
        "octets": len(query.answer),
        "weight": 1,
        "subnet": "127.3.0.0/24",
        "rule": ["example.com.yaml:8:13"],
        "pool": ["fra"],
        "scope": 0,
    }
    assert expected == {key: line[key] for key in expected}
    sent = dns.message.from_wire(query.answer).answer[0][0].to_text()
    assert [sent] == line["values"]
    assert line["place"].count("-") >= 1


def test_a_snapshot_that_was_replaced(tmp_path: Path):
    """A line never says a rule that did not decide: where the answer comes out otherwise now, it says so."""
    log = Log(tmp_path)
    query = event(log.snapshot, "www.example.com")
    log.snapshot = make_snapshot({"example.com": ZONE.replace("192.0.2", "198.51.100")})
    (line,) = log.lines(query)
    assert line["exact"] is False
    assert not {"rule", "pool"} & set(line)
    assert line["values"][0].startswith("192.0.2.")


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({}, ["www.example.com.", "no.example.com.", "www.example.org.", ""]),
        ({"zones": ["example.com"]}, ["www.example.com.", "no.example.com."]),
        ({"rcodes": ["NXDOMAIN"]}, ["no.example.com."]),
        ({"rcodes": ["REFUSED", "NXDOMAIN"], "zones": "example.com"}, ["no.example.com."]),
        ({"places": ["XX"]}, []),
    ],
)
def test_filters(tmp_path: Path, settings: dict, names: list[str]):
    """Zone, rcode and place; what is no query at all has a line as well, without a name."""
    log = Log(tmp_path, **settings)
    events = [event(log.snapshot, name) for name in ("www.example.com", "no.example.com", "www.example.org")]
    events.append(Event(NOW * NANOSECONDS, 1, 1, 1, True, "192.0.2.1", 1, b"GET / HTTP/1.1", b""))
    assert names == [line["name"] for line in log.lines(*events)]


def test_addresses_are_shortened():
    """To as many bits as are to be kept, of both families, in the client's subnet too."""
    assert "192.0.2.0" == shortened("192.0.2.77", Truncate(v4=24))
    assert "2001:db8:1:200::" == shortened("2001:db8:1:2ff::1", Truncate(v6=56))
    assert "::1" == shortened("::1", Truncate(v4=0))


def test_a_subnet_is_shortened(tmp_path: Path):
    """A longer one than is kept; nothing of an address is anywhere else in the line."""
    log = Log(tmp_path, truncate={"v4": 16})
    (line,) = log.lines(event(log.snapshot, "no.example.com", client="127.2.33.44", subnet="127.3.55.66/32"))
    assert ("127.2.0.0", "127.3.0.0/16") == (line["client"], line["subnet"])
    assert not any(part in json.dumps(line) for part in ("33.44", "55.66", ".55."))


def test_a_full_queue_drops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Whoever hands queries over goes on at once while nothing can be written; what was lost is counted."""
    log = Log(tmp_path)
    query = event(log.snapshot, "www.example.com")
    began, go_on = threading.Event(), threading.Event()

    def stuck(events: object) -> int:
        began.set()
        go_on.wait(PATIENCE_SECONDS)
        return 1

    monkeypatch.setattr(log.log, "write", stuck)
    log.log.take([query])
    assert began.wait(PATIENCE_SECONDS)
    log.log.take([query] * (QUEUE_EVENTS_MAX + 17))
    assert 17 == log.log.dropped
    go_on.set()
    log.log.stop()


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A file that can not be written is told, its queries are counted, and it is tried again."""
    monkeypatch.setattr(writer_module, "AGAIN_SECONDS", 0.01)
    log = Log(tmp_path / "missing")
    log.log.take([event(log.snapshot, "www.example.com")])
    until(lambda: log.log.dropped == 1)
    assert "no such file" in log.said[0].lower()
    (tmp_path / "missing").mkdir()
    assert 1 == len(log.lines(event(log.snapshot, "www.example.com")))


def test_rotation(tmp_path: Path):
    """By size and by age, as many as are to be kept, and every line in one of them, whole."""
    path, now = tmp_path / "q", [1000.0]
    file = RotatingFile(path, 100, 0, 3, lambda: now[0])
    for number in range(30):
        file.write(b"%039d\n" % number)
    file.close()
    kept = [tmp_path / "q.3", tmp_path / "q.2", tmp_path / "q.1", path]
    assert sorted(kept) == sorted(tmp_path.iterdir())
    assert [*range(22, 30)] == [int(line) for one in kept for line in one.read_text().split()]
    assert all(one.stat().st_size <= 100 and one.stat().st_mode & 0o007 == 0 for one in kept)
    aged = RotatingFile(tmp_path / "aged", 0, 60, 1, lambda: now[0])
    aged.write(b"old\n")
    now[0] += 61
    aged.look()
    aged.write(b"new\n")
    aged.close()
    assert ("old\n", "new\n") == ((tmp_path / "aged.1").read_text(), (tmp_path / "aged").read_text())


@pytest.mark.parametrize("engine", ["python", NATIVE])
def test_a_server_that_logs(engine: str, tmp_path: Path):
    """Every query has its line from the first on; SIGHUP has a file that was moved away begun anew."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    path = tmp_path / "queries.log"
    config = f"geo: {{databases: [{TEST_DATABASE}]}}\nquerylog: {{file: queries.log}}\n"
    with serving(tmp_path, "--engine", engine, config=config) as process:
        (port,) = process.ports()
        client = Client(port)
        for _ in range(50):
            client.texts("version.example.com")
        until(lambda: path.exists() and path.read_text().count("\n") == 50)
        path.rename(tmp_path / "moved")
        client.texts("where.example.com")
        until(lambda: (tmp_path / "moved").read_text().count("\n") == 51)
        process.send(signal.SIGHUP)
        until(path.exists)
        client.rcode("nothing.example.com")
        assert 0 == process.end()
    (line,) = map(json.loads, path.read_text().splitlines())
    assert ("nothing.example.com.", "NXDOMAIN") == (line["name"], line["rcode"])
    moved = [json.loads(line) for line in (tmp_path / "moved").read_text().splitlines()]
    assert {"version.example.com.": 50, "where.example.com.": 1} == {
        name: sum(row["name"] == name for row in moved) for name in {row["name"] for row in moved}
    }


def test_the_settings(tmp_path: Path):
    """1% is 0.01, paths are relative to the config, zones are names; nonsense has its line and a sentence."""
    file = tmp_path / "geodns.yaml"
    file.write_text(
        "querylog: {file: log/q, sample: 1%, zones: example.com, rotate_after: 1h}\ndnstap: {socket: tap}\n"
    )
    config, problems = load_config(file)
    assert [] == problems
    assert config is not None
    assert (tmp_path / "log/q", 0.01, ["example.com."]) == (
        config.querylog.file,
        config.querylog.sample,
        config.querylog.zones,
    )
    assert (3600.0, tmp_path / "tap") == (config.querylog.rotate_after, config.dnstap.socket)
    file.write_text("querylog:\n  sample: lots%\ndnstap: {socket: a, file: b}\n")
    config, problems = load_config(file)
    assert config is None
    said = [str(problem) for problem in problems]
    assert any(f"{file}:2:11: querylog.sample" in line and "is not a share" in line for line in said)
    assert any("socket and file exclude each other" in line for line in said)
