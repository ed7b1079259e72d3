"""States that people force: a file of lines, the last that matches wins.

    TARGET up|down [until 2026-11-22T10:00:00Z] [# reason]

    file --read--> Overrides --Matcher--> which Line forces which member of which pool
    `geodns up|down|auto` --edit--> file

TARGET is a glob (`*`, `?`, `[abc]`, in any case) over a value ("203.0.113.10"), a pool ("fra"), a pool of a
record ("www.example.com/A/fra") or a value of one ("www.example.com/A/fra/203.0.113.10").
"""

import fnmatch
import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from geodns.health import files
from geodns.problems import Problem
from geodns.table.steer import Steer

OCTETS_MAX = 1 << 20  # of the file; what LINES_MAX lines need, and a bound on what a wrong file costs
LINES_MAX = 1_000  # that force something: each is compared with every value, and people write them
TARGET_CHARACTERS_MAX = 2_048  # a name of 255 octets, escaped, with type and pool and a value
REASON_CHARACTERS_MAX = 200  # it stands in a line of the log
SHOWN_CHARACTERS_MAX = 60  # of a user's text in a message
MODE = 0o644  # of a new file: its reader may be another user than its writer

_STATES = {"up": True, "down": False}
_WORD = re.compile(r"\S+")
_COMMENT = re.compile(r"(?:^|(?<=\s))#")
_EXAMPLE = "such as `203.0.113.10 down until 2026-11-22T10:00:00Z # reason`"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that forces a state. `until` is in Unix seconds; None: until the line is taken away."""

    target: str
    is_up: bool
    until: float | None
    reason: str
    file: str
    number: int

    @property
    def place(self) -> str:
        return f"{self.file}:{self.number}"

    def holds(self, now: float) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class Overrides:
    """A file as it was read, its lines in order; with problems it is not to be used."""

    file: str = ""
    lines: tuple[Line, ...] = ()
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Edited:
    """What an edit did: how many lines it took away; with problems it changed nothing."""

    removed: int = 0
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Reach:
    """What a target reaches: how many values, of how many records."""

    values: int
    records: int


# -------------------------------------------------------------------------------------------- reading


def read(path: Path) -> Overrides:
    """The overrides in a file; none when there is no file."""
    try:
        return parse(_text(path), str(path))
    except files.BadFile as error:
        return Overrides(str(path), (), (Problem(str(path), 0, 0, "", str(error)),))


def parse(text: str, file: str) -> Overrides:
    """Read the text of such a file. Every bad line is a Problem."""
    lines: list[Line] = []
    problems: list[Problem] = []
    for number, written in enumerate(_written_lines(text), 1):
        try:
            line = _parse_line(written, file, number)
        except _BadLine as error:
            problems.append(Problem(file, number, error.at + 1, "", error.what, error.hint))
        else:
            lines += [line] if line else []
        if len(lines) > LINES_MAX or len(problems) > LINES_MAX:
            what = f"more than {LINES_MAX:,} lines: use patterns, or `status` in the zone file"
            problems.append(Problem(file, number, 1, "", what))
            break
    return Overrides(file, tuple(lines), tuple(problems))


def _text(path: Path) -> str:
    try:
        return (files.read(path, OCTETS_MAX) or b"").decode()
    except UnicodeDecodeError:
        raise files.BadFile("this is not UTF-8 text") from None


def _written_lines(text: str) -> list[str]:
    # not splitlines(), which also splits at characters that an editor shows as part of the line
    return text.removeprefix("\ufeff").split("\n")


class _BadLine(Exception):
    def __init__(self, at: int, what: str, hint: str = _EXAMPLE) -> None:
        self.at, self.what, self.hint = at, what, hint


def _parse_line(written: str, file: str, number: int) -> Line | None:
    comment = _COMMENT.search(written)
    told = written[: comment.start()] if comment else written
    reason = printable(written[comment.end() :].strip())[:REASON_CHARACTERS_MAX] if comment else ""
    _check_characters(told.rstrip())
    words = list(_WORD.finditer(told))
    if not words:
        return None
    at = _find_state(words)
    target = told[words[0].start() : words[at - 1].end()]
    if len(target) > TARGET_CHARACTERS_MAX:
        what = f"a target has at most {TARGET_CHARACTERS_MAX:,} characters"
        raise _BadLine(words[0].start(), what, "")
    until = _parse_until(words[at + 1 :])
    return Line(target, _STATES[words[at][0].lower()], until, reason, file, number)


def _check_characters(text: str) -> None:
    for at, character in enumerate(text):
        if not (character.isprintable() or character == "\t"):
            raise _BadLine(at, f"the character U+{ord(character):04X} cannot stand here", "")


def _find_state(words: list[re.Match[str]]) -> int:
    """Which word says the state: the first that can, as a target may have spaces in it."""
    for at, word in enumerate(words):
        if at and word[0].lower() in _STATES:
            return at
    last = words[-1]
    if len(words) == 1:
        raise _BadLine(last.end(), f'there is no "up" or "down" after "{_shown(last[0])}"')
    raise _BadLine(last.start(), f'"{_shown(last[0])}" is neither up nor down')


def _parse_until(words: list[re.Match[str]]) -> float | None:
    if not words:
        return None
    if words[0][0].lower() != "until":
        raise _BadLine(words[0].start(), f'"{_shown(words[0][0])}" is not "until" or a # before a reason')
    if len(words) == 1:
        raise _BadLine(words[0].end(), 'there is no time after "until"')
    until = _parse_time(words[1][0])
    if until is None:
        what = f'"{_shown(words[1][0])}" is not a time with a zone'
        raise _BadLine(words[1].start(), what, "such as 2026-11-22T10:00:00Z")
    if len(words) > 2:
        raise _BadLine(words[2].start(), f'"{_shown(words[2][0])}" is too much', "a reason stands after #")
    return until


def _parse_time(text: str) -> float | None:
    try:
        found = datetime.fromisoformat(text)
        return None if found.tzinfo is None else found.timestamp()
    except (ValueError, OverflowError):
        return None


def printable(text: str) -> str:
    """The text as it may stand in a log and on a terminal."""
    return "".join(character if character.isprintable() else "\ufffd" for character in text)


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS_MAX else text[:SHOWN_CHARACTERS_MAX] + "..."


# ------------------------------------------------------------------------------------------- matching


class Matcher:
    """Finds the line that wins, for every member of a Steer. Of `lines` those that hold, in their order."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self.lines = tuple(lines)
        self._exact: dict[str, int] = {}
        self._globs: list[tuple[int, Callable[[str], object]]] = []  # the last line first
        self._heads: set[str] = set()  # what the globs begin with, up to their first wildcard
        self._known: dict[str, int] = {}  # of values and pools' names, which repeat
        for at, line in enumerate(self.lines):
            target = line.target.casefold()
            head = re.split(r"[*?[]", target, maxsplit=1)[0]
            if head == target:
                self._exact[target] = at
            else:
                self._heads.add(head)
                self._globs.insert(0, (at, re.compile(fnmatch.translate(target)).match))
        self._sorted = sorted(self._exact)

    def find(self, steer: Steer) -> dict[tuple[int, int], Line]:
        """By (index of the pool, index of the member), for those that a line forces."""
        if not self.lines:
            return {}
        prefix = prefix_of(steer).casefold()
        is_named = self._may_name(prefix)
        found: dict[tuple[int, int], Line] = {}
        for pool_at, pool in enumerate(steer.pools):
            of_pool = self._of(pool.name)
            path = f"{prefix}{pool.name.casefold()}"
            if is_named:
                of_pool = max(of_pool, self._match(path))
            for member_at, member in enumerate(pool.members):
                best = max(of_pool, self._of(member.text))
                if is_named:
                    best = max(best, self._match(f"{path}/{member.text.casefold()}"))
                if best >= 0:
                    found[pool_at, member_at] = self.lines[best]
        return found

    def _may_name(self, prefix: str) -> bool:
        """Whether a target can match something that begins like this. Most records are done with here."""
        at = bisect_left(self._sorted, prefix)
        if at < len(self._sorted) and self._sorted[at].startswith(prefix):
            return True
        return any(head.startswith(prefix) or prefix.startswith(head) for head in self._heads)

    def _of(self, text: str) -> int:
        best = self._known.get(text)
        if best is None:
            best = self._known[text] = self._match(text.casefold())
        return best

    def _match(self, text: str) -> int:
        best = self._exact.get(text, -1)
        for at, match in self._globs:
            if at <= best:
                break
            if match(text):
                return at
        return best


