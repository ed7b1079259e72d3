"""The benchmark's own zone: a measurement is worth as much as its check of the answers."""

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import dns.zone
import pytest

from geodns.table.compile import compile_zone
from geodns.zone import load

ROOT = Path(__file__).resolve().parent.parent
GEO_DB = ROOT / "geo-db" / "city-lite.mmdb"


@pytest.fixture(scope="module")
def zone() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_zone", ROOT / "benchmarks" / "zone.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data(zone: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not GEO_DB.exists():
        pytest.skip(f"{GEO_DB} is not there")
    folder = tmp_path_factory.mktemp("bench")
    zone.build(folder, 200, GEO_DB)
    return folder


def test_both_forms_of_the_zone_hold_the_same_records(zone: ModuleType, data: Path):
    """geodns and its peers are measured with the same names, types and TTLs."""
    checked, problems = load(data / "zones" / f"{zone.APEX}.yaml")
    assert not problems
    ours = {
        (str(rrset.owner).lower(), rrset.type, rrset.ttl, len(rrset.rdatas))
        for types in checked.zone.rrsets.values()
        for rrset in types.values()
    }
    theirs = dns.zone.from_file(str(data / f"{zone.APEX}.zone"), relativize=False)
    assert ours == {
        (str(name).lower(), int(rdataset.rdtype), rdataset.ttl, len(rdataset))
        for name, rdataset in theirs.iterate_rdatasets()
    }


def test_the_same_command_makes_the_same_files(zone: ModuleType, data: Path, tmp_path: Path):
    """Two runs on two days ask the same questions."""
    zone.build(tmp_path, 200, GEO_DB)
    for path in sorted(path.relative_to(data) for path in data.rglob("*.*")):
        assert (data / path).read_bytes() == (tmp_path / path).read_bytes()


def test_the_questions_reach_every_code(zone: ModuleType, data: Path):
    """The client networks meet each alternative of the geo names, so that none of them goes unchecked."""
    networks = json.loads((data / "expected.json").read_text())["networks"]
    assert set(zone.CODES) == {code for _, code in networks} - {"default"}


def test_peers_do_not_listen_or_write_elsewhere():
    """The peers' configurations name no address but 127.0.0.1 and no path but those of the job's folder."""
    for path in sorted((ROOT / "benchmarks" / "peers").glob("*.conf*")):
        text = re.sub(r"^\s*(#|//).*$", "", path.read_text(), flags=re.MULTILINE)
        assert {"127.0.0.1"} >= set(re.findall(r"\d+\.\d+\.\d+\.\d+", text))
        assert not re.findall(r"(?<![\w@.])/(?:etc|var|run|usr|tmp)\S*", text)


def test_the_health_benchmark_checks_every_value(tmp_path: Path):
    """Ten thousand checks are ten thousand: each value has its own address, and none has a problem."""
    spec = importlib.util.spec_from_file_location("benchmark_health", ROOT / "benchmarks" / "health.py")
    health = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = health  # its dataclasses look themselves up there
    spec.loader.exec_module(health)
    options = argparse.Namespace(checks=30, interval=10.0)
    names = health.write_zone(tmp_path, "https", 8443, options)
    checked, problems = load(tmp_path / "zones-https" / f"{health.APEX}.yaml")
    assert [] == [problem for problem in problems if problem.is_error]
    table = compile_zone(checked)
    assert {f"{name}. A" for name in names} == set(table.steers)
    checks = {check for steer in table.steers.values() for check in steer.checks}
    assert {health.address(number) for number in range(1, 31)} == {check.target for check in checks}
    assert {("https", 8443, health.HOST)} == {(check.kind, check.port, check.host) for check in checks}
