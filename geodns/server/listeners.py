"""What answers on the sockets that are bound: one of two, and `main` knows them by this shape alone.

Bound sockets --start--> PythonListeners (udp.py, tcp.py) or NativeListeners (native.py) --stop--> closed
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from geodns.config import Limits
from geodns.server.limiter import LOOK_SECONDS, LimitLog
from geodns.server.served import Served
from geodns.server.sockets import Bound
from geodns.server.tcp import DRAIN_SECONDS, TcpServer
from geodns.server.udp import UdpServer
from geodns.traffic.event import Event
from geodns.traffic.sums import TCP, UDP, Sums
from geodns.traffic.tally import joined


class Listeners(Protocol):
    """Answers on every bound address from `start` until `stop`, which closes the sockets."""

    @property
    def is_alive(self) -> bool:
        """False once a thread has ended, which only `stop` or the loss of a socket brings about."""

    @property
    def connections(self) -> int:
        """How many TCP connections there are."""

    def limit(self, limits: Limits) -> None:
        """Go by other limits from now on."""

    def sums(self) -> Sums:
        """What was counted since the start; in any thread."""

    def sample(self, every: int) -> None:
        """Keep one of so many queries for `sampled`; 0: none."""

    def sampled(self) -> list[Event]:
        """The queries of the sample since the last call; for one thread."""

    async def start(self) -> None: ...

    async def stop(self) -> None:
        """Answer what has arrived, within half a second; never raises."""

    async def drain(self, patience_seconds: float = DRAIN_SECONDS) -> None:
        """End, and leave the sockets with what they have queued to another process, which has them too.

        TCP clients that are connected are answered until they fall idle, for as long as the patience lasts.
        """


class PythonListeners:
    """For the Python engine: a thread for each UDP socket, the event loop for TCP."""

    def __init__(self, bounds: list[Bound], limits: Limits, served: Served, lost: Callable[[], None]) -> None:
        self._bounds = bounds
        self._tcp = TcpServer(served, limits)
        self._served = served
        self._limits = LimitLog(served.say, served.limiter.is_limited)
        self._watch: asyncio.Task[None] | None = None
        self._udp = [
            UdpServer(replace(bound, udp=udp), served, lost)
            for bound in bounds
            for udp in (bound.udp, *bound.more_udp)
        ]
        self._tallies = [*(udp.tally for udp in self._udp), self._tcp.tally]

    @property
    def is_alive(self) -> bool:
        return all(udp.is_alive for udp in self._udp)

    @property
    def connections(self) -> int:
        return len(self._tcp)

    def limit(self, limits: Limits) -> None:
        self._tcp.limits = limits

    def sums(self) -> Sums:
        sums = joined([tally.sums() for tally in self._tallies])
        sums.counters[UDP]["send_errors"] = sum(udp.send_errors for udp in self._udp)
        sums.counters[UDP]["panics"] = self._served.engine_errors
        tcp = self._tcp
        sums.counters[TCP] |= {"accepted": tcp.accepted, "refused": tcp.refused, "evicted": tcp.evicted}
        return sums

    def sample(self, every: int) -> None:
        for tally in self._tallies:
            tally.sample(every)

    def sampled(self) -> list[Event]:
        return [event for tally in self._tallies for event in tally.taken()]

    async def start(self) -> None:
        for udp in self._udp:
            udp.start()
        await self._tcp.start(self._bounds)
        self._watch = asyncio.create_task(self._watching())

    async def _watching(self) -> None:
        while self.is_alive:
            begun = self._served.limiter.limits_begun()
            self._limits.look(self._served.snapshot.rrl, begun, int(time.time()))
            await asyncio.sleep(LOOK_SECONDS)

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    async def stop(self) -> None:
        self._unwatch()
        for udp in self._udp:
            udp.stop()
        await self._tcp.stop()

    async def drain(self, patience_seconds: float = DRAIN_SECONDS) -> None:
        self._unwatch()
        self._served.drain()
        for udp in self._udp:
            await asyncio.to_thread(udp.drain)
        await self._tcp.drain(patience_seconds)
