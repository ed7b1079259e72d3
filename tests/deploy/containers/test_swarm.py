"""deploy/swarm.yaml, in a Swarm of this one machine: room for one nameserver, and the other waits."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.deploy.containers.conftest import zone_folder
from tests.deploy.containers.engine import LABEL, ROOT, RUN, docker, run, wait_until
from tests.deploy.containers.outside import free_port, machine_outside
from tests.deploy.pages import DEPLOY, commands

STACK = "geodns"  # as the page has it
SERVICE = f"{STACK}_ns"
GATEWAY = ("203.0.113.0/25", "203.0.113.128/25")  # of the network that ports lead to; of all others


@pytest.fixture(scope="module")
def swarm(the_engine: None) -> Iterator[None]:
    """A Swarm of one node with the label, left and cleaned up afterwards."""
    if "inactive" != docker("info", "--format", "{{.Swarm.LocalNodeState}}"):
        pytest.skip("this engine is in a Swarm already")
    networks = docker("network", "ls", "--format", "{{.Name}}").split()
    if "docker_gwbridge" not in networks:
        options = [
            option
            for pair in ("name=docker_gwbridge", "enable_icc=false", "enable_ip_masquerade=true")
            for option in ("--opt", f"com.docker.network.bridge.{pair}")
        ]
        label = ("--label", f"{LABEL}={RUN}")
        docker("network", "create", *label, "--subnet", GATEWAY[0], *options, "docker_gwbridge")
    try:
        docker(
            *("swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", f"127.0.0.1:{free_port()}"),
            *("--default-addr-pool", GATEWAY[1], "--default-addr-pool-mask-length", "27"),
        )
        node = docker("info", "--format", "{{.Swarm.NodeID}}")
        docker("node", "update", "--label-add", "geodns=true", "--label-add", "zone=a", node)
        yield
    finally:
        docker("stack", "rm", STACK, check=False)
        docker("swarm", "leave", "--force", check=False)
        wait_until("the tasks are gone", lambda: "" == docker("ps", "-aq", "--filter", f"name={SERVICE}"))
        docker("volume", "rm", "--force", f"{STACK}_state", check=False)
        docker("network", "rm", "docker_gwbridge", check=False)


def deploy(line: str, image: str, folder: Path) -> int:
    """Run a `docker stack deploy` with zones of our own; the port on which the server will answer."""
    assert line.startswith("docker stack deploy ")
    port = free_port()
    environment = {
        "GEODNS_IMAGE": image,
        "GEODNS_PORT": str(port),
        "GEODNS_ZONES": str(zone_folder(folder)),
        "GEODNS_DATABASES": str(ROOT / "geo-db"),
    }
    run(*line.split(), "--resolve-image", "never", environment=environment)
    return port


def tasks() -> list[dict[str, str]]:
    """What Swarm says of each task: CurrentState, Error, and more."""
    listed = docker("stack", "ps", "--no-trunc", "--format", "{{json .}}", STACK, check=False)
    return [json.loads(line) for line in listed.splitlines()]


def states(word: str) -> list[dict[str, str]]:
    return [task for task in tasks() if task["CurrentState"].startswith(word)]


def test_the_page_does_what_it_says(swarm: None, image: str, tmp_path: Path) -> None:
    """One runs and one waits; who asks from outside is seen; a replacement goes through."""
    lines = commands(DEPLOY / "swarm.md")
    port = deploy(lines[0], image, tmp_path)
    wait_until("one runs", lambda: 1 == len(states("Running")))
    (waiting,) = [task for task in states("Pending") if task["DesiredState"] == "Running"]
    assert "no suitable node" in waiting["Error"]
    with machine_outside() as ask:
        assert ["the machine outside"] == ask("udp", port)
        assert ["the machine outside"] == ask("tcp", port)
    # Replaced slot by slot, and the one that waits would be waited for: here there is no second node.
    docker("service", "scale", "--detach", f"{SERVICE}=1")
    wait_until("one is left", lambda: [] == states("Pending"))
    before = states("Running")[0]["ID"]
    for line in lines[1:]:
        # Of a task that never found a node there are no logs, and Docker calls that an error.
        run(*line.split(), check="logs" not in line)
    wait_until("a new one runs", lambda: [before] != [task["ID"] for task in states("Running")] != [])


def test_it_is_the_rule_and_not_the_port_that_keeps_them_apart(
    swarm: None, image: str, tmp_path: Path
) -> None:
    """Without published ports, so with nothing that could collide, the second one waits all the same."""
    docker("stack", "rm", STACK)
    wait_until(
        "the first stack is gone", lambda: "" == docker("network", "ls", "-q", "--filter", f"name={STACK}_")
    )
    stack = yaml.safe_load((DEPLOY / "swarm.yaml").read_text())
    del stack["services"]["ns"]["ports"]
    file = tmp_path / "swarm.yaml"
    file.write_text(yaml.safe_dump(stack))
    deploy(f"docker stack deploy --compose-file {file} {STACK}", image, tmp_path)
    wait_until("one runs", lambda: 1 == len(states("Running")))
    (waiting,) = [task for task in states("Pending") if task["DesiredState"] == "Running"]
    assert "max replicas per node" in waiting["Error"]


def test_the_stack_is_one_that_docker_knows(the_engine: None) -> None:
    """`docker stack config` takes every line of it."""
    done = subprocess.run(
        ["docker", "stack", "config", "--compose-file", str(DEPLOY / "swarm.yaml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (0, "") == (done.returncode, done.stderr)
