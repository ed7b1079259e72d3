"""How each server is configured, started and stopped.

    Server(what it can) --prepare(Job)--> command --start--> Running (a pid of ours) --stop--> gone

Templates beside this file are filled with the job's paths; nothing outside the job's folder is written, and
nothing listens outside loopback.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOAD = HERE.parent / "load" / "target" / "release"
PATH = os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]
)
STOP_SECONDS = 10  # a server that does not end by then is killed

PDNS, SO = "*/pdns/lib", "backend.so"

ALL = ("static", "geo", "nxdomain", "mixed", "tcp")
STATIC = ("static", "nxdomain", "tcp")  # without Client Subnet
UDP = ("static", "geo", "nxdomain", "mixed")


@dataclass(frozen=True)
class Job:
    """What a server is started for: its own folder, a port, and the files that zone.py made in `data`."""

    folder: Path
    port: int
    data: Path
    geo_db: Path

    @property
    def expected(self) -> dict:
        return json.loads((self.data / "expected.json").read_text())

    @property
    def zone(self) -> Path:
        return self.data / f"{(self.data / 'zone.txt').read_text().strip()}.zone"


@dataclass(frozen=True)
class Server:
    """`workloads` are those it can answer rightly; `package` says where it comes from."""

    name: str
    program: str
    package: str
    workloads: tuple[str, ...]
    prepare: Callable[[Job], Sequence[str]]
    version: tuple[str, ...] = ()
    module: str = ""  # a glob below /usr/lib of a plugin that it needs beside the program
    is_checked: bool = True  # a reflector answers nothing

    @property
    def path(self) -> str | None:
        return shutil.which(self.program, path=PATH)

    @property
    def missing(self) -> bool:
        return self.path is None or bool(self.module and not any(Path("/usr/lib").glob(self.module)))

    def versions(self) -> str:
        """What it says of itself that looks like a version."""
        if self.path is None or not self.version:
            return ""
        done = subprocess.run(
            [self.path, *self.version], capture_output=True, text=True, timeout=20, check=False
        )
        found = re.search(r"\d+\.\d+[\w.~+-]*", done.stdout + done.stderr)
        return found[0] if found else "?"

    def start(self, job: Job, core: int | None) -> "Running":
        job.folder.mkdir(parents=True, exist_ok=True)
        command = [self.path, *self.prepare(job)]
        if core is not None:
            command = ["taskset", "-c", str(core), *command]
        log = job.folder / "output.txt"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=job.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return Running(self, job, process, log)


@dataclass(frozen=True)
class Running:
    server: Server
    job: Job
    process: subprocess.Popen
    log: Path

    def stop(self) -> None:
        """End this process and the group it leads; nothing else is in that group."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()

    def last_words(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def fill(template: str, job: Job, **more: str) -> Path:
    """The template of this name with @WORDS@ replaced, in the job's folder."""
    words = {
        "DIR": str(job.folder),
        "PORT": str(job.port),
        "APEX": job.expected["apex"],
        "ZONE": str(job.zone),
        "GEO_DB": str(job.geo_db),
        "GEO_TTL": "60",
        **more,
    }
    text = (HERE / template).read_text()
    for word, value in words.items():
        text = text.replace(f"@{word}@", value)
    made = job.folder / template
    made.write_text(text)
    return made


def _named(job: Job) -> list[str]:
    return ["-f", "-n", "1", "-U", "1", "-c", str(fill("named.conf", job))]


def _knot(job: Job) -> list[str]:
    lines = []
    for index, values in enumerate(job.expected["geo"]):
        lines.append(f"g{index:03d}.{job.expected['apex']}.:")
        for code, address in values.items():
            if code != "default":
                levels = [*code.split("-"), "*", "*"][:3]
                lines += [f'  - geo: "{";".join(levels)}"', f"    A: {address}"]
    (job.folder / "geo.conf").write_text("\n".join(lines) + "\n")
    return ["-c", str(fill("knot.conf", job))]


def _nsd(job: Job) -> list[str]:
    return ["-d", "-c", str(fill("nsd.conf", job))]


def _gdnsd(job: Job) -> list[str]:
    expected = job.expected
    codes = [code for code in expected["geo"][0] if code != "default"]
    tree: dict = {}
    for code in codes:
        level = tree
        for part in code.split("-"):
            level = level.setdefault(part, {})
        level["default"] = f"[{_datacenter(code)}]"
    for folder in ("run", "state", "zones"):
        (job.folder / folder).mkdir(exist_ok=True)
    config = fill(
        "gdnsd.config",
        job,
        DATACENTERS=", ".join([_datacenter("default"), *map(_datacenter, codes)]),
        MAP=f"default => [{_datacenter('default')}], {_gdnsd_map(tree)}",
    )
    config.rename(job.folder / "config")
    resources = []
    for index, values in enumerate(expected["geo"]):
        places = ", ".join(f"{_datacenter(code)} => {address}" for code, address in values.items())
        resources.append(f"g{index:03d} => {{ map => place, service_types => up, dcmap => {{ {places} }} }}")
    (job.folder / "resources").write_text("\n".join(resources) + "\n")
    steered = {f"g{index:03d}" for index in range(len(expected["geo"]))}
    lines = [line for line in job.zone.read_text().splitlines() if line.split()[0] not in steered]
    lines += [f"{name} 60/60 DYNA geoip!{name}" for name in sorted(steered)]
    (job.folder / "zones" / expected["apex"]).write_text("\n".join(lines) + "\n")
    return ["-c", str(job.folder), "start"]


def _datacenter(code: str) -> str:
    return "dc-" + code.lower()


def _gdnsd_map(tree: dict) -> str:
    """Nested hashes; a leaf that only has a default is written as that."""
    parts = []
    for key, value in tree.items():
        if isinstance(value, dict):
            value = value["default"] if list(value) == ["default"] else "{ " + _gdnsd_map(value) + " }"
        parts.append(f"{key} => {value}")
    return ", ".join(parts)


def _pdns_geo(job: Job) -> list[str]:
    expected = job.expected
    apex = expected["apex"]
    lines = ["domains:", f"- domain: {apex}", "  ttl: 300", "  records:"]
    lines += [f"    {apex}:", f"      - soa: ns1.{apex} hostmaster.{apex} 1 3600 600 604800 60"]
    lines += [f"      - ns: ns{index}.{apex}" for index in (1, 2)]
    lines += [f"    ns{index}.{apex}:\n      - a: 44.255.0.{index}" for index in (1, 2)]
    for name, kind, value in expected["static"]:
        lines += [f"    {name}:", f'      - {kind.lower()}: "{value.removesuffix(".")}"']
    services = []
    for index, values in enumerate(expected["geo"]):
        name = f"g{index:03d}.{apex}"
        for code, address in values.items():
            # One label: with dots, IN would be an empty name above MH, and PowerDNS would answer nothing.
            lines += [
                f"    {code.lower()}.{name}:",
                "      - a:",
                f"          content: {address}",
                "          ttl: 60",
            ]
        ways = [f"{place}.{name}" for place in ("%cn-%cc-%re", "%cn-%cc", "%cn", "default")]
        services.append(f"    {name}: [{', '.join(repr(way) for way in ways)}]")
    (job.folder / "geo.yaml").write_text("\n".join([*lines, "  services:", *services]) + "\n")
    return [f"--config-dir={job.folder}", f"--config-name={_pdns_config('pdns-geo.conf', job)}"]


def _pdns_bind(job: Job) -> list[str]:
    (job.folder / "zones.conf").write_text(
        f'zone "{job.expected["apex"]}" {{ type master; file "{job.zone}"; }};\n'
    )
    return [f"--config-dir={job.folder}", f"--config-name={_pdns_config('pdns-bind.conf', job)}"]


def _pdns_config(template: str, job: Job) -> str:
    """pdns_server reads pdns-NAME.conf for --config-name=NAME."""
    return fill(template, job).stem.removeprefix("pdns-")


def _dnslib(job: Job) -> list[str]:
    return [
        str(HERE / "dnslib_server.py"),
        str(job.port),
        str(job.zone),
        str(job.data / "expected.json"),
        str(job.geo_db),
    ]


def _reflector(job: Job) -> list[str]:
    return [f"127.0.0.1:{job.port}"]


def _reflector_batch(job: Job) -> list[str]:
    return [f"127.0.0.1:{job.port}", "--batch"]


def _reflector_python(job: Job) -> list[str]:
    """What a Python server pays before it has looked at a packet."""
    loop = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        f"s.bind(('127.0.0.1', {job.port})); receive = s.recvfrom; send = s.sendto\n"
        "while True:\n packet, client = receive(4096); send(packet[:2] + b'\\x80' + packet[3:], client)"
    )
    return ["-c", loop]


