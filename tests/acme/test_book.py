"""What is set, refused, cleared, over, and agreed on by instances that hear of it in any order."""

import json
from itertools import permutations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.acme import accounts, book, state, words
from geodns.acme.book import (
    ACCOUNT_SECONDS,
    CHANGES_AT_ONCE,
    REGISTRATIONS_AT_ONCE,
    SECONDS_MAX,
    SECONDS_MIN,
    VALUES_MAX,
    Book,
)
from geodns.acme.words import Refused
from geodns.name import Name
from tests.acme.instances import value
from tests.conftest import NOW

OWNER = Name.parse("_acme-challenge.www.example.com").key
ZONE = Name.parse("auth.example.org")
ONE, TWO, THREE = value(), value(), value()


def values(of: Book, now: float = NOW, owner: bytes = OWNER) -> set[str]:
    return {data[1:].decode() for data in of.texts(now).get(owner, ())}


def test_several_values_until_they_are_over():
    """Each value is answered for its time, and no second longer."""
    kept = Book()
    kept.set(OWNER, ONE, 600, NOW)
    kept.set(OWNER, TWO, 60, NOW + 10)
    assert {ONE, TWO} == values(kept, NOW + 69)
    assert {ONE} == values(kept, NOW + 70)
    assert kept.expire(NOW + 70)
    assert not kept.expire(NOW + 71)
    assert kept.expire(NOW + 600)
    assert {} == kept.texts(NOW)
    assert {"changes": [], "accounts": []} == kept.to_json()


def test_clearing():
    """One value, or all of a name; what is not set is nothing to clear."""
    kept = Book()
    for each in (ONE, TWO, THREE):
        kept.set(OWNER, each, 600, NOW)
    assert [ONE] == [change.value for change in kept.clear(OWNER, ONE, NOW)]
    assert {TWO, THREE} == values(kept)
    assert [] == kept.clear(OWNER, ONE, NOW)
    assert [] == kept.clear(Name.parse("example.com").key, None, NOW)
    assert 2 == len(kept.clear(OWNER, None, NOW))
    assert set() == values(kept)
    kept.set(OWNER, ONE, 600, NOW)
    assert {ONE} == values(kept)


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("www.example.com", "_acme-challenge.www.example.com."),
        ("*.example.com.", "_acme-challenge.example.com."),
        ("_acme-challenge.www.example.com.", "_acme-challenge.www.example.com."),
        ("_ACME-challenge.www.example.com", "_ACME-challenge.www.example.com."),
        ("bücher.example", "_acme-challenge.xn--bcher-kva.example."),
    ],
)
def test_where_a_challenge_stands(text: str, owner: str):
    """At _acme-challenge below the domain, whichever of them a client names."""
    assert owner == str(words.owner_of(text))


@pytest.mark.parametrize("text", ["a..b", "x" * 64 + ".com", ".".join(["abcdefgh"] * 28), "\0" * 300])
def test_what_is_no_name(text: str):
    """A name that is too long with the label, or none at all, is refused in a sentence."""
    with pytest.raises(Refused):
        words.owner_of(text)


@pytest.mark.parametrize("bad", ["", "a" * 42, "a" * 44, "a" * 42 + "=", "a" * 42 + "\n", "ä" * 43, None, 43])
def test_what_is_no_value(bad: object):
    """A value is 43 characters of base64url and nothing else."""
    with pytest.raises(Refused, match="43 letters"):
        words.checked_value(bad)


def test_limits(monkeypatch: pytest.MonkeyPatch):
    """Values of a name, names, and how long: one too many is refused, and what is there stays."""
    kept = Book()
    monkeypatch.setattr(book, "NAMES_MAX", 2)
    for _ in range(VALUES_MAX):
        last = kept.set(OWNER, value(), 600, NOW)
    with pytest.raises(Refused, match="8 values already"):
        kept.set(OWNER, value(), 600, NOW)
    kept.set(OWNER, last.value, 700, NOW)  # the same again is no more
    kept.set(Name.parse("a.example.com").key, ONE, 600, NOW)
    with pytest.raises(Refused, match="2 names"):
        kept.set(Name.parse("b.example.com").key, ONE, 600, NOW)
    for seconds in (SECONDS_MIN - 1, SECONDS_MAX + 1, float("nan")):
        with pytest.raises(Refused, match="a challenge lasts 60 to 86400 seconds"):
            kept.set(OWNER, last.value, seconds, NOW)
    monkeypatch.setattr(book, "CHANGES_MAX", VALUES_MAX + 1)
    kept.clear(OWNER, None, NOW)
    with pytest.raises(Refused, match="not over"):
        kept.set(OWNER, value(), 600, NOW)


def test_rates():
    """A client in a loop is told to wait; after a while it may again."""
    kept = Book(ZONE)
    for _ in range(int(CHANGES_AT_ONCE)):
        kept.set(OWNER, ONE, 600, NOW)
    with pytest.raises(Refused, match="too many challenges") as caught:
        kept.set(OWNER, ONE, 600, NOW)
    assert 429 == caught.value.status
    kept.set(OWNER, ONE, 600, NOW + 1)
    for _ in range(int(REGISTRATIONS_AT_ONCE)):
        kept.register([], NOW)
    with pytest.raises(Refused, match="too many registrations"):
        kept.register([], NOW)


