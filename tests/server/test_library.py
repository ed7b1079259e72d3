"""Loading, in a process of its own: what is taken up, what is kept, and what is said about it."""

import gc
import io
import os
import subprocess
import sys
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodns.config import Config
from geodns.engine.snapshot import Identity, Snapshot
from geodns.name import Name
from geodns.server import library as library_module
from geodns.server.files import fingerprint_of
from geodns.server.library import Library, Settings
from geodns.server.loader import _serial
from geodns.server.messages import Known
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.table.compile import link
from tests.conftest import NOW, TEST_DATABASE
from tests.server.serving import PATIENCE_SECONDS, query, texts, write_zone, zone_text

BROKEN = "'': {type: A, value: 192.0.2.300}\n"


class Loaded:
    """A library on a folder of its own, and the snapshot it publishes."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.folder = folder
        self.zones = folder / "zones"
        self.zones.mkdir()
        self.database = folder / "places.mmdb"
        self.database.write_bytes(TEST_DATABASE.read_bytes())
        self.config = Config(
            zones=self.zones,
            geo={"databases": [str(folder / "*.mmdb")], "overrides": {"127.0.0.0/8": "database"}},
            limits=limits,
        )
        self.said = io.StringIO()
        self.served = Served(Snapshot(link([])), Sayer(self.said))
        self.library = Library(self.config, Settings(Identity(), (bytes(16),)), self.served)

    def ask(self, name: str, client: str = "192.0.2.1") -> bytes:
        return self.served.answer(query(name), client, self.served.snapshot, 0, NOW, False)

    def texts(self, name: str, client: str = "192.0.2.1") -> list[str]:
        return texts(self.ask(name, client))

    def rcode(self, name: str) -> int:
        return self.ask(name)[3] & 15

    def serial(self, name: str) -> int:
        return self.served.snapshot.table.zones[Name.parse(name).key].serial

    def lines(self) -> list[str]:
        """What was said since the last call, without the folder."""
        said = self.said.getvalue().replace(f"{self.folder}/", "")
        self.said.seek(0)
        self.said.truncate()
        return said.splitlines()


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    """A library with example.com and example.net."""
    loaded = Loaded(tmp_path)
    write_zone(loaded.zones, 1)
    write_zone(loaded.zones, 1, "example.net")
    assert loaded.library.load()
    assert [] == loaded.lines()
    yield loaded
    gc.unfreeze()


def test_zones_and_places(loaded: Loaded):
    """What is in the folder is answered, by place where a record says so, beside the built-in zones."""
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")
    places = {loaded.texts("where.example.com.", f"127.{number}.0.1")[0] for number in range(1, 250)}
    assert {"europe", "america", "elsewhere"} == places
    assert 0 == loaded.rcode("localhost.")


def test_nothing_changed(loaded: Loaded):
    """Without a change there is nothing to do, and a load all the same changes nothing."""
    assert not loaded.library.is_stale()
    tables = loaded.library.zones
    assert loaded.library.load()
    assert all(old is new for old, new in zip(tables, loaded.library.zones, strict=True))
    assert [] == loaded.lines()


def test_what_ends_after_a_load_is_freed(
    loaded: Loaded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that was open during a load is a cycle, as asyncio has them; when all that is frozen is
    looked at again it is freed, which is the sooner the fewer objects there are.
    """
    monkeypatch.setattr(library_module, "OBJECTS_PER_LOAD", gc.get_freeze_count())

    class Connection:
        def __init__(self) -> None:
            self.callback = self.__init__

    connection = Connection()
    ended = weakref.ref(connection)
    (tmp_path / "other").mkdir()
    library = Loaded(tmp_path / "other").library
    assert library.load()
    del connection
    gc.collect()
    assert ended() is not None, "it was frozen"
    assert library.load()
    assert library.load()
    assert ended() is None


def test_only_the_changed_zone_is_compiled(loaded: Loaded):
    """A saved zone is taken up; the table of the other one is the same object as before."""
    table = loaded.served.snapshot.table.zones[Name.parse("example.net").key]
    serial = loaded.serial("example.com")
    write_zone(loaded.zones, 2)
    assert loaded.library.is_stale()
    assert loaded.library.load()
    assert ["a 2", "b 2"] == loaded.texts("version.example.com.")
    assert table is loaded.served.snapshot.table.zones[Name.parse("example.net").key]
    assert loaded.serial("example.com") > serial
    assert [f"geodns: example.com.: serial {loaded.serial('example.com')}, 5 records"] == loaded.lines()


