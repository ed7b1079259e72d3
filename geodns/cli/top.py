"""`geodns top`: what instances do now, at a glance: queries, rcodes, latency, places, values, zones.

GET /v1/status, /v1/traffic, /v1/zones of each --asked in threads--> Shot --> rich tables, again and again
"""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodns.cli import Failure, printable
from geodns.cli.common import config_option, read_config, tell
from geodns.cli.endpoint import Refused, ask_at, control_addresses
from geodns.cli.status import span

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from geodns.config import Config, Listen

SECONDS = 2.0  # between two looks
RATE_SECONDS = 10  # that a rate is the mean of: less jumps about
PLACES_SHOWN = 8
ROWS_SHOWN = 12  # values down, zones with problems; `geodns status` and `geodns check` have all
BARS = "▁▂▃▄▅▆▇█"
BARS_SHOWN = 40  # seconds of the line of queries
QUIT = (b"q", b"Q", b"\x1b")  # and Ctrl-C, which interrupts
MICROSECONDS = 1000.0  # of a millisecond


@dataclass(slots=True)
class Shot:
    """What one instance said; `error` when it said nothing, and each part that it has not is empty."""

    where: str
    error: str = ""
    status: dict[str, Any] = field(default_factory=dict)
    traffic: dict[str, Any] = field(default_factory=dict)
    zones: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return printable(str(self.status.get("id") or self.where))


@click.command()
@config_option
@click.option(
    "--control",
    metavar="ADDR:PORT",
    multiple=True,
    help="A control endpoint; several are shown side by side [default: the config's control.listen].",
)
@click.option("--once", is_flag=True, help="Show it once, as where there is no terminal.")
def top(config: Path | None, control: tuple[str, ...], once: bool) -> None:
    """Show what the servers do now: queries a second, rcodes, latency, places, what is down. q ends it.

    \b
    Example:
      geodns top --control 127.0.0.1:5381 --control 127.0.0.1:5382
    """
    from rich.console import Console

    settings = read_config(config)
    addresses = _addresses(settings, control)
    token = _token(settings)
    console = Console()
    with ThreadPoolExecutor(len(addresses)) as pool:

        def look() -> list[Shot]:
            return list(pool.map(lambda listen: _look(listen, token), addresses))

        shots = look()
        if all(shot.error for shot in shots):
            raise Failure("; ".join(shot.error for shot in shots))
        try:
            if once or not (console.is_terminal and sys.stdin.isatty()):
                console.print(_frame(shots))
            else:
                _live(console, shots, look)
        except (KeyError, TypeError, AttributeError):
            raise Failure("what the server tells is not of this version of geodns") from None


def _addresses(config: "Config", given: tuple[str, ...]) -> "list[Listen]":
    if not given:
        return list(control_addresses(config, None))[:1]
    return [control_addresses(config, each)[0] for each in given]


def _token(config: "Config") -> str | None:
    from geodns.config import tokens

    found, problems = tokens(config)
    tell(problem for problem in problems if str(problem.file) == str(config.control.token_file))
    return found.own


def _look(listen: "Listen", token: str | None) -> Shot:
    shot = Shot(str(listen))
    try:
        shot.status = ask_at(listen, token, "GET", "/v1/status")
        for path, name in (("/v1/traffic", "traffic"), ("/v1/zones", "zones")):
            try:
                setattr(shot, name, ask_at(listen, token, "GET", path))
            except Refused as error:
                if error.status != 404:  # an older version has not all of them
                    raise
    except (Failure, OSError) as error:
        shot.error = error.message if isinstance(error, Failure) else f"{listen}: {error}"
    return shot


# ------------------------------------------------------------------------------------------- the terminal


def _live(console: Any, shots: list[Shot], look: Callable[[], list[Shot]]) -> None:
    """Show it until a key ends it."""
    from rich.live import Live

    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_frame(shots), refresh=True)
            if pressed(SECONDS):
                return
            shots = look()


@contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Tells whether a key that ends it is pressed within so many seconds. The terminal is put back after."""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)

    def pressed(seconds: float) -> bool:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                key = os.read(terminal, 1)
                if key in QUIT or not key:
                    return True
        return False

    try:
        tty.setcbreak(terminal)
        yield pressed
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


# ---------------------------------------------------------------------------------------------- the frame


def _frame(shots: list[Shot]) -> "RenderableType":
    from rich.console import Group
    from rich.rule import Rule
    from rich.text import Text

    parts: list[RenderableType] = [_instances(shots)]
    for title, table in (
        ("where queries come from", _places(shots)),
        ("down", _down(shots)),
        ("zones with problems", _zones(shots)),
        ("disagreement", _disagreements(shots)),
    ):
        if table is not None:
            parts += [Rule(title, align="left", style="dim"), table]
    parts.append(Text("q ends it", style="dim"))
    return Group(*parts)


def _instances(shots: list[Shot]) -> "Table":
    """A column for each instance: that they are alike can be seen."""
    table = _table("")
    for shot in shots:
        table.add_column(shot.name, overflow="fold", min_width=18)
    rows: list[tuple[str, Callable[[Shot], str | Text]]] = [
        ("queries/s", _rate),
        ("", _line),
        ("rcodes", _rcodes),
        ("latency", _latency),
        ("values", _values),
        ("zones", _zone_count),
        ("peers", _peers),
    ]
    for name, told in rows:
        table.add_row(name, *("" if shot.error else told(shot) for shot in shots))
    if any(shot.error for shot in shots):
        table.add_row("error", *(_red(shot.error) for shot in shots))
    return table


def _seconds(shot: Shot) -> list[dict[str, Any]]:
    return list(shot.traffic.get("seconds", []))


def _rate(shot: Shot) -> str:
    seconds = _seconds(shot)[-RATE_SECONDS:]
    return f"{sum(each['queries'] for each in seconds) / len(seconds):,.0f}" if seconds else "–"


def _line(shot: Shot) -> str:
    counts = [each["queries"] for each in _seconds(shot)[-BARS_SHOWN:]]
    most = max(counts, default=0) or 1
    return "".join(BARS[min(len(BARS) - 1, count * len(BARS) // most)] for count in counts)


def _rcodes(shot: Shot) -> str:
    found: dict[str, int] = {}
    for each in _seconds(shot)[-RATE_SECONDS:]:
        for name, count in each["rcodes"].items():
            found[name] = found.get(name, 0) + count
    total = sum(found.values())
    return ", ".join(f"{printable(name)} {count / total:.1%}" for name, count in _most(found))


def _most(counts: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: -each[1])


def _latency(shot: Shot) -> str:
    seconds = [each for each in _seconds(shot)[-RATE_SECONDS:] if each["p99_us"] is not None]
    if not seconds:
        return "–"
    return f"p50 {_micros(seconds[-1]['p50_us'])}, p99 {_micros(max(each['p99_us'] for each in seconds))}"


def _micros(value: float) -> str:
    return f"{value:.0f} µs" if value < MICROSECONDS else f"{value / MICROSECONDS:.1f} ms"


def _values(shot: Shot) -> "str | Text":
    values = shot.status["values"]
    down = sum(not value["is_up"] for value in values)
    return _red(f"{len(values):,}, {down:,} down") if down else f"{len(values):,}, all up"


def _zone_count(shot: Shot) -> "str | Text":
    zones = shot.zones.get("zones", [])
    ill = sum(zone["state"] != "served" for zone in zones)
    return _red(f"{len(zones):,}, {ill:,} with errors") if ill else f"{len(zones):,}"


def _peers(shot: Shot) -> "str | Text":
    peers = shot.status["peers"]
    silent = [printable(peer["peer"]) for peer in peers if not peer["counts"]]
    return _red(f"silent: {', '.join(silent)}") if silent else f"{len(peers)} heard"


def _red(text: str) -> "Text":
    from rich.text import Text

    return Text(printable(text), "red")


def _table(*columns: str) -> "Table":
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    return table


def _places(shots: list[Shot]) -> "Table | None":
    from geodns.geo.codes import describe

    found: dict[str, list[float]] = {}
    for at, shot in enumerate(shots):
        places = shot.traffic.get("places", [])
        total = sum(each["queries"] for each in places)
        for each in places:
            found.setdefault(each["place"], [0.0] * len(shots))[at] = each["queries"] / total
    if not found:
        return None
    table = _table("PLACE", *(shot.name for shot in shots))
    for code, shares in sorted(found.items(), key=lambda each: -sum(each[1]))[:PLACES_SHOWN]:
        name = printable(describe(code)) if code else "unknown"
        table.add_row(name, *(f"{share:6.1%} {'█' * round(20 * share)}" for share in shares))
    return table


def _down(shots: list[Shot]) -> "Table | None":
    table = _table("INSTANCE", "VALUE", "FOR", "WHY", "RECORDS")
    for shot in shots:
        for value in shot.status.get("values", []):
            if not value["is_up"] and table.row_count < ROWS_SHOWN:
                since = "" if value["since"] is None else span(shot.status["at"] - value["since"])
                records = ", ".join(value["records"][:2])
                cells = (shot.name, value["text"], since, _why(shot, value), records)
                table.add_row(*(_red(cell) for cell in cells))
    return table if table.row_count else None


def _why(shot: Shot, value: dict[str, Any]) -> str:
    forced = value["forced"]
    if forced is not None:
        return f"forced by {forced['place']} {forced['reason']}".strip()
    checks = [shot.status["checks"].get(key, {}) for key in value["checks"]]
    return "; ".join(str(check.get("detail") or "no result yet") for check in checks)


def _zones(shots: list[Shot]) -> "Table | None":
    table = _table("INSTANCE", "ZONE", "STATE", "PROBLEM")
    for shot in shots:
        for zone in shot.zones.get("zones", []):
            if zone["state"] != "served" and table.row_count < ROWS_SHOWN:
                first = next(iter(zone["problems"]), None)
                what = "" if first is None else f"{first['line']}:{first['column']}: {first['what']}"
                table.add_row(*(_red(cell) for cell in (shot.name, zone["zone"], zone["state"], what)))
    return table if table.row_count else None


def _disagreements(shots: list[Shot]) -> "Table | None":
    """Checks that an instance sees otherwise than a peer; zones that have not one serial everywhere."""
    table = _table("WHAT", "HOW")
    for shot in shots:
        for key, check in shot.status.get("checks", {}).items():
            others = {peer: up for peer, up in check["peers"].items() if check["own"] not in (None, up)}
            if others and table.row_count < ROWS_SHOWN:
                told = [
                    f"{shot.name} {_state(check['own'])}",
                    *(f"{each} {_state(others[each])}" for each in others),
                ]
                table.add_row(printable(key), printable(", ".join(told)))
    serials: dict[str, dict[str, Any]] = {}
    for shot in shots:
        for zone in shot.zones.get("zones", []):
            serials.setdefault(zone["zone"], {})[shot.name] = zone["serial"]
    for name, found in serials.items():
        if len(set(found.values())) > 1 and table.row_count < ROWS_SHOWN:
            told = [f"{instance} has serial {serial}" for instance, serial in found.items()]
            table.add_row(printable(name), ", ".join(told))
    return table if table.row_count else None


def _state(is_up: bool) -> str:
    return "up" if is_up else "down"
