"""A server that is started beside a running one takes over, and nothing is lost."""

import fcntl
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path

import dns.message
import dns.query
import pytest

from geodns.config import Listen
from geodns.server import activation, takeover
from tests.ports import free_port
from tests.server.serving import (
    IS_NATIVE_BUILT,
    PATIENCE_SECONDS,
    Client,
    Load,
    Process,
    query,
    serving,
    texts,
    write_zone,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    return tmp_path


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


ENGINES = [("auto", "auto", "auto"), ("python", "python", "native", "python")]


@pytest.mark.parametrize("engines", ENGINES if IS_NATIVE_BUILT else ENGINES[:1])
def test_an_upgrade_under_load_loses_nothing(
    folder: Path, stack: ExitStack, engines: tuple[str, ...]
) -> None:
    """Servers one after the other: every UDP query is answered, no TCP query is cut off, and each of
    those that are replaced ends by itself, with 0.
    """
    running = stack.enter_context(serving(folder, "--engine", engines[0]))
    (port,) = running.ports()
    with (
        Load(port, per_connection=50) as load,
        Load(port, per_connection=1) as more,
    ):
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
import os, sys
descriptors = list(map(int, os.environ["TEST_SOCKETS"].split()))
for at, descriptor in enumerate(descriptors):
    os.dup2(descriptor, 3 + at)
    os.close(descriptor)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(descriptors)), "LISTEN_FDNAMES": "a:b"}
os.execv(sys.argv[1], sys.argv[1:])
"""
ABOVE_ALL = 100  # where descriptors are in nobody's way: a server looks for its own from 3 on


class Manager:
    """Has sockets at one address for as long as it lives, as systemd does, and starts servers with them."""

    def __init__(self, udp_sockets: int = 1) -> None:
        self.port = free_port()
        self.listen = f"127.0.0.1:{self.port}"
        self.sockets = []
        for kind in (*[socket.SOCK_DGRAM] * udp_sockets, socket.SOCK_STREAM):
            with socket.socket(socket.AF_INET, kind) as low:
                self.sockets.append(socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, ABOVE_ALL)))
            self.sockets[-1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self.sockets[-1].bind(("127.0.0.1", self.port))
        self.sockets[-1].listen()

    def serving(self, folder: Path, engine: str) -> AbstractContextManager[Process]:
        descriptors = tuple(one.fileno() for one in self.sockets)
        return serving(
            folder,
            *("--engine", engine),
            listen=(self.listen,),
            environment={"TEST_SOCKETS": " ".join(map(str, descriptors))},
            before=(sys.executable, "-c", ACTIVATED),
            pass_fds=descriptors,
        )

    def close(self) -> None:
        for one in self.sockets:
            one.close()


@pytest.fixture(params=[1, 3], ids=["one UDP socket", "three UDP sockets"])
def manager(request: pytest.FixtureRequest) -> Iterator[Manager]:
    manager = Manager(request.param)
    yield manager
    manager.close()


def ask_later(port: int) -> tuple[Client, socket.socket]:
    """A query over UDP and one over TCP that nobody answers yet."""
    asking = Client(port)
    asking.socket.send(query("version.example.com"))
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)
    dns.query.send_tcp(stream, dns.message.make_query("version.example.com", "TXT"))
    return asking, stream


@pytest.mark.parametrize("engine", ["python", *["native"] * IS_NATIVE_BUILT])
def test_sockets_of_the_service_manager_outlive_the_server(
    folder: Path, stack: ExitStack, manager: Manager, engine: str
) -> None:
    """sd_listen_fds(3): servers one after the other answer on what was bound for them; what is asked while
    there is none waits for the next one, over UDP and TCP. Who takes over by the way leaves the sockets
    whole as well.
    """
    with manager.serving(folder, engine) as server:
        server.ports()
        with Load(manager.port) as load:
            assert ["a 1", "b 1"] == Client(manager.port).texts("version.example.com")
        assert (0, []) == (load.lost, load.torn)
        assert 0 == server.end()
    for version in (2, 3):
        waiting = [ask_later(manager.port) for _ in range(10)]
        write_zone(folder / "zones", version)
        server = stack.enter_context(manager.serving(folder, engine))
        server.ports()
        for asking, stream in waiting:
            assert [f"a {version}", f"b {version}"] == texts(asking.socket.recv(65535))
            with stream:
                message, _ = dns.query.receive_tcp(stream)
            assert [f"a {version}", f"b {version}"] == texts(message.to_wire())
        if version == 2:
            former = server
            server = stack.enter_context(serving(folder, "--engine", engine, listen=(manager.listen,)))
            server.wait_for(f"took over from process {former.popen.pid}")
            assert 0 == former.wait()
        assert 0 == server.end()


def test_variables_for_another_process_are_not_obeyed() -> None:
    """LISTEN_PID says for whom the descriptors are; and what we start does not see them."""
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "2", "OTHER": "1"}
    assert ({}, []) == activation.sockets([], environment)
    assert {"OTHER": "1"} == environment
