"""Zone -> the YAML of a zone file, in octoDNS's format and the order of a person's reading.

    Zone --dump--> text --write_file--> <directory>/<zone name>.yaml, whole or not at all

What is written reads back to the same zone, here and (`$zone` apart) in octoDNS: a text that some YAML reader
would take for a number, a boolean or an alias is in quotes.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from decimal import Decimal
from pathlib import Path

from geodns.name import Name
from geodns.zone import rdata
from geodns.zone.files import zone_file_name
from geodns.zone.forms import TTL_SECONDS_MAX
from geodns.zone.model import Alias, Policy, Pool, PoolValue, RRset, Rule, Status, Steering, Zone

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_IPV4 = re.compile(r"\d{1,3}(\.\d{1,3}){3}")
_IPV6 = re.compile(r"[0-9a-f]+(:[0-9a-f]*){2,7}[0-9a-f]")
_BASE_60 = re.compile(r"\d+(:\d+)+")  # YAML 1.1 has numbers of this form
# YAML 1.1 has y and n for booleans, and its readers differ in whether they obey.
_NOT_TEXT = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t"}


def dump(zone: Zone, comment: str = "") -> str:
    """The text of the zone file; `comment` becomes its first line. A SOA that geodns made is left out."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += ["---"]
    lines += _lines({"$zone": _settings(zone)}, 0)
    for owner, records in _by_owner(zone):
        key = "" if owner == zone.apex else owner.relative_to(zone.apex)
        if records:
            lines.append("")
            lines += _lines({key: records[0] if len(records) == 1 else records}, 0)
    return "\n".join(lines) + "\n"


def write_file(zone: Zone, directory: Path, text: str, force: bool = False) -> Path:
    """Put the text of a zone file into `directory`, which is made if need be; returns its path.

    The file appears whole or not at all. Raises OSError, FileExistsError when it is there without `force`.
    """
    path = directory / zone_file_name(zone.apex)
    directory.mkdir(parents=True, exist_ok=True)
    # The name begins with a dot, so that a server watching the directory passes it over.
    draft = directory / f".geodns-{os.getpid()}.tmp"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with open(handle, "wb") as stream:
            stream.write(text.encode())
            stream.flush()
            os.fsync(stream.fileno())
        if force:
            os.replace(draft, path)
        else:
            os.link(draft, path)  # unlike a rename, it fails when the file is there
    finally:
        draft.unlink(missing_ok=True)
    return path


def quote(text: str) -> str:
    """`text` as a YAML scalar that every reader takes for a text."""
    if _IPV4.fullmatch(text) or (_IPV6.fullmatch(text) and not _BASE_60.fullmatch(text)):
        return text
    if _WORD.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(map(_escape, text)) + '"'


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


# What is written: mappings, lists and scalars


def _settings(zone: Zone) -> dict[str, object]:
    ttls = Counter(record.ttl for _, record in _records(zone) if not _is_soa(record))
    soa = zone.rrsets[zone.apex.key][rdata.SOA]
    settings: dict[str, object] = {"ttl": min(ttls, key=lambda ttl: (-ttls[ttl], ttl)) if ttls else soa.ttl}
    if not zone.soa_made and (fields := _soa(soa)) is not None:
        settings["soa"] = fields
    return settings


def _soa(soa: RRset) -> dict[str, object] | None:
    """None for a SOA that has to be written as a record, since `soa` would not take all its values."""
    fields = rdata.to_fields(rdata.SOA, soa.rdatas[0]) if len(soa.rdatas) == 1 else None
    if fields is None:
        return None
    seconds = [fields[name] for name in ("refresh", "retry", "expire", "minimum")]
    if any(not isinstance(number, int) or number > TTL_SECONDS_MAX for number in seconds):
        return None
    if "@" in f"{fields['mname']}{fields['rname']}":  # an escaped one; `soa` takes it for a mail address
        return None
    return {**fields, "ttl": soa.ttl}


def _is_soa(record: RRset | Alias) -> bool:
    return isinstance(record, RRset) and record.type == rdata.SOA


def _records(zone: Zone) -> Iterator[tuple[Name, RRset | Alias]]:
    for rrsets in zone.rrsets.values():
        for rrset in rrsets.values():
            yield rrset.owner, rrset
    for alias in zone.aliases.values():
        yield alias.owner, alias


def _by_owner(zone: Zone) -> Iterator[tuple[Name, list[object]]]:
    """The owners in canonical order, each with its records as they are written."""
    owners: dict[bytes, Name] = {}
    for owner, _ in _records(zone):
        owners.setdefault(owner.key, owner)
    soa_is_setting = zone.soa_made or _soa(zone.rrsets[zone.apex.key][rdata.SOA]) is not None
    for key, owner in sorted(owners.items(), key=lambda item: item[1]):
        records: list[object] = [
            _rrset(rrset)
            for rtype, rrset in sorted(zone.rrsets.get(key, {}).items())
            if not (rtype == rdata.SOA and key == zone.apex.key and soa_is_setting)
        ]
        if key in zone.aliases:
            alias = zone.aliases[key]
            records.append({"type": "ALIAS", "ttl": alias.ttl, "value": str(alias.target)})
        yield owner, records


