"""What everybody gets: one record's answers, country by country, told by the code that serves.

    Atlas + the record's partitions --geo.atlas--> places with outcomes --engine.answer--> pools, values
                                                                       --by country--> World

One real query is answered for each combination of outcomes, from an address that has it. So `nearest`,
subnets and autonomous systems count for as many addresses of a country as they take, and a country that is
divided is told with its parts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from geodns.engine.answer import answer
from geodns.engine.choose import Chosen
from geodns.engine.decide import Decision, Hashed, Verdict, decide
from geodns.engine.snapshot import Snapshot
from geodns.explain.choice import rule_text
from geodns.geo import codes
from geodns.geo.atlas import Share
from geodns.geo.partition import OUTCOME_NOT_PUBLIC, Partition, Route, Rule
from geodns.name import Name
from geodns.table.shape import Choice
from geodns.table.steer import SHARE_ALL, Steer, WhenAllDown
from geodns.zone.rdata import type_name

MIXED_FROM = 0.02  # of a country's addresses that get another answer: one office of it makes no second colour
PARTS_MAX = 12  # of a country; the smallest ones are not told
PLACES_MAX = 20  # subdivisions named in one part
ROUNDS_MAX = 4  # of following choices to further ones: an alias by place to a name that is steered needs two
ANYBODY = "192.0.2.1"  # who asks where the address in EDNS Client Subnet decides

Divide = Callable[[tuple[Partition, ...]], Sequence[Share]]
"""`geo.atlas.shares` with an atlas; it may remember what it found for the same partitions."""


@dataclass(frozen=True, slots=True)
class Part:
    """`share` (0 to 1) of the addresses get this. `pool` is what answers, "fra" or "fra, iad", "" for the
    record's own values; `rule` counts from 1; `places` are subdivisions that get nothing else. `example` is
    the address of one who gets it.
    """

    share: float
    pool: str
    values: tuple[str, ...]
    rule: int | None
    why: str
    places: tuple[str, ...] = ()
    example: str = ""


@dataclass(frozen=True, slots=True)
class Country:
    """What most of a country gets; `parts` has all of it, the largest first, where not all get the same.

    The middle of it is where most of its addresses are (degrees, None: nobody knows).
    """

    name: str
    pool: str
    values: tuple[str, ...]
    rule: int | None
    why: str
    mixed: bool
    example: str
    latitude: float | None
    longitude: float | None
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Site:
    """A pool: whether it is up, where it is (degrees, None: nobody said), and its values, those up first."""

    is_up: bool
    latitude: float | None
    longitude: float | None
    values: tuple[str, ...]
    down: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RuleRow:
    """A rule as it stands: who, which pools, and where in the file."""

    rule: int
    who: str
    pools: tuple[str, ...]
    nearest: bool
    mark: str


@dataclass(frozen=True, slots=True)
class World:
    """Everybody's answer. `countries` by geo code ("EU-DE") is empty where all get the same; `default` is
    for addresses without a place. `steered` is the record whose pools these are, "" without any.
    """

    record: str
    rcode: str
    steered: str
    countries: dict[str, Country]
    default: Part
    pools: dict[str, Site]
    rules: tuple[RuleRow, ...]


class _Told(NamedTuple):
    """What one combination of outcomes comes to; `weight` is its part where clients are divided by shares.

    `rules` are those that lead here, by their positions: which of them it is depends on the place.
    """

    weight: float
    pool: str
    values: tuple[str, ...]
    rules: tuple[tuple[int, Rule], ...]
    why: str


def world(snapshot: Snapshot, divide: Divide, name: Name, qtype: int, now: int) -> World:
    """What this snapshot answers everywhere to `name` and `qtype`. Takes a second at worst."""
    ask = _Asker(snapshot, name, qtype, now)
    elsewhere = ask.of(ANYBODY)
    choices, shares = _divided(ask, divide, elsewhere.choices)
    told = {share.outcomes: ask.of(str(IPv4Address(share.example))).told for share in _first_of(shares)}
    places: dict[str, list[tuple[Share, tuple[_Told, ...]]]] = {}
    for share in shares:
        if share.code.count("-") and all(outcome != OUTCOME_NOT_PUBLIC for outcome in share.outcomes):
            country = "-".join(share.code.split("-")[:2])
            places.setdefault(country, []).append((share, told[share.outcomes]))
    last = next(reversed(choices), None)
    return World(
        record=f"{name} {type_name(qtype)}",
        rcode=elsewhere.rcode,
        steered="" if last is None else f"{last.owner} {type_name(last.type)}",
        countries={code: _country(code, given) for code, given in sorted(places.items())},
        default=_part(elsewhere.told[0], 1.0, ""),
        pools={} if last is None else _sites(snapshot, last.steer),
        rules=() if last is None else tuple(_rules(last)),
    )


def _divided(ask: "_Asker", divide: Divide, known: dict[str, Choice]) -> tuple[list[Choice], Sequence[Share]]:
    """Every choice that some client meets, and the places with the outcomes of all of them."""
    shares: Sequence[Share] = ()
    for _ in range(ROUNDS_MAX):
        choices = dict(known)
        if not choices:
            break
        keys = dict.fromkeys(choice.key for choice in choices.values())
        shares = divide(tuple(ask.snapshot.partitions[key] for key in keys))
        for share in _first_of(shares):
            known |= ask.of(str(IPv4Address(share.example))).choices
        if known.keys() == choices.keys():
            break
    return list(known.values()), shares


def _first_of(shares: Sequence[Share]) -> Iterator[Share]:
    """One of each combination of outcomes."""
    return iter({share.outcomes: share for share in reversed(shares)}.values())


class _Asked(NamedTuple):
    rcode: str
    told: tuple[_Told, ...]
    choices: dict[str, Choice]  # by the record whose choice it is


class _Asker:
    """Asks for one name, for clients at any address."""

    def __init__(self, snapshot: Snapshot, name: Name, qtype: int, now: int) -> None:
        self.snapshot = snapshot
        self._now = now
        self._qname = dns.name.from_wire(name.wire, 0)[0]
        self._rdtype = dns.rdatatype.RdataType.make(qtype)
        self._known: dict[str, _Asked] = {}

    def of(self, client: str) -> _Asked:
        if client not in self._known:
            self._known[client] = self._ask(client)
        return self._known[client]

    def _ask(self, client: str) -> _Asked:
        options: list[dns.edns.Option] = [] if client == ANYBODY else [dns.edns.ECSOption(client, 32, 0)]
        query = dns.message.make_query(self._qname, self._rdtype, id=0, use_edns=0, options=options)
        trace: list[Chosen] = []
        wire = answer(query.to_wire(), ANYBODY, self.snapshot, 0, self._now, stream=True, trace=trace)
        assert wire is not None  # silence is for packets that are no queries
        message = dns.message.from_wire(wire)
        rcode = dns.rcode.to_text(message.rcode())
        choices = {f"{chosen.choice.owner} {chosen.choice.type}": chosen.choice for chosen in trace}
        if not trace:
            return _Asked(rcode, (_Told(1.0, "", _values(message), (), "everybody gets this"),), choices)
        return _Asked(rcode, tuple(self._divided(trace[-1], client)), choices)

    def _divided(self, chosen: Chosen, client: str) -> Iterator[_Told]:
        """What the last choice comes to, once for each rule that takes a share of the clients."""
        steer = chosen.choice.steer
        if Hashed.SHARE not in chosen.decision.hashed:
            yield _told(chosen.choice, chosen.decision, 1.0)
            return
        partition = self.snapshot.partitions[chosen.choice.key]
        outcome = (
            partition.elsewhere if client == ANYBODY else partition.locate4(int(IPv4Address(client))).outcome
        )
        route = partition.routes[outcome] if outcome >= 0 else ()
        standing = self.snapshot.standings.get(steer.key) or steer.base
        left = 1.0
        for rest, share in _by_share(steer, route):
            taking = replace(steer, rules=tuple(replace(rule, share=SHARE_ALL) for rule in steer.rules))
            decision = decide(taking, standing, rest, chosen.subnet, 0, self._now)
            yield _told(chosen.choice, decision, left * share)
            left *= 1 - share


def _by_share(steer: Steer, route: Route) -> Iterator[tuple[Route, float]]:
    """From each step of a route on, with the part of the clients that come to it and stay there."""
    for at, step in enumerate(route):
        share = steer.rules[step.rule].share
        yield route[at:], share / SHARE_ALL
        if share == SHARE_ALL:
            return
    yield (), 1.0


def _told(choice: Choice, decision: Decision, weight: float) -> _Told:
    steer = choice.steer
    if decision.rule is None:
        return _Told(weight, "", choice.values, (), "no rule takes them; the record's own values")
    rules = tuple((at, rule) for at, rule in enumerate(choice.rules) if rule.outcome == decision.rule)
    pools = tuple(dict.fromkeys(at for at, _ in decision.members))
    name = ", ".join(steer.pools[at].name for at in pools)
    if decision.verdict is Verdict.ALL_DOWN:
        own = () if steer.when_all_down is WhenAllDown.NODATA else choice.values
        values = tuple(steer.pools[at].members[member].text for at, member in decision.members) or own
        return _Told(weight, name, values, rules, "no pool can answer now")
    opened = {looked.pool: looked.open for looked in decision.looked}
    values = tuple(steer.pools[at].members[one].text for at in pools for one in opened.get(at, ()))
    return _Told(weight, name, values, rules, _why(steer, decision, decision.rule))


def _why(steer: Steer, decision: Decision, at: int) -> str:
    """What is to be said beside whom the rule takes."""
    rule = steer.rules[at]
    words = []
    if rule.share != SHARE_ALL:
        words.append(f"it takes {rule.share / SHARE_ALL:.4g} of them")
    if rule.nearest:
        words.append(f"the nearest of {', '.join(steer.pools[pool].name for pool in rule.pools)}")
    passed = [steer.pools[looked.pool].name for looked in decision.looked if not looked.can_answer]
    if passed:
        words.append(f"{', '.join(dict.fromkeys(passed))} cannot answer now")
    return "; ".join(words)


def _rule_of(told: _Told, code: str) -> tuple[int | None, str]:
    """Which of the rules takes this place, counted from 1, and whom it takes."""
    found = None
    for at, rule in told.rules:
        fits = [len(geo) for geo in rule.geos if codes.contains(geo, code)]
        rank = (2, max(fits)) if fits else (1, 0) if rule.is_catch_all else (0, 0)
        if found is None or rank > found[0]:
            found = rank, at, rule
    if found is None:
        return None, ""
    _, at, rule = found
    geo = next((geo for geo in rule.geos if codes.contains(geo, code)), "")
    return at + 1, f"{geo} ({codes.describe(geo)})" if geo else rule_text(rule, SHARE_ALL)


def _country(code: str, given: list[tuple[Share, tuple[_Told, ...]]]) -> Country:
    total = sum(share.addresses for share, _ in given)
    parts: dict[tuple[str, tuple[str, ...], int | None], Part] = {}
    largest: dict[tuple[str, tuple[str, ...], int | None], int] = {}
    whole = _places_of_one_answer(given)
    for share, tolds in given:
        for told in tolds:
            part = _part(told, told.weight * share.addresses / total, share.code)
            key = part.pool, part.values, part.rule
            known = parts.get(key, replace(part, share=0.0))
            is_new = share.code in whole and share.code != code and share.code not in known.places
            places = (share.code,) if is_new else ()
            example = known.example
            if share.addresses > largest.get(key, 0):
                largest[key], example = share.addresses, str(IPv4Address(share.example))
            parts[key] = replace(
                known, share=known.share + part.share, places=known.places + places, example=example
            )
    ordered = sorted(parts.values(), key=lambda part: -part.share)
    most = ordered[0]
    latitude, longitude = codes.location(code) or (None, None)
    return Country(
        codes.describe(code),
        most.pool,
        most.values,
        most.rule,
        most.why,
        most.share <= 1 - MIXED_FROM,
        most.example,
        latitude,
        longitude,
        tuple(replace(part, places=part.places[:PLACES_MAX]) for part in ordered[:PARTS_MAX])
        if len(ordered) > 1
        else (),
    )


def _places_of_one_answer(given: list[tuple[Share, tuple[_Told, ...]]]) -> set[str]:
    """The subdivisions that are in one part alone."""
    answers: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for share, tolds in given:
        answers.setdefault(share.code, set()).update((told.pool, told.values) for told in tolds)
    return {code for code, found in answers.items() if len(found) == 1}


def _part(told: _Told, share: float, code: str) -> Part:
    """As it is told of one place."""
    rule, who = _rule_of(told, code)
    why = "; ".join(filter(None, [f"rule {rule}: {who}" if rule else "", told.why]))
    return Part(share, told.pool, told.values, rule, why)


def _values(message: dns.message.Message) -> tuple[str, ...]:
    return tuple(rdata.to_text() for rdata in message.answer[-1]) if message.answer else ()


def _sites(snapshot: Snapshot, steer: Steer) -> dict[str, Site]:
    standing = snapshot.standings.get(steer.key) or steer.base
    sites = {}
    for pool, found in zip(steer.pools, standing.pools, strict=True):
        texts = [member.text for member in pool.members]
        up = tuple(texts[at] for at in found.up)
        down = tuple(text for at, text in enumerate(texts) if at not in found.up)
        sites[pool.name] = Site(found.is_up, pool.latitude, pool.longitude, up, down)
    return sites


def _rules(choice: Choice) -> Iterator[RuleRow]:
    steer = choice.steer
    for at, (given, rule) in enumerate(zip(choice.rules, steer.rules, strict=True)):
        pools = tuple(steer.pools[pool].name for pool in rule.pools)
        yield RuleRow(at + 1, rule_text(given, rule.share), pools, rule.nearest, rule.mark)
