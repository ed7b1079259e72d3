"""Socket activation: systemd binds the addresses and hands the sockets to us (sd_listen_fds(3)).

systemd keeps them over a restart of the service, with what waits in them: nothing is lost, it only waits.
So they are lent: whoever ends leaves them as they are (`Listeners.drain`).
"""

import os
import socket
from collections.abc import Iterable, MutableMapping

from geodns.config import Listen
from geodns.server.sockets import UDP_KINDS
from geodns.server.takeover import Sockets

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START
DESCRIPTORS_MAX = 1024  # more is no number of sockets, but a mistake in the environment

_KINDS = {socket.SOCK_DGRAM: UDP_KINDS, socket.SOCK_STREAM: ("tcp",)}


def sockets(
    control: Iterable[Listen], environment: MutableMapping[str, str] = os.environ
) -> tuple[Sockets, list[str]]:
    """The sockets that were handed to this process, and a sentence for each that is of no use.

    A TCP socket at one of the `control` addresses is that of the control endpoint; several UDP sockets of one
    address (ReusePort=) are for as many threads. The variables are taken out of the environment: they are not
    meant for the processes that we start.
    """
    count = environment.pop("LISTEN_FDS", "")
    pid = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdigit() or int(count) > DESCRIPTORS_MAX:
        return {}, []
    given: Sockets = {}
    remarks: list[str] = []
    control = set(control)
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)):
        try:
            one = socket.socket(fileno=descriptor)
        except OSError:
            remarks.append(f"descriptor {descriptor} of the service manager is no socket, and not used")
            continue
        one.set_inheritable(False)
        one.setblocking(True)
        kinds = _KINDS.get(one.type)
        if kinds is None or one.family not in (socket.AF_INET, socket.AF_INET6):
            remarks.append(f"descriptor {descriptor} of the service manager is no UDP or TCP socket")
            one.close()
            continue
        listen = Listen(*one.getsockname()[:2])
        if kinds == ("tcp",) and listen in control:
            kinds = ("control",)
        kind = next((kind for kind in kinds if (kind, listen) not in given), None)
        if kind is None:
            remarks.append(f"descriptor {descriptor} of the service manager is one too many at {listen}")
            one.close()
            continue
        given[kind, listen] = one
    return given, remarks
