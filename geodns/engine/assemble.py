"""Putting an answer together: header, question, bodies moved to where they stand, options."""

from struct import Struct

from geodns.engine.wire import HEADER_OCTETS, OPTION_ECS, Query
from geodns.table.shape import Body

MESSAGE_OCTETS_MAX = 65535  # RFC 1035 section 4.2.2: the length over TCP has two octets

FLAG_TC = 0x0200  # RFC 1035 section 4.1.1

_FLAG_QR = 0x8000
_DO = 0x8000
_POINTER = 0xC000
_QUESTION_FIXED_OCTETS = 4  # type and class
_HEADER = Struct("!HHHHH")  # flags and the four counts
_OPT = Struct("!BHHBBHH")
_OPTION = Struct("!HH")
_WORD = Struct("!H")
_NOTHING = Body(b"", 0, 0, 0, 0)


def message(
    packet: bytes,
    query: Query,
    flags: int,
    bodies: list[Body],
    data: bytes,
    options: bytes,
    udp_size_max: int,
    stream: bool,
) -> bytes:
    """The whole answer. `data` is that of `bodies` one after the other, moved; only the last may be cut.

    What does not fit loses its optional records, and then all of them, with TC set (RFC 2181 section 9).
    """
    opt = b""
    if query.edns:
        extended = _DO if query.dnssec_ok else 0
        opt = _OPT.pack(0, 41, udp_size_max, (flags >> 4) & 0x0F, 0, extended, len(options)) + options
    limit = MESSAGE_OCTETS_MAX if stream else min(query.udp_size, udp_size_max)
    room = limit - HEADER_OCTETS - len(query.question) - len(opt)
    ancount = nscount = arcount = 0
    for body in bodies:
        ancount += body.ancount
        nscount += body.nscount
        arcount += body.arcount
    if len(data) > room:  # which is below 0 where a long NSID meets a long name
        last = bodies[-1] if bodies else _NOTHING
        before = len(data) - len(last.data)
        for octets, count in last.cuts:
            if before + octets <= room:
                data = data[: before + octets]
                arcount = count
                break
        else:
            data = b""
            ancount = nscount = arcount = 0
            flags |= FLAG_TC
    head = _HEADER.pack(
        _FLAG_QR | query.opcode_rd | (flags & 0x060F),
        1 if query.question else 0,
        ancount,
        nscount,
        arcount + 1 if opt else arcount,
    )
    return packet[:2] + head + query.question + data + opt


def placed(body: Body, name_at: int, name_octets: int, body_at: int) -> bytes:
    """`body.data` for a name of `name_octets` that stands in full at `name_at`, with the body at `body_at`.

    An owner's pointer goes to the name; a pointer into the name's end follows that end; a pointer into the
    body itself follows the body.
    """
    laid_out_at = HEADER_OCTETS + body.base + _QUESTION_FIXED_OCTETS
    name_shift = name_at + name_octets - body.base - HEADER_OCTETS
    body_shift = body_at - laid_out_at
    if name_at == HEADER_OCTETS and (not body.pointers or not (name_shift or body_shift)):
        return body.data  # it stands where it was laid out to stand
    moved = bytearray(body.data)
    if name_at != HEADER_OCTETS:
        for at in body.owners:
            _WORD.pack_into(moved, at, _POINTER | name_at)
    for at in body.pointers:
        target = (moved[at] << 8 | moved[at + 1]) & 0x3FFF
        target += name_shift if target < laid_out_at else body_shift
        _WORD.pack_into(moved, at, _POINTER | target)
    return bytes(moved)


def lowered(data: bytes, ttls: tuple[int, ...], ttl: int) -> bytes:
    """`data` with no TTL above `ttl` seconds at these offsets, where those of one RRset stand, all equal."""
    octets = ttl.to_bytes(4)
    if not ttls or data[ttls[0] : ttls[0] + 4] <= octets:
        return data
    changed = bytearray(data)
    for at in ttls:
        changed[at : at + 4] = octets
    return bytes(changed)


def option(code: int, data: bytes) -> bytes:
    """One EDNS option (RFC 6891 section 6.1.2)."""
    return _OPTION.pack(code, len(data)) + data


def subnet_option(octets: bytes, scope: int) -> bytes:
    """RFC 7871 section 7.2.1: FAMILY, SOURCE PREFIX-LENGTH and ADDRESS as in the query, with our scope."""
    return _OPTION.pack(OPTION_ECS, len(octets)) + octets[:3] + bytes((scope,)) + octets[4:]
