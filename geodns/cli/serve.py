"""`geodns serve`: the nameserver itself."""

from pathlib import Path

import click

from geodns.config import CONFIG_NAME, DEFAULT_DATABASES, DEFAULT_LISTEN, Config, load_config, override
from geodns.problems import Problem


@click.command()
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"The config; ./{CONFIG_NAME} if there is one.",
)
@click.option(
    "--zones", metavar="DIR", type=click.Path(path_type=Path), help="The folder of the zone files; ./zones."
)
@click.option(
    "--listen",
    metavar="ADDR:PORT",
    multiple=True,
    help=f"Where to listen, with UDP and TCP; {DEFAULT_LISTEN}. Several times for several addresses.",
)
@click.option(
    "--geo-db",
    "databases",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path),
    help=f"A database in MaxMind's format; ./{DEFAULT_DATABASES}. Several times for several.",
)
@click.option("--engine", type=click.Choice(["auto", "native", "python"]), help="Which engine answers; auto.")
@click.option("--id", "server_id", metavar="TEXT", help="What id.server and NSID say; the hostname.")
@click.option(
    "--control",
    metavar="ADDR:PORT",
    multiple=True,
    help="Where `geodns status` and peers ask, over HTTP; nowhere if left out.",
)
@click.option(
    "--peer",
    "peers",
    metavar="URL",
    multiple=True,
    help="The control endpoint of another instance, whose checks count too, such as http://127.0.0.1:5382.",
)
@click.option(
    "--log",
    "log_format",
    type=click.Choice(["auto", "text", "json"]),
    help="How lines are told; auto: text on a terminal, else JSON.",
)
@click.pass_context
def serve(
    context: click.Context,
    config_file: Path | None,
    zones: Path | None,
    listen: tuple[str, ...],
    databases: tuple[Path, ...],
    engine: str | None,
    server_id: str | None,
    control: tuple[str, ...],
    peers: tuple[str, ...],
    log_format: str | None,
) -> None:
    """Answer queries, until SIGTERM or Ctrl-C.

    Without a config it serves ./zones with the databases in ./geo-db. Options stand above the config. A zone
    file that is saved is served within two seconds, if it is good; SIGHUP reads everything again, the config
    as well.

    \b
    Examples:
      geodns serve
      geodns serve --zones /etc/geodns/zones --listen 192.0.2.53:53 --listen '[2001:db8::53]:53'
      geodns serve --listen localhost:5301 --geo-db GeoLite2-City.mmdb --geo-db GeoLite2-ASN.mmdb
    """

    def read() -> tuple[Config | None, list[Problem]]:
        config, problems = load_config(config_file)
        if config is None:
            return None, problems
        return override(
            config, listen, zones, databases, engine, server_id, control, peers, log_format
        ), problems

    try:
        config, problems = read()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    for problem in problems:
        click.echo(str(problem), err=True)
    if config is None:
        context.exit(1)
    # The other commands need none of this.
    from geodns.server.main import run

    context.exit(run(config, read))
