"""Services: what the native sockets leave to Python, that is other opcodes than QUERY, zone transfers and the
CHAOS class.

    native threads --a queue of 256; SERVFAIL when it is full--> Services, a thread --reply--> native threads

It says what the Python engine says to the same packet.
"""

import threading
import time
from collections.abc import Callable
from random import getrandbits
from typing import TYPE_CHECKING

from geodns.engine.decide import DRAW_BITS
from geodns.server.served import Served
from geodns.traffic.sums import TCP, UDP
from geodns.traffic.tally import Tally

if TYPE_CHECKING:
    from geodns._native import Handed

REST = 3  # times as long as it has worked: a flood leaves the interpreter to health and control for the most
WORK_SECONDS = 0.005  # after which it rests
JOIN_SECONDS = 0.5  # for what is queued when the server ends


class Services:
    """Replies to what `take` gives, until it gives None: when the native threads have ended."""

    def __init__(self, take: Callable[[], "Handed | None"], served: Served) -> None:
        self.tallies = (Tally(UDP), Tally(TCP))
        self._take = take
        self._served = served
        self._is_ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="services", daemon=True)

    def start(self) -> None:
        """Begin, once there are native threads."""
        self._thread.start()

    def join(self) -> None:
        """Wait until what is queued has its replies, after the native threads were told to end."""
        self._is_ending.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_SECONDS)

    def _run(self) -> None:
        worked = 0.0
        while (handed := self._take()) is not None:
            began = time.thread_time()
            self._reply(handed)
            worked += time.thread_time() - began
            if worked >= WORK_SECONDS:
                self._is_ending.wait(worked * REST)
                worked = 0.0

    def _reply(self, handed: "Handed") -> None:
        packet, client, port, received, stream = handed.asked()
        draw, tally = getrandbits(DRAW_BITS), self.tallies[stream]
        reply = self._served.reply(packet, client, draw, received, stream, tally.left)
        tally.answered(packet, client, port, draw, received, stream, handed.reply(reply))
