"""A folder to stand in, with a small zone, and the commands run in it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from geodns.cli import main

ZONE = """\
'':
  type: NS
  value: ns1.example.com.
ns1: {type: A, value: 203.0.113.1}
www:
  type: A
  ttl: 60
  value: 203.0.113.80
  geo:
    EU: 203.0.113.81
"""

MASTER = """\
$TTL 1h
example.com. SOA ns1 hostmaster 7 2h 15m 2w 5m
 NS ns1
ns1 A 203.0.113.1
*.Wild 5m TXT "a;b" "c"
"""

Run = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: zones/example.com.yaml and example.com.zone."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "zones").mkdir()
    (tmp_path / "zones" / "example.com.yaml").write_text(ZONE)
    (tmp_path / "example.com.zone").write_text(MASTER)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    """Run `geodns ARGS...` in the folder; what escapes as an exception fails the test."""

    def run(*args: str, input: str | bytes | None = None) -> Result:
        result = CliRunner().invoke(main, args, input=input)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run
