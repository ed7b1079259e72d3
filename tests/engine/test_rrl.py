"""Response rate limiting: what the buckets promise, and that both engines decide alike."""

from dataclasses import replace
from ipaddress import ip_address

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.engine import native
from geodns.engine.answer import answer
from geodns.engine.cookie import cookie_for
from geodns.engine.rrl import (
    WAYS,
    Buckets,
    ResponseClass,
    Verdict,
    class_of,
    is_exempt,
    limit,
    network_of,
)
from geodns.engine.snapshot import Rrl, Snapshot
from geodns.engine.wire import BADCOOKIE
from tests.conftest import COOKIE_SECRET, NOW, make_snapshot

CLIENT = "192.0.2.1"
RRL = Rrl(
    rates=(10, 10, 10, 10, 10),
    burst_seconds=2,
    slip=2,
    bits4=24,
    bits6=56,
    exempt=(),
    log_only=False,
    badcookie=True,
    key=bytes(range(16)),
    buckets=1024,
)
ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
www: {type: TXT, values: [x]}
child: {type: NS, values: [ns1.nameserver.test.]}
"""
SNAPSHOT = make_snapshot({"example.com": ZONE}, rrl=RRL)
OURS = b"clients8"  # a cookie without a server's part


class Network:
    """Asks for tokens of one class in the name of one client."""

    def __init__(self, rrl: Rrl = RRL, buckets: Buckets | None = None) -> None:
        self.rrl = rrl
        self.buckets = buckets or Buckets(rrl.buckets)

    def verdicts(self, count: int, now: int, client: str = CLIENT, of: int = 0) -> list[Verdict]:
        network = network_of(ip_address(client).packed, self.rrl)
        return [self.buckets.take(self.rrl, network, ResponseClass(of), now)[0] for _ in range(count)]

    def sent(self, count: int, now: int, client: str = CLIENT, of: int = 0) -> int:
        return self.verdicts(count, now, client, of).count(Verdict.SEND)


def query(name: str, rtype: str = "TXT", **more: object) -> bytes:
    return dns.message.make_query(name, rtype, **more).to_wire()


def with_cookie(name: str, cookie: bytes) -> bytes:
    return query(name, options=[dns.edns.GenericOption(10, cookie)])


def test_a_network_gets_its_rate_and_a_burst() -> None:
    """Whoever was quiet has a burst of two seconds' worth, and then the rate, however long it floods."""
    network = Network()
    assert 20 == network.sent(1000, NOW)
    assert [10, 10, 10] == [network.sent(1000, NOW + second) for second in (1, 2, 3)]
    assert 20 == network.sent(1000, NOW + 1000)


def test_networks_and_classes_have_buckets_of_their_own() -> None:
    """A flood in one network's name costs the others nothing, nor this one's answers of another class."""
    network = Network()
    network.sent(1000, NOW)
    assert 0 == network.sent(10, NOW, "192.0.2.254")
    assert 10 == network.sent(10, NOW, "192.0.3.1")
    assert 10 == network.sent(10, NOW, of=ResponseClass.NXDOMAIN)
    network.sent(1000, NOW, "2001:db8:0:100::1")
    assert 0 == network.sent(10, NOW, "2001:db8:0:1ff::")
    assert 10 == network.sent(10, NOW, "2001:db8:0:200::")


@pytest.mark.parametrize(
    ("slip", "expected"), [(0, [3, 3, 3, 3, 3, 3]), (1, [2, 2, 2, 2, 2, 2]), (3, [3, 3, 2, 3, 3, 2])]
)
def test_every_nth_slips(slip: int, expected: list[int]) -> None:
    """Of what is over the limit, each nth is sent short: none with 0, all with 1."""
    network = Network(replace(RRL, slip=slip))
    network.sent(20, NOW)
    assert expected == network.verdicts(6, NOW)


