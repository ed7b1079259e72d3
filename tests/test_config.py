"""The main config: defaults, the listen grammar, and problems with their addresses."""

import os
from pathlib import Path

import pytest

from geodns.config import (
    Config,
    Limits,
    Listen,
    Tokens,
    cookie_secrets,
    load_config,
    override,
    parse_listen,
    tokens,
)
from geodns.problems import Problem

SECRET = "e5e973e5a6b2a43f48e7dc849e37bfcf"
OTHER = "00112233445566778899aabbccddeeff"


def problems_of(path: Path, text: str) -> list[str]:
    path.write_text(text)
    config, problems = load_config(path)
    assert config is None
    return [str(problem).removeprefix(str(path)) for problem in problems]


def loaded(path: Path, text: str) -> Config:
    path.write_text(text)
    config, problems = load_config(path)
    assert [] == problems
    assert config is not None
    return config


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "geodns.yaml"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:5301", ["127.0.0.1:5301"]),
        ("192.0.2.1", ["192.0.2.1:53"]),
        ("[::1]:5301", ["[::1]:5301"]),
        ("[2001:DB8:0::1]", ["[2001:db8::1]:53"]),
        ("[fe80::1%eth0]:53", ["[fe80::1%eth0]:53"]),
        ("localhost:99", ["127.0.0.1:99", "[::1]:99"]),
        ("LOCALHOST", ["127.0.0.1:53", "[::1]:53"]),
        ("0.0.0.0:0", ["0.0.0.0:0"]),
        (" [::]:53 ", ["[::]:53"]),
    ],
)
def test_listen_means(text: str, expected: list[str]):
    """Every form of an address to listen on; the port is 53 if it is left out."""
    assert expected == [str(listen) for listen in parse_listen(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::1", '"::1": an IPv6 address stands in brackets, as in [::1]:5301'),
        ("127.0.0.1:65536", '"65536" in "127.0.0.1:65536" is not a port (0 to 65535)'),
        ("127.0.0.1:", '"" in "127.0.0.1:" is not a port (0 to 65535)'),
        ("127.0.0.1:٣", '"٣" in "127.0.0.1:٣" is not a port (0 to 65535)'),
        ("ns1.example:53", '"ns1.example" in "ns1.example:53" is not an IP address (or localhost)'),
        ("*:53", '"*:53": write 0.0.0.0:53 for every IPv4 address and [::]:53 for every IPv6 one'),
        ("[192.0.2.1]:53", '"192.0.2.1" in "[192.0.2.1]:53" is in brackets, but is not an IPv6 address'),
        ("[::1", '"[::1" is not of the form [IPv6 address]:PORT'),
        ("[::1]53", '"[::1]53" is not of the form [IPv6 address]:PORT'),
        ("224.0.0.1:53", '"224.0.0.1" is a multicast address: no server can answer from it'),
        ("", '"" in "" is not an IP address (or localhost)'),
    ],
)
def test_listen_refuses(text: str, expected: str):
    """What is no address is refused in a sentence that says how to write it."""
    with pytest.raises(ValueError, match=r".+") as caught:
        parse_listen(text)
    assert expected == str(caught.value)


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Without a config, ./zones and ./geo-db are served on 127.0.0.1:5301."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "geo-db").mkdir()
    for name in ("b.mmdb", "a.mmdb", "README.md"):
        (tmp_path / "geo-db" / name).touch()
    config, problems = load_config()
    assert [] == problems
    assert config is not None
    assert (Listen("127.0.0.1", 5301),) == config.addresses
    assert Path("zones") == config.zones
    assert [Path("geo-db/a.mmdb"), Path("geo-db/b.mmdb")] == config.database_files()


def test_the_config_in_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """./geodns.yaml is read when no other is named."""
    (tmp_path / "geodns.yaml").write_text("zones: elsewhere\n")
    monkeypatch.chdir(tmp_path)
    config, _ = load_config()
    assert config is not None
    assert Path("elsewhere") == config.zones


