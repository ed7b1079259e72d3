"""Steers by hand, and results for their checks."""

from collections.abc import Iterable

from geodns import config
from geodns.health.health import Health
from geodns.health.words import Result
from geodns.table.steer import (
    Check,
    Member,
    Policy,
    Pool,
    PoolStanding,
    Steer,
    WhenAllDown,
    base_standing,
)

SETTINGS = config.Health(interval=10, rise=2, fall=3, ok=1)


def check(name: str, kind: str = "tcp", **fields: object) -> Check:
    return Check(f"{kind} {name}", kind, name, **fields)


def member(text: str, *names: str, weight: int = 1, is_up: bool | None = None) -> Member:
    """A member that rests on TCP checks of `names`; without names on one of its own text; "-" on none."""
    found = () if names == ("-",) else tuple(check(name) for name in names or (text,))
    return Member(text, weight, 0, found, is_up)


def pool(
    name: str,
    *members: Member | str,
    min_up: float = 0.0,
    slow_start: int = 0,
    policy: Policy = Policy.ALL,
) -> Pool:
    made = tuple(member(each) if isinstance(each, str) else each for each in members)
    return Pool(name, made, policy, 0, min_up, slow_start, (), 0, "zone.yaml:1:1")


def steer(key: str, *pools: Pool) -> Steer:
    return Steer(key, pools, (), WhenAllDown.DEFAULT, 60, 5, base_standing(pools))


def by_key(*steers: Steer) -> dict[str, Steer]:
    return {each.key: each for each in steers}


def made(*steers: Steer, settings: config.Health = SETTINGS) -> Health:
    """Health of these at second 0."""
    health = Health(settings)
    health.adopt(by_key(*steers), 0.0)
    return health


def said(name: str, ok: bool | None, detail: str = "", at: float = 0.0, kind: str = "tcp") -> Result:
    return Result(f"{kind} {name}", ok, detail or ("fine" if ok else "refused"), at, 0.01)


def feed(health: Health, name: str, results: Iterable[bool | None], start: float = 0.0) -> list[str]:
    """Take results ten seconds apart: what the log says of them."""
    return [
        str(change)
        for at, ok in enumerate(results)
        for change in health.take([said(name, ok)], start + 10 * at)
    ]


def standing(health: Health, steer: Steer, at: int = 0) -> PoolStanding:
    """How a pool stands as the engine reads it."""
    return health.standings.get(steer.key, steer.base).pools[at]
