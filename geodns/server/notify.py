"""sd_notify: telling systemd (or whoever set NOTIFY_SOCKET) how far we are. See sd_notify(3)."""

import os
import socket
import time
from collections.abc import Mapping

WATCHDOG_FRACTION = 0.5  # sd_watchdog_enabled(3): "every half of the time returned here"


class Notifier:
    """Says nothing where nobody asked. Never raises: to answer is worth more than to be watched."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_seconds = _watchdog_seconds(environment)  # between signs of life; 0: none

    def ready(self, status: str) -> None:
        """Queries are answered; also the end of a reload."""
        self._send(f"READY=1\nSTATUS={status}\n")

    def status(self, status: str) -> None:
        """A line on how it goes, between reloads."""
        self._send(f"STATUS={status}\n")

    def reloading(self) -> None:
        """A reload that was asked for begins; `ready` ends it."""
        # Type=notify-reload: the time tells the manager which of its signals this answers
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1\n")

    def alive(self) -> None:
        """A sign of life for the watchdog."""
        self._send("WATCHDOG=1\n")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError:
            pass


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    try:
        microseconds = int(environment.get("WATCHDOG_USEC", "0"))
        pid = int(environment.get("WATCHDOG_PID", os.getpid()))
    except ValueError:
        return 0.0
    return max(0, microseconds) / 1e6 * WATCHDOG_FRACTION if pid == os.getpid() else 0.0
