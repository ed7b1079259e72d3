"""The whole chain for real: root, com, ns1 and ns2, resolvers and clients, each a machine of its own.

Each planted fault is a domain of its own below com, so that one world is enough for all of them.
"""

import json
import subprocess
import sys

import pytest

from tests.conftest import TEST_DATABASE
from tests.delegation.conftest import geodns
from tests.delegation.domains import DOMAINS
from tests.delegation.lab import AMERICA, ASIA, EUROPE, NAMED, NS1, NS2, ROOT, UNBOUND, Lab

pytestmark = pytest.mark.timeout(180)

TRY_SECONDS = "1"  # for one try, on one busy machine; what is silent costs two of them
VALUES = {AMERICA: ["203.0.113.20"], EUROPE: ["203.0.113.10"], ASIA: ["203.0.113.50"]}


@pytest.fixture(scope="module")
def verified(lab: Lab) -> dict[str, dict]:
    """What --verify says of each domain."""
    options = ("--verify", "--root", ROOT[0], "--timeout", TRY_SECONDS, "--format", "json")

    def verify(label: str) -> dict:
        told = geodns("delegation", f"{label}.com", *options, folder=lab.folder / "zones")
        return json.loads(told)

    return {label: lab.inside("clients", verify, label) for label in DOMAINS}


@pytest.mark.parametrize("label", DOMAINS)
def test_a_planted_fault_is_found_and_nothing_else(verified: dict[str, dict], label: str) -> None:
    """Each fault is told by its check, at the place where it can be mended; the good domain has none."""
    findings = verified[label]["findings"]
    assert DOMAINS[label].finds == {finding["check"] for finding in findings}, findings
    if findings:
        assert findings[0]["change"]["where"].startswith(DOMAINS[label].where)
        if DOMAINS[label].where == "":
            assert findings[0]["change"]["file"].endswith(f"/{label}.com.yaml")
            assert findings[0]["change"]["line"] > 0


def test_the_good_domain_is_seen_as_it_is(verified: dict[str, dict]) -> None:
    """The way from the root, the parent's nameservers, and what each address does."""
    seen = verified["example"]
    assert [".", "com."] == seen["path"]
    assert ["ns1.example.com.", "ns2.example.com."] == seen["delegated"]
    assert {*NS1, *NS2} == {server["address"] for server in seen["servers"]}
    assert {("yes", "yes", True, 7)} == {
        (server["udp"], server["tcp"], server["edns"], server["serial"]) for server in seen["servers"]
    }
    assert [64496, 4200000000, 65536, 4200000005] == [server["asn"] for server in seen["servers"]]


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
    command += ["--geo-db", str(TEST_DATABASE), "--resolver", UNBOUND, "--timeout", TRY_SECONDS]
    done = [
        subprocess.run(
            [*lab.exec("clients"), *command, f"{label}.com"],
            cwd=lab.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        for label in ("example", "lame")
    ]
    assert (0, "geodns: 38 checks: no fault\n") == (done[0].returncode, done[0].stderr)
    assert (1, "geodns: 38 checks: 2 faults\n") == (done[1].returncode, done[1].stderr)
    assert "server-lame" in done[1].stdout


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
        names = {client: f"without-{number}.fresh.example.com" for number, client in enumerate(VALUES)}
        assert VALUES == {client: lab.ask(UNBOUND, names[client], source=client) for client in VALUES}
        if lab.has_named:
            assert ["203.0.113.50"] == lab.ask(NAMED, "without.fresh.example.com")
        with pytest.raises(AssertionError):
            lab.ask(NS1[0], "www.example.com", tries=1)
    finally:
        lab.plug("ns1", up=True)
    assert ["203.0.113.20"] == lab.ask(NS1[0], "www.example.com", source=AMERICA)
