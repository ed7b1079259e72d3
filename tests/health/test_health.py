"""Health as a whole: what is checked, what is up, and what is told. All on a clock of the tests' own."""

import dataclasses
import json

import pytest

from geodns import config
from geodns.health.health import HISTORY_MAX, Health
from geodns.health.overrides import parse
from geodns.health.words import PeerView
from geodns.table.steer import (
    TTL_UNBOUND,
    Member,
    Policy,
    PoolStanding,
    Steer,
)
from tests.health.steers import SETTINGS, by_key, check, feed, made, member, pool, said, standing, steer

PEER = "http://192.0.2.2:5380"


# ------------------------------------------------------------------------------------ what is checked


def test_a_check_is_made_once_however_many_rest_on_it() -> None:
    """Equal checks of any members of any records are one probe, with the config's defaults."""
    health = Health(config.Health(interval=7, timeout=2, jitter=0.5, source=["192.0.2.1"]))
    one = steer("a. A", pool("fra", "x", "y"), pool("iad", "x"))
    two = steer("b. A", pool("fra", member("other", "x")))
    plain = steer("c. A", pool("fra", member("z", "-")))
    probes, gone = health.adopt(by_key(one, two, plain), 0.0)
    assert ["tcp x", "tcp y"] == sorted(probe.key for probe in probes)
    assert {(7.0, 2.0, 0.5, ("192.0.2.1",))} == {
        (probe.interval, probe.timeout, probe.jitter, probe.source) for probe in probes
    }
    assert [] == gone


def test_a_reload_tells_what_is_new_changed_and_gone_and_keeps_the_rest() -> None:
    """Checks that stay keep state and counters, also when a record is written anew or only times change."""
    health = made(steer("a. A", pool("fra", "x", "y", "z")))
    for name in "xyz":
        feed(health, name, [True, False])
    slower = Member("x", 1, 0, (dataclasses.replace(check("x"), interval=20.0),))
    record = steer("b. A", pool("fra", slower, "y", "new"))
    probes, gone = health.adopt(by_key(record), 30.0)
    assert {"tcp x": 20.0, "tcp new": 10.0} == {probe.key: probe.interval for probe in probes}
    assert ["tcp z"] == gone
    rows = health.status().checks
    assert {"tcp new": (None, 0), "tcp x": (True, 1), "tcp y": (True, 1)} == {
        key: (row.own, row.failures) for key, row in rows.items()
    }
    assert {"tcp new": 10, "tcp x": 40, "tcp y": 20} == {key: row.ttl for key, row in rows.items()}
    assert ([], []) == health.adopt(by_key(steer("b. A", pool("fra", slower, "y", "new"))), 31.0)


def test_a_check_that_left_and_comes_back_begins_anew() -> None:
    """What was known of it is as old as its leaving."""
    health = made(record := steer("a. A", pool("fra", "x")))
    feed(health, "x", [False])
    health.adopt({}, 10.0)
    assert ({}, {}) == (health.standings, health.view())
    probes, _ = health.adopt(by_key(record), 20.0)
    assert ["tcp x"] == [probe.key for probe in probes]
    assert standing(health, record).is_up


def test_of_one_check_with_different_times_the_quickest_is_made() -> None:
    """Whichever record is loaded first, and only as long as its record is there."""
    slow, fast = (
        Member("x", 1, 0, (dataclasses.replace(check("x"), interval=each),)) for each in (30.0, 5.0)
    )
    records = by_key(steer("a. A", pool("fra", slow)), steer("b. A", pool("fra", fast)))
    health = Health(SETTINGS)
    probes, _ = health.adopt(records, 0.0)
    assert [5.0] == [probe.interval for probe in probes]
    probes, _ = health.adopt({"a. A": records["a. A"]}, 1.0)
    assert [30.0] == [probe.interval for probe in probes]


def test_other_defaults_change_the_probes_that_rest_on_them() -> None:
    """State and counters stay; what the zone file says itself stays too."""
    own = Member("y", 1, 0, (dataclasses.replace(check("y"), interval=3.0, timeout=1.0),))
    health = made(record := steer("a. A", pool("fra", "x", own)))
    feed(health, "x", [True, False])
    probes, gone = health.configure(config.Health(interval=60, fall=2), 20.0)
    assert ([("tcp x", 60.0)], []) == ([(probe.key, probe.interval) for probe in probes], gone)
    assert 3 == standing(health, record).ttl
    assert ["x is down: refused (tcp x), 1 record rests on it"] == feed(health, "x", [False], 30.0)


