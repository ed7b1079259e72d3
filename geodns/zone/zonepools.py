"""`$zone.pools`: pools of sites, which give every record the values of its own type.

    ZonePoolForm --read--> ZonePool (a site has data for each type)
    Steering that names pools --add--> Steering with them, and those that they fall back to

`$zone` may stand behind the records, so `add` comes when the whole file is read.
"""

import difflib
from dataclasses import replace

from geodns.zone import rdata
from geodns.zone.fields import VALUES_MAX, WEIGHT_MAX
from geodns.zone.forms import SiteForm, ZonePoolForm
from geodns.zone.model import Mark, Policy, Pool, PoolValue, Rdata, Site, Status, Steering, ZonePool
from geodns.zone.rdata import AAAA, A, BadRdata
from geodns.zone.reading import Reading, child
from geodns.zone.source import Items, Mapping, Node, Text, shorten
from geodns.zone.steering import WEIGHT_DEFAULT, SteeringReader, policy_of

_NO_TYPES = ("weight", "status")  # keys of a site that are no types


class ZonePools:
    """The pools of `$zone` of one file. `where` is how its problems call them."""

    def __init__(self, reading: Reading, steering: SteeringReader, where: str) -> None:
        self.pools: dict[str, ZonePool] = {}
        self._reading = reading
        self._steering = steering
        self._where = where
        self._broken: set[str] = set()
        self._made: dict[tuple[str, int], Pool] = {}

    def read(self, forms: dict[str, ZonePoolForm], node: Node) -> None:
        assert isinstance(node, Mapping)
        for key, inner in node.items():
            before = len(self._reading.source.problems)
            self.pools[str(key)] = self._pool(key, forms[str(key)], inner)
            if any(problem.is_error for problem in self._reading.source.problems[before:]):
                self._broken.add(str(key))

    def read_broken(self, node: Node | None) -> None:
        """Of a `$zone` that cannot be read, only the names: what asks for them is not to blame."""
        pools = node.get("pools") if isinstance(node, Mapping) else None  # type: ignore[call-overload]
        for key in pools if isinstance(pools, Mapping) else ():
            pool = Pool(str(key), (), Policy.ALL, (), self._reading.mark(key.at), is_shared=True)
            self.pools[str(key)] = ZonePool(pool, ())
            self._broken.add(str(key))

    def add(self, steering: Steering, rtype: int) -> bool:
        """Add to a record's pools those that it has of the zone. False: one of them is broken."""
        wanted = [name for rule in steering.rules for name in rule.pools]
        wanted += [fallback.pool for pool in steering.pools.values() for fallback in pool.fallbacks]
        fine = True
        while wanted:
            name = wanted.pop()
            if name in steering.pools or name not in self.pools:
                continue
            pool = steering.pools[name] = self._of_type(name, rtype)
            wanted += [fallback.pool for fallback in pool.fallbacks]
            fine = fine and name not in self._broken
        return fine

    def _of_type(self, name: str, rtype: int) -> Pool:
        """A pool with the values of one type, which all records of that type share."""
        if (name, rtype) not in self._made:
            known = self.pools[name]
            same: dict[Rdata, list[PoolValue]] = {}
            for site in known.sites:
                for at, (wire, mark) in enumerate(site.datas.get(rtype, ())):
                    value = PoolValue(
                        wire, site.weight, site.status, mark, _numbered(site.id, at), site.addresses
                    )
                    same.setdefault(wire, []).append(value)
            self._made[name, rtype] = replace(known.pool, values=tuple(map(_merged, same.values())))
        return self._made[name, rtype]

    # --- reading --------------------------------------------------------------------------------------------

    def _pool(self, key: Text, form: ZonePoolForm, node: Node) -> ZonePool:
        given = child(node, "values")
        nodes = given if isinstance(given, Items) else [given]
        ids: set[bytes] = set()
        sites = tuple(self._site(site, inner, ids) for site, inner in zip(form.values, nodes, strict=True))
        if not sites:
            self._reading.report(
                given.at, self._where, f'pool "{shorten(key)}" has no values', "", "no-value"
            )
        policy = policy_of(form, (site.weight for site in form.values))
        pool = self._steering.pool(self._where, key, form, node, policy, (), is_shared=True)
        return ZonePool(pool, sites)

    def _site(self, form: SiteForm, node: Node, ids: set[bytes]) -> Site:
        datas: dict[int, tuple[tuple[Rdata, Mark], ...]] = {}
        for name, given in (form.model_extra or {}).items():
            at = node.key_at(name) if isinstance(node, Mapping) else node.at
            rtype = self._type(name, at)
            if rtype is None:
                continue
            if rtype in datas:
                what = f"the site has {rdata.type_name(rtype)} data already"
                self._reading.report(at, self._where, what, "put it into one list", "record-twice")
                continue
            nodes = given if isinstance(given, Items) else [given]
            if len(nodes) > VALUES_MAX:
                what = f"{len(nodes):,} values; {VALUES_MAX:,} are allowed"
                self._reading.report(nodes[VALUES_MAX].at, self._where, what, check="too-many-values")
                continue
            wires, marks = self._reading.values(self._where, rtype, nodes)
            datas[rtype] = tuple(zip(wires, marks, strict=True))
        if not form.model_extra:
            hint = "such as {A: 203.0.113.10}"
            self._reading.report(node.at, self._where, "the site has no data", hint, "no-value")
        mark = self._reading.mark(node.at)
        weight = WEIGHT_DEFAULT if form.weight is None else form.weight
        addresses = tuple(
            rdata.to_text(rtype, wire) for rtype in (A, AAAA) for wire, _ in datas.get(rtype, ())
        )
        return Site(_id(datas, ids), datas, weight, Status(form.status), mark, addresses)

    def _type(self, name: str, at: int) -> int | None:
        try:
            return rdata.type_number(str(name))
        except BadRdata as error:
            known = [*_NO_TYPES, "A", "AAAA", "CNAME", "HTTPS", "MX", "SRV", "SVCB", "TXT"]
            close = difflib.get_close_matches(name, known, 1) or difflib.get_close_matches(
                name.upper(), known, 1
            )
            hint = f"did you mean {close[0]}?" if close else "a site has data by type, weight and status"
            self._reading.report(at, self._where, str(error), hint, "unknown-type")
            return None


