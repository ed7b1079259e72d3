"""The last minutes: what was asked in each second, and from where.

Sums, once a second --difference--> Second --+--> Traffic (for JSON)
Events --located--> places ------------------+
"""

import threading
from array import array
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import dns.rcode

from geodns.name import Name
from geodns.traffic.sums import Asked, Pool, Sums, added, quantile
from geodns.zone.rdata import type_name

WINDOW_SECONDS = 300  # five minutes: what a person who looks wants to see at once
ROWS_MAX = 300  # of places, zones and pools told: more than there are countries
PLACES_PER_SECOND = 100  # queries of the sample that are located, each in about 0.2 ms: 2 % of a core

K = TypeVar("K", Asked, Pool)


@dataclass(slots=True)
class Second:
    """What was asked in the second that began at the Unix second `at`; `latency` in buckets, all
    transports.
    """

    at: int
    asked: Counter[Asked]
    pools: Counter[Pool]
    latency: "array[int]"


@dataclass(slots=True)
class _Sampled:
    at: int
    places: Counter[str] = field(default_factory=Counter)
    seen: int = 0


class Recent:
    """Safe to use from several threads; `take` and `see` are for one of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: Sums | None = None
        self._keys: dict[Asked | Pool, Any] = {}  # the same in all seconds, as each is made anew for the sums
        self._seconds: deque[Second] = deque(maxlen=WINDOW_SECONDS)
        self._sampled: deque[_Sampled] = deque(maxlen=WINDOW_SECONDS)
        self._dropped = 0

    @property
    def queries_per_second(self) -> int:
        """In the last second that is over."""
        with self._lock:
            return self._seconds[-1].asked.total() if self._seconds else 0

    def take(self, sums: Sums, at: int) -> None:
        """`sums` are the counts at the end of the Unix second `at`; call it once a second."""
        before = self._before
        self._before = sums
        if before is None:
            return
        latency = added(sums.latency.values())
        earlier = added(before.latency.values())
        second = Second(
            at,
            self._more(sums.asked, before.asked),
            self._more(sums.pools, before.pools),
            array("q", (new - old for new, old in zip(latency, earlier, strict=True))),
        )
        with self._lock:
            self._seconds.append(second)
            self._dropped = sum(row.get("unsampled", 0) for row in sums.counters.values())

    def _more(self, now: Mapping[K, int], before: Mapping[K, int]) -> Counter[K]:
        more = ((key, count - before.get(key, 0)) for key, count in now.items())
        return Counter({self._keys.setdefault(key, key): count for key, count in more if count})

    def see(self, place: str, weight: int, at: int) -> None:
        """A query of the sample, which stands for `weight` of them, came from `place` in the Unix second
        `at`.
        """
        with self._lock:
            if not self._sampled or self._sampled[-1].at < at:
                self._sampled.append(_Sampled(at))
            self._sampled[-1].places[place] += weight
            self._sampled[-1].seen += 1

    def traffic(self, now: float, since: float = 0) -> dict[str, Any]:
        """docs/http-api.md, section traffic, without the id. Takes milliseconds: run it in a thread."""
        with self._lock:
            begin = int(now) - WINDOW_SECONDS
            seconds = [second for second in self._seconds if second.at >= begin]
            sampled = [(part.places.copy(), part.seen) for part in self._sampled if part.at >= begin]
            dropped = self._dropped
        asked: Counter[Asked] = Counter()
        pools: Counter[Pool] = Counter()
        places: Counter[str] = Counter()
        for second in seconds:
            asked.update(second.asked)
            pools.update(second.pools)
        for found, _ in sampled:
            places.update(found)
        zones: Counter[bytes] = Counter()
        types: Counter[str] = Counter()
        for one, count in asked.items():
            zones[one.zone] += count
            types[type_label(one.qtype)] += count
        return {
            "at": now,
            "seconds": [_told(second) for second in seconds if second.at > since],
            "window_seconds": WINDOW_SECONDS,
            "queries": asked.total(),
            "places": [{"place": place, "queries": count} for place, count in places.most_common(ROWS_MAX)],
            "zones": [
                {"zone": zone_label(zone), "queries": count} for zone, count in zones.most_common(ROWS_MAX)
            ],
            "types": dict(types.most_common()),
            "pools": [
                {"zone": zone_label(zone), "pool": pool, "queries": count}
                for (zone, pool), count in pools.most_common(ROWS_MAX)
            ],
            "seen": sum(seen for _, seen in sampled),
            "dropped": dropped,
        }


def zone_label(apex: bytes) -> str:
    """A zone's name in presentation format; "" for a name outside of all."""
    return str(Name(apex)) if apex else ""


def type_label(qtype: int) -> str:
    """ "A"; "other" for those that are counted as one."""
    return type_name(qtype) if qtype else "other"


def rcode_label(rcode: int) -> str:
    """ "NOERROR", with the rcodes of RFC 6891."""
    # 16 is BADVERS where OPT says it, and BADSIG in TSIG alone
    return "BADVERS" if rcode == 16 else dns.rcode.to_text(dns.rcode.Rcode.make(rcode))


def _told(second: Second) -> dict[str, Any]:
    rcodes: Counter[str] = Counter()
    transports: Counter[str] = Counter()
    for one, count in second.asked.items():
        rcodes[rcode_label(one.rcode)] += count
        transports[one.transport] += count
    return {
        "at": second.at,
        "queries": second.asked.total(),
        "rcodes": dict(rcodes.most_common()),
        "transports": dict(transports),
        "p50_us": _microseconds(quantile(second.latency, 0.5)),
        "p99_us": _microseconds(quantile(second.latency, 0.99)),
    }


def _microseconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / 1000
