"""What the files of deploy/ promise, read and not run: tests/deploy/containers runs them."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from geodns.config import load_config
from geodns.zone import load_text
from geodns.zone.files import zone_name
from tests.deploy.pages import DEPLOY, PAGES, ROOT, commands

EXPOSURE_MAX = 2.0  # of 10, by `systemd-analyze security`; "OK" ends at 4
PAGE_LINES = 70

# Where the commands of a page's console blocks are run.
RUN_BY = {
    "README.md": "containers/test_image.py",
    "compose.md": "containers/test_compose.py",
    "docker.md": "containers/test_docker.py",
    "swarm.md": "containers/test_swarm.py",
    "kubernetes/README.md": "containers/test_kubernetes.py",
    "systemd/README.md": "containers/test_systemd.py",
}


def load(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


def job() -> str:
    return (DEPLOY / "nomad" / "geodns.nomad.hcl").read_text()


def test_compose_has_two_servers_on_two_networks() -> None:
    """ns1 and ns2 have no network in common: the one's failure is not the other's."""
    services = load("compose.yaml")["services"]
    assert ["ns1", "ns2"] == sorted(services)
    assert set() == set(services["ns1"]["networks"]) & set(services["ns2"]["networks"])


def test_swarm_has_one_on_a_node_by_host_mode_ports() -> None:
    """Two replicas, one for a node, replaced one by one; and no routing mesh, which hides the clients."""
    service = load("swarm.yaml")["services"]["ns"]
    deploy = service["deploy"]
    assert (2, 1) == (deploy["replicas"], deploy["placement"]["max_replicas_per_node"])
    assert (1, "stop-first") == (deploy["update_config"]["parallelism"], deploy["update_config"]["order"])
    assert [("udp", "host"), ("tcp", "host")] == [
        (port["protocol"], port["mode"]) for port in service["ports"]
    ]


def test_kubernetes_has_two_hosts_and_better_two_zones() -> None:
    """Anti-affinity is required by host and preferred by zone, and one pod always stays."""
    pod = load("kubernetes/base/nameservers.yaml")["spec"]["template"]["spec"]
    affinity = pod["affinity"]["podAntiAffinity"]
    required = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    preferred = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert ["kubernetes.io/hostname"] == [term["topologyKey"] for term in required]
    assert ["topology.kubernetes.io/zone"] == [term["podAffinityTerm"]["topologyKey"] for term in preferred]
    assert 1 == load("kubernetes/base/disruption.yaml")["spec"]["minAvailable"]


def test_kubernetes_keeps_the_clients_address() -> None:
    """By ports of the host, for UDP and TCP; or by balancers that no node stands between."""
    container = load("kubernetes/base/nameservers.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert [("UDP", 53), ("TCP", 53)] == [(port["protocol"], port["hostPort"]) for port in container["ports"]]
    text = (DEPLOY / "kubernetes/load-balancer/services.yaml").read_text()
    services = list(yaml.safe_load_all(text))
    assert 2 * ["Local"] == [service["spec"]["externalTrafficPolicy"] for service in services]
    pods = [service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"] for service in services]
    assert ["ns-0", "ns-1"] == pods


def test_kubernetes_reloads_zones_and_replaces_for_a_config() -> None:
    """The zones' ConfigMap keeps its name and is mounted as a folder; the config's has a hash in its name."""
    maps = {one["name"]: one for one in load("kubernetes/base/kustomization.yaml")["configMapGenerator"]}
    assert {"disableNameSuffixHash": True} == maps["zones"]["options"]
    assert "options" not in maps["config"]
    container = load("kubernetes/base/nameservers.yaml")["spec"]["template"]["spec"]["containers"][0]
    assert not any("subPath" in mount for mount in container["volumeMounts"])


def test_nomad_has_distinct_hosts_and_their_own_network() -> None:
    """Two, never on one machine, and nothing between them and who asks."""
    text = re.sub(r"\s+", " ", job())
    assert "count = 2 " in text
    assert 'constraint { operator = "distinct_hosts" value = "true" }' in text
    assert 'network_mode = "host"' in text


@pytest.mark.parametrize("name", ["compose", "swarm"])
def test_services_are_locked_down(name: str) -> None:
    """A read-only root, one capability, and zones that they can not write."""
    document = load(f"{name}.yaml")
    for service in document["services"].values():
        assert service["read_only"]
        assert (["ALL"], ["NET_BIND_SERVICE"]) == (service["cap_drop"], service["cap_add"])
        for volume in service["volumes"]:
            if "/etc/geodns" in str(volume):
                assert str(volume).endswith(":ro") or volume["read_only"]


def test_pods_are_locked_down() -> None:
    """What the standard "restricted" asks for, and a read-only root beside it."""
    pod = load("kubernetes/base/nameservers.yaml")["spec"]["template"]["spec"]
    container = pod["containers"][0]
    assert pod["securityContext"]["runAsNonRoot"]
    assert {"type": "RuntimeDefault"} == pod["securityContext"]["seccompProfile"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]},
    } == container["securityContext"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert pod["automountServiceAccountToken"] is False


def test_the_network_policy_lets_dns_in() -> None:
    """UDP and TCP 53 from everywhere, and nothing else."""
    spec = load("kubernetes/base/network-policy.yaml")["spec"]
    (rule,) = spec["ingress"]
    assert {"ports"} == set(rule)
    assert [("UDP", 53), ("TCP", 53)] == [(port["protocol"], port["port"]) for port in rule["ports"]]


@pytest.mark.parametrize("name", ["geodns.yaml", "kubernetes/base/geodns.yaml"])
def test_the_configs_are_good(name: str) -> None:
    """Without a problem, and on port 53 of every address of both families."""
    config, problems = load_config(DEPLOY / name)
    assert [] == [str(problem) for problem in problems]
    assert config is not None
    assert ["0.0.0.0:53", "[::]:53"] == [str(listen) for listen in config.addresses]


def test_the_zone_of_the_configmap_is_good() -> None:
    """The example in deploy/kubernetes loads, and is the one file that its kustomization names."""
    (file,) = (DEPLOY / "kubernetes/base/zones").glob("*.yaml")
    zone, problems = load_text(file.read_bytes(), zone_name(file.name), file.name, 1)
    assert zone is not None, [str(problem) for problem in problems]
    maps = {one["name"]: one for one in load("kubernetes/base/kustomization.yaml")["configMapGenerator"]}
    assert [f"zones/{file.name}"] == maps["zones"]["files"]


def systemd_analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    return subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=30, check=False
    )


def test_the_unit_is_without_mistakes(tmp_path: Path) -> None:
    """systemd-analyze verify knows every setting and value of it (a program stands for the installed one)."""
    program = tmp_path / "geodns"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    text = (DEPLOY / "systemd/geodns.service").read_text()
    unit, sockets = tmp_path / "geodns.service", tmp_path / "geodns.socket"
    unit.write_text(text.replace("/opt/geodns/bin/geodns", str(program)))
    sockets.write_text((DEPLOY / "systemd/geodns.socket").read_text())
    done = systemd_analyze("verify", "--man=no", str(unit), str(sockets))
    assert "" == "\n".join(line for line in done.stderr.splitlines() if "geodns" in line)


def test_the_unit_is_a_sandbox() -> None:
    """systemd-analyze security finds little exposed."""
    threshold = str(round(EXPOSURE_MAX * 10))
    unit = str(DEPLOY / "systemd/geodns.service")
    done = systemd_analyze("security", "--no-pager", "--offline=yes", f"--threshold={threshold}", unit)
    assert 0 == done.returncode, done.stdout[-300:]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DEPLOY)) for page in PAGES])
def test_a_page_says_what_an_operator_asks(page: Path) -> None:
    """One page each: how the client's address stays, how a zone is changed, how to upgrade without a loss."""
    text = page.read_text()
    assert len(text.splitlines()) <= PAGE_LINES
    if page not in (DEPLOY / "README.md", DEPLOY / "prometheus" / "README.md"):  # these place no server
        assert [] == [
            title
            for title in ("**The client's address", "**To change a zone**", "**To upgrade**")
            if title not in text
        ]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(DEPLOY)) for page in PAGES])
def test_every_command_of_a_page_is_run(page: Path) -> None:
    """A page with commands has a test that runs them."""
    name = str(page.relative_to(DEPLOY))
    if commands(page):
        assert (ROOT / "tests" / "deploy" / RUN_BY[name]).exists()
