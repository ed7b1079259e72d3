"""Docker by its command line, and everything a test makes with it carries a label by which it is removed.

    machine's apt --debootstrap-----> base.tar (kept in the user's cache) --docker import--> base
    machine's pip --wheels----------> wheels/  (kept there too) --------> base with wheels = build base
    machine's cargo --toolchain, vendor--> rust.tar, crates/ (there too) -> a linker with them = rust base
    deploy/Dockerfile on the three -------------------------------------> the image under test

Mirrors and indexes are asked of the machine when they are needed, and stand nowhere. They are asked before
any network is made (`fetch`): they may have an address that its documentation prefix hides.
"""

import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network
from pathlib import Path

ROOT = Path(__file__).parents[3]
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "geodns-tests"
LABEL = "geodns-tests"
COMPOSE_LABEL = "com.docker.compose.project"
RUN = str(os.getpid())  # the label's value: which run something belongs to
PATIENCE_SECONDS = 60.0  # for what takes seconds, on a machine that is busy with other things
COMMAND_SECONDS = 600.0
MINIMAL = ("python3", "python3-venv")
# What a machine has more that one rents.
MACHINE = ("systemd", "procps", "git", "openssh-server", "openssh-client")
LINKER = ("gcc", "libc6-dev")
NEEDLESS = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/i18n")
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]
HAS_RUST = all(map(shutil.which, ("cargo", "rustc")))  # else the image has the Python engine
PREFIXES = ("198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")  # of the networks that tests make

# What deploy/compose.yaml and the others ask of an engine, as options of `docker run`.
SANDBOX = (
    *("--read-only", "--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"),
    *("--security-opt", "no-new-privileges", "--sysctl", "net.ipv4.ip_unprivileged_port_start=53"),
)


class CommandFailed(AssertionError):
    """A command that had to succeed did not; the message has all that it said."""