def test_it_is_looked_when_every_check_has_a_result() -> None:
    """Also one that could say nothing; new checks of a reload have to be looked at again."""
    health = made(steer("a. A", pool("fra", "x", "y")))
    feed(health, "x", [True])
    assert not health.is_looked
    feed(health, "y", [None])
    assert health.is_looked
    health.adopt(by_key(steer("a. A", pool("fra", "x", "z"))), 1.0)
    assert not health.is_looked
    health.adopt(by_key(steer("a. A", pool("fra", "x"))), 2.0)
    assert health.is_looked


# ----------------------------------------------------------------------------------------- what is up


def test_nobody_has_looked_yet_counts_as_up() -> None:
    """But the first look decides at once, so it is no state to rely on for longer than an interval."""
    health = made(record := steer("a. A", pool("fra", "x", "y")))
    assert PoolStanding((0, 1), True, (), 10) == standing(health, record)
    assert ["x is down: refused (tcp x), 1 record rests on it"] == feed(health, "x", [False])
    assert PoolStanding((1,), True, (), 10) == standing(health, record)


def test_a_check_that_is_not_allowed_changes_nothing() -> None:
    """Its value counts as up, for as long as one likes."""
    health = made(record := steer("a. A", pool("fra", "x")))
    feed(health, "x", [None, None])
    assert {} == health.standings
    assert standing(health, record).is_up


def test_a_change_names_value_reason_check_and_records() -> None:
    """One line for a value, however many records rest on it."""
    records = [steer(f"{name}. A", pool("fra", "x", "y"), pool("iad", "x")) for name in "abc"]
    health = made(*records, steer("d. A", pool("fra", member("mail.", "x"))), steer("e. A", pool("p", "z")))
    changes = health.take([said("x", False, "HTTP 503"), said("z", True)], 0.0)
    assert [
        "x is down: HTTP 503 (tcp x), 3 records rest on it",
        "mail. is down: HTTP 503 (tcp x), 1 record rests on it",
    ] == [str(change) for change in changes]


def test_what_a_server_says_cannot_disturb_the_log() -> None:
    """A text out of the network is one short line without control characters, here and in the status."""
    health = made(steer("a. A", pool("fra", "x")))
    (change,) = health.take([said("x", False, "HTTP 503 \x1b[2J\n" + "y" * 1000)], 0.0)
    assert change.why.isprintable()
    assert (200, change.why) == (len(change.why), health.status().checks["tcp x"].detail)


def test_counting_changes_the_ttl_and_tells_nobody() -> None:
    """A failure that does not bring a value down brings the next possible change nearer, as in gdnsd."""
    health = made(record := steer("a. A", pool("fra", "x", "y")))
    feed(health, "y", [True])
    ttls = []
    for at, ok in enumerate((True, False, False, True, False, False)):
        assert [] == feed(health, "x", [ok], 10.0 * at)
        ttls.append(standing(health, record).ttl)
    assert [30, 20, 10, 30, 20, 10] == ttls


def test_standings_are_replaced_only_when_something_is_different() -> None:
    """One mapping per change, and the one before stays as it was for whoever reads it."""
    health = made(record := steer("a. A", pool("fra", "x", "y")))
    health.take([said("x", True), said("y", True)], 0.0)
    before = health.standings
    copy = dict(before)
    health.take([said("x", True), said("y", None), said("unknown", False)], 10.0)
    health.tick(11.0)
    health.adopt(by_key(record), 12.0)
    assert before is health.standings
    health.take([said("x", False)], 20.0)
    assert before is not health.standings
    assert copy == before


def test_a_member_with_several_checks_is_up_when_one_of_them_is() -> None:
    """It can fall only with the last that holds it, and rise with the first."""
    health = made(record := steer("a. TXT", pool("fra", member("t", "v4", "v6"))))
    feed(health, "v4", [True, False])
    feed(health, "v6", [True])
    assert (True, 30) == (standing(health, record).is_up, standing(health, record).ttl)
    assert [] == feed(health, "v6", [False, False, False], 10.0)
    assert (True, 20) == (standing(health, record).is_up, standing(health, record).ttl)
    assert 1 == len(feed(health, "v4", [False, False], 40.0))
    feed(health, "v6", [True], 60.0)
    assert (False, 10) == (standing(health, record).is_up, standing(health, record).ttl)