def _rrset(rrset: RRset) -> dict[str, object]:
    record: dict[str, object] = {"type": rdata.type_name(rrset.type), "ttl": rrset.ttl}
    record |= _values(rrset.type, rrset.rdatas)
    if rrset.steering is not None:
        form, steering = _steering(rrset.type, rrset.steering)
        record[form] = steering
    if rrset.lenient:
        record["octodns"] = {"lenient": True}
    return record


def _values(rtype: int, wires: Iterable[bytes]) -> dict[str, object]:
    values = [_value(rtype, wire) for wire in wires]
    return {"value": values[0]} if len(values) == 1 else {"values": values}


def _value(rtype: int, wire: bytes) -> object:
    return (rtype == rdata.LOC and _loc(wire)) or rdata.to_yaml(rtype, wire)


def _loc(wire: bytes) -> dict[str, object] | None:
    """octoDNS has LOC as a mapping only. None for what its fields do not hold exactly."""
    words = rdata.to_text(rdata.LOC, wire).split()
    names = [field.name for field in rdata.FIELDS[rdata.LOC]]
    if len(words) not in (9, 12):
        return None
    sizes = [] if len(words) == 12 else ["1", "10000", "10"]  # RFC 1876 section 3: the defaults
    fields: dict[str, object] = {
        name: word if word.isalpha() else float(word.rstrip("m"))
        for name, word in zip(names, words + sizes, strict=True)
    }
    for name in ("lat_degrees", "lat_minutes", "long_degrees", "long_minutes"):
        fields[name] = int(float(str(fields[name])))
    try:
        return fields if rdata.from_fields(rdata.LOC, fields, None) == wire else None
    except rdata.BadRdata:
        return None


def _steering(rtype: int, steering: Steering) -> tuple[str, dict[str, object]]:
    """octoDNS's `geo` where that says it all, else `dynamic`."""
    if all(map(_is_geo_rule, steering.rules)) and [rule.pools[0] for rule in steering.rules] == list(
        steering.pools
    ):
        pools = steering.pools.values()
        if all(map(_is_plain, pools)):
            return "geo", {pool.name: [_value(rtype, value.rdata) for value in pool.values] for pool in pools}
    return "dynamic", {
        "pools": {pool.name: _pool(rtype, pool) for pool in steering.pools.values()},
        "rules": [_rule(rule) for rule in steering.rules],
    }


def _is_geo_rule(rule: Rule) -> bool:
    return rule.geos == rule.pools and not rule.subnets and not rule.asns


def _is_plain(pool: Pool) -> bool:
    plain = (
        pool.policy is Policy.ALL and not pool.fallbacks and pool.latitude is None and pool.longitude is None
    )
    return plain and all(value.status is Status.OBEY for value in pool.values)


def _pool(rtype: int, pool: Pool) -> dict[str, object]:
    form: dict[str, object] = {"values": [_pool_value(rtype, pool.policy, value) for value in pool.values]}
    if pool.fallbacks:
        form["fallback"] = pool.fallbacks[0].pool
    if pool.latitude is not None and pool.longitude is not None:
        form["location"] = {"lat": pool.latitude, "lon": pool.longitude}
    return form


def _pool_value(rtype: int, policy: Policy, value: PoolValue) -> dict[str, object]:
    form: dict[str, object] = {"value": _value(rtype, value.rdata)}
    if policy is Policy.WEIGHTED:
        form["weight"] = value.weight
    if value.status is not Status.OBEY:
        form["status"] = value.status.value
    return form


def _rule(rule: Rule) -> dict[str, object]:
    form: dict[str, object] = {}
    if rule.subnets:
        form["subnets"] = [str(subnet) for subnet in rule.subnets]
    if rule.asns:
        form["asns"] = list(rule.asns)
    if rule.geos:
        form["geos"] = list(rule.geos)
    return form | {"pool": rule.pools[0]}


# How it is written: block style


def _lines(mapping: dict[str, object], indent: int) -> Iterator[str]:
    margin = " " * indent
    for key, value in mapping.items():
        shown = "$zone" if key == "$zone" else quote(key)
        if isinstance(value, dict) and value:
            yield f"{margin}{shown}:"
            yield from _lines(value, indent + 2)
        elif isinstance(value, list) and value:
            yield f"{margin}{shown}:"
            yield from _items(value, indent + 2)
        else:
            yield f"{margin}{shown}: {_scalar(value)}"


def _items(items: list[object], indent: int) -> Iterator[str]:
    margin = " " * indent
    for item in items:
        if isinstance(item, dict) and item:
            lines = _lines(item, indent + 2)
            yield f"{margin}- {next(lines).lstrip()}"
            yield from lines
        else:
            yield f"{margin}- {_scalar(item)}"


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")  # never with an exponent
    if isinstance(value, (list, dict)):
        return "[]" if isinstance(value, list) else "{}"
    return str(value) if isinstance(value, int) else quote(str(value))