def run(
    *command: str, environment: dict[str, str] | None = None, cwd: Path = ROOT, check: bool = True
) -> str:
    """What the command says on stdout; nice, as other people's tests run beside it."""
    done = subprocess.run(
        ["nice", "-n", "10", *command],
        capture_output=True,
        text=True,
        env=os.environ | (environment or {}),
        cwd=cwd,
        timeout=COMMAND_SECONDS,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    if check and done.returncode != 0:
        raise CommandFailed(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def docker(*arguments: str, check: bool = True) -> str:
    return run("docker", *arguments, check=check).strip()


def why_no_engine() -> str | None:
    """None where a Docker engine answers, else what is missing."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    asked = ["docker", "version", "--format", "{{.Server.Version}}"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=PATIENCE_SECONDS)
    return None if done.returncode == 0 else f"no Docker engine answers: {done.stderr.strip()}"


def why_no_prefixes() -> str | None:
    """None where the tests' networks are in nobody's way, else who has them."""
    if shutil.which("ip") is None:
        return None
    told = [run("ip", "--json", family, "route", "show", "table", "all") for family in ("-4", "-6")]
    for route in (route for text in told for route in json.loads(text or "[]")):
        taken = ip_network("::/0" if route["dst"] == "default" else route["dst"], strict=False)
        for prefix in map(ip_network, PREFIXES):
            if taken.prefixlen and taken.version == prefix.version and taken.overlaps(prefix):
                return f"the tests need {prefix}; this machine has {taken} (dev {route.get('dev')})"
    return None


def wait_until(what: str, is_so: Callable[[], bool]) -> float:
    """Ask until it is so; the seconds that it took. Fails after PATIENCE_SECONDS."""
    began = time.monotonic()
    while not is_so():
        assert time.monotonic() - began < PATIENCE_SECONDS, f"{what}: not within {PATIENCE_SECONDS:g} s"
    return time.monotonic() - began


KINDS = ("container", "network", "volume", "image")  # in the order in which they can be removed


PROJECT = "geodns-test-"  # before the run, as the name of a project of Compose


def _labels(kind: str, name: str) -> dict[str, str]:
    about = json.loads(docker(kind, "inspect", name, "--format", "{{json .}}", check=False) or "{}")
    return about.get("Labels") or about.get("Config", {}).get("Labels") or {}


def _made(kind: str) -> Iterator[tuple[str, str]]:
    """(name, run) of everything of this kind that a run of these tests made, also by way of Compose."""
    listed = ("ls", "-q") if kind in ("network", "volume") else ("ls", "-aq")
    for label in (LABEL, COMPOSE_LABEL):
        for name in dict.fromkeys(docker(kind, *listed, "--filter", f"label={label}", check=False).split()):
            value = _labels(kind, name).get(label, "")
            if label == LABEL or value.startswith(PROJECT):
                yield name, value.removeprefix(PROJECT)


def remove_half_made() -> None:
    """What is half a file of the cache, of a run that was killed. Nobody else may be making one."""
    for folder in CACHE.glob("making-*"):
        run(*AS_ROOT, "rm", "-rf", str(folder), check=False)


def remove_all() -> None:
    """Remove everything that this run made, and what a run left that was killed. Never fails."""
    for kind in KINDS:
        for name, made_by in list(_made(kind)):
            if made_by == RUN or not Path(f"/proc/{made_by}").exists():
                force = () if kind == "network" else ("--force",)
                docker(kind, "rm", *force, name, check=False)


# The base, from the machine's own apt.


def _kept(name: str, make: Callable[[Path], None]) -> Path:
    """A file or folder of the cache, made when it is not there; never half of one."""
    path = CACHE / name
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE, prefix="making-") as folder:
            new = Path(folder) / "new"
            make(new)
            new.rename(path)
    return path


def _mirror() -> tuple[str, str]:
    """(address, suite) of the packages that this machine's apt uses."""
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    form = "$(SITE) $(RELEASE) $(COMPONENT)"
    for line in run("apt-get", "indextargets", "--format", form).splitlines():
        site, suite, component = line.split()
        if (suite, component) == (release, "main"):
            return site, suite
    raise AssertionError(f"apt has no packages for {release}; apt-get update?")


def _proxy() -> dict[str, str]:
    said = run("apt-config", "shell", "proxy", "Acquire::http::Proxy")
    address = re.search(r"proxy='([^']*)'", said)
    return {"http_proxy": address[1]} if address else {}


def _bootstrap(
    packages: Iterable[str], finish: Callable[[Path], None] = lambda root: None
) -> Callable[[Path], None]:
    def make(tar: Path) -> None:
        site, suite = _mirror()
        root = tar.parent / "root"
        debootstrap = shutil.which("debootstrap", path=f"{os.environ['PATH']}:/usr/sbin")
        assert debootstrap, "debootstrap is not installed (apt-get install debootstrap)"
        archives = CACHE / "archives"  # what one base has downloaded, the next one has
        archives.mkdir(exist_ok=True)
        options = ("--variant=minbase", f"--include={','.join(packages)}", f"--cache-dir={archives}")
        try:
            run(*AS_ROOT, debootstrap, *options, suite, str(root), site, environment=_proxy())
            for folder in (*NEEDLESS, "var/lib/apt/lists", "var/cache/apt", "etc/apt/sources.list"):
                run(*AS_ROOT, "rm", "-rf", str(root / folder))
            finish(root)
            run(*AS_ROOT, "tar", "-C", str(root), "-cf", str(tar), ".")
        finally:
            run(*AS_ROOT, "rm", "-rf", str(root))

    return make


def _name(kind: str) -> str:
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    return f"{kind}-{release}-{platform.machine()}.tar"


def base_tar() -> Path:
    """A root file system with Python."""
    return _kept(_name(f"base-{'-'.join(MINIMAL)}"), _bootstrap(MINIMAL))


def machine_tar() -> Path:
    """A root file system as a plain machine has it: Python, systemd, git, SSH."""
    packages = (*MINIMAL, *MACHINE)
    return _kept(_name(f"base-{'-'.join(packages)}"), _bootstrap(packages))


def fetch() -> None:
    """Have everything that comes from elsewhere. Raises AssertionError where it can not be had."""
    wheels(_python_in(base_tar()))
    machine_tar()
    if HAS_RUST:
        rust_tar()
        crates()


def import_image(tar: Path, name: str) -> str:
    label = f"LABEL {LABEL}={RUN}"
    docker("import", "--change", label, str(tar), name)
    return name


# The wheels, from the machine's own pip.


def _requirements() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return sorted({*project["project"]["dependencies"], *project["build-system"]["requires"], "wheel"})


def wheels(python: str) -> Path:
    """A folder with a wheel of everything that geodns needs, for this Python ("3.11")."""
    requirements = _requirements()
    key = hashlib.sha256(json.dumps([requirements, python, platform.machine()]).encode()).hexdigest()[:16]
    platforms = [f"manylinux{kind}_{platform.machine()}" for kind in ("_2_28", "_2_17", "2014", "1")]

    def make(folder: Path) -> None:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        command += ["--dest", str(folder), "--only-binary", ":all:", "--python-version", python]
        command += [part for name in platforms for part in ("--platform", name)]
        run(*command, *requirements)

    return _kept(f"wheels-{key}", make)


def _python_in(tar: Path) -> str:
    with tarfile.open(tar) as archive:
        found = (re.fullmatch(r"./usr/bin/python(3\.\d+)", member.name) for member in archive)
        return next(match[1] for match in found if match)


# The Rust toolchain, this machine's own, and the crates, from its cargo.


def rust_tar() -> Path:
    """A root file system with a linker, and cargo and rustc in /opt/rust."""
    sysroot = Path(run("rustc", "--print", "sysroot").strip())

    def finish(root: Path) -> None:
        run(*AS_ROOT, "mkdir", "-p", str(root / "opt/rust/bin"))
        for program in ("cargo", "rustc"):
            run(*AS_ROOT, "cp", str(sysroot / "bin" / program), str(root / "opt/rust/bin"))
        run(*AS_ROOT, "cp", "-r", str(sysroot / "lib"), str(root / "opt/rust"))

    version = run("rustc", "--version").split()[1]
    return _kept(_name(f"rust-{version}-{'-'.join(LINKER)}"), _bootstrap(LINKER, finish))


def crates() -> Path:
    """A folder with the crates of native/Cargo.lock."""
    native = ROOT / "native"
    key = hashlib.sha256((native / "Cargo.lock").read_bytes()).hexdigest()[:16]
    command = ("cargo", "vendor", "--quiet", "--locked", "--manifest-path", str(native / "Cargo.toml"))
    return _kept(f"crates-{key}", lambda folder: run(*command, str(folder)))


VENDORED = """\
[source.crates-io]
replace-with = "vendored"
[source.vendored]
directory = "/opt/rust/crates"
"""


def rust_base(name: str) -> str:
    """The linker, the toolchain and the crates, whose cargo asks no registry."""
    linker = import_image(rust_tar(), f"{name}-linker")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(crates(), Path(folder) / "crates")
        (Path(folder) / "config.toml").write_text(VENDORED)
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {linker}\nENV PATH=/opt/rust/bin:/usr/bin:/bin CARGO_HOME=/opt/rust\n"
            "COPY config.toml /opt/rust/config.toml\nCOPY crates /opt/rust/crates\n"
        )
        return build(name, Path(folder))


# The images.


def build(name: str, context: Path, *arguments: str) -> str:
    """Build an image; every image that was made on the way is removed with it."""
    return build_telling(name, context, *arguments)[0]


def build_telling(name: str, context: Path, *arguments: str) -> tuple[str, str]:
    """The same, and what was said on the way."""
    command = ("build", "--network", "none", "--force-rm", "--label", f"{LABEL}={RUN}", "--tag", name)
    said = docker(*command, *arguments, str(context))
    note_stages(said)
    return name, said


_STAGES: dict[str, None] = {}


def note_stages(said: str) -> None:
    """Remember the images that the classic builder says it has made."""
    _STAGES.update(dict.fromkeys(re.findall(r"^ ---> ([0-9a-f]{12})$", said, re.M)))


def remove_stages() -> None:
    """Remove what the classic builder left of stages that are no image's parents. Never fails."""
    for image in reversed(list(_STAGES)):
        docker("rmi", image, check=False)


def build_base(base: str, name: str) -> str:
    """`base` with the wheels, whose pip asks no index."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(wheels(_python_in(base_tar())), Path(folder) / "wheels")
        (Path(folder) / "Dockerfile").write_text(
            f"FROM {base}\nCOPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels\n"
        )
        return build(name, Path(folder))


def image_octets(image: str) -> int:
    return int(docker("image", "inspect", "--format", "{{.Size}}", image))


def members(container: str, path: str) -> list[str]:
    """The names of the files below a path of a container."""
    with subprocess.Popen(["docker", "cp", f"{container}:{path}", "-"], stdout=subprocess.PIPE) as popen:
        assert popen.stdout is not None
        with tarfile.open(fileobj=popen.stdout, mode="r|") as archive:
            return [member.name for member in archive if member.isfile()]
