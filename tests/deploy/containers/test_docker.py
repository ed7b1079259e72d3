"""deploy/docker.md, by its commands: a container in the machine's network, and the next one takes over."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.containers.conftest import figure, says_ready, zone_folder
from tests.deploy.containers.engine import LABEL, RUN, docker, run, wait_until
from tests.deploy.pages import DEPLOY, commands
from tests.server.serving import Load

HOST = "127.53.53.54"  # where this test's servers listen, instead of every address of this machine
CONFIG = f"""\
listen: ["{HOST}:53"]
zones: zones
geo: {{databases: ["geo-db/*.mmdb"]}}
state: /var/lib/geodns
"""
NEW, OLD = "geodns-new", "geodns"  # the names on the page


class Page:
    """The page's commands, with names, zones and an address of this run's own."""

    def __init__(self, image: str, folder: Path) -> None:
        self.zones = zone_folder(folder)
        zone = self.zones / "example.com.yaml"
        zone.write_text(zone.read_text().replace('value: "first"', 'values: ["a 1", "b 1"]'))  # as Load asks
        config = folder / "geodns.yaml"
        config.write_text(CONFIG)
        config.chmod(0o644)
        more = f"--label {LABEL}={RUN} --volume {config}:/etc/geodns/geodns.yaml:ro"
        lines = commands(DEPLOY / "docker.md")
        self._lines = [self._own(line, image, more) for line in lines]
        at = next(at for at, line in enumerate(lines) if line.startswith("docker update "))
        self.before, self.upgrade = self._lines[:at], self._lines[at:]

    def _own(self, line: str, image: str, more: str) -> str:
        words = line.split()
        if words[1] == "run":
            words = [*words[:2], *more.split(), *words[2:-1], image]
        elif words[1] == "exec":
            return " ".join([*words[:2], self.name(words[2]), *words[3:]])
        line = " ".join(word if word == image else self.name(word) for word in words)
        return line.replace("/srv/geodns/zones:", f"{self.zones}:").replace("geodns-state:", f"{self.state}:")

    @staticmethod
    def name(word: str) -> str:
        """A container's name of the page, as it is called here."""
        return f"{word}-test-{RUN}" if word in (NEW, OLD) else word

    @property
    def state(self) -> str:
        return f"geodns-state-test-{RUN}"

    def type(self, line: str) -> str:
        if "geodns ping" in line:
            wait_until("an answer", lambda: "tcp: serves" in run(*line.split(), check=False))
        return run(*line.split())


@pytest.fixture
def page(image: str, tmp_path: Path) -> Iterator[Page]:
    page = Page(image, tmp_path)
    yield page
    docker("rm", "--force", page.name(NEW), page.name(OLD), check=False)
    docker("volume", "rm", "--force", page.state, check=False)


def said(container: str) -> str:
    return subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True).stderr


def test_the_page_does_what_it_says(page: Page) -> None:
    """Every command in its order; and the upgrade, under load, loses no query over UDP and cuts off none over
    TCP: each is asked once.
    """
    for line in page.before:
        page.type(line)
    with Load(53, per_connection=50, host=HOST) as load, Load(53, per_connection=1, host=HOST) as more:
        for line in page.upgrade:
            told = page.type(line)
            if line.startswith("docker wait"):
                assert "0" == told.strip()
                assert "has taken over" in said(page.name(OLD))
    assert "took over from a process in another container" in said(page.name(OLD))
    figure(
        f"docker, the next container takes over under load: {load.asked + more.asked} asked, "
        f"{load.lost + more.lost} lost, none asked twice"
    )
    assert (0, [], 0, []) == (load.lost, load.torn, more.lost, more.torn)
    assert min(load.asked, more.asked) > 100


def test_a_new_one_that_can_not_start_changes_nothing(page: Page) -> None:
    """A config that is broken: the new one says why and ends, and the old one serves on."""
    for line in page.before:
        page.type(line)
    broken = page.zones.parent / "broken.yaml"
    broken.write_text("listen: nowhere\n")
    broken.chmod(0o644)
    starting = next(line for line in page.upgrade if line.startswith("docker run"))
    starting = starting.replace("--restart unless-stopped", "--restart no")
    starting = starting.replace(f"{page.zones.parent}/geodns.yaml:", f"{broken}:")
    with Load(53, host=HOST) as load:
        page.type(starting)
        assert "0" != docker("wait", page.name(NEW))
        assert "listen" in said(page.name(NEW))
    assert (0, []) == (load.lost, load.torn)
    assert says_ready(page.name(OLD))
