"""What both engines' listeners count and keep of real queries over real sockets."""

import asyncio
import socket
from collections.abc import Callable
from time import time

import dns.message
import pytest

from geodns.config import Limits, Listen
from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.server.listeners import Listeners, PythonListeners
from geodns.server.native import NativeListeners
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.server.sockets import Bound, bind_all
from geodns.table.compile import link
from geodns.traffic.sums import BUCKETS, Asked, bucket_end, bucket_of, quantile
from tests.conftest import make_snapshot
from tests.server.serving import IS_NATIVE_BUILT, PATIENCE_SECONDS

ZONE = """
'': {type: NS, values: [ns1.nameserver.test.]}
www:
  type: A
  values: [192.0.2.1]
  geo: {EU: [192.0.2.2], NA: [192.0.2.3]}
"""
OTHER = "'': {type: NS, values: [ns1.nameserver.test.]}\nother: {type: TXT, value: x}\n"
EXAMPLE, ORG = b"\x07example\x03com\0", b"\x07example\x03org\0"
ENGINES = [
    "python",
    pytest.param("native", marks=pytest.mark.skipif(not IS_NATIVE_BUILT, reason="not built")),
]


class Running:
    """Listeners on 127.0.0.1 and ::1, with the zones of `publish`."""

    def __init__(self, engine: str) -> None:
        self.bounds: list[Bound] = bind_all([Listen("127.0.0.1", 0), Listen("::1", 0)], 1 << 20)
        say = Sayer()
        if engine == "native":
            from geodns._native import Engine

            native = Engine()
            self.served = Served(Snapshot(link([])), say, publish=native.publish)
            self.listeners: Listeners = NativeListeners(
                self.bounds, Limits(), native, self.served, lambda: None
            )
        else:
            self.served = Served(Snapshot(link([])), say)
            self.listeners = PythonListeners(self.bounds, Limits(), self.served, lambda: None)

    def publish(self, zones: dict[str, str]) -> None:
        made = make_snapshot(zones)
        self.served.publish(table=made.table, partitions=made.partitions)

    async def ask(
        self, name: str, rtype: str = "A", subnet: str | None = None, v6: bool = False, tcp: bool = False
    ) -> bytes:
        """The query that was answered."""
        options = [dns.edns.ECSOption.from_text(subnet)] if subnet else []
        packet = dns.message.make_query(name, rtype, use_edns=0, options=options).to_wire()
        bound = self.bounds[int(v6)]
        await asyncio.to_thread(_exchange, bound.listen, packet, tcp)
        return packet


def _exchange(listen: Listen, packet: bytes, tcp: bool) -> None:
    family = socket.AF_INET6 if listen.is_v6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect((listen.host, listen.port))
        sock.sendall(len(packet).to_bytes(2) + packet if tcp else packet)
        assert sock.recv(4096)


@pytest.fixture(params=ENGINES)
async def running(request: pytest.FixtureRequest):
    running = Running(request.param)
    await running.listeners.start()
    yield running
    await running.listeners.stop()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.01)


async def test_queries_are_counted_by_name(running: Running):
    """By zone, type, rcode, transport and family, and pools by name, also over a snapshot that was
    replaced.
    """
    running.publish({"example.com": ZONE})
    await running.ask("www.example.com", subnet="127.2.0.0/24")
    await running.ask("nothing.example.com", "AAAA", v6=True)
    await running.ask("www.example.com", "TYPE65000", tcp=True)
    await running.ask("elsewhere.test", "MX")
    running.publish({"example.com": ZONE, "example.org": OTHER})
    await running.ask("other.example.org", "TXT", tcp=True, v6=True)
    await running.ask("www.example.com", subnet="127.2.0.0/24")
    await running.ask("www.example.com", subnet="127.99.0.0/24")
    await until(lambda: sum(running.listeners.sums().asked.values()) == 7)
    sums = running.listeners.sums()
    assert {
        Asked(EXAMPLE, 1, 0, "udp", False): 3,
        Asked(EXAMPLE, 28, 3, "udp", True): 1,
        Asked(EXAMPLE, 0, 0, "tcp", False): 1,
        Asked(b"", 15, 5, "udp", False): 1,
        Asked(ORG, 16, 0, "tcp", True): 1,
    } == sums.asked
    assert 3 == sum(sums.pools.values())
    assert (EXAMPLE, "") in sums.pools
    assert {2} & set(sums.pools.values())
    assert (5, 2) == (sums.counters["udp"]["queries"], sums.counters["tcp"]["queries"])
    measured = {transport: sum(counts) for transport, counts in sums.latency.items()}
    assert 1 <= measured["udp"] <= 5
    assert 1 <= measured["tcp"] <= 2


async def test_the_sample_has_all_that_an_answer_depends_on(running: Running):
    """The engine gives the same octets again for a query of the sample, of either transport and family."""
    running.publish({"example.com": ZONE})
    assert [] == running.listeners.sampled()
    await running.ask("www.example.com")
    # it is counted once its answer has gone
    await until(lambda: sum(running.listeners.sums().asked.values()) == 1)
    assert [] == running.listeners.sampled()
    running.listeners.sample(1)
    expected = []
    for v6 in (False, True):
        for tcp in (False, True):
            query = await running.ask("www.example.com", subnet="127.2.0.0/24", v6=v6, tcp=tcp)
            expected.append((query, "::1" if v6 else "127.0.0.1", tcp))
    events = []
    await until(lambda: events.extend(running.listeners.sampled()) or len(events) == 4)
    assert sorted(expected) == sorted((event.query, event.client, event.stream) for event in events)
    for event in events:
        again = answer(
            event.query, event.client, running.served.snapshot, event.draw, event.now, event.stream
        )
        assert again == event.answer
        assert event.weight == 1
        assert event.port > 1023
        assert abs(time() - event.now) < PATIENCE_SECONDS
        assert event.took < PATIENCE_SECONDS * 1e9
    running.listeners.sample(0)
    await running.ask("www.example.com")
    assert [] == running.listeners.sampled()


def test_buckets():
    """A time is below its bucket's end, by a quarter at the most; quantiles tell such ends."""
    for nanoseconds in [0, 1, 1023, 1024, 1279, 1280, 5_000, 123_456, 7_777_777, 2**33, 2**40]:
        at = bucket_of(nanoseconds)
        assert 0 <= at < BUCKETS
        if 1 << 10 <= nanoseconds < 1 << 34:
            assert nanoseconds < bucket_end(at) <= nanoseconds * 5 / 4 + 256
    counts = [0] * BUCKETS
    assert quantile(counts, 0.5) is None
    counts[3], counts[10] = 98, 2
    assert (bucket_end(3), bucket_end(10)) == (quantile(counts, 0.5), quantile(counts, 0.99))
