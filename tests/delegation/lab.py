"""A small Internet: machines as network namespaces on one bridge, with documentation addresses.

    root (NSD), com (Knot DNS) --delegations--> ns1, ns2 (geodns serve)   odd (servers with faults)
    clients --> resolver (Unbound, BIND)                 work in any of them: `Lab.inside`

A thread can be moved into a namespace, and the threads that it starts are there as well: so a test asks, or
runs a command, from within, without a process of its own.
"""

import ctypes
import os
import shutil
import socketserver
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import dns.exception
import dns.flags
import dns.message
import dns.query
import pytest

from tests.conftest import TEST_DATABASE
from tests.server.serving import Process, serving

T = TypeVar("T")

CLONE_NEWNET = 0x40000000  # <sched.h>
START_SECONDS = 30
ANSWER_SECONDS = 10
ASK_SECONDS = 2.5  # as a stub resolver: Unbound drops clients that have waited 1.9 s, and they ask again
ASK_TRIES = 8
THREADS = 8  # on one machine

MACHINES = {
    "root": ("192.0.2.129", "2001:db8:100::1"),
    "com": ("198.51.100.129", "2001:db8:400::1"),
    "ns1": ("192.0.2.1", "192.0.2.2", "192.0.2.17", "2001:db8::1"),
    "ns2": ("198.51.100.1", "198.51.100.17", "2001:db8:500::1", "2001:db8:501::1"),
    "odd": ("203.0.113.129", "203.0.113.130", "203.0.113.131", "203.0.113.132", "203.0.113.133"),
    "resolver": ("203.0.113.1", "203.0.113.2", "2001:db8:600::1"),
    "clients": ("203.0.113.5", "192.0.2.200", "198.51.100.200", "2001:db8:600::5"),
}
ROOT, COM = MACHINES["root"], MACHINES["com"]
NS1, NS2 = ("192.0.2.1", "2001:db8::1"), ("198.51.100.1", "2001:db8:500::1")
UNBOUND, NAMED = "203.0.113.1", "203.0.113.2"
ASIA, AMERICA, EUROPE = MACHINES["clients"][:3]

NSD = """
server:
  username: ""
  zonesdir: "{folder}"
  pidfile: "{folder}/pid"
  xfrdfile: "{folder}/xfrd"
  xfrdir: "{folder}"
  zonelistfile: "{folder}/list"
  rrl-ratelimit: 0
  server-count: 1
{listen}
remote-control:
  control-enable: no
zone:
  name: "."
  zonefile: root.zone
"""
KNOT = """
server:
  rundir: "{folder}"
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
{listen}
database:
  storage: "{folder}"
template:
  - id: default
    storage: "{folder}"
    zonefile-load: whole
    journal-content: none
    semantic-checks: off
zone:
  - domain: com
    file: com.zone
"""
HINTS = f"""\
. 3600 NS a.root-servers.
a.root-servers. 3600 A {ROOT[0]}
a.root-servers. 3600 AAAA {ROOT[1]}
"""
ROOT_ZONE = f"""\
$TTL 3600
{HINTS}
. SOA a.root-servers. hostmaster.root-servers. 1 3600 900 86400 300
com. NS a.com-servers.
a.com-servers. A {COM[0]}
a.com-servers. AAAA {COM[1]}
"""
COM_ZONE = """\
$TTL 3600
com. SOA a.com-servers. hostmaster.com-servers. 1 3600 900 86400 300
com. NS a.com-servers.
"""
UNBOUND_CONF = """
server:
  directory: "{folder}"
  pidfile: "{folder}/pid"
  username: ""
  chroot: ""
  interface: {address}
  access-control: 0.0.0.0/0 allow
  do-daemonize: no
  use-syslog: no
  logfile: ""
  num-threads: 1
  root-hints: "{hints}"
  module-config: "subnetcache iterator"
  max-client-subnet-ipv4: 24
{subnets}
remote-control:
  control-enable: no
"""
NAMED_CONF = """
options {{
  directory "{folder}";
  pid-file none;
  session-keyfile none;
  listen-on {{ {address}; }};
  listen-on-v6 {{ none; }};
  recursion yes;
  allow-query {{ any; }};
  dnssec-validation no;
  empty-zones-enable no;
}};
controls {{ }};
zone "." {{ type hint; file "{hints}"; }};
"""


