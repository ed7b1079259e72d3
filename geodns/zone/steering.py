"""Steering of one record: `geo` and `dynamic` in their forms -> Steering; health checks -> HealthCheck.

Names of pools stay names here. `zonepools` adds those of `$zone`, and `checks` says which lead nowhere.
"""

import ipaddress
from collections.abc import Iterable
from dataclasses import replace

from geodns.geo import codes
from geodns.name import Name
from geodns.zone import rdata
from geodns.zone.fields import ASN_MAX, NOT_DONE, WEIGHT_MAX
from geodns.zone.forms import DynamicForm, HealthCheckForm, PoolForm, PoolSettings, RecordForm, RuleForm
from geodns.zone.model import (
    CheckKind,
    Fallback,
    HealthCheck,
    Policy,
    Pool,
    PoolValue,
    Rule,
    Status,
    Steering,
    WhenAllDown,
)
from geodns.zone.reading import Reading, child, is_null
from geodns.zone.source import Items, Mapping, Node, Text, shorten

WEIGHT_DEFAULT = 1  # octoDNS's
NO_FALLBACK = "default"
"""octoDNS's `fallback: default`: the record's own values, which is where every chain of fallbacks ends."""

_ANY = frozenset(("protocol", "interval", "timeout", "rise", "fall", "ok", "jitter", "source"))
_OCTODNS = frozenset(("protocol", "host", "path", "port"))  # it has them whatever the protocol is
_KEYS = {
    CheckKind.TCP: frozenset[str](),
    CheckKind.HTTP: frozenset(("status", "body")),
    CheckKind.HTTPS: frozenset(("status", "body", "verify")),
    CheckKind.DNS: frozenset(("question",)),
    CheckKind.EXEC: frozenset(("command",)),
    CheckKind.EXTERNAL: frozenset(("name",)),
}
"""What means something to one kind of check only."""


