"""Whatever stands under `dynamic`, `geo`, `octodns` and `$zone`: a zone, or problems with a place."""

from typing import Any

import jsonschema
import yaml
from hypothesis import HealthCheck as Slow
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.name import Name
from geodns.zone import load_text, yamlout
from geodns.zone.model import Zone
from geodns.zone.schema import json_schema

APEX = Name.parse("example.com.")
OWN = ("fra", "iad", "nrt")  # pools of the record
SHARED = ("lhr", "ams")  # pools of `$zone`
NAMES = st.sampled_from([*OWN, *SHARED, "default"])
WEIGHTS = st.integers(1, 3)
SHARES = st.sampled_from(["10%", 0.25, "33.3%", "100%", 1])
SECONDS = st.sampled_from([1, "30", "90s", "5m", "1h30m"])
DATA: dict[str, st.SearchStrategy[str]] = {
    "A": st.integers(1, 5).map("203.0.113.{}".format),
    "AAAA": st.integers(1, 5).map("2001:db8::{}".format),
    "CNAME": st.integers(1, 5).map("host{}.example.net.".format),
    "HTTPS": st.integers(1, 5).map("{} . alpn=h2".format),
    "MX": st.integers(1, 5).map("{} mx.example.net.".format),
    "TXT": st.integers(1, 5).map("text {}".format),
}


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping with any of these keys."""
    return st.fixed_dictionaries({}, optional=keys)


COMMON = {
    "interval": SECONDS,
    "timeout": st.sampled_from([0.5, "3s", "5m"]),
    "rise": st.integers(1, 9),
    "fall": st.integers(1, 9),
    "ok": st.integers(1, 9),
    "jitter": SHARES,
    "source": st.sampled_from(["192.0.2.1", "2001:db8::1"]),
}
HTTP = {
    "host": st.sampled_from([None, "www.example.net"]),
    "path": st.just("/up"),
    "port": st.integers(1, 65535),
    "status": st.sampled_from([200, "200-299", [200, "300-302"]]),
    "body": st.just("^ok"),
}


def check(
    protocol: str, needed: str = "", **keys: st.SearchStrategy[Any]
) -> st.SearchStrategy[dict[str, Any]]:
    """A health check of this kind, always with the key that is needed."""
    always = {"protocol": st.just(protocol)} | ({needed: keys.pop(needed)} if needed else {})
    return st.fixed_dictionaries(always, optional=COMMON | keys)


CHECKS = st.one_of(
    check("http", **HTTP),
    check("HTTPS", **HTTP, verify=st.booleans()),
    check("TCP", port=st.integers(1, 65535)),
    check("DNS", question=st.sampled_from(["example.com. SOA", "a."])),
    check("exec", "command", command=st.sampled_from(["a b", ["a", "b"]])),
    check("EXTERNAL", "name", name=st.just("fra")),
    st.just({}),
)
LOCATIONS = st.sampled_from(["EU-DE", "NA", {"lat": 1.5, "lon": -2}])


def pool(
    values: st.SearchStrategy[Any], standby: list[str], is_single: bool
) -> st.SearchStrategy[dict[str, Any]]:
    """A pool that may fall back to any of `standby`; `is_single`: for types that have one value."""
    fallback = st.sampled_from([*standby, "default"])
    weighted = st.fixed_dictionaries({"pool": st.sampled_from(standby)}, optional={"weight": WEIGHTS})
    several = st.lists(fallback | weighted if standby else fallback, max_size=3)
    settings = {
        "answers": st.integers(1, 1 if is_single else 3),
        "min_up": SHARES,
        "fallback": fallback | several,
        "slow_start": SECONDS,
        "bias": st.integers(-99, 99),
        "healthcheck": CHECKS,
    }
    policies = ["weighted", "hash"] if is_single else ["weighted", "hash", "all"]
    needed = {
        "values": st.lists(values, min_size=1, max_size=3),
        "policy": st.sampled_from(policies),
        "location": LOCATIONS,
    }
    return st.fixed_dictionaries(needed, optional=settings)


@st.composite
def zones(draw: st.DrawFn) -> dict[str, Any]:
    """A zone file with a steered record, as the documentation has it: no error is in it."""
    rtype = draw(st.sampled_from(sorted(DATA)))
    data, is_single = DATA[rtype], rtype == "CNAME"
    values = st.fixed_dictionaries({"value": data}, optional={"weight": WEIGHTS}) | data
    # A pool falls back to those behind it, so that there is no circle.
    names = [*OWN, *SHARED]
    pools = {name: draw(pool(values, names[at + 1 :], is_single)) for at, name in enumerate(OWN)}
    sites = st.fixed_dictionaries(DATA, optional={"weight": WEIGHTS})
    shared = {"lhr": draw(pool(sites, ["ams"], True)), "ams": draw(pool(sites, [], True))}
    targets = st.fixed_dictionaries({"pool": st.sampled_from(names)}) | st.fixed_dictionaries(
        {"pools": st.lists(st.sampled_from(names), min_size=1, max_size=3)},
        optional={"nearest": st.booleans(), "answers": st.integers(1, 1 if is_single else 3)},
    )
    geos = draw(st.lists(st.sampled_from(["EU", "NA-US", "NA"]), unique=True))
    rules = [draw(targets) | {"geos": [geo]} | draw(some(share=SHARES)) for geo in geos]
    if draw(st.booleans()):
        rules.append(draw(targets) | {"share": 0.25})
    rules.append(draw(targets))
    record = {"type": rtype, "value": draw(data), "dynamic": {"pools": pools, "rules": rules}}
    record |= draw(
        some(
            ttl=st.integers(30, 60),
            ttl_min=st.integers(1, 30),
            when_all_down=st.sampled_from(["default", "all", "nodata"]),
            octodns=st.fixed_dictionaries({"healthcheck": CHECKS | st.just({"protocol": "ICMP"})}),
        )
    )
    return {
        "": {"type": "NS", "value": "ns1.example.net."},
        "www": record,
        "$zone": {"ttl": 60, "pools": shared},
    }


ZONES = zones()
KEYS = st.text(max_size=3) | st.sampled_from(["values", "value", "pool", "A", "status", "fallback"])
GARBAGE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
SCHEMA = jsonschema.Draft7Validator(json_schema())


def outcome(text: str) -> Zone | None:
    """The zone of a text; its problems have places, and stand on one line."""
    checked, problems = load_text(text.encode(), APEX, "z.yaml", 1)
    for problem in problems:
        assert problem.line > 0
        assert problem.column > 0
        assert problem.check
        assert "\n" not in str(problem)
    assert (checked is None) == any(problem.is_error for problem in problems)
    return None if checked is None else checked.zone


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) in a tree."""
    found: list[tuple[Any, Any]] = []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, inner in items:
        found += [(node, key), *places(inner)]
    return found


