"""What survives a restart, and what is made of a saved state that is no good."""

import json
from pathlib import Path

from geodns.health import state
from geodns.health.health import Health
from geodns.health.state import OLD_SECONDS
from geodns.health.votes import PEER_SILENT_SECONDS
from geodns.health.words import PeerView
from geodns.table.steer import Steer
from tests.health.steers import by_key, feed, made, pool, said, standing, steer

PEER = "http://192.0.2.2:5380"


def restarted(health: Health, now: float, *steers: Steer) -> Health:
    """Another process that has read what this one saved, through JSON."""
    after = made(*steers)
    assert [] == after.restore(json.loads(json.dumps(health.save())), now)
    return after


def test_a_restart_answers_as_before() -> None:
    """States, counters, slow starts and what peers said, before anybody has looked."""
    record = steer("a. A", pool("fra", "x", "y", "z", slow_start=60))
    health = made(record)
    feed(health, "x", [True, False])
    feed(health, "y", [False, True, True])
    feed(health, "z", [False])
    health.hear(PeerView(PEER, {"tcp x": True, "tcp y": True, "tcp z": True}, "", 21.0), 21.0)
    assert ((0, 1, 2), ((1, 20), (2, 21))) == (standing(health, record).up, standing(health, record).ramps)
    after = restarted(health, 25.0, record)
    assert health.standings == after.standings
    assert health.view() == after.view()
    assert after.is_looked
    assert health.save() == {**after.save(), "at": 21.0}
    assert ["z is down: refused (tcp z), 1 record rests on it"] == [
        str(change)
        for change in after.take([said("z", False)], 26.0) + after.tick(21.1 + PEER_SILENT_SECONDS)
    ]


def test_a_saved_state_waits_for_checks_that_come_later() -> None:
    """A zone that is broken at the start and repaired then has the states from before."""
    record = steer("a. A", pool("fra", "x"))
    health = made(record)
    feed(health, "x", [False])
    after = restarted(health, 5.0)
    after.adopt(by_key(record), 6.0)
    assert not standing(after, record).is_up
    assert after.is_looked


def test_what_was_seen_already_is_not_overruled_by_what_was_saved() -> None:
    """A result is younger than any saved state."""
    record = steer("a. A", pool("fra", "x"))
    health = made(record)
    feed(health, "x", [False])
    after = made(record)
    feed(after, "x", [True])
    after.restore(health.save(), 1.0)
    assert standing(after, record).is_up


def test_an_old_state_holds_until_the_first_look() -> None:
    """Nothing is answered that contradicts it before that; then one result is enough."""
    record = steer("a. A", pool("fra", "x"))
    health = made(record)
    feed(health, "x", [False])
    for age, expected in ((OLD_SECONDS, False), (OLD_SECONDS + 1, True)):
        after = restarted(health, age, record)
        assert not standing(after, record).is_up
        feed(after, "x", [True], age)
        assert expected is standing(after, record).is_up


BROKEN = [
    ({"version": 2}, "version 2 is not 1"),
    ({"checks": []}, "checks is not a mapping"),
    ({"checks": {"tcp x": 1}}, "check tcp x is not a mapping"),
    ({"at": float("nan")}, '"at" is not a time'),
    ({"at": 1e300}, '"at" is not a time'),
    ({"peers": {}}, '"peers" is not a list'),
    ({"peers": [{"peer": 1}]}, '"peer" is not a text'),
    ({"peers": [{"peer": "a", "down": [1], "missing": [], "at": 1}]}, '"down" is not a list of texts'),
]
FIELDS = [
    ("last", [True, 1, 2, 3]),
    ("last", {}),
    ("up", None),
    ("up", 1),
    ("failures", True),
    ("failures", -1),
    ("successes", 1001),
    ("since", "1"),
]


def test_a_broken_state_is_a_problem_and_no_state() -> None:
    """Whatever is wrong in it, nothing of it is used."""
    record = steer("a. A", pool("fra", "x"))
    health = made(record)
    feed(health, "x", [False])
    good = health.save()
    broken = [{**good, **wrong} for wrong, _ in BROKEN]
    broken += [{**good, "checks": {"tcp x": {**good["checks"]["tcp x"], key: bad}}} for key, bad in FIELDS]
    told = []
    for saved in [*broken, [], None]:
        after = made(record)
        (problem,) = after.restore(saved, 1.0)
        told.append(problem.what)
        assert standing(after, record).is_up
        assert not after.is_looked
    assert [expected for _, expected in BROKEN] == told[: len(BROKEN)]


def test_keys_that_a_later_version_adds_are_ignored() -> None:
    """So one can go back a version."""
    record = steer("a. A", pool("fra", "x"))
    health = made(record)
    feed(health, "x", [False])
    saved = {**health.save(), "more": 1}
    saved["checks"]["tcp x"]["more"] = 2
    after = made(record)
    assert [] == after.restore(saved, 1.0)
    assert not standing(after, record).is_up


def test_the_state_s_file_is_written_whole_and_read_with_care(tmp_path: Path) -> None:
    """What was written comes back; what cannot be read is a problem, and no file is none."""
    path = tmp_path / "state" / "health-ns1.json"
    assert (None, []) == state.read(path)
    assert [] == state.write(path, {"version": 1, "at": 2.5})
    assert ({"version": 1, "at": 2.5}, []) == state.read(path)
    assert ["health-ns1.json"] == [file.name for file in path.parent.iterdir()]
    for octets in (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":1e999999}{'):
        path.write_bytes(octets)
        saved, problems = state.read(path)
        assert (None, 1) == (saved, len(problems))
    assert state.write(path / "below", {}) != []
