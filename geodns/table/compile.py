"""From a checked zone to its table: RFC 1034 section 4.3.2 done once, when the zone is loaded.

    CheckedZone -> names, cuts, wildcards -> a Draft for each (name, type) -> Plan -> Node -> ZoneTable

A CNAME chain and additional addresses are followed inside the zone alone, so that a zone compiles the same
whatever stands beside it.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from geodns.geo.partition import Rules
from geodns.name import NAME_OCTETS_MAX, key_is_under, label_offsets
from geodns.table.render import Frame, Records, names_in, render
from geodns.table.shape import (
    FLAG_AA,
    Alternative,
    Body,
    Choice,
    Dname,
    Node,
    Outcome,
    Plan,
    Table,
    ZoneTable,
)
from geodns.table.steer import Steer
from geodns.table.steering import SINGLE_TYPES, geo_rules, steer_of
from geodns.zone import rdata
from geodns.zone.model import CheckedZone, RRset, Zone

A, NS, CNAME, SOA, AAAA, DNAME, DS, SVCB, HTTPS = 1, 2, 5, 6, 28, 39, 43, 64, 65
_NXDOMAIN, _YXDOMAIN = 3, 6  # rcodes

CNAME_CHAIN_MAX = 8  # CNAMEs in one answer; Unbound follows 11, BIND 16, and nobody needs that many
CHOICE_DEPTH_MAX = 2  # choices one after the other in one answer; each multiplies the plans that are made

_WILDCARD = b"\x01*"


def compile_zone(checked: CheckedZone) -> ZoneTable:
    """The table of a zone."""
    return _Compiler(checked.zone).table()


def link(zones: Iterable[ZoneTable], failed: Iterable[bytes] = ()) -> Table:
    """All zones as one map; a zone inside another hides what the outer one has at and below its apex.

    `failed` are the apexes (lower-case wire form) of zones that have no good version.
    """
    by_apex = {zone.apex: zone for zone in zones}
    nodes: dict[bytes, Node] = {}
    parent_side: dict[bytes, Node] = {}
    # A parent's apex is a suffix of its child's, so by length the parents come first.
    for apex in sorted(by_apex, key=len):
        if any(parent in by_apex for parent in _ancestors(apex)):
            cut = nodes.get(apex)
            if cut is not None and cut.other.outcome is Outcome.REFERRAL:
                parent_side[apex] = cut
            elif cut is not None:  # below a cut the parent has nothing; below another name it may
                for key in [key for key in nodes if key_is_under(key, apex)]:
                    del nodes[key]
        for key, node in by_apex[apex].nodes.items():  # update() would hold the threads that answer for 15 ms
            nodes[key] = node  # noqa: PERF403
    return Table(nodes, by_apex, parent_side, frozenset(failed) - by_apex.keys())


def table_rules(table: Table) -> dict[str, Rules]:
    """The rules of every choice in the table, by the key under which a snapshot has their partition."""
    found: dict[str, Rules] = {}
    for zone in table.zones.values():
        found.update(zone.rules)
    return found


def table_steers(table: Table) -> dict[str, Steer]:
    """The Steer of every choice in the table, by the key under which a snapshot has its Standing.

    Where a zone inside another has hidden a steered name of the outer one, the inner one's counts.
    """
    found: dict[str, Steer] = {}
    for apex in sorted(table.zones, key=len):
        found.update(table.zones[apex].steers)
    return found


@dataclass(slots=True)
class _Draft:
    """An answer on its way to a Plan."""

    answer: list[Records] = field(default_factory=list)
    authority: list[Records] = field(default_factory=list)
    required: list[Records] = field(default_factory=list)  # additional records that may not be left out
    optional: list[Records] = field(default_factory=list)
    outcome: Outcome = Outcome.HIT
    flags: int = FLAG_AA
    steered: RRset | None = None  # its choice ends the answer


@dataclass(frozen=True, slots=True)
class _Turn:
    """What is being rendered: for which question, under which owner (None: the question's name).

    `depth` counts the choices made before.
    """

    frame: Frame
    qtype: int
    owner: bytes | None = None
    depth: int = 0


class _Compiler:
    def __init__(self, zone: Zone) -> None:
        self._zone = zone
        self._apex = zone.apex.key
        self._rrsets = _with_aliases(zone)
        self._rules: dict[str, Rules] = {}
        self._steered: dict[tuple[bytes, int], tuple[Steer, Rules, str]] = {}  # by owner and type
        self._cuts = {
            key
            for key, types in self._rrsets.items()
            if NS in types and key != self._apex and not key.startswith(_WILDCARD)
        }
        # An asterisk is a label like any other to what stands literally below it (RFC 4592 section 2.3).
        self._dnames = {key for key, types in self._rrsets.items() if DNAME in types}
        self._names = self._visible_names()
        soa = self._rrsets[self._apex][SOA]
        minimum = int.from_bytes(soa.rdatas[0][-4:])
        # RFC 2308 section 3: the TTL of a negative answer is the lesser of the SOA's TTL and its minimum
        self._negative = Records(zone.apex.wire, SOA, min(soa.ttl, minimum), soa.rdatas)
        body = render(Frame(self._apex, exact=False), (), (self._negative,))
        self._nodata = Plan(Outcome.NODATA, FLAG_AA, body)
        self._nxdomain = Plan(Outcome.NXDOMAIN, FLAG_AA | _NXDOMAIN, body)

    def table(self) -> ZoneTable:
        zone = ZoneTable(
            apex=self._apex,
            file=self._zone.file,
            serial=self._zone.serial,
            nxdomain=self._nxdomain,
            nodes={},
            records=sum(len(rrset.rdatas) for types in self._rrsets.values() for rrset in types.values()),
            local=self._zone.local,
        )
        for key in self._names:
            zone.nodes[key] = self._node(zone, key, Frame(key, exact=True))
        for key in self._names:
            zone.nodes[key].below = self._below(zone, key)
        zone.rules = self._rules
        zone.steers = {steer.key: steer for steer, _, _ in self._steered.values()}
        return zone

    # names

    def _visible_names(self) -> dict[bytes, dict[int, RRset]]:
        """The RRsets of every name that is not below a cut or a DNAME, empty non-terminals included."""
        names: dict[bytes, dict[int, RRset]] = {}
        hidden = self._cuts | self._dnames
        for key, types in self._rrsets.items():
            if not key_is_under(key, self._apex):
                continue
            above = list(self._up_to_apex(key))
            if any(ancestor in hidden for ancestor in above):
                continue
            names[key] = types
            for ancestor in above:
                if ancestor in names:
                    break
                names[ancestor] = self._rrsets.get(ancestor, {})
        return names

    def _up_to_apex(self, key: bytes) -> Iterator[bytes]:
        """The ancestors of a name of the zone, the nearest first, down to the apex."""
        if key != self._apex:
            for ancestor in _ancestors(key):
                yield ancestor
                if ancestor == self._apex:
                    return

    def _locate(self, key: bytes) -> bytes | None:
        """Whose RRsets answer for a name: the key of itself, a wildcard or a cut above; None: nobody's."""
        if key in self._names:
            return key
        for ancestor in self._up_to_apex(key):
            if ancestor in self._names:
                if ancestor in self._cuts:
                    return ancestor
                wildcard = _WILDCARD + ancestor
                return wildcard if wildcard in self._names else None
        return None

    # nodes

    def _node(self, zone: ZoneTable, key: bytes, frame: Frame) -> Node:
        """The node of the RRsets at `key`, rendered for the questions of `frame`."""
        types = self._names[key]
        if key in self._cuts:
            plans = {DS: self._plan(frame, key, DS)}
            return Node(plans, self._plan(frame, key, NS), None, zone)
        if CNAME in types:
            wanted = self._types_behind(key) | {CNAME}
            plans = {rtype: self._plan(frame, key, rtype) for rtype in wanted}
            return Node(plans, self._plan(frame, key, 0), None, zone)
        return Node({rtype: self._plan(frame, key, rtype) for rtype in types}, self._nodata, None, zone)

    def _below(self, zone: ZoneTable, key: bytes) -> Plan | Dname | Node | None:
        """What answers for names under `key` that do not exist."""
        frame = Frame(key, exact=False)
        if key in self._cuts:
            return self._plan(frame, key, NS)
        if key in self._dnames:
            rrset = self._names[key][DNAME]
            draft = (
                _Draft(steered=rrset) if rrset.steering else _Draft([self._records(rrset, rrset.owner.wire)])
            )
            turn = _Turn(frame, DNAME, rrset.owner.wire)
            return Dname(self._finish(turn, draft, movable=True), self._apex)
        wildcard = _WILDCARD + key
        return self._node(zone, wildcard, frame) if wildcard in self._names else None

    def _types_behind(self, key: bytes) -> set[int]:
        """The types that a CNAME at `key` can come to, over every pool that it may have."""
        found: set[int] = set()
        seen = {key}
        aliases = [key]
        for _ in range(CNAME_CHAIN_MAX):
            targets = [target for alias in aliases for target in _all_rdatas(self._names[alias][CNAME])]
            aliases = []
            for place in map(self._place_of, targets):
                if place is None or place in seen:
                    continue
                seen.add(place)
                if place in self._cuts:
                    found.add(DS)
                elif CNAME in self._names[place]:
                    aliases.append(place)
                else:
                    found |= self._names[place].keys()
        return found

    def _place_of(self, target: bytes) -> bytes | None:
        """Whose RRsets answer for an alias's target, DNAMEs followed; None: no name of this zone's."""
        key = self._redirected(target).lower()
        return self._locate(key) if key_is_under(key, self._apex) else None

    def _dname_above(self, key: bytes) -> RRset | None:
        above = next((ancestor for ancestor in self._up_to_apex(key) if ancestor in self._dnames), None)
        return None if above is None else self._rrsets[above][DNAME]

    def _redirected(self, name: bytes) -> bytes:
        """The name that the DNAMEs of this zone make of one."""
        for _ in range(CNAME_CHAIN_MAX):
            dname = self._dname_above(name.lower()) if key_is_under(name.lower(), self._apex) else None
            if dname is None or dname.steering is not None:
                break
            name = _substituted(name, dname)
        return name

    # plans

    def _plan(self, frame: Frame, key: bytes, qtype: int) -> Plan:
        draft = _Draft()
        self._answer(draft, key, None, qtype, [key])
        return self._finish(_Turn(frame, qtype), draft)

    def _answer(self, draft: _Draft, key: bytes, owner: bytes | None, qtype: int, chain: list[bytes]) -> None:
        """Add what the RRsets at `key` say of `qtype`.

        The answer's owner is `owner`, None for the question's name; `chain` has the names on the way here,
        this one last.
        """
        types = self._names[key]
        at_cut = owner is None or owner.lower() == key  # and not below it, where DS is the child's as well
        if key in self._cuts and not (qtype == DS and at_cut):
            self._refer(draft, types[NS], is_chain=owner is not None)
            return
        rrset = types.get(qtype) or types.get(CNAME)
        if rrset is None:
            self._negative_answer(draft, Outcome.NODATA)
        elif rrset.steering is not None:
            draft.steered = rrset
        else:
            draft.answer.append(self._records(rrset, owner))
            if rrset.type == CNAME and qtype != CNAME:
                self._chase(draft, rrset.rdatas[0], qtype, chain)
            else:
                draft.optional += self._addresses(rrset, rrset.rdatas)

    def _chase(self, draft: _Draft, target: bytes, qtype: int, chain: list[bytes]) -> None:
        """Go on at a CNAME's target, as far as this zone knows it."""
        key = target.lower()
        if key in chain or len(chain) >= CNAME_CHAIN_MAX or not key_is_under(key, self._apex):
            return
        chain = [*chain, key]
        dname = self._dname_above(key)
        if dname is not None:
            self._redirect(draft, dname, target, qtype, chain)
            return
        place = self._locate(key)
        if place is None:
            self._negative_answer(draft, Outcome.NXDOMAIN)
        else:
            self._answer(draft, place, target, qtype, chain)

    def _redirect(self, draft: _Draft, rrset: RRset, name: bytes, qtype: int, chain: list[bytes]) -> None:
        """RFC 6672 section 3.2 for a name that an alias leads to: the DNAME, and a CNAME made of it."""
        if rrset.steering is not None:
            return  # which way depends on who asks: the resolver does, in its next question
        records = self._records(rrset, rrset.owner.wire)
        if records in draft.answer:
            return
        draft.answer.append(records)
        redirected = _substituted(name, rrset)
        if len(redirected) > NAME_OCTETS_MAX:
            draft.flags |= _YXDOMAIN
            return
        draft.answer.append(Records(name, CNAME, rrset.ttl, (redirected,)))
        self._chase(draft, redirected, qtype, chain)

    def _negative_answer(self, draft: _Draft, outcome: Outcome) -> None:
        draft.outcome = outcome
        if outcome is Outcome.NXDOMAIN:
            draft.flags |= _NXDOMAIN
        draft.authority.append(self._negative)

    def _refer(self, draft: _Draft, ns: RRset, is_chain: bool) -> None:
        """RFC 1034 section 4.3.2 step 3b; RFC 9471: glue under the cut is required, the rest is a help."""
        draft.outcome = Outcome.REFERRAL
        if not is_chain:
            draft.flags &= ~FLAG_AA
        draft.authority.append(self._records(ns, ns.owner.wire))
        for records in self._addresses(ns, ns.rdatas):
            assert records.owner is not None
            in_domain = key_is_under(records.owner.lower(), ns.owner.key)
            (draft.required if in_domain else draft.optional).append(records)

    def _addresses(self, rrset: RRset, rdatas: Iterable[bytes]) -> list[Records]:
        """The addresses of the names in these data of `rrset` that the zone has, glue included."""
        name_in = names_in(rrset.type)
        if name_in is None:
            return []
        found = {}
        for data in rdatas:
            target = name_in(data)
            if target == b"\0" and rrset.type in (SVCB, HTTPS):
                target = rrset.owner.wire  # RFC 9460 section 2.5.2: "." is the owner itself
            key = target.lower()
            types = self._types_at(key)
            for wanted in (A, AAAA):
                addresses = types.get(wanted)
                # A steered address depends on who asks for it, so it is not told in passing; glue is not
                # steered.
                if addresses is not None and (addresses.steering is None or key not in self._names):
                    found[key, wanted] = self._records(addresses, target)
        return list(found.values())

    def _types_at(self, key: bytes) -> dict[int, RRset]:
        """What the zone has for a name: glue, its own RRsets, or those of a wildcard."""
        types = self._rrsets.get(key)
        if types is None and key_is_under(key, self._apex):
            place = self._locate(key)
            types = self._names[place] if place is not None and place not in self._cuts else {}
        return types or {}

    def _records(self, rrset: RRset, owner: bytes | None) -> Records:
        return Records(owner, rrset.type, rrset.ttl, rrset.rdatas)

    def _finish(self, turn: _Turn, draft: _Draft, movable: bool = False, steered: bool = False) -> Plan:
        """Render a draft, and the choice that it ends in. A `steered` one is what a choice came to."""
        body = render(
            turn.frame, draft.answer, draft.authority, draft.required, draft.optional, movable, steered
        )
        plan = Plan(draft.outcome, draft.flags, body)
        if draft.steered is None:
            return plan
        if draft.answer:  # a chain's last CNAME leads to what is chosen from
            turn = replace(turn, owner=draft.answer[-1].rdatas[0])
        return replace(plan, choice=self._choice(turn, draft.steered))

    # choices

    def _choice(self, turn: _Turn, rrset: RRset) -> Choice:
        steer, rules, key = self._steering(rrset)
        steering = rrset.steering
        assert steering is not None
        turn = replace(turn, depth=turn.depth + 1)
        return Choice(
            key=key,
            rules=rules,
            steer=steer,
            alternatives=tuple(
                self._alternative(
                    turn, rrset, tuple(value.rdata for value in steering.pools[pool.name].values)
                )
                for pool in steer.pools
            ),
            default=self._chosen(turn, rrset, rrset.rdatas),
            nodata=self._chosen(turn, rrset, ()),
            owner=str(rrset.owner),
            type=rrset.type,
            values=tuple(rdata.to_text(rrset.type, data) for data in rrset.rdatas),
        )

    def _steering(self, rrset: RRset) -> tuple[Steer, Rules, str]:
        """What all the choices from one RRset have in common."""
        assert rrset.steering is not None
        known = self._steered.get((rrset.owner.key, rrset.type))
        if known is None:
            steer = steer_of(rrset, self._zone.apex)
            rules = geo_rules(rrset.steering, steer)
            known = self._steered[rrset.owner.key, rrset.type] = (steer, rules, _key(rules))
            self._rules[known[2]] = rules
        return known

    def _alternative(self, turn: _Turn, rrset: RRset, rdatas: tuple[bytes, ...]) -> Alternative:
        """What a pool of these values can answer."""
        plans = tuple(self._chosen(turn, rrset, (data,)) for data in rdatas)
        if rrset.type in SINGLE_TYPES:
            return Alternative(plans, (), None)
        distinct = tuple(dict.fromkeys(rdatas))
        return Alternative(
            plans=plans,
            records=tuple(
                self._record(turn, rrset, data, plan) for data, plan in zip(rdatas, plans, strict=True)
            ),
            whole=plans[0] if len(plans) == 1 else self._chosen(turn, rrset, distinct),
        )

    def _record(self, turn: _Turn, rrset: RRset, data: bytes, plan: Plan) -> Body:
        """One record alone, which it is in `plan` already if nothing else is there."""
        if not plan.body.arcount:
            return plan.body
        records = Records(turn.owner, rrset.type, rrset.ttl, (data,))
        return render(turn.frame, (records,), movable=True, steered=True)

    def _chosen(self, turn: _Turn, rrset: RRset, rdatas: tuple[bytes, ...]) -> Plan:
        """The plan of one possible choice: its records, and where a CNAME among them leads."""
        draft = _Draft()
        if not rdatas:
            draft.outcome = Outcome.NODATA
            # It is as lasting as the records that are missing.
            draft.authority.append(replace(self._negative, ttl=min(self._negative.ttl, rrset.ttl)))
            return self._finish(turn, draft, movable=True, steered=True)
        draft.answer.append(Records(turn.owner, rrset.type, rrset.ttl, rdatas))
        if rrset.type == CNAME and turn.qtype != CNAME:
            self._chase(draft, rdatas[0], turn.qtype, [rrset.owner.key])
            if turn.depth >= CHOICE_DEPTH_MAX:
                draft.steered = None
        else:
            draft.optional += self._addresses(rrset, rdatas)
        return self._finish(turn, draft, movable=True, steered=True)


def _substituted(name: bytes, dname: RRset) -> bytes:
    """RFC 6672 section 2.2: a name with the DNAME's target in place of its owner; it may be too long."""
    return name[: len(name) - len(dname.owner.wire)] + dname.rdatas[0]


def _all_rdatas(rrset: RRset) -> list[bytes]:
    pools = rrset.steering.pools.values() if rrset.steering else ()
    return [*rrset.rdatas, *(value.rdata for pool in pools for value in pool.values)]


def _with_aliases(zone: Zone) -> dict[bytes, dict[int, RRset]]:
    """The RRsets of the zone, with A and AAAA where an ALIAS says so."""
    if not zone.aliases:
        return zone.rrsets
    rrsets = {key: dict(types) for key, types in zone.rrsets.items()}
    for key, alias in zone.aliases.items():
        target = alias.target.key
        for _ in range(CNAME_CHAIN_MAX):
            types = zone.rrsets.get(target, {})
            if CNAME not in types or types[CNAME].steering is not None:
                break
            target = types[CNAME].rdatas[0].lower()
        for wanted in (A, AAAA):
            rrset = zone.rrsets.get(target, {}).get(wanted)
            if rrset is not None:
                rrsets.setdefault(key, {})[wanted] = replace(rrset, owner=alias.owner, ttl=alias.ttl)
    return rrsets


def _ancestors(key: bytes) -> Iterator[bytes]:
    """The names above `key`, the nearest first, the root last."""
    for at in label_offsets(key):
        yield key[at + 1 + key[at] :]


def _key(rules: Rules) -> str:
    return hashlib.blake2b(repr(rules).encode(), digest_size=16).hexdigest()


__all__ = ["CNAME_CHAIN_MAX", "compile_zone", "link", "table_rules", "table_steers"]
