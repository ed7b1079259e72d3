"""Rate limiting as the sockets have it: the state, the counts, and what is told of it.

reply --Limiter.limit (engine.rrl decides)--> what is sent     (Python engine; the native one has its own)
limits that began --LimitLog--> a line for each network when a limit begins, and when it has ended
"""

import time
from collections.abc import Callable, Iterable
from ipaddress import ip_address

from geodns.engine.rrl import Buckets, ResponseClass, Verdict, limit, network_of
from geodns.engine.snapshot import Rrl, Snapshot
from geodns.geo.partition import octets_of
from geodns.server.say import Sayer

LOOK_SECONDS = 1.0  # between looks at which limits begin and end
BEGUN_KEPT = 64  # limits that begin between two looks; the others are only counted
TOLD_MAX = 256  # limits whose end is waited for
LINES_A_LOOK = 5  # so that a flood in the names of many networks does not fill a disk

Begun = tuple[str, int]
"""An address of a network that a limit begins on, and the number of the ResponseClass."""


class Limiter:
    """For the threads of the Python engine. The buckets are made when the first reply is looked at."""

    def __init__(self) -> None:
        self._buckets: Buckets | None = None
        self._begun: list[Begun] = []
        self.limited = 0  # replies that were kept back, or would have been if it did more than log
        self.slipped = 0  # replies in whose place a short one was sent, or would have been
        self.exempted = 0  # replies that passed for a cookie or by the list of the exempt

    def limit(self, packet: bytes, client: str, reply: bytes, snapshot: Snapshot) -> bytes | None:
        """What is to be sent in place of `reply`, if anything."""
        rrl = snapshot.rrl
        if rrl is None:
            return reply
        if self._buckets is None:
            self._buckets = Buckets(rrl.buckets)
        found = limit(packet, client, reply, snapshot, self._buckets, int(time.time()))
        if found.verdict is Verdict.EXEMPT:
            self.exempted += 1
        elif found.verdict is Verdict.SLIP:
            self.slipped += 1
        elif found.verdict is Verdict.DROP:
            self.limited += 1
        if found.begins and len(self._begun) < BEGUN_KEPT:
            self._begun.append((client, found.response_class))
        return found.reply

    def limits_begun(self) -> list[Begun]:
        """Those since the last call."""
        begun, self._begun = self._begun, []
        return begun

    def is_limited(self, rrl: Rrl, client: str, response_class: int, now: int) -> bool:
        """Whether a limit on this client's network that has begun has not ended."""
        network = network_of(octets_of(client), rrl)
        response = ResponseClass(response_class)
        return self._buckets is not None and self._buckets.is_limited(rrl, network, response, now)


class LimitLog:
    """Says which networks are limited; `is_limited` is asked (client, class, now) whether they still are."""

    def __init__(self, say: Sayer, is_limited: Callable[[Rrl, str, int, int], bool]) -> None:
        self._say = say
        self._is_limited = is_limited
        self._told: dict[tuple[str, int], Begun] = {}

    def look(self, rrl: Rrl | None, begun: Iterable[Begun], now: int) -> None:
        """Say what has begun and ended since the last look."""
        if rrl is None:
            self._told.clear()
            return
        lines: list[str] = []
        verb = "would be limited (log_only)" if rrl.log_only else "is limited"
        for client, response_class in begun:
            key = (_network(client, rrl), response_class)
            if key not in self._told and len(self._told) < TOLD_MAX:
                self._told[key] = (client, response_class)
                lines.append(f"{_words(*key)} {verb}")
        for key, (client, response_class) in list(self._told.items()):
            if not self._is_limited(rrl, client, response_class, now):
                del self._told[key]
                lines.append(f"{_words(*key)} is within its limit again")
        for line in lines[:LINES_A_LOOK]:
            self._say(f"rrl: {line}")
        if len(lines) > LINES_A_LOOK:
            self._say(f"rrl: {len(lines) - LINES_A_LOOK} more limits began or ended")


def _network(client: str, rrl: Rrl) -> str:
    address = ip_address(client)
    octets = network_of(address.packed, rrl)
    bits = rrl.bits4 if address.version == 4 else rrl.bits6
    return f"{ip_address(octets + bytes(len(address.packed) - len(octets)))}/{bits}"


def _words(network: str, response_class: int) -> str:
    return f"{network} ({ResponseClass(response_class).name.lower()})"
