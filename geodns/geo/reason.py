"""Which rule takes an address, and why: the rules read one after the other, for `geodns explain`.

    rules + Explanation --match--> Match(rule, why)   and Partition.locate says the same, only faster

The tests hold the two to each other.
"""

from dataclasses import dataclass

from geodns.geo import codes
from geodns.geo.address import Prefix, canonical_prefix
from geodns.geo.locator import Explanation
from geodns.geo.partition import OUTCOME_DEFAULT, OUTCOME_NOT_PUBLIC, Rules


@dataclass(frozen=True, slots=True)
class Match:
    """`rule` is the index of the rule that takes the address, None where none does; `why` is a phrase for
    people.

    `outcome` is the rule's, OUTCOME_DEFAULT without one, and OUTCOME_NOT_PUBLIC for an address that says
    nothing of where a client is; `rule` is then the one that an asker with this address gets.
    """

    rule: int | None
    outcome: int
    why: str


def match(rules: Rules, explanation: Explanation) -> Match:
    """The longest subnet, then the AS, then the most specific geo code, then the catch-all."""
    found = _by_subnet(rules, explanation) or _by_system(rules, explanation) or _by_place(rules, explanation)
    if found:
        return found
    rest = next((at for at, rule in enumerate(rules) if not (rule.subnets or rule.asns or rule.geos)), None)
    outcome = OUTCOME_DEFAULT if rest is None else rules[rest].outcome
    why = "no rule has this address" if rest is None else "takes what no other rule does"
    if not explanation.is_located:
        outcome = OUTCOME_NOT_PUBLIC
        why = f"{why}; {explanation.used} has no place" + (
            f": {explanation.special.what} ({explanation.special.source})" if explanation.special else ""
        )
    return Match(rest, outcome, why)


def _by_subnet(rules: Rules, explanation: Explanation) -> Match | None:
    best: tuple[int, int] | None = None  # length, rule
    for at, rule in enumerate(rules):
        for subnet in rule.subnets:
            prefix = canonical_prefix(Prefix(*subnet))
            if prefix and prefix.covers(explanation.used) and (best is None or prefix.length > best[0]):
                best = prefix.length, at
    if best is None:
        return None
    length, at = best
    network = explanation.used.network(length)
    return Match(at, rules[at].outcome, f"{explanation.used} is in the subnet {network}")


def _by_system(rules: Rules, explanation: Explanation) -> Match | None:
    asn = explanation.place.asn
    if not asn:
        return None
    at = next((at for at, rule in enumerate(rules) if asn in rule.asns), None)
    return None if at is None else Match(at, rules[at].outcome, f"{explanation.used} is in AS{asn}")


def _by_place(rules: Rules, explanation: Explanation) -> Match | None:
    for code in explanation.place.codes():
        for at, rule in enumerate(rules):
            if any(codes.current(geo) == codes.current(code) for geo in rule.geos):
                return Match(
                    at, rules[at].outcome, f"{explanation.used} is in {code} ({codes.describe(code)})"
                )
    return None
