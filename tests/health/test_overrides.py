"""The overrides file: reading, matching, editing."""

import fcntl
import fnmatch
import os
import stat
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geodns.health import files, overrides
from geodns.health.overrides import (
    LINES_MAX,
    TARGET_CHARACTERS_MAX,
    Line,
    Matcher,
    Reach,
    edit,
    parse,
    reach,
    read,
)
from geodns.table.steer import Steer
from tests.health.steers import by_key, feed, made, member, pool, standing, steer

TEN = 1795341600.0  # 2026-11-22T10:00:00Z
FILE = "state/overrides"


def test_a_line_says_target_state_end_and_reason() -> None:
    """The format, with everything that may be left out."""
    text = (
        "\ufeff# by hand\r\n"
        "\n"
        "203.0.113.10  DOWN   until 2026-11-22T10:00:00Z  # deploy #7\r\n"
        "\twww.example.com/A/fra up\n"
        "10 mail.example.com. down until 2026-11-22T11:00:00+01:00\n"
        "2001:db8::* Up #"
    )
    assert (
        Line("203.0.113.10", False, TEN, "deploy #7", FILE, 3),
        Line("www.example.com/A/fra", True, None, "", FILE, 4),
        Line("10 mail.example.com.", False, TEN, "", FILE, 5),
        Line("2001:db8::*", True, None, "", FILE, 6),
    ) == parse(text, FILE).lines


EXAMPLE = " (such as `203.0.113.10 down until 2026-11-22T10:00:00Z # reason`)"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("down", 'o:1:5: there is no "up" or "down" after "down"' + EXAMPLE),
        ("10.0.0.1 dwon", 'o:1:10: "dwon" is neither up nor down' + EXAMPLE),
        ("  10.0.0.1 # down", 'o:1:11: there is no "up" or "down" after "10.0.0.1"' + EXAMPLE),
        ("a down untill x", 'o:1:8: "untill" is not "until" or a # before a reason' + EXAMPLE),
        ("a down until", 'o:1:13: there is no time after "until"' + EXAMPLE),
        (
            "a down until 2026-11-22T10:00:00",
            'o:1:14: "2026-11-22T10:00:00" is not a time with a zone (such as 2026-11-22T10:00:00Z)',
        ),
        ("a up until 2026-13-22T10:00:00Z", "o:1:12:"),
        ("a up until 2026-11-22T10:00:00Z now", 'o:1:33: "now" is too much (a reason stands after #)'),
        ("a\x1b[2J up", "o:1:2: the character U+001B cannot stand here"),
        ("a" * (TARGET_CHARACTERS_MAX + 1) + " up", "o:1:1: a target has at most 2,048 characters"),
        ("x" * 1000 + " dwon" * 100, 'o:1:1497: "dwon" is neither'),
    ],
)
def test_a_bad_line_is_a_problem_with_its_place(written: str, expected: str) -> None:
    """File, line and column, what is wrong, and how it would be right."""
    (problem,) = parse(written, "o").problems
    assert str(problem).startswith(expected)


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \n\t#ud")), st.text())
@example("a up until 9999-12-31T23:59:59-23:59", "")
@example("[z-a] up\n[!a] up\n[] up\n[]-a] up\n[a&&b] up\n[[a] up", "a")
def test_any_text_is_read_and_matches_something_or_not(text: str, value: str) -> None:
    """No text raises, neither when it is read nor when it is matched."""
    Matcher(parse(text, "o").lines).find(steer("www.example.com. A", pool("fra", value)))


def test_a_file_has_a_bounded_number_of_lines() -> None:
    """The lines that force something; comments may be more."""
    assert not parse("#\n" * 5000 + "a up\n" * LINES_MAX, "o").problems
    (problem,) = parse("a up\n" * (LINES_MAX + 1), "o").problems
    assert "o:1001:1: more than 1,000 lines" in str(problem)
    assert LINES_MAX + 2 == len(parse("a\n" * 5000, "o").problems)


