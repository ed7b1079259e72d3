"""The same database and map to gdnsd: the same places, and scopes at least as wide, and right."""

import shutil
import subprocess
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from random import Random
from typing import NamedTuple

import dns.edns
import dns.exception
import dns.message
import dns.query
import pytest

from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.geo.locator import Locator
from geodns.geo.partition import build
from geodns.name import Name
from geodns.table.compile import compile_zone, link, table_rules
from geodns.zone import load_text
from tests.conftest import NOW, SERIAL
from tests.ports import free_port

DATABASE = Path(__file__).parent.parent.parent / "geo-db" / "city-lite.mmdb"
START_SECONDS = 60  # gdnsd reads the database in about one
SUBNETS = 600  # of each family
NAME = "www.example.com."
VALUES = {
    "default": "192.0.2.1",
    "EU": "192.0.2.2",
    "EU-DE": "192.0.2.3",
    "NA-US": "192.0.2.4",
    "NA-US-CA": "192.0.2.5",
    "AS-JP": "192.0.2.6",
    "OC": "192.0.2.7",
}
ZONE = f"""
$zone: {{soa: {{serial: {SERIAL}}}}}
'': {{type: NS, value: ns1.example.com.}}
ns1: {{type: A, value: 192.0.2.9}}
www:
  type: A
  ttl: 60
  values: [{VALUES["default"]}]
  geo:
""" + "".join(f"    {code}: [{value}]\n" for code, value in VALUES.items() if code != "default")
CONFIG = """
options => {{
    listen => 127.0.0.1:{port}
    udp_threads => 1
    tcp_threads => 1
    run_dir => {folder}/run
    state_dir => {folder}/state
}}
plugins => {{ geoip => {{
    maps => {{ place => {{
        geoip2_db => {database}
        datacenters => [dc-default, dc-eu, dc-eu-de, dc-na-us, dc-na-us-ca, dc-as-jp, dc-oc]
        map => {{
            default => [dc-default],
            EU => {{ default => [dc-eu], DE => [dc-eu-de] }},
            NA => {{ default => [dc-default], US => {{ default => [dc-na-us], CA => [dc-na-us-ca] }} }},
            AS => {{ default => [dc-default], JP => [dc-as-jp] }},
            OC => [dc-oc]
        }}
    }} }}
    resources => {{ www => {{ map => place, service_types => up, dcmap => {{ {places} }} }} }}
}} }}
"""
GDNSD_ZONE = """
@ 3600 SOA ns1 hostmaster 1 3600 600 604800 60
@ 3600 NS ns1
ns1 3600 A 192.0.2.9
www 60/60 DYNA geoip!www
"""


Subnet = IPv4Network | IPv6Network


class Located(NamedTuple):
    """The address that a client subnet gets, and the prefix within which everybody gets it."""

    value: str
    scope: int


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    zone, problems = load_text(ZONE.encode(), Name.parse("example.com."), "example.com.yaml", SERIAL)
    assert zone is not None, problems
    table = link([compile_zone(zone)])
    locator = Locator.open([str(DATABASE)])
    return Snapshot(table, {key: build(rules, locator) for key, rules in table_rules(table).items()})


@pytest.fixture(scope="module")
def gdnsd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a gdnsd with the same zone."""
    program = shutil.which("gdnsd", path="/usr/bin:/usr/sbin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        pytest.skip("gdnsd is not installed (apt-get install gdnsd)")
    folder, port = tmp_path_factory.mktemp("gdnsd"), free_port()
    for name in ("run", "state", "zones"):
        (folder / name).mkdir()
    places = ", ".join(f"dc-{code.lower()} => {value}" for code, value in VALUES.items())
    (folder / "config").write_text(CONFIG.format(port=port, folder=folder, database=DATABASE, places=places))
    (folder / "zones" / "example.com").write_text(GDNSD_ZONE)
    log = folder / "log"
    with (
        log.open("w") as output,
        subprocess.Popen([program, "-c", str(folder), "start"], stdout=output, stderr=output) as process,
    ):
        try:
            for _ in range(START_SECONDS * 10):
                try:
                    dns.query.udp(dns.message.make_query(NAME, "A"), "127.0.0.1", timeout=0.1, port=port)
                    break
                except (dns.exception.Timeout, OSError):
                    continue
            else:
                pytest.fail(f"gdnsd does not answer: {log.read_text()[-2000:]}")
            yield port
        finally:
            process.terminate()


def query(subnet: Subnet) -> dns.message.Message:
    option = dns.edns.ECSOption(str(subnet.network_address), subnet.prefixlen)
    return dns.message.make_query(NAME, "A", use_edns=0, options=[option])


def located(message: dns.message.Message) -> Located:
    [value] = [str(data) for rrset in message.answer for data in rrset]
    [scope] = [option.scopelen for option in message.options if isinstance(option, dns.edns.ECSOption)]
    return Located(value, scope)


def ours(snapshot: Snapshot, subnet: Subnet) -> Located:
    return located(
        dns.message.from_wire(answer(query(subnet).to_wire(), "127.0.0.1", snapshot, 0, NOW) or b"")
    )


def drawn(family: int) -> list[Subnet]:
    """Networks as resolvers send them, from where the database has places."""
    dice = Random(family)
    found: list[Subnet] = []
    while len(found) < SUBNETS:
        if family == 4:
            address = IPv4Address(dice.randrange(1 << 24, 224 << 24))
            network = ip_network((address, 24), strict=False)
        else:
            address = IPv6Address(
                dice.choice([0x20, 0x24, 0x26, 0x28, 0x2A, 0x2C]) << 120 | dice.getrandbits(117)
            )
            network = ip_network((address, 56), strict=False)
        if network.is_global:
            found.append(network)
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_scopes_are_as_wide_as_gdnsd_s(gdnsd: int, snapshot: Snapshot, family: int) -> None:
    """The answers are the same, and no scope is longer than gdnsd's: resolvers cache as little with us."""
    longer, other, values = [], [], set()
    for subnet in drawn(family):
        theirs = located(dns.query.udp(query(subnet), "127.0.0.1", timeout=5, port=gdnsd))
        mine = ours(snapshot, subnet)
        values.add(mine.value)
        if mine.value != theirs.value:
            other.append((subnet, mine, theirs))
        elif mine.scope > theirs.scope:
            longer.append((subnet, mine, theirs))
    assert (7 if family == 4 else 4) <= len(values)
    assert [] == other
    assert [] == longer


@pytest.mark.parametrize("family", [4, 6])
def test_neighbours_agree_with_every_scope(snapshot: Snapshot, family: int) -> None:
    """Both ends of a scope and places drawn within it get its answer: no client is given another's."""
    dice = Random(family)
    for subnet in drawn(family)[:200]:
        mine = ours(snapshot, subnet)
        scope = ip_network((subnet.network_address, mine.scope), strict=False)
        width = scope.max_prefixlen
        within = [int(scope.network_address), int(scope.broadcast_address)]
        within += [dice.randrange(within[0], within[1] + 1) for _ in range(3)]
        for number in within:
            neighbour = ip_network((number, width))
            assert mine == ours(snapshot, neighbour), f"{subnet}: {neighbour} in {scope}"
