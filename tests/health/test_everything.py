"""Health in any order of events, against a model that computes everything anew."""

import json

from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from geodns.health.health import Health
from geodns.health.overrides import parse
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
from tests.health.steers import SETTINGS, by_key, check, member, pool, said, steer
from tests.health.test_monitor import Model

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