NAMES = st.sampled_from(("fra", "FRA", "iad", "nrt"))
TEXTS = st.sampled_from(("10.0.0.1", "10.0.0.2", "2001:db8::1", "lb.Example.com.", "10 mail.x."))
OWNERS = st.sampled_from(
    ("www.example.com. A", "WWW.example.com. AAAA", "example.com. A", ". TXT", "0/25.2.x. PTR")
)
TARGETS = st.one_of(
    NAMES,
    TEXTS,
    st.sampled_from(
        ("*", "10.*", "*/A/*", "www*", "*.1", "f?a", "[fi]*", "*/fra", "./TXT/*", "*MAIL*", "0/25*")
    ),
    st.builds(lambda owner, name: f"{owner.replace('. ', '/')}/{name}", OWNERS, NAMES),
    st.builds(lambda owner, name, text: f"{owner.replace('. ', '/')}/{name}/{text}", OWNERS, NAMES, TEXTS),
)


@given(
    st.lists(st.tuples(TARGETS, st.booleans()), max_size=8),
    OWNERS,
    st.lists(st.tuples(NAMES, st.lists(TEXTS, min_size=1, max_size=3)), max_size=3),
)
def test_the_last_line_that_matches_wins(
    targets: list[tuple[str, bool]], key: str, pools: list[tuple[str, list[str]]]
) -> None:
    """As if every line were compared with every name of every member, one after the other."""
    lines = tuple(Line(target, is_up, None, "", "o", at) for at, (target, is_up) in enumerate(targets, 1))
    www = steer(key, *(pool(name, *texts) for name, texts in pools))
    owner, type_ = key.split(" ")
    owner = owner.removesuffix(".") or "."
    expected = {}
    for at, (name, texts) in enumerate(pools):
        for member_at, text in enumerate(texts):
            path = f"{owner}/{type_}/{name}"
            for line in lines:
                names = (text, name, path, f"{path}/{text}")
                if any(fnmatch.fnmatchcase(each.lower(), line.target.lower()) for each in names):
                    expected[at, member_at] = line
    assert expected == Matcher(lines).find(www)


def test_a_pattern_that_is_made_to_be_slow_is_not() -> None:
    """Many stars cost time in proportion, not exponentially."""
    matcher = Matcher([Line("*a" * 30 + "*b", True, None, "", "o", 1)])
    assert {} == matcher.find(steer("www. A", pool("a" * 200, "a" * 200)))


def test_reach_counts_values_and_records() -> None:
    """A value that stands in several records is one value."""
    steers = [steer("a. A", pool("fra", "x", "y"), pool("iad", "x")), steer("b. A", pool("fra", "x"))]
    assert Reach(1, 2) == reach("x", steers)
    assert Reach(2, 1) == reach("a/A/fra", steers)
    assert Reach(0, 0) == reach("z*", steers)


# ---------------------------------------------------------------------------------------- what they do


def www() -> Steer:
    return steer("www.example.com. A", pool("fra", "a", "b"), pool("iad", "c"))


def test_overrides_win_over_checks_and_over_the_zone_file() -> None:
    """The file, then the zone's status, then the checks."""
    record = steer("www. A", pool("fra", "a", member("b", is_up=False), member("c", is_up=True)))
    health = made(record)
    feed(health, "a", [False])
    feed(health, "c", [False])
    assert (2,) == standing(health, record).up
    health.override(parse("* up", "o"), 1.0)
    assert (0, 1, 2) == standing(health, record).up
    health.override(parse("* down\nc up", "o"), 2.0)
    assert (2,) == standing(health, record).up
    health.override(parse("", "o"), 3.0)
    assert (2,) == standing(health, record).up


def test_the_log_says_which_line_forces_and_which_does_no_more() -> None:
    """A line for each value that changed, with file, line and reason, and how many records rest on it."""
    health = made(www(), steer("b.example.com. A", pool("fra", "a"), pool("iad", "a")))
    forced = health.override(parse("\na down # deploy 7\nc up", FILE), 1.0)
    assert ["a is down: forced by state/overrides:2 (deploy 7), 2 records rest on it"] == list(
        map(str, forced)
    )
    lifted = health.override(parse("", FILE), 2.0)
    assert ["a is up: no longer forced by state/overrides:2, 2 records rest on it"] == list(map(str, lifted))


