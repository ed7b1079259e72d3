"""answer(packet, client, snapshot, draw, now): the whole way of a query through the engine."""

from geodns.engine import chaos
from geodns.engine.assemble import FLAG_TC, lowered, message, option, placed, subnet_option
from geodns.engine.choose import Chosen, choose
from geodns.engine.cookie import cookie_for
from geodns.engine.decide import next_draw
from geodns.engine.left import RCODE, Left
from geodns.engine.lookup import find
from geodns.engine.snapshot import UDP_SIZE_MAX_DEFAULT, Snapshot
from geodns.engine.wire import (
    BADCOOKIE,
    CLASS_CH,
    CLASS_IN,
    FORMERR,
    HEADER_OCTETS,
    OPTION_COOKIE,
    OPTION_EDE,
    OPTION_KEEPALIVE,
    OPTION_NSID,
    REFUSED,
    SERVFAIL,
    TYPE_ANY,
    TYPE_AXFR,
    TYPE_CNAME,
    TYPE_OPT,
    YXDOMAIN,
    Query,
    read,
)
from geodns.name import NAME_OCTETS_MAX, key_is_under
from geodns.table.shape import FLAG_AA, Body, Dname, Outcome, Plan, ZoneTable
from geodns.table.steer import TTL_UNBOUND

DNAME_CHAIN_MAX = 8  # DNAMEs followed for one answer; as many as BIND follows CNAMEs at the least (no source)

EDE_NOT_READY = 14  # RFC 8914 section 4.15
EDE_NOT_AUTHORITATIVE = 20  # RFC 8914 section 4.21
EDE_NOT_SUPPORTED = 21  # RFC 8914 section 4.22

_TYPE_META_FIRST = 128  # RFC 6895 section 3.1: 128 to 255 are meta and question types
_RECORD_FIXED_OCTETS = 12  # an owner that is a pointer, type, class, TTL, length


def answer(
    packet: bytes,
    client: str,
    snapshot: Snapshot,
    draw: int,
    now: int,
    stream: bool = False,
    trace: list[Chosen] | None = None,
    left: Left | None = None,
) -> bytes | None:
    """The answer to `packet` in wire form, or None for what gets none.

    `client` is the address that asked, in text and without a scope id; `draw` 32 random bits; `now` Unix
    seconds; `stream` says that the query came over TCP. `trace` gets every choice that is made.
    `left` says what was answered; nothing of it counts for silence.
    """
    query = read(packet)
    if left is not None:
        left.clear()
    if query is None:
        return None
    bodies: list[Body] = []
    data = b""
    scope = ede = 0
    flags = query.rcode
    if not flags and query.question:
        qtype = query.qtype
        found: tuple[Plan | Dname, ZoneTable | None] | None
        if _TYPE_META_FIRST <= qtype < TYPE_ANY or qtype == TYPE_OPT:
            found = None
            flags, ede = (
                (REFUSED, EDE_NOT_SUPPORTED) if qtype <= TYPE_AXFR and qtype != TYPE_OPT else (FORMERR, 0)
            )
        elif query.qclass == CLASS_IN:
            found = find(snapshot.table, query.key, qtype)
            if found is None:
                flags, ede = _outside(snapshot, query.key)
        elif query.qclass == CLASS_CH:
            said = chaos.find(snapshot.identity, query.key, qtype)
            found = None if said is None else (said, None)
            flags = REFUSED
        else:
            found = None
            flags, ede = REFUSED, EDE_NOT_AUTHORITATIVE
        plan, zone = found or (None, None)
        if left is not None:
            left.zone = left.at = zone
        if type(plan) is Plan and plan.choice is None:
            body = plan.body
            bodies.append(body)
            flags = plan.flags
            octets = query.name_octets
            if body.base == octets or not body.pointers:
                data = body.data
            else:
                data = placed(body, HEADER_OCTETS, octets, HEADER_OCTETS + octets + 4)
        elif plan is not None:
            flags, data, scope = _follow(query, plan, client, snapshot, draw, now, bodies, trace, left)
    if left is not None:
        left.qtype, left.rcode = query.qtype, flags & RCODE
    options = b""
    if query.edns:
        options = _options(query, client, snapshot, now, stream, scope, ede)
    return message(packet, query, flags, bodies, data, options, snapshot.udp_size_max, stream)


def curtailed(packet: bytes, client: str, snapshot: Snapshot, now: int) -> bytes | None:
    """What a client is told that is over its limit: to come by TCP, or with the cookie that this has.

    RFC 7873 section 5.2.3 lets a server answer BADCOOKIE to a client that has no cookie of its yet.
    """
    query = read(packet)
    if query is None:
        return None
    options = b""
    flags = query.rcode | FLAG_TC
    if query.cookie is not None and not query.rcode and snapshot.cookie_secrets:
        options = option(OPTION_COOKIE, cookie_for(query.cookie, client, snapshot.cookie_secrets, now))
        if snapshot.rrl is not None and snapshot.rrl.badcookie:
            flags = BADCOOKIE
    return message(packet, query, flags, [], b"", options, snapshot.udp_size_max, False)


