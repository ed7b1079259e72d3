"""Reading a query. Every octet is untrusted; what cannot be answered is None, what is wrong has an rcode."""

from struct import Struct

from geodns.name import LABEL_OCTETS_MAX, NAME_OCTETS_MAX

HEADER_OCTETS = 12

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, YXDOMAIN = 0, 1, 2, 3, 4, 5, 6
BADVERS = 16  # RFC 6891 section 9
BADCOOKIE = 23  # RFC 7873 section 8

TYPE_CNAME, TYPE_OPT, TYPE_DS = 5, 41, 43
TYPE_IXFR, TYPE_AXFR, TYPE_ANY = 251, 252, 255
CLASS_IN, CLASS_CH = 1, 3

OPTION_NSID, OPTION_ECS, OPTION_COOKIE, OPTION_KEEPALIVE, OPTION_EDE = 3, 8, 10, 11, 15

UDP_SIZE_WITHOUT_EDNS = 512  # octets; RFC 1035 section 2.3.4

_COUNTS = Struct("!HHHH")
_OPT = Struct("!BHHBBHH")  # root owner, type, size, upper rcode, version, flags, length of the options
_OPTION = Struct("!HH")
_FIXED = Struct("!HHIH")  # type, class, TTL, length of the data
_OPT_OCTETS = 11
_DO = 0x8000


class ClientSubnet:
    """EDNS Client Subnet as it was sent (RFC 7871 section 6), found to be well formed.

    `octets` are FAMILY, SOURCE PREFIX-LENGTH and SCOPE (zero) and ADDRESS, as they are echoed.
    """

    __slots__ = ("address", "family", "octets", "source")

    def __init__(self, family: int, source: int, address: int, octets: bytes) -> None:
        self.family = family  # 4 or 6; 0 when the option names no address at all
        self.source = source  # bits
        self.address = address  # the whole address as an integer, zeros behind the prefix
        self.octets = octets


class Query:
    """A question and what came with it.

    `rcode` is what reading it came to; anything but 0 is an answer already.
    """

    __slots__ = (
        "cookie",
        "dnssec_ok",
        "edns",
        "keepalive",
        "key",
        "name_octets",
        "nsid",
        "opcode_rd",
        "qclass",
        "qtype",
        "question",
        "rcode",
        "subnet",
        "udp_size",
    )

    def __init__(self, opcode_rd: int) -> None:
        self.opcode_rd = opcode_rd  # the bits of the header that an answer repeats
        self.rcode = NOERROR
        self.question = b""  # octets of the question section, echoed as they came (RFC 4343: case stays)
        self.key = b"\0"
        self.name_octets = 0
        self.qtype = 0
        self.qclass = 0
        self.edns = False
        self.udp_size = UDP_SIZE_WITHOUT_EDNS
        self.dnssec_ok = False
        self.nsid = False
        self.keepalive = False
        self.cookie: bytes | None = None
        self.subnet: ClientSubnet | None = None


def read(packet: bytes) -> Query | None:
    """The query in `packet`, or None for what gets no answer: too short, or an answer itself (QR=1)."""
    if len(packet) < HEADER_OCTETS or packet[2] & 0x80:
        return None
    query = Query((packet[2] & 0x79) << 8)
    qdcount, ancount, nscount, arcount = _COUNTS.unpack_from(packet, 4)
    at = HEADER_OCTETS
    if qdcount == 1:
        end = _walk(packet, HEADER_OCTETS, pointers=False)
        if not end or end + 4 > len(packet):
            query.rcode = NOTIMP if query.opcode_rd & 0x7800 else FORMERR
            return query
        query.key = packet[HEADER_OCTETS:end].lower()
        query.name_octets = end - HEADER_OCTETS
        at = end + 4
        query.question = packet[HEADER_OCTETS:at]
        query.qtype = packet[end] << 8 | packet[end + 1]
        query.qclass = packet[end + 2] << 8 | packet[end + 3]
    if query.opcode_rd & 0x7800:
        if qdcount < 2:  # RFC 6891 section 6.1.1: an OPT is answered with an OPT, even now
            _read_additional(query, packet, at, ancount + nscount, arcount)
        query.rcode = NOTIMP
    elif qdcount > 1 or ancount or (nscount and query.qtype != TYPE_IXFR):
        query.rcode = FORMERR  # RFC 9619; a query has a question and nothing else before its options
    else:
        _read_additional(query, packet, at, nscount, arcount)
        if not qdcount and not query.rcode and query.cookie is None:
            query.rcode = FORMERR  # RFC 7873 section 5.4: only a cookie may be asked for without a question
    return query


