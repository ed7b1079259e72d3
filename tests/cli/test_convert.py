"""`geodns import` and `geodns export`."""

import shutil
import subprocess
from pathlib import Path

import pytest

from geodns.name import Name
from geodns.zone import load, rfc1035
from tests.cli.conftest import MASTER, ZONE, Run
from tests.zone.test_import_roundtrip import said


def test_import_and_export_lose_nothing(run: Run, folder: Path) -> None:
    """A master file, imported and exported, says what it said."""
    result = run("import", "example.com.zone", "--out", "new")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "new/example.com.yaml: 4 records\n", "")
    result = run("export", "example.com", "--zones", "new")
    assert (result.exit_code, result.stderr) == (0, "")
    before = rfc1035.read_text(MASTER, "before").zone
    after = rfc1035.read_text(result.stdout, "after").zone
    assert before is not None
    assert after is not None
    assert said(after) == said(before)
    checked, problems = load(folder / "new" / "example.com.yaml")
    assert checked is not None
    assert (problems, checked.zone.serial) == ([], 7)


def test_export_by_path(run: Run) -> None:
    """`geodns export` takes a path as well; steered records are told to be their defaults."""
    lines = run("export", "zones/example.com.yaml").stdout.splitlines()
    assert lines[:2] == [
        "; example.com., exported by geodns from zones/example.com.yaml",
        "$ORIGIN example.com.",
    ]
    assert "; www A is steered by place; these are its default values" in lines
    assert "www\t60\tIN\tA\t203.0.113.80" in lines


def test_export_of_a_built_in_zone(run: Run) -> None:
    """The zones that geodns brings along can be looked at."""
    assert "@\t" in run("export", "localhost").stdout


def test_export_of_a_broken_zone(run: Run, folder: Path) -> None:
    """A zone with an error is not exported; its problems are told on stderr."""
    (folder / "zones" / "example.com.yaml").write_text(ZONE.replace("203.0.113.80", "x"))
    result = run("export", "example.com")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "zones/example.com.yaml:8:10: www A: " in result.stderr
    assert result.stderr.endswith("geodns: example.com: 1 error; nothing was exported\n")


def test_export_of_nothing(run: Run) -> None:
    """A zone that is not there, and a name that is none, are told in a line."""
    assert run("export", "example.org").stderr.startswith("geodns: there is no zones/example.org.yaml")
    assert run("export", "a..b").stderr.startswith('geodns: "a..b" has an empty label')


def test_import_keeps_a_file_that_is_there(run: Run, folder: Path) -> None:
    """An existing file is overwritten with --force only."""
    result = run("import", "example.com.zone")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "geodns: zones/example.com.yaml is there already (--force overwrites it)\n"
    assert (folder / "zones" / "example.com.yaml").read_text() == ZONE
    assert run("import", "example.com.zone", "--force").exit_code == 0
    assert "'*.Wild':" in (folder / "zones" / "example.com.yaml").read_text()


def test_import_of_a_broken_file(run: Run, folder: Path) -> None:
    """With an error nothing is written, and every problem is told."""
    (folder / "example.com.zone").write_text(MASTER + "x A 1\ny A 2\n")
    result = run("import", "example.com.zone", "--out", "new")
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        'example.com.zone:6:5: x A: "1" is not an IPv4 address',
        'example.com.zone:7:5: y A: "2" is not an IPv4 address',
        "geodns: example.com.zone: 2 errors; nothing was written",
    ]
    assert not (folder / "new").exists()


def test_import_from_stdin(run: Run) -> None:
    """`-` is stdin on the one side and stdout on the other."""
    result = run("import", "-", "--out", "-", input=MASTER)
    assert result.stdout.startswith("# example.com., imported from stdin\n---\n$zone:\n  ttl: 3600\n")


def test_origin_names_the_zone(run: Run, folder: Path) -> None:
    """--origin says which zone a file is that does not say it, "/" in the name included."""
    (folder / "named").write_text("$TTL 1h\n@ SOA a.example.net. b 1 2h 15m 2w 5m\n NS a.example.net.\n")
    assert "--origin" in run("import", "named").stderr
    result = run("import", "named", "--origin", "0/25.2.0.192.in-addr.arpa")
    assert result.stdout == "zones/0%2F25.2.0.192.in-addr.arpa.yaml: 2 records\n"
    assert run("export", "0/25.2.0.192.in-addr.arpa.").exit_code == 0


def test_the_root_zone(run: Run, folder: Path) -> None:
    """The root zone can be imported and exported like any other."""
    (folder / "root.hints").write_text("$TTL 1h\n. SOA a b 1 2h 15m 2w 5m\n. NS a.\na. A 203.0.113.1\n")
    assert run("import", "root.hints").stdout == "zones/.yaml: 3 records\n"
    assert "a.\t3600\tIN\tA\t203.0.113.1" in run("export", ".").stdout.splitlines()


def test_a_folder_that_cannot_be_written(run: Run, folder: Path) -> None:
    """A folder that is a file is told in a line."""
    result = run("import", "example.com.zone", "--out", "example.com.zone")
    assert result.exit_code != 0
    assert "Traceback" not in result.output


@pytest.mark.skipif(not shutil.which("named-compilezone"), reason="BIND is not installed")
def test_named_takes_an_export(run: Run, folder: Path) -> None:
    """named loads what is exported, and finds in it what is in the YAML."""
    (folder / "out").write_text(run("export", "example.com").stdout)
    command = ["named-compilezone", "-q", "-o", "-", "example.com", "out"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=20, check=True)
    back = rfc1035.read_text(done.stdout, "named", Name.parse("example.com.")).zone
    ours = rfc1035.read_text((folder / "out").read_text(), "out").zone
    assert back is not None
    assert ours is not None
    assert said(back) == said(ours)
