"""`geodns explain`: the zones above a name, compiled and asked as a server would."""

import time
from dataclasses import asdict, replace
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geodns.cli import Failure, printable
from geodns.cli.common import (
    AddressType,
    NameType,
    RecordType,
    format_option,
    geo_options,
    open_locator,
    read_config,
    tell,
)

if TYPE_CHECKING:
    from geodns.config import Config
    from geodns.engine.snapshot import Snapshot
    from geodns.geo.address import Address
    from geodns.geo.locator import Locator
    from geodns.health.health import Health
    from geodns.name import Name
    from geodns.table.overlay import Texts
    from geodns.table.shape import Table

_A = "A"


@click.command()
@click.argument("name", type=NameType())
@click.argument("type", default=_A, type=RecordType())
@click.option(
    "--from",
    "client",
    type=AddressType(),
    default="127.0.0.1",
    show_default=True,
    help="The client's address: that of the resolver, or of its client where it sends EDNS Client Subnet.",
)
@click.option(
    "--zones",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the zone files [default: the config's, else ./zones].",
)
@geo_options
@format_option
def explain(
    name: "Name",
    type: int,
    client: "Address",
    zones: Path | None,
    databases: tuple[Path, ...],
    config: Path | None,
    form: str,
) -> None:
    """Tell which answer a client gets for NAME and TYPE, and why: zone, place, rules, pools, values, scope.

    What is up is taken from the state that the server saved last, and from the overrides; so are ACME
    challenges.

    \b
    Example:
      geodns explain www.example.com A --from 192.0.2.1
    """
    from geodns.explain import explain as explained
    from geodns.geo.database import DatabaseError

    settings = read_config(config, databases, zones)
    locator = open_locator(settings)
    try:
        snapshot = _snapshot(settings, locator, name)
        now = int(time.time())
        health = _health(settings, snapshot.table, now)
        snapshot = replace(snapshot, standings=health.standings)
        found = explained(snapshot, locator, name, type, client, now, health)
    except DatabaseError as error:
        raise Failure(str(error)) from None
    if form == "json":
        click.echo(dumps(asdict(found), indent=2, ensure_ascii=False))
    else:
        click.echo("\n".join(map(printable, str(found).splitlines())))


def _snapshot(config: "Config", locator: "Locator", name: "Name") -> "Snapshot":
    """What a server would publish, of the zones at and above `name`: others have no part in its answer."""
    from geodns.engine.snapshot import Identity, Snapshot
    from geodns.geo.partition import build
    from geodns.table.compile import compile_zone, link, table_rules
    from geodns.table.overlay import overlaid
    from geodns.zone import load, local_zones, zone_files

    files, problems = zone_files(config.zones)
    tell(problem for problem in problems if problem.is_error)
    tables = []
    failed = []
    for apex, path in files.items():
        if name.is_under(apex):
            checked, problems = load(path)
            tell(problem for problem in problems if problem.is_error)
            if checked is None:
                failed.append(apex.key)
            else:
                tables.append(compile_zone(checked))
    if config.local_zones:
        own = {*(table.apex for table in tables), *failed}
        tables += [compile_zone(zone) for zone in local_zones() if zone.zone.apex.key not in own]
    table = overlaid(link(tables, failed), _challenges(config))
    partitions = {key: build(rules, locator) for key, rules in table_rules(table).items()}
    return Snapshot(table, partitions, Identity())


def _challenges(config: "Config") -> "Texts":
    """The ACME challenges that the server has saved."""
    from geodns.acme import state
    from geodns.acme.book import Book
    from geodns.config import server_id

    changes, accounts, problems = state.read(state.state_path(config, server_id(config)))
    tell(problems)
    book = Book(config.acme.apex)
    now = time.time()
    book.merge(changes, accounts, now)
    return book.texts(now)


def _health(config: "Config", table: "Table", now: int) -> "Health":
    """What the server knew when it saved its state last, with the overrides of now."""
    from geodns.config import server_id
    from geodns.health import overrides, state
    from geodns.health.health import Health
    from geodns.server.keeper import state_path

    health = Health(config.health)
    health.adopt({key: steer for zone in table.zones.values() for key, steer in zone.steers.items()}, now)
    path = state_path(config, server_id(config))
    saved, problems = state.read(path)
    if saved is not None:
        problems += [replace(problem, file=str(path)) for problem in health.restore(saved, now)]
    forced = overrides.read(config.overrides_file)
    health.override(forced, now)
    health.tick(now)
    tell([*problems, *forced.problems])
    return health
