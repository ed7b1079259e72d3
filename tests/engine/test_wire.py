"""Packets that are wrong, and how wrong they may be before nobody answers."""

from collections.abc import Callable

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.engine.wire import read
from tests.conftest import NOW, Answer

HEADER = bytes.fromhex("1234 0100 0001 0000 0000 0000")
QUESTION = b"\3www\7example\3com\0\0\1\0\1"
QUERY = HEADER + QUESTION
SMALL = "names.md"


def opt(options: bytes = b"", version: int = 0, count: int = 1) -> bytes:
    """A query with an OPT record that has these options."""
    record = b"\0\0\x29\x04\xd0\0" + bytes([version]) + b"\0\0" + len(options).to_bytes(2) + options
    return HEADER[:11] + bytes([count]) + QUESTION + record * count


def option(code: int, data: bytes) -> bytes:
    return code.to_bytes(2) + len(data).to_bytes(2) + data


@pytest.fixture
def rcode(answer: Answer, snapshot_of: Callable[[str], object]) -> Callable[[bytes], str | None]:
    """The rcode that a packet gets, in words; None for silence."""
    snapshot = snapshot_of(SMALL)

    def ask(packet: bytes) -> str | None:
        wire = answer(packet, "192.0.2.53", snapshot, 0, NOW)
        return None if wire is None else dns.rcode.to_text(dns.rcode.Rcode(wire[3] & 0x0F))

    return ask


SILENCE = {
    "nothing at all": b"",
    "less than a header": QUERY[:11],
    "an answer": QUERY[:2] + b"\x81\x80" + QUERY[4:],
    "an answer that is malformed": QUERY[:2] + b"\x81\x80" + QUERY[4:20],
}

FORMERR = {
    "a header alone": HEADER,
    "no question": HEADER[:5] + b"\0" + HEADER[6:],
    "two questions (RFC 9619)": HEADER[:5] + b"\2" + HEADER[6:] + QUESTION * 2,
    "a name that is cut off": QUERY[:20],
    "a name without its end": HEADER + b"\3www",
    "a question without its class": QUERY[:-2],
    "a pointer as a name": HEADER + b"\xc0\x0c\0\1\0\1",
    "a label of 64 octets": HEADER + b"\x40" + b"a" * 64 + b"\0\0\1\0\1",
    "a name of 256 octets": HEADER + (b"\x3f" + b"a" * 63) * 3 + b"\x3e" + b"a" * 62 + b"\0\0\1\0\1",
    "octets behind the question": QUERY + b"\0",
    "a record in the answer section": QUERY[:7] + b"\1" + QUERY[8:] + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\0",
    "an additional record that is not there": QUERY[:11] + b"\1" + QUERY[12:],
    "an additional record that is cut off": QUERY[:11]
    + b"\1"
    + QUERY[12:]
    + b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4\0",
    "two OPT records": opt(count=2),
    "an option that is cut off": opt(b"\0\x03\0\x04\0"),
    "half an option's head": opt(b"\0\x03\0"),
    "a cookie of 7 octets": opt(option(10, bytes(7))),
    "a cookie of 9 octets": opt(option(10, bytes(9))),
    "a cookie of 41 octets": opt(option(10, bytes(41))),
    "a keepalive with a timeout": opt(option(11, b"\0\1")),
    "ECS without its head": opt(option(8, b"\0\1\x18")),
    "ECS with a SCOPE": opt(option(8, b"\0\1\x18\x18\xcb\0\x71")),
    "ECS with a prefix of 33 bits": opt(option(8, b"\0\1\x21\0\xcb\0\x71\0\0")),
    "ECS with a prefix of 129 bits": opt(option(8, b"\0\2\x81\0" + bytes(17))),
    "ECS with an address that is too short": opt(option(8, b"\0\1\x18\0\xcb\0")),
    "ECS with an address that is too long": opt(option(8, b"\0\1\x18\0\xcb\0\x71\0")),
    "ECS with bits behind the prefix": opt(option(8, b"\0\1\x17\0\xcb\0\x71")),
    "ECS of an unknown family": opt(option(8, b"\0\3\x08\0\1")),
    "ECS of no family, with an address": opt(option(8, b"\0\0\x08\0\1")),
    "ECS twice": opt(option(8, b"\0\1\x18\0\xcb\0\x71") * 2),
}

