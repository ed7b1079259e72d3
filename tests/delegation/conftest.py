"""The lab, standing for as long as the tests of this folder take."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from geodns.cli import main
from tests.conftest import TEST_DATABASE
from tests.delegation import lab as labs
from tests.delegation.domains import DOMAINS, registries, zone_of, zone_on_ns2
from tests.delegation.lab import Lab


def geodns(*arguments: str, folder: Path) -> str:
    """What the command prints, with the zones of this folder and the test database."""
    done = CliRunner().invoke(main, [*arguments, "--zones", str(folder), "--geo-db", str(TEST_DATABASE)])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.stdout, done.stderr
    assert "Traceback" not in done.output
    return done.stdout


@pytest.fixture(scope="package")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The world with all the domains; com has what `--format zone` prints, with the faults."""
    folder = tmp_path_factory.mktemp("lab")
    zones = folder / "zones"
    zones.mkdir()
    for label in DOMAINS:
        (zones / f"{label}.com.yaml").write_text(zone_of(label))
    com = []
    for label, domain in DOMAINS.items():
        com += domain.parent(
            geodns("delegation", f"{label}.com", "--format", "zone", folder=zones).splitlines()
        )
    others = registries()
    root = [f"{name}. NS ns{number}.example.com." for name in others for number in (1, 2)]
    ns1 = others | {f"{label}.com": zone_of(label) for label in DOMAINS}
    ns2 = others | {f"{label}.com": text for label in DOMAINS if (text := zone_on_ns2(label)) is not None}
    with labs.standing(folder, root, com, ns1, ns2) as lab:
        yield lab
