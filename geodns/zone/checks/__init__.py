"""Zone -> CheckedZone: a table of checks, each a row.

    Zone --View--> every row of CHECKS --Finding--> Problem
      +--------------------------------------------> CheckedZone, if none of them is an error

`structure` looks at how names fit together, `data` at single records, `steering` at pools and rules, `health`
at health checks. What a record needs in order to be read at all is checked before, in `source` and `parse`.
"""

from geodns.problems import Problem, Severity
from geodns.zone.checks import data, health, steering, structure
from geodns.zone.checks.view import Check, View
from geodns.zone.model import CheckedZone, RRset, Zone
from geodns.zone.source import PROBLEMS_MAX

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

CHECKS: tuple[Check, ...] = (
    Check("ns-missing", _ERROR, structure.ns_missing, "a zone has nameservers"),
    Check(
        "ns-without-address", _ERROR, structure.ns_without_address, "a nameserver in the zone has an address"
    ),
    Check("ns-is-cname", _ERROR, structure.ns_is_cname, "a nameserver is no alias, RFC 2181 section 10.3"),
    Check(
        "cname-and-other", _ERROR, structure.cname_and_other, "a CNAME stands alone, RFC 1034 section 3.6.2"
    ),
    Check("alias-and-address", _ERROR, structure.alias_and_address, "an ALIAS stands in for A and AAAA"),
    Check(
        "dname-and-ns", _ERROR, structure.dname_and_ns, "DNAME or NS, but at the apex, RFC 6672 section 2.3"
    ),
    Check("below-dname", _ERROR, structure.below_dname, "no data below a DNAME, RFC 6672 section 2.4"),
    Check("soa-place", _ERROR, structure.soa_place, "one SOA, at the apex"),
    Check("single-value", _ERROR, data.single_value, "a CNAME and a DNAME have one value"),
    Check("rrset-over-message", _ERROR, data.rrset_over_message, "an answer fits into a DNS message"),
    Check("pool-empty", _ERROR, steering.pool_empty, "a pool, or place, has values"),
    Check("pool-without-type", _ERROR, steering.pool_without_type, "a pool of $zone has data of the type"),
    Check("pool-unknown", _ERROR, steering.pool_unknown, "a rule leads to a pool that exists"),
    Check("fallback-unknown", _ERROR, steering.fallback_unknown, "a fallback is a pool that exists"),
    Check("fallback-loop", _ERROR, steering.fallback_loop, "fallbacks come to an end"),
    Check("catch-all", _ERROR, steering.catch_all, "one rule takes everybody, and it is the last"),
    Check("rule-twice", _ERROR, steering.rule_twice, "a place, subnet or AS is in one rule"),
    Check("weights-zero", _ERROR, steering.weights_zero, "something can be drawn from a pool"),
    Check("nearest-location", _ERROR, steering.nearest_location, "what can be nearest has a location"),
    Check("shares-many", _ERROR, steering.shares_many, "few rules have a share"),
    Check("ttl-min", _ERROR, health.ttl_min, "the TTL is lowered, and not raised"),
    Check("rule-order", _WARNING, steering.rule_order, "the narrower rule stands before the broader"),
    Check("rule-kinds", _WARNING, steering.rule_kinds, "rules stand in the order in which they win"),
    Check("pool-unused", _WARNING, steering.pool_unused, "a pool can be reached"),
    Check("zone-pool-unused", _WARNING, steering.zone_pool_unused, "a pool of $zone can be reached"),
    Check("nearest-alone", _WARNING, steering.nearest_alone, "the nearest is one of several"),
    Check("answers-many", _WARNING, steering.answers_many, "there are as many values as answer"),
    Check("cannot-be-checked", _WARNING, health.cannot_be_checked, "what is checked has an address"),
    Check("check-wildcard", _WARNING, health.check_wildcard, "a check asks for a host that there is"),
    Check("slow-start-unchecked", _WARNING, health.slow_start_unchecked, "what comes back was down"),
    Check("min-up-alone", _WARNING, health.min_up_alone, "a part of the weight is a part of several"),
    Check("exec-check", _WARNING, health.exec_check, "commands run only where the config lets them"),
    Check("weight-alone", _WARNING, steering.weight_alone, "a weight has something to weigh against"),
    Check("target-is-cname", _WARNING, structure.target_is_cname, "the target of MX and SRV is no alias"),
    Check("target-missing", _WARNING, structure.target_missing, "a target in the zone exists"),
    Check("target-without-address", _WARNING, structure.target_without_address, "a target has an address"),
    Check("alias-loop", _WARNING, structure.alias_loop, "CNAME and ALIAS lead somewhere"),
    Check("below-cut", _WARNING, structure.below_cut, "no data but glue below a zone cut"),
    Check("ds-place", _WARNING, structure.ds_place, "a DS stands beside the NS of a delegation"),
    Check("wildcard-cut", _WARNING, structure.wildcard_cut, "no NS or DNAME at a wildcard, RFC 4592"),
    Check("name-doubled", _WARNING, structure.name_doubled, "names are relative to the zone"),
    Check("address-special", _WARNING, data.address_special, "public zones have public addresses"),
    Check("host-name", _WARNING, data.host_name, "hosts have host names, RFC 1123 section 2.1"),
    Check("rrset-too-large", _WARNING, data.rrset_too_large, "an answer fits into 1232 octets"),
    Check("spf-type", _WARNING, data.spf_type, "SPF is published as TXT"),
    Check("spf-twice", _WARNING, data.spf_twice, "a name has one SPF record"),
    Check("mx-null", _WARNING, data.mx_null, 'the MX "." stands alone, RFC 7505'),
    Check("soa-timers", _WARNING, data.soa_timers, "the SOA's times make sense together"),
)
"""Every check of a zone that could be read."""


def check(zone: Zone, broken: frozenset[bytes] = frozenset()) -> tuple[CheckedZone | None, list[Problem]]:
    """Run every check; the only place where a CheckedZone is made.

    `broken` are the keys of names whose records could not all be read: what only follows from that is not
    told. The zone is None when a problem is an error. Warnings about a record that is `lenient` are left out.
    """
    view = View(zone, broken)
    problems: list[Problem] = []
    for row in CHECKS:
        problems += _findings(row, view, PROBLEMS_MAX - len(problems))
    if len(problems) >= PROBLEMS_MAX:
        what = f"there are more problems than these {PROBLEMS_MAX}"
        problems.append(Problem(zone.file, 0, 0, "", what, "", _WARNING, "too-many-problems"))
    fine = not any(problem.is_error for problem in problems)
    return (CheckedZone(zone) if fine else None), problems


def _findings(row: Check, view: View, most: int) -> list[Problem]:
    problems: list[Problem] = []
    for finding in row.function(view):
        if len(problems) >= most:
            break
        about = finding.about
        if row.severity is Severity.WARNING and isinstance(about, RRset) and about.lenient:
            continue
        mark = finding.mark
        problems.append(
            Problem(
                mark.file,
                mark.line,
                mark.column,
                view.label(about),
                finding.what,
                finding.hint,
                row.severity,
                row.name,
            )
        )
    return problems
