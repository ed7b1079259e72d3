"""Zonemaster, the registries' own test, on the domains that geodns serves in the lab."""

import json
import shutil
import subprocess

import pytest

from tests.delegation.lab import HINTS, NS1, NS2, Lab

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(
        shutil.which("zonemaster-cli") is None,
        reason="zonemaster-cli is not installed (apt-get install zonemaster-cli)",
    ),
]

FAULTS = ("WARNING", "ERROR", "CRITICAL")  # the levels above NOTICE
NOT_OURS = {
    "NAMESERVER_IP_PRIVATE_NETWORK": "the lab's machines have addresses from the documentation prefixes",
}
"""Findings that are the lab's and not those of geodns: the tag, and why."""


def zonemaster(lab: Lab, domain: str, *options: str) -> list[dict]:
    """What Zonemaster finds, from INFO on."""
    hints = lab.folder / "hints"
    hints.write_text(HINTS)
    command = ["zonemaster-cli", "--hints", str(hints), "--no-progress", "--json", "--raw", "--level", "INFO"]
    done = subprocess.run(
        [*lab.exec("clients"), *command, *options, domain], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    return told if isinstance(told, list) else told["results"]  # since version 6


def faults(results: list[dict]) -> list[dict]:
    """What is above NOTICE and not the lab's."""
    return [result for result in results if result["level"] in FAULTS and result["tag"] not in NOT_OURS]


def test_zonemaster_finds_no_fault(lab: Lab) -> None:
    """Nothing above NOTICE that is ours, and the tests that matter were done."""
    results = zonemaster(lab, "example.com")
    assert [] == faults(results)
    done = {result["tag"] for result in results}
    assert {"ADDRESSES_MATCH", "NAMES_MATCH", "ONE_SOA_SERIAL", "IPV4_DIFFERENT_ASN", "NO_RECURSOR"} <= done


def test_zonemaster_finds_no_fault_before_the_registrar_knows(lab: Lab) -> None:
    """The undelegated test, with the nameservers and glue as they are to be registered."""
    glue = [f"--ns={name}.not-delegated.com/{address}" for name, addresses in PAIRS for address in addresses]
    assert [] == faults(zonemaster(lab, "not-delegated.com", *glue))


def test_zonemaster_would_find_a_fault(lab: Lab) -> None:
    """A planted fault is told, so that silence means something."""
    assert {"IS_NOT_AUTHORITATIVE"} <= {result["tag"] for result in faults(zonemaster(lab, "lame.com"))}


PAIRS = (("ns1", NS1), ("ns2", NS2))
