"""What several commands share: options, types of arguments, problems on the terminal."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from geodns.cli import Failure, printable

if TYPE_CHECKING:
    from geodns.config import Config
    from geodns.geo.address import Address
    from geodns.geo.locator import Locator
    from geodns.name import Name
    from geodns.problems import Problem

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    _ParamType = click.ParamType  # which is generic from click 8.4 on only

_USUAL_TYPES = ("A", "AAAA", "CAA", "CNAME", "DS", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT")

F = TypeVar("F", bound=Callable[..., Any])


class NameType(_ParamType):
    """A domain name, with or without its final dot."""

    name = "name"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Name":
        from geodns.name import BadName, Name

        if isinstance(value, Name):
            return value
        try:
            return Name.parse(str(value))
        except (BadName, ValueError) as error:
            self.fail(printable(str(error)), param, ctx)


class AddressType(_ParamType):
    """An IPv4 or IPv6 address."""

    name = "address"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> "Address":
        from geodns.geo.address import Address, BadAddress, parse

        if isinstance(value, Address):
            return value
        try:
            return parse(str(value))
        except BadAddress as error:
            self.fail(printable(str(error)), param, ctx)


class RecordType(_ParamType):
    """A record type: its name, or TYPEnnn."""

    name = "type"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from geodns.zone import rdata

        if isinstance(value, int):
            return value
        if str(value).upper() == "ANY":
            return 255  # RFC 1035 section 3.2.3; RFC 8482 says what becomes of it
        try:
            return rdata.type_number(str(value))
        except rdata.BadRdata as error:
            self.fail(printable(str(error)), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(kind) for kind in _USUAL_TYPES if kind.startswith(incomplete.upper())]


format_option = click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to tell.",
)
"""--format, for commands that tell people as well as programs."""

config_option = click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The config of the server [default: ./geodns.yaml if it is there].",
)
"""--config, for commands that ask a running server."""

control_option = click.option(
    "--control",
    metavar="ADDR:PORT",
    help="Where its control endpoint is [default: the config's control.listen].",
)
"""--control, for commands that ask it over HTTP."""


def geo_options(function: F) -> F:
    """--geo-db and --config, for commands that ask where an address is."""
    for option in (
        click.option(
            "--config",
            type=click.Path(path_type=Path, dir_okay=False),
            help="The config whose databases and overrides count [default: ./geodns.yaml if it is there].",
        ),
        click.option(
            "--geo-db",
            "databases",
            type=click.Path(path_type=Path, dir_okay=False),
            multiple=True,
            help="A MaxMind-format database; may be given several times [default: the config's].",
        ),
    ):
        function = option(function)
    return function


def read_config(path: Path | None, databases: tuple[Path, ...] = (), zones: Path | None = None) -> "Config":
    """The config with what the command line says instead. Raises Failure when it has errors."""
    from geodns.config import load_config, override

    config, problems = load_config(path)
    tell(problems)
    if config is None:
        raise Failure("the config has errors")
    try:
        return override(config, databases=databases, zones=zones)
    except ValueError as error:
        raise Failure(str(error)) from None


def open_locator(config: "Config") -> "Locator":
    """The databases and overrides of a config. Raises Failure."""
    from geodns.geo import overrides
    from geodns.geo.database import DatabaseError
    from geodns.geo.locator import Locator

    given, wrong = overrides.parse(config.geo.overrides)
    if wrong:
        raise Failure(f"geo.overrides: {wrong[0][1]}")
    try:
        return Locator.open(map(str, config.database_files()), given)
    except DatabaseError as error:
        raise Failure(str(error)) from None


def tell(problems: "Iterable[Problem]") -> None:
    """The problems on stderr, a line each."""
    for problem in problems:
        click.echo(printable(str(problem)), err=True)


def counted(number: int, what: str) -> str:
    """ "1 zone", "2 zones", "20,000 records"."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"
