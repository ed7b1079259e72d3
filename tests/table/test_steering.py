"""What the compiler makes of a record's steering: seeds, thresholds, rules for geo, checks and their keys."""

import io

import pytest

from geodns.name import Name
from geodns.server.messages import ChunkPickler, ChunkUnpickler
from geodns.table.compile import compile_zone, link, table_steers
from geodns.table.shape import Plan, ZoneTable
from geodns.table.steer import SHARE_ALL, Pool, Steer
from geodns.zone import load_text

HEAD = "'': {type: NS, values: [ns1.example.net., ns2.example.net.]}\n"


def table_of(text: str, name: str = "example.com.") -> ZoneTable:
    checked, problems = load_text((HEAD + text).encode(), Name.parse(name), "z.yaml", 1)
    assert checked is not None, [str(problem) for problem in problems]
    return compile_zone(checked)


def steer_of(text: str, key: str = "www.example.com. A") -> Steer:
    return table_of(text).steers[key]


def www(pools: str, rules: str = "[{pool: fra}]", rtype: str = "A", value: str = "203.0.113.1") -> str:
    return f"www: {{type: {rtype}, value: {value}, dynamic: {{pools: {{{pools}}}, rules: {rules}}}}}\n"


def pool_of(settings: str, values: str = "203.0.113.10, 203.0.113.11") -> Pool:
    (pool,) = steer_of(www(f"fra: {{values: [{values}]{settings}}}")).pools
    return pool


def keys(check: str, rtype: str = "A", values: str = "203.0.113.10", more: str = "") -> list[list[str]]:
    """The keys of the checks of each value of a pool with this health check."""
    own = {
        "A": "203.0.113.1",
        "AAAA": '"2001:db8::1"',
        "MX": "10 ns1.example.net.",
        "CNAME": "ns1.example.net.",
        "TXT": "none",
    }
    pools = f"fra: {{values: [{values}], healthcheck: {{{check}}}}}"
    value = own.get(rtype, values.partition(",")[0])
    steer = steer_of(www(pools, rtype=rtype, value=value) + more, f"www.example.com. {rtype}")
    return [[check.key for check in member.checks] for member in steer.pools[0].members]


def test_a_steer_is_one_object_for_all_that_lead_to_it() -> None:
    """For the name, an alias to it and a wildcard beside it; also on the other side of the loader's pipe."""
    table = table_of(www("fra: {values: [203.0.113.10]}") + "alias: {type: CNAME, value: www.example.com.}\n")
    pipe = io.BytesIO()
    ChunkPickler(pipe, table).dump(list(table.nodes.items()))
    pipe.seek(0)
    nodes = dict(ChunkUnpickler(pipe, table).load())
    (steer,) = table.steers.values()
    for name in ("www.example.com.", "alias.example.com."):
        node = nodes[Name.parse(name).key]
        assert table is node.zone
        assert steer is _choice_steer(node.plans[1])


def _choice_steer(plan: Plan) -> Steer:
    assert plan.choice is not None
    return plan.choice.steer


def test_the_inner_zone_has_the_say_over_its_names() -> None:
    """Two zones that both have a steered name: the one that answers for it is looked after."""
    inner = table_of(www("fra: {values: [203.0.113.10]}"), "sub.example.com.")
    outer = table_of(
        www("fra: {values: [203.0.113.20]}").replace("www:", "www.sub:")
        + "sub: {type: NS, values: [ns1.example.net., ns2.example.net.]}\n"
    )
    for tables in ([inner, outer], [outer, inner]):
        (steer,) = table_steers(link(tables)).values()
        assert "203.0.113.10" == steer.pools[0].members[0].text


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ("", "203.0.113.10", (0, 0.0)),
        ("", "203.0.113.10, 203.0.113.11", (0, 0.5)),
        (", min_up: 0", "203.0.113.10, 203.0.113.11", (0, 0.0)),
        (", min_up: 100%, answers: 1", "203.0.113.10, 203.0.113.11", (1, 1.0)),
        (", policy: hash", "203.0.113.10, 203.0.113.11", (1, 0.5)),
        (", policy: weighted, answers: 2", "203.0.113.10, 203.0.113.11", (2, 0.5)),
    ],
)
def test_what_is_not_written_has_a_value(settings: str, values: str, expected: tuple[int, float]) -> None:
    """`answers` is all or one, by the policy; `min_up` is a half, and none for a single value."""
    pool = pool_of(settings, values)
    assert expected == (pool.answers, pool.min_up)


