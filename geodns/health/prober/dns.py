"""DNS: a question over UDP, and over TCP when the answer says TC; any answer or authority is a success.

Recursion is asked for, so that resolvers can be checked as well; an authoritative server leaves it unheeded
(RFC 1035 section 4.1.1: RD "may be set in a query"). There is no OPT record: this is what every server knows.
"""

import asyncio
import contextlib
import secrets
import socket
import struct

import dns.exception
import dns.flags
import dns.message
import dns.rcode

from geodns.health.prober.look import Failed, LookAt, connected, opened, short, source_for
from geodns.health.words import Probe

DNS_PORT = 53  # RFC 1035 section 4.2
RESEND_SECONDS = (
    1.0  # a UDP packet may be lost; as long as TCP waits for its first one (RFC 6298 section 2.1)
)
UDP_OCTETS_MAX = 4096  # received of a packet; without EDNS no answer has more than 512
PACKETS_MAX = 100  # that are no answer to the question; forgeries may come, but not keep us busy
COUNTS = struct.Struct("!HH")  # of the answer and authority sections, in octets 6 to 9 of the header


def looking(probe: Probe) -> LookAt:
    """How to look for this check. Raises ValueError for a question that can not be asked."""
    name, kind = probe.check.question
    try:
        question = dns.message.make_query(name, kind, id=0)
    except (dns.exception.DNSException, UnicodeError) as error:
        raise ValueError(short(f"question {name} {kind}: {error}")) from None
    wire = question.to_wire()
    port = probe.check.port or DNS_PORT

    async def look_at(address: str) -> str:
        source = source_for(probe, address)
        answer = await _over_udp(_Asked(question, wire), address, port, source)
        if answer.flags & dns.flags.TC:
            answer = await _over_tcp(_Asked(question, wire), address, port, source)
        return "NOERROR"

    return look_at


class _Asked:
    """One question on its way, with an ID that nobody can know (RFC 5452 section 9.2)."""

    def __init__(self, question: dns.message.Message, wire: bytes) -> None:
        self._question = question
        self.id = secrets.randbits(16)
        self.wire = self.id.to_bytes(2) + wire[2:]

    def answered(self, wire: bytes) -> dns.message.Message | None:
        """The answer up to its question; None when this is none to our question. Raises Failed for a bad one.

        What follows the question is not read: how much there is, the header says.
        """
        try:
            answer = dns.message.from_wire(wire, question_only=True)
        except (dns.exception.DNSException, ValueError):
            return None
        if answer.id != self.id or not answer.flags & dns.flags.QR:
            return None
        rcode = answer.rcode()
        # Servers that could not read the question need not repeat it.
        if answer.question != self._question.question and (answer.question or rcode == dns.rcode.NOERROR):
            return None
        if rcode != dns.rcode.NOERROR:
            raise Failed(dns.rcode.to_text(rcode))
        if not answer.flags & dns.flags.TC and COUNTS.unpack_from(wire, 6) == (0, 0):
            raise Failed("an empty answer")
        return answer


async def _over_udp(asked: _Asked, address: str, port: int, source: str | None) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with opened(socket.SOCK_DGRAM, address, source) as made:
        # Connected, so that only its packets come, and ICMP errors too. The port is the kernel's: random.
        await loop.sock_connect(made, (address, port))
        made.send(asked.wire)
        packets = 0
        while packets < PACKETS_MAX:
            try:
                async with asyncio.timeout(RESEND_SECONDS):
                    packet = await loop.sock_recv(made, UDP_OCTETS_MAX)
            except TimeoutError:
                with contextlib.suppress(OSError):
                    made.send(asked.wire)
                continue
            if (answer := asked.answered(packet)) is not None:
                return answer
            packets += 1
    raise Failed("not an answer to the question")


async def _over_tcp(asked: _Asked, address: str, port: int, source: str | None) -> dns.message.Message:
    loop = asyncio.get_running_loop()
    with await connected(address, port, source) as made:
        # RFC 1035 section 4.2.2: two octets of length
        await loop.sock_sendall(made, len(asked.wire).to_bytes(2) + asked.wire)
        length = int.from_bytes(await _exactly(made, 2))
        answer = asked.answered(await _exactly(made, length))
    if answer is None:
        raise Failed("not an answer to the question (over TCP)")
    return answer


async def _exactly(made: socket.socket, octets: int) -> bytes:
    found = bytearray()
    while len(found) < octets:
        part = await asyncio.get_running_loop().sock_recv(made, octets - len(found))
        if not part:
            raise Failed("connection closed without an answer")
        found += part
    return bytes(found)
