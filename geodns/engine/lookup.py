"""Finding the plan for a name and a type: RFC 1034 section 4.3.2 with RFC 4592's closest encloser."""

from geodns.engine.wire import CLASS_IN, TYPE_ANY, TYPE_CNAME, TYPE_DS
from geodns.table.shape import FLAG_AA, Body, Dname, Node, Outcome, Plan, Table, ZoneTable

ANY_TTL_SECONDS = 3600  # no source; long, so that asking again is not worth it (RFC 8482 section 4.2)

# RFC 8482 section 4.2: HINFO with "RFC8482" as CPU and an empty OS says that ANY is not answered in full.
_HINFO = b"\xc0\x0c\0\x0d" + CLASS_IN.to_bytes(2) + ANY_TTL_SECONDS.to_bytes(4) + b"\0\x09\x07RFC8482\0"
ANY_PLAN = Plan(Outcome.HIT, FLAG_AA, Body(_HINFO, 1, 0, 0, 0, owners=(0,)))


Found = tuple[Plan | Dname, ZoneTable]
"""What a zone says, and the zone."""


def find(table: Table, key: bytes, qtype: int) -> Found | None:
    """What the zones say of `key` (a lower-case wire name) and `qtype`; None: the name is in none of them."""
    nodes = table.nodes
    node = nodes.get(key)
    if node is None:
        node = closest_encloser(nodes, key)
        if node is None:
            return None
        below = node.below
        if below is None:
            return node.zone.nxdomain, node.zone
        if not isinstance(below, Node):
            return below, node.zone
        node = below  # the wildcard, standing in for the name
    elif qtype == TYPE_DS and table.parent_side:
        # RFC 4035 section 3.1.4.1: DS is the parent's, even where the child is served as well.
        node = table.parent_side.get(key, node)
    plan = node.plans.get(qtype)
    if plan is not None:
        return plan, node.zone
    if qtype == TYPE_ANY and node.plans and node.other.outcome is not Outcome.REFERRAL:
        return node.plans.get(TYPE_CNAME, ANY_PLAN), node.zone
    return node.other, node.zone


def closest_encloser(nodes: dict[bytes, Node], key: bytes) -> Node | None:
    """The node of the longest existing ancestor of a `key` that has none itself (RFC 4592 section 3.3.1)."""
    at = 0
    while key[at]:
        at += 1 + key[at]
        node = nodes.get(key[at:])
        if node is not None:
            return node
    return None