def test_of_an_alias_one_value_answers() -> None:
    """A pool of CNAMEs gives one, and so do the nearest pools: RFC 2181 section 10.1."""
    pools = "a: {values: [x.example.com., y.example.com.], location: EU, policy: hash, answers: 2}"
    text = www(pools, "[{nearest: true, pools: [a], answers: 2}]", "CNAME", "z.example.com.")
    with pytest.raises(AssertionError, match="CNAME"):
        steer_of(text, "www.example.com. CNAME")
    text = text.replace(", answers: 2", "")
    steer = steer_of(text, "www.example.com. CNAME")
    assert (1, 1) == (steer.pools[0].answers, steer.rules[0].answers)


@pytest.mark.parametrize(
    ("more", "expected"), [("", (60, 30)), (", ttl_min: 20", (60, 20)), (", ttl: 5", (5, 3))]
)
def test_the_least_ttl_is_half_unless_written(more: str, expected: tuple[int, int]) -> None:
    """`ttl_min` may be anything up to the TTL."""
    ttl = "" if "ttl: " in more else ", ttl: 60"
    text = www("fra: {values: [203.0.113.10]}").replace("{type: A", "{type: A" + ttl + more, 1)
    steer = steer_of(text)
    assert expected == (steer.ttl, steer.ttl_min)


def test_pools_that_no_rule_leads_to_are_left_out() -> None:
    """Those of fallbacks are there, in the order in which they are met."""
    steer = steer_of(
        www(
            "c: {values: [203.0.113.30]}, b: {values: [203.0.113.20], fallback: c}, "
            "a: {values: [203.0.113.10], fallback: [{pool: b, weight: 3}, c]}, d: {values: [203.0.113.40]}",
            "[{pool: a}]",
        )
    )
    assert ["a", "b", "c"] == [pool.name for pool in steer.pools]
    assert ((1, 3), (2, 1)) == steer.pools[0].fallbacks


def test_rules_that_lead_to_the_same_have_one_outcome() -> None:
    """So that the scope of an answer reaches over both of their places; a share is something else."""
    table = table_of(
        www(
            "a: {values: [203.0.113.10], location: EU}, b: {values: [203.0.113.20], location: NA}",
            "[{geos: [EU-DE], pool: a}, {geos: [EU-FR], pool: b}, {geos: [EU-IT], pool: a},"
            " {geos: [EU-ES], pool: a, share: 25%}, {geos: [NA], nearest: true, pools: [a, b]}, {pool: b}]",
        )
    )
    (rules,) = table.rules.values()
    (steer,) = table.steers.values()
    assert [0, 1, 0, 3, 4, 1] == [rule.outcome for rule in rules]
    assert [False, False, False, True, False, False] == [rule.share for rule in rules]
    assert SHARE_ALL // 4 == steer.rules[3].share
    assert [2] == [len(rule.sites) for rule in rules if rule.kept]


def test_both_families_of_a_name_move_together() -> None:
    """Shares and fallbacks hash alike for A and AAAA; another name has another hash."""
    text = """
$zone: {pools: {web: {policy: hash, values: [
  {A: 203.0.113.10, AAAA: "2001:db8::10"}, {A: 203.0.113.11, AAAA: "2001:db8::11"}]}}}
"""
    record = "{type: A, value: 203.0.113.1, dynamic: {rules: [{pool: web, share: 10%}, {pool: web}]}}"
    six = record.replace("type: A", "type: AAAA").replace("203.0.113.1", '"2001:db8::1"')
    steers = table_of(f"{text}www:\n  - {record}\n  - {six}\napi: {record}\n").steers
    a, aaaa, api = (
        steers[f"{key}"] for key in ("www.example.com. A", "www.example.com. AAAA", "api.example.com. A")
    )
    assert a.rules[0].seed == aaaa.rules[0].seed != api.rules[0].seed
    assert a.pools[0].seed == aaaa.pools[0].seed != api.pools[0].seed
    for other in (aaaa, api):
        assert [m.seed for m in a.pools[0].members] == [m.seed for m in other.pools[0].members]
    assert len({member.seed for member in a.pools[0].members}) == 2


