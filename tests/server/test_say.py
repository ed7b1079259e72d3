"""The lines on stderr: for people or for machines."""

import io
import json
import threading
from pathlib import Path

import pytest

from geodns.problems import Problem
from geodns.server.say import AUTO, JSON, MESSAGE_CHARACTERS_MAX, TEXT, Sayer
from tests.server.serving import serving, write_zone


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("out", "form", "is_json"),
    [
        (io.StringIO, AUTO, True),
        (io.StringIO, TEXT, False),
        (io.StringIO, JSON, True),
        (Terminal, AUTO, False),
        (Terminal, JSON, True),
    ],
)
def test_forms(out: type[io.StringIO], form: str, is_json: bool):
    """Text on a terminal and JSON elsewhere, unless the config says which."""
    said = out()
    Sayer(said, form)("ready: 2 zones", "ready", zones=2)
    line = said.getvalue()
    assert is_json == line.startswith("{")
    if is_json:
        told = json.loads(line)
        assert ("info", "ready", "ready: 2 zones", 2) == tuple(
            told[key] for key in ("level", "event", "message", "zones")
        )
    else:
        assert "geodns: ready: 2 zones\n" == line


def test_one_line_is_one_event():
    """Whatever is in a text, it is one line, of a bounded length, also when many threads say something."""
    said = io.StringIO()
    say = Sayer(said, JSON)
    evil = 'a\nb\u2028 "\\ \x1b[31m \udc80'
    threads = [threading.Thread(target=lambda: [say(evil) for _ in range(100)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say("x" * 100_000)
    lines = said.getvalue().split("\n")[:-1]
    assert 401 == len(lines)
    assert all(evil == json.loads(line)["message"] for line in lines[:-1])
    assert MESSAGE_CHARACTERS_MAX == len(json.loads(lines[-1])["message"])


def test_what_strangers_cause_is_told_rarely():
    """A thousand failures of one kind are a line, whose successor counts them; another kind is not kept
    back.
    """
    said = io.StringIO()
    say = Sayer(said, JSON)
    for _ in range(1000):
        say.rarely("engine", "failed")
    say.rarely("watch", "failed too")
    assert ["engine", "watch"] == [json.loads(line)["event"] for line in said.getvalue().splitlines()]


def test_a_problem_has_its_parts():
    """File, line, column, what and hint are fields for machines, and the usual line for people."""
    problem = Problem("zones/a.yaml", 3, 7, "www A", "is wrong", "do so")
    text, structured = io.StringIO(), io.StringIO()
    Sayer(text).problem(problem)
    Sayer(structured, JSON).problem(problem)
    assert f"{problem}\n" == text.getvalue()
    told = json.loads(structured.getvalue())
    fields = {"file": "zones/a.yaml", "line": 3, "column": 7, "where": "www A", "what": "is wrong"}
    assert fields.items() <= told.items()
    assert ("error", "do so", str(problem)) == (told["level"], told["hint"], told["message"])


def test_a_server_whose_stderr_is_no_terminal(tmp_path: Path):
    """Every line is an object of JSON: being ready, a zone that was loaded, a broken one with its problem."""
    (tmp_path / "zones").mkdir()
    write_zone(tmp_path / "zones")
    with serving(tmp_path, "--log", "auto") as process:
        ready = json.loads(process.wait_for("ready: "))
        write_zone(tmp_path / "zones", 2)
        loaded = json.loads(process.wait_for("zone-loaded"))
        (tmp_path / "zones" / "example.com.yaml").write_text("www: {type: A, value: x}\n")
        broken = json.loads(process.wait_for("zone-broken"))
        process.end()
    assert ("ready", 1) == (ready["event"], ready["zones"])
    assert ready["message"].startswith("ready: 1 zones on 127.0.0.1:")
    assert ("example.com.", 4) == (loaded["zone"], loaded["records"] - 1)
    assert ("example.com.", "error") == (broken["zone"], broken["level"])
    told = [json.loads(line) for line in process.said]
    assert any("problem" == row["event"] and row["line"] == 1 for row in told)
