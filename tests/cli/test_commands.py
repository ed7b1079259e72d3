"""The command line as a whole: help, completion, and errors in one line."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from geodns.cli import Failure, main, printable
from tests.cli.conftest import Run

GEODNS = [sys.executable, "-c", "from geodns.cli import main; main()"]
COMMANDS = ["acme-dns-01", "auto", "bench", "delegation", "down", "ping", "status", "top", "up"]
COMMANDS += ["check", "explain", "export", "geo", "geo lookup", "import", "schema", "serve", "version"]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example(run: Run, command: str) -> None:
    """Every command's help says what it does, with an example that names the command itself."""
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert re.search(rf"Examples?:\n\s+.*geodns {command}", result.output)


def test_every_command_is_listed(run: Run) -> None:
    """`geodns --help` lists every command with a line of its own."""
    names = {command.split()[0] for command in COMMANDS}
    assert names == set(main.list_commands(click.Context(main)))
    assert set(re.findall(r"^  ([a-z0-9-]+)  +[A-Z]", run("--help").output, re.M)) == names


def test_help_imports_nothing_heavy() -> None:
    """`geodns --help` is quick, as it imports neither numpy nor pydantic nor dnspython."""
    code = (
        "import sys\nfrom geodns.cli import main\nmain(['--help'], standalone_mode=False)\n"
        "print([name for name in ('numpy', 'pydantic', 'dns', 'yaml', 'rich') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "incomplete", "expected"),
    [
        ([], "ex", ["explain", "export"]),
        (["geo"], "", ["lookup"]),
        (["check"], "--f", ["--format"]),
        (["check", "--format"], "", ["text", "json", "github"]),
        (["explain", "www.example.com"], "aa", ["AAAA"]),
        (["export"], "e", ["example.com."]),
    ],
)
def test_completion(folder: Path, args: list[str], incomplete: str, expected: list[str]) -> None:
    """The shell completes commands, options, choices, record types and zones."""
    completer = ShellComplete(main, {}, "geodns", "_GEODNS_COMPLETE")
    assert [item.value for item in completer.get_completions(args, incomplete)] == expected


def test_an_unknown_command_is_one_line(run: Run) -> None:
    """A typing error in a command is told without a traceback."""
    result = run("chekc")
    assert result.exit_code == 2
    assert "No such command 'chekc'" in result.stderr


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (PermissionError(13, "Permission denied", "/some/file"), "geodns: /some/file: permission denied"),
        (OSError("odd"), "geodns: odd"),
        (MemoryError(), "geodns: there is not enough memory for this"),
        (Failure("told\x1b[31m"), "geodns: told\\x1b[31m"),
    ],
)
def test_errors_become_a_line(run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str) -> None:
    """What a user can get wrong becomes one line and exit code 1."""
    monkeypatch.setattr("geodns.zone.schema.json_schema", lambda: (_ for _ in ()).throw(error))
    result = run("schema")
    assert (result.exit_code, result.stderr, result.stdout) == (1, line + "\n", "")


def test_ctrl_c_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command without a word, with the shell's exit code for it."""
    monkeypatch.setattr("geodns.zone.schema.json_schema", lambda: (_ for _ in ()).throw(KeyboardInterrupt))
    result = run("schema")
    assert (result.exit_code, result.output) == (130, "")


def test_odd_file_names_are_printable() -> None:
    """A file name that is no text does not break the message that has it."""
    assert printable("a\udcff\x07b") == "a\N{REPLACEMENT CHARACTER}\\x07b"


def test_a_reader_that_has_enough(folder: Path) -> None:
    """`geodns export | head -1`: no traceback when the reader goes away."""
    lines = "".join(f"h{number}: {{type: A, value: 203.0.113.1}}\n" for number in range(5000))
    with (folder / "zones" / "example.com.yaml").open("a") as file:
        file.write(lines)
    process = subprocess.Popen(
        [*GEODNS, "export", "example.com"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(timeout=30) == 141


def test_the_executable(folder: Path) -> None:
    """The installed `geodns` runs, and its start takes less than a second of a core."""
    executable = Path(sys.executable).parent / "geodns"
    if not executable.exists():
        pytest.skip("geodns is not installed beside this Python")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([executable, "version"], capture_output=True, text=True, timeout=120, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert re.fullmatch(r"geodns \d+\.\d+\.\d+ \(Python 3\.\d+\.\d+\)\n", done.stdout)
    assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 1


def test_schema_is_json_schema(run: Run) -> None:
    """`geodns schema` prints JSON that describes itself as a schema."""
    import json

    assert json.loads(run("schema").stdout)["$schema"].startswith("http://json-schema.org/")


def test_version(run: Run) -> None:
    """`geodns version` names geodns and Python."""
    assert run("version").stdout.startswith("geodns ")


def test_no_output_goes_astray(folder: Path) -> None:
    """Problems of an import go to stderr, so that stdout has the YAML only."""
    (folder / "example.com.zone").write_text((folder / "example.com.zone").read_text() + "x A 203.0.113.9")
    command = [*GEODNS, "import", "example.com.zone", "--out", "-"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=folder, timeout=30, check=True, env=os.environ
    )
    assert done.stdout.startswith("# example.com., imported from example.com.zone\n---\n")
    assert (
        done.stderr
        == "example.com.zone:6:15: warning: the last line has no line end; is the file complete?\n"
    )
