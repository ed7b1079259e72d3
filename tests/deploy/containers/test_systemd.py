"""deploy/systemd, by the commands of its page, on a machine with systemd: a container."""

import re
import shlex
from collections.abc import Iterator

import pytest

from tests.deploy.containers.conftest import Asking, Machine, booted, figure
from tests.deploy.containers.engine import ROOT, docker, wait_until
from tests.deploy.pages import DEPLOY, commands

NET_BIND_SERVICE = 1 << 10  # <linux/capability.h>
SOURCES = ("deploy", "geo-db", "geodns", "pyproject.toml", "README.md", "zones")
SOURCES_AT = "/src"
CLIENT = ROOT / "tests" / "deploy" / "containers" / "client.py"


class Geodns(Machine):
    """A machine with this repository in /src, and geodns as its unit."""

    def run(self, *command: str, check: bool = True) -> str:
        return docker("exec", "--workdir", SOURCES_AT, self.container, *command, check=check)

    def shown(self, what: str) -> str:
        """A property of the unit."""
        return self.run("systemctl", "show", "--value", "--property", what, "geodns")

    def answers(self) -> bool:
        ping = ("/opt/geodns/bin/geodns", "ping", "example.com", "--server", "127.0.0.1:53")
        return 2 == self.run(*ping, check=False).count("serves")


@pytest.fixture(scope="module")
def machine(machine_image: str) -> Iterator[Geodns]:
    with booted(machine_image, "--hostname", "plain") as container:
        docker("exec", container, "mkdir", SOURCES_AT)
        for name in SOURCES:
            docker("cp", str(ROOT / name), f"{container}:{SOURCES_AT}/{name}")
        yield Geodns(container)


@pytest.fixture(scope="module")
def installed(machine: Geodns) -> Geodns:
    """The machine after the page's commands, all of them in their order."""
    for line in commands(DEPLOY / "systemd" / "README.md"):
        machine.run(*shlex.split(line))
    return machine


def test_the_page_does_what_it_says(installed: Geodns) -> None:
    """Installed, changed, reloaded and upgraded, it answers; and systemd knows what of."""
    assert installed.answers()
    assert "active" == installed.run("systemctl", "is-active", "geodns")
    assert "zones" in installed.shown("StatusText")
    assert "0" == installed.shown("NRestarts")


def test_the_sandbox_holds(installed: Geodns) -> None:
    """Not root, one capability, no new privileges, filtered system calls, and nothing to complain of."""
    pid = installed.shown("MainPID")
    status = installed.run("cat", f"/proc/{pid}/status")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert "0" not in fields["Uid"].split()
    for field in ("CapEff", "CapPrm", "CapBnd"):
        assert NET_BIND_SERVICE == int(fields[field], 16), field
    assert ("1", "2") == (fields["NoNewPrivs"], fields["Seccomp"])
    log = installed.run("journalctl", "--unit", "geodns", "--output", "cat", "--no-pager")
    complaint = re.compile(r"only|not permitted|denied|fail|error|cannot|can not", re.I)
    assert [] == [line for line in log.splitlines() if complaint.search(line)]


def test_systemd_finds_nothing_wrong(installed: Geodns) -> None:
    """systemd-analyze verify, on a machine that has all that the unit names."""
    assert "" == installed.run("systemd-analyze", "verify", "--man=no", "geodns.service")


def test_a_zone_edit_is_served(installed: Geodns) -> None:
    """What root saves in /etc/geodns/zones is served, though the server may write nothing there."""
    new = "sed 's/192.0.2.50/192.0.2.51/' zones/example.com.yaml > /etc/geodns/zones/example.com.yaml"
    installed.run("sh", "-c", new)
    ask = (
        "import dns.message, dns.query\n"
        "print(dns.query.udp(dns.message.make_query('sip.example.com', 'A'), '127.0.0.1', 2).answer)"
    )
    wait_until("the edit", lambda: "192.0.2.51" in installed.run("/opt/geodns/bin/python", "-c", ask))


def test_a_restart_loses_no_query(installed: Geodns) -> None:
    """`systemctl restart`, as an upgrade has it: what is asked meanwhile waits in the sockets."""
    docker("cp", str(CLIENT), f"{installed.container}:/client.py")
    insisting = ("/opt/geodns/bin/python", "/client.py", "insist", "example.com", "127.0.0.1")
    with Asking(installed.container, *insisting) as asking:
        before = installed.shown("MainPID")
        installed.run("systemctl", "restart", "geodns")
        assert before != installed.shown("MainPID")
    counts = asking.counts
    figure(
        f"systemd, a restart with geodns.socket: {counts['asked']:.0f} asked, {counts['lost']:.0f} lost, "
        f"slowest {counts['slowest']:.2f} s"
    )
    assert 0 == counts["lost"]


def test_it_comes_back_when_it_is_killed(installed: Geodns) -> None:
    """Restart=always: a second later it answers again."""
    pid = installed.shown("MainPID")
    installed.run("kill", "-KILL", pid)
    took = wait_until("it is back", lambda: installed.shown("MainPID") != pid and installed.answers())
    figure(f"systemd: back after kill -9 in {took:.1f} s")


def test_it_ends_cleanly(installed: Geodns) -> None:
    """`systemctl stop` ends it by its own will, with exit code 0."""
    installed.run("systemctl", "stop", "geodns")
    assert ("success", "0") == (installed.shown("Result"), installed.shown("ExecMainStatus"))
