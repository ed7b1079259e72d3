"""Steering by health, with all the real parts: servers, probers, backends, commands, namespaces."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from geodns.cli import main
from tests.ports import free_port
from tests.server.backends import Load, addresses, backend, hanging
from tests.server.namespaces import Network, is_permitted
from tests.server.serving import PATIENCE_SECONDS, Client, Process, query, serving

NAME = "www.example.com"
ONE, TWO, THREE = "127.0.0.11", "127.0.0.12", "127.0.0.13"  # values; their checks go to these very addresses
OWN = "192.0.2.80"  # the record's own value
INTERVAL = 0.2
FALL = 3
RISE = 2
POLL_SECONDS = 0.005  # between looks
SLACK_SECONDS = 1.0  # beside interval x fall, as promised
COMMAND_SECONDS = 1.0  # from the end of a command to the answers, as promised


def write_zone(folder: Path, port: int, *values: str, check: str = "") -> None:
    """www answers with those of the values that are up at this port."""
    text = f"""
'': {{type: NS, values: [ns1.nameserver.test.]}}
www:
  type: A
  ttl: 30
  ttl_min: 1
  values: [{OWN}]
  octodns: {{healthcheck: {{protocol: HTTP, port: {port}, path: /, {check}}}}}
  dynamic:
    pools: {{fra: {{values: [{", ".join(values)}], min_up: 0}}}}
    rules: [{{pool: fra}}]
"""
    new = folder / "zones" / "example.com.yaml.new"
    new.write_text(text)
    os.replace(new, folder / "zones" / "example.com.yaml")


def config(startup_timeout: float = 10, timeout: float = 3, more: str = "") -> str:
    times = f"interval: {INTERVAL}, timeout: {timeout}, startup_timeout: {startup_timeout}"
    return f"health: {{{times}, fall: {FALL}, rise: {RISE}}}\n{more}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of servers and commands."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zones").mkdir()
    return tmp_path


@pytest.fixture
def port() -> int:
    return free_port(ONE, TWO, THREE)


def asked(client: Client) -> tuple[str, ...]:
    return addresses(client.ask(query(NAME, "A")))


def until(condition: Callable[[], bool]) -> float:
    """Ask until it is so; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_SECONDS
        time.sleep(POLL_SECONDS)
    return time.monotonic() - began


def geodns(*arguments: str) -> str:
    """Run a command in the working directory; what it says."""
    result = CliRunner().invoke(main, arguments)
    assert 0 == result.exit_code, result.output
    return result.stdout


