"""Source -> Zone: what the records of a file mean, and every problem in them at once.

    entry --forms--> RecordForm --rdata--> RRset
                         +------steering-----> Steering, to which `zonepools` adds those of `$zone`

A record with a problem is left out of the zone and its name is remembered, so that `checks` does not tell of
what only follows from it.
"""

import difflib
import time
from dataclasses import replace
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from geodns.name import BadName, Name
from geodns.problems import Problem, Severity
from geodns.zone import rdata
from geodns.zone.fields import VALUES_MAX
from geodns.zone.forms import OctodnsForm, RecordForm, SoaForm, ZoneForm, explain
from geodns.zone.model import Alias, Mark, RRset, Zone
from geodns.zone.rdata import BadRdata
from geodns.zone.reading import Reading, child
from geodns.zone.source import Items, Mapping, Node, Source, StopReading, Text, shorten
from geodns.zone.steering import SteeringReader
from geodns.zone.zonepools import ZonePools

TTL_SECONDS_DEFAULT = 3600  # octoDNS's default_ttl

ZONE_KEY = "$zone"

# fmt: off
TYPES = (
    "A", "AAAA", "ALIAS", "CAA", "CNAME", "DNAME", "DS", "HTTPS", "LOC", "MX", "NAPTR", "NS", "OPENPGPKEY",
    "PTR", "SOA", "SPF", "SRV", "SSHFP", "SVCB", "TLSA", "TXT", "URI",
)
# fmt: on
"""The types that octoDNS has, and SOA; every other type of dnspython's and TYPEnnn are read as well."""

FormT = TypeVar("FormT", bound=BaseModel)

CHECKS = {
    "bad-name": "a record's name is a domain name",
    "out-of-zone": "a record's name is in the zone",
    "name-twice": "a name is written in one way, and has one entry",
    "no-records": "a name has a record or a list of records",
    "record-twice": "the values of one type stand in one record",
    "missing-key": "a key that must be there",
    "unknown-key": "a key that means something",
    "bad-setting": "a setting has a value of its kind",
    "unknown-type": "a record's type is known, or TYPEnnn",
    "bad-value": "a value is data of the record's type",
    "no-value": "a record has values",
    "value-twice": "a record's values differ, RFC 2181 section 5",
    "too-many-values": f"a record or pool has at most {VALUES_MAX} values",
    "geo-and-dynamic": "a record is steered by `geo` or by `dynamic`",
    "bad-geo-code": "a geo code is a continent, country or subdivision",
    "bad-subnet": "a subnet is a network",
    "bad-asn": "the number of an autonomous system",
    "pool-twice": "a rule or a pool names another pool once",
    "answers-unused": "answers of a rule count the nearest pools",
    "without-steering": "what steers stands in a record with `geo` or `dynamic`",
    "check-not-done": "octoDNS's UDP and ICMP checks are not done here",
    "check-key": "a health check has the settings of its kind",
    "alias-target": "an ALIAS leads to a name of its zone",
    "alias-steering": "an ALIAS has one value, and is steered where it leads",
    "urlfwd": "URLFWD is no DNS record",
    "soa-twice": "a zone has one SOA",
    "record-ignored": "a record that octoDNS does not publish is not served",
}
"""What can be wrong with the records themselves: the name of the check, and what it asks."""


class Parsed(NamedTuple):
    """`zone` is None when the file could not be read to its end; `broken` are the keys of names left out."""

    zone: Zone | None
    problems: list[Problem]
    broken: frozenset[bytes]


def parse(source: Source, apex: Name, serial: int | None = None, local: bool = False) -> Parsed:
    """Make a Zone of a Source. `serial` is that of a SOA whose file gives none; without it, now."""
    reader = _Reader(source, apex)
    zone = None
    try:
        for key, node in source.entries():
            reader.read_entry(key, node)
        if source.is_whole:
            zone = reader.finish(int(time.time()) if serial is None else serial, local)
    except StopReading as stop:
        source.problems.append(stop.problem)
    return Parsed(zone, source.problems, frozenset(reader.broken))


