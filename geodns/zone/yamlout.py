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
from geodns.zone.fields import TTL_SECONDS_MAX
from geodns.zone.files import zone_file_name
from geodns.zone.model import (
    Alias,
    CheckKind,
    HealthCheck,
    Policy,
    Pool,
    PoolValue,
    RRset,
    Rule,
    Site,
    Status,
    Steering,
    WhenAllDown,
    Zone,
    ZonePool,
)
from geodns.zone.steering import place_fallbacks

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


def block(mapping: dict[str, object], indent: int = 0) -> list[str]:
    """A mapping of JSON's values in block style, a line each, `indent` columns from the left."""
    return list(_lines(mapping, indent))


def flow(value: object) -> str:
    """One of JSON's values in flow style, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(str(key))}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


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
    if zone.pools:
        settings["pools"] = {name: _zone_pool(zone, pool) for name, pool in zone.pools.items()}
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
            _rrset(zone, rrset)
            for rtype, rrset in sorted(zone.rrsets.get(key, {}).items())
            if not (rtype == rdata.SOA and key == zone.apex.key and soa_is_setting)
        ]
        if key in zone.aliases:
            alias = zone.aliases[key]
            records.append({"type": "ALIAS", "ttl": alias.ttl, "value": str(alias.target)})
        yield owner, records


def _rrset(zone: Zone, rrset: RRset) -> dict[str, object]:
    record: dict[str, object] = {"type": rdata.type_name(rrset.type), "ttl": rrset.ttl}
    if rrset.ttl_min is not None:
        record["ttl_min"] = rrset.ttl_min
    record |= _values(rrset.type, rrset.rdatas)
    octodns: dict[str, object] = {"lenient": True} if rrset.lenient else {}
    if (steering := rrset.steering) is not None:
        form, settings = _steering(zone, rrset.type, steering)
        record[form] = settings
        if steering.when_all_down is not WhenAllDown.DEFAULT:
            record["when_all_down"] = steering.when_all_down.value
        if steering.check is not None:
            octodns["healthcheck"] = _health_check(zone, steering.check)
    if octodns:
        record["octodns"] = octodns
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


def _steering(zone: Zone, rtype: int, steering: Steering) -> tuple[str, dict[str, object]]:
    """octoDNS's `geo` where that says it all, else `dynamic`. What is of `$zone` stands there."""
    named = [name for rule in steering.rules for name in rule.pools]
    is_geo = named == list(steering.pools) and all(map(_is_geo_rule, steering.rules))
    if is_geo and all(_is_plain(pool, steering) for pool in steering.pools.values()):
        return "geo", {
            pool.name: [_value(rtype, value.rdata) for value in pool.values]
            for pool in steering.pools.values()
        }
    pools = [pool for pool in steering.pools.values() if not pool.is_shared]
    form: dict[str, object] = {}
    if pools:
        form["pools"] = {pool.name: _pool(zone, rtype, pool) for pool in pools}
    return "dynamic", form | {"rules": [_rule(rule) for rule in steering.rules]}


def _is_geo_rule(rule: Rule) -> bool:
    return rule == Rule(rule.geos[:1], (), (), rule.pools, rule.mark)


def _is_plain(pool: Pool, steering: Steering) -> bool:
    """True for what `geo` makes of a place."""
    fallbacks = place_fallbacks(pool.name, steering.pools)
    plain = Pool(pool.name, pool.values, Policy.ALL, fallbacks, pool.mark)
    return pool == plain and all(value.status is Status.OBEY for value in pool.values)


def _pool(zone: Zone, rtype: int, pool: Pool) -> dict[str, object]:
    drawn = pool.policy is not Policy.ALL or any(value.weight != 1 for value in pool.values)
    values = [_pool_value(rtype, value, drawn) for value in pool.values]
    return {"values": values} | _pool_settings(zone, pool, drawn)


def _pool_settings(zone: Zone, pool: Pool, drawn: bool) -> dict[str, object]:
    """What a pool has beside its values; `drawn`: those are written with weights."""
    form: dict[str, object] = {}
    if pool.policy is not (Policy.WEIGHTED if drawn else Policy.ALL):
        form["policy"] = pool.policy.value
    if pool.answers is not None:
        form["answers"] = pool.answers
    if pool.min_up is not None:
        form["min_up"] = pool.min_up
    if pool.fallbacks:
        form["fallback"] = _fallbacks(pool)
    if pool.slow_start:
        form["slow_start"] = pool.slow_start
    if pool.latitude is not None and pool.longitude is not None:
        form["location"] = {"lat": pool.latitude, "lon": pool.longitude}
    if pool.bias:
        form["bias"] = pool.bias
    if pool.check is not None:
        form["healthcheck"] = _health_check(zone, pool.check)
    return form


