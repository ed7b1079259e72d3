"""DNS checks, with a responder that says what it is told to."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from geodns.health.prober import dns as checks
from geodns.health.prober.look import Failed, prepared
from tests.health.prober.parts import SOON_SECONDS, probe

QUESTION = ("example.com.", "SOA")
SOA = "example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 2 3 4 5"

Respond = Callable[[dns.message.Message], Iterable[bytes]]


class Responder(asyncio.DatagramProtocol):
    """Answers over UDP with the packets that `respond` gives."""

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.asked: list[tuple[dns.message.Message, tuple[str, int]]] = []
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        self.asked.append((query, address[:2]))
        for packet in self.respond(query):
            self.transport.sendto(packet, address)


@asynccontextmanager
async def responding(
    respond: Respond, over_tcp: bytes | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[int, Responder]]:
    """A responder on a port where, with `over_tcp`, TCP answers with this and the query's ID before it."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2))
        query = await reader.readexactly(length)
        answer = query[:2] + over_tcp
        for octet in len(answer).to_bytes(2) + answer:  # in the smallest pieces there are
            writer.write(bytes([octet]))
            await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    # TCP first: its port is free for UDP as well, but the other way around it may be in TIME_WAIT
    server = await asyncio.start_server(handle, host, 0)
    port = server.sockets[0].getsockname()[1]
    transport, responder = await loop.create_datagram_endpoint(lambda: Responder(respond), (host, port))
    try:
        yield port, responder
    finally:
        transport.close()
        server.close()


def answered(query: dns.message.Message, rcode: str = "NOERROR", soa: str = "answer") -> bytes:
    """An answer with the SOA in this section, "" for none."""
    answer = dns.message.make_response(query)
    answer.set_rcode(dns.rcode.from_text(rcode))
    if soa:
        getattr(answer, soa).append(dns.rrset.from_text(*SOA.split(" ", 4)))
    return answer.to_wire()


async def looked(port: int, target: str = "127.0.0.1", **more: object) -> str:
    made = probe("dns", target, port=port, **{"question": QUESTION, **more})
    return await prepared(made, checks.looking(made))()


async def failure(respond: Respond, over_tcp: bytes | None = None) -> str:
    async with responding(respond, over_tcp) as (port, _):
        with pytest.raises(Failed) as error:
            await looked(port)
    return str(error.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_answer_is_up(host: str) -> None:
    """With recursion asked for, an ID and a port that are others each time."""
    async with responding(lambda query: [answered(query)], host=host) as (port, responder):
        for _ in range(8):
            assert "NOERROR" == await looked(port, host)
    queries = [query for query, _ in responder.asked]
    assert {("example.com.", "SOA")} == {
        (str(query.question[0].name), dns.rdatatype.to_text(query.question[0].rdtype)) for query in queries
    }
    assert all(query.flags == dns.flags.RD for query in queries)
    assert len({query.id for query in queries}) > 4
    assert len({address[1] for _, address in responder.asked}) > 4


async def test_an_authority_is_up_as_well() -> None:
    """A referral, or that there is no such type, is an answer too."""
    async with responding(lambda query: [answered(query, soa="authority")]) as (port, _):
        assert "NOERROR" == await looked(port)


@pytest.mark.parametrize("rcode", ["SERVFAIL", "REFUSED", "NXDOMAIN", "FORMERR"])
async def test_another_rcode_is_down(rcode: str) -> None:
    """It is the reason, too."""
    assert rcode == await failure(lambda query: [answered(query, rcode)])


async def test_an_error_need_not_repeat_the_question() -> None:
    """A server that could not read it has none to repeat."""
    assert "SERVFAIL" == await failure(lambda query: [answered(query, "SERVFAIL", "")[:4] + bytes(8)])


async def test_an_empty_answer_is_down() -> None:
    """A server that does not know the zone any more may say so like this."""
    assert "an empty answer" == await failure(lambda query: [answered(query, soa="")])


async def test_what_is_no_answer_to_the_question_does_not_count() -> None:
    """Another ID, another question, a query, garbage: the answer after them counts."""

    def respond(query: dns.message.Message) -> list[bytes]:
        good = answered(query)
        forged = dns.message.make_query("example.net.", "SOA", id=query.id)
        return [
            (query.id ^ 1).to_bytes(2) + good[2:],
            answered(forged),
            answered(dns.message.make_query("example.com.", "A", id=query.id)),
            query.to_wire(),
            b"",
            b"\xff" * 50,
            good,
        ]

    async with responding(respond) as (port, _):
        assert "NOERROR" == await looked(port)


async def test_a_flood_of_others_answers_ends() -> None:
    """Nobody keeps the prober busy with packets."""
    flood = [b"\xff" * 20] * checks.PACKETS_MAX
    assert "not an answer to the question" == await failure(lambda query: flood)


async def test_tc_leads_to_tcp() -> None:
    """RFC 7766 section 5: the whole answer is there."""
    question = dns.message.make_query(*QUESTION)
    truncated = dns.message.make_response(question)
    truncated.flags |= dns.flags.TC

    def respond(query: dns.message.Message) -> list[bytes]:
        return [query.id.to_bytes(2) + truncated.to_wire()[2:]]

    async with responding(respond, answered(question)[2:]) as (port, _):
        assert "NOERROR" == await looked(port)
    said = await failure(respond, answered(question, "SERVFAIL")[2:])
    assert "SERVFAIL" == said
    assert "not an answer to the question (over TCP)" == await failure(respond, bytes(40))


async def test_a_lost_packet_is_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question, from the same port."""
    monkeypatch.setattr(checks, "RESEND_SECONDS", SOON_SECONDS / 4)
    lost: list[int] = []

    def respond(query: dns.message.Message) -> list[bytes]:
        lost.append(query.id)
        return [answered(query)] if len(lost) > 2 else []

    async with responding(respond) as (port, responder):
        assert "NOERROR" == await looked(port)
    assert 1 == len(set(lost))
    assert 1 == len({address for _, address in responder.asked})


async def test_nobody_there_is_down_at_once() -> None:
    """ICMP says so."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        await looked(port)


async def test_it_asks_from_the_source() -> None:
    """Over UDP as over TCP."""
    async with responding(lambda query: [answered(query)]) as (port, responder):
        await looked(port, source=("127.0.0.9",))
    assert "127.0.0.9" == responder.asked[0][1][0]


@pytest.mark.parametrize("question", [("a..b", "SOA"), ("example.com.", "NOTYPE")])
def test_a_question_that_can_not_be_asked_is_an_error(question: tuple[str, str]) -> None:
    """Known when the check comes, not at each look."""
    with pytest.raises(ValueError, match="question"):
        checks.looking(probe("dns", question=question))
