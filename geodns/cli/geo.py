"""`geodns geo lookup`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodns.cli import Failure, printable
from geodns.cli.common import AddressType, format_option, geo_options, open_locator, read_config

if TYPE_CHECKING:
    from geodns.geo.address import Address
    from geodns.geo.locator import Explanation


@click.group()
def geo() -> None:
    """Ask the geo databases.

    \b
    Example:
      geodns geo lookup 192.0.2.1
    """


@geo.command()
@click.argument("addresses", metavar="ADDRESS...", nargs=-1, required=True, type=AddressType())
@geo_options
@format_option
def lookup(
    addresses: "tuple[Address, ...]", databases: tuple[Path, ...], config: Path | None, form: str
) -> None:
    """Tell where each ADDRESS is, and what says so: place, geo codes, AS, prefix, database, overrides.

    \b
    Example:
      geodns geo lookup 192.0.2.1 2001:db8::1 --geo-db geo-db/city-lite.mmdb
    """
    from geodns.geo.database import DatabaseError
    from geodns.geo.report import report

    locator = open_locator(read_config(config, databases))
    try:
        found = [locator.explain(address) for address in addresses]
    except DatabaseError as error:
        raise Failure(str(error)) from None
    if form == "json":
        click.echo(json.dumps([report(explanation) for explanation in found], indent=2, ensure_ascii=False))
        return
    if not locator.databases:
        click.echo("geodns: no database is configured (--geo-db names one)", err=True)
    click.echo("\n\n".join("\n".join(_lines(explanation)) for explanation in found))


def _lines(found: "Explanation") -> list[str]:
    rows: list[tuple[str, str]] = []
    if found.embedding is not None:
        rows.append(("counts as", f"{found.used} ({found.embedding.name}, {found.embedding.source})"))
    if found.override is not None:
        rows.append(("override", f"{found.override.prefix} is {found.override.place}"))
    place = found.place
    if not found.is_located and found.special is not None:
        special = found.special
        rows.append(("place", f"none: {special.prefix} is {special.what} ({special.source})"))
    else:
        rows.append(("place", _place(found) or "unknown"))
        rows.append(("codes", " ".join(place.codes()) or "none"))
        if place.latitude is not None and place.longitude is not None:
            rows.append(("location", f"{place.latitude:g}, {place.longitude:g}"))
        rows.append(("AS", f"{place.asn} {place.organization}".strip() if place.asn else "unknown"))
    rows += [
        ("database", f"{source.file} ({source.type}): {source.prefix} is {_said(source.place)}")
        for source in found.sources
    ]
    return [str(found.asked), *(f"  {about:<10}{printable(said)}" for about, said in rows)]


def _place(found: "Explanation") -> str:
    from geodns.geo import codes

    code = next(iter(found.place.codes()), "")
    described = codes.describe(code) if code else ""
    smallest = next(iter(found.names), "")  # a city, where the database has cities
    return described if smallest in described else f"{smallest}, {described}".removesuffix(", ")


def _said(place: Any) -> str:
    words = [*place.codes()[:1], *([f"AS{place.asn}"] if place.asn else [])]
    return " ".join(words) or "not in it"