def test_an_empty_config_has_the_defaults(file: Path):
    """An empty file, and settings without a value, change nothing."""
    defaults = Config()
    places = {"zones": defaults.zones, "geo": defaults.geo, "state": defaults.state}
    assert defaults == loaded(file, "").model_copy(update=places)
    assert Limits() == loaded(file, "zones:\nlimits:\ngeo: {}\n").limits


def test_paths_are_relative_to_the_file(file: Path):
    """A config can be moved together with what it names; an absolute path stays."""
    config = loaded(
        file,
        f"zones: z\ngeo: {{databases: [d/*.mmdb, /x.mmdb]}}\ncookies: {{secret_file: {file.parent}/s}}\n",
    )
    assert file.parent / "z" == config.zones
    assert [f"{file.parent}/d/*.mmdb", "/x.mmdb"] == config.geo.databases
    assert file.parent / "s" == config.cookies.secret_file


def test_everything_can_be_set(file: Path):
    """A config with a bit of everything."""
    config = loaded(
        file,
        """
listen: [0.0.0.0:53, '[::]:53']
local_zones: no
engine: python
geo: {databases: x.mmdb, overrides: {10.0.0.0/8: NA-US-CA, 127.0.0.0/8: database}}
server: {id: '', hostname: ns1.example.net, version: 7}
limits: {tcp_idle_seconds: 2.5, tcp_connections: 7}
""",
    )
    assert (Listen("0.0.0.0", 53), Listen("::", 53)) == config.addresses
    assert not config.local_zones
    assert {"10.0.0.0/8": "NA-US-CA", "127.0.0.0/8": "database"} == config.geo.overrides
    assert ("", "ns1.example.net", "7") == (config.server.id, config.server.hostname, config.server.version)
    assert (2.5, 7) == (config.limits.tcp_idle_seconds, config.limits.tcp_connections)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zoness: x\n", [":1:1: zoness: there is no such setting (zones?)"]),
        (
            "limits:\n  tcp_conections: 3\n",
            [":2:3: limits.tcp_conections: there is no such setting (tcp_connections?)"],
        ),
        (
            "limits: {tcp_connections: 0}\n",
            [":1:27: limits.tcp_connections: this should be greater than or equal to 1"],
        ),
        (
            "listen: [127.0.0.1:1, 0.0.0.0:1]\n",
            [":1:9: listen: 127.0.0.1:1 is already part of 0.0.0.0:1, which is every address of the machine"],
        ),
        ("listen: ['[::1]:1', localhost:1]\n", [":1:9: listen: [::1]:1 is listed twice"]),
        ("listen: []\n", [":1:9: listen: there is no address to listen on"]),
        ("engine: rust\n", [":1:9: engine: this should be 'auto', 'native' or 'python'"]),
        ("zones: a\nzones: b\n", [':2:1: "zones" is given twice (']),
        ("- a\n", [":1:1: a config is a mapping of settings (such as `listen: 127.0.0.1:5301`)"]),
        ("listen: [a\n", [":2:1: not valid YAML"]),
        ("server: {id: \xff}\n", [""]),
        (
            "geo:\n  overrides:\n    127.0.0.1/8: EU\n    10.0.0.0/8: XX\n",
            [
                ':3:5: geo.overrides: "127.0.0.1/8" has bits set past its first 8',
                ':4:5: geo.overrides: "XX" is not a geo code',
            ],
        ),
        (
            "cookies: {secret: abc}\n",
            [":1:19: cookies.secret.0: a cookie secret is 32 hexadecimal digits (openssl rand -hex 16)"],
        ),
        (
            f"cookies: {{secret: {SECRET}, secret_file: x}}\n",
            [":1:10: cookies: secret and secret_file exclude each other"],
        ),
        (
            "control: {listen: [127.0.0.1, '192.0.2.1:5380']}\n",
            [":1:10: control: others can reach 192.0.2.1:5380: it needs a token_file, or a loopback address"],
        ),
        ("control: {listen: '127.0.0.1:x'}\n", [':1:19: control.listen: "x" in "127.0.0.1:x" is not a port']),
        (
            "control: {listen: ['127.0.0.1:1', '127.0.0.1:1']}\n",
            [":1:19: control.listen: 127.0.0.1:1 is listed twice"],
        ),
        (
            "peers: [{url: 192.0.2.2}]\n",
            [':1:15: peers.0.url: "192.0.2.2" is not of the form http://ADDRESS:PORT'],
        ),
        ("health: {interval: 5x}\n", [':1:20: health.interval: "5x" is not a duration, such as 10, 0.5s']),
    ],
)
def test_problems_have_an_address(file: Path, text: str, expected: list[str]):
    """Every mistake in a config is told with its file, line and column, all of them at once."""
    file.write_bytes(text.encode("latin-1"))
    config, problems = load_config(file)
    assert config is None
    told = [str(problem).removeprefix(str(file)) for problem in problems]
    assert len(expected) == len(told)
    for beginning, line in zip(expected, told, strict=True):
        assert beginning == line[: len(beginning)]


