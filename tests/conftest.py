"""What the tests share: the engines, and snapshots made from zone files as an operator writes them."""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import hypothesis
import pytest

from geodns.engine import native
from geodns.engine.answer import answer as python_answer
from geodns.engine.snapshot import Identity, Snapshot
from geodns.geo import overrides
from geodns.geo.locator import Locator
from geodns.geo.partition import build
from geodns.name import Name
from geodns.table.compile import compile_zone, link, table_rules, table_steers
from geodns.table.steer import TTL_UNBOUND, Pool, PoolStanding, Standing, stand
from geodns.zone import load_text, local_zones
from tests import goldens

hypothesis.settings.register_profile("busy", deadline=None)  # a busy machine is no failure
hypothesis.settings.load_profile("busy")

ROOT = Path(__file__).parent.parent
# They begin first, in this order: what begins last should be short, or one core waits for the other.
LONG_FILES = (
    "server/test_serve.py",
    "server/test_takeover.py",
    "test_engines_agree.py",
    "server/test_library.py",
    "server/test_health.py",
    "browser/test_page.py",
    "compare/test_peers.py",
    "test_docs.py",
    "acme/test_instances.py",
    "server/test_privileges.py",
    "server/test_api.py",
    "server/test_soak.py",
    "server/test_openapi.py",
)
TEST_DATABASE = ROOT / "tests/geo/data/test-small.mmdb"  # 127.N.0.1 is in the Nth country
SERIAL = 2026112201
NOW = 1_700_000_000  # Unix seconds; the clock of the tests
IDENTITY = Identity(server_id=b"ns1", hostname=b"host.example", version=b"geodns")
COOKIE_SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")  # RFC 9018 appendix A

Answer = Callable[..., bytes | None]
SnapshotOf = Callable[..., Snapshot]
ENGINES: dict[str, Answer] = {"python": python_answer}
if not native.why_not():
    ENGINES["native"] = native.Native().answer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {ROOT / "tests" / file: place for place, file in enumerate(LONG_FILES)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


@pytest.fixture(params=sorted(ENGINES))
def answer(request: pytest.FixtureRequest) -> Answer:
    """Each engine's `answer`: what holds for one holds for all."""
    return ENGINES[request.param]


@lru_cache
def make_locator() -> Locator:
    """The test database, with 127.0.0.0/8 counted as public."""
    given, _ = overrides.parse({"127.0.0.0/8": "database"})
    return Locator.open([str(TEST_DATABASE)], given)


def make_snapshot(zones: dict[str, str], **settings: object) -> Snapshot:
    """The snapshot of the built-in zones and of these, YAML by name; fails on a problem that is an error."""
    checked = local_zones()
    for name, text in zones.items():
        zone, problems = load_text(text.encode(), Name.parse(name), f"{name}.yaml", SERIAL)
        assert zone is not None, [str(problem) for problem in problems]
        checked.append(zone)
    table = link(compile_zone(zone) for zone in checked)
    partitions = {key: build(rules, make_locator()) for key, rules in table_rules(table).items()}
    return Snapshot(table, partitions, IDENTITY, cookie_secrets=(COOKIE_SECRET,), **settings)


@lru_cache
def snapshot_of_golden(file: str) -> Snapshot:
    """The snapshot of the zones of a file in tests/answers."""
    return make_snapshot(goldens.read(goldens.ANSWERS / file).zones)


def with_health(snapshot: Snapshot, values: goldens.Values) -> Snapshot:
    """The snapshot when this is known of the values."""
    standings = {
        key: Standing(tuple(pool_standing(pool, values) for pool in steer.pools))
        for key, steer in table_steers(snapshot.table).items()
    }
    return replace(snapshot, standings=standings)


def pool_standing(pool: Pool, values: goldens.Values) -> PoolStanding:
    """How a pool stands when this is known of the values; a status in the zone file counts before it."""
    texts = [member.text for member in pool.members]
    is_up = tuple(
        member.text not in values.down if member.is_up is None else member.is_up for member in pool.members
    )
    ramps = tuple((at, NOW - values.up[text]) for at, text in enumerate(texts) if text in values.up)
    ttl = min((values.doubt[text] for text in texts if text in values.doubt), default=TTL_UNBOUND)
    return stand(pool, is_up, ramps, ttl)


@pytest.fixture
def snapshot_of() -> SnapshotOf:
    return snapshot_of_golden


@pytest.fixture(scope="session")
def locator() -> Locator:
    return make_locator()
