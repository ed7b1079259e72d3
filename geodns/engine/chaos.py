"""The CHAOS class: who is this server? RFC 4892."""

from geodns.engine.snapshot import Identity
from geodns.engine.wire import CLASS_CH, TYPE_ANY
from geodns.table.shape import FLAG_AA, Body, Outcome, Plan

_TYPE_TXT = 16
_TEXT_OCTETS_MAX = 255  # one character-string


def find(identity: Identity, key: bytes, qtype: int) -> Plan | None:
    """The plan for a question in class CHAOS; None: refused, as it is for what the operator left empty."""
    text = {
        b"\x02id\x06server\0": identity.server_id,
        b"\x08hostname\x04bind\0": identity.hostname,
        b"\x07version\x04bind\0": identity.version,
        b"\x07version\x06server\0": identity.version,
    }.get(key, b"")[:_TEXT_OCTETS_MAX]
    if not text or qtype not in (_TYPE_TXT, TYPE_ANY):
        return None
    fixed = _TYPE_TXT.to_bytes(2) + CLASS_CH.to_bytes(2) + bytes(4) + (len(text) + 1).to_bytes(2)
    data = b"\xc0\x0c" + fixed + bytes([len(text)]) + text
    return Plan(Outcome.HIT, FLAG_AA, Body(data, 1, 0, 0, 0, owners=(0,)))