FINE = {
    "a plain query": QUERY,
    "an empty OPT": opt(),
    "ECS of IPv4": opt(option(8, b"\0\1\x18\0\xcb\0\x71")),
    "ECS of IPv6": opt(option(8, b"\0\2\x20\0\x20\x01\x0d\xb8")),
    "ECS with SOURCE 0": opt(option(8, b"\0\1\0\0")),
    "ECS of no family and no address": opt(option(8, b"\0\0\0\0")),
    "ECS with a prefix of 0 bits, IPv6": opt(option(8, b"\0\2\0\0")),
    "a cookie of 8 octets": opt(option(10, bytes(8))),
    "a cookie of 40 octets": opt(option(10, bytes(40))),
    "an option nobody knows": opt(option(65001, b"abc")),
    "an unknown additional record": QUERY[:11] + b"\1" + QUERY[12:] + b"\xc0\x0c\xff\0\0\1\0\0\0\0\0\2ab",
    "an OPT behind another record": (
        QUERY[:11] + b"\2" + QUERY[12:] + b"\1x\0\xff\0\0\1\0\0\0\0\0\0" + b"\0\0\x29\x04\xd0\0\0\0\0\0\0"
    ),
}


@pytest.mark.parametrize("packet", SILENCE.values(), ids=SILENCE)
def test_some_packets_get_no_answer(rcode: Callable[[bytes], str | None], packet: bytes) -> None:
    """What has no identifier to answer to, and what is an answer itself, gets silence: no loops, no noise."""
    assert rcode(packet) is None


@pytest.mark.parametrize("packet", FORMERR.values(), ids=FORMERR)
def test_malformed_queries_get_formerr(rcode: Callable[[bytes], str | None], packet: bytes) -> None:
    """A query that breaks a rule of its RFC is told so, whichever rule it is."""
    assert rcode(packet) == "FORMERR"


@pytest.mark.parametrize("packet", FINE.values(), ids=FINE)
def test_unusual_queries_are_answered(rcode: Callable[[bytes], str | None], packet: bytes) -> None:
    """What the RFCs allow is answered, however rarely it is sent."""
    assert rcode(packet) == "NXDOMAIN"


def test_a_cookie_may_be_asked_for_without_a_question(rcode: Callable[[bytes], str | None]) -> None:
    """RFC 7873 section 5.4: QDCOUNT 0 and a COOKIE option is a question for a cookie."""
    packet = opt(option(10, bytes(8)))
    assert rcode(packet[:5] + b"\0" + packet[6:12] + packet[12 + len(QUESTION) :]) == "NOERROR"


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_other_opcodes_are_not_implemented(rcode: Callable[[bytes], str | None], opcode: int) -> None:
    """NOTIMP for every opcode but QUERY, with whatever comes behind the header."""
    head = QUERY[:2] + bytes([opcode << 3, 0]) + QUERY[4:]
    assert (rcode(head), rcode(head[:12])) == ("NOTIMP", "NOTIMP")


def test_what_cannot_be_read_is_not_repeated(answer: Answer, snapshot_of: Callable[[str], object]) -> None:
    """FORMERR for a broken question comes back without a question, under the same identifier."""
    wire = answer(FORMERR["a label of 64 octets"], "192.0.2.53", snapshot_of(SMALL), 0, NOW)
    assert wire == bytes.fromhex("1234 8101 0000 0000 0000 0000")


@given(st.binary(max_size=600) | st.binary(max_size=600).map(lambda tail: QUERY[:10] + tail))
def test_garbage_is_read_without_a_fault(packet: bytes) -> None:
    """Reading any octets ends, raises nothing, and keeps silent about answers."""
    query = read(packet)
    assert query is None or not packet[2] & 0x80


def test_flags_of_an_answer(answer: Answer, snapshot_of: Callable[[str], object]) -> None:
    """QR and AA are set, RD comes back; RA, AD, CD and Z never are (RFC 4035 section 3.1.6)."""
    packet = QUERY[:2] + b"\x01\xf0" + QUERY[4:]
    wire = answer(packet, "192.0.2.53", snapshot_of(SMALL), 0, NOW)
    assert wire is not None
    assert dns.flags.to_text(dns.message.from_wire(wire).flags) == "QR AA RD"