def _id(datas: dict[int, tuple[tuple[Rdata, Mark], ...]], taken: set[bytes]) -> bytes:
    """What stands for a site: its first address, or else its first data, as long as no other has it. So it
    stays the same when sites are added, removed or put in another order, or get data of other types.
    """
    parts = [
        rtype.to_bytes(2) + len(wire).to_bytes(2) + wire
        for rtype in sorted(datas, key=lambda rtype: (rtype not in (A, AAAA), rtype))
        for wire, _ in datas[rtype]
    ]
    found = b"".join(parts[:1])
    if found in taken:
        found = b"".join(parts)
    number = 1
    while found in taken:
        number += 1
        found = b"".join(parts) + number.to_bytes(2)
    taken.add(found)
    return found


def _merged(values: list[PoolValue]) -> PoolValue:
    """One value of what several sites have in common ("1 . alpn=h2"): it is up as long as one of them is."""
    if len(values) == 1:
        return values[0]
    live = [value for value in values if value.status is not Status.DOWN] or values
    return replace(
        live[0],
        weight=min(sum(value.weight for value in live), WEIGHT_MAX),
        status=Status.UP if any(value.status is Status.UP for value in live) else live[0].status,
        addresses=tuple(dict.fromkeys(address for value in live for address in value.addresses)),
    )


def _numbered(site: bytes, at: int) -> bytes:
    """A site with several data of a type is several values, each of which clients can stay with."""
    return site if at == 0 else site + b"/" + at.to_bytes(2)