def test_a_rate_of_nothing_is_no_limit() -> None:
    """A class without a rate is not counted."""
    network = Network(replace(RRL, rates=(0, 1, 1, 1, 1)))
    assert 1000 == network.sent(1000, NOW)


def test_a_clock_set_back_limits_nobody_for_long() -> None:
    """An hour back is one more burst; a thread that is a second late is nothing."""
    network = Network()
    assert 20 == network.sent(30, NOW)
    assert 0 == network.sent(30, NOW - 1)
    assert 20 == network.sent(30, NOW - 3600)


def test_a_limit_begins_once_and_ends() -> None:
    """It begins with the first answer over the limit, and ends when the bucket is full again."""
    rrl, buckets = RRL, Buckets(RRL.buckets)
    network = network_of(ip_address(CLIENT).packed, rrl)
    begins = [buckets.take(rrl, network, ResponseClass.ERROR, NOW + at // 100)[1] for at in range(500)]
    assert [20] == [at for at, begun in enumerate(begins) if begun]
    ends = [buckets.is_limited(rrl, network, ResponseClass.ERROR, NOW + 4 + second) for second in range(4)]
    assert [True, True, False, False] == ends


def test_a_flood_in_many_names_does_not_make_a_limit_forgotten() -> None:
    """More networks than there is room for push out the quiet ones, and not the one that is limited."""
    network = Network(replace(RRL, buckets=WAYS))
    network.sent(100, NOW, "192.0.2.1")
    for at in range(1000):
        network.sent(1, NOW, f"198.{at // 250}.{at % 250}.1")
    assert 0 == network.sent(100, NOW, "192.0.2.1")


@pytest.mark.parametrize(
    ("name", "rtype", "expected"),
    [
        ("www.example.com", "TXT", ResponseClass.ANSWER),
        ("www.example.com", "ANY", ResponseClass.ANSWER),
        ("www.example.com", "A", ResponseClass.NODATA),
        ("nothing.example.com", "A", ResponseClass.NXDOMAIN),
        ("a.child.example.com", "A", ResponseClass.REFERRAL),
        ("www.example.net", "A", ResponseClass.ERROR),
    ],
)
def test_classes(name: str, rtype: str, expected: ResponseClass) -> None:
    """A reply's class is what its header says."""
    reply = answer(query(name, rtype), CLIENT, SNAPSHOT, 0, NOW)
    assert reply is not None
    assert expected == class_of(reply)


def test_what_has_no_records_is_an_error() -> None:
    """BADVERS, and the answer to a cookie without a question, are no referrals."""
    header = bytes(5) + b"%c" + bytes(5) + b"\1"  # QDCOUNT and ARCOUNT
    cookie = b"\0\x0a\0\x08" + OURS
    badvers = header % 1 + b"\0" + b"\0\x10\0\1" + b"\0\0\x29\x04\xd0\0\1\0\0\0\0"
    no_question = header % 0 + b"\0\0\x29\x04\xd0\0\0\0\0\0\x0c" + cookie
    for packet in (badvers, no_question):
        reply = answer(packet, CLIENT, SNAPSHOT, 0, NOW)
        assert reply is not None
        assert ResponseClass.ERROR == class_of(reply)


def flooded(snapshot: Snapshot, packet: bytes, client: str = CLIENT) -> tuple[Verdict, bytes | None]:
    """What becomes of the answer when this network has had all that it gets."""
    buckets = Buckets(RRL.buckets)
    reply = answer(packet, client, snapshot, 0, NOW)
    assert reply is not None
    for _ in range(20):
        limit(packet, client, reply, snapshot, buckets, NOW)
    found = limit(packet, client, reply, snapshot, buckets, NOW)
    return found.verdict, found.reply


def test_what_slips() -> None:
    """Nothing but the question and TC; no larger than the query, so that nobody gains by it."""
    snapshot = replace(SNAPSHOT, rrl=replace(RRL, slip=1))
    for more in ({}, {"use_edns": 0, "payload": 1232}):
        packet = query("www.example.com", **more)
        verdict, reply = flooded(snapshot, packet)
        assert reply is not None
        message = dns.message.from_wire(reply)
        assert (Verdict.SLIP, len(packet)) == (verdict, len(reply))
        assert (dns.flags.TC, []) == (message.flags & dns.flags.TC, message.answer)


def test_half_a_cookie_becomes_a_whole_one() -> None:
    """Over the limit, a client that has no cookie of ours is sent one, and with it is limited no more."""
    snapshot = replace(SNAPSHOT, rrl=replace(RRL, slip=1))
    verdict, reply = flooded(snapshot, with_cookie("www.example.com", OURS))
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (Verdict.SLIP, BADCOOKIE, 0) == (verdict, message.rcode(), message.flags & dns.flags.TC)
    (cookie,) = message.options
    whole = cookie.to_wire()
    assert whole == cookie_for(OURS, CLIENT, (COOKIE_SECRET,), NOW)
    assert Verdict.EXEMPT == flooded(snapshot, with_cookie("www.example.com", whole))[0]
    assert Verdict.SLIP == flooded(snapshot, with_cookie("www.example.com", whole), "192.0.2.2")[0]


def test_without_badcookie_it_is_tc_with_a_cookie() -> None:
    """cookies.require: never."""
    snapshot = replace(SNAPSHOT, rrl=replace(RRL, slip=1, badcookie=False))
    _, reply = flooded(snapshot, with_cookie("www.example.com", OURS))
    assert reply is not None
    message = dns.message.from_wire(reply)
    assert (dns.rcode.NOERROR, dns.flags.TC) == (message.rcode(), message.flags & dns.flags.TC)
    assert 1 == len(message.options)


def test_the_exempt_and_log_only() -> None:
    """Those on the list are not counted; with log_only everything is sent."""
    exempt = ((ip_address("192.0.2.0").packed, 25), (ip_address("2001:db8::").packed, 32))
    snapshot = replace(SNAPSHOT, rrl=replace(RRL, exempt=exempt))
    packet = query("www.example.com")
    assert Verdict.EXEMPT == flooded(snapshot, packet, "192.0.2.127")[0]
    assert Verdict.EXEMPT == flooded(snapshot, packet, "2001:db8:ffff::1")[0]
    assert (Verdict.DROP, None) == flooded(snapshot, packet, "192.0.2.128")
    snapshot = replace(SNAPSHOT, rrl=replace(RRL, log_only=True))
    verdict, reply = flooded(snapshot, packet)
    assert (Verdict.DROP, answer(packet, CLIENT, SNAPSHOT, 0, NOW)) == (verdict, reply)


# Both engines

ENGINE = None if native.why_not() else native.Native()
needs_native = pytest.mark.skipif(ENGINE is None, reason=native.why_not())
addresses = st.one_of(
    st.integers(0, 600).map(lambda low: str(ip_address((192 << 24) + low))),
    st.integers(0, 600).map(lambda low: str(ip_address((0x20010DB8 << 96) + (low << 64)))),
    st.ip_addresses().map(str),
)
rules = st.builds(
    Rrl,
    rates=st.tuples(*[st.sampled_from([0, 1, 2, 5, 50_000])] * 5),
    burst_seconds=st.integers(1, 10),
    slip=st.integers(0, 10),
    bits4=st.integers(8, 32),
    bits6=st.integers(16, 64),
    exempt=st.just(()),
    log_only=st.just(False),
    badcookie=st.booleans(),
    key=st.binary(min_size=16, max_size=16),
    buckets=st.sampled_from([8, 16, 1024]),
)
steps = st.lists(
    st.tuples(
        addresses, st.integers(0, 4), st.sampled_from([0, 0, 0, 0, 1, 2, -1, 9, -3600, 40_000, 65_530])
    ),
    max_size=120,
)


@needs_native
@settings(deadline=None, max_examples=200)
@given(rules, rules, steps)
def test_the_engines_limit_alike(before: Rrl, after: Rrl, asked: list[tuple[str, int, int]]) -> None:
    """The same clients, classes and times lead to the same verdicts, also after other rules came."""
    assert ENGINE is not None
    after = replace(after, buckets=before.buckets, key=before.key)
    ENGINE.publish(replace(SNAPSHOT, rrl=None))  # forgets what there was
    buckets, now = Buckets(before.buckets), NOW
    for rrl in (before, after):
        ENGINE.publish(replace(SNAPSHOT, rrl=rrl))
        for client, number, passed in asked:
            now += passed
            network, response_class = network_of(ip_address(client).packed, rrl), ResponseClass(number)
            for _ in range(3):
                expected = buckets.take(rrl, network, response_class, now)
                assert expected == ENGINE.engine.take(client, number, now)
            is_limited = buckets.is_limited(rrl, network, response_class, now)
            assert is_limited == ENGINE.engine.is_limited(client, number, now)


@needs_native
@settings(deadline=None, max_examples=100)
@given(st.ip_addresses(), st.ip_addresses(), st.integers(0, 128), st.integers(0, 128))
def test_the_engines_exempt_alike(client: object, network: object, bits: int, flipped: int) -> None:
    """Whoever is in a network by the one engine is by the other."""
    assert ENGINE is not None
    octets = network.packed  # type: ignore[attr-defined]
    bits = min(bits, 8 * len(octets))
    near = ip_address(int(network) ^ (1 << flipped % (8 * len(octets))) if flipped else int(network))  # type: ignore[call-overload]
    rrl = replace(RRL, exempt=((octets, bits),), key=bytes(16))
    ENGINE.publish(replace(SNAPSHOT, rrl=rrl))
    packet = query("www.example.com")
    for one in (client, near if near.version == network.version else client):  # type: ignore[attr-defined]
        expected = Verdict.EXEMPT if is_exempt(one.packed, rrl) else Verdict.SEND  # type: ignore[attr-defined]
        reply = answer(packet, str(one), SNAPSHOT, 0, NOW)
        assert reply is not None
        assert expected == limit(packet, str(one), reply, replace(SNAPSHOT, rrl=rrl), Buckets(8), NOW).verdict
        ENGINE.publish(replace(SNAPSHOT, rrl=None))
        ENGINE.publish(replace(SNAPSHOT, rrl=rrl))
        assert expected == ENGINE.engine.limit(packet, str(one), 0, NOW)[1]


@needs_native
@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(["www.example.com", "no.example.com", "a.child.example.com", "www.example.net", "."]),
    st.sampled_from([None, b"", OURS, OURS + bytes(8), OURS + bytes(16), "good", "old"]),
    st.booleans(),
    st.integers(0, 3),
    st.binary(max_size=3),
)
def test_what_is_sent_is_alike(name: str, cookie: object, badcookie: bool, slip: int, damage: bytes) -> None:
    """The same octets in place of an answer over the limit, for whole and broken queries."""
    assert ENGINE is not None
    if cookie in ("good", "old"):
        cookie = cookie_for(OURS, CLIENT, (COOKIE_SECRET,), NOW if cookie == "good" else NOW - 3700)
    packet = query(name) if cookie is None else with_cookie(name, cookie)  # type: ignore[arg-type]
    packet += damage
    snapshot = replace(
        SNAPSHOT, rrl=replace(RRL, rates=(1,) * 5, burst_seconds=1, slip=slip, badcookie=badcookie)
    )
    buckets = Buckets(RRL.buckets)
    ENGINE.publish(replace(SNAPSHOT, rrl=None))
    ENGINE.publish(snapshot)
    reply = answer(packet, CLIENT, snapshot, 0, NOW)
    assert reply is not None
    for _ in range(4):
        found = limit(packet, CLIENT, reply, snapshot, buckets, NOW)
        assert (found.reply, found.verdict) == ENGINE.engine.limit(packet, CLIENT, 0, NOW)
