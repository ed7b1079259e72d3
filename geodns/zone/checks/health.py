"""Checks of health checks: what they can look at, and what rests on them."""

from collections.abc import Iterator

from geodns.zone import rdata
from geodns.zone.checks.steering import called, pools, size_of
from geodns.zone.checks.view import Finding, View, once
from geodns.zone.model import CheckKind, HealthCheck, Pool, PoolValue, RRset, Steering
from geodns.zone.rdata import AAAA, CNAME, HTTPS, MX, NS, SRV, SVCB, A
from geodns.zone.source import shorten

# Where in the data of a type its target stands.
_TARGET_AT = {CNAME: 0, NS: 0, MX: 2, SRV: 6, SVCB: 2, HTTPS: 2}
_OWN_TARGET = frozenset((SVCB, HTTPS))  # RFC 9460 section 2.5.2: "." is the owner

_WEB = frozenset((CheckKind.HTTP, CheckKind.HTTPS))
_WITHOUT_ADDRESS = frozenset((CheckKind.EXEC, CheckKind.EXTERNAL))


def check_of(steering: Steering, pool: Pool) -> HealthCheck | None:
    """The health check of the values of a pool."""
    return steering.check if pool.check is None else pool.check


@once
def cannot_be_checked(view: View) -> Iterator[Finding]:
    for rrset, steering, pool in pools(view):
        check = check_of(steering, pool)
        if check is None or check.kind in _WITHOUT_ADDRESS:
            continue
        values = [value for value in pool.values if not _can_be_checked(rrset, value)]
        if values:
            kind = rdata.type_name(rrset.type)
            number = "a value" if len(values) == 1 else f"{len(values)} values"
            what = f"{called(pool)}: {number} of type {kind} cannot be checked: there is no address"
            yield Finding(rrset, values[0].mark, what, "such a value counts as up")


def _can_be_checked(rrset: RRset, value: PoolValue) -> bool:
    if rrset.type in (A, AAAA) or value.addresses:
        return True
    if rrset.type not in _TARGET_AT:
        return False
    at = _TARGET_AT[rrset.type]
    is_root = value.rdata[at] == 0  # behind it, SVCB has parameters
    return not is_root or (rrset.type in _OWN_TARGET and not rrset.owner.is_wildcard)


@once
def check_wildcard(view: View) -> Iterator[Finding]:
    for rrset, steering, pool in pools(view):
        check = check_of(steering, pool)
        if check is None or check.kind not in _WEB or not rrset.owner.is_wildcard or pool.is_shared:
            continue
        if check.host is None and not check.host_is_value:
            what = f"the check asks for the host {rrset.owner}, which no server has"
            yield Finding(rrset, check.mark, what, "give it a host:, or null for the value")


@once
def slow_start_unchecked(view: View) -> Iterator[Finding]:
    for rrset, steering, pool in pools(view):
        if pool.slow_start and check_of(steering, pool) is None:
            what = f"{called(pool)} has slow_start, which never has an effect without a health check"
            yield Finding(rrset, pool.mark, what, "add healthcheck: to the pool, or under octodns")


@once
def min_up_alone(view: View) -> Iterator[Finding]:
    for rrset, _, pool in pools(view):
        if pool.min_up is not None and size_of(view, pool) == 1:
            what = f"{called(pool)} has one value, and a min_up that changes nothing"
            yield Finding(rrset, pool.mark, what)


def exec_check(view: View) -> Iterator[Finding]:
    """Told once of each command: it runs as the server does, if the config lets it."""
    told: set[tuple[str, ...]] = set()
    for rrset, steering, pool in pools(view):
        check = check_of(steering, pool)
        if check is not None and check.command and check.command not in told:
            told.add(check.command)
            what = f'the check runs "{shorten(check.command[0])}" as the user of the server'
            hint = "only where geodns.yaml has health.exec: true; else the values count as up"
            yield Finding(rrset, check.mark, what, hint)


def ttl_min(view: View) -> Iterator[Finding]:
    for rrset in view.all():
        if rrset.ttl_min is not None and rrset.ttl_min > rrset.ttl:
            what = f"ttl_min ({rrset.ttl_min}) is more than the TTL ({rrset.ttl})"
            yield Finding(rrset, rrset.mark, what)
