"""TXT records that come and go while a zone is served: ACME challenges.

    Table, {owner: TXT data} --overlaid--> Table with a few Nodes in front of those of its zones

No zone is compiled again, whatever its size. What is put in front answers as if it stood in the zone file,
with two differences on purpose: the SOA's serial is that of the file, and a name between a challenge and what
the file has (`foo` above `_acme-challenge.foo`) goes on to be answered by a wildcard that stands in for it,
so that nobody who asks for a certificate takes a site out of the net.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import dns.name

from geodns.name import Name, label_offsets
from geodns.table.compile import CNAME_CHAIN_MAX
from geodns.table.render import Frame, Records, render
from geodns.table.shape import FLAG_AA, Dname, Node, Outcome, Plan, Table, ZoneTable

CNAME, TXT = 5, 16
TTL_SECONDS = 0  # a challenge is for whoever asks now; the next one has another value

_HEADER_OCTETS = 12
_OWNER_OCTETS = 2  # a pointer to the question's name, as all owners in a TXT or CNAME answer are
_FIXED_OCTETS = 10  # type, class, TTL, length

Texts = Mapping[bytes, tuple[bytes, ...]]
"""By owner (lower-case wire form), the data of its TXT records in wire form."""


class Misplaced(ValueError):
    """There can be no TXT record of ours at a name; the message says why, and what to do."""


def overlaid(table: Table, texts: Texts) -> Table:
    """`table` with these records, which stand beside those of the same owner; the very same one without any.

    What can not be placed (a zone may have changed since) is left out.
    """
    if not texts:
        return table
    patch = _Patch(table)
    for owner, rdatas in texts.items():
        try:
            patch.add(place(table, owner), rdatas)
        except Misplaced:
            continue
    return patch.table()


def place(table: Table, owner: bytes) -> list[bytes]:
    """The aliases that begin at `owner` and, last, the name whose TXT records they lead to.

    A CA follows them (RFC 8555 section 8.4 leaves it to the resolver). Raises Misplaced.
    """
    path = [owner]
    while (target := _target(table, path)) is not None:
        if target in path or len(path) > CNAME_CHAIN_MAX:
            chain = " -> ".join(str(Name(name)) for name in [*path, target])
            raise Misplaced(f"the aliases lead nowhere: {chain}")
        path.append(target)
    return path


def _target(table: Table, path: list[bytes]) -> bytes | None:
    """Where the last name of `path` leads, if it is an alias. Raises Misplaced where no record can be."""
    key = path[-1]
    node = table.nodes.get(key)
    found = node
    if found is None:
        found = next((table.nodes[above] for above in _ancestors(key) if above in table.nodes), None)
    if found is None:
        raise Misplaced(_elsewhere(path))
    if found.zone.local:
        raise Misplaced(f"{Name(key)} is in a built-in zone, which nobody gets a certificate for")
    if isinstance(found.below, Plan):  # a referral: this is a zone cut, or below one
        hint = "set it on the nameservers of that zone"
        raise Misplaced(f"{Name(key)} is in a zone that is delegated to others; {hint}")
    if node is None:
        if isinstance(found.below, Dname):
            raise Misplaced(f"{Name(key)} is below a DNAME, which leads away all names under it")
        return None
    for rtype in (CNAME, TXT):
        if rtype in node.plans and node.plans[rtype].choice is not None:
            kind = "alias leads elsewhere" if rtype == CNAME else "TXT records are others"
            raise Misplaced(f"the {kind} for each place at {Name(key)}, so that no challenge can stand there")
    return _alias_target(key, node.plans[CNAME]) if CNAME in node.plans else None


def _elsewhere(path: list[bytes]) -> str:
    if len(path) == 1:
        return f"no zone that is served has the name {Name(path[0])}"
    hint = "set the challenge where that is served"
    return f"{Name(path[-2])} is an alias of {Name(path[-1])}, which is in no zone that is served; {hint}"


def _alias_target(key: bytes, plan: Plan) -> bytes:
    """The lower-case target of a CNAME, whose rendered form may point into the question's name."""
    message = b"\0" * _HEADER_OCTETS + key + b"\0" * 4 + plan.body.data
    at = len(message) - len(plan.body.data) + _OWNER_OCTETS + _FIXED_OCTETS
    return Name.from_labels([*dns.name.from_wire(message, at)[0].labels[:-1]]).key


