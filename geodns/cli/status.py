"""`geodns status`: asks the control endpoint of the running server, and shows what it knows of values."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodns.cli import Failure, printable
from geodns.cli.common import config_option, control_option, counted, format_option, read_config
from geodns.cli.endpoint import ask

if TYPE_CHECKING:
    from rich.table import Table

WIDTH_ELSEWHERE = 2000  # columns where there is no terminal: no cell is cut, and grep finds what it seeks
RECORDS_SHOWN = 3  # of a value; --format json has more


@click.command()
@config_option
@control_option
@format_option
def status(config: Path | None, control: str | None, form: str) -> None:
    """Show every value that is checked or forced: its state, since when, the last result, its records.

    \b
    Example:
      geodns status --control 127.0.0.1:5380
    """
    settings = read_config(config)
    found = ask(settings, control, "GET", "/v1/status")
    challenges = ask(settings, control, "GET", "/v1/acme-dns-01")
    if form == "json":
        found["challenges"] = challenges.get("challenges", [])
        click.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    try:
        _show(found)
        for line in _challenges(challenges):
            click.echo(printable(line))
    except (KeyError, TypeError, AttributeError):
        raise Failure("what the server tells is not of this version of geodns (--format json)") from None


# How it is shown


def _show(found: dict[str, Any]) -> None:
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_ELSEWHERE)
    values = found["values"]
    if values:
        console.print(_table(found))
    for line in _remarks(found):
        click.echo(printable(line))
    down = sum(not value["is_up"] for value in values)
    forced = sum(value["forced"] is not None for value in values)
    checks = counted(len(found["checks"]), "check")
    told = f"{found['id']}: {counted(len(values), 'value')}, {down} down, {forced} forced, {checks}"
    click.echo(f"geodns: {printable(told)}", err=True)


def _table(found: dict[str, Any]) -> "Table":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in ("VALUE", "STATE", "SINCE", "FORCED", "CHECK", "LAST RESULT", "RECORDS"):
        table.add_column(name, no_wrap=name in ("VALUE", "STATE", "SINCE"), overflow="fold")
    for value in found["values"]:
        style = "" if value["is_up"] else "red"
        cells = (
            value["text"],
            _state(value),
            _ago(found["at"], value["since"]),
            _forced(found["at"], value),
            "\n".join(value["checks"]),
            "\n".join(_result(found, key) for key in value["checks"]),
            _records(value),
        )
        table.add_row(*(Text("\n".join(map(printable, cell.split("\n"))), style) for cell in cells))
    return table


def _state(value: dict[str, Any]) -> str:
    state = "up" if value["is_up"] else "down"
    if value["real"] is None:
        return f"{state} (no result yet)" if value["checks"] else state
    return (
        state if value["real"] == value["is_up"] else f"{state} (checks: {'up' if value['real'] else 'down'})"
    )


def _forced(now: float, value: dict[str, Any]) -> str:
    forced = value["forced"]
    if forced is None:
        return "" if value["status"] is None else f"{'up' if value['status'] else 'down'} by the zone file"
    parts = [
        "up" if forced["is_up"] else "down",
        *([f"for {span(forced['until'] - now)}"] if forced["until"] is not None else []),
        f"by {forced['place']}",
        *([f"({forced['reason']})"] if forced["reason"] else []),
    ]
    return " ".join(parts)


def _result(found: dict[str, Any], key: str) -> str:
    check = found["checks"].get(key)
    if check is None or check["at"] is None:
        return "none yet"
    parts = [check["detail"] or ("fine" if check["ok"] else "failed"), _ago(found["at"], check["at"])]
    if check["failures"]:
        parts.append(f"{check['failures']} of {check['fall']} failures")
    elif check["own"] is False and check["successes"]:
        parts.append(f"{check['successes']} of {check['rise']} successes")
    if check["peers"]:
        votes = list(check["peers"].values())
        parts.append(f"{votes.count(False)} of {len(votes)} peers see it down")
    return ", ".join(parts)


def _records(row: dict[str, Any]) -> str:
    shown = row["records"][:RECORDS_SHOWN]
    rest = row["record_count"] - len(shown)
    return ", ".join(shown) + (f" and {rest:,} more" if rest else "")


def _remarks(found: dict[str, Any]) -> list[str]:
    """What is to be told beside the values."""
    lines = [f"{problem}; the overrides before it hold" for problem in found["problems"]]
    for pool in found["pools"]:
        if not pool["is_up"]:
            where = _records(pool)
            weight = f"{pool['weight_up']} of {pool['weight']} of its weight is up"
            needed = f"{weight}, {pool['min_up']:.0%} are needed"
            why = needed if pool["weight_up"] else "none of its values is up"
            lines.append(f"pool {pool['name']} is down ({where}): {why}")
    silent = [peer for peer in found["peers"] if not peer["counts"]]
    return lines + [f"peer {peer['peer']} is silent and does not count: {peer['detail']}" for peer in silent]


def _challenges(found: dict[str, Any]) -> list[str]:
    """What is told of ACME challenges, a line for each value."""
    return [
        f"ACME challenge {row['name']} {row['value']}: for {span(row['until'] - found['at'])}"
        + (f", at {row['served_at']}" if row.get("served_at", row["name"]) != row["name"] else "")
        + (f"; NOT SERVED: {row['trouble']}" if "trouble" in row else "")
        for row in found.get("challenges", [])
    ]


def _ago(now: float, then: float | None) -> str:
    return "" if then is None else f"{span(now - then)} ago"


def span(seconds: float) -> str:
    """ "12s", "3m20s", "5h10m", "8d4h": the two largest units."""
    whole = max(0, round(seconds))
    for unit, size, smaller, part in (("d", 86_400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size}{unit}" + (f"{rest}{smaller}" if rest else "")
    return f"{whole}s"
