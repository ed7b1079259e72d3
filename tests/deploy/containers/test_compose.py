"""deploy/compose.yaml, by the commands of its page."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers import engine
from tests.deploy.containers.conftest import figure, write_zone, zone_folder
from tests.deploy.containers.engine import ROOT, RUN, docker, wait_until
from tests.deploy.pages import DEPLOY, commands

ADDRESSES = ("198.51.100.53", "2001:db8:1::53", "203.0.113.53", "2001:db8:2::53")
PORTS = {"GEODNS_PORT_1": "53501", "GEODNS_PORT_2": "53502"}


def compose_command() -> list[str]:
    """Compose, as the engine's plugin or as the program that it was before."""
    asked = ["docker", "compose", "version"]
    if 0 == subprocess.run(asked, capture_output=True, check=False).returncode:
        return ["docker", "compose"]
    if shutil.which("docker-compose"):
        return ["docker-compose"]
    pytest.skip("there is no Compose")


class Compose:
    """The folder deploy/, and an environment that makes what comes of it this run's own."""

    def __init__(self, zones: Path, bases: dict[str, str]) -> None:
        self.command = compose_command()
        self.image = f"geodns-test-compose:{RUN}"
        self.environment = {
            "COMPOSE_PROJECT_NAME": f"{engine.PROJECT}{RUN}",
            "GEODNS_IMAGE": self.image,
            "GEODNS_ZONES": str(zones),
            **{f"GEODNS_{name}": value for name, value in bases.items()},
            "DOCKER_BUILDKIT": "0",
            **PORTS,
        }

    def run(self, line: str, check: bool = True) -> str:
        words = shlex.split(line)
        if words[:2] == ["docker", "compose"]:
            words = [*self.command, *words[2:]]
        said = engine.run(*words, environment=self.environment, cwd=DEPLOY, check=check)
        engine.note_stages(said)
        return said

    def answers(self, server: str) -> bool:
        return "tcp: serves" in self.run(
            f"docker compose exec -T {server} geodns ping example.com", check=False
        )


@pytest.fixture(scope="module")
def compose(image: str, bases: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    compose = Compose(zone_folder(tmp_path_factory.mktemp("compose")), bases)
    try:
        yield compose
    finally:
        compose.run("docker compose down --volumes --timeout 5", check=False)
        docker("rmi", compose.image, check=False)


def dig(*arguments: str) -> list[str]:
    return engine.run("dig", "+short", "+time=2", *arguments, check=False).replace('"', "").split("\n")[:-1]


def test_the_page_does_what_it_says(compose: Compose) -> None:
    """Every command of the page, in its order; a zone is edited; and no query is lost on the way."""
    first, last = "docker compose up --detach --build", "docker compose down"
    lines = commands(DEPLOY / "compose.md")
    assert (first, last) == (lines[0], lines[-1])
    zones = Path(compose.environment["GEODNS_ZONES"])
    compose.run(first)
    for server in ("ns1", "ns2"):
        wait_until(f"{server} answers", lambda server=server: compose.answers(server))
    program = ROOT / "tests" / "deploy" / "containers" / "client.py"
    asking = [sys.executable, str(program), "resolve", "a.any.example.com", *ADDRESSES]
    with subprocess.Popen(asking, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as resolving:
        assert resolving.stdout is not None
        assert "asking\n" == resolving.stdout.readline()
        for line in lines[1:-1]:
            if line.startswith("dig "):
                line = re.sub(r"\b530([12])\b", lambda port: PORTS[f"GEODNS_PORT_{port[1]}"], line)
            if "geodns ping" in line:
                server = re.findall(r"ns[12]", line)[0]
                wait_until(f"the new {server} answers", lambda server=server: compose.answers(server))
            compose.run(line)
        said, _ = resolving.communicate()
    counts = json.loads(said.splitlines()[-1])
    figure(f"compose, one replaced after the other: {counts['asked']:.0f} asked, {counts['lost']:.0f} lost")
    assert 0 == counts["lost"]
    write_zone(zones, "second")
    for address in ADDRESSES:
        wait_until(
            f"edit at {address}", lambda at=address: ["second"] == dig(f"@{at}", "version.example.com", "TXT")
        )
    assert ["somebody else"] == dig(f"@{ADDRESSES[0]}", "asker.example.com", "TXT")
    compose.run(last)
    mine = f"label=com.docker.compose.project=geodns-test-{RUN}"
    assert "" == docker("ps", "--all", "--quiet", "--filter", mine)


def test_the_ports_are_this_machines_alone() -> None:
    """Nobody else reaches a server that is only tried out."""
    text = (DEPLOY / "compose.yaml").read_text()
    ports = re.findall(r'"([^"]*):53/(?:udp|tcp)"', text)
    assert 4 == len(ports)
    assert all(port.startswith("127.0.0.1:") for port in ports), ports
