"""DNS cookies beside others: servers with one secret (RFC 9018), and a resolver that is told BADCOOKIE."""

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dns.edns
import dns.exception
import dns.message
import dns.query
import dns.rcode
import pytest

from geodns.engine.cookie import CLIENT_OCTETS, cookie_for, is_valid
from geodns.zone import load_text
from geodns.zone.files import zone_name
from tests.compare.peers import KNOT_COOKIES, START_SECONDS, running
from tests.ports import free_port
from tests.server.serving import serving, write_zone, zone_text

SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
CLIENT = "127.0.0.1"
OURS = b"clients8"
ZONE = "'': {type: NS, values: [ns1.nameserver.test.]}\n'*': {type: TXT, values: [x]}\n"
NAMED = """
options {{
  directory "{folder}";
  listen-on port {port} {{ 127.0.0.1; }};
  listen-on-v6 {{ none; }};
  pid-file none;
  session-keyfile "{folder}/session.key";
  dnssec-validation no;
  cookie-algorithm siphash24;
  cookie-secret "{secret}";
  notify no;
  forward only;  // so that it asks nobody else, whatever it wants to know
  forwarders {{ 127.0.0.1 port {upstream}; }};
  {options}
}};
controls {{ }};
{zone}
"""


@contextmanager
def named(folder: Path, options: str, zone: str = "", upstream: int = 0) -> Iterator[int]:
    """BIND with these options and this zone; the port of 127.0.0.1. It asks nobody but `upstream` there."""
    if shutil.which("named") is None and not Path("/usr/sbin/named").exists():
        pytest.skip("named is not installed (apt-get install bind9)")
    port = free_port()
    conf = folder / "named.conf"
    conf.write_text(
        NAMED.format(
            folder=folder,
            port=port,
            secret=SECRET.hex(),
            options=options,
            zone=zone,
            upstream=upstream or free_port(),
        )
    )
    log = folder / "named.log"
    who = dns.message.make_query("version.bind.", "TXT", "CH")  # answered by itself
    arguments = ["named", "-g", "-c", str(conf)]
    with log.open("w") as output, subprocess.Popen(arguments, stdout=output, stderr=output) as process:
        try:
            for _ in range(START_SECONDS * 10):
                if "all zones loaded" not in log.read_text():  # it answers before, without them
                    time.sleep(0.1)
                    continue
                try:
                    dns.query.udp(who, CLIENT, 0.1, port, ignore_errors=True)
                    break
                except (dns.exception.Timeout, OSError):
                    continue
            else:
                pytest.fail(f"named does not answer: {log.read_text()[-2000:]}")
            yield port
        finally:
            process.terminate()


def ask(port: int, cookie: bytes, name: str = "version.example.com.") -> tuple[str, bytes]:
    """The rcode, and the cookie that comes back."""
    query = dns.message.make_query(name, "TXT", options=[dns.edns.GenericOption(10, cookie)])
    answer = dns.query.udp(query, CLIENT, START_SECONDS, port)
    return dns.rcode.to_text(answer.rcode()), b"".join(
        one.to_wire() for one in answer.options if one.otype == 10
    )


def share_a_secret(port: int) -> None:
    """A server that asks for its cookies takes ours, and gives one that we take."""
    rcode, theirs = ask(port, OURS)
    assert "BADCOOKIE" == rcode
    now = int(time.time())
    assert is_valid(theirs, CLIENT, (SECRET,), now)
    assert OURS == theirs[:CLIENT_OCTETS]
    assert "NOERROR" == ask(port, cookie_for(OURS, CLIENT, (SECRET,), now))[0]
    assert "BADCOOKIE" == ask(port, cookie_for(OURS, CLIENT, (bytes(16),), now))[0]


def test_one_secret_for_knot_and_us(tmp_path: Path) -> None:
    """Behind one address, Knot DNS and geodns take each other's cookies."""
    zone, _ = load_text(zone_text().encode(), zone_name("example.com.yaml"), "example.com.yaml", 1)
    assert zone is not None
    modules = KNOT_COOKIES.format(secret=SECRET.hex())
    with running("knotd", {"example.com.": zone.zone}, tmp_path, modules, "mod-cookies") as port:
        share_a_secret(port)


def test_one_secret_for_bind_and_us(tmp_path: Path) -> None:
    """Behind one address, BIND and geodns take each other's cookies."""
    (tmp_path / "zone").write_text("@ 1 SOA a. b. 1 1 1 1 1\n@ 1 NS ns1.nameserver.test.\nversion 1 TXT x\n")
    with named(
        tmp_path,
        "recursion no; require-server-cookie yes;",
        'zone "example.com" { type primary; file "zone"; };',
    ) as port:
        share_a_secret(port)


def test_a_resolver_with_cookies_is_not_limited(tmp_path: Path) -> None:
    """BIND as a resolver behind a limit of one answer a second: told BADCOOKIE once, it gets all it asks."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    (tmp_path / "zones" / "example.com.yaml").write_text(ZONE)
    config = "rrl: {responses_per_second: 1, burst_seconds: 1}\nlocal_zones: false\n"
    with serving(tmp_path, config=config) as server:
        (port,) = server.ports()
        options = "recursion yes; allow-recursion { 127.0.0.0/8; }; max-cache-size 8m; tcp-clients 1;"
        with named(tmp_path, options, upstream=port) as resolver:
            began = time.monotonic()
            for at in range(50):
                query = dns.message.make_query(f"n{at}.example.com.", "TXT")
                answer = dns.query.udp(query, CLIENT, START_SECONDS, resolver)
                assert 1 == len(answer.answer), answer
            assert time.monotonic() - began < 20  # at one a second it would take fifty