def test_what_ends_meanwhile_is_freed(loaded: Loaded, monkeypatch: pytest.MonkeyPatch):
    """Cycles that become garbage while zones are loaded, as connections do, are not kept with the zones."""

    class Connection:
        def __init__(self) -> None:
            self.transport = self

    ended: list[weakref.ref[Connection]] = []

    def prepare(*_: object) -> bool:
        ended.append(weakref.ref(Connection()))
        return True

    monkeypatch.setattr(library_module._Unsteered, "prepare", prepare)
    write_zone(loaded.zones, 2)
    assert loaded.library.load()
    gc.collect()
    assert [None] == [each() for each in ended]


def test_a_broken_zone_keeps_its_last_good_version(loaded: Loaded):
    """The problem is told with its address; the version before is served until the file is mended."""
    serial = loaded.serial("example.com")
    (loaded.zones / "example.com.yaml").write_text(BROKEN)
    assert loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")
    lines = loaded.lines()
    assert lines[0].startswith('zones/example.com.yaml:1:22: @ A: "192.0.2.300" is not an IPv4 address')
    expected = f"geodns: example.com.: zones/example.com.yaml is broken; serial {serial} is still served"
    assert expected == lines[-1]
    assert not loaded.library.is_stale()
    write_zone(loaded.zones, 3)
    assert loaded.library.load()
    assert ["a 3", "b 3"] == loaded.texts("version.example.com.")
    assert [] == loaded.library.files[str(loaded.zones / "example.com.yaml")].problems


def test_a_zone_that_never_was_good_is_a_failure(loaded: Loaded):
    """SERVFAIL: the zone is ours, and we have nothing to say; REFUSED would send resolvers away for good."""
    (loaded.zones / "example.org.yaml").write_text(BROKEN)
    assert loaded.library.load()
    assert [2, 2, 5, 0] == [
        loaded.rcode(name) for name in ("example.org.", "a.example.org.", "example.edu.", "example.com.")
    ]
    expected = (
        "geodns: example.org.: zones/example.org.yaml is broken; its names are answered SERVFAIL until it"
    )
    assert f"{expected} is mended" == loaded.lines()[-1]


def test_added_and_removed_files(loaded: Loaded):
    """A new file is a new zone; a removed one is a zone no more."""
    write_zone(loaded.zones, 1, "example.org")
    (loaded.zones / "example.net.yaml").unlink()
    assert loaded.library.load()
    assert [0, 5] == [loaded.rcode("version.example.org."), loaded.rcode("version.example.net.")]
    assert "geodns: example.net.: not served any more: its file is gone" in loaded.lines()


def test_a_folder_that_can_not_be_read_removes_nothing(loaded: Loaded):
    """A folder that is gone for a moment (a mount, a checkout) does not take all zones with it."""
    loaded.zones.rename(loaded.folder / "away")
    assert loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")
    assert ["zones: the directory of zones cannot be read: no such file or directory"] == loaded.lines()


def test_a_file_that_became_something_else_keeps_its_zone(loaded: Loaded):
    """A link that leads nowhere is a broken zone file, and not a removed one."""
    (loaded.zones / "example.com.yaml").unlink()
    (loaded.zones / "example.com.yaml").symlink_to("nowhere")
    assert loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")


def test_a_file_overrides_a_built_in_zone(loaded: Loaded):
    """localhost.yaml is served instead of the built-in localhost, which comes back when the file goes."""
    path = write_zone(loaded.zones, 7, "localhost")
    assert loaded.library.load()
    assert ["a 7", "b 7"] == loaded.texts("version.localhost.")
    path.unlink()
    assert loaded.library.load()
    assert [] == loaded.texts("version.localhost.")
    assert 0 == loaded.rcode("localhost.")


def test_a_replaced_database_is_taken_up(loaded: Loaded, tmp_path: Path):
    """Another database gives other places, without any zone being compiled again."""
    assert ["america"] == loaded.texts("where.example.com.", an_american(loaded))
    tables = loaded.library.zones
    loaded.library.configure(
        loaded.config.model_copy(
            update={
                "geo": loaded.config.geo.model_copy(update={"overrides": {"127.0.0.0/8": "EU-DE"}}),
            }
        ),
        loaded.library.settings,
    )
    assert loaded.library.load()
    assert {"europe"} == {
        loaded.texts("where.example.com.", f"127.{number}.0.1")[0] for number in range(1, 250)
    }
    assert all(old is new for old, new in zip(tables, loaded.library.zones, strict=True))
    assert ["geodns: the geo databases were taken up"] == loaded.lines()


