"""What both engines read: every answer, rendered as far as it can be known when a zone is loaded.

    Table.nodes[lower-case wire name] -> Node.plans[type] -> Plan(flags, body, choice)

A Body is a run of records in wire form that stands right after the question. It points only into the question
and, where nothing of variable length can come before it, into itself. All its pointers are listed, so that it
can be moved: `owners` point to the question's name (offset 12) and stay while the question stays; `pointers`
point to the end of the question's name or beyond and move with the length of that name.

Nothing here knows YAML, databases, clocks or sockets. All of it is immutable once published.
"""

from dataclasses import dataclass, field
from enum import Enum

from geodns.geo.partition import Rules
from geodns.table.steer import Steer

FLAG_AA = 0x0400  # RFC 1035 section 4.1.1


class Outcome(Enum):
    """What a lookup came to, in the words of RFC 1034 section 4.3.2 and RFC 2308."""

    HIT = "hit"
    NODATA = "nodata"
    NXDOMAIN = "nxdomain"
    REFERRAL = "referral"


@dataclass(frozen=True, slots=True)
class Body:
    """Records in wire form.

    `data` was laid out for a question whose name is `base` octets long. `cuts` are the shorter forms that may
    be sent when the whole does not fit, longest first: (octets of data, count of additional records); the
    shortest of them has what RFC 2181 section 9 and RFC 9471 call required, and below it the answer is
    truncated.
    """

    data: bytes
    ancount: int
    nscount: int
    arcount: int
    base: int
    pointers: tuple[int, ...] = ()  # offsets in data of pointers that move with the question's name
    owners: tuple[int, ...] = ()  # offsets in data of pointers to the question's name
    cuts: tuple[tuple[int, int], ...] = ()
    ttls: tuple[int, ...] = ()  # offsets in data of the TTLs that health may lower


@dataclass(frozen=True, slots=True)
class Plan:
    """An answer: the flags (AA and rcode), the records, and then perhaps a choice that adds more.

    The flags of what is chosen replace those of the plan (RFC 6604: a chain's rcode is that of its last
    name).
    """

    outcome: Outcome
    flags: int
    body: Body
    choice: "Choice | None" = None


@dataclass(frozen=True, slots=True)
class Alternative:
    """What one pool answers, by the index of its member.

    `plans` answer with one member alone. `records` are that member's record and nothing else, to be put
    together where several answer; there are none of a type that has one record only, CNAME and DNAME, and
    `whole`, the plan of all members, is None then.
    """

    plans: tuple[Plan, ...]
    records: tuple[Body, ...]
    whole: Plan | None


@dataclass(frozen=True, slots=True)
class Choice:
    """One or several of `alternatives`, which belong to `steer.pools`, by where the client is and what is up.

    `key` stands for `rules` where a partition is looked up: equal rules, equal key. There is one for each of
    `steer.rules`; its outcome is the index of the first of those that leads to the same.

    `default` are the record's own values, `nodata` is the answer with none.
    """

    key: str
    rules: Rules
    steer: Steer
    alternatives: tuple[Alternative, ...]
    default: Plan
    nodata: Plan
    owner: str  # presentation format: whose records are chosen here
    type: int
    values: tuple[str, ...]  # for explain: the record's own, in presentation format


@dataclass(frozen=True, slots=True)
class Dname:
    """A DNAME above the name asked for (RFC 6672).

    `plan` ends in a Body that is one DNAME record, its owner a pointer, its target not compressed (RFC 6672
    section 2.5). Names outside `apex` are not followed.
    """

    plan: Plan
    apex: bytes  # lower-case wire form


@dataclass(slots=True)
class Node:
    """An owner name, or an empty non-terminal.

    `plans` by type, `other` for every type not among them. `below` answers names under this one that do not
    exist on their own: the Plan of a referral, a Dname, or the Node of the wildcard "*" beneath; None:
    NXDOMAIN.
    """

    plans: dict[int, Plan]
    other: Plan
    below: "Plan | Dname | Node | None"
    zone: "ZoneTable"


@dataclass(slots=True, eq=False)
class ZoneTable:
    """One compiled zone. `nodes` has no name at or below a zone cut but the cut itself."""

    apex: bytes  # lower-case wire form
    file: str
    serial: int
    nxdomain: Plan
    nodes: dict[bytes, Node]
    records: int
    local: bool = False
    rules: dict[str, Rules] = field(default_factory=dict)  # by Choice.key
    steers: dict[str, Steer] = field(default_factory=dict)  # by Steer.key: those of every Choice


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Table:
    """All the zones, as one map.

    `parent_side` has the node of a delegation whose child zone is served as well: it answers for DS (RFC 4035
    section 3.1.4.1). `failed` are the zones that have a file but no good one. `overlays` have nodes that
    stand before those of the zone with the same apex, in `nodes` too.
    """

    nodes: dict[bytes, Node]
    zones: dict[bytes, ZoneTable]
    parent_side: dict[bytes, Node] = field(default_factory=dict)
    failed: frozenset[bytes] = frozenset()
    overlays: tuple[ZoneTable, ...] = ()