def _geodns(engine: str) -> Callable[[Job], list[str]]:
    def prepare(job: Job) -> list[str]:
        listen, zones = f"127.0.0.1:{job.port}", str(job.data / "zones")
        return [
            "serve",
            "--zones",
            zones,
            "--listen",
            listen,
            "--geo-db",
            str(job.geo_db),
            "--engine",
            engine,
        ]

    return prepare


SERVERS = (
    Server(
        "reflector (batches)",
        str(LOAD / "reflector"),
        "benchmarks/load",
        UDP,
        _reflector_batch,
        is_checked=False,
    ),
    Server("reflector", str(LOAD / "reflector"), "benchmarks/load", UDP, _reflector, is_checked=False),
    Server(
        "reflector (python)",
        sys.executable,
        "this repository",
        UDP,
        _reflector_python,
        ("-V",),
        is_checked=False,
    ),
    Server("gdnsd", "gdnsd", "Debian: gdnsd", ALL, _gdnsd, ("-h",)),
    Server("nsd", "nsd", "Debian: nsd", STATIC, _nsd, ("-v",)),
    Server(
        "knot", "knotd", "Debian: knot, knot-module-geoip", ALL, _knot, ("-V",), "*/knot/modules-*/geoip.so"
    ),
    Server("named", "named", "Debian: bind9", STATIC, _named, ("-v",)),
    Server(
        "pdns bind",
        "pdns_server",
        "Debian: pdns-backend-bind",
        STATIC,
        _pdns_bind,
        ("--version",),
        f"{PDNS}bind{SO}",
    ),
    Server(
        "pdns geo",
        "pdns_server",
        "Debian: pdns-backend-geoip",
        ALL,
        _pdns_geo,
        ("--version",),
        f"{PDNS}geoip{SO}",
    ),
    Server("geodns (native)", "geodns", "this repository", ALL, _geodns("native"), ("version",)),
    Server("geodns (python)", "geodns", "this repository", ALL, _geodns("python"), ("version",)),
    Server("dnslib, naive", sys.executable, "PyPI: dnslib", UDP, _dnslib, ("-V",)),
)
