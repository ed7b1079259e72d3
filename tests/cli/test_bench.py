"""`geodns bench`: where it may aim, and what it tells."""

import json
from pathlib import Path

import pytest
from click.testing import Result

from geodns.cli import bench
from tests.cli.conftest import Run
from tests.server.serving import serving

NEEDS_GENERATOR = pytest.mark.skipif(
    not (bench.SOURCES / "target" / "release" / bench.GENERATOR).exists(), reason="geodns-load is not built"
)


def test_without_the_generator(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A missing generator is one line, with the command that makes it."""
    monkeypatch.setattr(bench, "SOURCES", folder)
    monkeypatch.setenv("PATH", str(folder))
    result = run("bench", "127.0.0.1:5301")
    assert 1 == result.exit_code
    assert "geodns: the load generator is not built: cargo build --release --manifest-path" in result.output


@NEEDS_GENERATOR
def test_only_this_machine(run: Run, folder: Path):
    """A server elsewhere is not loaded unless one says that it is one's own."""
    result = run("bench", "192.0.2.1:53", "--seconds", "0.1")
    assert 1 == result.exit_code
    assert "192.0.2.1:53 is not a loopback address; --not-loopback if that server is yours" in result.output


@NEEDS_GENERATOR
@pytest.mark.parametrize("more", [(), ("--tcp",), ("--rate", "500"), ("--workload", "nxdomain")])
def test_a_server_is_measured(run: Run, folder: Path, more: tuple[str, ...]):
    """Every question is answered, and the rcodes, latencies and the server's CPU time are told."""

    def ask(port: int, *options: str) -> Result:
        return run("bench", f"127.0.0.1:{port}", "--seconds", "0.3", *more, *options)

    with serving(folder, "--zones", "zones") as server:
        (port,) = server.ports()
        found = json.loads(ask(port, "--pid", str(server.popen.pid), "--format", "json").output)
        said = ask(port).output
    assert found["sent"] == found["answered"] > 0
    assert {"3" if "nxdomain" in more else "0"} == set(found["rcodes"])
    assert found["latency_us"]["p999"] >= found["latency_us"]["p50"] > 0
    assert ("NXDOMAIN" if "nxdomain" in more else "NOERROR") in said
