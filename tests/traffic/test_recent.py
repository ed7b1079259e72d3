"""The last minutes, by a clock of the test's own."""

from geodns.traffic.recent import WINDOW_SECONDS, Recent
from geodns.traffic.sums import BUCKETS, Asked, Sums, bucket_end

EXAMPLE = b"\x07example\x03com\0"
A = Asked(EXAMPLE, 1, 0, "udp", False)
OTHER = Asked(b"", 0, 5, "tcp", True)


def sums(a: int, other: int = 0, fra: int = 0, quick: int = 0, dropped: int = 0) -> Sums:
    latency = [0] * BUCKETS
    latency[5] = quick
    counters = {"udp": {"unsampled": dropped}}
    return Sums({A: a, OTHER: other}, {(EXAMPLE, "fra"): fra}, {"udp": latency}, counters)


def test_seconds_are_differences():
    """What was counted before the server was looked at is in no second; rcodes, times and sums are told."""
    recent = Recent()
    recent.take(sums(1000), 100)
    assert 0 == recent.queries_per_second
    recent.take(sums(1010, other=5, fra=3, quick=4, dropped=2), 101)
    recent.take(sums(1010, other=5, fra=3, quick=4, dropped=2), 102)
    told = recent.traffic(103.5)
    first, second = told["seconds"]
    assert {"NOERROR": 10, "REFUSED": 5} == first["rcodes"]
    assert {"udp": 10, "tcp": 5} == first["transports"]
    assert (101, 15, bucket_end(5) / 1000) == (first["at"], first["queries"], first["p99_us"])
    assert (102, 0, {}, None) == (second["at"], second["queries"], second["rcodes"], second["p50_us"])
    assert [{"zone": "example.com.", "queries": 10}, {"zone": "", "queries": 5}] == told["zones"]
    assert {"A": 10, "other": 5} == told["types"]
    assert [{"zone": "example.com.", "pool": "fra", "queries": 3}] == told["pools"]
    assert (15, 2) == (told["queries"], told["dropped"])
    assert [102] == [row["at"] for row in recent.traffic(103.5, since=101)["seconds"]]


def test_it_forgets():
    """After the window nothing is told of a second, and nothing is kept of more than there are in it."""
    recent = Recent()
    for at in range(2 * WINDOW_SECONDS):
        recent.take(sums(at), at)
        recent.see("EU-DE", 10, at)
    told = recent.traffic(2.0 * WINDOW_SECONDS)
    assert WINDOW_SECONDS == len(told["seconds"]) == told["queries"] == told["seen"]
    assert [{"place": "EU-DE", "queries": 10 * WINDOW_SECONDS}] == told["places"]
    later = recent.traffic(4.0 * WINDOW_SECONDS)
    assert ([], [], 0) == (later["seconds"], later["places"], later["queries"])
