"""`geodns delegation`: what the registrar's form wants, and whether the world sees it so.

ZONE --_load--> CheckedZone --fill--> Form --_WRITE--> table, JSON, RFC 1035 lines, EPP
                                       \\--verify: observe, checks--> tables or JSON, exit code
"""

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from geodns.cli import Failure, printable
from geodns.cli.common import NameType, counted, geo_options, open_locator, read_config, tell

if TYPE_CHECKING:
    from rich.console import Console

    from geodns.config import Config, Listen
    from geodns.delegation.checks import Finding
    from geodns.delegation.form import Form, Host
    from geodns.delegation.observed import Observed
    from geodns.delegation.reply import Reply
    from geodns.delegation.walk import Server
    from geodns.name import Name
    from geodns.zone.model import CheckedZone, Mark, Zone

TIMEOUT_SECONDS = 3.0  # for one try; the slowest way around the world and back takes 0.4


def _complete_zone(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from geodns.zone import zone_files

    names = [str(name) for name in zone_files(ctx.params.get("zones") or Path("zones"))[0]]
    return [name for name in names if name.startswith(incomplete)]


@click.command()
@click.argument("zone", shell_complete=_complete_zone)
@click.option("--verify", is_flag=True, help="Ask the world whether it is so; exits with 1 if it is not.")
@click.option(
    "--resolver",
    metavar="ADDR",
    help="With --verify: ask this resolver as well, and compare.",
)
@click.option(
    "--root",
    "roots",
    metavar="ADDR[:PORT]",
    multiple=True,
    help="With --verify: a root server to begin with [default: the Internet's]. Its port is that of all.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.05, 60),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="With --verify: seconds for one try.",
)
@click.option("--parent", type=NameType(), help="The zone above, if it is not the name above.")
@click.option(
    "--zones",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the zone files [default: the config's, else ./zones].",
)
@geo_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json", "zone", "epp"]),
    default="text",
    show_default=True,
    help="zone: RFC 1035 lines for the parent zone. epp: the registry's commands, RFC 5731 and 5732.",
)
@click.pass_context
def delegation(
    ctx: click.Context,
    zone: str,
    verify: bool,
    resolver: str | None,
    roots: tuple[str, ...],
    timeout: float,
    parent: "Name | None",
    zones: Path | None,
    databases: tuple[Path, ...],
    config: Path | None,
    form: str,
) -> None:
    """Tell what to enter for ZONE at the registrar: nameservers, their addresses (glue), DS.

    ZONE is the name of a zone or the path of its YAML file. With --verify, walk from the root servers to the
    parent, ask all of the zone's servers, and tell what is not as it should be, and where to change it.

    \b
    Examples:
      geodns delegation example.com
      geodns delegation example.com --format zone
      geodns delegation example.com --verify --resolver 9.9.9.9
    """
    if not verify and (roots or resolver):
        raise click.UsageError("--root and --resolver go with --verify")
    if verify and form not in ("text", "json"):
        raise click.UsageError(f"--verify tells as text or json, not as {form}")
    settings = read_config(config, databases, zones)
    filled = _fill(zone, settings.zones, parent)
    if not verify:
        _WRITE[form](filled)
        return
    seen, findings = _verify(filled, settings, roots, resolver, timeout)
    (_show_json if form == "json" else _show_text)(seen, findings)
    ctx.exit(1 if any(finding.is_fault for finding in findings) else 0)


# The form


def _fill(zone: str, folder: Path, parent: "Name | None") -> "Form":
    from geodns.delegation.form import fill
    from geodns.zone import load, zone_files

    checked = _load(zone, folder)
    files = zone_files(folder)[0]
    loaded: dict[Path, Zone | None] = {}

    def zone_of(name: "Name") -> "Zone | None":
        """Our zone with this name in it: the one with the longest name."""
        at = name
        while at not in files:
            if at.is_root:
                return None
            at = at.parent()
        path = files[at]
        if path not in loaded:
            found = load(path)[0]
            loaded[path] = None if found is None else found.zone
        return loaded[path]

    form, advice = fill(checked, zone_of, parent)
    tell(advice)
    return form


def _load(zone: str, folder: Path) -> "CheckedZone":
    from geodns.delegation.form import UNWRITTEN
    from geodns.name import BadName, Name
    from geodns.zone import load, zone_file_name

    path = Path(zone)
    if not (zone.endswith((".yaml", ".yml")) or path.is_file()):
        try:
            path = folder / zone_file_name(Name.parse(zone))
        except (BadName, ValueError) as error:
            raise Failure(f"{error}") from None
        if not path.exists():
            raise Failure(f"there is no {path} (--zones says where the zone files are)")
    checked, problems = load(path, UNWRITTEN)
    tell(problems)
    if checked is None:
        raise Failure(f"{path} has errors; a registrar would have to be told twice")
    if checked.zone.apex.is_root:
        raise Failure("the root zone has no parent, and nobody to register it with")
    return checked


def _form_text(form: "Form") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from geodns.delegation.steps import meaning, of_ds, steps

    console = _console()
    table = Table(title=f"{form.apex} {form.keeper}", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("field", "enter", "because"):
        table.add_column(heading, overflow="fold")
    for number, host in enumerate(form.hosts, 1):
        typed = str(host.name).removesuffix(".")  # forms refuse the final dot, or take it for a part
        table.add_row(f"name server {number}", Text(typed), Text(meaning(host, form)))
        for address in _entered(host):
            table.add_row(f"  IPv{address.family} address", Text(address.text), Text(str(address.mark)))
    for ds in form.ds or ("nothing",):
        table.add_row("DS record", Text(ds), Text(of_ds(form)))
    console.print(table)
    for number, step in enumerate(steps(form), 1):
        console.print(Text(f"{number}. {step}"), soft_wrap=True)


def _entered(host: "Host") -> "tuple[Any, ...]":
    from geodns.delegation.form import Glue

    return () if host.glue is Glue.NONE else host.addresses


def _form_json(form: "Form") -> None:
    from geodns.delegation.steps import meaning, of_ds, steps

    told = {
        "zone": str(form.apex),
        "parent": str(form.parent),
        "file": printable(form.file),
        "nameservers": [
            {
                "name": str(host.name),
                "glue": host.glue.value,
                "addresses": [
                    {"address": address.text, "family": address.family, **_place(address.mark)}
                    for address in _entered(host)
                ],
                "because": meaning(host, form),
                **_place(host.mark),
            }
            for host in form.hosts
        ],
        "ds": list(form.ds),
        "ds_because": of_ds(form),
        "steps": steps(form),
    }
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def _form_zone(form: "Form") -> None:
    from geodns.delegation.written import lines

    for line in lines(form):
        click.echo(printable(line.replace("\t", " ")))


def _form_epp(form: "Form") -> None:
    from geodns.delegation.epp import commands

    click.echo("\n\n".join(commands(form)))


_WRITE = {"text": _form_text, "json": _form_json, "zone": _form_zone, "epp": _form_epp}


# The world


def _verify(
    form: "Form", settings: "Config", roots: tuple[str, ...], resolver: str | None, seconds: float
) -> "tuple[Observed, list[Finding]]":
    from geodns.delegation import checks
    from geodns.delegation.network import Network, TooManyQuestions
    from geodns.delegation.observe import observe

    servers, port = _roots(roots)
    ask = None if resolver is None else _endpoint(resolver)
    locator = open_locator(settings)

    def system_of(address: str) -> int:
        from geodns.geo.address import BadAddress, parse

        try:
            return locator.explain(parse(address)).place.asn
        except BadAddress:
            return 0

    with _waiting(f"asking about {form.apex}"), Network(port, seconds) as network:
        try:
            seen = observe(form, network, servers, None if ask is None else (ask.host, ask.port), system_of)
        except TooManyQuestions:
            raise Failure(f"{form.apex} leads to more questions than a delegation can need") from None
    return seen, checks.run(seen)


def _roots(given: tuple[str, ...]) -> "tuple[list[Server], int]":
    from geodns.config import DNS_PORT
    from geodns.delegation.hints import root_addresses
    from geodns.delegation.walk import Server
    from geodns.name import Name

    if not given:
        return [Server(Name.parse(name), address) for name, address in root_addresses()], DNS_PORT
    listens = [_endpoint(text) for text in given]
    if len({listen.port for listen in listens}) > 1:
        raise Failure("--root: the port holds for all servers, so that there can be one only")
    return [Server(Name.parse("root-server."), listen.host) for listen in listens], listens[0].port


def _endpoint(text: str) -> "Listen":
    from geodns.config import parse_listen

    try:
        if text.count(":") > 1 and not text.startswith("["):
            text = f"[{text}]"  # no port can be meant
        return parse_listen(text)[0]
    except ValueError as error:
        raise Failure(str(error)) from None


def _waiting(what: str) -> "AbstractContextManager[Any]":
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(what)


def _show_text(seen: "Observed", findings: "list[Finding]") -> None:
    from geodns.delegation.checks import CHECKS

    console = _console()
    path = " -> ".join(map(str, seen.walked.path))
    below = "whose parent was not found" if seen.walked.failure else f"below {seen.parent}, by way of {path}"
    click.echo(f"{seen.apex} {below}")
    _servers_table(console, seen)
    if findings:
        _findings_table(console, findings)
    faults = sum(finding.is_fault for finding in findings)
    notices = len(findings) - faults
    told = f"geodns: {len(CHECKS)} checks: {counted(faults, 'fault') if faults else 'no fault'}"
    click.echo(f"{told}, {counted(notices, 'notice')}" if notices else told, err=True)


def _servers_table(console: "Console", seen: "Observed") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("server", "address", "AS", "UDP", "TCP", "EDNS", "serial"):
        table.add_column(heading, overflow="fold")
    for server in seen.servers:
        cells = (
            ", ".join(map(str, server.names)),
            server.address,
            str(seen.systems.get(server.address) or "?"),
            _word(server.soa if server.soa.is_answered else server.plain),
            _word(server.tcp),
            "yes" if server.soa.is_answered and server.soa.edns is not None else "no",
            _serial(seen, server.heard),
        )
        table.add_row(*map(Text, cells))
    console.print(table)


def _word(reply: "Reply") -> str:
    if reply.is_good:
        return "yes"
    return reply.rcode if reply.is_answered and reply.rcode != "NOERROR" else "no"


def _serial(seen: "Observed", reply: "Reply") -> str:
    from geodns.zone.rdata import SOA

    data = reply.data(seen.apex, SOA) if reply.is_good else []
    return data[0].split()[2] if data else ""


def _findings_table(console: "Console", findings: "list[Finding]") -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    styles = {"error": "bold red", "warning": "yellow", "notice": "dim"}
    table = Table(box=box.SIMPLE_HEAD, show_lines=False)
    table.add_column("severity")
    table.add_column("check", no_wrap=True)
    table.add_column("what", overflow="fold", ratio=3)
    table.add_column("to change", overflow="fold", ratio=2)
    for finding in findings:
        level = finding.level.value
        table.add_row(
            Text(level, styles[level]), finding.check, Text(printable(finding.what)), Text(_change(finding))
        )
    console.print(table)


def _change(finding: "Finding") -> str:
    change = finding.change
    mark = "" if change.mark is None else str(change.mark)
    if not change.where:
        return printable(f"{mark}: {change.what}" if mark else change.what)
    see = f" ({mark})" if mark else ""
    return printable(f"{change.where}: {change.what}{see}")


def _show_json(seen: "Observed", findings: "list[Finding]") -> None:
    from geodns.delegation.checks import CHECKS

    told = {
        "zone": str(seen.apex),
        "parent": str(seen.parent),
        "path": list(map(str, seen.walked.path)),
        "delegated": sorted(map(str, seen.delegated)),
        "servers": [
            {
                "names": list(map(str, server.names)),
                "address": server.address,
                "asn": seen.systems.get(server.address) or None,
                "udp": _word(server.soa if server.soa.is_answered else server.plain),
                "tcp": _word(server.tcp),
                "edns": server.soa.is_answered and server.soa.edns is not None,
                "serial": int(serial) if (serial := _serial(seen, server.heard)) else None,
            }
            for server in seen.servers
        ],
        "checks": [
            {"name": check.name, "severity": check.level.value, "asks": check.asks} for check in CHECKS
        ],
        "findings": [
            {
                "check": finding.check,
                "severity": finding.level.value,
                "what": printable(finding.what),
                "change": {
                    "where": printable(finding.change.where),
                    "what": printable(finding.change.what),
                    **_place(finding.change.mark),
                },
            }
            for finding in findings
        ],
    }
    click.echo(json.dumps(told, indent=2, ensure_ascii=False))


def _place(mark: "Mark | None") -> dict[str, object]:
    if mark is None:
        return {"file": None, "line": None, "column": None}
    return {"file": printable(mark.file), "line": mark.line, "column": mark.column}


def _console() -> "Console":
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)