def prefix_of(steer: Steer) -> str:
    """How the targets of a record's pools begin: "www.example.com/A/"."""
    owner, _, type_ = steer.key.rpartition(" ")
    return f"{owner.removesuffix('.') or '.'}/{type_}/"


def reach(target: str, steers: Iterable[Steer]) -> Reach:
    """How much a target matches, for the one who just wrote it."""
    matcher = Matcher([Line(target, True, None, "", "", 0)])
    values: set[str] = set()
    records = 0
    for steer in steers:
        found = matcher.find(steer)
        values.update(steer.pools[pool].members[member].text for pool, member in found)
        records += bool(found)
    return Reach(len(values), records)


def holding(target: str, lines: Iterable[Line], steers: Iterable[Steer], now: float) -> list[Line]:
    """The lines that force something of what a target matches, each once."""
    held = [line for line in lines if line.holds(now)]
    if not held:
        return []
    own = Matcher([Line(target, True, None, "", "", 0)])
    matcher = Matcher(held)
    found: dict[Line, None] = {}
    for steer in steers:
        spots = own.find(steer)
        found.update((line, None) for spot, line in matcher.find(steer).items() if spot in spots)
    return list(found)


# -------------------------------------------------------------------------------------------- editing


def edit(path: Path, target: str, state: str | None, until: float | None = None, reason: str = "") -> Edited:
    """Force `target` "up" or "down", or with None take away the lines with exactly that target.

    A new line stands at the end, where nothing overrules it, and replaces those with the same target; all
    else stays as it was written. A file with problems is left alone.
    """
    path = Path(os.path.realpath(path))
    try:
        line = "" if state is None else _line(target, state, until, reason)
        if state is None and not path.exists():
            return Edited()
        with _locked(path):
            return _edit(path, target, line)
    except files.BadFile as error:
        return Edited(0, (Problem(str(path), 0, 0, "", str(error)),))
    except ValueError as error:
        return Edited(0, (Problem(str(path), 0, 0, _shown(printable(target)), str(error)),))


