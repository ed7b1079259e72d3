"""Challenges at two running servers: commands, hooks, acme-dns's API, silent peers, restarts."""

import json
import os
import subprocess
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.acme.instances import COMMAND_SECONDS, TOKEN, Instance, instance, two, value
from tests.conftest import ROOT
from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS

SILENT = 3  # the exit code
NAME = "_acme-challenge.www.example.com"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Instance, Instance]]:
    with two(tmp_path_factory.mktemp("instances")) as instances:
        yield instances


def texts(both: tuple[Instance, Instance], name: str = NAME) -> list[list[str]]:
    return [each.texts(name) for each in both]


def until(condition: Any) -> None:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < PATIENCE_SECONDS
        time.sleep(0.05)


def ask(at: Instance, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(f"http://127.0.0.1:{at.control}{path}", data, headers, method=method)
    try:
        with urlopen(request, timeout=COMMAND_SECONDS) as answer:
            octets = answer.read()
            return answer.status, json.loads(octets) if octets else None
    except HTTPError as error:
        return error.code, json.loads(error.read())


def test_by_hand(both: tuple[Instance, Instance]):
    """When the command returns, both instances answer with every value, and with none after `clear`; zone
    files are as they were, and `list`, `status` and `explain` tell of it.
    """
    before = [(each.folder / "zones/example.com.yaml").read_text() for each in both]
    one, two = f"-{value()[1:]}", value()
    for at, each in zip(both, (one, two), strict=True):
        done = at.geodns("acme-dns-01", "set", "www.example.com", each, "--for", "10m")
        assert 0 == done.exit_code, done.stderr
        assert "answered by ns" in done.stdout
        assert each in texts(both)[0]
        assert each in texts(both)[1]
    assert [sorted([one, two])] * 2 == texts(both)
    assert f"{NAME}. {two} until " in both[0].geodns("acme-dns-01", "list").stdout
    assert f"ACME challenge {NAME}. {one}: for " in both[1].geodns("status").stdout
    done = both[0].geodns("explain", NAME, "TXT")
    assert two in done.stdout
    assert "challenge" in done.stdout
    assert 0 == both[1].geodns("acme-dns-01", "clear", "www.example.com", one).exit_code
    assert [[two]] * 2 == texts(both)
    assert 0 == both[0].geodns("acme-dns-01", "clear", "www.example.com").exit_code
    assert [[], []] == texts(both)
    done = both[0].geodns("acme-dns-01", "clear", "www.example.com")
    assert (0, f"{NAME}.: there was nothing to clear\n") == (done.exit_code, done.stdout)
    assert before == [(each.folder / "zones/example.com.yaml").read_text() for each in both]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("set", "www.example.net", "A" * 43), "no zone that is served has the name"),
        (("set", "www.example.com", "short"), "43 letters, digits"),
        (("set", "a..b", "A" * 43), "empty label"),
        (("set", "www.example.com"), "which value?"),
        (("set",), "which name?"),
        (("set", "www.example.com", "A" * 43, "a", "b"), "too much"),
        (("set", "www.example.com", "A" * 43, "--for", "30s"), "60 to 86400 seconds"),
    ],
)
def test_what_is_refused(both: tuple[Instance, Instance], words: tuple[str, ...], why: str):
    """One sentence, exit code 1, and nothing is set."""
    done = both[0].geodns("acme-dns-01", *words)
    assert (1, "") == (done.exit_code, done.stdout)
    assert why in done.stderr
    assert 1 == done.stderr.count("\n")


def test_certbots_environment(both: tuple[Instance, Instance]):
    """certbot says domain and value in the environment, a wildcard's domain without its asterisk."""
    said = {"CERTBOT_DOMAIN": "www.example.com", "CERTBOT_VALIDATION": value()}
    assert 0 == both[0].geodns("acme-dns-01", "set", **said).exit_code
    assert [[said["CERTBOT_VALIDATION"]]] * 2 == texts(both)
    cleanup = {**said, "CERTBOT_AUTH_OUTPUT": "set"}
    assert 0 == both[0].geodns("acme-dns-01", "clear", **cleanup).exit_code
    assert [[], []] == texts(both)


