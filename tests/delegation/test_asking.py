"""Questions over real sockets on this machine: what a server can do to us, and what is made of it."""

import errno
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import dns.flags
import dns.message
import dns.query
import dns.rrset
import pytest

from geodns.delegation.network import QUESTIONS_MAX, Network, TooManyQuestions
from geodns.delegation.reply import Outcome, Question, Reply
from geodns.name import Name
from geodns.zone.rdata import NS, A
from tests.ports import free_port

SECONDS = 0.2
NAME = Name.parse("example.com.")

Answer = Callable[[bytes], bytes | None]


def respond(wire: bytes, flags: int = 0, records: int = 0) -> dns.message.Message:
    response = dns.message.make_response(dns.message.from_wire(wire))
    response.flags |= flags
    if records:
        names = [f"ns{number}.example.net." for number in range(records)]
        response.answer = [dns.rrset.from_text_list("example.com.", 300, "IN", "NS", names)]
    return response


@contextmanager
def server(udp: Answer, tcp: Answer | None = None) -> Iterator[int]:
    """A server on 127.0.0.1 that answers so; the port."""

    class Udp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if (wire := udp(self.request[0])) is not None:
                self.request[1].sendto(wire, self.client_address)

    class Tcp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            size = int.from_bytes(self.request.recv(2))
            if tcp is not None and (wire := tcp(self.request.recv(size))) is not None:
                self.request.sendall(len(wire).to_bytes(2) + wire)

    servers: list[socketserver.BaseServer] = []
    while not servers:  # until a port is free for both
        stream = socketserver.TCPServer(("127.0.0.1", 0), Tcp)
        port = stream.server_address[1]
        with suppress(OSError):
            servers.append(socketserver.UDPServer(("127.0.0.1", port), Udp))
        if servers and tcp is not None:
            servers.append(stream)
        else:
            stream.server_close()
    for one in servers:
        threading.Thread(target=one.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield port
    finally:
        for one in servers:
            one.shutdown()
            one.server_close()


def ask(port: int, question: Question, address: str = "127.0.0.1") -> Reply:
    with Network(port, SECONDS) as network:
        (reply,) = network.ask_all([(question, address)])
    return reply


def test_an_answer() -> None:
    """Flags, size and records as they came."""
    with server(lambda wire: respond(wire, dns.flags.AA, records=2).to_wire()) as port:
        reply = ask(port, Question(NAME, NS))
    assert (True, "NOERROR", 0, False) == (
        reply.is_authoritative,
        reply.rcode,
        reply.edns,
        reply.is_truncated,
    )
    assert {"ns0.example.net.", "ns1.example.net."} == set(map(str, reply.names(NAME)))
    assert 0 < reply.octets < 512


def test_what_is_asked() -> None:
    """The flags and options of each kind of question."""
    seen: list[dns.message.Message] = []

    def record(wire: bytes) -> bytes:
        seen.append(dns.message.from_wire(wire))
        return respond(wire).to_wire()

    questions = [
        Question(NAME, A),
        Question(NAME, A, edns=None),
        Question(NAME, A, edns=1),
        Question(NAME, A, is_odd=True),
        Question(NAME, A, wants_recursion=True, wants_dnssec=True),
    ]
    with server(record) as port:
        for question in questions:
            ask(port, question)
    assert [0, -1, 1, 0, 0] == [message.edns for message in seen]
    assert [0, 0, 0, 0x80, 0x8000] == [message.ednsflags & 0xFFFF for message in seen]
    assert [0, 0, 0, 0, dns.flags.RD] == [message.flags for message in seen]
    assert [[], [], [], [65001], []] == [
        [int(option.otype) for option in message.options] for message in seen
    ]
    assert {1232} == {message.payload for message in seen if message.edns >= 0}


def test_what_is_cut_over_udp_is_fetched_over_tcp() -> None:
    """With the size of the whole, and the fact that it did not fit."""
    cut = lambda wire: respond(wire, dns.flags.TC).to_wire()  # noqa: E731
    with server(cut, lambda wire: respond(wire, records=100).to_wire(max_size=65535)) as port:
        reply = ask(port, Question(NAME, NS))
    assert (True, 100) == (reply.is_truncated, len(reply.names(NAME)))
    assert reply.octets > 1232


def test_what_is_cut_and_has_no_tcp() -> None:
    """The short answer is what there is."""
    with server(lambda wire: respond(wire, dns.flags.TC).to_wire()) as port:
        reply = ask(port, Question(NAME, NS))
    assert (True, frozenset()) == (reply.is_truncated, reply.names(NAME))


@pytest.mark.parametrize(
    ("udp", "outcome"),
    [
        (lambda wire: None, Outcome.SILENT),
        (lambda wire: b"not a message", Outcome.GARBLED),
        (lambda wire: wire[:12], Outcome.GARBLED),
        (lambda wire: respond(wire).to_wire() + b"x", Outcome.GARBLED),
        (lambda wire: b"\xff" * 600, Outcome.GARBLED),
    ],
)
def test_bad_answers_over_udp(udp: Answer, outcome: Outcome) -> None:
    """None of them raises, and each has its name."""
    with server(udp) as port:
        assert outcome is ask(port, Question(NAME, A)).outcome


@pytest.mark.parametrize(
    ("tcp", "outcome"),
    [
        (None, Outcome.CLOSED),
        (lambda wire: None, Outcome.CLOSED),
        (lambda wire: b"not a message", Outcome.GARBLED),
    ],
)
def test_bad_answers_over_tcp(tcp: Answer | None, outcome: Outcome) -> None:
    """A closed port, a connection that ends, and garbage."""
    with server(lambda wire: None, tcp) as port:
        assert outcome is ask(port, Question(NAME, A, over_tcp=True)).outcome


def test_a_lost_packet_is_asked_again() -> None:
    """Once."""
    lost: list[bytes] = []

    def second_time(wire: bytes) -> bytes | None:
        lost.append(wire)
        return respond(wire).to_wire() if len(lost) == 2 else None

    with server(second_time) as port:
        assert ask(port, Question(NAME, A)).is_answered


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (errno.ENETUNREACH, Outcome.NO_ROUTE),
        (errno.EAFNOSUPPORT, Outcome.NO_ROUTE),
        (errno.EHOSTUNREACH, Outcome.UNREACHABLE),
        (errno.ECONNREFUSED, Outcome.CLOSED),
    ],
)
def test_errors_of_this_machine(monkeypatch: pytest.MonkeyPatch, number: int, outcome: Outcome) -> None:
    """A family that this machine has no route for is told apart from a server that is not there."""

    def fail(*args: object, **more: object) -> None:
        raise OSError(number, "as the system says it")

    monkeypatch.setattr(dns.query, "udp", fail)
    assert outcome is ask(1, Question(NAME, A)).outcome


def test_many_questions_keep_their_order() -> None:
    """Replies stand where their questions stood, whoever answered first."""
    names = [Name.parse(f"n{number}.example.com.") for number in range(100)]

    def echo(wire: bytes) -> bytes:
        response = respond(wire)
        response.answer = [dns.rrset.from_text(response.question[0].name, 1, "IN", "A", "192.0.2.1")]
        return response.to_wire()

    with server(echo) as port, Network(port, 5.0) as network:
        replies = network.ask_all([(Question(name, A), "127.0.0.1") for name in names])
    assert names == [reply.answer[0].owner for reply in replies]


def test_there_is_an_end_to_questions() -> None:
    """A world made to keep us asking is left."""
    with Network(free_port(), SECONDS) as network, pytest.raises(TooManyQuestions):
        network.ask_all([(Question(NAME, A), "127.0.0.1")] * (QUESTIONS_MAX + 1))