def prober_of(server: Process) -> int | None:
    """The process id of the server's prober."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            is_child = int(stat.read_text().rpartition(")")[2].split()[1]) == server.popen.pid
            if is_child and b"geodns.health.prober" in (stat.parent / "cmdline").read_bytes():
                return int(stat.parent.name)
        except (OSError, IndexError):
            pass
    return None


def test_a_backend_that_is_killed_and_comes_back(folder: Path, port: int):
    """Under load: no answer names it after interval x fall + 1 s, nor before `rise` successes there;
    none changes because the other backend fails every second check, and none is lost.
    """
    write_zone(folder, port, ONE, TWO)
    with backend(TWO, port, "flapping") as flapping, backend(ONE, port) as first:
        with serving(folder, config=config()) as server:
            (dns_port,) = server.ports()
            with Load(dns_port, NAME) as load:
                load.wait_for(ONE, True)
                killed = first.kill()
                gone = load.wait_for(ONE, False)
                load.wait_until(gone + 2 * FALL * INTERVAL)
                with backend(ONE, port) as second:
                    back = load.wait_for(ONE, True)
                    load.wait_until(back + 2 * FALL * INTERVAL)
                    until(lambda: len(second.requests) >= RISE)
            server.end()
        assert gone - killed < FALL * INTERVAL + SLACK_SECONDS
        assert 0 == load.naming(ONE, gone, back)
        assert load.naming(ONE, back) == sum(at >= back for at, _ in load.answers)
        assert sum(at < back for at, _ in second.requests) >= RISE
        statuses = [status for _, status in flapping.requests]
        assert statuses == [200, 503] * (len(statuses) // 2) + [200] * (len(statuses) % 2)
        assert statuses.count(503) >= 2 * FALL
        assert len(load.answers) == load.naming(TWO, 0)
        assert 0 == load.lost
    changes = [line for line in server.said if f"http {ONE}" in line or f"http {TWO}" in line]
    assert [f"geodns: {ONE} is down: ", f"geodns: {ONE} is up: "] == [
        line[: line.index(": ", 8) + 2] for line in changes
    ]


def test_a_restart_goes_on_from_what_was_known(folder: Path, port: int):
    """The first answer after a start does not contradict the saved state, though no check has a result."""
    write_zone(folder, port, ONE, TWO)
    with backend(TWO, port), serving(folder, config=config()) as server:
        (dns_port,) = server.ports()
        assert (TWO,) == asked(Client(dns_port))
        assert 0 == server.end()
    with hanging(ONE, TWO, port=port), serving(folder, config=config(startup_timeout=0.3)) as server:
        (dns_port,) = server.ports()
        assert (TWO,) == asked(Client(dns_port))
        assert 0 == server.end()
        assert not any("had no result" in line for line in server.said)


def test_a_reload_keeps_what_is_known(folder: Path, port: int):
    """Checks that stay keep their state, by a saved zone and by SIGHUP; one that is new is looked at before
    an answer can name its value; one that is gone is made no more.
    """
    write_zone(folder, port, ONE, TWO)
    more = f"control: {{listen: '127.0.0.1:{free_port('127.0.0.1')}'}}\n"
    backends = backend(ONE, port), backend(TWO, port)
    with backends[0] as first, backends[1] as second, serving(folder, config=config(more=more)) as server:
        (dns_port,) = server.ports()
        client = Client(dns_port)
        assert (ONE, TWO) == asked(client)
        first.kill()
        until(lambda: (TWO,) == asked(client))
        seen = set()
        write_zone(folder, port, ONE, TWO, THREE)
        until(lambda: "serial" in _next(server, seen, lambda: asked(client)))
        server.send(signal.SIGHUP)
        until(lambda: "serial" in _next(server, seen, lambda: asked(client)))
        assert {(TWO,)} == seen
        assert f"{THREE}  down" in geodns("status")
        write_zone(folder, port, ONE)
        server.wait_for("serial")
        assert (OWN,) == asked(client)
        count = len(second.requests)
        status = geodns("status")
        assert TWO not in status
        assert f"{ONE}  down" in status
        assert len(second.requests) - count <= 1  # under way when it was given up
        server.end()


def _next(server: Process, seen: set[tuple[str, ...]], ask: Callable[[], tuple[str, ...]]) -> str:
    seen.add(ask())
    line = "" if server.lines.empty() else server.lines.get()
    assert line is not None
    return line


def test_commands_are_obeyed(folder: Path, port: int):
    """`down` and `auto` count within a second, for their time, after a restart; a broken file does not."""
    write_zone(folder, port, ONE, TWO)
    with backend(ONE, port), backend(TWO, port):
        with serving(folder, config=config()) as server:
            (dns_port,) = server.ports()
            client = Client(dns_port)
            assert (ONE, TWO) == asked(client)
            said = geodns("down", ONE, "--reason", "power works")
            assert f"{ONE} is down: 1 value in 1 record (state/overrides)\n" == said
            assert until(lambda: (TWO,) == asked(client)) < COMMAND_SECONDS
            server.wait_for(f"geodns: {ONE} is down: forced by ")
            (folder / "state" / "overrides").write_text(f"{ONE} down\n{TWO} dwn\n")
            server.wait_for("was not taken up; the overrides before it hold")
            assert (TWO,) == asked(client)
            (folder / "state" / "overrides").write_text(f"{ONE} down\n")
            server.end()
        with serving(folder, config=config()) as server:
            (dns_port,) = server.ports()
            client = Client(dns_port)
            assert (TWO,) == asked(client)
            assert "1 line taken out" in geodns("auto", ONE)
            assert until(lambda: (ONE, TWO) == asked(client)) < COMMAND_SECONDS
            geodns("down", "*", "--for", "1s")
            until(lambda: (OWN,) == asked(client))
            assert until(lambda: (ONE, TWO) == asked(client)) < 2 + COMMAND_SECONDS
            server.end()


def test_a_prober_that_is_killed(folder: Path, port: int):
    """Answers go on as they were, a line says so, and a new one goes on checking."""
    write_zone(folder, port, ONE, TWO)
    with backend(TWO, port) as second, serving(folder, config=config()) as server:
        (dns_port,) = server.ports()
        client = Client(dns_port)
        assert (TWO,) == asked(client)
        first = prober_of(server)
        assert first is not None
        os.kill(first, signal.SIGKILL)
        expected = "geodns: the prober ended: it was ended by SIGKILL; what was up and down stays so"
        seen = set()
        until(lambda: expected in _next(server, seen, lambda: asked(client)))
        until(lambda: prober_of(server) not in (None, first))
        seen.add(asked(client))
        assert {(TWO,)} == seen
        second.kill()
        until(lambda: (OWN,) == asked(client))
        assert 0 == server.end()


def test_nothing_to_check(folder: Path):
    """Without a check there is no prober, no state folder, and no waiting."""
    www = f"www: {{type: A, value: {OWN}, geo: {{EU: 192.0.2.81}}}}\n"
    (folder / "zones" / "example.com.yaml").write_text(
        f"'': {{type: NS, values: [ns1.nameserver.test.]}}\n{www}"
    )
    with serving(folder, config=config(startup_timeout=PATIENCE_SECONDS)) as server:
        (dns_port,) = server.ports()
        assert (OWN,) == asked(Client(dns_port))
        assert prober_of(server) is None
        assert 0 == server.end()
    assert not (folder / "state").exists()


@pytest.fixture
def network() -> Iterator[Network]:
    """ns1, ns2 and a site, each with a line to the two others."""
    if not is_permitted():
        pytest.skip("network namespaces need root (CAP_SYS_ADMIN) and ip")
    with Network() as network:
        yield network


def test_two_instances_agree(folder: Path, network: Network):
    """A site that one of them does not reach stays up on both; one that both do not see is down on both;
    one that does not hear the other goes by its own view.
    """
    token = folder / "token"
    token.write_text("e5e973e5a6b2a43f48e7dc849e37bfcf\n")
    token.chmod(0o600)
    clients = []
    site = network.SITE
    with network.listening("site", site, 4433):
        network.cut("ns1")
        servers = []
        for name in ("ns1", "ns2"):
            home = folder / name
            (home / "zones").mkdir(parents=True)
            write_zone(home, 4433, site)
            own, other = network.address(name), network.address("ns2" if name == "ns1" else "ns1")
            more = f"control: {{listen: '{own}:5380', token_file: {token}}}\npeers: [{{url: 'http://{other}:5380'}}]\n"
            servers.append((home, more, own, name))
        tcp = "protocol: TCP"
        for home, *_ in servers:
            file = home / "zones" / "example.com.yaml"
            file.write_text(file.read_text().replace("protocol: HTTP", tcp).replace("path: /, ", ""))

        def start(at: int):
            home, more, own, name = servers[at]
            return serving(
                home,
                config=config(timeout=0.2, more=more),
                listen=(f"{own}:5301",),
                before=network.inside(name),
            )

        with start(0) as first:
            first.ports()
            clients.append(network.client("ns1", network.address("ns1"), 5301))
            assert (OWN,) == asked(clients[0])  # nobody else is heard: down
            with start(1) as second:
                second.ports()
                clients.append(network.client("ns2", network.address("ns2"), 5301))
                assert (site,) == asked(clients[1])
                until(lambda: (site,) == asked(clients[0]))
                assert "1 of 2 instances see it" in first.wait_for(f"geodns: {site} is up: ")
                for _ in range(3):  # some checks later it is as it was
                    first_seen, second_seen = asked(clients[0]), asked(clients[1])
                    assert (site,) == first_seen == second_seen
                network.cut("ns2")
                until(lambda: (OWN,) == asked(clients[0]) == asked(clients[1]))
                network.mend("ns2")
                until(lambda: (site,) == asked(clients[0]) == asked(clients[1]))
                assert 0 == second.end()
            assert 0 == first.end()
