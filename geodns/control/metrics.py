"""GET /metrics, for Prometheus; GET /readyz, for whoever sends queries here.

    Facts (counts, zones, checks) --families--> metric families --encode--> text, as the scraper likes it

Counts are those since the start, whatever was published meanwhile; nothing is kept here between two scrapes.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    StateSetMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from geodns import __version__
from geodns.control.app import READYZ
from geodns.control.replies import HEADERS, reply
from geodns.health.status import CheckRow, Status
from geodns.traffic.recent import rcode_label, type_label, zone_label
from geodns.traffic.sums import BUCKETS, STEPS_BITS, TCP, UDP, Sums, bucket_end

SERVED, STALE, FAILED = "served", "stale", "failed"
STATES = (SERVED, STALE, FAILED)
"""Of a zone: as its file has it; as it was before the file was broken; SERVFAIL, for want of a good
version.
"""

_NANOSECONDS = 1e9
_COUNTERS = {
    "queries": ("geodns_messages_received", "UDP packets, or messages over TCP, that came"),
    "silent": ("geodns_messages_unanswered", "messages that are no query, and got no answer"),
    "truncated": ("geodns_answers_truncated", "answers with TC, after which a client asks over TCP"),
    "send_errors": ("geodns_answers_unsent", "answers that the system did not take"),
    "panics": ("geodns_engine_failures", "queries answered SERVFAIL for a bug of geodns"),
    "crowded": (
        "geodns_queries_crowded",
        "queries of another opcode, for a transfer or in the CHAOS class answered SERVFAIL: too many waited",
    ),
    "unsampled": ("geodns_sample_dropped", "queries that were to be part of the sample and found no room"),
    "limited": ("geodns_answers_limited", "answers that rate limiting kept back, or would have"),
    "slipped": ("geodns_answers_slipped", "short answers that rate limiting sent instead, or would have"),
    "exempted": ("geodns_answers_exempted", "answers that a cookie or the exempt list let pass"),
    "uncounted": ("geodns_queries_uncounted", "what found no place any more among a thread's counts"),
    "accepted": ("geodns_tcp_connections_accepted", "TCP connections"),
    "refused": ("geodns_tcp_connections_refused", "TCP connections closed at once, for limits.tcp_*"),
    "evicted": ("geodns_tcp_connections_evicted", "idle TCP connections closed to make room for others"),
}
_OF_CONNECTIONS = ("accepted", "refused", "evicted")
_OF_DATAGRAMS = ("limited", "slipped", "exempted")


@dataclass(frozen=True, slots=True)
class ZoneFacts:
    """A zone that has a file. `serial` and `records` are of what is served, None when nothing is."""

    name: str
    state: str
    serial: int | None
    records: int | None
    errors: int
    warnings: int


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a scrape tells. `loaded_at` is Unix seconds; `drops` what the query log and the like
    could not keep, by their names; `not_ready` why queries should go elsewhere, "" when they should not.
    """

    server_id: str
    engine: str
    sums: Sums
    connections: int
    zones: Sequence[ZoneFacts]
    problems: int
    loaded_at: float
    status: Status
    not_ready: str
    written: dict[str, int] = field(default_factory=dict)
    drops: dict[str, int] = field(default_factory=dict)


Gather = Callable[[], Awaitable[Facts]]


def routes(gather: Gather, not_ready: Callable[[bool], str]) -> list[web.RouteDef]:
    """The paths, for a ControlApp. `not_ready` says why queries should go elsewhere, "" when they should
    not; told True, for any zone that has failed. Strangers may ask it, so it has to be quick, and to tell
    them nothing.
    """

    async def metrics(request: web.Request) -> web.StreamResponse:
        facts = await gather()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        body = await asyncio.to_thread(lambda: encode(_registry(facts)))
        response = web.Response(body=body, headers={**HEADERS, "Content-Type": content_type})
        response.force_close()
        response.enable_compression()
        return response

    async def readyz(request: web.Request) -> web.StreamResponse:
        why = not_ready(request.query.get("zones") == "all")
        return reply(503, {"status": "not ready", "why": why}) if why else reply(200, {"status": "ready"})

    return [web.get("/metrics", metrics, allow_head=False), web.get(READYZ, readyz, allow_head=False)]


def _registry(facts: Facts) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(_Facts(facts))
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    return registry


class _Facts(Collector):
    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    def collect(self) -> Iterable[Metric]:
        yield from families(self._facts)


def families(facts: Facts) -> Iterator[Metric]:
    """The metric families."""
    info = GaugeMetricFamily("geodns_build_info", "1", labels=("version", "engine", "id"))
    info.add_metric((__version__, facts.engine, facts.server_id), 1)
    yield info
    yield GaugeMetricFamily(
        "geodns_ready", "1 as long as queries should come here", value=int(not facts.not_ready)
    )
    yield from _traffic(facts.sums)
    yield GaugeMetricFamily(
        "geodns_tcp_connections", "TCP connections that are open", value=facts.connections
    )
    yield from _zones(facts)
    yield from _checks(list(facts.status.checks.values()))
    yield from _health(facts.status)
    yield _counter("geodns_log_records_written", "queries written", "log", facts.written)
    yield _counter(
        "geodns_log_records_dropped", "queries that found no room in a log's queue", "log", facts.drops
    )


