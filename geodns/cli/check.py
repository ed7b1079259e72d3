"""`geodns check`.

PATH... --_jobs--> files and what they are: a YAML zone, a master file, a config
        --load--> problems --_SHOW--> lines, JSON, or annotations for GitHub
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geodns.cli import Failure, printable
from geodns.cli.common import NameType, counted

if TYPE_CHECKING:
    from geodns.config import Config
    from geodns.name import Name
    from geodns.problems import Problem
    from geodns.zone.model import CheckedZone

MASTER_ENDINGS = (".zone", ".db")  # what a file in a folder must be named to be read as a master file
PROGRESS_FROM = 20  # files; fewer are checked before a bar could be read

Loaded = tuple["CheckedZone | None", "list[Problem]"]


@dataclass(slots=True)
class _Report:
    problems: "list[Problem]" = field(default_factory=list)
    files: int = 0
    zones: int = 0
    records: int = 0

    def take(self, loaded: Loaded) -> None:
        checked, problems = loaded
        self.files += 1
        self.problems += problems
        if checked is not None:
            self.zones += 1
            rrsets = checked.zone.rrsets.values()
            self.records += sum(len(rrset.rdatas) for types in rrsets for rrset in types.values())


@click.command()
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "github"]),
    default="text",
    show_default=True,
    help="github: annotations that GitHub shows beside the lines of a pull request.",
)
@click.option("--origin", type=NameType(), help="The zone of an RFC 1035 file that does not say it itself.")
@click.pass_context
def check(ctx: click.Context, paths: tuple[Path, ...], form: str, origin: "Name | None") -> None:
    """Tell every problem of zone files and the config, each with file, line and column.

    PATH is a YAML zone file (example.com.yaml), a config (geodns.yaml), an RFC 1035 zone file (any other
    name), or a folder with YAML zone files and RFC 1035 files (*.zone, *.db), or a file of forced states
    (state/overrides). Without PATH it is what `geodns serve` would serve: ./geodns.yaml if it is there,
    ./zones, and the forced states. Exits with 1 if there is a problem.

    \b
    Example:
      geodns check zones/example.com.yaml
      geodns check --format github zones
    """
    report = _Report()
    jobs = list(_jobs(paths or _usual_paths(report), origin, report))
    for job in _with_progress(jobs):
        report.take(job())
    report.problems = list(dict.fromkeys(report.problems))
    _SHOW[form](report)
    ctx.exit(1 if report.problems else 0)


# What is to be checked


def _usual_paths(report: _Report) -> tuple[Path, ...]:
    from geodns.config import CONFIG_NAME, Config, load_config

    config = Path(CONFIG_NAME)
    zones = Path("zones")
    if config.exists():
        loaded, _ = load_config(config)
        if loaded is None:
            return (config,)
        return (config, loaded.zones)
    if not zones.exists():
        raise Failure("there is no folder ./zones here (name the files or folders to check)")
    overrides = Config().overrides_file
    return (zones, overrides) if overrides.exists() else (zones,)


def _jobs(paths: Iterable[Path], origin: "Name | None", report: _Report) -> Iterator[Callable[[], Loaded]]:
    for path in paths:
        if path.is_dir():
            yield from _jobs_of_folder(path, origin, report)
        else:
            yield _job_of_file(path, origin)


def _job_of_file(path: Path, origin: "Name | None") -> Callable[[], Loaded]:
    from geodns.config import OVERRIDES_NAME
    from geodns.zone import load

    if path.name == OVERRIDES_NAME:
        return lambda: (None, _check_overrides(path))
    if path.suffix not in (".yaml", ".yml") and path.name != ".yaml":
        return lambda: _load_master(path, origin)
    return (lambda: _check_config(path)) if _is_config(path) else (lambda: load(path))


def _jobs_of_folder(folder: Path, origin: "Name | None", report: _Report) -> Iterator[Callable[[], Loaded]]:
    """YAML zones, then master files; a master file that another one includes is no zone of its own."""
    from geodns.zone import load, zone_files

    files, problems = zone_files(folder)
    report.problems += problems
    for path in files.values():
        yield lambda path=path: load(path)  # type: ignore[misc]
    masters = sorted(path for path in _listed(folder) if path.suffix in MASTER_ENDINGS and path.is_file())
    results: dict[Path, Loaded] = {}
    included: set[Path] = set()

    def load_all() -> None:
        for path in masters:
            if path.resolve() not in included:
                results[path] = _load_master(path, origin, included)

    def result_of(path: Path) -> Loaded:
        if not results:
            load_all()
        return results[path] if path.resolve() not in included else (None, [])

    for path in masters:
        yield lambda path=path: result_of(path)  # type: ignore[misc]


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []  # zone_files has told


def _is_config(path: Path) -> bool:
    """True for geodns.yaml, and for a file of another name that says where to listen."""
    from geodns.config import CONFIG_NAME
    from geodns.problems import Problem
    from geodns.zone.source import Mapping, Source, read_file

    if path.name == CONFIG_NAME:
        return True
    contents = read_file(path)
    if isinstance(contents, Problem):
        return False
    for number, (key, node) in enumerate(Source(contents.data, str(path)).entries()):
        if key == "listen" and not isinstance(node, Mapping):
            return True
        if number > 20:
            return False
    return False


def _load_master(path: Path, origin: "Name | None", included: set[Path] | None = None) -> Loaded:
    from geodns.zone import rfc1035

    return rfc1035.load(path, origin, included)


def _check_config(path: Path) -> Loaded:
    """A config and what it names: overrides, databases, cookie secrets, tokens, and forced states."""
    from geodns.config import cookie_secrets, load_config, tokens
    from geodns.geo import overrides
    from geodns.geo.database import Database, DatabaseError
    from geodns.problems import Problem

    config, problems = load_config(path)
    if config is None:
        return None, problems
    problems = [*problems, *cookie_secrets(config)[1], *tokens(config)[1]]
    problems += _check_overrides(config.overrides_file)
    problems += _check_acme(config, path)
    problems += [
        Problem(str(path), 0, 0, "geo.overrides", what)
        for _, what in overrides.parse(config.geo.overrides)[1]
    ]
    for file in config.database_files():
        try:
            Database(file).close()
        except DatabaseError as error:
            problems.append(Problem(str(file), 0, 0, "", error.what))
    return None, problems


def _check_acme(config: "Config", path: Path) -> "list[Problem]":
    """The zone of the accounts, and what was saved of challenges, for those who may read it."""
    from geodns.acme import state
    from geodns.config import server_id
    from geodns.problems import Problem
    from geodns.zone import zone_files

    saved = state.state_path(config, server_id(config))
    problems = state.read(saved)[2] if os.access(saved, os.R_OK) else []
    apex = config.acme.apex
    if apex is not None and apex not in zone_files(config.zones)[0]:
        what = f"the zone {apex} has no zone file in {config.zones}"
        hint = "it needs one of its own, with its NS records; one of a zone above is not enough"
        problems.append(Problem(str(path), 0, 0, "acme.zone", what, hint))
    return problems


def _check_overrides(path: Path) -> "list[Problem]":
    from geodns.health import overrides

    return list(overrides.read(path).problems)


def _with_progress(jobs: list[Callable[[], Loaded]]) -> Iterable[Callable[[], Loaded]]:
    if len(jobs) < PROGRESS_FROM or not sys.stderr.isatty():
        return jobs
    from rich.console import Console
    from rich.progress import track

    return track(jobs, "checking", console=Console(stderr=True), transient=True)


# How it is told


def _show_text(report: _Report) -> None:
    for problem in report.problems:
        click.echo(printable(str(problem)))
    if report.problems:
        files = len({problem.file for problem in report.problems})
        told = f"{counted(len(report.problems), 'problem')} in {counted(files, 'file')}"
    else:
        told = f"no problem in {counted(report.files, 'file')}"
    served = f"{counted(report.zones, 'zone')} with {counted(report.records, 'record')} can be served"
    click.echo(f"geodns: {told}; {served}", err=True)


def _show_json(report: _Report) -> None:
    problems = [
        {
            "file": printable(problem.file),
            "line": problem.line,
            "column": problem.column,
            "severity": problem.severity.value,
            "where": problem.where,
            "what": problem.what,
            "hint": problem.hint,
            "check": problem.check,
        }
        for problem in report.problems
    ]
    told = {"problems": problems, "files": report.files, "zones": report.zones, "records": report.records}
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def _show_github(report: _Report) -> None:
    """Workflow commands, as GitHub's documentation "Workflow commands for GitHub Actions" has them."""
    for problem in report.problems:
        where = f"{problem.where}: " if problem.where else ""
        hint = f" ({problem.hint})" if problem.hint else ""
        place = f"file={_property(problem.file)}"
        if problem.line:
            place += f",line={problem.line},col={problem.column}"
        message = _escaped(printable(f"{where}{problem.what}{hint}"))
        click.echo(f"::{problem.severity.value} {place}::{message}")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(printable(text)).replace(":", "%3A").replace(",", "%2C")


_SHOW: dict[str, Callable[[_Report], None]] = {
    "text": _show_text,
    "json": _show_json,
    "github": _show_github,
}
