"""`geodns up`, `down` and `auto`: states that people force, in the overrides file of a config's state folder.

The file is edited here and read by the server, which need not run; whoever may write the file may steer.
"""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geodns.cli import Failure, printable
from geodns.cli.common import config_option, counted, read_config, tell

if TYPE_CHECKING:
    from geodns.config import Config
    from geodns.table.steer import Steer
    from geodns.zone.model import CheckedZone

F = TypeVar("F", bound=Callable[..., Any])

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType


class DurationType(_ParamType):
    """A time in seconds or with units, such as 2h; more than none."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from geodns.config import parse_duration

        try:
            seconds = value if isinstance(value, float) else parse_duration(str(value))
        except ValueError as error:
            self.fail(printable(str(error)), param, ctx)
        if seconds <= 0:
            self.fail(f'"{printable(str(value))}" is no time at all', param, ctx)
        return float(seconds)


def _options(function: F) -> F:
    for option in (
        click.argument("target"),
        config_option,
        click.option(
            "--zones",
            type=click.Path(path_type=Path, file_okay=False),
            help="The folder of the zone files [default: the config's, else ./zones].",
        ),
    ):
        function = option(function)
    return function


def _forcing_options(function: F) -> F:
    for option in (
        click.option("--for", "seconds", type=DurationType(), help="How long, such as 2h or 90m."),
        click.option("--reason", default="", help="Why; told wherever the state is told."),
        click.option("--force", is_flag=True, help="Also when no value of any zone matches."),
    ):
        function = option(function)
    return _options(function)


@click.command()
@_forcing_options
def down(
    target: str, config: Path | None, zones: Path | None, seconds: float | None, reason: str, force: bool
) -> None:
    """Take TARGET out of all answers, whatever the checks say, until `geodns auto TARGET` or for a time.

    TARGET is a value (203.0.113.10), a pool (fra), a pool of a record (www.example.com/A/fra), a value of one
    (www.example.com/A/fra/203.0.113.10), or a pattern over them with * and ?. The last line that matches
    counts.

    \b
    Examples:
      geodns down fra --for 2h --reason "power works"
      geodns down '203.0.113.*'
    """
    _force(read_config(config, zones=zones), target, "down", seconds, reason, force)


@click.command()
@_forcing_options
def up(
    target: str, config: Path | None, zones: Path | None, seconds: float | None, reason: str, force: bool
) -> None:
    """Have TARGET count as up, whatever the checks say, until `geodns auto TARGET` or for a time.

    TARGET is a value, a pool, a pool of a record, or a pattern: see geodns down --help.

    \b
    Example:
      geodns up 203.0.113.10 --for 30m --reason "the check is broken, the site is not"
    """
    _force(read_config(config, zones=zones), target, "up", seconds, reason, force)


@click.command()
@_options
def auto(target: str, config: Path | None, zones: Path | None) -> None:
    """Leave TARGET to its checks again: take away the lines that `up` and `down` wrote for it.

    \b
    Example:
      geodns auto fra
    """
    from geodns.health import overrides

    settings = read_config(config, zones=zones)
    file = settings.overrides_file
    edited = overrides.edit(file, target, None)
    tell(edited.problems)
    if edited.problems:
        raise Failure(f"{file} was not changed")
    others = overrides.holding(target, overrides.read(file).lines, _steers(settings), time.time())
    if not edited.removed:
        hint = f"; it is forced by {others[0].place} ({others[0].target})" if others else ""
        raise Failure(f'no line of {file} has the target "{target}"{hint}')
    click.echo(f"{printable(target)}: {counted(edited.removed, 'line')} taken out of {file}")
    for line in others:
        state = "up" if line.is_up else "down"
        click.echo(f"{line.place}: {printable(line.target)} still forces {state} what it matches of that")


def _force(
    config: "Config", target: str, state: str, seconds: float | None, reason: str, is_sure: bool
) -> None:
    from geodns.health import overrides

    reach = overrides.reach(target, _steers(config))
    if not reach.values and not is_sure:
        hint = "values, pools and owner/TYPE/pool; --force to write it all the same"
        raise Failure(f'no value of the zones in {config.zones} matches "{target}" ({hint})')
    until = None if seconds is None else ceil(time.time() + seconds)  # the file has whole seconds
    edited = overrides.edit(config.overrides_file, target, state, until, reason)
    tell(edited.problems)
    if edited.problems:
        raise Failure(f"{config.overrides_file} was not changed")
    end = "" if until is None else f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC"
    matched = f"{counted(reach.values, 'value')} in {counted(reach.records, 'record')}"
    click.echo(f"{printable(target)} is {state}{end}: {matched} ({config.overrides_file})")


def _steers(config: "Config") -> "Iterator[Steer]":
    """What the zones steer, as a server compiles them; a zone with errors is told and left out."""
    from geodns.table.compile import compile_zone
    from geodns.zone import load, zone_files

    files, problems = zone_files(config.zones)
    tell(problem for problem in problems if problem.is_error)
    for path in files.values():
        checked, problems = load(path)
        tell(problem for problem in problems if problem.is_error)
        if checked is not None and _is_steered(checked):
            yield from compile_zone(checked).steers.values()


def _is_steered(checked: "CheckedZone") -> bool:
    rrsets = checked.zone.rrsets.values()
    return any(rrset.steering is not None for types in rrsets for rrset in types.values())