def _edit(path: Path, target: str, line: str) -> Edited:
    text = _text(path)
    before = parse(text, str(path))
    if before.problems:
        return Edited(0, before.problems)
    same = {each.number for each in before.lines if each.target.casefold() == target.casefold()}
    if line and len(before.lines) - len(same) >= LINES_MAX:
        raise files.BadFile(f"there are {LINES_MAX:,} lines already")
    if not (line or same):
        return Edited()
    written = text.split("\n")
    end = "\r" if written[0].endswith("\r") else ""
    if written[-1] == "":
        written.pop()
    mark = "\ufeff" if 1 in same and text.startswith("\ufeff") else ""
    kept = [each for number, each in enumerate(written, 1) if number not in same]
    if line:
        kept.append(line + end)
    after = mark + "".join(f"{each}\n" for each in kept)
    if len(after.encode()) > OCTETS_MAX:
        raise files.BadFile(f"it would be larger than {OCTETS_MAX:,} octets")
    files.write(path, after.encode(), MODE)
    return Edited(len(same))


def _line(target: str, state: str, until: float | None, reason: str) -> str:
    """The line as it is written. Raises ValueError for what could not be read again."""
    line = f"{target} {state}"
    try:
        if until is not None:
            line += f" until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (ValueError, OverflowError, OSError):
        raise ValueError("the end lies too far away") from None
    reason = printable(" ".join(reason.split()))[:REASON_CHARACTERS_MAX]
    if reason:
        line += f" # {reason}"
    found = parse(line, "").lines
    if "\n" in line or len(found) != 1 or (found[0].target, found[0].is_up) != (target, _STATES.get(state)):
        hint = "a ? stands for any one character"
        raise ValueError(f"a target is one line, without control characters and # ({hint})")
    return line


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the file's writers: another file beside it, since the file itself is replaced."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # read-only is enough to lock, so that the lock of one user does not shut out the others
        flags = os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path.with_name(f"{path.name}.lock"), flags, MODE)
    except (OSError, ValueError) as error:
        raise files.BadFile(files.reason_of(error)) from None
    try:
        files.lock(descriptor)
        yield
    finally:
        os.close(descriptor)
