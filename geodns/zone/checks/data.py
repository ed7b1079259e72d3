"""Checks of the data of single records: addresses, host names, sizes, mail."""

import heapq
import re
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network

from geodns.name import Name
from geodns.zone import rdata
from geodns.zone.checks.view import Finding, View, datas
from geodns.zone.model import Policy, Pool, RRset, Steering
from geodns.zone.rdata import AAAA, CNAME, DNAME, MX, NS, SOA, SPF, SRV, TXT, A
from geodns.zone.source import shorten

UDP_PAYLOAD_OCTETS = 1232  # DNS flag day 2020: what passes every network unfragmented; geodns's default
MESSAGE_OCTETS_MAX = 65535  # RFC 1035 section 4.2.2
NEGATIVE_SECONDS_MAX = (
    86400  # RFC 2308 section 5: "values of one to three hours have been found to work well"
)

_HEADER_AND_OPT = 12 + 11  # octets: RFC 1035 section 4.1.1, RFC 6891 section 6.1.2
_FIXED = 12  # octets of a record before its data: pointer, type, class, TTL, length

# From the IANA special-purpose registries, RFC 6890. Documentation addresses are not among them: examples use
# them.
_SPECIAL = tuple(
    (ip_network(prefix), what)
    for prefix, what in (
        ("0.0.0.0/32", "the unspecified address"),
        ("0.0.0.0/8", 'an address of "this network"'),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "an address of carrier-grade NAT"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "an address for benchmarks"),
        ("224.0.0.0/4", "a multicast address"),
        ("240.0.0.0/4", "a reserved address"),
        ("::/128", "the unspecified address"),
        ("::1/128", "the loopback address"),
        ("::ffff:0:0/96", "an IPv4-mapped address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("ff00::/8", "a multicast address"),
    )
)
_FIRST_OCTETS = frozenset((0, 10, 100, 127, 169, 172, 192, 198, *range(224, 256)))
_GLOBAL_UNICAST = range(0x20, 0x40)  # first octets of 2000::/3
# Octets of a lower-case wire name that are neither a length (below 64), nor a letter. Digits and hyphens are
# below 64.
_NOT_HOST = re.compile(rb"[^\x00-\x3fa-z]")


def address_special(view: View) -> Iterator[Finding]:
    if view.zone.local:
        return
    for rrset in view.of(A):
        for wire, mark in datas(rrset):
            if wire[0] in _FIRST_OCTETS and (what := _special(IPv4Address(wire))):
                yield Finding(rrset, mark, f"{IPv4Address(wire)} is {what}, in a public zone")
    for rrset in view.of(AAAA):
        for wire, mark in datas(rrset):
            if wire[0] not in _GLOBAL_UNICAST and (what := _special(IPv6Address(wire))):
                yield Finding(rrset, mark, f"{IPv6Address(wire)} is {what}, in a public zone")


def _special(address: IPv4Address | IPv6Address) -> str:
    for network, what in _SPECIAL:
        if address in network:
            return what
    return ""


def host_name(view: View) -> Iterator[Finding]:
    # RFC 1123 section 2.1: host names have letters, digits and hyphens.
    for rrset in view.of(A, AAAA):
        if _NOT_HOST.search(rrset.owner.key) and (odd := _odd_label(rrset.owner)):
            yield Finding(rrset, rrset.mark, f'"{odd}" is not the name of a host', _HOST_HINT)
    for rtype, skip in ((NS, 0), (MX, 2), (SRV, 6)):
        for rrset in view.of(rtype):
            for name, mark in view.targets(rrset, skip):
                if _NOT_HOST.search(name.key) and (odd := _odd_label(name)):
                    what = f'"{odd}" in the target {name} is not the name of a host'
                    yield Finding(rrset, mark, what, _HOST_HINT)


_HOST_HINT = "hosts have letters, digits and hyphens"


def _odd_label(name: Name) -> str:
    for label in name.labels():
        if _NOT_HOST.search(label.lower()):
            return str(Name.from_labels([label]))[:-1]
    return ""


def rrset_too_large(view: View) -> Iterator[Finding]:
    yield from _larger_than(
        view, UDP_PAYLOAD_OCTETS, MESSAGE_OCTETS_MAX, "clients have to ask again over TCP"
    )


def rrset_over_message(view: View) -> Iterator[Finding]:
    yield from _larger_than(view, MESSAGE_OCTETS_MAX, None, "no DNS message can have it")


def _larger_than(view: View, least: int, most: int | None, hint: str) -> Iterator[Finding]:
    # A record of an address or a name cannot be larger than this; so most RRsets need not be measured.
    few = least // (_FIXED + 255)
    for rrset in view.all():
        if (
            rrset.steering is None
            and len(rrset.rdatas) <= few
            and len(rrset.rdatas[0] if rrset.rdatas else b"") < 256
        ):
            continue
        largest = max(_sizes(rrset), default=0)
        if largest > least and (most is None or largest <= most):
            yield Finding(rrset, rrset.mark, f"the answer has {largest:,} octets, more than {least:,}", hint)


