"""The engine, the images, and ns1 and ns2 on networks of their own with a client on both.

        198.51.100.0/24                       203.0.113.0/24
        2001:db8:1::/64                       2001:db8:2::/64
ns1 .53 -------------- .77  client  .77 --------------- .53 ns2
"""

import fcntl
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pytest

from tests.deploy.containers import engine
from tests.deploy.containers.engine import LABEL, ROOT, RUN, SANDBOX, docker, wait_until

NETWORKS = {"one": ("198.51.100", "2001:db8:1:"), "two": ("203.0.113", "2001:db8:2:")}
SERVERS = {"ns1": "one", "ns2": "two"}
SERVER, CLIENT = 53, 77  # the last part of an address, decimal for IPv4 and hexadecimal for IPv6
TEST_SECONDS = 600  # without its fixtures: each command of theirs has its own limit
REASON_CHARACTERS = 2000  # of what a program said that failed: its end

FIGURES: list[str] = []
"""What was measured, for the end of the run."""


def figure(text: str) -> None:
    FIGURES.append(text)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for text in FIGURES:
        terminalreporter.write_line(f"measured: {text}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in here:
        item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


def addresses(network: str, host: int) -> tuple[str, str]:
    """The IPv4 and the IPv6 address of a host."""
    v4, v6 = NETWORKS[network]
    return f"{v4}.{host}", f"{v6}:{host}"


@pytest.fixture(scope="session")
def the_engine() -> Iterator[None]:
    """A Docker engine; what was made with it is gone afterwards. One run at a time: addresses are fixed."""
    if reason := engine.why_no_engine():
        pytest.skip(reason)
    engine.CACHE.mkdir(parents=True, exist_ok=True)
    with (engine.CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        engine.remove_all()
        engine.remove_half_made()
        if reason := engine.why_no_prefixes() or _why_no_supplies():
            pytest.skip(reason)
        try:
            yield
        finally:
            engine.remove_all()
            engine.remove_stages()


def _why_no_supplies() -> str | None:
    began = time.monotonic()
    try:
        engine.fetch()
    except AssertionError as error:
        return f"this machine can not supply what the images are made of: {str(error)[-REASON_CHARACTERS:]}"
    figure(f"packages, wheels and crates: {time.monotonic() - began:.0f} s")
    return None


@pytest.fixture(scope="session")
def base(the_engine: None) -> str:
    """The image that stands in for BASE."""
    return engine.import_image(engine.base_tar(), f"geodns-test-base:{RUN}")


@pytest.fixture(scope="session")
def build_base(base: str) -> str:
    """The image that stands in for BUILD_BASE: its pip has wheels and no index."""
    return engine.build_base(base, f"geodns-test-build:{RUN}")


@pytest.fixture(scope="session")
def rust_base(base: str) -> str:
    """The image that stands in for RUST_BASE; where this machine has no Rust, one without cargo."""
    return engine.rust_base(f"geodns-test-rust:{RUN}") if engine.HAS_RUST else base


@pytest.fixture(scope="session")
def bases(base: str, build_base: str, rust_base: str) -> dict[str, str]:
    """The build arguments of deploy/Dockerfile."""
    return {"BASE": base, "BUILD_BASE": build_base, "RUST_BASE": rust_base}


def build_geodns(name: str, bases: dict[str, str]) -> tuple[str, str]:
    """deploy/Dockerfile, built; its name, and what was said on the way."""
    arguments = [part for key, value in bases.items() for part in ("--build-arg", f"{key}={value}")]
    return engine.build_telling(name, ROOT, "--file", str(ROOT / "deploy" / "Dockerfile"), *arguments)


@pytest.fixture(scope="session")
def image(base: str, bases: dict[str, str]) -> str:
    """The image under test."""
    began = time.monotonic()
    made, _ = build_geodns(f"geodns-test:{RUN}", bases)
    own = engine.image_octets(made) - engine.image_octets(base)
    figure(f"image: built in {time.monotonic() - began:.0f} s, {own / 1e6:.0f} MB on top of its base")
    return made


def start(image: str, *options: str, command: tuple[str, ...] = ()) -> str:
    """Start a container of this run; its id."""
    return docker("run", "--detach", "--label", f"{LABEL}={RUN}", *options, image, *command)


def stop(container: str) -> tuple[float, float]:
    """`docker stop`: the seconds from the command to the server's end, and to the end of the command.

    In between the engine takes the container's network and file system apart.
    """
    began = time.time()
    docker("stop", container)
    took = time.time() - began
    said = docker("inspect", "--format", "{{.State.FinishedAt}}", container)
    ended = datetime.fromisoformat(f"{said[:19]}+00:00").timestamp() + float(f"0{said[19:].rstrip('Z')}")
    return ended - began, took


def says_ready(container: str) -> bool:
    done = subprocess.run(["docker", "logs", container], capture_output=True, text=True, check=True)
    return "ready: " in done.stderr


def is_healthy(container: str) -> bool:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy"


ZONE = """\
$zone: {{ttl: 5}}
'':
  - {{type: NS, values: [ns1.example.com., ns2.example.com.]}}
ns1: [{{type: A, value: 198.51.100.53}}, {{type: AAAA, value: '2001:db8:1::53'}}]
ns2: [{{type: A, value: 203.0.113.53}}, {{type: AAAA, value: '2001:db8:2::53'}}]
version: {{type: TXT, ttl: 1, value: "{version}"}}
'*.any': {{type: TXT, ttl: 1, value: there}}
asker:
  type: TXT
  ttl: 1
  values: [somebody else]
  dynamic:
    pools:
      client: {{values: [{{value: the client}}]}}
      outside: {{values: [{{value: the machine outside}}]}}
      else: {{values: [{{value: somebody else}}]}}
    rules:
      - {{subnets: [198.51.100.77/32, '2001:db8:1::77/128'], pool: client}}
      - {{subnets: [203.0.113.77/32, '2001:db8:2::77/128'], pool: client}}
      - {{subnets: [198.51.100.99/32, '2001:db8:1::99/128'], pool: outside}}
      - {{pool: else}}
"""


def write_zone(folder: Path, version: str) -> None:
    """Save the zone as good editors do: a new file, renamed onto the old one."""
    new = folder / "example.com.yaml.new"
    new.write_text(ZONE.format(version=version))
    new.chmod(0o644)
    os.replace(new, folder / "example.com.yaml")


def zone_folder(folder: Path) -> Path:
    """A folder with the zone in it, which whoever the container runs as may read."""
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)  # pytest's folders are for their user alone
    zones = folder / "zones"
    zones.mkdir(mode=0o755)
    zones.chmod(0o755)
    write_zone(zones, "first")
    return zones


@dataclass
class Pair:
    """ns1 and ns2, and the client on both of their networks."""

    image: str
    zones: dict[str, Path]
    client: str = ""
    servers: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def network(name: str) -> str:
        return f"geodns-test-{RUN}-{name}"

    def create(self, server: str) -> str:
        """A container of this server, not started."""
        v4, v6 = addresses(SERVERS[server], SERVER)
        return docker(
            *("create", "--label", f"{LABEL}={RUN}", "--hostname", server, *SANDBOX),
            *("--network", self.network(SERVERS[server]), "--ip", v4, "--ip6", v6),
            *("--volume", f"{self.zones[server]}:/etc/geodns/zones:ro", "--health-interval", "1s"),
            self.image,
        )

    def start(self, server: str) -> float:
        """Start a new container of this server; the seconds until it is ready."""
        self.servers[server] = self.create(server)
        docker("start", self.servers[server])
        return wait_until(f"{server} ready", lambda: says_ready(self.servers[server]))

    def ask(self, protocol: str, name: str, rtype: str, *targets: str, rclass: str = "IN") -> list[list[str]]:
        """What the client is told by each of these addresses."""
        program = ("python3", "/client.py", "ask", protocol, name, rtype, rclass)
        return json.loads(docker("exec", self.client, *program, *targets))

    def all_addresses(self) -> list[str]:
        return [address for network in SERVERS.values() for address in addresses(network, SERVER)]

    def answering(self, name: str, server: str) -> list[list[str]]:
        return self.ask("udp", name, "TXT", *addresses(SERVERS[server], SERVER))


@pytest.fixture(scope="module")
def pair(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Both servers, ready, and the client."""
    zones = {server: zone_folder(tmp_path_factory.mktemp(server)) for server in SERVERS}
    pair = Pair(image, zones)
    made = []
    try:
        for network, (v4, v6) in NETWORKS.items():
            name = pair.network(network)
            docker(
                *("network", "create", "--label", f"{LABEL}={RUN}", "--internal", "--ipv6"),
                *("--subnet", f"{v4}.0/24", "--subnet", f"{v6}:/64", name),
            )
            made.append(name)
        first, second = ((pair.network(name), *addresses(name, CLIENT)) for name in NETWORKS)
        program = ROOT / "tests" / "deploy" / "containers" / "client.py"
        pair.client = start(
            image,
            *("--network", first[0], "--ip", first[1], "--ip6", first[2], "--no-healthcheck"),
            *("--volume", f"{program}:/client.py:ro", "--entrypoint", "python3"),
            command=("-c", "import signal; signal.signal(15, lambda *_: exit()); signal.pause()"),
        )
        docker("network", "connect", "--ip", second[1], "--ip6", second[2], second[0], pair.client)
        for server in SERVERS:
            pair.start(server)
        yield pair
    finally:
        for container in (*pair.servers.values(), pair.client):
            if container:
                docker("rm", "--force", "--volumes", container, check=False)
        for name in made:
            docker("network", "rm", name, check=False)


class Asking:
    """client.py in a container asks all the time while the block runs; then `counts` says how it went."""

    def __init__(self, container: str, *command: str) -> None:
        self._popen = subprocess.Popen(
            ["docker", "exec", "--interactive", container, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.counts: dict[str, float] = {}

    def __enter__(self) -> "Asking":
        assert self._popen.stdout is not None
        assert "asking\n" == self._popen.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        stop = threading.Timer(engine.PATIENCE_SECONDS, self._popen.kill)
        stop.start()
        said, _ = self._popen.communicate()
        stop.cancel()
        self.counts = json.loads(said.splitlines()[-1])


def resolving(pair: Pair) -> Asking:
    """The client asks as a resolver does."""
    program = ("python3", "/client.py", "resolve", "a.any.example.com")
    return Asking(pair.client, *program, *pair.all_addresses())


# Machines with systemd


@dataclass(frozen=True)
class Machine:
    """A container with systemd as its first process."""

    container: str

    def run(self, *command: str, check: bool = True) -> str:
        return docker("exec", self.container, *command, check=check)

    @property
    def pid(self) -> int:
        return int(docker("inspect", "--format", "{{.State.Pid}}", self.container))


@pytest.fixture(scope="session")
def machine_image(the_engine: None) -> str:
    """A machine as one rents it: Python, systemd, git, SSH; its pip has wheels and no index."""
    made = engine.import_image(engine.machine_tar(), f"geodns-test-machine:{RUN}")
    return engine.build_base(made, f"geodns-test-machine-with-wheels:{RUN}")


@contextmanager
def booted(image: str, *options: str) -> Iterator[str]:
    """A machine that has no network yet, booted; its container."""
    command = ["--tmpfs", "/run", "--tmpfs", "/run/lock", "--env", "container=docker", "--network", "none"]
    if docker("info", "--format", "{{.CgroupVersion}}") == "1":
        command += ["--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--cap-add", "SYS_ADMIN"]
        command += ["--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined"]
    else:
        command += ["--cgroupns", "private", "--privileged"]
    machine = Machine(start(image, *command, *options, command=("/lib/systemd/systemd",)))
    try:
        up = ("systemctl", "is-system-running")
        wait_until("systemd", lambda: machine.run(*up, check=False) in ("running", "degraded"))
        yield machine.container
    finally:
        docker("rm", "--force", "--volumes", machine.container, check=False)
