"""`geodns ping`: does the server answer? For the health checks of Docker, Kubernetes, Nomad and people."""

import errno
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from geodns.cli import Failure, printable
from geodns.cli.common import NameType, config_option, read_config

if TYPE_CHECKING:
    import dns.message

    from geodns.config import Listen
    from geodns.name import Name

TIMEOUT_SECONDS = 2.0  # for each question: a server at rest takes less than a millisecond
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # where to ask a server that listens on all addresses
NO_SUCH_FAMILY = {errno.EADDRNOTAVAIL, errno.ENETUNREACH, errno.EAFNOSUPPORT}
PROTOCOLS = ("udp", "tcp")


class _Reply(NamedTuple):
    """What became of one question."""

    text: str
    answered: bool
    no_family: bool = False  # this machine has no address of this family, so that nobody can ask


@click.command()
@click.argument("zone", required=False, type=NameType())
@click.option(
    "--server",
    "servers",
    metavar="ADDR:PORT",
    multiple=True,
    help="Whom to ask; the addresses that the config listens on. Several times for several.",
)
@click.option("--protocol", "protocols", type=click.Choice(PROTOCOLS), multiple=True, help="One only; both.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=TIMEOUT_SECONDS,
    show_default=True,
    help="How long an answer may take.",
)
@config_option
@click.pass_context
def ping(
    context: click.Context,
    zone: "Name | None",
    servers: tuple[str, ...],
    protocols: tuple[str, ...],
    timeout: float,
    config: Path | None,
) -> None:
    """Ask the running server one question over UDP and one over TCP; exit 0 when all are answered, else 1.

    Without ZONE it asks for the server's name (id.server), and any answer will do: it is alive. With ZONE it
    asks for its SOA record, and the answer has to be authoritative: the zone is served.

    \b
    Examples:
      geodns ping
      geodns ping example.com --server 192.0.2.53:53 --server '[2001:db8::53]:53'
    """
    replies = []
    question = _question(zone)
    for listen in _asked(servers, config):
        host = EVERYWHERE.get(listen.host, listen.host)
        where = f"{type(listen)(host, listen.port)}"
        for protocol in protocols or PROTOCOLS:
            began = time.monotonic()
            reply = _ask(question, host, listen.port, protocol, zone, timeout)
            took = f" in {(time.monotonic() - began) * 1000:.1f} ms" if reply.answered else ""
            click.echo(f"{where} {protocol}: {printable(reply.text)}{took}")
            # Listening on [::] does no harm where there is no IPv6, and is no fault.
            if not (reply.no_family and listen.is_wildcard):
                replies.append(reply)
    if not replies:
        raise Failure("nobody was asked: this machine has no address of the families that are listened on")
    context.exit(0 if all(reply.answered for reply in replies) else 1)


def _asked(servers: tuple[str, ...], config: Path | None) -> "tuple[Listen, ...]":
    from geodns.config import parse_listen

    try:
        named = tuple(listen for server in servers for listen in parse_listen(server))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    listens = named or read_config(config).addresses
    for listen in listens:
        if listen.port == 0:
            raise Failure(f"{listen}: port 0 is whichever the system picked; --server says where to ask")
    return tuple(listens)


def _ask(
    question: "dns.message.Message", host: str, port: int, protocol: str, zone: "Name | None", timeout: float
) -> _Reply:
    import dns.exception
    import dns.query

    ask = dns.query.udp if protocol == "udp" else dns.query.tcp
    try:
        return _judge(ask(question, host, timeout, port), zone)
    except dns.exception.Timeout:
        return _Reply(f"no answer within {timeout:g} s", False)
    except dns.exception.DNSException as error:
        return _Reply(f"not a good answer: {error}", False)
    except EOFError:
        return _Reply("the connection was closed without an answer", False)
    except OSError as error:
        return _Reply((error.strerror or str(error)).lower(), False, error.errno in NO_SUCH_FAMILY)


def _question(zone: "Name | None") -> "dns.message.Message":
    import dns.flags
    import dns.message
    import dns.query  # here, so that the first answer's time has no importing in it

    if zone is None:
        question = dns.message.make_query("id.server.", "TXT", "CH")  # RFC 4892
    else:
        question = dns.message.make_query(str(zone), "SOA")
    question.flags &= ~dns.flags.RD  # an authoritative server is asked, not a resolver
    return question


def _judge(answer: "dns.message.Message", zone: "Name | None") -> _Reply:
    import dns.flags
    import dns.rcode

    rcode = dns.rcode.to_text(answer.rcode())
    if zone is None:
        names = [text.decode("utf-8", "replace") for rrset in answer.answer for text in rrset[0].strings]
        return _Reply(f"{names[0]} answers" if names else f"answers ({rcode})", True)
    if answer.rcode() != dns.rcode.NOERROR or not answer.flags & dns.flags.AA:
        return _Reply(f"does not serve {zone} ({rcode})", False)
    serial = next((rrset[0].serial for rrset in answer.answer), None)
    if serial is None:
        return _Reply(f"{zone} is no zone here", False)
    return _Reply(f"serves {zone}, serial {serial}", True)
