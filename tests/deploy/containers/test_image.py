"""What is in the image, and what it may do."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from statistics import median

import pytest

from tests.deploy.containers.conftest import build_geodns, figure, says_ready, start, stop, zone_folder
from tests.deploy.containers.engine import (
    AS_ROOT,
    HAS_RUST,
    PATIENCE_SECONDS,
    RUN,
    SANDBOX,
    docker,
    image_octets,
    run,
    wait_until,
)
from tests.deploy.pages import DEPLOY, commands

COMPILERS = ("cc", "gcc", "g++", "clang", "tcc", "rustc", "cargo", "go", "as", "ld", "make", "pip", "pip3")
STOP_SECONDS = 2.0
NET_BIND_SERVICE = 1 << 10  # <linux/capability.h>


def test_it_is_built_as_the_page_says() -> None:
    """deploy/README.md has the command that the tests build with, but for the tag and the bases."""
    assert ["docker build --tag geodns --file deploy/Dockerfile ."] == commands(DEPLOY / "README.md")


def test_there_is_no_compiler_and_no_pip(image: str) -> None:
    """The last stage has what runs, and nothing that builds."""
    code = f"import shutil; print([name for name in {COMPILERS} if shutil.which(name)])"
    assert "[]" == docker("run", "--rm", "--entrypoint", "python3", image, "-c", code)


def engine_of(image: str) -> str:
    """Which engine serves, as the ready line says it."""
    container = start(image, *SANDBOX)
    wait_until("ready", lambda: says_ready(container))
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    docker("rm", "--force", container)
    return re.findall(r"ready: .*\(engine ([^)]*)\)", done.stderr)[0]


@pytest.mark.skipif(not HAS_RUST, reason="there is no Rust toolchain to build the native engine with")
def test_the_native_engine_serves(image: str) -> None:
    """Built by RUST_BASE, it is what answers."""
    assert "native" == engine_of(image)


def test_without_rust_the_python_engine_serves(bases: dict[str, str]) -> None:
    """RUST_BASE=$BASE is an image, too: the build says what is missing, and so does the server."""
    made, said = build_geodns(f"geodns-test-python:{RUN}", bases | {"RUST_BASE": bases["BASE"]})
    assert "this image has the Python engine and no native one" in said
    assert engine_of(made).startswith("python: ")
    docker("rmi", made)


def hears_sigterm(container: str) -> bool:
    """Whether the container's first process has a handler for SIGTERM: proc_pid_status(5)."""
    pid = docker("inspect", "--format", "{{.State.Pid}}", container)
    fields = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(fields["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1)


def test_stopping_is_quick_however_early(image: str) -> None:
    """`docker stop` ends it in less than 2 s, and no time by a kill after ten, from the moment it can hear.

    Linux gives a container's first process no signal that it has no handler for, so it hears none while the
    interpreter itself starts. The median of some moments: what else the machine does makes one slower.
    """
    took = []
    for seconds in (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 1.0):
        container = docker("create", "--label", f"geodns-tests={RUN}", *SANDBOX, image)
        docker("start", container)
        wait_until("the first handler", lambda: hears_sigterm(container))  # noqa: B023
        time.sleep(seconds)
        took.append(stop(container)[0])
        assert "0" == docker("inspect", "--format", "{{.State.ExitCode}}", container), f"after {seconds} s"
        docker("rm", container)
    figure(
        "docker stop at seven moments after the first handler: ended after "
        + ", ".join(f"{one:.2f} s" for one in took)
    )
    assert median(took) < STOP_SECONDS


def test_it_is_told_how_large(image: str, base: str) -> None:
    """Less than 200 MB are ours: most of it numpy, the databases, and the libraries."""
    own = image_octets(image) - image_octets(base)
    assert own < 200e6
    figure(
        f"image: {image_octets(image) / 1e6:.0f} MB, of which the base is {image_octets(base) / 1e6:.0f} MB"
    )


def test_it_is_nobody_in_particular(image: str) -> None:
    """A number as user, so that Kubernetes sees that it is not root; and a health check of its own."""
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    assert "65532:65532" == config["User"]
    assert ["CMD", "geodns", "ping"] == config["Healthcheck"]["Test"]


def test_one_file_has_one_capability(image: str) -> None:
    """CAP_NET_BIND_SERVICE on geodns' own interpreter: not on the base's, and nothing else anywhere."""
    code = (
        "import os\n"
        "for top in ('/usr', '/opt', '/etc', '/var'):\n"
        " for folder, _, names in os.walk(top):\n"
        "  for name in names:\n"
        "   path = os.path.join(folder, name)\n"
        "   if 'security.capability' in os.listxattr(path, follow_symlinks=False):\n"
        "    print(path, os.getxattr(path, 'security.capability')[4:8].hex())\n"
    )
    said = docker("run", "--rm", "--user", "0", "--entrypoint", "/usr/bin/env", image, "python3", "-c", code)
    assert f"/opt/geodns/bin/python3 {NET_BIND_SERVICE.to_bytes(4, 'little').hex()}" == said


def test_it_serves_as_nobody_on_a_file_system_that_nobody_writes_to(image: str, tmp_path: Path) -> None:
    """In a network of its own, without any capability in force, and nothing is written."""
    zones = zone_folder(tmp_path)
    container = start(image, *SANDBOX, "--volume", f"{zones}:/etc/geodns/zones:ro")
    seconds = wait_until("ready", lambda: says_ready(container))
    figure(f"start to ready, with the databases of geo-db/: {seconds:.1f} s")
    assert "serves example.com." in docker("exec", container, "geodns", "ping", "example.com")
    status = docker("exec", container, "cat", "/proc/1/status")
    fields = dict(line.split(":\t") for line in status.splitlines())
    assert "65532" == fields["Uid"].split()[0]
    assert 0 == int(fields["CapEff"], 16)
    assert NET_BIND_SERVICE == int(fields["CapBnd"], 16)
    assert "1" == fields["NoNewPrivs"]
    assert "" == docker("diff", container)
    docker("rm", "--force", container)


def test_health_follows_the_server(image: str) -> None:
    """Docker calls it healthy when it answers and unhealthy when it does not, however alive it is."""
    quick = ("--health-interval", "1s", "--health-timeout", "2s", "--health-retries", "1")
    container = start(image, *SANDBOX, *quick)

    def health() -> str:
        return docker("inspect", "--format", "{{.State.Health.Status}}", container)

    wait_until("healthy", lambda: health() == "healthy")
    docker("kill", "--signal", "STOP", container)
    wait_until("unhealthy", lambda: health() == "unhealthy")
    docker("kill", "--signal", "CONT", container)
    wait_until("healthy again", lambda: health() == "healthy")
    docker("rm", "--force", container)


def test_in_the_hosts_network_the_file_capability_gives_port_53(image: str) -> None:
    """`--network host`, as Nomad's job has it: there only a capability gives port 53, and it is there."""
    options = ("--network", "host", "--read-only", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE")
    container = start(image, *options, command=("serve", "--listen", "127.53.53.53:53"))
    wait_until("ready", lambda: says_ready(container))
    said = docker("exec", container, "geodns", "ping", "--server", "127.53.53.53:53")
    assert 2 == said.count("answers")
    docker("rm", "--force", container)


def test_as_kubernetes_starts_it(image: str, tmp_path: Path) -> None:
    """allowPrivilegeEscalation: false and one capability: permitted by the runtime, kept by the file.

    No orchestrator is needed for that: the runtime below both, runc, with what containerd's CRI asks of it.
    """
    runc = shutil.which("runc")
    if runc is None or (os.geteuid() != 0 and shutil.which("sudo") is None):
        pytest.skip("there is no runc that could be called by itself")
    root = tmp_path / "rootfs"
    root.mkdir()
    container = docker("create", "--label", f"geodns-tests={RUN}", image)
    with subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export:
        options = ("--xattrs", "--xattrs-include=security.capability", "--same-owner")
        subprocess.run([*AS_ROOT, "tar", "-C", root, *options, "-x"], stdin=export.stdout, check=True)
    # `docker export` leaves the capability out; what a registry's layer has is put back as it was.
    told = docker(
        *("run", "--rm", "--user", "0", "--entrypoint", "/usr/bin/python3", image, "-c"),
        "import os; print(os.getxattr('/opt/geodns/bin/python3', 'security.capability').hex())",
    )
    os.setxattr(root / "opt/geodns/bin/python3", "security.capability", bytes.fromhex(told))
    run(runc, "spec", cwd=tmp_path)
    spec = json.loads((tmp_path / "config.json").read_text())
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    only = ["CAP_NET_BIND_SERVICE"]
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": 65532, "gid": 65532},
        "args": ["geodns", "serve"],
        "cwd": "/etc/geodns",
        "noNewPrivileges": True,
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}],
        "capabilities": {"bounding": only, "effective": only, "permitted": only},
    }
    config = json.loads(docker("image", "inspect", "--format", "{{json .Config}}", image))
    spec["process"]["env"] = config["Env"]
    spec["root"] = {"path": "rootfs", "readonly": True}
    (tmp_path / "config.json").write_text(json.dumps(spec))
    name = f"geodns-test-{RUN}"
    command = [*AS_ROOT, runc, "run", name]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as served:
        try:
            assert served.stderr is not None
            said = [served.stderr.readline()]
            while said[-1] and "ready: " not in said[-1]:
                said.append(served.stderr.readline())
            assert said[-1], said
            port = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
            assert "1024" == run(*AS_ROOT, runc, "exec", name, "cat", port).strip()
        finally:
            run(*AS_ROOT, runc, "kill", name, "TERM", check=False)
            try:
                code = served.wait(PATIENCE_SECONDS)
            finally:
                run(*AS_ROOT, runc, "delete", "--force", name, check=False)
    assert 0 == code
