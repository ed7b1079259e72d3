"""EXTERNAL checks: a file that others write."""

import os
from pathlib import Path

import pytest

from geodns.health.prober import external
from geodns.health.prober.external import External, parse
from geodns.health.words import Result
from tests.health.prober.parts import probe


class Told:
    """An External with what it told: states and reasons, and lines for the log."""

    def __init__(self, file: Path | None, *names: str) -> None:
        self.results: list[Result] = []
        self.lines: list[str] = []
        self.external = External(self.results.append, self.lines.append)
        self.external.watch(str(file) if file else "")
        for name in names:
            self.external.put(probe("external", "", key=f"external {name}", name=name))

    async def look(self) -> dict[str, tuple[bool | None, str]]:
        """Look once; what was told of it."""
        await self.external.look()
        told = {result.key.removeprefix("external "): (result.ok, result.detail) for result in self.results}
        self.results.clear()
        return told


def write(file: Path, text: str) -> None:
    """As a tool does it that cares: a new file, renamed."""
    new = file.with_suffix(".new")
    new.write_text(text)
    os.replace(new, file)


def test_a_line_has_a_name_a_state_and_a_reason() -> None:
    """Comments and blank lines are nobody's; of two lines the last counts."""
    said, problems = parse("# who\n\nfra up\niad  DOWN  the road is\tclosed\nfra down again\n", "file")
    assert [] == problems
    assert {"fra": (False, "again"), "iad": (False, "the road is closed")} == said


def test_a_broken_line_says_where_and_what() -> None:
    """It is neither up nor down, so that what was known holds."""
    said, problems = parse("fra up\niad dwon\nlhr\n", "file")
    assert [
        'file:2: iad: "dwon" is neither up nor down',
        "file:3: lhr: no state: up or down",
    ] == problems
    assert [True, None, None] == [said[name][0] for name in ("fra", "iad", "lhr")]


async def test_what_the_file_says_is_told_when_it_changes(tmp_path: Path) -> None:
    """Once, and only for the names that changed: a PUT in between is not undone by another's line."""
    file = tmp_path / "external"
    write(file, "fra up fine\niad up\n")
    told = Told(file, "fra", "iad")
    assert {"fra": (True, "fine"), "iad": (True, "")} == await told.look()
    assert {} == await told.look()
    write(file, "fra down\niad up\n")
    assert {"fra": (False, "")} == await told.look()


async def test_a_name_that_nobody_mentions_is_neither(tmp_path: Path) -> None:
    """Also when there is no file, or none yet."""
    file = tmp_path / "external"
    told = Told(file, "fra")
    assert {"fra": (None, f"{file}: no such file or directory")} == await told.look()
    write(file, "iad up\n")
    assert {"fra": (None, f"{file} does not say")} == await told.look()
    assert {"fra": (None, "no report yet")} == await Told(None, "fra").look()


@pytest.mark.parametrize("trouble", ["gone", "a folder", "a pipe", "too large"])
async def test_a_file_that_can_not_be_read_changes_nothing(
    trouble: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it said last holds, and the log says why, once."""
    monkeypatch.setattr(external, "OCTETS_MAX", 100)
    file = tmp_path / "external"
    write(file, "fra down\n")
    told = Told(file, "fra")
    assert {"fra": (False, "")} == await told.look()
    file.unlink()
    if trouble == "a folder":
        file.mkdir()
    elif trouble == "a pipe":
        os.mkfifo(file)
    elif trouble == "too large":
        file.write_text("fra up\n" * 100)
    assert {} == await told.look()
    assert {} == await told.look()
    (line,) = told.lines
    assert line.startswith(f"{file}: ")


async def test_a_check_that_comes_later_is_told_at_once(tmp_path: Path) -> None:
    """And one that was removed is told no more."""
    file = tmp_path / "external"
    write(file, "fra up\niad up\n")
    told = Told(file, "fra")
    await told.look()
    told.external.put(probe("external", "", key="external iad", name="iad"))
    assert ["external iad"] == [result.key for result in told.results]
    told.results.clear()
    told.external.drop("external fra")
    write(file, "fra down\niad down\n")
    assert {"iad": (False, "")} == await told.look()


async def test_the_log_is_not_flooded(tmp_path: Path) -> None:
    """A file of nonsense is told with its first lines."""
    file = tmp_path / "external"
    write(file, "nonsense\n" * 1000)
    told = Told(file, "fra")
    await told.look()
    assert external.PROBLEMS_MAX + 1 == len(told.lines)
    assert f"{file}: 990 more broken lines" == told.lines[-1]