def an_american(loaded: Loaded) -> str:
    clients = (f"127.{number}.0.1" for number in range(1, 250))
    return next(client for client in clients if loaded.texts("where.example.com.", client) == ["america"])


@pytest.mark.parametrize("cut", [0, 1000, 8000])
def test_a_broken_database_is_refused(loaded: Loaded, cut: int):
    """A database that is damaged or half copied leaves what the one before it said; then it is mended."""
    client = an_american(loaded)
    whole = loaded.database.read_bytes()
    loaded.database.write_bytes(whole[:cut])
    assert loaded.library.load()
    assert ["america"] == loaded.texts("where.example.com.", client)
    lines = loaded.lines()
    assert lines[0].startswith("places.mmdb: ")
    expected = "geodns: the geo databases were not taken up; what they said before is still served"
    assert expected == lines[-1]
    write_zone(loaded.zones, 2)  # zones are taken up meanwhile
    assert loaded.library.load()
    assert (["a 2", "b 2"], ["america"]) == (
        loaded.texts("version.example.com."),
        loaded.texts("where.example.com.", client),
    )
    loaded.database.write_bytes(whole)
    assert loaded.library.load()
    assert "geodns: the geo databases were taken up" in loaded.lines()


def test_a_database_that_is_gone_is_remembered(loaded: Loaded):
    """Between `rm` and `cp` nobody gets the default answer; SIGHUP means it."""
    client = an_american(loaded)
    loaded.database.unlink()
    assert loaded.library.load()
    assert ["america"] == loaded.texts("where.example.com.", client)
    expected = "places.mmdb: the database is gone (what it said is still served; SIGHUP to do without it)"
    assert expected == loaded.lines()[0]
    assert loaded.library.load(everything=True)
    assert ["elsewhere"] == loaded.texts("where.example.com.", client)


def test_rules_by_place_without_a_database_are_told(tmp_path: Path):
    """A server that can not know any place says so at its start."""
    loaded = Loaded(tmp_path)
    loaded.database.unlink()
    write_zone(loaded.zones)
    assert loaded.library.load()
    expected = "geodns: there is no geo database (*.mmdb): rules by place or AS match nobody"
    assert [expected] == loaded.lines()
    assert ["elsewhere"] == loaded.texts("where.example.com.", "127.5.0.1")


def test_everything_anew(loaded: Loaded):
    """SIGHUP reads all files again; a serial that was made stays while its file is the same."""
    before = {name: loaded.serial(name) for name in ("example.com", "example.net")}
    tables = loaded.library.zones
    assert loaded.library.load(everything=True)
    assert before == {name: loaded.serial(name) for name in before}
    assert all(old is not new for old, new in zip(tables, loaded.library.zones, strict=True))


@pytest.mark.parametrize(
    ("changed", "known", "expected"),
    [
        (1000, None, 1000),
        (1000, Known((1, 1, 1), None, True), 1000),
        (1000, Known((1, 1, 1), 999, True), 1000),
        (1000, Known((1, 1, 1), 1000, True), 1001),
        (1000, Known((1, 1, 1), 2000, True), 2001),
        (1000, Known((1, 1, 1), 0xFFFFFFFF, True), 1000),
        (1000, Known((1, 1, 1), (1 << 31) + 1000, True), (1 << 31) + 1001),
        (5, Known((1, 1, 1), 0xFFFFFFFF, True), 5),
        (0xFFFFFFFF, Known((1, 1, 1), 0xFFFFFFFF, True), 0),
    ],
)
def test_made_serials_grow(changed: int, known: Known | None, expected: int):
    """The file's time, or what follows the serial that is served: greater by RFC 1982 with every change."""
    assert expected == _serial((changed * 10**9, 5, 5), known)


def test_a_made_serial_stays_with_its_file():
    """A file that is read again unchanged keeps the serial it was served with."""
    assert 77 == _serial((10**9, 5, 5), Known((10**9, 5, 5), 77, False))


def test_what_is_served_no_more_is_freed(loaded: Loaded):
    """Tables go when they are replaced, although no collector looks at what is frozen."""
    table = loaded.served.snapshot.table.zones[Name.parse("example.com").key]
    snapshot = weakref.ref(loaded.served.snapshot)
    write_zone(loaded.zones, 2)
    assert loaded.library.load()
    assert snapshot() is None
    assert {} == table.nodes


