"""`geodns import` and `geodns export`: RFC 1035 zone files to YAML, and back."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from geodns.cli import Failure
from geodns.cli.common import NameType, counted, tell

if TYPE_CHECKING:
    from geodns.name import Name
    from geodns.problems import Problem
    from geodns.zone.model import CheckedZone, Zone


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option(
    "--origin",
    type=NameType(),
    help="The zone's name [default: where the SOA is, else $ORIGIN, else the file's name].",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False, allow_dash=True),
    default=Path("zones"),
    show_default=True,
    help="The folder for the YAML file; - prints it.",
)
@click.option("--force", is_flag=True, help="Overwrite a file that is there.")
def import_(file: Path, origin: "Name | None", out: Path, force: bool) -> None:
    """Turn the RFC 1035 zone file FILE (- for stdin) into YAML, losing nothing.

    Problems are told with line and column. With an error nothing is written.

    \b
    Example:
      geodns import /var/lib/bind/db.example.com --out zones
    """
    from geodns.zone import yamlout

    checked, problems = _load_master(file, origin)
    tell(problems)
    if checked is None:
        raise Failure(f"{file}: {counted(_errors(problems), 'error')}; nothing was written")
    zone = checked.zone
    text = yamlout.dump(zone, f"{zone.apex}, imported from {file.name if file.name != '-' else 'stdin'}")
    _require_same(zone, text)
    if str(out) == "-":
        click.echo(text, nl=False)
        return
    try:
        path = yamlout.write_file(zone, out, text, force)
    except FileExistsError as error:
        there = Path(error.filename2 or error.filename)
        raise Failure(f"{there} is there already (--force overwrites it)") from None
    click.echo(f"{path}: {counted(_records(zone), 'record')}")


def _complete_zone(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from geodns.zone import zone_files

    names = [str(name) for name in zone_files(ctx.params.get("zones") or Path("zones"))[0]]
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("zone", shell_complete=_complete_zone)
@click.option(
    "--zones",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("zones"),
    show_default=True,
    help="The folder of the zone files.",
)
def export(zone: str, zones: Path) -> None:
    """Print ZONE, the name of a zone or the path of its YAML file, as an RFC 1035 zone file.

    Records that are steered by place are printed as their default values, with a comment that says so.

    \b
    Example:
      geodns export example.com > example.com.zone
      geodns export zones/example.com.yaml | named-checkzone example.com /dev/stdin
    """
    from geodns.zone import rfc1035

    checked, problems = _load(zone, zones)
    if checked is None:
        tell(problems)
        raise Failure(f"{zone}: {counted(_errors(problems), 'error')}; nothing was exported")
    about = checked.zone
    click.echo(f"; {about.apex}, exported by geodns from {about.file}")
    chunk: list[str] = []
    for line in rfc1035.write(about):
        chunk.append(line)
        if len(chunk) == 1000:
            click.echo("\n".join(chunk))
            chunk.clear()
    click.echo("\n".join(chunk), nl=bool(chunk))


def _load_master(file: Path, origin: "Name | None") -> "tuple[CheckedZone | None, list[Problem]]":
    from geodns.zone import rfc1035
    from geodns.zone.source import FILE_OCTETS_MAX

    if str(file) != "-":
        return rfc1035.load(file, origin)
    data = sys.stdin.buffer.read(FILE_OCTETS_MAX + 1)
    if len(data) > FILE_OCTETS_MAX:
        raise Failure(f"stdin has more than {FILE_OCTETS_MAX // 2**20} MiB")
    return rfc1035.load_text(data, "stdin", origin)


def _require_same(zone: "Zone", text: str) -> None:
    """What was written must say what was read; anything else is a bug, and must not go unnoticed."""
    from geodns.zone.parse import parse
    from geodns.zone.source import Source

    back = parse(Source(text.encode(), "the YAML"), zone.apex)
    wrong = [str(problem) for problem in back.problems]
    if back.zone is not None and not wrong:
        lost = [
            f"{next(iter(rrsets.values())).owner}"
            for key, rrsets in zone.rrsets.items()
            if {kind: (rrset.ttl, rrset.rdatas) for kind, rrset in rrsets.items()}
            != {kind: (rrset.ttl, rrset.rdatas) for kind, rrset in back.zone.rrsets.get(key, {}).items()}
        ]
        wrong = [f"the records of {name} would change" for name in lost]
    if wrong:
        raise Failure(f"{wrong[0]}; nothing was written (a bug of geodns: please report it with the file)")


def _load(zone: str, zones: Path) -> "tuple[CheckedZone | None, list[Problem]]":
    from geodns.name import BadName, Name
    from geodns.zone import load, local_zones, zone_file_name

    path = Path(zone)
    if zone.endswith((".yaml", ".yml")) or path.is_file():
        return load(path)
    try:
        apex = Name.parse(zone)
    except (BadName, ValueError) as error:
        raise Failure(f"{error}") from None
    path = zones / zone_file_name(apex)
    if not path.exists():
        for checked in local_zones():
            if checked.zone.apex == apex:
                return checked, []
        raise Failure(f"there is no {path} (--zones says where the zone files are)")
    return load(path)


def _errors(problems: "list[Problem]") -> int:
    return sum(problem.is_error for problem in problems)


def _records(zone: "Zone") -> int:
    return sum(len(rrset.rdatas) for rrsets in zone.rrsets.values() for rrset in rrsets.values())