def test_a_missing_config_is_one_line(file: Path):
    """A config that was named and is not there is a problem, not the defaults."""
    config, problems = load_config(file)
    assert config is None
    assert [f"{file}: the file cannot be read: no such file or directory"] == list(map(str, problems))


def test_a_secret_in_a_public_config_is_told(file: Path):
    """A warning: the config is used, but everybody may read the secret in it."""
    file.write_text(f"cookies: {{secret: [{SECRET}]}}\n")
    file.chmod(0o644)
    config, problems = load_config(file)
    assert config is not None
    assert (bytes.fromhex(SECRET),) == cookie_secrets(config)[0]
    what = "everybody on this machine may read this secret"
    expected = f"{file}:1:19: warning: cookies.secret: {what} (chmod o= {file}, or use secret_file)"
    assert [expected] == list(map(str, problems))


def secrets_in(folder: Path, text: str, mode: int = 0o600) -> tuple[tuple[bytes, ...], list[Problem]]:
    path = folder / "secret"
    path.write_text(text)
    path.chmod(mode)
    return cookie_secrets(Config(cookies={"secret_file": path}))


def test_a_secret_file_has_a_secret_a_line(tmp_path: Path):
    """The first signs, the others still verify; comments are comments."""
    other = "00" * 16
    secrets, problems = secrets_in(tmp_path, f"# of May\n{SECRET.upper()}\n\n{other}  # of April\n")
    assert [] == problems
    assert (bytes.fromhex(SECRET), bytes(16)) == secrets


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (SECRET, 0o604, ": everybody on this machine may read or write this secret (chmod o= "),
        ("", 0o600, ": there is no secret in this file (openssl rand -hex 16)"),
        ("\nabc\n", 0o600, ":2:1: a cookie secret is 32 hexadecimal digits (openssl rand -hex 16)"),
        ("ü", 0o600, ": this is not a text of hexadecimal digits"),
    ],
)
def test_a_bad_secret_file_is_refused(tmp_path: Path, text: str, mode: int, expected: str):
    """No secret is taken from a file that others may read, or that has something else in it."""
    secrets, problems = secrets_in(tmp_path, text, mode)
    assert () == secrets
    told = str(problems[0]).removeprefix(f"{tmp_path}/secret")
    assert expected == told[: len(expected)]


def secret_problems(path: Path) -> list[str]:
    """What is wrong with it as a file of cookie secrets, and as one with a token."""
    _, one = cookie_secrets(Config(cookies={"secret_file": path}))
    _, other = tokens(Config(control={"token_file": path}))
    return [str(problem).removeprefix(f"{path}: ") for problem in (*one, *other)]