def _fallbacks(pool: Pool) -> object:
    """octoDNS's text where there is one, else a list."""
    if len(pool.fallbacks) == 1 and pool.fallbacks[0].weight == 1:
        return pool.fallbacks[0].pool
    if all(fallback.weight == 1 for fallback in pool.fallbacks):
        return [fallback.pool for fallback in pool.fallbacks]
    return [{"pool": fallback.pool, "weight": fallback.weight} for fallback in pool.fallbacks]


def _pool_value(rtype: int, value: PoolValue, drawn: bool) -> dict[str, object]:
    form: dict[str, object] = {"value": _value(rtype, value.rdata)}
    return form | _choice(value, drawn)


def _choice(value: PoolValue | Site, drawn: bool) -> dict[str, object]:
    form: dict[str, object] = {"weight": value.weight} if drawn else {}
    if value.status is not Status.OBEY:
        form["status"] = value.status.value
    return form


def _zone_pool(zone: Zone, known: ZonePool) -> dict[str, object]:
    drawn = known.pool.policy is not Policy.ALL or any(site.weight != 1 for site in known.sites)
    return {"values": [_site(site, drawn) for site in known.sites]} | _pool_settings(zone, known.pool, drawn)


def _site(site: Site, drawn: bool) -> dict[str, object]:
    form: dict[str, object] = {}
    for rtype, datas in site.datas.items():
        values = [_value(rtype, wire) for wire, _ in datas]
        form[rdata.type_name(rtype)] = values[0] if len(values) == 1 else values
    return form | _choice(site, drawn)


def _rule(rule: Rule) -> dict[str, object]:
    form: dict[str, object] = {}
    if rule.subnets:
        form["subnets"] = [str(subnet) for subnet in rule.subnets]
    if rule.asns:
        form["asns"] = list(rule.asns)
    if rule.geos:
        form["geos"] = list(rule.geos)
    if rule.nearest:
        form["nearest"] = True
    if rule.answers != 1:
        form["answers"] = rule.answers
    if rule.share < 1:
        form["share"] = rule.share
    return form | ({"pool": rule.pools[0]} if len(rule.pools) == 1 else {"pools": list(rule.pools)})


def _health_check(zone: Zone, check: HealthCheck) -> dict[str, object]:
    """octoDNS's keys first; what is a default is left out."""
    form: dict[str, object] = {"protocol": check.kind.name}
    if check.host is not None or check.host_is_value:
        form["host"] = check.host
    plain = HealthCheck(check.kind, check.mark)
    for key in ("path", "port", "body", "verify", "name", "source", "rise", "fall", "ok", "jitter"):
        if getattr(check, key) != getattr(plain, key):
            form[key] = getattr(check, key)
    if check.statuses:
        form["status"] = list(_ranges(check.statuses))
    if check.kind is CheckKind.DNS and check.question != (str(zone.apex), "SOA"):
        form["question"] = " ".join(check.question)
    if check.command:
        form["command"] = list(check.command)
    for key in ("interval", "timeout"):
        if (seconds := getattr(check, key)) is not None:
            form[key] = int(seconds) if seconds == int(seconds) else seconds
    return form


def _ranges(numbers: tuple[int, ...]) -> Iterator[object]:
    """Ascending numbers as "200-299", or alone."""
    first = 0
    for at, number in enumerate(numbers):
        if at + 1 < len(numbers) and numbers[at + 1] == number + 1:
            continue
        yield number if first == at else f"{numbers[first]}-{number}"
        first = at + 1


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
            yield f"{margin}{shown}: {scalar(value)}"


def _items(items: list[object], indent: int) -> Iterator[str]:
    margin = " " * indent
    for item in items:
        if isinstance(item, dict) and item:
            lines = _lines(item, indent + 2)
            yield f"{margin}- {next(lines).lstrip()}"
            yield from lines
        else:
            yield f"{margin}- {scalar(item)}"


def scalar(value: object) -> str:
    """One of JSON's scalars, or an empty list or mapping."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format(Decimal(repr(value)), "f")  # never with an exponent
    if isinstance(value, (list, dict)):
        return "[]" if isinstance(value, list) else "{}"
    return str(value) if isinstance(value, int) else quote(str(value))
