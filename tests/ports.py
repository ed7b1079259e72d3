"""Ports for servers that cannot pick one themselves."""

import random
import socket
from contextlib import ExitStack

# Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range begins at 32768):
# nobody takes one between our look and the server's start.
_FIRST, _LAST = 10_000, 32_767
_RANDOM = random.Random()  # its own: a test that seeds the common one would get the same ports as another


def free_port(*hosts: str) -> int:
    """A port that is free over UDP and TCP at all of these addresses (127.0.0.1 without any)."""
    while True:
        port = _RANDOM.randint(_FIRST, _LAST)
        try:
            with ExitStack() as stack:
                for host in hosts or ("127.0.0.1",):
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                        stack.enter_context(socket.socket(family, kind)).bind((host, port))
            return port
        except OSError:
            continue
