"""Root's privileges are given up: in a server that runs, in its children, over reloads and upgrades."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodns.server.privileges import Account, PrivilegeError, account, own
from tests.ports import free_port
from tests.server.serving import Client, serving, write_zone

USER = "nobody"
ROOT = Path(__file__).parents[2]
PACKAGES = next((path for path in sys.path if path.endswith("site-packages")), "")
CHECKED = """
www:
  type: A
  value: 192.0.2.1
  dynamic:
    pools: {a: {values: [{value: 127.0.0.1}], healthcheck: {protocol: TCP, port: 9}}}
    rules: [{pool: a}]
"""


def interpreter() -> str | None:
    """A Python of our version that USER can run, with what geodns needs; None: there is none."""
    if os.geteuid() != 0:
        return None
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {"PYTHONPATH": f"{ROOT}:{PACKAGES}"}
    for program in (sys.executable, shutil.which(version, path="/usr/bin:/usr/local/bin")):
        try:
            found = pwd.getpwnam(USER)
            done = subprocess.run(
                [program or "", "-c", "import geodns.server.main, aiohttp, numpy, maxminddb"],
                user=found.pw_uid,
                group=found.pw_gid,
                extra_groups=[],
                env=environment,
                cwd="/",
                capture_output=True,
                timeout=60,
                check=False,
            )
        except (OSError, KeyError):
            continue
        if done.returncode == 0:
            return program
    return None


PYTHON = interpreter()
needs_root = pytest.mark.skipif(
    PYTHON is None, reason=f"this takes root, and a Python that {USER} can run with what geodns needs"
)


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that everybody can go into; pytest's own are for their owner alone."""
    monkeypatch.setattr(sys, "executable", PYTHON)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "zones").mkdir()
        write_zone(folder / "zones", extra=CHECKED)
        yield folder


def low_port() -> int:
    """A port that takes privileges to bind."""
    for port in range(1000, 600, -1):
        try:
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                with socket.socket(socket.AF_INET, kind) as one:
                    one.bind(("127.0.0.1", port))
            return port
        except OSError:
            continue
    raise AssertionError("no port below 1000 is free")


def status(pid: int) -> dict[str, list[str]]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].split() for line in lines}


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


ENVIRONMENT = {"PYTHONPATH": f"{ROOT}:{PACKAGES}"}
CONFIG = f"server: {{user: {USER}}}\nhealth: {{startup_timeout: 0}}\n"


@needs_root
def test_nothing_is_kept(folder: Path) -> None:
    """The server and its prober are USER's, in all four ids, without groups and capabilities, and get none
    by the files that they start; no thread of it is left behind.
    """
    listen = (f"127.0.0.1:{low_port()}",)
    with serving(folder, listen=listen, config=CONFIG, environment=ENVIRONMENT) as server:
        server.wait_for(f"root's privileges are given up: this is {USER} now")
        (port,) = server.ports()
        found = pwd.getpwnam(USER)
        pid = server.popen.pid
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
        assert len(threads) > 1
        assert children(pid)
        for one in (*threads, *children(pid)):
            shown = status(one)
            assert [str(found.pw_uid)] * 4 == shown["Uid"]
            assert [str(found.pw_gid)] * 4 == shown["Gid"]
            assert {"0"} != set(shown["Groups"])
            for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert 0 == int(shown[name][0], 16)
            # prctl is for one thread and those that it starts: not for what a library started before (BLAS)
            if one == pid or one not in threads or shown["Name"][0] in ("udp", "tcp"):
                assert ["1"] == shown["NoNewPrivs"]
        assert ["a 1", "b 1"] == Client(port).texts("version.example.com")
        assert found.pw_uid == (folder / "state").stat().st_uid
        assert 0 == server.end()
    assert {found.pw_uid} == {path.stat().st_uid for path in (folder / "state").iterdir()}