def servfail(packet: bytes) -> bytes | None:
    """What to say when the engine itself failed on `packet`."""
    query = read(packet)
    return message(packet, query, SERVFAIL, [], b"", b"", UDP_SIZE_MAX_DEFAULT, False) if query else None


def _outside(snapshot: Snapshot, key: bytes) -> tuple[int, int]:
    """The rcode and the EDE for a name in none of the zones that are served."""
    if any(key_is_under(key, apex) for apex in snapshot.table.failed):
        return SERVFAIL, EDE_NOT_READY
    return REFUSED, EDE_NOT_AUTHORITATIVE


def _follow(
    query: Query,
    found: Plan | Dname,
    client: str,
    snapshot: Snapshot,
    draw: int,
    now: int,
    bodies: list[Body],
    trace: list[Chosen] | None,
    left: Left | None,
) -> tuple[int, bytes, int]:
    """Walk the choices and DNAMEs of an answer: (flags, data, ECS scope in bits); adds to `bodies`."""
    name = query.question[:-4]  # the name being answered, in full,
    name_at = HEADER_OCTETS  # and where it stands in the message
    start = HEADER_OCTETS + len(query.question)
    data = b""
    scope = flags = 0
    has_drawn = False
    used: list[Dname] = []
    for _ in range(DNAME_CHAIN_MAX):
        plan: Plan | None = found.plan if isinstance(found, Dname) else found
        ttl = TTL_UNBOUND
        while plan is not None:
            body = plan.body
            if body.data:
                bodies.append(body)
                octets = placed(body, name_at, len(name), start + len(data))
                data += octets if ttl == TTL_UNBOUND else lowered(octets, body.ttls, ttl)
            # RFC 1035 section 4.1.1: AA is that of the first owner; RFC 6604: the rcode that of the last
            flags = flags & FLAG_AA | plan.flags
            outcome, choice, plan = plan.outcome, plan.choice, None
            if choice is not None:
                if has_drawn:
                    draw = next_draw(draw)
                has_drawn = True
                plan, parts, bits, ttl, draw = choose(
                    choice, query.subnet, client, snapshot, draw, now, trace, left
                )
                if bits > scope:
                    scope = bits
                for body in parts:
                    bodies.append(body)
                    octets = placed(body, name_at, len(name), start + len(data))
                    data += octets if ttl == TTL_UNBOUND else lowered(octets, body.ttls, ttl)
        if not isinstance(found, Dname) or outcome is not Outcome.HIT:
            break
        dname = bodies[-1]
        name = name[: len(name) - dname.base] + dname.data[_RECORD_FIXED_OCTETS:]
        if len(name) > NAME_OCTETS_MAX:
            return flags | YXDOMAIN, data, scope  # RFC 6672 section 2.2
        # The TTL as it is told, which health may have lowered.
        ttl_octets = data[len(data) - len(dname.data) :][6:10]
        cname = _synthesised(name_at, ttl_octets, name)
        name_at = start + len(data) + _RECORD_FIXED_OCTETS
        bodies.append(Body(cname, 1, 0, 0, 0))
        data += cname
        key = name.lower()
        if query.qtype in (TYPE_CNAME, TYPE_ANY) or not key_is_under(key, found.apex):
            break
        used.append(found)
        following = find(snapshot.table, key, query.qtype)
        if following is None or any(following[0] is dname for dname in used):
            break  # the resolver has this DNAME now, and sees the circle as well as we do
        found, zone = following
        if left is not None:
            left.at = zone
    return flags, data, scope


def _synthesised(name_at: int, ttl: bytes, target: bytes) -> bytes:
    """RFC 6672 section 3.1: a CNAME from the name asked for to where the DNAME sends it; the TTL is its."""
    fixed = TYPE_CNAME.to_bytes(2) + CLASS_IN.to_bytes(2) + ttl
    return (0xC000 | name_at).to_bytes(2) + fixed + len(target).to_bytes(2) + target


def _options(
    query: Query, client: str, snapshot: Snapshot, now: int, stream: bool, scope: int, ede: int
) -> bytes:
    options = b""
    if query.rcode:
        return options  # what could not be read, or has a version we do not know, has no options to answer
    if query.subnet is not None:
        options = subnet_option(query.subnet.octets, scope)
    if query.cookie is not None and snapshot.cookie_secrets:
        options += option(OPTION_COOKIE, cookie_for(query.cookie, client, snapshot.cookie_secrets, now))
    if query.nsid and snapshot.identity.server_id:
        options += option(OPTION_NSID, snapshot.identity.server_id)
    if query.keepalive and stream:
        options += option(OPTION_KEEPALIVE, snapshot.tcp_keepalive.to_bytes(2))
    if ede:
        options += option(OPTION_EDE, ede.to_bytes(2))
    return options
