"""A real resolver in between: Unbound, which sends EDNS Client Subnet and caches by our scopes."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from tests import goldens
from tests.compare.peers import START_SECONDS
from tests.ports import free_port
from tests.server.serving import Process, serving

CONFIG = """
server:
  directory: "{folder}"
  pidfile: "{folder}/pid"
  username: ""
  chroot: ""
  interface: 127.0.0.1
  port: {port}
  access-control: 127.0.0.0/8 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  do-not-query-localhost: no
  module-config: "subnetcache iterator"
  send-client-subnet: 127.0.0.1
  max-client-subnet-ipv4: 24
remote-control:
  control-enable: no
stub-zone:
  name: example.com
  stub-addr: 127.0.0.1@{server}
"""
ANSWER_SECONDS = 10
UNANSWERED_SECONDS = 0.5  # what is in the cache comes within a millisecond


def ask(port: int, client: str, name: str, seconds: float = ANSWER_SECONDS) -> list[str]:
    """The addresses that a client with this loopback address gets from the resolver."""
    query = dns.message.make_query(name, "A")
    response = dns.query.udp(query, "127.0.0.1", timeout=seconds, port=port, source=client)
    return sorted(str(rdata) for rrset in response.answer for rdata in rrset if rrset.rdtype == 1)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Process]:
    """geodns with the zone of places.md and the test database."""
    (tmp_path / "zones").mkdir()
    (zone,) = goldens.read(goldens.ANSWERS / "places.md").zones.values()
    (tmp_path / "zones" / "example.com.yaml").write_text(zone)
    with serving(tmp_path) as process:
        yield process


@pytest.fixture
def resolver(server: Process, tmp_path: Path) -> Iterator[int]:
    """The port of an Unbound that asks that server."""
    if shutil.which("unbound") is None and not Path("/usr/sbin/unbound").exists():
        pytest.skip("unbound is not installed (apt-get install unbound)")
    port = free_port()
    (geodns,) = server.ports()
    conf = tmp_path / "unbound.conf"
    conf.write_text(CONFIG.format(folder=tmp_path, port=port, server=geodns))
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(["unbound", "-d", "-c", str(conf)], stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(port, tmp_path / "log")
            yield port
        finally:
            process.terminate()


def wait_for(port: int, log: Path) -> None:
    query = dns.message.make_query("localhost.", "A")  # answered by Unbound itself
    for _ in range(START_SECONDS * 10):
        try:
            dns.query.udp(query, "127.0.0.1", timeout=0.1, port=port, ignore_errors=True)
        except (dns.exception.Timeout, OSError):
            continue
        return
    pytest.fail(f"unbound does not answer: {log.read_text()[-2000:]}")


def test_clients_of_one_resolver_get_the_answers_of_their_places(server: Process, resolver: int) -> None:
    """New York, Toronto and Mexico through one cache, twice: nobody gets a neighbour's answer."""
    expected = {
        "127.1.0.1": ["203.0.113.30"],
        "127.2.0.1": ["203.0.113.40"],
        "127.3.0.1": ["192.0.2.80"],
        "127.1.7.1": ["203.0.113.30"],
    }
    for _ in range(2):
        assert expected == {client: ask(resolver, client, "www.example.com.") for client in expected}


def test_the_cache_is_used_within_the_scope_and_not_beyond(server: Process, resolver: int) -> None:
    """With the server gone, neighbours in the scope are still answered from the cache, and others are not."""
    assert ["203.0.113.30"] == ask(resolver, "127.1.0.1", "www.example.com.")
    assert ["192.0.2.1"] == ask(resolver, "127.1.0.1", "ns1.example.com.")
    assert 0 == server.end()
    assert ["203.0.113.30"] == ask(resolver, "127.1.200.1", "www.example.com.")  # scope /16
    assert ["192.0.2.1"] == ask(resolver, "127.30.0.1", "ns1.example.com.")  # scope /0
    with pytest.raises(dns.exception.Timeout):  # Unbound asks the server that is gone
        ask(resolver, "127.2.0.1", "www.example.com.", UNANSWERED_SECONDS)