def _data_of(plan: Plan) -> list[bytes]:
    """The data of the TXT records that a plan answers with."""
    found = []
    data, at = plan.body.data, 0
    for _ in range(plan.body.ancount):
        at += _OWNER_OCTETS + _FIXED_OCTETS
        length = int.from_bytes(data[at - 2 : at])
        found.append(data[at : at + length])
        at += length
    return found


class _Patch:
    """The nodes that go in front of those of a table."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._nodes: dict[bytes, Node] = {}
        self._rdatas: dict[bytes, dict[bytes, None]] = {}  # by owner: each once, RFC 2181 section 5

    def add(self, path: list[bytes], rdatas: tuple[bytes, ...]) -> None:
        """Have the last name of `path` answer with these data; the others are aliases on the way."""
        for alias in path[:-1]:
            # The answer ends with the alias and the resolver asks for its target: what stands in the rendered
            # chain is what was there before.
            node = self._node(alias)
            assert node is not None
            self._nodes[alias] = replace(node, plans=node.plans | {TXT: node.plans[CNAME]})
        self._rdatas.setdefault(path[-1], {}).update(dict.fromkeys(rdatas))

    def table(self) -> Table:
        for owner, rdatas in self._rdatas.items():
            self._put(owner, tuple(rdatas))
        overlays: dict[bytes, ZoneTable] = {}
        for key, node in self._nodes.items():
            overlay = overlays.get(node.zone.apex)
            if overlay is None:
                overlay = overlays[node.zone.apex] = replace(node.zone, nodes={}, rules={}, steers={})
            overlay.nodes[key] = node
        nodes = self._table.nodes | self._nodes
        return replace(self._table, nodes=nodes, overlays=tuple(overlays.values()))

    def _node(self, key: bytes) -> Node | None:
        return self._nodes.get(key) or self._table.nodes.get(key)

    def _put(self, owner: bytes, rdatas: tuple[bytes, ...]) -> None:
        # not self._node: what was made for a name below it stands in for a wildcard
        node = self._table.nodes.get(owner) or self._new(owner)
        if TXT in node.plans:
            rdatas = tuple(dict.fromkeys([*_data_of(node.plans[TXT]), *rdatas]))
        body = render(Frame(owner, exact=True), (Records(None, TXT, TTL_SECONDS, rdatas),))
        plan = Plan(Outcome.HIT, FLAG_AA, body)
        self._nodes[owner] = replace(node, plans=node.plans | {TXT: plan})

    def _new(self, owner: bytes) -> Node:
        """A node for a name that does not exist, without records; the names above it are made as well."""
        above = list(_ancestors(owner))
        nodes = [self._node(name) for name in above]
        encloser = next(node for node in nodes if node is not None)
        between = above[: nodes.index(encloser)]
        zone, below = encloser.zone, encloser.below
        assert below is None or isinstance(below, Node)
        nodata = Plan(Outcome.NODATA, FLAG_AA, zone.nxdomain.body)
        for name in between:
            # RFC 8020: what has names below it is no NXDOMAIN
            stand_in = Node({}, nodata, None, zone) if below is None else below
            self._nodes[name] = Node(stand_in.plans, stand_in.other, below, zone)
        return Node({}, nodata, below, zone)


def _ancestors(key: bytes) -> Iterator[bytes]:
    for at in label_offsets(key):
        yield key[at + 1 + key[at] :]
