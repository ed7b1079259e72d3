"""The client's address survives on its way in from outside: to the host's network, and to a port of the host.

The other ways have it where they are tested: networks of containers, Compose, and Swarm's host-mode ports.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.containers.conftest import says_ready, start, zone_folder
from tests.deploy.containers.engine import AS_ROOT, RUN, SANDBOX, docker, run, wait_until
from tests.deploy.containers.outside import free_port, machine_outside

CNI = Path("/usr/lib/cni")  # where Debian has the plugins that most clusters use
POD, NODE = "203.0.113.53/24", "203.0.113.1"
POD6, NODE6 = "2001:db8:2::53/64", "2001:db8:2::1"


def test_in_the_hosts_network_nothing_is_in_between(image: str, tmp_path: Path) -> None:
    """`--network host`, as Nomad's job and host-network/ have it: UDP and TCP, IPv4 and IPv6."""
    port = free_port()
    zones = zone_folder(tmp_path)
    container = start(
        image,
        *("--network", "host", "--read-only", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"),
        *("--volume", f"{zones}:/etc/geodns/zones:ro"),
        command=("serve", "--listen", f"0.0.0.0:{port}", "--listen", f"[::]:{port}"),
    )
    wait_until("ready", lambda: says_ready(container))
    with machine_outside() as ask:
        for family in (4, 6):
            assert ["the machine outside"] == ask("udp", port, family)
            assert ["the machine outside"] == ask("tcp", port, family)
    docker("rm", "--force", container)


def plugin(node: str, verb: str, config: dict[str, Any], namespace: str) -> dict[str, Any]:
    """Call a network plugin as a kubelet's runtime does (CNI specification, section 2)."""
    variables = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"geodns-{RUN}",
        "CNI_NETNS": namespace,
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(CNI),
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",  # iptables
    }
    given = [f"{key}={value}" for key, value in variables.items()]
    done = subprocess.run(
        [*AS_ROOT, "ip", "netns", "exec", node, "env", *given, str(CNI / config["type"])],
        input=json.dumps(config),
        capture_output=True,
        text=True,
        check=False,
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout.strip() else {}


@contextmanager
def pod_on_a_node(container: str, port: int) -> Iterator[str]:
    """The container as a pod with `hostPort: port` for its port 53, on a node that is a namespace; its name.

    Everything that the plugins change is in that namespace, and goes with it.
    """
    node = f"geodns-node-{RUN}"
    ip = [*AS_ROOT, "ip"]
    run(*ip, "netns", "add", node)
    try:
        namespace = f"/proc/{docker('inspect', '--format', '{{.State.Pid}}', container)}/ns/net"
        addresses = [{"address": POD, "gateway": NODE}, {"address": POD6, "gateway": NODE6}]
        ipam = {
            "type": "static",
            "addresses": addresses,
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        }
        mappings = [
            {"hostPort": port, "containerPort": 53, "protocol": protocol} for protocol in ("udp", "tcp")
        ]
        chain: list[dict[str, Any]] = [
            {"type": "bridge", "bridge": "pods", "isGateway": True, "ipam": ipam},
            {
                "type": "portmap",
                "capabilities": {"portMappings": True},
                "runtimeConfig": {"portMappings": mappings},
            },
        ]
        result: dict[str, Any] = {}
        for link in chain:
            config = {"cniVersion": "0.4.0", "name": "pods", **link}
            result = plugin(node, "ADD", config | ({"prevResult": result} if result else {}), namespace)
        yield node
    finally:
        run(*ip, "netns", "del", node, check=False)


def test_a_port_of_the_host_leads_to_the_pod_and_leaves_the_client(image: str, tmp_path: Path) -> None:
    """`hostPort`, as deploy/kubernetes has it, by the plugins that make it: the pod sees who asks."""
    if not (CNI / "portmap").exists():
        pytest.skip("there are no network plugins (apt-get install containernetworking-plugins)")
    port = free_port()
    zones = zone_folder(tmp_path)
    container = start(image, "--network", "none", *SANDBOX, "--volume", f"{zones}:/etc/geodns/zones:ro")
    wait_until("ready", lambda: says_ready(container))
    with pod_on_a_node(container, port) as node, machine_outside(node) as ask:
        for family in (4, 6):
            assert ["the machine outside"] == ask("udp", port, family)
            assert ["the machine outside"] == ask("tcp", port, family)
    docker("rm", "--force", container)