# Servers with faults


def _no_tcp(query: dns.message.Message, ask: Callable[..., Any]) -> dns.message.Message | None:
    return ask(query)


def _no_edns(query: dns.message.Message, ask: Callable[..., Any]) -> dns.message.Message | None:
    return None if query.edns >= 0 else ask(query)


def _no_authority(query: dns.message.Message, ask: Callable[..., Any]) -> dns.message.Message | None:
    response = ask(query)
    response.flags &= ~dns.flags.AA
    return response


def _old_edns(query: dns.message.Message, ask: Callable[..., Any]) -> dns.message.Message | None:
    if query.edns > 0:
        query.use_edns(0)
    return ask(query)


def _amnesia(query: dns.message.Message, ask: Callable[..., Any]) -> dns.message.Message | None:
    query.use_edns(False)
    return ask(query)


NO_TCP, NO_EDNS, NO_AUTHORITY, OLD_EDNS, AMNESIA = MACHINES["odd"]
ODD = {
    NO_TCP: _no_tcp,
    NO_EDNS: _no_edns,
    NO_AUTHORITY: _no_authority,
    OLD_EDNS: _old_edns,
    AMNESIA: _amnesia,
}
"""Servers that pass queries on to ns1, and do something wrong with them."""


def _answered(address: str, wire: bytes) -> bytes | None:
    query = dns.message.from_wire(wire)
    response = ODD[address](query, lambda query: dns.query.udp(query, NS1[0], ANSWER_SECONDS))
    return None if response is None else response.to_wire()


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, reply_to = self.request
        if (wire := _answered(self.server.server_address[0], data)) is not None:
            reply_to.sendto(wire, self.client_address)


class _Tcp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        size = int.from_bytes(self.request.recv(2))
        wire = _answered(self.server.server_address[0], self.request.recv(size)) if size else None
        if wire is not None:
            self.request.sendall(len(wire).to_bytes(2) + wire)


class _UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    allow_reuse_address = True


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


# Machines


@dataclass
class Lab:
    """The machines, by name, and the folder of the operator's zone files."""

    prefix: str
    folder: Path
    servers: dict[str, Process] = field(default_factory=dict)
    _threads: dict[str, ThreadPoolExecutor] = field(default_factory=dict)

    def namespace(self, machine: str) -> str:
        return f"{self.prefix}-{machine}"

    def exec(self, machine: str) -> tuple[str, ...]:
        """What stands before a command that runs on this machine."""
        return ("ip", "netns", "exec", self.namespace(machine))

    def inside(self, machine: str, work: Callable[..., T], *args: Any, **more: Any) -> T:
        """Run `work` in a thread that is on this machine."""
        return self._on(machine).submit(work, *args, **more).result()

    def each_inside(self, machine: str, work: Callable[[str], T], items: Iterable[str]) -> dict[str, T]:
        """Run `work` for each item, all at once, in threads that are on this machine."""
        waiting = {item: self._on(machine).submit(work, item) for item in items}
        return {item: one.result() for item, one in waiting.items()}

    def _on(self, machine: str) -> ThreadPoolExecutor:
        if machine not in self._threads:
            path = f"/run/netns/{self.namespace(machine)}"
            self._threads[machine] = ThreadPoolExecutor(THREADS, initializer=_enter, initargs=(path,))
        return self._threads[machine]

    @property
    def has_named(self) -> bool:
        return Path("/usr/sbin/named").exists()

    def ask(
        self, server: str, name: str, rtype: str = "A", source: str = ASIA, tries: int = ASK_TRIES
    ) -> list[str]:
        """The data that a client at `source` gets for a name from a server or resolver."""
        query = dns.message.make_query(name, rtype)
        for _ in range(tries):
            try:
                response = self.inside("clients", dns.query.udp, query, server, ASK_SECONDS, source=source)
            except dns.exception.Timeout:
                continue
            return sorted(rdata.to_text() for rrset in response.answer for rdata in rrset)
        raise AssertionError(f"{server} does not answer {source} about {name} {rtype}")

    def plug(self, machine: str, up: bool) -> None:
        """Pull the machine's cable out of the switch, or put it back."""
        _ip("-n", self.namespace("net"), "link", "set", machine, "up" if up else "down")

    def close(self) -> None:
        for threads in self._threads.values():
            threads.shutdown()