def test_a_check_that_changes_under_an_override_changes_nothing() -> None:
    """The real state goes on being looked at, and holds when the override ends."""
    health = made(www())
    health.override(parse("a up", "o"), 0.0)
    assert [] == feed(health, "a", [True, False, False, False])
    assert (0, 1) == standing(health, www()).up
    (change,) = health.override(parse("", "o"), 50.0)
    assert ("a", False) == (change.text, change.is_up)


def test_forced_members_have_no_ttl() -> None:
    """Only what a check can change bounds the TTL of an answer."""
    health = made(www())
    feed(health, "a", [True])
    feed(health, "b", [True, False])
    assert 20 == standing(health, www()).ttl
    health.override(parse("b up", "o"), 20.0)
    assert 30 == standing(health, www()).ttl


def test_an_override_ends_by_itself() -> None:
    """At its time the line that stands before it holds again; afterwards it is told as expired."""
    health = made(www())
    health.override(parse("a up\na down until 2026-11-22T10:00:00Z", "o"), TEN - 100)
    assert [] == health.tick(TEN - 1)
    assert (1,) == standing(health, www()).up
    assert ["a is up: forced by o:1, 1 record rests on it"] == list(map(str, health.tick(TEN)))
    assert (0, 1) == standing(health, www()).up
    assert [(False, 1), (True, 0)] == [(row.is_expired, row.members) for row in health.status().overrides]


def test_an_override_that_is_over_is_ignored() -> None:
    """As after a restart."""
    health = made(www())
    assert [] == health.override(parse("a down until 2026-11-22T10:00:00Z", "o"), TEN)
    assert {www().key} == set(health.standings)
    assert (0, 1) == standing(health, www()).up


def test_a_broken_file_changes_nothing() -> None:
    """The last good lines hold, and the status has the problems."""
    health = made(www())
    health.override(parse("a down", "o"), 0.0)
    assert [] == health.override(parse("a up\nb dwon", "o"), 1.0)
    assert (1,) == standing(health, www()).up
    assert ['o:2:3: "dwon" is neither up nor down' + EXAMPLE] == health.status().problems
    health.override(parse("a up", "o"), 2.0)
    assert (0, 1) == standing(health, www()).up
    assert [] == health.status().problems


def test_overrides_hold_for_records_without_checks_and_for_new_ones() -> None:
    """A value needs no check to be taken out, and a reload brings no value back."""
    health = made(steer("www. A", pool("fra", member("a", "-"), member("b", "-"))))
    assert {} == health.standings
    health.override(parse("a down", "o"), 0.0)
    assert {"www. A"} == set(health.standings)
    new = steer("new. A", pool("fra", member("a", "-"), member("c", "-")))
    health.adopt(by_key(new), 1.0)
    assert {"new. A"} == set(health.standings)
    assert (1,) == standing(health, new).up
    health.override(parse("", "o"), 2.0)
    assert {} == health.standings


# ------------------------------------------------------------------------------------------- editing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "overrides"


def test_an_edit_keeps_what_people_wrote(path: Path) -> None:
    """Comments, order, blanks and other lines stay; the line of the same target goes; the new one is last."""
    path.parent.mkdir()
    path.write_text("# ours\n\n  10.0.0.1   down #  why\nfra up # twice\nFRA down\n# end")
    assert 2 == edit(path, "Fra", "down", TEN, "  moving\n out ").removed
    assert (
        "# ours\n\n  10.0.0.1   down #  why\n# end\nFra down until 2026-11-22T10:00:00Z # moving out\n"
    ) == path.read_text()
    assert 1 == edit(path, "fra", None).removed
    assert "# ours\n\n  10.0.0.1   down #  why\n# end\n" == path.read_text()


