"""Response rate limiting: what a network that may not have asked at all is sent no more of.

    reply --class_of--> ResponseClass --+
    client --network_of-----------------+--> Buckets.take --> Verdict: send, slip (come by TCP), drop

Over UDP anybody can write anybody's address on a query, and have the answer sent there. Each network has a
token bucket for each class of response, as BIND has its rates, so that a flood of one class, forged in a
network's name, costs it no answers of the others. Names are no part of it (in BIND they are, of answers): a
zone with many names, or a wildcard, would give a flood as many buckets. There is no bucket over all classes:
the sum of the five is the bound.

The table has a fixed size. A bucket that nobody took from for `burst_seconds` is full, and to forget a full
one forgets nothing; so the longest unseen of a set of WAYS makes room for a new one. Where a bucket is
depends on a key of this process: nobody can choose networks that meet in one set.
"""

from array import array
from enum import IntEnum
from typing import NamedTuple

from siphash24 import siphash24

from geodns.engine.answer import curtailed
from geodns.engine.cookie import is_valid
from geodns.engine.snapshot import Rrl, Snapshot
from geodns.engine.wire import HEADER_OCTETS, NOERROR, NXDOMAIN, OPTION_COOKIE, read
from geodns.geo.partition import octets_of

WAYS = 8  # buckets of a set: eight of 8 octets are a cache line
LATE_SECONDS = 8  # a batch that began so long ago is late; what seems to be further back is a clock set back

# A bucket is a word of 64 bits, so that it is read and replaced at once:
# tag 24 | second seen 16 | is it limited now 1 | limited since the last slip 4 | tokens 19.
# 0 is no bucket.
TOKENS_MAX = (1 << 19) - 1
_SLIPPED_AT, _LIMITED_AT, _SEEN_AT, _TAG_AT = 19, 23, 24, 40
_SLIPPED, _SECONDS = 0xF, 0xFFFF
_SCORE_EMPTY = 1 << 17

_FLAG_AA = 0x04
_FLAG_TC = 0x02
_COOKIE_CODE = OPTION_COOKIE.to_bytes(2)


class ResponseClass(IntEnum):
    """What is answered, in the words of RFC 1034 section 4.3.2 and RFC 2308."""

    ANSWER = 0
    NODATA = 1
    NXDOMAIN = 2
    REFERRAL = 3
    ERROR = 4


class Verdict(IntEnum):
    """What becomes of a reply."""

    SEND = 0
    EXEMPT = 1  # sent without being counted
    SLIP = 2  # a short one is sent instead, from which a client that did ask learns how to go on
    DROP = 3


class Limited(NamedTuple):
    """A reply after it was looked at: what to send, and why. `begins`: a limit on this network begins."""

    reply: bytes | None
    verdict: Verdict
    response_class: ResponseClass
    begins: bool


class Buckets:
    """The token buckets of all networks: words in `count` places, a power of two."""

    __slots__ = ("_sets", "_words")

    def __init__(self, count: int) -> None:
        self._words = array("Q", bytes(8 * count))
        self._sets = count // WAYS

    def take(self, rrl: Rrl, network: bytes, response_class: ResponseClass, now: int) -> tuple[Verdict, bool]:
        """Take a token of this network and class, if there is one; and whether a limit begins.

        Two threads at a time may take the same token: that is one answer more.
        """
        rate = rrl.rates[response_class]
        if not rate:
            return Verdict.SEND, False
        place, tag = self._find(rrl, network, response_class, now)
        word, verdict, begins = spend(self._words[place], tag, rate, rrl, now)
        self._words[place] = word
        return verdict, begins

    def is_limited(self, rrl: Rrl, network: bytes, response_class: ResponseClass, now: int) -> bool:
        """Whether a limit on this network that has begun has not ended: its bucket is not full again."""
        rate = rrl.rates[response_class]
        place, tag = self._find(rrl, network, response_class, now)
        word = self._words[place]
        if not rate or word >> _TAG_AT != tag:
            return False
        tokens = _tokens(word, rate, now)
        return bool(word >> _LIMITED_AT & 1) and tokens < rate * rrl.burst_seconds

    def _find(self, rrl: Rrl, network: bytes, response_class: ResponseClass, now: int) -> tuple[int, int]:
        """Where the bucket is, or may be made, and its tag."""
        octets = bytes((len(network) << 4 | response_class,)) + network
        digest = int.from_bytes(siphash24(octets, key=rrl.key).digest(), "little")
        tag = digest >> _TAG_AT or 1
        first = digest % self._sets * WAYS
        words = self._words[first : first + WAYS]
        for place, word in enumerate(words, first):
            if word >> _TAG_AT == tag:
                return place, tag
        # An empty place first, then the longest unseen; of those the ones that are not limited.
        scores = [
            _elapsed(word, now) << 1 | ~word >> _LIMITED_AT & 1 if word else _SCORE_EMPTY for word in words
        ]
        return first + scores.index(max(scores)), tag