class _Reader:
    """Reads the entries of one file. What it finds wrong goes to the source's problems."""

    def __init__(self, source: Source, apex: Name) -> None:
        self.broken: set[bytes] = set()
        self._source = source
        self._file = source.file
        self._apex = apex
        self._reading = Reading(source)
        self._steering = SteeringReader(self._reading, apex)
        self._zone_pools = ZonePools(self._reading, self._steering, ZONE_KEY)
        self._steered: list[RRset] = []
        self._settings = ZoneForm()
        self._settings_node: Node | None = None
        self._ttl = TTL_SECONDS_DEFAULT
        self._without_ttl: list[RRset | Alias] = []
        self._rrsets: dict[bytes, dict[int, RRset]] = {}
        self._aliases: dict[bytes, Alias] = {}
        self._entries: dict[bytes, Text] = {}

    # --- entries --------------------------------------------------------------------------------------------

    def read_entry(self, key: Text, node: Node) -> None:
        if key == ZONE_KEY:
            self._read_settings(node)
            return
        label = str(key) or "@"
        owner = self._owner(key, label)
        if owner is None:
            return
        records = node if isinstance(node, Items) else [node]
        if not records:
            self._report(node.at, label, "the list of records is empty", check="no-records")
        for record in records:
            if isinstance(record, Mapping):
                self._read_record(owner, label, record)
            else:
                hint = "such as {type: A, value: 192.0.2.1}"
                found = "nothing" if isinstance(record, Text) and record.is_null else "no record"
                self._report(
                    record.at, label, f"here is {found}; a mapping is wanted", hint, check="no-records"
                )
                self.broken.add(owner.key)

    def _owner(self, key: Text, label: str) -> Name | None:
        try:
            owner = Name.parse(str(key), self._apex)
        except (BadName, ValueError) as error:
            self._report(key.at, shorten(label), str(error), check="bad-name")
            return None
        if label.endswith(".") and not owner.is_under(self._apex):
            hint = "what other zones have, glue too, stands in their own files"
            self._report(
                key.at, shorten(label), f"the name is not in the zone {self._apex}", hint, "out-of-zone"
            )
            return None
        first = self._entries.setdefault(owner.key, key)
        if first is not key:
            line = self._source.mark(first.at).line
            what = f'this is the same name as "{shorten(first)}" on line {line}'
            self._report(key.at, label, what, "put the records together", "name-twice", Severity.WARNING)
        return owner

    def _read_settings(self, node: Node) -> None:
        form = self._validate(ZoneForm, node, ZONE_KEY)
        if form is None:
            self._zone_pools.read_broken(node)
            return
        self._settings = form
        self._settings_node = node
        self._ttl = TTL_SECONDS_DEFAULT if form.ttl is None else form.ttl
        if form.pools is not None:
            self._reading.lenient = False
            self._zone_pools.read(form.pools, child(node, "pools"))
        for known in self._without_ttl:  # records before the `$zone` key
            if isinstance(known, Alias):
                self._aliases[known.owner.key] = replace(known, ttl=self._ttl)
            else:
                self._rrsets[known.owner.key][known.type] = replace(known, ttl=self._ttl)

    # --- records --------------------------------------------------------------------------------------------

    def _read_record(self, owner: Name, label: str, node: Mapping) -> None:
        kind = node.get("type")  # type: ignore[call-overload]  # a str finds the Text that equals it
        where = f"{label} {shorten(kind)}" if isinstance(kind, str) else label
        form = self._validate(RecordForm, node, where)
        if form is None:
            self.broken.add(owner.key)
            return
        lenient = form.octodns is not None and form.octodns.lenient
        if form.octodns is not None and self._is_ignored(form.octodns, node, where, lenient):
            return
        self._reading.lenient = lenient
        name = form.type.upper()
        if name == "URLFWD":
            what = "URLFWD is not a DNS record, it is not served"
            self._reading.warn(self._type_at(node), where, what, check="urlfwd")
            return
        before = len(self._source.problems)
        if name == "ALIAS":
            self._read_alias(owner, where, form, node)
        elif (rtype := self._type(form.type, node, where)) is not None:
            self._read_rrset(owner, where, rtype, form, node, lenient)
        if any(problem.is_error for problem in self._source.problems[before:]):
            self.broken.add(owner.key)

    def _is_ignored(self, form: OctodnsForm, node: Mapping, where: str, lenient: bool) -> bool:
        if form.ignored and not lenient:
            what = "octoDNS does not publish this record (ignored: true), it is not served"
            self._report(self._type_at(node), where, what, check="record-ignored", severity=Severity.WARNING)
        return form.ignored

    def _type(self, text: str, node: Mapping, where: str) -> int | None:
        try:
            return rdata.type_number(str(text))
        except BadRdata as error:
            close = difflib.get_close_matches(text.upper(), TYPES, 1)
            hint = f"did you mean {close[0]}?" if close else ""
            self._report(self._type_at(node), where, str(error), hint, "unknown-type")
            return None

    def _read_rrset(
        self, owner: Name, where: str, rtype: int, form: RecordForm, node: Mapping, lenient: bool
    ) -> None:
        types = self._rrsets.setdefault(owner.key, {})
        mark = self._reading.mark(self._type_at(node))
        if rtype in types:
            hint = f"the first is on line {types[rtype].mark.line}; put the values into one record"
            self._report(
                self._type_at(node), where, "this name and type has a record already", hint, "record-twice"
            )
            return
        rdatas, marks = self._reading.values(where, rtype, self._value_nodes(form, node, where))
        steering = self._steering.read(where, rtype, form, node)
        ttl = self._ttl if form.ttl is None else form.ttl
        rrset = RRset(owner, rtype, ttl, rdatas, marks, mark, steering, lenient, form.ttl_min)
        types[rtype] = rrset
        if steering is not None:
            self._steered.append(rrset)
        if form.ttl is None and self._settings_node is None:
            self._without_ttl.append(rrset)

    def _read_alias(self, owner: Name, where: str, form: RecordForm, node: Mapping) -> None:
        at = self._type_at(node)
        if form.geo is not None or form.dynamic is not None:
            hint = "put `geo` or `dynamic` on the record that it leads to"
            self._report(at, where, "an ALIAS cannot be steered", hint, "alias-steering")
            return
        if owner.key in self._aliases:
            self._report(at, where, "this name has an ALIAS already", check="record-twice")
            return
        values = self._value_nodes(form, node, where)
        if len(values) > 1:
            self._report(at, where, f"an ALIAS has one value, not {len(values)}", check="alias-steering")
            return
        wires, _ = self._reading.values(where, rdata.CNAME, values)
        if not wires:
            return
        target = Name(wires[0])
        if not target.is_under(self._apex):
            what = f"the target {target} is not in the zone {self._apex}"
            hint = "geodns asks no other server: write A and AAAA records, or a CNAME below the apex"
            self._report(values[0].at, where, what, hint, "alias-target")
            return
        ttl = self._ttl if form.ttl is None else form.ttl
        alias = self._aliases[owner.key] = Alias(owner, ttl, target, self._reading.mark(values[0].at))
        if form.ttl is None and self._settings_node is None:
            self._without_ttl.append(alias)

    def _value_nodes(self, form: RecordForm, node: Mapping, where: str) -> list[Node]:
        given = form.values if form.values is not None else form.value
        if form.values is not None and form.value is not None:
            hint = "put all of them under values"
            self._report(node.key_at("value"), where, "both value and values are given", hint, "bad-setting")
        if given is None or (isinstance(given, Text) and given.is_null):
            at = self._type_at(node) if given is None else given.at
            self._report(at, where, "the record has no value", "write value: or values:", "no-value")
            return []
        if not isinstance(given, Items):
            return [given]
        if not given:
            self._report(given.at, where, "the list of values is empty", check="no-value")
        return given

    # --- the SOA --------------------------------------------------------------------------------------------

    def finish(self, serial: int, local: bool) -> Zone:
        apex = self._rrsets.setdefault(self._apex.key, {})
        made = rdata.SOA not in apex
        if made:
            apex[rdata.SOA] = self._make_soa(apex.get(rdata.NS), serial)
        elif self._settings.soa is not None:
            what = "the zone has a SOA record as well as soa in $zone"
            self._report(self._settings_at("soa"), ZONE_KEY, what, "keep one of them", "soa-twice")
        self._add_zone_pools()
        return Zone(
            self._apex,
            self._file,
            self._rrsets,
            self._aliases,
            made and self._settings.soa is None,
            local,
            self._zone_pools.pools,
        )

    def _add_zone_pools(self) -> None:
        self._reading.lenient = False
        for rrset in self._steered:
            assert rrset.steering is not None
            if not self._zone_pools.add(rrset.steering, rrset.type):
                self.broken.add(rrset.owner.key)

    def _make_soa(self, servers: RRset | None, serial: int) -> RRset:
        form = self._settings.soa or SoaForm()
        mname = self._apex.wire
        if servers is not None and servers.rdatas:
            mname = servers.rdatas[0]
        mname = self._soa_name("mname", form.mname, mname)
        rname = self._soa_name("rname", form.rname, self._default_rname())
        numbers = (
            serial % 2**32 if form.serial is None else form.serial,
            form.refresh,
            form.retry,
            form.expire,
            form.minimum,
        )
        wire = mname + rname + b"".join(number.to_bytes(4) for number in numbers)
        ttl = self._ttl if form.ttl is None else form.ttl
        mark = (
            Mark(self._file) if self._settings.soa is None else self._reading.mark(self._settings_at("soa"))
        )
        return RRset(self._apex, rdata.SOA, ttl, (wire,), (mark,), mark)

    def _default_rname(self) -> bytes:
        try:
            return self._apex.child(b"hostmaster").wire
        except BadName:  # the zone's name is as long as a name can be
            return self._apex.wire

    def _soa_name(self, field: str, text: str | None, default: bytes) -> bytes:
        if text is None:
            return default
        try:
            if "@" in text:
                raise BadRdata(f'"{shorten(text)}" is not a domain name', f'write "{_mailbox(str(text))}"')
            return rdata.from_text(rdata.NS, str(text), None)
        except BadRdata as error:
            self._report(
                self._settings_at("soa", field), f"{ZONE_KEY} soa", str(error), error.hint, "bad-value"
            )
            return default

    def _settings_at(self, *keys: str) -> int:
        node = self._settings_node
        for key in keys:
            node = child(node, key)
        return 0 if node is None else node.at

    # --- helpers --------------------------------------------------------------------------------------------

    def _validate(self, form: type[FormT], node: Node, where: str) -> FormT | None:
        try:
            return form.model_validate(node)
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                at, what, hint, check = explain(detail, node, form)
                self._report(at, where, what, hint, check)
            return None

    def _type_at(self, node: Mapping) -> int:
        return child(node, "type").at

    def _report(
        self,
        at: int,
        where: str,
        what: str,
        hint: str = "",
        check: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        self._source.report(at, where, what, hint, check, severity)


def _mailbox(text: str) -> str:
    """RFC 1035 section 8: hostmaster@example.com is written hostmaster.example.com."""
    local, _, domain = text.partition("@")
    escaped = local.replace(".", "\\.")
    return f"{escaped}.{domain.rstrip('.')}."
