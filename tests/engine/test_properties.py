"""What holds for every packet and every place, whatever they are."""

from ipaddress import IPv4Address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geodns.engine.answer import answer
from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import read
from geodns.table.compile import table_steers
from tests.conftest import NOW, snapshot_of_golden, with_health
from tests.goldens import ANSWERS, Values
from tests.goldens import read as read_golden

SNAPSHOTS = [snapshot_of_golden(file.name) for file in sorted(ANSWERS.glob("*.md"))]
NAMES = sorted(
    {case.question.split()[0] for file in ANSWERS.glob("*.md") for case in read_golden(file).cases}
)
LABELS = st.sampled_from([b"*", b"a", b"www", b"\0", b".", b"\xff", b"x" * 63, b"wild", b"old"])

VALUES = sorted(
    {
        member.text
        for snapshot in SNAPSHOTS
        for steer in table_steers(snapshot.table).values()
        for pool in steer.pools
        for member in pool.members
    }
)
QUESTIONS = sorted(  # what is steered in one way or another
    {
        (file.name, *case.question.split()[:2])
        for file in (ANSWERS / "places.md", ANSWERS / "health.md", ANSWERS / "steering.md")
        for case in read_golden(file).cases
    }
)

texts = st.sampled_from(VALUES)
health = st.builds(
    Values,
    down=st.sets(texts, max_size=8) | st.sets(texts, max_size=8).map(lambda up: set(VALUES) - up),
    up=st.dictionaries(texts, st.integers(0, 400), max_size=20),
    doubt=st.dictionaries(texts, st.integers(1, 90), max_size=4),
)
snapshots = st.builds(with_health, st.sampled_from(SNAPSHOTS), health)
clients = st.ip_addresses().map(str)
draws = st.integers(0, 2**32 - 1)
types = st.sampled_from([1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 41, 43, 46, 65, 251, 252, 255, 0, 65535])


@st.composite
def names(draw: st.DrawFn) -> bytes:
    """A wire name: one of the goldens', perhaps with labels in front and in another case."""
    base = dns.name.from_text(draw(st.sampled_from(NAMES))).to_wire() or b"\0"
    front = b"".join(bytes([len(label)]) + label for label in draw(st.lists(LABELS, max_size=3)))
    wire = front + base if len(front + base) <= 255 else base
    return wire.upper() if draw(st.booleans()) and b"X" * 63 not in wire.upper() else wire