def test_an_edit_makes_the_file_with_its_folder(path: Path) -> None:
    """Nothing has to be there before; nothing is made in order to take something away."""
    assert overrides.Edited() == edit(path, "a", None)
    assert not path.parent.exists()
    assert () == edit(path, "a", "up").problems
    assert "a up\n" == path.read_text()
    assert (Line("a", True, None, "", str(path), 1),) == read(path).lines
    assert {"overrides", "overrides.lock"} == set(os.listdir(path.parent))


def test_an_edit_keeps_mode_and_link(path: Path, tmp_path: Path) -> None:
    """A file that others must not read stays so; a symbolic link stays one."""
    path.parent.mkdir()
    real = tmp_path / "real"
    real.write_text("b up\n")
    real.chmod(0o600)
    path.symlink_to(real)
    assert () == edit(path, "a", "up").problems
    assert path.is_symlink()
    assert ("b up\na up\n", 0o600) == (real.read_text(), stat.S_IMODE(real.stat().st_mode))


def test_an_edit_keeps_line_ends_and_byte_order_mark(path: Path) -> None:
    """A file from another system stays one."""
    path.parent.mkdir()
    path.write_bytes("\ufeffa up\r\nb up\r\n".encode())
    edit(path, "a", "down")
    assert "\ufeffb up\r\na down\r\n".encode() == path.read_bytes()


@pytest.mark.parametrize(
    "target", ["", " a", "a ", "a\nb down", "a\r", "a\x00", "a # b", "#a", "a up", "\ud800", "\ufeffa"]
)
def test_a_target_that_could_not_be_read_again_is_refused(path: Path, target: str) -> None:
    """Nothing is written then."""
    assert edit(path, target, "down").problems
    assert not path.exists()


@given(target=st.text(min_size=1, max_size=20), reason=st.text(max_size=300))
def test_what_an_edit_writes_is_read_as_it_was_meant(
    tmp_path_factory: pytest.TempPathFactory, target: str, reason: str
) -> None:
    """Whatever the target and the reason: one line more with just that target, or a problem."""
    path = tmp_path_factory.getbasetemp() / "overrides-any"
    path.write_text("x up\n")
    edited = edit(path, target, "down", TEN, reason)
    lines = read(path).lines
    if edited.problems:
        assert ["x"] == [line.target for line in lines]
    else:
        assert (target, False, TEN) == (lines[-1].target, lines[-1].is_up, lines[-1].until)
        assert {"x", target} >= {line.target for line in lines}


def test_a_file_with_problems_is_not_edited(path: Path) -> None:
    """Its author has to look first: what would be added would not hold either."""
    path.parent.mkdir()
    path.write_text("a dwon\n")
    assert [(1, 3)] == [(problem.line, problem.column) for problem in edit(path, "b", "up").problems]
    assert "a dwon\n" == path.read_text()


def test_two_do_not_edit_at_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second waits, and says so when the first never ends."""
    monkeypatch.setattr(files, "LOCK_SECONDS", 0.0)
    edit(path, "a", "up")
    with open(f"{path}.lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (problem,) = edit(path, "b", "up").problems
    assert "somebody else is writing there" == problem.what
    assert () == edit(path, "b", "up").problems


def test_what_is_no_file_is_a_problem(path: Path, tmp_path: Path) -> None:
    """A folder, a pipe, a file without end, octets that are no text: none of them hangs or raises."""
    assert () == read(path).problems
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes(b"\xe4 up\n")
    (tmp_path / "large").write_bytes(b"#" * (overrides.OCTETS_MAX + 1))
    told = {name: read(tmp_path / name).problems[0].what for name in ("pipe", "latin", "large", ".")}
    assert {
        "pipe": "this is not a regular file",
        "latin": "this is not UTF-8 text",
        "large": "larger than 1,048,576 octets",
        ".": "is a directory",
    } == told
    assert "not UTF-8" in edit(tmp_path / "latin", "a", "up").problems[0].what
    assert read(Path("/dev/zero")).problems
