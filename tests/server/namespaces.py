"""Hosts on one machine: network namespaces with lines between them, for tests that cut one."""

import ctypes
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.server.serving import PATIENCE_SECONDS, Client

CLONE_NEWNET = 0x40000000  # <linux/sched.h>
T = TypeVar("T")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=PATIENCE_SECONDS)


def is_permitted() -> bool:
    """Whether this process may make namespaces."""
    if shutil.which("ip") is None:
        return False
    name = f"geodns-{os.getpid()}-try"
    try:
        ip("netns", "add", name)
        ip("netns", "delete", name)
    except subprocess.SubprocessError:
        return False
    return True


def within(name: str, work: Callable[[], T]) -> T:
    """Do something in a namespace; the sockets that it makes stay there."""
    found: list[T] = []

    def enter() -> None:
        with open(f"/var/run/netns/{name}") as file:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        found.append(work())

    thread = threading.Thread(target=enter)  # a thread of its own is in a namespace of its own
    thread.start()
    thread.join(PATIENCE_SECONDS)
    return found[0]


class Network:
    """The hosts ns1, ns2 and site, with a line between each two (RFC 5737 addresses)."""

    SITE = "203.0.113.10"
    LINES = (
        ("ns1", "192.0.2.1", "ns2", "192.0.2.2"),
        ("ns1", "198.51.100.1", "site", "198.51.100.2"),
        ("ns2", "198.51.100.5", "site", "198.51.100.6"),
    )

    def __init__(self) -> None:
        self._prefix = f"geodns-{os.getpid()}"

    def _name(self, host: str) -> str:
        return f"{self._prefix}-{host}"

    def __enter__(self) -> "Network":
        try:
            for host in ("ns1", "ns2", "site"):
                ip("netns", "add", self._name(host))
                ip("-n", self._name(host), "link", "set", "lo", "up")
            for one, one_address, other, other_address in self.LINES:
                ends = (f"to-{other}", f"to-{one}")
                ip(
                    "-n",
                    self._name(one),
                    "link",
                    "add",
                    ends[0],
                    "type",
                    "veth",
                    "peer",
                    "name",
                    ends[1],
                    "netns",
                    self._name(other),
                )
                for host, end, address in ((one, ends[0], one_address), (other, ends[1], other_address)):
                    ip("-n", self._name(host), "address", "add", f"{address}/30", "dev", end)
                    ip("-n", self._name(host), "link", "set", end, "up")
            ip("-n", self._name("site"), "address", "add", f"{self.SITE}/32", "dev", "lo")
            ip("-n", self._name("ns1"), "route", "add", f"{self.SITE}/32", "via", "198.51.100.2")
            ip("-n", self._name("ns2"), "route", "add", f"{self.SITE}/32", "via", "198.51.100.6")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for host in ("ns1", "ns2", "site"):
            if Path(f"/var/run/netns/{self._name(host)}").exists():
                ip("netns", "delete", self._name(host))

    def address(self, host: str) -> str:
        """Where the other nameserver finds it."""
        return {"ns1": "192.0.2.1", "ns2": "192.0.2.2"}[host]

    def inside(self, host: str) -> tuple[str, ...]:
        """What stands before a command that runs on the host."""
        return ("ip", "netns", "exec", self._name(host))

    def _line_to(self, host: str) -> str:
        return {"ns1": "198.51.100.1", "ns2": "198.51.100.5"}[host]

    def cut(self, host: str) -> None:
        """What the site sends to the nameserver is lost; nobody is told so."""
        ip("-n", self._name("site"), "route", "add", "blackhole", f"{self._line_to(host)}/32")

    def mend(self, host: str) -> None:
        """The line to the site works again."""
        ip("-n", self._name("site"), "route", "delete", "blackhole", f"{self._line_to(host)}/32")

    def client(self, host: str, address: str, port: int) -> Client:
        """A client that asks on the host."""
        return within(self._name(host), lambda: Client(port, address))

    @contextmanager
    def listening(self, host: str, address: str, port: int) -> Iterator[None]:
        """Something that takes connections on the host."""
        listener = within(self._name(host), lambda: socket.create_server((address, port), backlog=4096))
        with listener:
            yield
