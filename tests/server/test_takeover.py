"""A server that is started beside a running one takes over, and nothing is lost."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from geodns.config import Listen
from geodns.server import activation, takeover
from tests.ports import free_port
from tests.server.serving import IS_NATIVE_BUILT, Client, Load, serving, write_zone


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    return tmp_path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


ENGINES = [("auto", "auto", "auto"), ("python", "native", "python")]


@pytest.mark.parametrize("engines", ENGINES if IS_NATIVE_BUILT else ENGINES[:1])
def test_an_upgrade_under_load_loses_nothing(
    folder: Path, stack: ExitStack, engines: tuple[str, ...]
) -> None:
    """Servers one after the other: every UDP query is answered, no TCP query is cut off, and each of
    those that are replaced ends by itself, with 0.
    """
    running = stack.enter_context(serving(folder, "--engine", engines[0]))
    (port,) = running.ports()
    with Load(port, per_connection=50) as load, Load(port, per_connection=1) as more:
        for version, engine in enumerate(engines[1:], 2):
            write_zone(folder / "zones", version)
            listen = (f"127.0.0.1:{port}",)
            following = stack.enter_context(serving(folder, "--engine", engine, listen=listen))
            following.wait_for(f"took over from process {running.popen.pid}")
            assert 0 == running.wait()
            assert f"geodns: process {following.popen.pid} has taken over" in running.said
            assert [f"a {version}", f"b {version}"] == Client(port).texts("version.example.com")
            running = following
    assert (0, [], 0, []) == (load.lost, load.torn, more.lost, more.torn)
    assert min(load.asked, more.asked) > 100
    assert 0 == running.end()


def test_an_upgrade_while_nobody_asks(folder: Path, stack: ExitStack) -> None:
    """A server that waits for a query ends all the same, on IPv4 and on IPv6."""
    running = stack.enter_context(serving(folder, listen=("127.0.0.1:0", "[::1]:0")))
    four, six = running.ports()
    following = stack.enter_context(serving(folder, listen=(f"127.0.0.1:{four}", f"[::1]:{six}")))
    following.wait_for("took over from process")
    assert 0 == running.wait()
    for client in (Client(four), Client(six, "::1")):
        assert ["a 1", "b 1"] == client.texts("version.example.com")


def test_a_successor_that_fails_changes_nothing(folder: Path, stack: ExitStack) -> None:
    """The new one cannot start: it says why, and the running one goes on with its sockets."""
    running = stack.enter_context(serving(folder))
    (port,) = running.ports()
    listen = (f"127.0.0.1:{port}", "192.0.2.1:5355")
    failing = stack.enter_context(serving(folder, listen=listen))
    failing.wait_for("can not listen on 192.0.2.1:5355")
    assert 1 == failing.wait()
    assert ["a 1", "b 1"] == Client(port).texts("version.example.com")
    following = stack.enter_context(serving(folder, listen=(f"127.0.0.1:{port}",)))
    following.wait_for("took over from process")
    assert 0 == running.wait()


NONSENSE = [b"", b"garbage\n", b"{}\n", b'{"version": 2, "sockets": []}\n', b"[" * 70_000]


def test_whoever_talks_nonsense_gets_no_socket(folder: Path, stack: ExitStack) -> None:
    """It is not answered, and the next one that asks properly is."""
    running = stack.enter_context(serving(folder))
    (port,) = running.ports()
    listen = Listen("127.0.0.1", port)
    for said in NONSENSE:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
            asking.connect(f"\0geodns {listen}")
            with suppress(ConnectionError):
                asking.sendall(said)
                asking.shutdown(socket.SHUT_WR)
                assert b"" == asking.recv(100)
    predecessor = takeover.ask([("udp", listen)])
    assert predecessor is not None
    assert running.popen.pid == predecessor.pid
    assert ("127.0.0.1", port) == predecessor.taken["udp", listen].getsockname()
    predecessor.leave()
    assert ["a 1", "b 1"] == Client(port).texts("version.example.com")


def test_nobody_to_ask() -> None:
    """Where no server runs there is nothing to take over."""
    assert takeover.ask([("udp", Listen("127.0.0.1", 1)), ("udp", Listen("127.0.0.1", 0))]) is None


ACTIVATED = """
import os, socket, sys
sockets = [socket.socket(socket.AF_INET, kind) for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM)]
port = int(os.environ["TEST_PORT"])
sockets[0].bind(("127.0.0.1", port))
sockets[1].bind(("127.0.0.1", port))
sockets[1].listen()
copies = [os.dup(one.fileno()) for one in sockets]
for at, copy in enumerate(copies):
    os.dup2(copy, 3 + at)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
os.execv(sys.argv[1], [*sys.argv[1:], "--listen", f"127.0.0.1:{port}"])
"""


def test_sockets_of_the_service_manager_are_used(folder: Path) -> None:
    """sd_listen_fds(3): the server answers on what was bound for it, over UDP and TCP."""
    environment = {"TEST_PORT": str(free_port())}
    before = (sys.executable, "-c", ACTIVATED)
    with serving(folder, listen=(), environment=environment, before=before) as server:
        (port,) = server.ports()
        with Load(port) as load:
            assert ["a 1", "b 1"] == Client(port).texts("version.example.com")
        assert (0, []) == (load.lost, load.torn)
        assert 0 == server.end()


def test_variables_for_another_process_are_not_obeyed() -> None:
    """LISTEN_PID says for whom the descriptors are; and what we start does not see them."""
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "OTHER": "1"}
    assert ({}, []) == activation.sockets([], environment)
    assert {"OTHER": "1"} == environment