def test_what_is_no_file_of_secrets(tmp_path: Path):
    """A folder, a pipe that nobody writes to, a device, and something huge are refused, and at once."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "huge").touch(0o600)
    os.truncate(tmp_path / "huge", 1 << 40)
    assert ["this is not a file"] * 2 == secret_problems(tmp_path / "pipe")
    assert ["this is not a file"] * 2 == secret_problems(Path("/dev/zero"))
    assert ["is a directory"] * 2 == secret_problems(tmp_path)
    assert ["larger than 65536 octets: this is no file of secrets"] * 2 == secret_problems(tmp_path / "huge")


def test_a_link_to_a_secret_counts_as_the_secret(tmp_path: Path):
    """As Kubernetes mounts them: a link is followed, and the mode that counts is that of the file."""
    secret, link = tmp_path / "secret", tmp_path / "link"
    link.symlink_to(secret)
    assert ["no such file or directory"] * 2 == secret_problems(link)
    secret.write_text(f"{SECRET}\n")
    secret.chmod(0o604)
    expected = f"everybody on this machine may read or write this secret (chmod o= {link})"
    assert [expected] * 2 == secret_problems(link)
    secret.chmod(0o640)
    assert [] == secret_problems(link)
    link.unlink()
    link.symlink_to(link)
    assert ["too many levels of symbolic links"] * 2 == secret_problems(link)


def test_the_control_endpoint(file: Path):
    """It listens where it is told, on a port of its own, and others reach it only with a token."""
    config = loaded(file, "control: {listen: [localhost, '0.0.0.0:1'], token_file: t}\n")
    expected = ("127.0.0.1:5380", "[::1]:5380", "0.0.0.0:1")
    assert expected == tuple(map(str, config.control.addresses))
    assert file.parent / "t" == config.control.token_file
    assert () == loaded(file, "").control.addresses


def token_of(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_tokens(tmp_path: Path):
    """A peer has a token of its own, or ours; none is shown where a Tokens is printed."""
    own = token_of(tmp_path / "own", f"# ours\n{SECRET}\n")
    theirs = token_of(tmp_path / "theirs", OTHER)
    config = Config(
        control={"token_file": own},
        peers=[{"url": "http://192.0.2.2:5380"}, {"url": "https://192.0.2.3", "token_file": theirs}],
    )
    found, problems = tokens(config)
    assert [] == problems
    assert Tokens(SECRET, (SECRET, OTHER)) == found
    assert "Tokens()" == repr(found)
    assert (Tokens(), []) == tokens(Config())


@pytest.mark.parametrize(
    ("text", "mode", "expected"),
    [
        (SECRET, 0o604, ": everybody on this machine may read or write this secret (chmod o= "),
        ("# none\n", 0o600, ": there is no token in this file (one line, such as of openssl rand -hex 16)"),
        (f"{SECRET}\n{OTHER}\n", 0o600, ": there are 2 tokens in this file"),
        ("\nshort\n", 0o600, ":2:1: a token is 16 or more letters and digits without spaces"),
        ("a pass phrase of some words", 0o600, ":1:1: a token is 16 or more letters and digits"),
    ],
)
def test_a_bad_token_file_is_refused(tmp_path: Path, text: str, mode: int, expected: str):
    """No token is taken from a file that others may read, or that can be guessed; it is never told."""
    path = token_of(tmp_path / "token", text, mode)
    found, problems = tokens(Config(control={"token_file": path}, peers=[{"url": "http://192.0.2.2:5380"}]))
    assert Tokens(None, (None,)) == found
    (told,) = map(str, problems)
    assert told.startswith(f"{path}{expected}")
    assert "short" not in told


def test_the_command_line_stands_above_the_config():
    """Options replace what the config says, and are checked like it; a file's name is no pattern."""
    config = override(Config(), ("localhost:53",), Path("z"), (Path("a[1].mmdb"),), "python", "ns1")
    assert ("127.0.0.1:53", "[::1]:53") == tuple(map(str, config.addresses))
    assert (Path("z"), "python", "ns1") == (config.zones, config.engine, config.server.id)
    assert [Path("a[1].mmdb")] == config.database_files()
    config = override(Config(), control=("127.0.0.1:5381",), peers=("http://127.0.0.1:5382",))
    assert (Listen("127.0.0.1", 5381),) == config.control.addresses
    assert ["http://127.0.0.1:5382"] == [peer.url for peer in config.peers]
    with pytest.raises(ValueError, match=r'^"x" in "x:1" is not an IP address'):
        override(Config(), ("x:1",))


@pytest.mark.parametrize("name", Limits.model_fields)
def test_every_limit_has_its_unit_and_its_reason(name: str):
    """A limit says what it counts, in its name or because it counts things, and why it is what it is."""
    units = ("octets", "seconds", "milliseconds", "connections", "per_client", "per_turn")
    assert name.endswith(units)
    assert Limits.model_fields[name].description
