"""ns1 and ns2 as processes that know each other, with zones to get certificates for."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from geodns.cli import main
from tests.ports import free_port
from tests.server.serving import Client, Process, serving

TOKEN = "5b2f6d1f6a4f4f1c8d0c3a9be1d5a7f2"
COMMAND_SECONDS = 60
NS = "'': {type: NS, values: [ns1.nameserver.test., ns2.nameserver.test.]}\n"
ZONES = {
    "example.com": NS
    + "www: {type: A, value: 192.0.2.1}\n"
    + "'*': {type: A, value: 192.0.2.9}\n"
    + "_acme-challenge.app: {type: CNAME, value: app.validation.example.org.}\n",
    "example.org": NS,
    "auth.example.org": NS,
}


def value() -> str:
    """A challenge's value as no other, which may begin with a hyphen."""
    return secrets.token_urlsafe(32)


@dataclass
class Instance:
    """One of the two: its folder has its config and its zones."""

    name: str
    folder: Path
    process: Process
    port: int
    control: int

    @property
    def config(self) -> str:
        return str(self.folder / "geodns.yaml")

    def texts(self, name: str) -> list[str]:
        return Client(self.port).texts(name)

    def geodns(self, *arguments: str, **environment: str) -> Result:
        """Run a command with this instance's config."""
        return CliRunner().invoke(main, [*arguments, "--config", self.config], env=environment)


def write_config(folder: Path, name: str, control: int, peer: int, more: str = "") -> str:
    """Make the folder of an instance; its config."""
    (folder / "zones").mkdir(parents=True, exist_ok=True)
    for zone, text in ZONES.items():
        (folder / "zones" / f"{zone}.yaml").write_text(text)
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    return f"""
server: {{id: {name}}}
control: {{listen: "127.0.0.1:{control}", token_file: token}}
peers: [{{url: "http://127.0.0.1:{peer}"}}]
acme: {{zone: auth.example.org, allow_register: [127.0.0.0/8]}}
{more}"""


@contextmanager
def instance(folder: Path, name: str, control: int, peer: int, port: int = 0) -> Iterator[Instance]:
    """One of them; at the port of another one it takes over from that."""
    config = write_config(folder, name, control, peer)
    with serving(folder, config=config, listen=(f"127.0.0.1:{port}",)) as process:
        (port,) = process.ports()
        yield Instance(name, folder, process, port, control)


@contextmanager
def two(folder: Path) -> Iterator[tuple[Instance, Instance]]:
    """ns1 and ns2."""
    first, second = free_port(), free_port()
    with ExitStack() as stack:
        yield (
            stack.enter_context(instance(folder / "ns1", "ns1", first, second)),
            stack.enter_context(instance(folder / "ns2", "ns2", second, first)),
        )