def _enter(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with open(path) as file:
        if libc.setns(file.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _batch(namespace: str, *lines: str) -> None:
    text = "".join(line + "\n" for line in lines)
    subprocess.run(
        ["ip", "-n", namespace, "-batch", "-"], input=text, text=True, check=True, capture_output=True
    )


@contextmanager
def machines(folder: Path, containers: Mapping[str, int] | None = None) -> Iterator[Lab]:
    """The namespaces, wired; skips where they are not permitted, and leaves none behind.

    `containers` are processes in namespaces that are there already, by the machine that they are to be.
    """
    containers = containers or {}
    if shutil.which("ip") is None:
        pytest.skip("ip is not installed (apt-get install iproute2)")
    lab = Lab(f"gd{os.getpid()}", folder)
    names = [lab.namespace(machine) for machine in ("net", *MACHINES)]
    made = []
    try:
        for machine, name in zip(("net", *MACHINES), names, strict=True):
            made_how = ("attach", name, str(containers[machine])) if machine in containers else ("add", name)
            if subprocess.run(["ip", "netns", *made_how], capture_output=True).returncode:
                pytest.skip("needs the right to make network namespaces (root)")
            made.append(name)
        _batch(names[0], "link set lo up", "link add switch type bridge", "link set switch up")
        for machine, addresses in MACHINES.items():
            _wire(lab, machine, addresses)
        yield lab
    finally:
        lab.close()
        for name in made:
            _ip("netns", "del", name)


def _wire(lab: Lab, machine: str, addresses: tuple[str, ...]) -> None:
    """A cable to the switch. Every address is on the link, so that no router is needed."""
    inside, switch = lab.namespace(machine), lab.namespace("net")
    _ip("link", "add", "eth0", "netns", inside, "type", "veth", "peer", "name", machine, "netns", switch)
    _batch(switch, f"link set {machine} master switch", f"link set {machine} up")
    _batch(inside, "link set lo up", "link set eth0 up")
    _batch(
        inside,
        *(
            f"addr add {address}/{128 if ':' in address else 32} dev eth0 nodad"
            for address in addresses
            if ":" in address
        ),
        *(f"addr add {address}/32 dev eth0" for address in addresses if ":" not in address),
        "route add 0.0.0.0/0 dev eth0",
        "route add ::/0 dev eth0",
    )


# Programs


def _need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
            pytest.skip(f"{program} is not installed (apt-get install knot nsd unbound)")


@contextmanager
def _running(lab: Lab, machine: str, arguments: list[str], log: Path) -> Iterator[None]:
    with (
        log.open("w") as output,
        subprocess.Popen([*lab.exec(machine), *arguments], stdout=output, stderr=output) as process,
    ):
        try:
            yield
        finally:
            process.terminate()


def _wait_for(lab: Lab, address: str, name: str, log: Path) -> None:
    query = dns.message.make_query(name, "SOA")
    for _ in range(START_SECONDS * 10):
        try:
            response = lab.inside("clients", dns.query.udp, query, address, 0.1, ignore_errors=True)
        except (dns.exception.Timeout, OSError):
            continue
        if response.rcode() == 0 and response.answer:
            return
    pytest.fail(f"{address} does not answer for {name}: {log.read_text()[-2000:]}")


@contextmanager
def around(lab: Lab, root: list[str], com: list[str]) -> Iterator[None]:
    """Root, com and the resolvers on their machines; more lines for root's zone and com's."""
    _need("nsd", "knotd", "unbound")
    with ExitStack() as stack:
        stack.enter_context(_start_root(lab, _folder(lab.folder, "root"), root))
        stack.enter_context(_start_com(lab, _folder(lab.folder, "com"), com))
        stack.enter_context(_start_unbound(lab, _folder(lab.folder, "unbound")))
        stack.enter_context(_start_named(lab, _folder(lab.folder, "named")))
        _wait_for(lab, ROOT[0], ".", lab.folder / "root" / "log")
        _wait_for(lab, COM[0], "com.", lab.folder / "com" / "log")
        yield


@contextmanager
def standing(
    folder: Path, root: list[str], com: list[str], ns1: Mapping[str, str], ns2: Mapping[str, str]
) -> Iterator[Lab]:
    """The whole of it: more lines for root's zone and com's, and the zone files of ns1 and ns2, by zone."""
    with ExitStack() as stack:
        lab = stack.enter_context(machines(folder))
        stack.enter_context(_start_odd(lab))
        for machine, files in (("ns1", ns1), ("ns2", ns2)):
            lab.servers[machine] = stack.enter_context(start_geodns(lab, machine, files))
        stack.enter_context(around(lab, root, com))
        for server in lab.servers.values():
            server.ports()
        yield lab


def _folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def start_geodns(lab: Lab, machine: str, files: Mapping[str, str]) -> Any:
    """`geodns serve` on this machine, with these zones."""
    home = lab.folder / machine
    (home / "zones").mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (home / "zones" / f"{name}.yaml").write_text(text)
    config = f"geo: {{databases: [{TEST_DATABASE}]}}\nserver: {{id: {machine}}}\n"
    return serving(home, listen=("0.0.0.0:53", "[::]:53"), config=config, before=lab.exec(machine))


@contextmanager
def _start_root(lab: Lab, folder: Path, lines: list[str]) -> Iterator[None]:
    (folder / "root.zone").write_text(ROOT_ZONE + "".join(line + "\n" for line in lines))
    listen = "".join(f"  ip-address: {address}\n" for address in ROOT)
    (folder / "nsd.conf").write_text(NSD.format(folder=folder, listen=listen))
    with _running(lab, "root", ["nsd", "-d", "-c", str(folder / "nsd.conf")], folder / "log"):
        yield


@contextmanager
def _start_com(lab: Lab, folder: Path, lines: list[str]) -> Iterator[None]:
    (folder / "com.zone").write_text(COM_ZONE + "".join(line + "\n" for line in lines))
    listen = "".join(f"  listen: {address}@53\n" for address in COM)
    (folder / "knot.conf").write_text(KNOT.format(folder=folder, listen=listen))
    with _running(lab, "com", ["knotd", "-c", str(folder / "knot.conf")], folder / "log"):
        yield


@contextmanager
def _start_unbound(lab: Lab, folder: Path) -> Iterator[None]:
    (folder / "hints").write_text(HINTS)
    subnets = "".join(f"  send-client-subnet: {address}\n" for address in (*NS1, *NS2))
    text = UNBOUND_CONF.format(folder=folder, hints=folder / "hints", address=UNBOUND, subnets=subnets)
    (folder / "unbound.conf").write_text(text)
    arguments = ["unbound", "-d", "-c", str(folder / "unbound.conf")]
    with _running(lab, "resolver", arguments, folder / "log"):
        yield


@contextmanager
def _start_named(lab: Lab, folder: Path) -> Iterator[None]:
    """BIND, where it is installed."""
    if not lab.has_named:
        yield
        return
    (folder / "hints").write_text(HINTS)
    text = NAMED_CONF.format(folder=folder, hints=folder / "hints", address=NAMED)
    (folder / "named.conf").write_text(text)
    arguments = ["named", "-f", "-n", "1", "-c", str(folder / "named.conf")]
    with _running(lab, "resolver", arguments, folder / "log"):
        yield


@contextmanager
def _start_odd(lab: Lab) -> Iterator[None]:
    servers = lab.inside("odd", _odd_servers)
    try:
        yield
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def _odd_servers() -> list[socketserver.BaseServer]:
    servers: list[socketserver.BaseServer] = [_UdpServer((address, 53), _Udp) for address in ODD]
    servers += [_TcpServer((address, 53), _Tcp) for address in ODD if address != NO_TCP]
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    return servers
