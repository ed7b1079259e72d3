"""Running Knot DNS and NSD beside us: configuration, start, wait, stop."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import pytest

from geodns.zone.model import Zone
from geodns.zone.rfc1035 import write
from tests.ports import free_port

START_SECONDS = 20  # of a peer, at the most
PROGRAMS = ["knotd", "nsd"]

KNOT = """
server:
  rundir: "{folder}"
  listen: 127.0.0.1@{port}
{modules}
database:
  storage: "{folder}"
template:
  - id: default
{of_template}
    storage: "{folder}"
    zonefile-load: whole
    journal-content: none
zone:
{zones}
"""
NSD = """
server:
  ip-address: 127.0.0.1@{port}
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/pid"
  xfrdfile: "{folder}/xfrd"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/list"
  minimal-responses: yes
  rrl-ratelimit: 0
  server-count: 1
remote-control:
  control-enable: no
{zones}
"""


# Knot's rate limiting, as the setting rrl has it; the rate is of each of Knot's classes and networks.
KNOT_RRL = """
mod-rrl:
  - id: default
    rate-limit: {rate}
    slip: {slip}
"""
# RFC 7873: whoever shows no cookie that it gave is told BADCOOKIE.
KNOT_COOKIES = """
mod-cookies:
  - id: default
    secret: 0x{secret}
    badcookie-slip: 1
"""


def zone_file(name: str) -> str:
    return (name.strip(".") or "root") + ".zone"


@contextmanager
def running(
    program: str, zones: dict[str, Zone], folder: Path, modules: str = "", module: str = ""
) -> Iterator[int]:
    """The peer serves these zones, by name, on the port of 127.0.0.1 that is yielded; Knot with a module."""
    if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
        pytest.skip(f"{program} is not installed (apt-get install knot nsd)")
    for name, zone in zones.items():
        (folder / zone_file(name)).write_text("\n".join(write(zone)) + "\n")
    port = free_port()
    if program == "knotd":
        config = KNOT
        listed = "".join(f'  - domain: "{name}"\n    file: {zone_file(name)}\n' for name in zones)
    else:
        config = NSD
        listed = "".join(f'zone:\n  name: "{name}"\n  zonefile: {zone_file(name)}\n' for name in zones)
    conf = folder / f"{program}.conf"
    of_template = f"    global-module: {module}/default" if module else ""
    conf.write_text(
        config.format(folder=folder, port=port, zones=listed, modules=modules, of_template=of_template)
    )
    log = folder / f"{program}.log"
    arguments = [program, "-c", str(conf)] + (["-d"] if program == "nsd" else [])
    with log.open("w") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as process:
        try:
            _wait_for(port, list(zones), log)
            yield port
        finally:
            process.terminate()


def _wait_for(port: int, zones: list[str], log: Path) -> None:
    for name in zones:
        question = dns.message.make_query(name, "SOA")
        for _ in range(START_SECONDS * 10):
            try:
                if dns.query.udp(question, "127.0.0.1", timeout=0.1, port=port, ignore_errors=True).answer:
                    break
            except (dns.exception.Timeout, OSError):
                continue
        else:
            pytest.fail(f"the peer does not serve {name}: {log.read_text()[-2000:]}")