@pytest.mark.parametrize(
    ("check", "rtype", "values", "expected"),
    [
        ("protocol: TCP", "A", "203.0.113.10", ["tcp 203.0.113.10:443"]),
        ("protocol: HTTP", "A", "203.0.113.10", ["http 203.0.113.10:80 www.example.com /_dns"]),
        (
            "protocol: HTTPS, host: null, path: /a, status: [200-202, 404], body: 'o\"k', verify: false",
            "AAAA",
            "'2001:db8::10'",
            [
                'https [2001:db8::10]:443 2001:db8::10 /a status 200-202,404 body "o\\"k" unverified',
            ],
        ),
        ("protocol: DNS", "A", "203.0.113.10", ["dns 203.0.113.10:53 example.com. SOA"]),
        ("protocol: EXTERNAL, name: fra", "A", "203.0.113.10", ["external fra"]),
        ("protocol: EXEC, command: [/bin/true, 'a b']", "A", "203.0.113.10", ["exec /bin/true 'a b'"]),
        ("protocol: TCP, source: 192.0.2.9", "A", "203.0.113.10", ["tcp 203.0.113.10:443 from 192.0.2.9"]),
        ("protocol: TCP, port: 25", "MX", "10 a.example.net.", ["tcp a.example.net:25"]),
        ("protocol: TCP", "MX", "0 .", []),
        ("protocol: TCP", "CNAME", "a.example.net.", ["tcp a.example.net:443"]),
        ("protocol: TCP", "HTTPS", "1 . alpn=h2", ["tcp www.example.com:443"]),
        ("protocol: TCP", "TXT", "text", []),
    ],
)
def test_a_check_is_told_by_all_that_makes_it_another(
    check: str, rtype: str, values: str, expected: list[str]
) -> None:
    """What is asked of whom, with every default filled in; a value without address or host has none."""
    assert [expected] == keys(check, rtype, values)


def test_times_do_not_make_another_check() -> None:
    """Two records that want to know the same at another pace have one check."""
    assert keys("protocol: TCP, interval: 5s, rise: 1, fall: 9") == keys("protocol: TCP")


def test_a_site_without_address_of_its_own_is_checked_by_its_addresses() -> None:
    """HTTPS of a site in `$zone.pools`: both of its addresses, with the zone's name as host."""
    steers = table_of("""
$zone: {pools: {web: {healthcheck: {protocol: HTTPS}, values: [
  {A: 203.0.113.10, AAAA: "2001:db8::10", HTTPS: "1 . alpn=h2"}]}}}
www:
  - {type: A, value: 203.0.113.1, dynamic: {rules: [{pool: web}]}}
  - {type: HTTPS, value: "1 . alpn=h2", dynamic: {rules: [{pool: web}]}}
""").steers
    four = "https 203.0.113.10:443 example.com /_dns"
    six = "https [2001:db8::10]:443 example.com /_dns"
    assert [four] == [check.key for check in steers["www.example.com. A"].checks]
    assert [four, six] == [check.key for check in steers["www.example.com. HTTPS"].checks]


def test_a_status_is_kept_beside_the_checks() -> None:
    """`status` decides, and what the check says can still be shown."""
    steer = steer_of(
        www(
            "fra: {values: [{value: 203.0.113.10, status: down}, {value: 203.0.113.11, status: up},"
            " 203.0.113.12], healthcheck: {protocol: TCP}}"
        )
    )
    assert [False, True, None] == [member.is_up for member in steer.pools[0].members]
    assert (1, 2) == steer.base.pools[0].up
    assert all(member.checks for member in steer.pools[0].members)