def _walk(packet: bytes, at: int, *, pointers: bool) -> int:
    """The offset behind the name at `at`; 0 if there is none. A pointer ends it, where one is allowed."""
    start = at
    size = len(packet)
    while at < size:
        length = packet[at]
        if not length:
            return at + 1 if at + 1 - start <= NAME_OCTETS_MAX else 0
        if length >= 0xC0:
            return at + 2 if pointers and at + 2 <= size else 0
        if length > LABEL_OCTETS_MAX:
            return 0
        at += 1 + length
    return 0


def _read_additional(query: Query, packet: bytes, at: int, nscount: int, arcount: int) -> None:
    size = len(packet)
    for _ in range(nscount + arcount):
        if size - at >= _OPT_OCTETS and packet[at : at + 3] == b"\0\0\x29":
            if query.edns:
                query.rcode = FORMERR  # RFC 6891 section 6.1.1: more than one OPT
                return
            _, _, udp_size, _, version, flags, length = _OPT.unpack_from(packet, at)
            at += _OPT_OCTETS
            query.edns = True
            query.udp_size = max(udp_size, UDP_SIZE_WITHOUT_EDNS)  # RFC 6891 section 6.2.3
            query.dnssec_ok = bool(flags & _DO)
            if version:
                query.rcode = BADVERS
                return
            if at + length > size:
                query.rcode = FORMERR
                return
            if length:
                _read_options(query, packet, at, at + length)
                if query.rcode:
                    return
            at += length
        else:
            at = _walk(packet, at, pointers=True)
            if not at or at + _FIXED.size > size:
                query.rcode = FORMERR
                return
            at += _FIXED.size + _FIXED.unpack_from(packet, at)[3]
    if at != size:
        query.rcode = FORMERR  # octets behind the last record, or a record that is cut off


def _read_options(query: Query, packet: bytes, at: int, end: int) -> None:
    while at < end:
        if at + 4 > end:
            query.rcode = FORMERR
            return
        code, length = _OPTION.unpack_from(packet, at)
        at += 4
        if at + length > end:
            query.rcode = FORMERR
            return
        if code == OPTION_ECS:
            subnet = _read_subnet(packet[at : at + length])
            if subnet is None or query.subnet is not None:
                query.rcode = FORMERR
                return
            query.subnet = subnet
        elif code == OPTION_COOKIE:
            # RFC 7873 section 5.2.2: 8 octets of the client, and perhaps 8 to 32 of a server.
            if length != 8 and not 16 <= length <= 40:
                query.rcode = FORMERR
                return
            if query.cookie is None:
                query.cookie = packet[at : at + length]  # the first one counts, section 5.2
        elif code == OPTION_NSID:
            query.nsid = True
        elif code == OPTION_KEEPALIVE:
            if length:
                query.rcode = FORMERR  # RFC 7828 section 3.2.1: a client sends no timeout
                return
            query.keepalive = True
        at += length


def _read_subnet(octets: bytes) -> ClientSubnet | None:
    """RFC 7871 section 7.1.2 and 7.2.1: anything malformed is FORMERR, so None."""
    if len(octets) < 4 or octets[3]:  # SCOPE PREFIX-LENGTH must be 0 in queries
        return None
    family = octets[0] << 8 | octets[1]
    source = octets[2]
    address = octets[4:]
    if family == 1:
        width, family = 32, 4
    elif family == 2:
        width, family = 128, 6
    elif family == 0 and not source and not address:
        return ClientSubnet(0, 0, 0, octets)  # "no address": what some clients send to opt out
    else:
        return None
    if source > width or len(address) != (source + 7) >> 3:
        return None
    value = int.from_bytes(address) << (width - len(address) * 8)
    if value & ((1 << (width - source)) - 1):
        return None  # "bits set past the prefix"
    return ClientSubnet(family, source, value, octets)
