"""The whole chain for real: root, com, ns1 and ns2, resolvers and clients, each a machine of its own.

Each planted fault is a domain of its own below com, so that one world is enough for all of them.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from geodns.delegation.checks import Finding, run
from geodns.delegation.form import UNWRITTEN, fill
from geodns.delegation.network import Network
from geodns.delegation.observe import observe
from geodns.delegation.observed import Observed
from geodns.delegation.walk import Server
from geodns.geo.address import parse
from geodns.geo.locator import Locator
from geodns.name import Name
from geodns.zone import load
from tests.conftest import TEST_DATABASE
from tests.delegation.domains import DOMAINS
from tests.delegation.lab import AMERICA, ASIA, EUROPE, NAMED, NS1, NS2, ROOT, UNBOUND, Lab

pytestmark = pytest.mark.timeout(180)

TRY_SECONDS = 1.0  # for one try, on one busy machine; what is silent costs two of them
VALUES = {AMERICA: ["203.0.113.20"], EUROPE: ["203.0.113.10"], ASIA: ["203.0.113.50"]}


@pytest.fixture(scope="module")
def verified(lab: Lab) -> dict[str, tuple[Observed, list[Finding]]]:
    """What --verify sees of each domain, and what it finds."""

    def verify(label: str) -> tuple[Observed, list[Finding]]:
        zone, _ = load(lab.folder / "zones" / f"{label}.com.yaml", UNWRITTEN)
        form, _ = fill(zone, lambda name: None)
        locator = Locator.open([str(TEST_DATABASE)])
        root = Server(Name.parse("a.root-servers."), ROOT[0])
        with Network(53, TRY_SECONDS) as network:
            seen = observe(
                form, network, [root], None, lambda address: locator.explain(parse(address)).place.asn
            )
        return seen, run(seen)

    return lab.each_inside("clients", verify, DOMAINS)


@pytest.mark.parametrize("label", DOMAINS)
def test_a_planted_fault_is_found_and_nothing_else(
    verified: dict[str, tuple[Observed, list[Finding]]], label: str
) -> None:
    """Each fault is told by its check, at the place where it can be mended; the good domain has none."""
    _, findings = verified[label]
    assert DOMAINS[label].finds == {finding.check for finding in findings}, findings
    if findings:
        change = findings[0].change
        assert change.where.startswith(DOMAINS[label].where)
        if DOMAINS[label].where == "":
            assert change.mark.file.endswith(f"/{label}.com.yaml")
            assert change.mark.line > 0


def test_the_good_domain_is_seen_as_it_is(verified: dict[str, tuple[Observed, list[Finding]]]) -> None:
    """The way from the root, the parent's nameservers, and what each address does."""
    seen, _ = verified["example"]
    assert [".", "com."] == list(map(str, seen.walked.path))
    assert {"ns1.example.com.", "ns2.example.com."} == set(map(str, seen.delegated))
    assert [*NS1, *NS2] == [server.address for server in seen.servers]
    assert all(server.soa.is_good and server.tcp.is_good for server in seen.servers)
    assert [64496, 4200000000, 65536, 4200000005] == list(seen.systems.values())


def test_the_exit_code_says_it(lab: Lab) -> None:
    """The command itself: 0 for the good domain, with a resolver that agrees; 1 for one with a fault."""
    command = [
        sys.executable,
        "-m",
        "geodns",
        "delegation",
        "--verify",
        "--root",
        ROOT[0],
        "--zones",
        "zones",
    ]
    command += ["--geo-db", str(TEST_DATABASE), "--resolver", UNBOUND, "--timeout", str(TRY_SECONDS)]
    good, lame = (
        subprocess.Popen(
            [*lab.exec("clients"), *command, *more],
            cwd=lab.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for more in (["example.com"], ["lame.com", "--format", "json"])
    )
    told, errors = good.communicate()
    assert (0, "geodns: 38 checks: no fault\n") == (good.returncode, errors)
    assert "example.com. below com., by way of . -> com." in told
    told, errors = lame.communicate()
    assert (1, "") == (lame.returncode, errors)
    found = json.loads(told)
    assert {"server-lame"} == {finding["check"] for finding in found["findings"]}
    assert ["yes", "yes", "REFUSED", "REFUSED"] == [server["udp"] for server in found["servers"]]


@pytest.mark.parametrize("resolver", [UNBOUND, NAMED])
def test_the_world_resolves_from_the_root_hints(lab: Lab, resolver: str) -> None:
    """Unbound and BIND find the way from their root hints, by the glue that `geodns delegation` printed."""
    if resolver == NAMED and not lab.has_named:
        pytest.skip("named is not installed (apt-get install bind9)")
    assert ["203.0.113.50"] == lab.ask(resolver, "way.fresh.example.com")
    assert ["ns1.example.com.", "ns2.example.com."] == lab.ask(resolver, "example.com", "NS")


def test_three_continents_get_three_answers(lab: Lab) -> None:
    """Clients of one resolver, in America, Europe and Asia, by EDNS Client Subnet."""
    assert VALUES == {client: lab.ask(UNBOUND, "a.fresh.example.com", source=client) for client in VALUES}


def test_a_resolver_is_where_its_address_is(lab: Lab) -> None:
    """Without EDNS Client Subnet (BIND sends none), the resolver's own place decides, at either server."""
    for server in (*NS1[:1], *NS2[:1]):
        for client, values in VALUES.items():
            assert values == lab.ask(server, "b.fresh.example.com", source=client)


def test_ns1_may_die(lab: Lab) -> None:
    """With ns1's cable pulled, every new name still resolves, on all continents, and ns1 is welcome back."""
    lab.plug("ns1", up=False)
    try:
        with ThreadPoolExecutor() as clients:
            asked = {
                client: clients.submit(lab.ask, UNBOUND, f"at-{client}.fresh.example.com", source=client)
                for client in VALUES
            }
            dead = clients.submit(lab.ask, NS1[0], "www.example.com", tries=1)
            if lab.has_named:
                assert ["203.0.113.50"] == lab.ask(NAMED, "without.fresh.example.com")
        assert VALUES == {client: answer.result() for client, answer in asked.items()}
        assert isinstance(dead.exception(), AssertionError)
    finally:
        lab.plug("ns1", up=True)
    assert ["203.0.113.20"] == lab.ask(NS1[0], "www.example.com", source=AMERICA)
