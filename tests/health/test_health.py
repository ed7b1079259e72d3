"""Health as a whole: what is checked, what is up, and what survives. All on a clock of the tests' own."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geodns import config
from geodns.health import state
from geodns.health.health import Health
from geodns.health.overrides import parse
from geodns.health.state import OLD_SECONDS
from geodns.health.votes import PEER_SILENT_SECONDS
from geodns.health.watch import timing_of
from geodns.health.words import PeerView
from geodns.table.steer import (
    TTL_UNBOUND,
    Member,
    Policy,
    Pool,
    PoolStanding,
    Standing,
    Steer,
    base_standing,
)
from tests.health.steers import SETTINGS, by_key, check, feed, made, member, pool, said, standing, steer
from tests.health.test_monitor import Model

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
    """A text out of the network is one short line without control characters, in the log and in the status."""
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


# -------------------------------------------------------------------------------- what survives


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
FIELDS = [("up", None), ("up", 1), ("failures", True), ("failures", -1), ("successes", 1001), ("since", "1")]


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
    health.hear(PeerView(PEER, {"tcp x": False, "tcp y": True}, "", 11.0), 11.0)
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
    } == told["checks"]["tcp x"]
    weights = {(row["name"], tuple(row["up"]), row["weight_up"], row["weight"]) for row in told["pools"]}
    assert {("fra", ("x",), 3, 4), ("fra", ("x",), 1, 1), ("iad", ("free",), 1, 2)} == weights
    assert [{"peer": PEER, "counts": True, "heard": 11.0, "checks": 2, "detail": ""}] == told["peers"]
    assert [2] == [row["members"] for row in told["overrides"]]


# ------------------------------------------------------------------------------------- all at once

NAMES = ("v", "w", "x", "y", "z")
MEMBERS = st.builds(
    lambda name, names, weight, is_up: member(name, *(names or ["-"]), weight=weight, is_up=is_up),
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    st.integers(0, 3),
    st.sampled_from((None, None, None, True, False)),
)
POOLS = st.builds(
    lambda name, members, min_up, policy: pool(name, *members, min_up=min_up, policy=policy),
    st.sampled_from(("fra", "iad")),
    st.lists(MEMBERS, min_size=1, max_size=3),
    st.sampled_from((0.0, 0.5, 1.0)),
    st.sampled_from((Policy.ALL, Policy.WEIGHTED)),
)
STEERS = st.lists(
    st.builds(
        lambda key, pools: steer(key, *pools),
        st.sampled_from(("a. A", "b. A", "c. A")),
        st.lists(POOLS, min_size=1, max_size=2, unique_by=lambda pool: pool.name),
    ),
    max_size=3,
).map(lambda steers: by_key(*steers))
TARGETS = st.sampled_from(("*", "fra", "iad", "x", "[xyz]", "a/A/*", "b/A/fra/x"))


class Everything(RuleBasedStateMachine):
    """Any order of reloads, results, peers, overrides and restarts, against everything computed anew."""

    @initialize(steers=STEERS)
    def start(self, steers: dict[str, Steer]) -> None:
        self.now = 0.0
        self.health = Health(SETTINGS)
        self.steers: dict[str, Steer] = {}
        self.models: dict[str, Model] = {}
        self.looked: set[str] = set()
        self.peers: dict[str, tuple[float, dict[str, bool]]] = {}
        self.targets: list[tuple[str, bool]] = []
        self.told: set[str] = set()
        self.reload(steers)

    @rule(steers=STEERS)
    def reload(self, steers: dict[str, Steer]) -> None:
        probes, gone = self.health.adopt(steers, self.now)
        keys = {check.key for steer in steers.values() for check in steer.checks}
        assert self.told - keys == set(gone)
        assert keys - self.told == {probe.key for probe in probes}
        self.steers, self.told = steers, keys
        for key in keys - self.models.keys():
            self.models[key] = Model(timing_of(check(key[4:]), SETTINGS))
        for key in self.models.keys() - keys:
            del self.models[key]
        self.looked &= keys

    @rule(
        results=st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from((True, False, None))), max_size=8)
    )
    def take(self, results: list[tuple[str, bool | None]]) -> None:
        before = self.expected_values()
        changes = self.health.take([said(name, ok) for name, ok in results], self.now)
        for name, ok in results:
            if f"tcp {name}" in self.models:
                self.looked.add(f"tcp {name}")
                if ok is not None:
                    self.models[f"tcp {name}"].take(ok)
        after = self.expected_values()
        turned = {
            (text, after[text, checks])
            for text, checks in after
            if after[text, checks] is not before[text, checks]
        }
        assert turned == {(change.text, change.is_up) for change in changes}

    @rule(
        peer=st.sampled_from("pq"),
        up=st.dictionaries(st.sampled_from([f"tcp {n}" for n in NAMES]), st.booleans()),
    )
    def hear(self, peer: str, up: dict[str, bool]) -> None:
        self.health.hear(PeerView(peer, up, "", self.now), self.now)
        self.peers[peer] = (self.now, up)

    @rule(written=st.lists(st.tuples(TARGETS, st.booleans()), max_size=3))
    def override(self, written: list[tuple[str, bool]]) -> None:
        self.targets = written
        text = "\n".join(f"{target} {'up' if is_up else 'down'}" for target, is_up in written)
        self.health.override(parse(text, "o"), self.now)

    @rule(seconds=st.sampled_from((1.0, 4.0, 11.0)))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.health.tick(self.now)
        self.peers = {
            peer: said for peer, said in self.peers.items() if self.now - said[0] <= PEER_SILENT_SECONDS
        }

    @rule(is_late=st.booleans())
    def restart(self, is_late: bool) -> None:
        """What is forgotten: looks that came to nothing, and what peers see that no check asks for."""
        saved = json.loads(json.dumps(self.health.save()))
        known = {key for key, model in self.models.items() if model.is_up is not None}
        self.looked &= known
        self.peers = {
            peer: (at, {key: vote for key, vote in up.items() if key in known})
            for peer, (at, up) in self.peers.items()
        }
        self.health = Health(SETTINGS)
        if is_late:
            self.health.adopt(self.steers, self.now)
        assert [] == self.health.restore(saved, self.now)
        self.health.adopt(self.steers, self.now)
        self.override(self.targets)

    @invariant()
    def standings_are_as_if_computed_anew(self) -> None:
        expected = {key: self.expected_standing(steer) for key, steer in self.steers.items()}
        told = self.health.standings
        assert told.keys() <= expected.keys()
        assert expected == {
            key: told.get(key, base_standing(each.pools)) for key, each in self.steers.items()
        }
        assert {
            key: model.is_up for key, model in self.models.items() if model.is_up is not None
        } == self.health.view()
        assert (self.looked >= self.models.keys()) is self.health.is_looked

    def votes(self, key: str) -> list[bool]:
        return [up[key] for _, up in self.peers.values() if key in up]

    def state(self, key: str) -> bool | None:
        votes = self.votes(key) + [own for own in (self.models[key].is_up,) if own is not None]
        return votes.count(True) >= votes.count(False) if votes else None

    def ttl(self, key: str) -> int:
        model = self.models[key]
        if model.is_up is None and not self.votes(key) and key in self.looked:
            return TTL_UNBOUND
        return model.ttl() if model.is_up is not None and model.is_up is self.state(key) else 10

    def forced(self, steer: Steer, pool: Pool, member: Member) -> bool | None:
        found = None
        for target, is_up in self.targets:
            names = {
                "*": True,
                "fra": pool.name == "fra",
                "iad": pool.name == "iad",
                "x": member.text == "x",
                "[xyz]": member.text in "xyz",
                "a/A/*": steer.key == "a. A",
                "b/A/fra/x": (steer.key, pool.name, member.text) == ("b. A", "fra", "x"),
            }
            found = is_up if names[target] else found
        return member.is_up if found is None else found

    def expected_values(self) -> dict[tuple[str, tuple[str, ...]], bool]:
        """The members that obey their checks, by text and checks."""
        return {
            (member.text, tuple(check.key for check in member.checks)): self.is_checked_up(member)
            for steer in self.steers.values()
            for pool in steer.pools
            for member in pool.members
            if member.checks and self.forced(steer, pool, member) is None
        }

    def is_checked_up(self, member: Member) -> bool:
        return not member.checks or any(self.state(check.key) is not False for check in member.checks)

    def expected_standing(self, steer: Steer) -> Standing:
        return Standing(tuple(self.expected_pool(steer, pool) for pool in steer.pools))

    def expected_pool(self, steer: Steer, pool: Pool) -> PoolStanding:
        up, weight, ttls = [], 0, [TTL_UNBOUND]
        for at, each in enumerate(pool.members):
            can_be_chosen = each.weight > 0 or pool.policy is Policy.ALL
            forced = self.forced(steer, pool, each)
            is_up = self.is_checked_up(each) if forced is None else forced
            weight += each.weight * is_up
            if is_up and can_be_chosen:
                up.append(at)
            if forced is None and each.checks and can_be_chosen:
                held = [self.ttl(check.key) for check in each.checks if self.state(check.key) is not False]
                ttls.append(max(held) if is_up else min(self.ttl(check.key) for check in each.checks))
        is_enough = weight >= pool.min_up * sum(each.weight for each in pool.members)
        return PoolStanding(tuple(up), bool(up) and is_enough, (), min(ttls))


TestEverything = Everything.TestCase
TestEverything.settings = hypothesis_settings(max_examples=60, stateful_step_count=25, deadline=None)


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