@needs_root
def test_reloads_and_upgrades_go_on(folder: Path) -> None:
    """A zone that is saved is served, SIGHUP reads the config again, and a new server started as root takes
    over the privileged port, twice.
    """
    listen = (f"127.0.0.1:{low_port()}",)
    with (
        serving(folder, listen=listen, config=CONFIG, environment=ENVIRONMENT) as first,
    ):
        (port,) = first.ports()
        write_zone(folder / "zones", 2)
        first.wait_for("example.com.: serial")
        first.send(signal.SIGHUP)
        first.wait_for("example.com.: serial")
        with serving(folder, listen=listen, config=CONFIG, environment=ENVIRONMENT) as second:
            second.wait_for(f"took over from process {first.popen.pid}")
            assert 0 == first.wait()
            with serving(folder, listen=listen, config=CONFIG, environment=ENVIRONMENT) as third:
                third.wait_for(f"took over from process {second.popen.pid}")
                assert 0 == second.wait()
                assert ["a 2", "b 2"] == Client(port).texts("version.example.com")
                assert str(pwd.getpwnam(USER).pw_uid) == status(third.popen.pid)["Uid"][0]


@needs_root
def test_a_secret_that_a_reload_could_not_read_is_told_at_once(folder: Path) -> None:
    """Not at the first SIGHUP, in the night: the server does not start, and says who can not read it."""
    (folder / "secret").write_text("00" * 16 + "\n")
    (folder / "secret").chmod(0o600)
    config = CONFIG + "cookies: {secret_file: secret}\n"
    with serving(folder, config=config, environment=ENVIRONMENT) as server:
        assert 1 == server.wait()
    assert any(line.endswith("secret: permission denied") for line in server.said), server.said
    expected = f"geodns: {USER} (server.user) has to be able to read these files at a reload"
    assert expected == server.said[-1]


@needs_root
@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("no-such-user", 'server.user: there is no user "no-such-user" (useradd --system no-such-user)'),
        ("root", "server.user and server.group are to be others than root"),
        ("4242424", "server.user: 4242424 has no entry in passwd: name a server.group"),
        ("nobody, group: root", "server.user and server.group are to be others than root"),
        ("nobody, group: no-such-group", 'server.group: there is no group "no-such-group"'),
    ],
)
def test_nobody_to_become(folder: Path, user: str, expected: str) -> None:
    """A user that is not there, or is root, is one line, and nothing is served."""
    with serving(folder, config=f"server: {{user: {user}}}\n", environment=ENVIRONMENT) as server:
        assert 1 == server.wait()
    assert [f"geodns: {expected}"] == server.said


@needs_root
def test_an_account_by_number() -> None:
    """A user without a name, as containers have them, with a group."""
    assert Account("4242424", 4242424, 4242, (4242,)) == account("4242424", "4242")


@needs_root
def test_the_state_is_given_and_nothing_else(folder: Path) -> None:
    """Files and folders that root has left there; not what links lead to, nor a file with another name."""
    outside, linked = folder / "outside", folder / "linked"
    for path in (outside, linked):
        path.write_text("root's")
    state = folder / "state"
    (state / "deeper").mkdir(parents=True)
    (state / "deeper" / "file").write_text("ours")
    (state / "link").symlink_to(outside)
    os.link(linked, state / "second-name")
    became = account(USER, None)
    own(state, became)
    given = [state, state / "deeper", state / "deeper" / "file"]
    assert {became.uid} == {path.lstat().st_uid for path in given}
    assert {0} == {path.stat().st_uid for path in (outside, linked)}


def test_who_is_not_root_becomes_nobody(tmp_path: Path) -> None:
    """Without root's privileges there is nothing to give up: another user is an error, one's own is not."""
    if os.geteuid() == 0:
        pytest.skip("this is root")
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    with serving(tmp_path, config="server: {user: root}\n") as server:
        assert 1 == server.wait()
    me = pwd.getpwuid(os.geteuid()).pw_name
    assert [f"geodns: only root can become root (server.user), and this is {me}"] == server.said
    with serving(
        tmp_path, config=f"server: {{user: {me}}}\n", listen=(f"127.0.0.1:{free_port()}",)
    ) as server:
        assert 1 == len(server.ports())


def test_a_state_that_can_not_be_given(tmp_path: Path) -> None:
    """Something else in the folder's place is one sentence."""
    (tmp_path / "state").write_text("a file")
    with pytest.raises(PrivilegeError, match="state can not be given to x: file exists"):
        own(tmp_path / "state", Account("x", os.geteuid(), os.getegid(), ()))
