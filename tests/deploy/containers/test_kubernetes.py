"""The Kubernetes manifests: kustomize builds them, kubectl takes them, and there are all their fields."""

import json
import shutil
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.containers.engine import run
from tests.deploy.pages import DEPLOY, commands

WAYS_IN = ("", "host-network", "load-balancer")
VERSIONS = ("1.27", "1.30", "1.34")  # the oldest that kubectl of the day talks with, and newer ones

# What a server says of itself: group/version -> (name, kind, namespaced) of its resources.
RESOURCES = {
    "v1": [
        ("namespaces", "Namespace", False),
        ("configmaps", "ConfigMap", True),
        ("services", "Service", True),
    ],
    "apps/v1": [("statefulsets", "StatefulSet", True)],
    "policy/v1": [("poddisruptionbudgets", "PodDisruptionBudget", True)],
    "networking.k8s.io/v1": [("networkpolicies", "NetworkPolicy", True)],
}


@pytest.fixture(scope="module", autouse=True)
def _kubectl() -> None:
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")


def manifests(way_in: str) -> list[dict[str, Any]]:
    built = run("kubectl", "kustomize", str(DEPLOY / "kubernetes" / way_in))
    return list(yaml.safe_load_all(built))


@pytest.mark.parametrize("way_in", WAYS_IN)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_field_is_in_the_schema(way_in: str, version: str) -> None:
    """Strictly: a field that the API does not have is a mistake in writing it."""
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate")
    for manifest in manifests(way_in):
        validate.validate(manifest, version, strict=True)


# The set as a controller reports it when both pods are of the newest revision and ready.
ROLLED_OUT = {
    "apiVersion": "apps/v1",
    "kind": "StatefulSet",
    "metadata": {"name": "ns", "namespace": "geodns", "generation": 1, "resourceVersion": "1"},
    "spec": {"replicas": 2, "updateStrategy": {"type": "RollingUpdate"}},
    "status": {
        "observedGeneration": 1,
        "replicas": 2,
        "readyReplicas": 2,
        "updatedReplicas": 2,
        "currentRevision": "ns-1",
        "updateRevision": "ns-1",
    },
}


class _Api(BaseHTTPRequestHandler):
    """As much of an API server as kubectl asks when it only tries: which resources there are."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        groups = [version.split("/") for version in RESOURCES if "/" in version]
        answers: dict[str, Any] = {
            "version": {"major": "1", "minor": "30", "gitVersion": "v1.30.0"},
            "api": {"kind": "APIVersions", "versions": ["v1"]},
            "apis": {
                "kind": "APIGroupList",
                "apiVersion": "v1",
                "groups": [
                    {
                        "name": group,
                        "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                        "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                    }
                    for group, version in groups
                ],
            },
        }
        for version, resources in RESOURCES.items():
            answers[f"apis/{version}" if "/" in version else f"api/{version}"] = {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": [
                    {"name": name, "kind": kind, "namespaced": within, "verbs": ["create", "get", "patch"]}
                    for name, kind, within in resources
                ],
            }
        sets = "apis/apps/v1/namespaces/geodns/statefulsets"
        answers[f"{sets}/ns"] = ROLLED_OUT
        answers[sets] = {"kind": "StatefulSetList", "apiVersion": "apps/v1", "items": [ROLLED_OUT]}
        answers[sets] |= {"metadata": {"resourceVersion": "1"}}
        found = answers.get(path)
        body = json.dumps(found or {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404})
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        """Nobody is to be told."""


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Iterator[str]:
    """A config of kubectl for an API server that knows what there is and has nothing."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Api)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
        "users": [{"name": "it", "user": {}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    yield str(path)
    server.shutdown()
    server.server_close()


def test_the_pages_commands(kubeconfig: str, tmp_path: Path) -> None:
    """Every command of the page; what would change a cluster is only tried."""
    for line in commands(DEPLOY / "kubernetes" / "README.md"):
        program, *arguments = line.split()
        if program == "geodns":
            run(sys.executable, "-m", "geodns", *arguments)
            continue
        assert "kubectl" == program
        options = ["--kubeconfig", kubeconfig, "--cache-dir", str(tmp_path / "cache")]
        tried = ["--dry-run=client", "--validate=false"] if "apply" in arguments else []
        said = run(program, *options, *arguments, *tried)
        assert "(dry run)" in said or "complete" in said


@pytest.mark.parametrize("way_in", WAYS_IN)
def test_kubectl_takes_them(way_in: str, kubeconfig: str, tmp_path: Path) -> None:
    """`kubectl apply --dry-run=client` of all of them, as the page says it; nothing is sent anywhere."""
    said = run(
        *("kubectl", "--kubeconfig", kubeconfig, "--cache-dir", str(tmp_path / "cache"), "apply"),
        *("--dry-run=client", "--validate=false", "--kustomize", str(DEPLOY / "kubernetes" / way_in)),
    )
    made = [line.split()[0] for line in said.splitlines() if line.endswith("(dry run)")]
    assert len(manifests(way_in)) == len(made)
    assert "statefulset.apps/ns" in made
