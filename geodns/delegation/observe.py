"""Asking everybody: a Form and an Asker in, an Observed out."""

from collections.abc import Callable, Iterable

from geodns.delegation.form import Form
from geodns.delegation.observed import Observed, Resolved, Seen
from geodns.delegation.reply import Asker, Question, Reply
from geodns.delegation.walk import Found, Server, Walker, answered_addresses, usable
from geodns.name import Name
from geodns.zone.rdata import AAAA, DNSKEY, NS, SOA, A

SERVERS_MAX = 64  # addresses of the zone's nameservers that are asked; two machines have four

ODD_VERSION = 1  # of EDNS; RFC 6891 section 6.1.3: a server that does not have it answers BADVERS

Questions = dict[str | tuple[Name, int], Question]
Replies = dict[str | tuple[Name, int], Reply]


def observe(
    form: Form,
    asker: Asker,
    roots: Iterable[Server],
    resolver: tuple[str, int] | None = None,
    system_of: Callable[[str], int] = lambda address: 0,
) -> Observed:
    """Walk to the parent, ask all the zone's servers everything, and a resolver (address, port) if given.

    `system_of` gives the AS number of an address, 0 if it is unknown. Raises network.TooManyQuestions.
    """
    walker = Walker(asker, roots)
    walked = walker.parent_of(form.apex)
    seen = Observed(form, walked, {}, ())
    outside = sorted(name for name in seen.names if not name.is_under(form.apex))
    seen = Observed(form, walked, {name: walker.addresses(name) for name in outside}, ())
    servers = _servers(seen, asker)
    return Observed(
        form,
        walked,
        seen.found,
        servers,
        {server.address: system_of(server.address) for server in servers},
        None if resolver is None else _resolved(seen, asker, *resolver),
    )


def _servers(seen: Observed, asker: Asker) -> tuple[Seen, ...]:
    names: dict[str, list[Name]] = {}
    for name in sorted(seen.names):
        for address in usable(seen.addresses(name)):
            names.setdefault(address, []).append(name)
    addresses = list(names)[:SERVERS_MAX]
    there = _round(asker, addresses, _are_you_there(seen.apex))
    alive = [address for address in addresses if any(reply.is_answered for reply in there[address].values())]
    inside = sorted(name for name in seen.names if name.is_under(seen.apex))
    told = _round(asker, alive, _what_do_you_know(seen) | _hosts_questions(inside))
    return tuple(
        _seen(names[address], address, there[address], told.get(address, {})) for address in addresses
    )


def _are_you_there(apex: Name) -> Questions:
    return {
        "soa": Question(apex, SOA, wants_dnssec=True),
        "tcp": Question(apex, SOA, over_tcp=True, edns=None),  # so that it is TCP that fails, if it fails
        "plain": Question(apex, SOA, edns=None),
    }


def _what_do_you_know(seen: Observed) -> Questions:
    questions: Questions = {
        "ns": Question(seen.apex, NS, wants_dnssec=True),
        "version": Question(seen.apex, SOA, edns=ODD_VERSION),
        "odd": Question(seen.apex, SOA, is_odd=True),
        "recursion": Question(seen.parent, SOA, wants_recursion=True),
    }
    if seen.walked.ds:
        questions["dnskey"] = Question(seen.apex, DNSKEY)
    return questions


def _hosts_questions(names: Iterable[Name], wants_recursion: bool = False) -> Questions:
    return {
        (name, rtype): Question(name, rtype, wants_recursion=wants_recursion)
        for name in names
        for rtype in (A, AAAA)
    }


def _round(
    asker: Asker, addresses: list[str], questions: Questions, port: int | None = None
) -> dict[str, Replies]:
    """Every question to every address, all at once."""
    asked = [(question, address) for address in addresses for question in questions.values()]
    replies = iter(asker.ask_all(asked, port))
    return {address: {what: next(replies) for what in questions} for address in addresses}


def _seen(names: list[Name], address: str, there: Replies, told: Replies) -> Seen:
    replies = {what: reply for what, reply in (there | told).items() if isinstance(what, str)}
    return Seen(tuple(names), address, **replies, hosts=_hosts(told))


def _hosts(told: Replies) -> dict[Name, Found]:
    names = dict.fromkeys(what[0] for what in told if isinstance(what, tuple))
    return {name: _found(name, [told[name, rtype] for rtype in (A, AAAA)]) for name in names}


def _found(name: Name, replies: list[Reply]) -> Found:
    bad = next((reply for reply in replies if reply.rcode != "NOERROR" or not reply.is_answered), None)
    failure = "" if bad is None else bad.rcode if bad.is_answered else bad.outcome.value
    addresses = frozenset(address for reply in replies for address in answered_addresses(reply, name))
    return Found(addresses, next((to for reply in replies if (to := reply.alias(name))), None), failure)


def _resolved(seen: Observed, asker: Asker, address: str, port: int) -> Resolved:
    questions: Questions = {
        "soa": Question(seen.apex, SOA, wants_recursion=True),
        "ns": Question(seen.apex, NS, wants_recursion=True),
    }
    questions |= _hosts_questions(sorted(seen.names), wants_recursion=True)
    told = _round(asker, [address], questions, port)[address]
    return Resolved(address, told["soa"], told["ns"], _hosts(told))
