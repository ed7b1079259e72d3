"""The command line.

    geodns --_Commands--> the one command asked for, imported only then --> text on stdout, problems on stderr
               |
               +-- whatever a user can get wrong becomes one line, never a traceback

A command imports what it needs when it runs, so that `geodns --help` and completion answer at once.
"""

import importlib
import os
import sys
from typing import Any

import click

_COMMANDS = {
    "serve": ("geodns.cli.serve:serve", "Answer DNS queries from zone files, by place."),
    "check": ("geodns.cli.check:check", "Find everything wrong with zone files and the config."),
    "explain": ("geodns.cli.explain:explain", "Say why a client gets the answer it gets."),
    "delegation": ("geodns.cli.delegation:delegation", "Tell what to enter at the registrar, and verify it."),
    "status": ("geodns.cli.status:status", "Show which values are up, since when, and why."),
    "top": ("geodns.cli.top:top", "Show what the servers do now, in the terminal."),
    "down": ("geodns.cli.health:down", "Take a value or a pool out of all answers."),
    "up": ("geodns.cli.health:up", "Have a value or a pool count as up."),
    "auto": ("geodns.cli.health:auto", "Leave a value or a pool to its checks again."),
    "acme-dns-01": ("geodns.cli.acme:acme_dns_01", "Set and clear ACME challenges, as a hook too."),
    "import": ("geodns.cli.convert:import_", "Turn an RFC 1035 zone file into YAML."),
    "export": ("geodns.cli.convert:export", "Turn a zone into an RFC 1035 zone file."),
    "geo": ("geodns.cli.geo:geo", "Ask the geo databases."),
    "bench": ("geodns.cli.bench:bench", "Load a nameserver, and measure what it does."),
    "schema": ("geodns.cli.schema:schema", "Print the JSON Schema of a zone file, for editors."),
    "ping": ("geodns.cli.ping:ping", "Ask the running server whether it answers, over UDP and TCP."),
    "version": ("geodns.cli.version:version", "Print the version."),
}
"""Name -> where the command is, and what it does: so that listing them imports none."""

EXIT_INTERRUPTED = 128 + 2  # as a shell has it for SIGINT
EXIT_BROKEN_PIPE = 128 + 13  # as a shell has it for SIGPIPE


class Failure(click.ClickException):
    """What the user can do something about, in one line: `geodns: ...`."""

    def show(self, file: Any = None) -> None:
        click.echo(f"geodns: {printable(self.format_message())}", err=True)


def printable(text: str) -> str:
    """`text` without what a terminal would obey, and without half characters of odd file names."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class _Commands(click.Group):
    """A group that imports a command when it is called, and turns errors into lines."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in _COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        names = [
            CompletionItem(name, help=about)
            for name, (_, about) in _COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return names + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # Whoever read our output has had enough. Nothing may be flushed into that pipe at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(EXIT_BROKEN_PIPE)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except OSError as error:
            name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, (str, bytes)) else ""
            raise Failure(f"{name}{(error.strerror or str(error)).lower()}") from None
        except MemoryError:
            raise Failure("there is not enough memory for this") from None


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog='Completion in bash: eval "$(_GEODNS_COMPLETE=bash_source geodns)"; zsh and fish likewise.',
)
def main() -> None:
    """A geo-aware authoritative nameserver: zones as YAML, answers by place.

    \b
    Example:
      geodns check zones && geodns serve --zones zones --geo-db geo-db/city-lite.mmdb
    """
