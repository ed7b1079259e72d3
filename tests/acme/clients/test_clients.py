"""Real ACME clients get real certificates: certbot and lego, from Pebble, which asks through Unbound."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyacmedns
import pytest

from tests.acme.instances import COMMAND_SECONDS, Instance, two
from tests.compare.test_resolver import wait_for
from tests.conftest import ROOT
from tests.ports import free_port
from tests.server.serving import PATIENCE_SECONDS

pytestmark = pytest.mark.timeout(300)

UNBOUND = """
server:
  directory: "{folder}"
  pidfile: "{folder}/pid"
  username: ""
  chroot: ""
  interface: 127.0.0.1
  port: {port}
  do-daemonize: no
  use-syslog: no
  logfile: ""
  do-not-query-localhost: no
  qname-minimisation: yes
  qname-minimisation-strict: yes
  module-config: "iterator"
remote-control:
  control-enable: no
"""
STUB = """
stub-zone:
  name: {zone}
  stub-addr: 127.0.0.1@{first}
  stub-addr: 127.0.0.1@{second}
"""


@dataclass
class Net:
    """Two nameservers, a resolver that asks them, and a CA that asks the resolver."""

    instances: tuple[Instance, Instance]
    folder: Path
    resolver: int
    directory: str

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=os.environ | {"GEODNS": str(self.folder / "geodns")} | environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        return done

    def zone_texts(self, name: str) -> list[list[str]]:
        return [instance.texts(name) for instance in self.instances]


@contextmanager
def program(folder: Path, name: str, *arguments: str, **environment: str) -> Iterator[Path]:
    """A program while the block runs; yields its log."""
    log = folder / f"{name}.log"
    with (
        log.open("w") as out,
        subprocess.Popen(
            [name, *arguments], stdout=out, stderr=out, cwd=folder, env=os.environ | environment
        ) as process,
    ):
        try:
            yield log
        finally:
            process.terminate()


def need(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed (apt-get install {name})")


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Net]:
    for name in ("pebble", "unbound", "openssl"):
        need(name)
    folder = tmp_path_factory.mktemp("acme")
    with two(folder) as instances:
        ports = {"first": instances[0].port, "second": instances[1].port}
        resolver = free_port()
        stubs = [STUB.format(zone=zone, **ports) for zone in ("example.com", "example.org")]
        (folder / "unbound.conf").write_text(UNBOUND.format(folder=folder, port=resolver) + "".join(stubs))
        command = folder / "geodns"
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m geodns "$@"\n')
        command.chmod(0o755)
        with program(folder, "unbound", "-d", "-c", "unbound.conf") as log:
            wait_for(resolver, log)
            with pebble(folder, resolver) as directory:
                yield Net(instances, folder, resolver, directory)


@contextmanager
def pebble(folder: Path, resolver: int) -> Iterator[str]:
    """The URL of an ACME server's directory; its certificate is ca.pem."""
    port, management = free_port(), free_port()
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-subj", "/CN=localhost", "-addext", names, "-keyout", "ca.key", "-out", "ca.pem"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    settings = {
        "listenAddress": f"127.0.0.1:{port}",
        "managementListenAddress": f"127.0.0.1:{management}",
        "certificate": "ca.pem",
        "privateKey": "ca.key",
        "httpPort": 1,
        "tlsPort": 1,
        "ocspResponderURL": "",
        "externalAccountBindingRequired": False,
    }
    (folder / "pebble.json").write_text(json.dumps({"pebble": settings}))
    quick = {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"}
    arguments = ("-config", "pebble.json", "-dnsserver", f"127.0.0.1:{resolver}")
    with program(folder, "pebble", *arguments, **quick) as log:
        until = time.monotonic() + PATIENCE_SECONDS
        while not is_open(port):
            assert time.monotonic() < until, f"pebble does not start: {log.read_text()[-2000:]}"
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}/dir"


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def names_of(certificate: Path) -> set[str]:
    """The DNS names of a certificate."""
    done = subprocess.run(
        ["openssl", "x509", "-in", str(certificate), "-noout", "-ext", "subjectAltName"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {word.strip(" ,").removeprefix("DNS:") for word in done.stdout.split() if "DNS:" in word}


def certbot(net: Net, *domains: str, auth: str, cleanup: str) -> None:
    """Have certbot get a certificate for these names with these hooks."""
    need("certbot")
    net.run(
        *("certbot", "certonly", "--non-interactive", "--agree-tos", "--register-unsafely-without-email"),
        *("--server", net.directory, "--no-verify-ssl"),
        *("--config-dir", "certbot/etc", "--work-dir", "certbot/work", "--logs-dir", "certbot/log"),
        *("--manual", "--preferred-challenges", "dns"),
        *("--manual-auth-hook", auth, "--manual-cleanup-hook", cleanup),
        *(f"--domain={domain}" for domain in domains),
    )


def test_certbot(net: Net):
    """A certificate for a domain and its wildcard, which needs two values at once, and for a name that is an
    alias into another zone; the cleanup hook clears what was set.
    """
    hook, config = f"{net.folder / 'geodns'} acme-dns-01", f"--config {net.instances[0].config}"
    names = ("example.com", "*.example.com", "app.example.com")
    certbot(net, *names, auth=f"{hook} set {config}", cleanup=f"{hook} clear {config}")
    assert set(names) == names_of(net.folder / "certbot/etc/live/example.com/cert.pem")
    assert [[], []] == net.zone_texts("_acme-challenge.example.com")
    assert [[], []] == net.zone_texts("app.validation.example.org")


@pytest.mark.parametrize(
    ("mode", "domains"), [("", ("www.example.com", "*.www.example.com")), ("RAW", ("app.example.com",))]
)
def test_lego(net: Net, mode: str, domains: tuple[str, ...]):
    """lego's exec provider in both of its modes, with the script of deploy/acme."""
    need("lego")
    net.run(
        *("lego", "--accept-tos", "--email", "hostmaster@example.com", "--path", "lego"),
        *("--server", net.directory, "--dns", "exec", "--dns.disable-cp"),
        *("--dns.resolvers", f"127.0.0.1:{net.resolver}"),
        *(f"--domains={domain}" for domain in domains),
        "run",
        LEGO_CA_CERTIFICATES=str(net.folder / "ca.pem"),
        EXEC_PATH=str(ROOT / "deploy/acme/lego-geodns.sh"),
        EXEC_MODE=mode,
        EXEC_SEQUENCE_INTERVAL="1",  # seconds from domain to domain; lego waits for a minute otherwise
        GEODNS_CONFIG=net.instances[1].config,
    )
    assert set(domains) == names_of(net.folder / f"lego/certificates/{domains[0]}.crt")
    assert [[], []] == net.zone_texts("_acme-challenge.www.example.com")
    assert [[], []] == net.zone_texts("app.validation.example.org")


HOOK = """
import os, pyacmedns
account = pyacmedns.Storage("accounts.json").fetch("mail.example.com")
pyacmedns.Client("{url}").update_txt_record(account, os.environ["CERTBOT_VALIDATION"])
"""


def test_a_client_of_acme_dns(net: Net):
    """pyacmedns, of acme-dns's author, registers at one instance; the name's alias leads to the account; as
    certbot's hook it sets the value at the other instance, and certbot gets the certificate.
    """
    first, second = net.instances
    account = pyacmedns.Client(f"http://127.0.0.1:{first.control}").register_account(["127.0.0.0/8"])
    storage = pyacmedns.Storage(str(net.folder / "accounts.json"))
    storage.put("mail.example.com", account)
    storage.save()
    for each in net.instances:
        zone = each.folder / "zones/example.com.yaml"
        alias = f"_acme-challenge.mail: {{type: CNAME, value: {account['fulldomain']}.}}\n"
        zone.write_text(zone.read_text() + alias)
        each.process.wait_for("example.com.: serial")
    (net.folder / "hook.py").write_text(HOOK.format(url=f"http://127.0.0.1:{second.control}"))
    certbot(net, "mail.example.com", auth=f"{sys.executable} hook.py", cleanup="true")
    assert {"mail.example.com"} == names_of(net.folder / "certbot/etc/live/mail.example.com/cert.pem")
    (one,), (same,) = net.zone_texts(account["fulldomain"])
    assert one == same
