"""`geodns acme-dns-01`: sets and clears challenges at the running server, by hand or as a hook of a client.

set NAME VALUE                        by hand, and acme.sh's dns_geodns.sh
set, with CERTBOT_DOMAIN, CERTBOT_VALIDATION        certbot --manual-auth-hook; clear is its cleanup hook
present FQDN VALUE                    lego's exec provider; cleanup likewise
present DOMAIN -- TOKEN KEY_AUTH      the same with EXEC_MODE=RAW
"""

import os
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from geodns.cli import Failure, printable
from geodns.cli.common import config_option, control_option, counted, read_config
from geodns.cli.endpoint import ask
from geodns.cli.health import DurationType

SILENT = 3  # exit code: it is done here, but not everywhere

ACTIONS = {"set": "set", "present": "set", "clear": "clear", "cleanup": "clear", "list": "list"}


@click.command(
    # a value may begin with "-", and is no option; so there are no short options, not even -h
    context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]}
)
@click.argument("action", type=click.Choice(list(ACTIONS)))
@click.argument("words", metavar="[NAME] [VALUE]", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--for", "seconds", type=DurationType(), help="How long to answer with it, such as 30m [default: 1h]."
)
@click.option("--ignore-silent-peers", is_flag=True, help="Exit with 0 also when a peer has not taken it.")
@config_option
@control_option
@click.pass_context
def acme_dns_01(
    context: click.Context,
    action: str,
    words: tuple[str, ...],
    seconds: float | None,
    ignore_silent_peers: bool,
    config: Path | None,
    control: str | None,
) -> None:
    """Set or clear a dns-01 challenge: VALUE among the TXT records of _acme-challenge.NAME.

    It is served at once, by every instance in `peers` too, until it is cleared or an hour has gone; no zone
    file is changed. A name can have several values. `clear NAME` clears all of them; `list` shows them.
    Exits with 0 when every instance answers so, with 3 when it is set here and a peer is silent, and with 1
    when nothing was changed.

    Certbot's hooks are `geodns acme-dns-01 set` and `geodns acme-dns-01 clear`; lego's exec provider and
    acme.sh have scripts in deploy/acme (docs/acme.md).

    \b
    Example:
      geodns acme-dns-01 set www.example.com gfj9Xq...Rg85nM
    """
    settings = read_config(config)
    if ACTIONS[action] == "list":
        _no_more(words, 0)
        _show_list(ask(settings, control, "GET", "/v1/acme-dns-01"))
        return
    is_set = ACTIONS[action] == "set"
    name, value = _named(words, is_set)
    body: dict[str, Any] = {} if value is None else {"value": value}
    if is_set and seconds is not None:
        body["seconds"] = seconds
    path = f"/v1/acme-dns-01/{quote(name, safe='')}"
    report = ask(settings, control, "PUT" if is_set else "DELETE", path, body)
    is_everywhere = _show_report(report, is_set)
    context.exit(0 if is_everywhere or ignore_silent_peers else SILENT)


def _named(words: tuple[str, ...], is_set: bool) -> tuple[str, str | None]:
    """The name and the value that a client or a person means."""
    words = tuple(word for at, word in enumerate(words) if not (word == "--" and at in (0, 1)))
    domain = os.environ.get("CERTBOT_DOMAIN")
    if not words and domain:
        return domain, os.environ.get("CERTBOT_VALIDATION") or None
    if (
        len(words) == 3 and "." in words[2]
    ):  # lego's RAW: a key authorization has a dot, a value or a TTL none
        return words[0], _digest(words[2])
    if len(words) == 3 and words[2].isdigit():
        words = words[:2]  # lego before 4.0 gives the TTL as well
    _no_more(words, 2)
    if not words:
        raise Failure("which name? (NAME and VALUE, or CERTBOT_DOMAIN and CERTBOT_VALIDATION)")
    if is_set and len(words) < 2:
        raise Failure(f"which value? (geodns acme-dns-01 set {words[0]} VALUE)")
    return words[0], words[1] if len(words) > 1 else None


def _no_more(words: tuple[str, ...], most: int) -> None:
    if len(words) > most:
        # the word itself may be a key authorization, which is nobody's business
        raise Failure(f"that is too much: {counted(len(words), 'word')} where {most} are understood")


def _digest(key_authorization: str) -> str:
    """The value for a key authorization (RFC 8555 section 8.4)."""
    return urlsafe_b64encode(sha256(key_authorization.encode()).digest()).decode().rstrip("=")


def _show_report(report: dict[str, Any], is_set: bool) -> bool:
    """Tell what was done; whether every instance answers so."""
    try:
        name, served_at = report["name"], report.get("served_at", report["name"])
        where = name if served_at == name else f"{name} (an alias of {served_at})"
        if not report["changed"]:
            click.echo(printable(f"{where}: there was nothing to clear"))
            return True
        done = "set" if is_set else f"{counted(report['changed'], 'value')} cleared"
        until = report.get("until")
        end = f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC" if until else ""
        fine = [instance["id"] for instance in report["instances"] if instance["ok"]]
        by = f", answered by {', '.join(fine)}" if fine else ""
        click.echo(printable(f"{where}: {done}{end}{by}"))
        others = [instance for instance in report["instances"] if not instance["ok"]]
        for instance in others:
            who = f"peer {instance['peer']}" if "peer" in instance else str(instance["id"])
            click.echo(printable(f"{who} does not answer so: {instance['detail']}"), err=True)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Failure("what the server tells is not of this version of geodns") from None
    return not others


def _show_list(found: dict[str, Any]) -> None:
    try:
        for row in found["challenges"]:
            until = f"{datetime.fromtimestamp(row['until'], UTC):%Y-%m-%d %H:%M:%S} UTC"
            trouble = f" (not served: {row['trouble']})" if "trouble" in row else ""
            click.echo(printable(f"{row['name']} {row['value']} until {until}{trouble}"))
        count = counted(len(found["challenges"]), "challenge")
        click.echo(f"geodns: {printable(str(found['id']))}: {count}", err=True)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise Failure("what the server tells is not of this version of geodns") from None
