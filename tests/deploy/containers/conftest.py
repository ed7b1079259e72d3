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
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.containers import engine
from tests.deploy.containers.engine import LABEL, ROOT, RUN, SANDBOX, docker, wait_until

NETWORKS = {"one": ("198.51.100", "2001:db8:1:"), "two": ("203.0.113", "2001:db8:2:")}
SERVERS = {"ns1": "one", "ns2": "two"}
SERVER, CLIENT = 53, 77  # the last part of an address, decimal for IPv4 and hexadecimal for IPv6
TEST_SECONDS = 600
FIRST_TEST_SECONDS = 1500  # which makes the images, and may have to bootstrap the base

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
        item.add_marker(pytest.mark.timeout(FIRST_TEST_SECONDS if item is here[0] else TEST_SECONDS))


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
        try:
            yield
        finally:
            engine.remove_all()
            engine.remove_stages()


@pytest.fixture(scope="session")
def base(the_engine: None) -> str:
    """The image that stands in for BASE."""
    return engine.import_image(engine.base_tar(), f"geodns-test-base:{RUN}")


@pytest.fixture(scope="session")
def build_base(base: str) -> str:
    """The image that stands in for BUILD_BASE: its pip has wheels and no index."""
    return engine.build_base(base, f"geodns-test-build:{RUN}")


@pytest.fixture(scope="session")
def image(base: str, build_base: str) -> str:
    """deploy/Dockerfile, built."""
    began = time.monotonic()
    made = engine.build(
        f"geodns-test:{RUN}",
        ROOT,
        *("--file", str(ROOT / "deploy" / "Dockerfile")),
        *("--build-arg", f"BASE={base}", "--build-arg", f"BUILD_BASE={build_base}"),
    )
    own = engine.image_octets(made) - engine.image_octets(base)
    figure(f"image: built in {time.monotonic() - began:.0f} s, {own / 1e6:.0f} MB on top of its base")
    return made


def start(image: str, *options: str, command: tuple[str, ...] = ()) -> str:
    """Start a container of this run; its id."""
    return docker("run", "--detach", "--label", f"{LABEL}={RUN}", *options, image, *command)


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


class Resolving:
    """The client asks all the time while the block runs; afterwards `counts` says how it went."""

    def __init__(self, pair: Pair) -> None:
        program = ("python3", "/client.py", "resolve", "a.any.example.com", *pair.all_addresses())
        self._popen = subprocess.Popen(
            ["docker", "exec", "--interactive", pair.client, *program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.counts: dict[str, float] = {}

    def __enter__(self) -> "Resolving":
        assert self._popen.stdout is not None
        assert "asking\n" == self._popen.stdout.readline()
        return self

    def __exit__(self, *_: object) -> None:
        stop = threading.Timer(engine.PATIENCE_SECONDS, self._popen.kill)
        stop.start()
        said, _ = self._popen.communicate()
        stop.cancel()
        self.counts = json.loads(said.splitlines()[-1])