def test_an_external_report_decides_at_once_and_has_no_ttl() -> None:
    """Whoever reports has thought about it; when the next report comes nobody knows."""
    door = Member("x", 1, 0, (check("door", kind="external"),))
    health = made(record := steer("a. A", pool("fra", door)))
    states = []
    for ok in (True, False, True, None):
        health.take([said("door", ok, kind="external")], 0.0)
        states.append((standing(health, record).is_up, standing(health, record).ttl))
    assert [(True, TTL_UNBOUND), (False, TTL_UNBOUND), (True, TTL_UNBOUND), (True, TTL_UNBOUND)] == states


def test_a_member_that_is_never_chosen_does_not_shorten_the_ttl() -> None:
    """Weight 0 takes it out where members are chosen by weight."""
    weighted = pool("fra", "x", member("y", weight=0), policy=Policy.WEIGHTED)
    health = made(record := steer("a. A", weighted))
    feed(health, "x", [True])
    feed(health, "y", [False])
    assert PoolStanding((0,), True, (), 30) == standing(health, record)


def test_a_pool_needs_its_share_of_the_weight() -> None:
    """`min_up` of the weight has to be up, the weight of what is forced up included."""
    half = pool("fra", member("x", weight=3), member("y", weight=2), member("z", weight=1), min_up=0.5)
    health = made(record := steer("a. A", half))
    feed(health, "x", [False])
    assert ((1, 2), True) == (standing(health, record).up, standing(health, record).is_up)
    feed(health, "y", [False])
    assert ((2,), False) == (standing(health, record).up, standing(health, record).is_up)
    health.override(parse("y up", "o"), 1.0)
    assert ((1, 2), True) == (standing(health, record).up, standing(health, record).is_up)


@pytest.mark.parametrize("shared", [False, True])
def test_a_batch_that_changes_nothing_touches_nothing(shared: bool) -> None:
    """However many records there are: no Standing is computed, and the mapping is the same."""
    records = [steer(f"h{at}. A", pool("fra", f"x{0 if shared else at}", "y")) for at in range(500)]
    health = made(*records)
    names = sorted({check.target for record in records for check in record.checks})
    health.take([said(name, True) for name in names], 0.0)
    before = health.standings
    assert [] == health.take([said(name, True) for name in names], 10.0)
    assert before is health.standings


# -------------------------------------------------------------------------------------- slow start


def slow() -> Steer:
    return steer("a. A", pool("fra", "x", "y", slow_start=60))


def test_a_value_that_came_back_starts_slowly() -> None:
    """From the second at which it came up, until its slow start is over; not at first sight."""
    health = made(slow())
    feed(health, "x", [True])
    feed(health, "y", [False, True, True], 0.0)
    assert (1, ((1, 20),)) == (standing(health, slow()).up[-1], standing(health, slow()).ramps)
    health.tick(79.9)
    assert ((1, 20),) == standing(health, slow()).ramps
    health.tick(80.0)
    assert () == standing(health, slow()).ramps


def test_a_value_that_falls_in_its_slow_start_begins_it_again() -> None:
    """Each time from its last coming up."""
    health = made(slow())
    feed(health, "y", [False, True, True, False, False, False], 0.0)
    assert ((0,), ()) == (standing(health, slow()).up, standing(health, slow()).ramps)
    feed(health, "y", [True, True], 60.0)
    assert ((1, 70),) == standing(health, slow()).ramps


def test_a_value_starts_slowly_when_it_is_no_longer_forced_down() -> None:
    """It was without clients as one that was down; one that is forced up starts at once."""
    health = made(slow())
    health.take([said("x", True), said("y", True)], 0.0)
    health.override(parse("y down", "o"), 1.0)
    health.override(parse("", "o"), 100.0)
    assert ((1, 100),) == standing(health, slow()).ramps
    health.adopt(by_key(slow()), 110.0)
    assert ((1, 100),) == standing(health, slow()).ramps
    health.tick(160.0)
    assert () == standing(health, slow()).ramps
    health.override(parse("y down", "o"), 161.0)
    health.override(parse("y up", "o"), 162.0)
    assert () == standing(health, slow()).ramps