def test_legos_words(both: tuple[Instance, Instance]):
    """Name and value; with the TTL of old ones; or domain, --, token and key authorization."""
    each = value()
    assert 0 == both[0].geodns("acme-dns-01", "present", f"{NAME}.", each).exit_code
    assert [[each]] * 2 == texts(both)
    assert 0 == both[0].geodns("acme-dns-01", "cleanup", f"{NAME}.", each, "120").exit_code
    assert [[], []] == texts(both)
    # the example of lego's documentation
    key = "KxAy-J3NwUmg9ZQuM-gP_Mq1nStaYSaP9tYQs5_-YsE.ksT-qywTd8058G-SHHWA3RAN72Pr0yWtPYmmY5UBpQ8"
    command = [str(ROOT / "deploy/acme/lego-geodns.sh"), "present", "www.example.com.", "--", "-token", key]
    environment = os.environ | {"GEODNS": geodns(both[0]), "GEODNS_CONFIG": both[0].config}
    subprocess.run(command, env=environment, check=True, timeout=COMMAND_SECONDS, capture_output=True)
    digest = urlsafe_b64encode(sha256(key.encode()).digest()).decode().rstrip("=")
    assert [[digest]] * 2 == texts(both)
    command[1] = "cleanup"
    subprocess.run(command, env=environment, check=True, timeout=COMMAND_SECONDS, capture_output=True)
    assert [[], []] == texts(both)


def geodns(at: Instance) -> str:
    """A command as operators have it in their PATH."""
    command = at.folder / "geodns"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m geodns "$@"\n')
    command.chmod(0o755)
    return str(command)


ACME_SH = r"""
# What acme.sh gives its dnsapi scripts.
_info() { printf '%s\n' "$*" >&2; }
_err() { printf '%s\n' "$*" >&2; }
_readaccountconf_mutable() { sed -n "s/^SAVED_$1='\(.*\)'$/\1/p" account.conf | tail -1; }
_saveaccountconf_mutable() { printf "SAVED_%s='%s'\n" "$1" "$2" >>account.conf; }
touch account.conf
. "$SCRIPT"
"$@"
"""


def test_acme_sh(both: tuple[Instance, Instance]):
    """dns_geodns_add and dns_geodns_rm as acme.sh calls them, in a POSIX shell; the settings of the first
    time are remembered, and a failure is one.
    """
    environment = os.environ | {"SCRIPT": str(ROOT / "deploy/acme/dns_geodns.sh"), "PYTHONPATH": str(ROOT)}
    first = {"GEODNS": geodns(both[0]), "GEODNS_CONFIG": both[0].config}

    def call(function: str, *words: str, **more: str) -> int:
        return subprocess.run(
            ["sh", "-c", ACME_SH, "sh", function, *words],
            cwd=both[0].folder,
            env={"GEODNS": "", "GEODNS_CONFIG": "", **environment, **more},
            timeout=COMMAND_SECONDS,
            capture_output=True,
            check=False,
        ).returncode

    one, two = value(), f"-{value()[1:]}"
    assert 0 == call("dns_geodns_add", NAME, one, **first)
    assert 0 == call("dns_geodns_add", NAME, two)
    assert [sorted([one, two])] * 2 == texts(both)
    assert 0 == call("dns_geodns_rm", NAME, two)
    assert [[one]] * 2 == texts(both)
    assert 0 == both[0].geodns("acme-dns-01", "clear", NAME).exit_code
    assert 1 == call("dns_geodns_add", "_acme-challenge.www.example.net", one)


def test_acme_dns(both: tuple[Instance, Instance]):
    """As its documentation has it: an account of one instance sets its two values at the other, and nobody
    else's; the answers have the keys and statuses that its clients look for.
    """
    status, account = ask(both[0], "POST", "/register", b"")
    assert 201 == status
    assert {"username", "password", "fulldomain", "subdomain", "allowfrom"} == account.keys()
    assert f"{account['subdomain']}.auth.example.org" == account["fulldomain"]
    assert [] == account["allowfrom"]
    shown = {"X-Api-User": account["username"], "X-Api-Key": account["password"]}
    sent = [value(), value(), value()]
    for at, txt in zip((*both, both[0]), sent, strict=True):
        update = {"subdomain": account["subdomain"], "txt": txt}
        assert (200, {"txt": txt}) == ask(at, "POST", "/update", update, **shown)
    assert [sorted(sent[1:])] * 2 == texts(both, account["fulldomain"])
    update = {"subdomain": account["subdomain"], "txt": value()}
    for wrong in (
        {"X-Api-User": account["username"], "X-Api-Key": account["password"][:-1] + "?"},
        {"X-Api-User": account["username"]},
        {"X-Api-User": "nobody", "X-Api-Key": account["password"]},
        BEARER,
    ):
        assert 401 == ask(both[0], "POST", "/update", update, **wrong)[0]
    _, other = ask(both[1], "POST", "/register", {"allowfrom": ["192.0.2.0/24"]})
    assert ["192.0.2.0/24"] == other["allowfrom"]
    theirs = {"X-Api-User": other["username"], "X-Api-Key": other["password"]}
    assert 401 == ask(both[1], "POST", "/update", update, **theirs)[0]
    away = {"subdomain": other["subdomain"], "txt": value()}
    assert 401 == ask(both[1], "POST", "/update", away, **theirs)[0]  # not from this address
    assert 400 == ask(both[0], "POST", "/update", {**update, "txt": "short"}, **shown)[0]
    assert 400 == ask(both[0], "POST", "/update", b"{", **shown)[0]
    assert 400 == ask(both[0], "POST", "/register", {"allowfrom": ["nowhere"]})[0]
    assert (200, None) == ask(both[0], "GET", "/health")
    assert [sorted(sent[1:])] * 2 == texts(both, account["fulldomain"])