CHANGES = st.tuples(st.sampled_from([ONE, TWO]), st.booleans(), st.integers(0, 3), st.integers(50, 60)).map(
    lambda row: words.Change(OWNER, row[0], row[1], NOW + row[2], NOW + row[3])
)


@given(st.lists(CHANGES, max_size=4))
def test_instances_agree(changes: list[words.Change]):
    """Whatever was changed where, and in whichever order they hear of it, they end with the same."""
    ends = set()
    for order in permutations(changes):
        kept = Book()
        for change in order:
            kept.merge([change], [], NOW)
        assert not kept.merge(changes, [], NOW)
        ends.add(json.dumps(sorted(kept.to_json()["changes"], key=str)))
    assert 1 == len(ends)


def test_a_cleared_value_stays_cleared():
    """A peer that has not heard does not bring it back; a peer's wrong clock has not the last word."""
    here, there = Book(), Book()
    change = here.set(OWNER, ONE, 600, NOW)
    there.merge([change], [], NOW)
    here.clear(OWNER, ONE, NOW + 1)
    assert not here.merge(there.live(NOW + 1), [], NOW + 1)
    assert set() == values(here, NOW + 1)
    here.merge([words.Change(OWNER, TWO, True, NOW + 1e9, NOW + 1e10)], [], NOW)
    (far,) = [change for change in here.live(NOW) if change.value == TWO]
    assert far.until == NOW + ACCOUNT_SECONDS
    here.clear(OWNER, TWO, NOW)
    assert set() == values(here, NOW)


def test_accounts():
    """An account sets its own subdomain, of which the last two values are answered; only the key opens it."""
    kept = Book(ZONE)
    account, key = kept.register(accounts.networks(["192.0.2.1/24"]), NOW)
    other, _ = kept.register([], NOW)
    assert 40 == len(key)
    assert key not in json.dumps(kept.to_json())
    assert accounts.opens(account, key)
    assert not accounts.opens(account, key + "x")
    assert not accounts.opens(other, key)
    assert not accounts.opens(None, key)
    for at, each in enumerate((ONE, TWO, THREE)):
        kept.update(account, each, NOW + at)
    assert {TWO, THREE} == values(kept, NOW + 5, kept.owner_of(account))
    kept.update(account, TWO, NOW + 6)
    kept.update(account, ONE, NOW + 7)
    assert {TWO, ONE} == values(kept, NOW + 90 * 86_400, kept.owner_of(account))
    assert set() == values(kept, NOW + 5, kept.owner_of(other))


@pytest.mark.parametrize(
    ("address", "is_in"),
    [
        ("192.0.2.200", True),
        ("::ffff:192.0.2.200", True),
        ("2001:db8::1%eth0", True),
        ("198.51.100.1", False),
        ("", False),
    ],
)
def test_addresses(address: str, is_in: bool):
    """An IPv4 address counts as such also when it comes over an IPv6 socket."""
    assert is_in == accounts.is_within(address, accounts.networks(["192.0.2.1/24", "2001:db8::/32"]))


def test_a_restart(tmp_path: Path):
    """What was set survives it; of a broken file, everything that it was stays."""
    kept = Book(ZONE)
    kept.set(OWNER, ONE, 600, NOW)
    account, _ = kept.register(accounts.networks(["192.0.2.0/24"]), NOW)
    file = tmp_path / "state" / "acme-ns1.json"
    assert [] == state.write(file, kept.to_json())
    assert 0o600 == file.stat().st_mode & 0o777
    changes, theirs, problems = state.read(file)
    assert ([], [account]) == (problems, theirs)
    again = Book(ZONE)
    assert again.merge(changes, theirs, NOW)
    assert again.to_json() == kept.to_json()
    assert ([], [], []) == state.read(tmp_path / "none")


@pytest.mark.parametrize(
    "said",
    [
        None, [], "x", 1, {"x": []}, {"changes": {}}, {"accounts": "x"}, {"changes": [None]},
        {"accounts": [[]]},
        {"changes": [{}]}, {"changes": [[]] * (book.CHANGES_MAX + 1)}, {"accounts": [{"user": {}}]},
    ],
)  # fmt: skip
def test_whatever_a_peer_says(said: object):
    """What is no message is refused in a sentence."""
    with pytest.raises(Refused):
        book.parse(said)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": "a..b"}, {"value": "short"}, {"set": 1}, {"at": "now"}, {"until": True}, {"at": -1.0},
        {"until": float("inf")}, {"until": float("nan")}, {"more": 1},
    ],
)  # fmt: skip
def test_a_change_with_something_wrong(wrong: dict[str, object]):
    """Nothing is taken of a message with one bad change in it."""
    good = words.to_json(words.Change(OWNER, ONE, True, NOW, NOW + 1))
    assert words.from_json(good).value == ONE
    with pytest.raises(Refused):
        book.parse({"changes": [good, {**good, **wrong}]})
    account, _ = accounts.make_account([], NOW)
    for key in ("user", "hash", "subdomain", "allow_from", "at"):
        with pytest.raises(Refused):
            book.parse({"accounts": [{**accounts.to_json(account), key: "x"}]})
