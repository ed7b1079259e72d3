"""Questions over the network, many at a time: the only part of this room that sends anything."""

import errno
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from types import TracebackType
from typing import Self

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from geodns.delegation.reply import ODD_OPTION, PAYLOAD_OCTETS, Outcome, Question, Record, Reply
from geodns.name import Name

UDP_TRIES = 2  # a lost packet is no fault; two lost in a row are worth a word
AT_ONCE = 32  # questions under way; each is a thread that waits
QUESTIONS_MAX = 4000  # of one run: 32 servers with every question take a tenth of it; more is a trap
RECORDS_MAX = 1000  # of one section that are looked at; an answer about a delegation has a few dozen
ODD_FLAG = 0x0080  # one of the Z flags, RFC 6891 section 6.1.4: "MUST be set to zero by senders"

_UNROUTED = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EPERM, errno.EACCES}


class TooManyQuestions(Exception):
    """The run asks more than a delegation can need."""


class Network:
    """Asks servers over UDP and TCP. `seconds` is the time for one try; `port` where all servers listen."""

    def __init__(self, port: int, seconds: float) -> None:
        self.port = port
        self.seconds = seconds
        self._left = QUESTIONS_MAX
        self._threads = ThreadPoolExecutor(AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._threads.shutdown(wait=kind is None, cancel_futures=True)

    def ask_all(self, questions: list[tuple[Question, str]], port: int | None = None) -> list[Reply]:
        """A reply for each (question, address), in their order. Raises TooManyQuestions."""
        self._left -= len(questions)
        if self._left < 0:
            raise TooManyQuestions
        to = self.port if port is None else port
        return list(self._threads.map(lambda asked: self._ask(asked[0], asked[1], to), questions))

    def _ask(self, question: Question, address: str, port: int) -> Reply:
        message = to_message(question)
        if question.over_tcp:
            return self._over_tcp(message, address, port)
        reply = self._over_udp(message, address, port)
        if not reply.is_truncated:
            return reply
        whole = self._over_tcp(message, address, port)
        if not whole.is_answered:
            return reply
        return replace(whole, is_truncated=True)

    def _over_udp(self, message: dns.message.Message, address: str, port: int) -> Reply:
        reply = Reply(Outcome.SILENT, edns=None)
        for _ in range(UDP_TRIES):
            try:
                return to_reply(dns.query.udp(message, address, self.seconds, port, ignore_unexpected=True))
            except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
                reply = _failed(error)
                if reply.outcome is not Outcome.SILENT:
                    break
        return reply

    def _over_tcp(self, message: dns.message.Message, address: str, port: int) -> Reply:
        try:
            return to_reply(dns.query.tcp(message, address, self.seconds, port))
        except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
            return _failed(error)


def to_message(question: Question) -> dns.message.Message:
    """The query that asks it."""
    name, _ = dns.name.from_wire(question.name.wire, 0)
    message = dns.message.make_query(name, dns.rdatatype.RdataType.make(question.type))
    message.flags = dns.flags.RD if question.wants_recursion else 0
    if question.edns is not None:
        flags = (dns.flags.DO if question.wants_dnssec else 0) | (ODD_FLAG if question.is_odd else 0)
        options: list[dns.edns.Option] = []
        if question.is_odd:
            options.append(dns.edns.GenericOption(dns.edns.OptionType.make(ODD_OPTION), b"geodns"))
        message.use_edns(question.edns, flags, PAYLOAD_OCTETS, options=options)
    return message


def _failed(error: Exception) -> Reply:
    if isinstance(error, dns.exception.Timeout):
        outcome = Outcome.SILENT
    elif isinstance(error, (dns.exception.DNSException, ValueError)):
        outcome = Outcome.GARBLED
    elif isinstance(error, EOFError):
        outcome = Outcome.CLOSED
    elif isinstance(error, OSError) and error.errno in _UNROUTED:
        outcome = Outcome.NO_ROUTE
    elif isinstance(error, ConnectionError):
        outcome = Outcome.CLOSED
    else:
        outcome = Outcome.UNREACHABLE
    return Reply(outcome, edns=None)


def to_reply(message: dns.message.Message) -> Reply:
    """What an answer says."""
    return Reply(
        Outcome.ANSWERED,
        rcode=dns.rcode.to_text(message.rcode()),
        is_authoritative=bool(message.flags & dns.flags.AA),
        is_truncated=bool(message.flags & dns.flags.TC),
        has_recursion=bool(message.flags & dns.flags.RA),
        octets=len(message.wire or b""),
        edns=None if message.edns < 0 else message.edns,
        flags=message.ednsflags & 0x7FFF if message.edns >= 0 else 0,
        options=tuple(int(option.otype) for option in message.options),
        answer=_records(message.answer),
        authority=_records(message.authority),
        additional=_records(message.additional),
    )


def _records(section: list[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        Record(Name(rrset.name.to_wire() or b"\0"), int(rrset.rdtype), rrset.ttl, rdata.to_text())
        for rrset in section[:RECORDS_MAX]
        for rdata in list(rrset)[:RECORDS_MAX]
    )