def _counter(name: str, help_text: str, label: str, values: dict[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, help_text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _traffic(sums: Sums) -> Iterator[Metric]:
    queries = CounterMetricFamily(
        "geodns_queries",
        "queries that were answered",
        labels=("zone", "type", "rcode", "transport", "family"),
    )
    counts: Counter[tuple[str, ...]] = Counter()
    for asked, count in sums.asked.items():
        family = "ipv6" if asked.is_v6 else "ipv4"
        labels = (
            zone_label(asked.zone),
            type_label(asked.qtype),
            rcode_label(asked.rcode),
            asked.transport,
            family,
        )
        counts[labels] += count
    for row, count in counts.items():
        queries.add_metric(row, count)
    yield queries
    pools = CounterMetricFamily(
        "geodns_pool_answers",
        'answers with values of a pool; of pool "" with the record\'s own',
        labels=("zone", "pool"),
    )
    for (zone, pool), count in sums.pools.items():
        pools.add_metric((zone_label(zone), pool), count)
    yield pools
    for key, (name, help_text) in _COUNTERS.items():
        rows = {transport: row[key] for transport, row in sums.counters.items() if key in row}
        if key in _OF_CONNECTIONS:
            rows.pop(UDP, None)
        if key in _OF_DATAGRAMS:
            rows.pop(TCP, None)
        yield _counter(name, help_text, "transport", rows)
    yield _latency(sums)


def _latency(sums: Sums) -> HistogramMetricFamily:
    family = HistogramMetricFamily(
        "geodns_answer_duration_seconds",
        "from the system's handing over a query until it has taken the answer, of those that were measured",
        labels=("transport",),
    )
    step = 1 << STEPS_BITS
    for transport, counts in sums.latency.items():
        passed, total = 0, 0.0
        buckets: list[tuple[str, float]] = []
        for bucket, count in enumerate(counts):
            passed += count
            total += count * bucket_end(bucket) * 0.9  # the middle of a bucket, nearly
            if bucket % step == step - 1 and bucket < BUCKETS - step:
                buckets.append((repr(bucket_end(bucket) / _NANOSECONDS), passed))
        buckets.append(("+Inf", passed))
        family.add_metric((transport,), buckets, total / _NANOSECONDS)
    return family


def _zones(facts: Facts) -> Iterator[Metric]:
    serial = GaugeMetricFamily("geodns_zone_serial", "the SOA serial that is served", labels=("zone",))
    records = GaugeMetricFamily("geodns_zone_records", "records that are served", labels=("zone",))
    state = StateSetMetricFamily("geodns_zone_state", "of a zone that has a file", labels=("zone",))
    problems = GaugeMetricFamily("geodns_zone_problems", "of the newest file", labels=("zone", "level"))
    for zone in facts.zones:
        if zone.serial is not None:
            serial.add_metric((zone.name,), zone.serial)
        if zone.records is not None:
            records.add_metric((zone.name,), zone.records)
        state.add_metric((zone.name,), {name: name == zone.state for name in STATES})
        problems.add_metric((zone.name, "error"), zone.errors)
        problems.add_metric((zone.name, "warning"), zone.warnings)
    yield from (serial, records, state, problems)
    yield GaugeMetricFamily(
        "geodns_folder_problems", "of the zones' folder and of the geo databases", value=facts.problems
    )
    yield GaugeMetricFamily(
        "geodns_snapshot_loaded_timestamp_seconds",
        "when the zones were published last",
        value=facts.loaded_at,
    )


def _checks(rows: list[CheckRow]) -> Iterator[Metric]:
    up = GaugeMetricFamily(
        "geodns_check_up", "what answers go by, with the votes of the peers", labels=("check", "kind")
    )
    own = GaugeMetricFamily("geodns_check_own_up", "what this instance sees alone", labels=("check", "kind"))
    took = GaugeMetricFamily(
        "geodns_check_last_duration_seconds", "of the last result", labels=("check", "kind")
    )
    at = GaugeMetricFamily(
        "geodns_check_last_result_timestamp_seconds", "when it was looked last", labels=("check", "kind")
    )
    flaps = CounterMetricFamily(
        "geodns_check_changes", "how often the state changed since the start", labels=("check", "kind")
    )
    for row in rows:
        labels = (row.key, row.kind)
        values: list[tuple[Any, float | None]] = [
            (up, row.is_up),
            (own, row.own),
            (took, row.took),
            (at, row.at),
            (flaps, row.changes),
        ]
        for family, value in values:
            if value is not None:
                family.add_metric(labels, value)
    yield from (up, own, took, at, flaps)


def _health(status: Status) -> Iterator[Metric]:
    values = GaugeMetricFamily(
        "geodns_values", "values of pools that are checked or forced", labels=("state",)
    )
    values.add_metric(("up",), sum(row.is_up for row in status.values))
    values.add_metric(("down",), sum(not row.is_up for row in status.values))
    yield values
    down = Counter(row.name for row in status.pools if not row.is_up)
    pools = GaugeMetricFamily(
        "geodns_pools_down", "pools of this name that cannot answer, in how many records", labels=("pool",)
    )
    for name in sorted({row.name for row in status.pools}):
        pools.add_metric((name,), down[name])
    yield pools
    peers = GaugeMetricFamily("geodns_peer_heard", "1 for a peer whose view counts", labels=("peer",))
    for peer in status.peers:
        peers.add_metric((peer.peer,), peer.counts)
    yield peers
    yield GaugeMetricFamily(
        "geodns_overrides",
        "lines of the overrides file that force a value",
        value=sum(row.members > 0 for row in status.overrides),
    )
