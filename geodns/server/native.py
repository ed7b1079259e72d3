"""The native sockets: threads of `geodns._native` answer, and Python only starts, watches and ends them.

    Served.publish --Engine.publish--> a copy that the threads read: nothing of Python's is in a query's way
    Bound sockets --descriptors--> Server.start --> threads --failures, counters--> here --> the log
                                                      +--what is for a service--> services.py

Everything else goes on in the event loop of the main process: loading, health, control.
"""

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from geodns.config import Limits
from geodns.server.limiter import LimitLog
from geodns.server.served import Served
from geodns.server.services import Services
from geodns.server.sockets import Bound
from geodns.server.tcp import DRAIN_SECONDS
from geodns.traffic.event import Event, decoded
from geodns.traffic.sums import Asked, Sums
from geodns.traffic.tally import joined

if TYPE_CHECKING:
    from geodns._native import Engine

WATCH_SECONDS = 1.0  # between looks at whether the threads live and what they could not do


def cores() -> int:
    """How many cores this process may use: as many threads serve an address."""
    return len(os.sched_getaffinity(0))


class NativeListeners:
    """A thread for each UDP socket, and as many as there are cores for TCP.

    `lost` is called when a thread has ended by itself.
    """

    def __init__(
        self,
        bounds: list[Bound],
        limits: Limits,
        engine: "Engine",
        served: Served,
        lost: Callable[[], None],
    ) -> None:
        say = served.say
        self._bounds = bounds
        self._engine = engine
        self._say = say
        self._lost = lost
        self._watch: asyncio.Task[None] | None = None
        self._served = served
        self._limits = LimitLog(say, lambda _, *asked: engine.is_limited(*asked))
        from geodns._native import Server  # not everywhere built: whoever has an engine has it

        self.server = Server(
            engine,
            [
                (f"{bound.listen}", sock.fileno(), bound.listen.is_wildcard)
                for bound in bounds
                for sock in (bound.udp, *bound.more_udp)
            ],
            [bound.tcp.fileno() for bound in bounds],
            cores(),
            _in_order(limits),
        )
        self._services = Services(self.server.next_handed, served)

    @property
    def is_alive(self) -> bool:
        return self.server.is_alive

    @property
    def connections(self) -> int:
        return self.server.connections

    def limit(self, limits: Limits) -> None:
        self.server.set_limits(_in_order(limits))

    def sums(self) -> Sums:
        return joined([self._native_sums(), *(tally.sums() for tally in self._services.tallies)])

    def _native_sums(self) -> Sums:
        tallies = self.server.tallies()
        zones, pools = self._engine.names()  # after the numbers: a new one has its name
        sums = Sums(counters=self.server.counters())
        for transport, (asked, answers, latency) in tallies.items():
            for (zone, is_v6, qtype, rcode), count in asked.items():
                sums.asked[Asked(zones.get(zone, b""), qtype, rcode, transport, is_v6)] = count
            for number, count in answers.items():
                sums.pools[pools[number]] = sums.pools.get(pools[number], 0) + count
            sums.latency[transport] = latency
        return sums

    def sample(self, every: int) -> None:
        self.server.sample(every)
        for tally in self._services.tallies:
            tally.sample(every)

    def sampled(self) -> list[Event]:
        events = [event for records in self.server.sampled() for event in decoded(records)]
        return events + [event for tally in self._services.tallies for event in tally.taken()]

    async def start(self) -> None:
        self.server.start()
        self._services.start()
        self._watch = asyncio.create_task(self._watching())

    async def stop(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        # The threads have descriptors of their own; without ours nobody else's connection waits in vain.
        for bound in self._bounds:
            bound.close()
        await asyncio.to_thread(self.server.stop)
        await asyncio.to_thread(self._services.join)
        self._tell()

    async def drain(self, patience_seconds: float = DRAIN_SECONDS) -> None:
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.to_thread(self.server.drain, patience_seconds)
        await asyncio.to_thread(self._services.join)
        self._tell()

    def _tell(self) -> None:
        for failure in self.server.failures():
            self._say.rarely("engine", failure)
        self._limits.look(self._served.snapshot.rrl, self._engine.limits_begun(), int(time.time()))

    async def _watching(self) -> None:
        while self.is_alive:
            self._tell()
            await asyncio.sleep(WATCH_SECONDS)
        self._tell()
        self._lost()


def _in_order(limits: Limits) -> tuple[int, int, float, int, int]:
    return (
        limits.tcp_connections,
        limits.tcp_connections_per_client,
        limits.tcp_idle_seconds,
        limits.tcp_write_buffer_octets,
        limits.tcp_queries_per_turn,
    )