def test_what_a_query_still_sees_is_not_freed(loaded: Loaded, monkeypatch: pytest.MonkeyPatch):
    """A snapshot that somebody holds keeps all of its nodes."""
    monkeypatch.setattr(library_module, "RETIRE_SECONDS", 0.0)
    held = loaded.served.snapshot
    write_zone(loaded.zones, 2)
    assert loaded.library.load()
    old = loaded.served.answer(query("version.example.com."), "192.0.2.1", held, 0, NOW, False)
    assert ["a 1", "b 1"] == texts(old)


# A loader in which reading zones/example.com.yaml does what a loader can suffer.
SUFFERING = """
import os, sys, time, resource
import geodns.server.loader as loader
def load(path, serial):
    if path.name == "example.com.yaml":
        {suffering}
    return real(path, serial)
real, loader.load = loader.load, load
sys.exit(loader.main())
"""


@pytest.mark.parametrize(
    ("suffering", "seconds", "expected"),
    [
        ("os.kill(os.getpid(), 9)", PATIENCE_SECONDS, "it was ended by SIGKILL"),
        ("os.abort()", PATIENCE_SECONDS, "it was ended by SIGABRT"),
        ("sys.exit('no more')", PATIENCE_SECONDS, "no more"),
        ("time.sleep(1000)", 5.0, "it was not done after 5 s (limits.loader_seconds)"),
    ],
)
def test_a_loader_that_ends_leaves_out_the_file(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, suffering: str, seconds: float, expected: str
):
    """A file that kills or stalls the loader is a broken one: a line says so; the others are taken up."""
    loaded.config = loaded.config.model_copy(
        update={"limits": loaded.config.limits.model_copy(update={"loader_seconds": seconds})}
    )
    loaded.library.configure(loaded.config, loaded.library.settings)
    suffer_in_loader(monkeypatch, SUFFERING.format(suffering=suffering))
    write_zone(loaded.zones, 2)
    write_zone(loaded.zones, 2, "example.net")
    assert loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")
    assert ["a 2", "b 2"] == loaded.texts("version.example.net.")
    path = "zones/example.com.yaml"
    assert (
        f"{path}: the loader failed while it read {loaded.folder}/{path}: {expected}".replace(
            f"{loaded.folder}/", ""
        )
        == loaded.lines()[0]
    )
    assert not loaded.library.is_stale()


def suffer_in_loader(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    real = subprocess.Popen

    def popen(command: list[str], **more: object) -> object:
        return real([sys.executable, "-c", program], **more)

    monkeypatch.setattr(library_module.subprocess, "Popen", popen)


def test_a_loader_that_can_not_start(loaded: Loaded, monkeypatch: pytest.MonkeyPatch):
    """One line, and what was served is still served."""
    suffer_in_loader(monkeypatch, "raise SystemExit('out of order')")
    write_zone(loaded.zones, 2)
    assert not loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.com.")
    expected = "geodns: the loader failed: out of order; what was served before is still served"
    assert [expected] == loaded.lines()


def test_a_zone_that_needs_too_much_memory(tmp_path: Path):
    """limits.loader_memory_octets: such a file is a broken one; the small zones are served."""
    loaded = Loaded(tmp_path, loader_memory_octets=280 << 20)
    write_zone(loaded.zones, 1, "example.net")
    with (loaded.zones / "example.com.yaml").open("w") as file:
        file.write(zone_text())
        file.writelines(f"n{number}: {{type: TXT, value: '{'x' * 200}'}}\n" for number in range(100_000))
    assert loaded.library.load()
    assert ["a 1", "b 1"] == loaded.texts("version.example.net.")
    assert 2 == loaded.rcode("version.example.com.")
    assert "memory" in loaded.lines()[0]


def test_stop_ends_a_load(loaded: Loaded, monkeypatch: pytest.MonkeyPatch):
    """A server that is told to end does not wait for its loader."""
    suffer_in_loader(monkeypatch, "import time; time.sleep(1000)")
    write_zone(loaded.zones, 2)
    loaded.library.stop()
    began = time.monotonic()
    assert not loaded.library.load()
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert [] == loaded.lines()


def test_fingerprints(tmp_path: Path):
    """A file that is written again or replaced has another fingerprint; one that is missing has zeros."""
    path = tmp_path / "file"
    assert (0, 0, 0) == fingerprint_of(str(path))
    path.write_text("one")
    first = fingerprint_of(str(path))
    os.utime(path, ns=(0, 0))
    (tmp_path / "new").write_text("two")
    os.utime(tmp_path / "new", ns=(0, 0))
    second = fingerprint_of(str(path))
    os.replace(tmp_path / "new", path)
    assert 3 == len({first, second, fingerprint_of(str(path))})
