"""Votes: what several instances see together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.health.votes import (
    PEER_FORGOTTEN_SECONDS,
    PEER_KEYS_MAX,
    PEER_SILENT_SECONDS,
    PEERS_MAX,
    Peers,
    verdict,
)
from geodns.health.words import PeerHeard, PeerView
from tests.health.steers import feed, made, pool, standing, steer

A, B = "http://192.0.2.2:5380", "http://192.0.2.3:5380"
KEY = "tcp a"


@pytest.mark.parametrize(
    ("own", "peers", "expected"),
    [
        (None, [], None),
        (False, [], False),
        (False, [True], True),
        (True, [False], True),
        (False, [False], False),
        (False, [False, True], False),
        (True, [False, False], False),
        (True, [False, False, True], True),
        (None, [False], False),
        (None, [True, False], True),
    ],
)
def test_a_value_is_down_when_more_than_half_say_so(
    own: bool | None, peers: list[bool], expected: bool | None
) -> None:
    """Two that disagree: up; of three, the majority; who knows nothing does not vote."""
    assert expected is verdict(own, peers)


@given(st.lists(st.booleans(), min_size=1, max_size=17))
def test_every_instance_comes_to_the_same(votes: list[bool]) -> None:
    """Whichever of the votes is one's own, the result is the same."""
    assert 1 == len({verdict(votes[at], votes[:at] + votes[at + 1 :]) for at in range(len(votes))})


def test_a_peer_that_is_silent_does_not_count() -> None:
    """Its votes hold for a while after the last word, and from then on only one's own does."""
    www = steer("www. A", pool("fra", "a", "b"))
    health = made(www)
    health.hear(PeerView(A, {KEY: True}, "", 0.0), 0.0)
    assert [] == feed(health, "a", [False])
    health.hear(PeerView(A, None, "timed out", 9.0), 9.0)
    assert [] == health.tick(PEER_SILENT_SECONDS)
    assert (0, 1) == standing(health, www).up
    changes = health.tick(PEER_SILENT_SECONDS + 0.1)
    assert ["a is down: refused (tcp a), 1 record rests on it"] == [str(change) for change in changes]
    assert (1,) == standing(health, www).up


def test_a_peer_that_is_heard_again_with_nothing_new_counts_again() -> None:
    """The same view as before need not be told again, not even after a silence."""
    peers = Peers()
    assert {KEY} == peers.hear(PeerView(A, {KEY: False}, "", 0.0), 0.0)
    assert set() == peers.hear(PeerHeard(A, 5.0), 5.0)
    assert set() == peers.tick(5.0 + PEER_SILENT_SECONDS)
    assert {KEY} == peers.tick(6.0 + PEER_SILENT_SECONDS)
    assert {KEY} == peers.hear(PeerHeard(A, 30.0), 30.0)
    assert [False] == peers.votes(KEY)


def test_a_peer_without_the_key_does_not_count() -> None:
    """Neither one that has other zones nor one that has not looked yet."""
    www = steer("www. A", pool("fra", "a", "b"))
    health = made(www)
    health.hear(PeerView(A, {"tcp other": True}, "", 0.0), 0.0)
    health.hear(PeerView(B, {}, "", 0.0), 0.0)
    assert ["a is down: refused (tcp a), 1 record rests on it"] == feed(health, "a", [False])


def test_three_instances_decide_by_majority() -> None:
    """A change of any peer's view counts, and the log says how many see it so."""
    www = steer("www. A", pool("fra", "a", "b"))
    health = made(www)
    feed(health, "a", [True])
    health.hear(PeerView(A, {KEY: False}, "", 1.0), 1.0)
    assert (0, 1) == standing(health, www).up
    (change,) = health.hear(PeerView(B, {KEY: False}, "", 2.0), 2.0)
    assert ("a is down: 2 of 3 instances see it down; here: fine (tcp a), 1 record rests on it") == str(
        change
    )
    assert {KEY: True} == health.view()
    (change,) = health.hear(PeerView(B, {KEY: True}, "", 3.0), 3.0)
    assert "a is up: 2 of 3 instances see it up; here: fine (tcp a), 1 record rests on it" == str(change)


def test_a_state_that_peers_hold_may_change_with_the_next_look() -> None:
    """We see it down and a peer up: its TTL is one interval, not what our own count would say."""
    www = steer("www. A", pool("fra", "a"))
    health = made(www)
    feed(health, "a", [False])
    assert 20 == standing(health, www).ttl
    health.hear(PeerView(A, {KEY: True}, "", 1.0), 1.0)
    assert 10 == standing(health, www).ttl


def test_an_old_view_does_not_count() -> None:
    """What waited on its way for too long is as good as silence."""
    peers = Peers()
    assert set() == peers.hear(PeerView(A, {KEY: False}, "", 0.0), PEER_SILENT_SECONDS + 1)
    assert [] == peers.votes(KEY)


def test_what_peers_say_is_bounded() -> None:
    """So many peers, so many keys, and states that are true or false."""
    peers = Peers()
    for number in range(PEERS_MAX + 5):
        peers.hear(PeerView(f"http://{number}", {KEY: True}, "", 0.0), 0.0)
    assert PEERS_MAX == len(peers.votes(KEY))
    peers = Peers()
    peers.hear(
        PeerView(A, {"x": 1, KEY: True, **dict.fromkeys(map(str, range(PEER_KEYS_MAX)), True)}, "", 0), 0
    )
    (peer,) = peers
    assert (PEER_KEYS_MAX, False) == (len(peer.up), "x" in peer.up)


def test_a_peer_that_nobody_asks_any_more_is_forgotten() -> None:
    """Its place is free for another."""
    peers = Peers()
    peers.hear(PeerView(A, {KEY: True}, "", 0.0), 0.0)
    peers.hear(PeerView(A, None, "refused", 50.0), 50.0)
    peers.tick(PEER_FORGOTTEN_SECONDS + 1)
    assert [A] == [peer.name for peer in peers]
    peers.tick(PEER_FORGOTTEN_SECONDS + 51)
    assert [] == list(peers)
