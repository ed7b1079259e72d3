"""`geodns check` on what a config says of ACME."""

from pathlib import Path

from tests.cli.conftest import Run


def test_check_wants_the_zone_of_accounts(run: Run, folder: Path) -> None:
    """acme.zone without a zone file of its own, a network that is none, and a broken state file are told."""
    config = folder / "geodns.yaml"
    config.write_text("server: {id: ns1}\nacme: {zone: auth.example.com, allow_register: [192.0.2.0/24]}\n")
    result = run("check", "geodns.yaml")
    assert 1 == result.exit_code
    assert "acme.zone: the zone auth.example.com. has no zone file in zones" in result.output
    (folder / "zones/auth.example.com.yaml").write_text("'': {type: NS, value: ns1.example.com.}\n")
    assert 0 == run("check", "geodns.yaml").exit_code
    (folder / "state").mkdir()
    (folder / "state/acme-ns1.json").write_text("{")
    assert "state/acme-ns1.json: this is not JSON" in run("check", "geodns.yaml").output
    config.write_text("acme: {allow_register: [somebody]}\n")
    assert 'geodns.yaml:1:24: acme.allow_register: "somebody" is not a network' in run("check").output


def test_without_a_server(run: Run) -> None:
    """A command that finds nobody says so in a line."""
    result = run("acme-dns-01", "set", "www.example.com", "A" * 43, "--control", "127.0.0.1:9")
    assert 1 == result.exit_code
    assert "nobody answers at 127.0.0.1:9: connection refused" in result.output