@settings(max_examples=75, deadline=None, suppress_health_check=[Slow.too_slow])
@given(ZONES)
def test_what_is_well_formed_is_read(data: dict[str, Any]) -> None:
    """Without an error; it fits the schema that editors have, and comes back from YAML as it was."""
    text = yaml.safe_dump(data, allow_unicode=True, sort_keys=False)
    assert [] == [error.message for error in SCHEMA.iter_errors(yaml.safe_load(text))]
    zone = outcome(text)
    assert zone is not None, text
    again = outcome(written := yamlout.dump(zone))
    assert again is not None, written
    assert written == yamlout.dump(again)


@settings(max_examples=100, deadline=None, suppress_health_check=[Slow.too_slow])
@given(ZONES, st.lists(st.tuples(st.integers(0, 10_000), GARBAGE), min_size=1, max_size=3))
def test_garbage_anywhere_is_told_of(data: dict[str, Any], damages: list[tuple[int, Any]]) -> None:
    """Parts of the tree are replaced by others of any kind: no exception, and every problem has a place."""
    data = yaml.safe_load(yaml.safe_dump(data))
    for number, garbage in damages:
        inside = [place for place in places(data) if place[0] is not data]
        if inside:
            container, key = inside[number % len(inside)]
            container[key] = garbage
    outcome(yaml.safe_dump(data, allow_unicode=True))