def spend(word: int, tag: int, rate: int, rrl: Rrl, now: int) -> tuple[int, Verdict, bool]:
    """Take a token from the bucket `word`, or from a full one if it is another's: (word, verdict, begins)."""
    seen, limited, slipped = now & _SECONDS, 0, 0
    capacity = tokens = rate * rrl.burst_seconds
    if word >> _TAG_AT == tag:
        tokens = min(capacity, _tokens(word, rate, now))
        if not _elapsed(word, now):
            seen = word >> _SEEN_AT & _SECONDS
        if tokens < capacity:
            limited, slipped = word >> _LIMITED_AT & 1, word >> _SLIPPED_AT & _SLIPPED
    verdict, begins = Verdict.SEND, False
    if tokens:
        tokens -= 1
    else:
        begins, limited = not limited, 1
        slipped += 1
        verdict = Verdict.DROP
        if rrl.slip and slipped >= rrl.slip:
            slipped, verdict = 0, Verdict.SLIP
        slipped = min(slipped, _SLIPPED)
    word = tag << _TAG_AT | seen << _SEEN_AT | limited << _LIMITED_AT | slipped << _SLIPPED_AT | tokens
    return word, verdict, begins


def _tokens(word: int, rate: int, now: int) -> int:
    return (word & TOKENS_MAX) + _elapsed(word, now) * rate


def _elapsed(word: int, now: int) -> int:
    """Seconds since a bucket was seen; 0 for a batch that is late."""
    elapsed = now - (word >> _SEEN_AT) & _SECONDS
    return 0 if elapsed > _SECONDS - LATE_SECONDS else elapsed


def class_of(reply: bytes) -> ResponseClass:
    """The class of a reply of ours, by its header."""
    rcode = reply[3] & 0x0F
    if rcode == NXDOMAIN:
        return ResponseClass.NXDOMAIN
    if rcode != NOERROR:
        return ResponseClass.ERROR
    if reply[6] | reply[7] or reply[2] & _FLAG_TC:  # records in the answer section, or too many for it
        return ResponseClass.ANSWER
    if reply[2] & _FLAG_AA:
        return ResponseClass.NODATA
    # what has no records at all is BADVERS, or the answer to a cookie without a question
    return ResponseClass.REFERRAL if reply[8] | reply[9] else ResponseClass.ERROR


def network_of(address: bytes, rrl: Rrl) -> bytes:
    """What counts as one client with an address (4 or 16 octets): 4 octets, or the first 8 of 16."""
    bits = rrl.bits4 if len(address) == 4 else rrl.bits6
    octets = address[:8]
    unused = 8 * len(octets) - bits
    return (int.from_bytes(octets) >> unused << unused).to_bytes(len(octets))


def is_exempt(address: bytes, rrl: Rrl) -> bool:
    """Whether an address (4 or 16 octets) is in one of the networks that are not limited."""
    if not rrl.exempt:
        return False
    value = int.from_bytes(address)
    return any(
        len(network) == len(address) and (value ^ int.from_bytes(network)) >> 8 * len(address) - bits == 0
        for network, bits in rrl.exempt
    )


def limit(
    packet: bytes, client: str, reply: bytes, snapshot: Snapshot, buckets: Buckets, now: int
) -> Limited:
    """What becomes of `reply`, which is the answer to `packet` and would go to `client` over UDP.

    `snapshot.rrl` is there.
    """
    rrl = snapshot.rrl
    assert rrl is not None
    address = octets_of(client)
    response_class = class_of(reply)
    if is_exempt(address, rrl) or _has_cookie(packet, client, snapshot, now):
        return Limited(reply, Verdict.EXEMPT, response_class, False)
    verdict, begins = buckets.take(rrl, network_of(address, rrl), response_class, now)
    told: bytes | None = reply
    if not rrl.log_only and verdict is Verdict.DROP:
        told = None
    elif not rrl.log_only and verdict is Verdict.SLIP:
        told = curtailed(packet, client, snapshot, now)
    return Limited(told, verdict, response_class, begins)


def _has_cookie(packet: bytes, client: str, snapshot: Snapshot, now: int) -> bool:
    """RFC 7873 section 5.2.5: whoever shows a cookie that we sent to this address is really there."""
    if _COOKIE_CODE not in packet[HEADER_OCTETS:]:  # most queries have none, and reading costs
        return False
    query = read(packet)
    return (
        query is not None
        and query.cookie is not None
        and is_valid(query.cookie, client, snapshot.cookie_secrets, now)
    )