def _sizes(rrset: RRset) -> Iterator[int]:
    """Octets of the answers that an RRset can give."""
    fixed = _HEADER_AND_OPT + len(rrset.owner.wire) + 4
    yield fixed + sum(_FIXED + len(wire) for wire in rrset.rdatas)
    if rrset.steering is None:
        return
    sizes = {name: _pool_octets(pool) for name, pool in rrset.steering.pools.items()}
    yield fixed + max(sizes.values(), default=0)
    for rule in rrset.steering.rules:
        known = [sizes[name] for name in rule.pools if name in sizes]
        yield fixed + sum(heapq.nlargest(rule.answers, known))


def _pool_octets(pool: Pool) -> int:
    """Octets of the largest answer of a pool."""
    octets = [_FIXED + len(value.rdata) for value in pool.values]
    answers = (len(octets) if pool.policy is Policy.ALL else 1) if pool.answers is None else pool.answers
    return sum(octets) if answers >= len(octets) else sum(heapq.nlargest(answers, octets))


def single_value(view: View) -> Iterator[Finding]:
    # RFC 2181 section 10.1: a CNAME leads to one name; RFC 6672 section 2.4: so does a DNAME.
    for rrset in view.of(CNAME, DNAME):
        kind = rdata.type_name(rrset.type)
        if len(rrset.rdatas) > 1:
            yield Finding(rrset, rrset.marks[1], f"a {kind} has one value, here are {len(rrset.rdatas)}")
        if rrset.steering is not None:
            yield from _single_answers(rrset, rrset.steering, kind)


def _single_answers(rrset: RRset, steering: Steering, kind: str) -> Iterator[Finding]:
    for pool in steering.pools.values():
        called = f'pool "{shorten(pool.name)}"'
        if pool.answers is not None and pool.answers > 1:
            yield Finding(rrset, pool.mark, f"{called}: a {kind} has one value, not {pool.answers} answers")
        elif len(pool.values) > 1 and pool.policy is Policy.ALL:
            what = f"{called}: a {kind} has one value, here are {len(pool.values)}"
            yield Finding(rrset, pool.values[1].mark, what, "give them weights, to have one drawn")
    for number, rule in enumerate(steering.rules, 1):
        if rule.answers > 1:
            what = f"rule {number}: a {kind} has one value, not those of {rule.answers} pools"
            yield Finding(rrset, rule.mark, what)


def spf_type(view: View) -> Iterator[Finding]:
    # RFC 7208 section 3.1: "SPF records MUST be published as a DNS TXT [...] Resource Record [...] only."
    for rrset in view.of(SPF):
        yield Finding(rrset, rrset.mark, "nobody asks for type SPF any more (RFC 7208)", "write it as TXT")


def spf_twice(view: View) -> Iterator[Finding]:
    # RFC 7208 section 4.5: more than one record is a permanent error.
    for rrset in view.of(TXT):
        marks = [
            mark
            for wire, mark in zip(rrset.rdatas, rrset.marks, strict=True)
            if wire[1:7].lower() == b"v=spf1" and wire[7:8] in (b"", b" ")
        ]
        if len(marks) > 1:
            yield Finding(
                rrset, marks[1], "there are two SPF records, which makes both invalid", "make one of them"
            )


def mx_null(view: View) -> Iterator[Finding]:
    # RFC 7505 section 3: a domain "MUST NOT advertise any other MX RR" beside a null MX.
    for rrset in view.of(MX):
        nulls = [mark for wire, mark in datas(rrset) if wire[2:] == b"\0"]
        if nulls and len(rrset.rdatas) > 1:
            yield Finding(
                rrset, nulls[0], 'the MX "." says that there is no mail, beside MX that say otherwise'
            )


def soa_timers(view: View) -> Iterator[Finding]:
    for rrset in view.of(SOA):
        for wire, mark in datas(rrset):
            _, refresh, retry, expire, minimum = (
                int.from_bytes(wire[at : at + 4]) for at in _soa_numbers(wire)
            )
            if view.zone.soa_made or view.zone.local:
                continue
            if expire < refresh + retry:
                what = f"expire ({expire}) is less than refresh and retry together ({refresh + retry})"
                yield Finding(rrset, mark, what, "a secondary would give up before it could try again")
            if minimum > NEGATIVE_SECONDS_MAX:
                what = f"minimum ({minimum}) is more than a day ({NEGATIVE_SECONDS_MAX})"
                yield Finding(
                    rrset, mark, what, "so long will resolvers believe that a new name does not exist"
                )


def _soa_numbers(wire: bytes) -> range:
    return range(len(wire) - 20, len(wire), 4)
