"""A machine beside this one, with a cable between them: who asks from there is somebody from outside.

    namespace  198.51.100.99, 2001:db8:1::99 ----- veth ----- 198.51.100.1, 2001:db8:1::1  this machine

The zone of the tests answers `asker` by that address, so that a proxy or a translation on the way shows.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.deploy.containers.conftest import addresses
from tests.deploy.containers.engine import AS_ROOT, RUN, run, wait_until

OUTSIDE, OURS = 99, 1  # the last parts of the addresses

Ask = Callable[..., list[str]]


def free_port() -> int:
    """A port that is free in TCP, and in UDP as far as one can know."""
    with socket.socket() as sock:
        sock.bind(("0.0.0.0", 0))
        return int(sock.getsockname()[1])


@contextmanager
def machine_outside(node: str | None = None) -> Iterator[Ask]:
    """The machine; gives `ask(protocol, port, family=4)`, which asks this machine who it is that asks.

    With the name of a namespace as `node`, that one is at our end of the cable instead of this machine.
    """
    name, cable = f"geodns-{RUN}", f"gd{RUN}"
    theirs, ours = addresses("one", OUTSIDE), addresses("one", OURS)
    lengths = ("24", "64")
    ip = [*AS_ROOT, "ip"]
    here = [*ip, "-n", node] if node else ip
    run(*ip, "netns", "add", name)
    try:
        run(*here, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name)
        for own, their, length in zip(ours, theirs, lengths, strict=True):
            # nodad: a new IPv6 address is not used for a second otherwise.
            nodad = ("nodad",) if ":" in own else ()
            run(*here, "address", "add", f"{own}/{length}", "dev", cable, *nodad)
            run(*ip, "-n", name, "address", "add", f"{their}/{length}", "dev", "eth0", *nodad)
        run(*here, "link", "set", cable, "up")
        run(*ip, "-n", name, "link", "set", "eth0", "up")

        def ask(protocol: str, port: int, family: int = 4) -> list[str]:
            at = ours[0] if family == 4 else ours[1]
            way = {"udp": "+notcp", "tcp": "+tcp"}[protocol]
            command = [*ip, "netns", "exec", name, "dig", f"@{at}", "-p", str(port), "+short", "+time=2", way]
            first = [*command, "version.example.com", "TXT"]
            wait_until(f"an answer over {protocol}", lambda: "first" in run(*first, check=False))
            return run(*command, "asker.example.com", "TXT").replace('"', "").splitlines()

        yield ask
    finally:
        run(*ip, "netns", "del", name, check=False)
        run(*here, "link", "del", cable, check=False)
