"""`geodns ping`, against a server that runs, one that does not, and one that is something else."""

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.server.serving import serving, write_zone

PATIENCE = ("--timeout", "20")
IMPATIENCE = ("--timeout", "0.2")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """ADDR:PORT of a server with the zone example.com."""
    folder = tmp_path_factory.mktemp("ping")
    (folder / "zones").mkdir()
    write_zone(folder / "zones")
    with serving(folder, "--id", "ns1") as process:
        yield f"127.0.0.1:{process.ports()[0]}"


def test_a_server_that_lives_answers(run: Run, server: str) -> None:
    """Without a zone any answer will do: exit 0, with its name and how long it took, over UDP and TCP."""
    done = run("ping", "--server", server, *PATIENCE)
    assert 0 == done.exit_code, done.output
    udp, tcp = done.output.splitlines()
    assert udp.startswith(f"{server} udp: ns1 answers in ")
    assert tcp.startswith(f"{server} tcp: ns1 answers in ")


def test_a_zone_is_served(run: Run, server: str) -> None:
    """With a zone its SOA record is asked for, and its serial told."""
    done = run("ping", "example.com", "--server", server, *PATIENCE)
    assert 0 == done.exit_code, done.output
    assert 2 == done.output.count("serves example.com., serial ")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("example.org", "does not serve example.org. (REFUSED)"),
        ("version.example.com", "version.example.com. is no zone here"),
        ("nothing.example.com", "does not serve nothing.example.com. (NXDOMAIN)"),
    ],
)
def test_a_zone_is_not_served(run: Run, server: str, name: str, said: str) -> None:
    """An answer that is no zone's SOA is not enough when a zone was asked for."""
    done = run("ping", name, "--server", server, *PATIENCE)
    assert (1, 2) == (done.exit_code, done.output.count(said)), done.output


def test_one_protocol_alone(run: Run, server: str) -> None:
    """--protocol udp asks over UDP only: for a liveness check that a flood of connections does not fail."""
    done = run("ping", "--server", server, "--protocol", "udp", *PATIENCE)
    assert (0, ["udp"]) == (done.exit_code, [line.split()[1][:-1] for line in done.output.splitlines()])


def test_the_config_says_whom_to_ask(run: Run, server: str, folder: Path) -> None:
    """Without --server it asks where the config listens, and this machine where that is everywhere."""
    port = server.rpartition(":")[2]
    (folder / "geodns.yaml").write_text(f'listen: ["0.0.0.0:{port}"]\n')
    done = run("ping", *PATIENCE)
    assert 0 == done.exit_code, done.output
    assert 2 == done.output.count(f"{server} ")


def test_nobody_is_there(run: Run) -> None:
    """Exit 1 where no answer comes, and in a reasonable time."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as silent:
        silent.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        done = run("ping", "--server", where, *IMPATIENCE)
    assert 1 == done.exit_code
    assert f"{where} udp: no answer within 0.2 s" in done.output
    assert f"{where} tcp: connection refused" in done.output


def test_somebody_else_is_there(run: Run) -> None:
    """What is no DNS, or ends the connection, is told in a line and is no answer."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as other:

        def hang_up() -> None:
            other.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        done = run("ping", "--server", f"127.0.0.1:{other.getsockname()[1]}", "--protocol", "tcp")
        thread.join()
    assert 1 == done.exit_code
    assert 1 == len(done.output.splitlines()), done.output


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("nowhere:53", '"nowhere" in "nowhere:53" is not an IP address'),
        ("127.0.0.1:0", "port 0 is whichever the system picked"),
    ],
)
def test_an_address_that_cannot_be_asked(run: Run, listen: str, said: str) -> None:
    """A sentence, and no traceback."""
    done = run("ping", "--server", listen)
    assert done.exit_code != 0
    assert said in done.output


def test_a_machine_without_ipv6_is_no_fault(server: str, tmp_path: Path) -> None:
    """A server that listens on [::] as well is healthy where there is no IPv6 to ask it over."""
    inside = ("unshare", "--map-root-user", "--net")
    code = "import socket; socket.socket(socket.AF_INET6)"
    if subprocess.run([*inside, sys.executable, "-c", code], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to make a network namespace")
    command = [sys.executable, "-m", "geodns", "ping", "--server", "[::]:5300", *IMPATIENCE]
    done = subprocess.run([*inside, *command], capture_output=True, text=True, check=False)
    assert 1 == done.returncode
    assert "nobody was asked: this machine has no address" in done.stderr