def test_a_slow_start_goes_on_in_a_record_that_is_new() -> None:
    """It is the value that starts slowly, wherever it stands."""
    health = made(slow())
    feed(health, "y", [False, True, True], 0.0)
    other = steer("b. A", pool("iad", "y", slow_start=300))
    health.adopt(by_key(slow(), other), 50.0)
    assert ((0, 20),) == standing(health, other).ramps


# ------------------------------------------------------------------------------------------- status


def test_the_status_has_everything_and_is_json() -> None:
    """Every value with its real and its forced state, its checks with counters and votes, its records."""
    record = steer(
        "www.example.com. A",
        pool("fra", member("x", weight=3), member("y", is_up=False), min_up=0.5, slow_start=60),
        pool("iad", "x", member("free", "-")),
    )
    health = made(record, steer("b.example.com. A", pool("fra", "x")))
    health.take([said("x", False, "HTTP 503", 0.5)], 1.0)
    health.take([said("x", True, "HTTP 200", 10.5)], 11.0)
    health.hear(PeerView(PEER, {"tcp x": False, "tcp y": True}, "", 11.0, "ns2", (("a.", 7),)), 11.0)
    health.override(parse("*/fra/x up until 2026-11-22T10:00:00Z # test", "o"), 12.0)
    told = json.loads(json.dumps(dataclasses.asdict(health.status())))
    forced, real, status = told["values"]
    assert {
        "text": "x",
        "is_up": True,
        "real": False,
        "status": None,
        "forced": {
            "place": "o:1",
            "target": "*/fra/x",
            "is_up": True,
            "until": 1795341600.0,
            "reason": "test",
        },
        "since": 1.0,
        "ttl": None,
        "checks": ["tcp x"],
        "records": ["b.example.com/A/fra", "www.example.com/A/fra"],
        "record_count": 2,
    } == {**forced, "records": sorted(forced["records"])}
    assert (False, None, 10, ["www.example.com/A/iad"]) == (
        real["is_up"],
        real["forced"],
        real["ttl"],
        real["records"],
    )
    assert ("y", False, True, False) == (status["text"], status["is_up"], status["real"], status["status"])
    assert {
        "key": "tcp x",
        "kind": "tcp",
        "target": "x",
        "own": False,
        "own_since": 1.0,
        "peers": {PEER: False},
        "is_up": False,
        "failures": 0,
        "successes": 1,
        "rise": 2,
        "fall": 3,
        "ok": True,
        "detail": "HTTP 200",
        "at": 10.5,
        "took": 0.01,
        "interval": 10.0,
        "ttl": 10,
        "changes": 0,
    } == told["checks"]["tcp x"]
    weights = {(row["name"], tuple(row["up"]), row["weight_up"], row["weight"]) for row in told["pools"]}
    assert {("fra", ("x",), 3, 4), ("fra", ("x",), 1, 1), ("iad", ("free",), 1, 2)} == weights
    peer = {"peer": PEER, "id": "ns2", "counts": True, "heard": 11.0, "checks": 2, "detail": ""}
    assert [{**peer, "zones": {"a.": 7}}] == told["peers"]
    assert [2] == [row["members"] for row in told["overrides"]]


def test_the_history_of_values() -> None:
    """The last changes with their times and reasons, as many as fit; and since when it has all of them."""
    health = Health(config.Health(fall=1, rise=1))
    health.adopt(by_key(steer("a. A", pool("fra", "x"))), 5.0)
    for at in range(6, 12):
        health.take([said("x", at % 2 == 0, "told", at)], float(at))
    status = health.status()
    assert 5.0 == status.history_since
    assert [(7.0, False), (8.0, True), (9.0, False), (10.0, True), (11.0, False)] == [
        (row.at, row.is_up) for row in status.history
    ]
    assert {("x", "told", "tcp x", 1)} == {
        (row.text, row.why, row.check, row.records) for row in status.history
    }
    for at in range(12, 12 + HISTORY_MAX):
        health.take([said("x", at % 2 == 0, "told", at)], float(at))
    status = health.status()
    assert HISTORY_MAX == len(status.history)
    assert 5.0 < status.history_since < status.history[0].at