class SteeringReader:
    """Reads how the records of one zone are steered."""

    def __init__(self, reading: Reading, apex: Name) -> None:
        self._reading = reading
        self._apex = apex

    def read(self, where: str, rtype: int, form: RecordForm, node: Mapping) -> Steering | None:
        """The steering of a record; None when it has none, or a contradictory one."""
        if form.geo is None and form.dynamic is None:
            self._tell_without_effect(where, form, node)
            return None
        if form.geo is not None and form.dynamic is not None:
            hint = "geos can be rules of dynamic"
            at = node.key_at("geo")
            self._reading.report(at, where, "both geo and dynamic are given", hint, "geo-and-dynamic")
            return None
        check = self._record_check(where, form, node)
        when = WhenAllDown.DEFAULT if form.when_all_down is None else WhenAllDown(form.when_all_down)
        key = "geo" if form.dynamic is None else "dynamic"
        inner = child(node, key)
        if form.dynamic is None:
            pools, rules = self._geo(where, rtype, inner)
        else:
            pools, rules = self._dynamic(where, rtype, form.dynamic, inner)
        return Steering(pools, rules, self._reading.mark(inner.at), when, check)

    def _tell_without_effect(self, where: str, form: RecordForm, node: Mapping) -> None:
        hint = "it belongs to geo or dynamic"
        for key in ("when_all_down", "ttl_min"):
            if getattr(form, key) is not None:
                what = f"{key} changes nothing in a record that is not steered"
                self._reading.warn(node.key_at(key), where, what, hint, "without-steering")
        if form.octodns is not None and form.octodns.healthcheck is not None:
            octodns = child(node, "octodns")
            assert isinstance(octodns, Mapping)
            what = "nothing is checked in a record that is not steered"
            self._reading.warn(octodns.key_at("healthcheck"), where, what, hint, "without-steering")

    # --- geo ------------------------------------------------------------------------------------------------

    def _geo(self, where: str, rtype: int, node: Node) -> tuple[dict[str, Pool], tuple[Rule, ...]]:
        """A pool and a rule for each place; the next larger place stands in for it."""
        assert isinstance(node, Mapping)
        found = {code: key for key in node if (code := self._geo_code(where, key)) is not None}
        pools: dict[str, Pool] = {}
        rules: list[Rule] = []
        for code, key in found.items():
            given = node[key]
            mark = self._reading.mark(key.at)
            nodes: list[Node] = given if isinstance(given, Items) else [] if is_null(given) else [given]
            rdatas, marks = self._reading.values(where, rtype, nodes)
            values = tuple(
                PoolValue(wire, WEIGHT_DEFAULT, Status.OBEY, place)
                for wire, place in zip(rdatas, marks, strict=True)
            )
            pools[code] = Pool(code, values, Policy.ALL, place_fallbacks(code, found), mark)
            rules.append(Rule((code,), (), (), (code,), mark))
        return pools, tuple(rules)

    # --- dynamic --------------------------------------------------------------------------------------------

    def _dynamic(
        self, where: str, rtype: int, form: DynamicForm, node: Node
    ) -> tuple[dict[str, Pool], tuple[Rule, ...]]:
        pools: dict[str, Pool] = {}
        if form.pools is not None:
            pools_node = child(node, "pools")
            assert isinstance(pools_node, Mapping)
            for key, pool in pools_node.items():
                pools[str(key)] = self._pool(where, rtype, key, form.pools[str(key)], pool)
        rules_node = child(node, "rules")
        assert isinstance(rules_node, Items)
        rules = tuple(
            self._rule(where, number, rule, at)
            for number, (rule, at) in enumerate(zip(form.rules, rules_node, strict=True), 1)
        )
        return pools, rules

    def _pool(self, where: str, rtype: int, key: Text, form: PoolForm, node: Node) -> Pool:
        values: list[PoolValue] = []
        for value in form.values:
            wire = self._reading.value(where, rtype, value.value)
            if wire is not None:
                weight = WEIGHT_DEFAULT if value.weight is None else value.weight
                mark = self._reading.mark(value.value.at)
                values.append(PoolValue(wire, weight, Status(value.status), mark))
        policy = policy_of(form, (value.weight for value in form.values))
        name = str(key)
        return self.pool(where, key, form, node, policy, self._merge(where, rtype, name, policy, values))

    def pool(
        self,
        where: str,
        key: Text,
        form: PoolSettings,
        node: Node,
        policy: Policy,
        values: tuple[PoolValue, ...],
        is_shared: bool = False,
    ) -> Pool:
        """A pool with the settings of its form. `node` is what stands under the name, `key`."""
        self._reading.require_pool_name(where, key)
        check = None
        if form.healthcheck is not None:
            check = self.health_check(where, form.healthcheck, child(node, "healthcheck"), is_octodns=False)
        return Pool(
            str(key),
            values,
            policy,
            self._fallbacks(where, str(key), form, node),
            self._reading.mark(key.at),
            None if form.location is None else form.location.lat,
            None if form.location is None else form.location.lon,
            form.answers,
            form.min_up,
            int(form.slow_start or 0),
            form.bias or 0,
            check,
            is_shared,
        )

    def _fallbacks(self, where: str, name: str, form: PoolSettings, node: Node) -> tuple[Fallback, ...]:
        if not form.fallback:
            return ()
        given = child(node, "fallback")
        nodes = given if isinstance(given, Items) else [given]
        found: dict[str, Fallback] = {}
        for fallback, inner in zip(form.fallback, nodes, strict=True):
            if fallback.pool in found:
                what = f'pool "{shorten(name)}" falls back to "{shorten(fallback.pool)}" twice'
                self._reading.warn(inner.at, where, what, "give it a weight of 2", "pool-twice")
            elif fallback.pool == NO_FALLBACK and fallback.weight is not None:
                what = f'pool "{shorten(name)}" falls back to "{NO_FALLBACK}" with a weight'
                hint = f'"{NO_FALLBACK}" is the end of every chain, and no pool among others'
                self._reading.report(inner.at, where, what, hint, "bad-setting")
            else:
                weight = WEIGHT_DEFAULT if fallback.weight is None else fallback.weight
                found[str(fallback.pool)] = Fallback(str(fallback.pool), weight)
        found.pop(NO_FALLBACK, None)
        return tuple(found.values())

    def _merge(
        self, where: str, rtype: int, name: str, policy: Policy, values: Iterable[PoolValue]
    ) -> tuple[PoolValue, ...]:
        """The values of a pool, each once: where one is drawn by weight, its weights are added up."""
        merged: dict[bytes, PoolValue] = {}
        for value in values:
            known = merged.setdefault(value.rdata, value)
            if known is value:
                continue
            what = f'pool "{shorten(name)}": "{shorten(rdata.to_text(rtype, value.rdata))}" is given twice'
            at = self._reading.source.at(value.mark)
            if known.status is not value.status:
                statuses = f"{known.status.value} and {value.status.value}"
                self._reading.report(at, where, f"{what}, with the statuses {statuses}", "", "value-twice")
            elif policy is Policy.ALL:
                self._reading.warn(at, where, what, "once is enough", "value-twice")
            else:
                weight = min(known.weight + value.weight, WEIGHT_MAX)
                merged[value.rdata] = replace(known, weight=weight)
                self._reading.warn(at, where, what, f"give it a weight of {weight}", "value-twice")
        return tuple(merged.values())

    # --- rules ----------------------------------------------------------------------------------------------

    def _rule(self, where: str, number: int, form: RuleForm, node: Node) -> Rule:
        subnets = [self._subnet(where, item) for item in form.subnets or ()]
        asns = [self._asn(where, item) for item in form.asns or ()]
        geos = [self._geo_code(where, item) for item in form.geos or ()]
        return Rule(
            self._rule_pools(where, number, form, node),
            tuple(subnet for subnet in subnets if subnet is not None),
            tuple(asn for asn in asns if asn is not None),
            tuple(geo for geo in geos if geo is not None),
            self._reading.mark(node.at),
            form.nearest,
            self._rule_answers(where, number, form, node),
            1.0 if form.share is None else form.share,
        )

    def _rule_pools(self, where: str, number: int, form: RuleForm, node: Node) -> tuple[str, ...]:
        if form.pool is not None and form.pools is not None:
            what = f"rule {number} has both pool and pools"
            self._reading.report(child(node, "pools").at, where, what, "keep one of them", "bad-setting")
        if form.pools is None:
            if form.pool is None:
                what = f'rule {number}: "pool" is missing'
                self._reading.report(node.at, where, what, "or pools, for several", "missing-key")
            return () if form.pool is None else (str(form.pool),)
        names = dict.fromkeys(map(str, form.pools))
        if len(names) < len(form.pools):
            what = f"rule {number} has a pool twice"
            self._reading.warn(child(node, "pools").at, where, what, "once is enough", "pool-twice")
        return tuple(names)

    def _rule_answers(self, where: str, number: int, form: RuleForm, node: Node) -> int:
        if form.answers is None:
            return 1
        if not form.nearest:
            what = f"rule {number} has answers without nearest, which changes nothing"
            hint = "how many values answer is said by answers of the pools"
            self._reading.warn(child(node, "answers").at, where, what, hint, "answers-unused")
            return 1
        return form.answers

    def _geo_code(self, where: str, node: Node) -> str | None:
        text = str(node) if isinstance(node, Text) else ""
        wrong = codes.check(text)
        if wrong is None:
            return text
        self._reading.report(node.at, where, wrong, check="bad-geo-code")
        return None

    def _subnet(self, where: str, node: Node) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
        text = str(node) if isinstance(node, Text) else "a list or mapping"
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            pass
        hint = "such as 192.0.2.0/24 or 2001:db8::/32"
        what = f'"{shorten(text)}" is not a network'
        try:
            hint = f"the network is {ipaddress.ip_network(text, strict=False)}"
            what = f'"{shorten(text)}" has bits set behind its prefix'
        except ValueError:
            pass
        self._reading.report(node.at, where, what, hint, "bad-subnet")
        return None

    def _asn(self, where: str, node: Node) -> int | None:
        text = node.upper().removeprefix("AS") if isinstance(node, Text) else ""
        if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= ASN_MAX:
            return int(text)
        shown = f'"{shorten(node)}"' if isinstance(node, Text) else "a list or mapping"
        what = f"{shown} is not the number of an autonomous system"
        self._reading.report(node.at, where, what, "such as 64500", "bad-asn")
        return None

    # --- health checks --------------------------------------------------------------------------------------

    def _record_check(self, where: str, form: RecordForm, node: Mapping) -> HealthCheck | None:
        if form.octodns is None or form.octodns.healthcheck is None:
            return None
        inner = child(child(node, "octodns"), "healthcheck")
        return self.health_check(where, form.octodns.healthcheck, inner, is_octodns=True)

    def health_check(
        self, where: str, form: HealthCheckForm, node: Node, is_octodns: bool
    ) -> HealthCheck | None:
        """A health check; None for what octoDNS has and is not done here, which is told of."""
        if form.protocol in NOT_DONE:
            what = f"{form.protocol} checks are not done here"
            at = child(node, "protocol").at
            if is_octodns:
                self._reading.warn(at, where, f"{what}; the values count as up", "", "check-not-done")
            else:
                hint = "HTTP, HTTPS, TCP, DNS, EXEC or EXTERNAL"
                self._reading.report(at, where, what, hint, "bad-setting")
            return None
        kind = CheckKind[form.protocol]
        self._require_keys(where, kind, form, node)
        return HealthCheck(
            kind=kind,
            mark=self._reading.mark(node.at),
            port=form.port,
            host=form.host,
            host_is_value=form.host is None and "host" in form.model_fields_set,
            path=form.path,
            statuses=form.status or (),
            body=form.body,
            verify=form.verify,
            question=(form.question or self.default_question) if kind is CheckKind.DNS else ("", ""),
            command=form.command or (),
            name=form.name or "",
            interval=form.interval,
            timeout=form.timeout,
            rise=form.rise,
            fall=form.fall,
            ok=form.ok,
            jitter=form.jitter,
            source=form.source or "",
        )

    @property
    def default_question(self) -> tuple[str, str]:
        """What a DNS check asks when nothing else is said: who serves the zone can answer it."""
        return str(self._apex), rdata.type_name(rdata.SOA)

    def _require_keys(self, where: str, kind: CheckKind, form: HealthCheckForm, node: Node) -> None:
        for needed in ("command", "name"):
            if needed in _KEYS[kind] and needed not in form.model_fields_set:
                what = f'"{needed}" is missing: {kind.name} needs it'
                self._reading.report(node.at, where, what, "", "missing-key")
        assert isinstance(node, Mapping)
        for key in sorted(form.model_fields_set - _ANY - _OCTODNS - _KEYS[kind]):
            what = f'"{key}" means nothing to {kind.name} checks'
            self._reading.warn(node.key_at(key), where, what, "", "check-key")


def policy_of(form: PoolSettings, weights: Iterable[int | None]) -> Policy:
    """octoDNS's: once a weight is written, one value is drawn."""
    if form.policy is not None:
        return Policy(form.policy)
    return Policy.WEIGHTED if any(weight is not None for weight in weights) else Policy.ALL


def place_fallbacks(code: str, known: Iterable[str]) -> tuple[Fallback, ...]:
    """Of `geo`: the pool of the next larger place that the record has: NA-US for NA-US-CA."""
    while "-" in code:
        code = code.rpartition("-")[0]
        if code in known:
            return (Fallback(code),)
    return ()
