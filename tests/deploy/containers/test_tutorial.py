"""docs/tutorial.md, all of it, on two machines with systemd in a world that has a root, com and a resolver.

    ns1, ns2: containers -----+
    root, com, resolver, home: namespaces (tests/delegation/lab.py) --- one switch

What the test does in somebody's place: it puts the repository where `git clone` finds it, lets ns1's root in
at ns2, tells the databases where documentation addresses are, which no database knows, and is the registrar.
"""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from textwrap import dedent

import pytest

from tests.delegation.lab import MACHINES, ROOT, UNBOUND, Lab, around, machines
from tests.deploy.containers.conftest import Machine, booted
from tests.deploy.containers.engine import ROOT as REPOSITORY
from tests.deploy.containers.engine import docker, run, wait_until

PAGE = REPOSITORY / "docs" / "tutorial.md"
SERVERS = ("ns1", "ns2")
DOMAIN = "example.com"
URL = "https://git.example/geodns.git"  # as the page has it
HAS_IPV6 = (
    "--sysctl",
    "net.ipv6.conf.all.disable_ipv6=0",
    "--sysctl",
    "net.ipv6.conf.default.disable_ipv6=0",
)
BARE = "/srv/geodns.git"  # where it is instead
_, AMERICAN, ASIAN = MACHINES["clients"][:3]  # home is in Europe, as the page says
PLACES = "  overrides: {203.0.113.0/24: EU-DE, 192.0.2.0/24: NA-US, 198.51.100.0/24: AS-JP}\n"  # theirs
ANSWERS = {AMERICAN: ["203.0.113.20"], ASIAN: ["203.0.113.30"]}
_BLOCK = re.compile(r"^```(yaml|console)\n(.*?)^```$", re.M | re.S)
_PROMPT = re.compile(r"(ns1|ns2|both|home)\$ (.+)")


def steps() -> list[tuple[str, str, list[str]]]:
    """(where, command, what it prints) of the page in its order; a file is ("file", its text, [])."""
    found: list[tuple[str, str, list[str]]] = []
    for block in _BLOCK.finditer(PAGE.read_text()):
        if block[1] == "yaml":
            found.append(("file", dedent(block[2]), []))
            continue
        for line in block[2].splitlines():
            if typed := _PROMPT.fullmatch(line):
                found.append((typed[1], typed[2], []))
            else:
                found[-1][2].append(line)
    return found


class World:
    """The machines of the page, and whoever else takes part."""

    def __init__(self, lab: Lab, servers: dict[str, Machine], stack: ExitStack) -> None:
        self.lab = lab
        self.servers = servers
        self._stack = stack

    def type(self, where: str, command: str, check: bool = True) -> list[str]:
        """The lines that the command prints there; fails when it does, unless that is not to be checked."""
        words = shlex.split(command)
        if where == "home":
            return run(*self.lab.exec("clients"), *words, check=check).splitlines()
        names = SERVERS if where == "both" else (where,)
        return "".join(self.servers[name].run(*words, check=check) for name in names).splitlines()

    def wait_for(self, where: str, command: str, expected: list[str]) -> None:
        """Type it until it prints this, in any order."""
        wait_until(command, lambda: sorted(expected) == sorted(self.type(where, command, check=False)))

    def save(self, text: str) -> None:
        """The file of the first line, on ns1."""
        path = text.splitlines()[0].removeprefix("# ")
        container = self.servers["ns1"].container
        writing = ["docker", "exec", "--interactive", container, "tee", path]
        subprocess.run(writing, input=text, text=True, stdout=subprocess.DEVNULL, check=True)

    def register(self) -> None:
        """What the registry makes of what was typed in, and from then on the world has it."""
        lines = self.type("ns1", f"geodns delegation {DOMAIN} --zones /etc/geodns/zones --format zone")
        self._stack.enter_context(around(self.lab, [], lines))


def prepare(machine: Machine, keys: Path) -> None:
    """The machine as it was rented: root's key in it, and the repository within reach."""
    machine.run("mkdir", "-p", "/root/.ssh")
    docker("cp", f"{keys}/.", f"{machine.container}:/root/.ssh")
    script = f"""
        chown -R root:root /root/.ssh && chmod 700 /root/.ssh && chmod 600 /root/.ssh/*
        echo 'UsePAM no' > /etc/ssh/sshd_config.d/test.conf  # a container has no login uid to set
        echo 'StrictHostKeyChecking accept-new' > /etc/ssh/ssh_config.d/test.conf
        systemctl restart ssh
        git config --system url.{BARE}.insteadOf {URL}
        git config --system --add safe.directory '*'
    """
    machine.run("sh", "-ec", dedent(script))


def repository(folder: Path) -> Path:
    """This repository as a bare one, with the places of documentation addresses in its config."""
    work, bare = folder / "work", folder / "geodns.git"
    listed = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    for name in listed:
        if (REPOSITORY / name).is_file():  # not yet removed
            (work / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, work / name)
    config = work / "deploy" / "geodns.yaml"
    databases = '  databases: ["geo-db/*.mmdb"]\n'
    assert databases in config.read_text()
    config.write_text(config.read_text().replace(databases, databases + PLACES))
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    run("git", "init", "--quiet", cwd=work)
    run("git", "add", "--all", "--force", cwd=work)
    run("git", *who, "commit", "--quiet", "--message", "as it is", cwd=work)
    run("git", "clone", "--quiet", "--bare", str(work), str(bare))
    return bare


@pytest.fixture
def world(machine_image: str, tmp_path: Path) -> Iterator[World]:
    with ExitStack() as stack:
        servers = {
            name: Machine(stack.enter_context(booted(machine_image, "--hostname", name, *HAS_IPV6)))
            for name in SERVERS
        }
        keys = tmp_path / "ssh"
        keys.mkdir()
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(keys / "id_ed25519"))
        shutil.copy(keys / "id_ed25519.pub", keys / "authorized_keys")
        bare = repository(tmp_path)
        for machine in servers.values():
            prepare(machine, keys)
            docker("cp", str(bare), f"{machine.container}:{BARE}")
        pids = {name: machine.pid for name, machine in servers.items()}
        lab = stack.enter_context(machines(tmp_path, pids))
        resolv = Path("/etc/netns") / lab.namespace("clients")  # ip-netns(8): home's own /etc/resolv.conf
        resolv.mkdir(parents=True)
        stack.callback(shutil.rmtree, resolv)
        (resolv / "resolv.conf").write_text(f"nameserver {UNBOUND}\n")
        yield World(lab, servers, stack)


def test_the_page_does_what_it_says(world: World) -> None:
    """Every command in its order, each file saved, and each output as it stands there."""
    is_registered = False
    for where, text, expected in steps():
        if where == "file":
            world.save(text)
        elif "--verify" in text:
            world.type(where, f"{text} --root {ROOT[0]}")  # this world's
        elif expected:
            world.wait_for(where, text, expected)
        else:
            world.type(where, text)
            if text.startswith("geodns delegation"):
                world.register()
                is_registered = True
    assert is_registered
    for client, answer in ANSWERS.items():
        assert answer == world.lab.ask(UNBOUND, f"www.{DOMAIN}", source=client)