@st.composite
def options(draw: st.DrawFn) -> bytes:
    """EDNS options: the known ones well and badly formed, and others."""
    code = draw(st.sampled_from([3, 8, 8, 8, 10, 11, 15, 65001]))
    data = draw(st.binary(max_size=45))
    if code == 8 and draw(st.booleans()):
        family = draw(st.sampled_from([1, 2]))
        width = 32 if family == 1 else 128
        source = draw(st.integers(0, width))
        address = draw(st.integers(0, 2**width - 1)) >> (width - source) << (width - source)
        octets = address.to_bytes(width // 8)[: (source + 7) // 8]
        data = bytes([0, family, source, 0]) + octets
    return code.to_bytes(2) + len(data).to_bytes(2) + data


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """A query that is nearly or wholly in order."""
    question = (
        draw(names()) + draw(types).to_bytes(2) + draw(st.sampled_from([b"\0\1"] * 6 + [b"\0\3", b"\0\xff"]))
    )
    edns = draw(st.booleans())
    extra = b""
    if edns:
        data = b"".join(draw(st.lists(options(), max_size=3)))
        size = draw(st.sampled_from([0, 512, 600, 1232, 4096, 65535]))
        extra = (
            b"\0\0\x29"
            + size.to_bytes(2)
            + draw(st.binary(min_size=4, max_size=4).map(lambda b: b"\0\0" + b[2:]))
        )
        extra += len(data).to_bytes(2) + data
    flags = draw(st.sampled_from([b"\x01\x00"] * 5 + [b"\x00\x00", b"\x29\x00", b"\x79\xff"]))
    whole = b"\x12\x34" + flags + b"\0\1\0\0\0\0\0" + bytes([edns]) + question + extra
    if draw(st.integers(0, 9)) == 0:  # and now and then one octet is wrong
        at = draw(st.integers(0, len(whole) - 1))
        whole = whole[:at] + draw(st.binary(min_size=1, max_size=1)) + whole[at + 1 :]
    return whole


@given(packets() | st.binary(max_size=120), clients, snapshots, draws, st.booleans())
@settings(max_examples=1000, deadline=None)
@example(b"\x12\x34\x01\0\0\1\0\0\0\0\0\0\0\0\xff\0\1", "192.0.2.1", SNAPSHOTS[0], 0, False)
def test_every_query_gets_one_sound_answer(
    packet: bytes, client: str, snapshot: Snapshot, draw: int, stream: bool
) -> None:
    """No packet raises; an answer is well formed, repeats the question, fits, and is not answered itself."""
    wire = answer(packet, client, snapshot, draw, NOW, stream)
    if wire is None:
        assert len(packet) < 12 or packet[2] & 0x80
        return
    assert wire[:2] == packet[:2]
    assert wire[2] & 0x80
    assert answer(wire, client, snapshot, draw, NOW, stream) is None
    query = read(packet)
    assert query is not None
    limit = 65535 if stream else min(query.udp_size, 1232)
    assert len(wire) <= max(limit, 12 + len(query.question) + 11)
    assert wire[12 : 12 + len(query.question)] == query.question
    if packet[2] & 0x78:
        assert wire[3] & 0x0F == dns.rcode.NOTIMP or query.rcode
        return
    if query.subnet is None or query.subnet.family:  # dnspython does not read ECS of no family
        message = dns.message.from_wire(wire)
        assert (message.edns == 0) == query.edns
        if message.flags & dns.flags.TC:
            assert not message.answer


@given(packets(), snapshots, draws, st.booleans())
@settings(max_examples=300, deadline=None)
def test_what_fits_is_the_whole_answer(packet: bytes, snapshot: Snapshot, draw: int, stream: bool) -> None:
    """Over UDP comes what comes over TCP, or its beginning without optional addresses, or TC and nothing."""
    small = answer(packet, "192.0.2.53", snapshot, draw, NOW)
    whole = answer(packet, "192.0.2.53", snapshot, draw, NOW, stream=True)
    assert (small is None) == (whole is None)
    query = read(packet)
    if small is None or whole is None or packet[2] & 0x78 or query is None or query.rcode:
        return
    if query.subnet is not None and not query.subnet.family:
        return
    few, all_ = dns.message.from_wire(small), dns.message.from_wire(whole)
    assert all_.rcode() == few.rcode()
    if not few.flags & dns.flags.TC:
        assert (all_.answer, all_.authority) == (few.answer, few.authority)
        assert {str(r.name) for r in few.additional} <= {str(r.name) for r in all_.additional}


@given(st.sampled_from(QUESTIONS), health, st.integers(127 << 24, (127 << 24) + 0x2A0000), draws)
@settings(max_examples=500, deadline=None)
def test_who_wants_to_know_why_gets_the_same_answer(
    question: tuple[str, str, str], values: Values, client: int, draw: int
) -> None:
    """The short way for what is usual comes to what the long way, which explain sees, comes to."""
    file, name, rtype = question
    packet = dns.message.make_query(name, rtype).to_wire()
    situation = (packet, str(IPv4Address(client)), with_health(snapshot_of_golden(file), values), draw, NOW)
    expected = answer(*situation, trace=[])
    assert expected == answer(*situation)


@given(
    question=st.sampled_from(QUESTIONS),
    values=health,
    address=st.integers(127 << 24, (127 << 24) + 0x2A0000) | st.integers(0, 2**32 - 1),
    other=st.integers(0, 2**32 - 1),
    draw=draws,
)
@settings(max_examples=500, deadline=None)
def test_within_its_scope_an_answer_is_the_same_for_everybody(
    question: tuple[str, str, str], values: Values, address: int, other: int, draw: int
) -> None:
    """RFC 7871: whoever caches an answer for its scope gives nobody an answer that we would not give."""
    file, name, rtype = question
    snapshot = with_health(snapshot_of_golden(file), values)

    def ask(value: int) -> dns.message.Message:
        subnet = dns.edns.ECSOption(str(IPv4Address(value)), 32, 0)
        query = dns.message.make_query(name, rtype, id=1)
        query.use_edns(0, options=[subnet])
        wire = answer(query.to_wire(), "127.5.0.1", snapshot, draw, NOW, stream=True)
        assert wire is not None
        return dns.message.from_wire(wire)

    first = ask(address)
    (option,) = first.options
    host = (1 << (32 - option.scopelen)) - 1
    neighbour = ask(address & ~host | other & host)
    assert first.answer == neighbour.answer
    assert first.options[0].scopelen == neighbour.options[0].scopelen


@given(draws)
def test_a_draw_is_a_share(draw: int) -> None:
    """A weighted pool of 3 and 1 answers with the first value for the lower three quarters of the draws."""
    subnet = dns.edns.ECSOption("127.1.3.0", 24, 0)
    query = dns.message.make_query("app.example.com.", "A", options=[subnet])
    wire = answer(query.to_wire(), "192.0.2.53", snapshot_of_golden("places.md"), draw, NOW)
    assert wire is not None
    expected = "203.0.113.51" if draw < 3 << 30 else "203.0.113.52"
    assert expected == str(dns.message.from_wire(wire).answer[0][0])
