"""What one listener of the Python engine writes down, and others read: `Books` of native/src/service.rs.

Counts are added by the listener's thread alone; whoever reads copies a mapping, which nothing can interrupt.
"""

from collections import deque
from random import random
from time import time_ns

from geodns.engine.left import Left
from geodns.traffic.event import Event
from geodns.traffic.sums import BUCKETS, Asked, Pool, Sums, bucket_of, counted_type

EVENTS_MAX = 5000  # that wait to be taken; as many as a native thread's ring holds of the usual size


class Tally:
    """The counts and the sample of one listener."""

    def __init__(self, transport: str) -> None:
        self.left = Left()  # for the engine to write in
        self.transport = transport
        self._asked: dict[tuple[bytes, int, int, bool], int] = {}
        self._pools: dict[Pool, int] = {}
        self._latency = [0] * BUCKETS
        self._queries = self._silent = self._truncated = self._dropped = 0
        self._events: deque[Event] = deque()
        self._every = 0
        self._skip = -1

    def answered(
        self,
        query: bytes,
        client: str,
        port: int,
        draw: int,
        received: int,
        stream: bool,
        answer: bytes | None,
    ) -> None:
        """Count a query whose answer (None: silence) has gone; what is in `left` is about it."""
        took = time_ns() - received
        self._queries += 1
        if answer is None:
            self._silent += 1
        else:
            left = self.left
            zone = b"" if left.zone is None else left.zone.apex
            key = (zone, counted_type(left.qtype), left.rcode, ":" in client)
            self._asked[key] = self._asked.get(key, 0) + 1
            for pool in left.pools:
                self._pools[pool] = self._pools.get(pool, 0) + 1
            if answer[2] & 2:
                self._truncated += 1
            self._latency[bucket_of(took)] += 1
        self._skip -= 1
        if not self._skip:
            self._keep(
                Event(received, max(0, took), draw, self._every, stream, client, port, query, answer or b"")
            )

    def sample(self, every: int) -> None:
        """Keep one of so many queries, each with the same chance; 0: none."""
        if every != self._every:
            self._every = every
            self._again()

    def taken(self) -> list[Event]:
        """The events since the last call."""
        return [self._events.popleft() for _ in range(len(self._events))]

    def sums(self) -> Sums:
        """The counts since the start."""
        asked = {
            Asked(zone, qtype, rcode, self.transport, is_v6): count
            for (zone, qtype, rcode, is_v6), count in self._asked.copy().items()
        }
        counters = {
            "queries": self._queries,
            "silent": self._silent,
            "truncated": self._truncated,
            "unsampled": self._dropped,
        }
        return Sums(
            asked, self._pools.copy(), {self.transport: self._latency.copy()}, {self.transport: counters}
        )

    def _keep(self, event: Event) -> None:
        self._again()
        if len(self._events) < EVENTS_MAX:
            self._events.append(event)
        else:
            self._dropped += 1

    def _again(self) -> None:
        # from 1 to 2 * every - 1 queries on, `every` on the average
        self._skip = 1 + int(random() * (2 * self._every - 1)) if self._every else -1


def joined(all_sums: list[Sums]) -> Sums:
    """The sums of several listeners."""
    result = Sums()
    for sums in all_sums:
        for asked, count in sums.asked.items():
            result.asked[asked] = result.asked.get(asked, 0) + count
        for pool, count in sums.pools.items():
            result.pools[pool] = result.pools.get(pool, 0) + count
        for transport, counts in sums.latency.items():
            before = result.latency.get(transport, [0] * BUCKETS)
            result.latency[transport] = [one + other for one, other in zip(before, counts, strict=True)]
        for transport, counters in sums.counters.items():
            row = result.counters.setdefault(transport, {})
            for name, count in counters.items():
                row[name] = row.get(name, 0) + count
    return result
