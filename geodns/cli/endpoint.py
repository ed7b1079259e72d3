"""Asking the control endpoint of the running server."""

import json
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from geodns.cli import Failure
from geodns.cli.common import tell

if TYPE_CHECKING:
    from geodns.config import Config, Listen

ANSWER_SECONDS = 10.0  # for a server to answer: it takes half a second for 10,000 checks
ANSWER_OCTETS_MAX = 256 << 20  # of a status: 100,000 checks are 50 MB


class Silent(Failure):
    """Nobody answers, or not in HTTP."""


class Refused(Failure):
    """The server refuses, with this HTTP status."""

    def __init__(self, listen: "Listen", status: int, why: str) -> None:
        super().__init__(f"the server at {listen} refuses: {why}")
        self.status = status


def ask(
    config: "Config", control: str | None, method: str, path: str, body: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What it says, from the first of the addresses that answers. Raises Failure."""
    from geodns.config import tokens

    token, problems = tokens(config)
    tell(problem for problem in problems if str(problem.file) == str(config.control.token_file))
    refused = ""
    for listen in control_addresses(config, control):
        try:
            return ask_at(listen, token.own, method, path, body)
        except Silent as error:
            refused = refused or error.message
    raise Failure(f"{refused} (is `geodns serve` running with this config?)")


def control_addresses(config: "Config", control: str | None) -> "tuple[Listen, ...]":
    """Where to ask: at `control`, else where the config has the server listen. Raises Failure."""
    from geodns.config import CONTROL_PORT, Listen, parse_listen

    try:
        found = config.control.addresses if control is None else parse_listen(control, CONTROL_PORT)
    except ValueError as error:
        raise Failure(str(error)) from None
    if not found:
        example = f"control: {{listen: 127.0.0.1:{CONTROL_PORT}}}"
        raise Failure(f"the config has no control.listen to ask at (such as {example})")
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    return tuple(Listen(own.get(listen.host, listen.host), listen.port) for listen in found)


def ask_at(
    listen: "Listen",
    token: str | None,
    method: str,
    path: str,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """What one address says. Raises Silent, and Failure for what is no good answer."""
    connection = HTTPConnection(listen.host, listen.port, timeout=ANSWER_SECONDS)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        octets = response.read(ANSWER_OCTETS_MAX)
    except (OSError, HTTPException) as error:
        raise Silent(f"nobody answers at {listen}: {_reason(error)}") from None
    finally:
        connection.close()
    try:
        found = json.loads(octets)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Failure(f"what answers at {listen} is no geodns")
    if response.status != 200:
        raise Refused(listen, response.status, found.get("error", response.reason))
    return found


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ANSWER_SECONDS:g} s"
    if isinstance(error, OSError):
        return (error.strerror or str(error)).lower()
    return "what came is no HTTP"