def test_the_token_guards_the_rest(both: tuple[Instance, Instance]):
    """acme-dns's paths alone are without it; hashes are not for everybody on the machine."""
    change = {"value": value()}
    assert 401 == ask(both[0], "PUT", f"/v1/acme-dns-01/{NAME}", change)[0]
    assert 401 == ask(both[0], "PUT", f"/v1/acme-dns-01/{NAME}", change, Authorization="Bearer x")[0]
    assert 401 == ask(both[0], "PUT", "/v1/acme/state", {})[0]
    assert 401 == ask(both[0], "GET", "/v1/acme/state")[0]
    assert 200 == ask(both[0], "GET", "/v1/acme/state", **BEARER)[0]
    assert 401 == ask(both[0], "POST", "/v1/acme/state", {})[0]
    assert 401 == ask(both[0], "POST", "/register", b"", Authorization="Bearer x")[0]
    assert 403 == ask(both[0], "POST", "/register", b"", Origin="https://evil.example")[0]
    for path in ("/register/", "/update/../v1/acme/state", "//register", "/health/x", "/%72egister/x"):
        assert 401 == ask(both[0], "POST", path, {})[0]
    assert 400 == ask(both[0], "PUT", "/v1/acme/state", {"changes": 1}, **BEARER)[0]
    assert [[], []] == texts(both)


def test_a_silent_peer_and_restarts(tmp_path: Path):
    """What is set while the other is away is served here, and told by exit code 3; the other has it soon
    after it came back. What was set survives a restart and a takeover, and a broken file changes nothing.
    No log has a key or the token.
    """
    first, second = free_port(), free_port()
    one, two = value(), value()
    said = []
    with instance(tmp_path / "ns1", "ns1", first, second) as ns1:
        done = ns1.geodns("acme-dns-01", "set", "www.example.com", one)
        assert SILENT == done.exit_code
        assert f"peer http://127.0.0.1:{second} does not answer so: " in done.stderr
        assert [one] == ns1.texts(NAME)
        _, account = ask(ns1, "POST", "/register", b"")
        ignoring = ns1.geodns("acme-dns-01", "set", "www.example.com", two, "--ignore-silent-peers")
        assert 0 == ignoring.exit_code
        state = tmp_path / "ns2" / "state" / "acme-ns2.json"
        state.parent.mkdir(parents=True)
        state.write_text('{"changes": [')
        with instance(tmp_path / "ns2", "ns2", second, first) as ns2:
            until(lambda: sorted([one, two]) == ns2.texts(NAME))
            assert 0 == ns1.geodns("acme-dns-01", "clear", "www.example.com", one).exit_code
            assert [two] == ns2.texts(NAME)
            ns2.process.end()
            said += ns2.process.said
        assert '{"changes": [' == state.with_name("acme-ns2.json.broken").read_text()
        assert any("acme-ns2.json.broken" in line for line in said)
        shown = {"X-Api-User": account["username"], "X-Api-Key": account["password"]}
        update = {"subdomain": account["subdomain"], "txt": one}
        assert 200 == ask(ns1, "POST", "/update", update, **shown)[0]
        assert 401 == ask(ns1, "POST", "/update", update, **{**shown, "X-Api-Key": "x"})[0]
        with instance(tmp_path / "ns1", "ns1", first, second, ns1.port) as after:
            ns1.process.wait()
            assert [two] == after.texts(NAME)
            assert [one] == after.texts(account["fulldomain"])
        said += after.process.said
        said += ns1.process.said
    assert not [line for line in said if TOKEN in line or account["password"] in line]
