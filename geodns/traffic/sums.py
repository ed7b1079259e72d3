"""Counts since the start, by name: the same from both engines, whatever was published meanwhile."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

LEAST_BITS = 10  # less than 2**10 ns, about a microsecond, is the first bucket
STEPS_BITS = 2  # a bucket's end is at most a quarter above its beginning
BUCKETS = (34 - LEAST_BITS) << STEPS_BITS  # up to 2**34 ns, 17 s

UDP, TCP = "udp", "tcp"


class Asked(NamedTuple):
    """What is counted as one. `zone` is the apex (lower-case wire form), b"" for a name outside of all;
    `qtype` is 0 for the types that no registry gives a use in questions. `rcode` has the bits of an OPT
    record.
    """

    zone: bytes
    qtype: int
    rcode: int
    transport: str
    is_v6: bool


Pool = tuple[bytes, str]
"""A zone's apex and a pool's name; "" for a record's own values."""


@dataclass(slots=True)
class Sums:
    """`asked` are queries that were answered, `pools` the answers in which each had part. `latency` has the
    queries that were measured, for each transport, in BUCKETS; `counters` what is counted of packets,
    likewise.
    """

    asked: dict[Asked, int] = field(default_factory=dict)
    pools: dict[Pool, int] = field(default_factory=dict)
    latency: dict[str, Sequence[int]] = field(default_factory=dict)
    counters: dict[str, dict[str, int]] = field(default_factory=dict)


def counted_type(qtype: int) -> int:
    """The type that a query is counted as: of the others anybody may ask for 65,000."""
    return qtype if qtype < 128 or 249 <= qtype <= 261 else 0


def bucket_of(nanoseconds: int) -> int:
    """The bucket of a time."""
    nanoseconds = max(nanoseconds, 1 << LEAST_BITS)
    bits = nanoseconds.bit_length() - 1
    step = (nanoseconds >> (bits - STEPS_BITS)) & ((1 << STEPS_BITS) - 1)
    return min(((bits - LEAST_BITS) << STEPS_BITS) + step, BUCKETS - 1)


def bucket_end(bucket: int) -> int:
    """Nanoseconds; every time of the bucket is below."""
    steps = 1 << STEPS_BITS
    return (steps + bucket % steps + 1) << (bucket // steps + LEAST_BITS - STEPS_BITS)


def quantile(counts: Sequence[int], share: float) -> int | None:
    """The end (ns) of the bucket in which the query is that `share` of all took less than; None without
    any.
    """
    total = sum(counts)
    if not total:
        return None
    passed = 0
    for bucket, count in enumerate(counts):
        passed += count
        if passed >= share * total:
            return bucket_end(bucket)
    raise AssertionError("the last bucket has passed them all")


def added(all_counts: Iterable[Sequence[int]]) -> list[int]:
    """Bucket by bucket."""
    sums = [0] * BUCKETS
    for counts in all_counts:
        sums = [one + other for one, other in zip(sums, counts, strict=True)]
    return sums
