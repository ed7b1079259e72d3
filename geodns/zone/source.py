"""YAML text -> Source: the entries of a zone file, one at a time, each with its place in the file.

The events of libyaml are turned straight into Text, Mapping and Items: a str, a dict and a list that know
where they stand. PyYAML's own node trees and its guesses at types (YAML 1.1 reads `no` as False, `010` as 8,
`1e3` as a number) never exist: everything a zone file says is text until a field asks for a number.
"""

import os
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from geodns.problems import Problem, Severity
from geodns.zone.model import Mark

FILE_OCTETS_MAX = 64 * 1024 * 1024  # ten times 100,000 records; read into memory whole, so it must be bounded
NODES_MAX = (
    8_000_000  # nodes of a file, aliases expanded: what a file of FILE_OCTETS_MAX has; stops alias bombs
)
NODES_PER_NAME_MAX = (
    200_000  # nodes held in memory at once; an answer of 65,535 octets has at most 4,096 records
)
DEPTH_MAX = 32  # levels of nesting; the deepest key that means anything stands on the tenth
SCALAR_CHARACTERS_MAX = 270_000  # 65,535 octets of record data, every octet as \DDD
PROBLEMS_MAX = 1_000  # told of one file; nobody reads on, and each costs memory
SHOWN_CHARACTERS_MAX = 60  # of a user's text in a message

Event = Any  # one of yaml's events; its stubs do not say what attributes the several kinds have

_COLUMN_BITS = 20
_COLUMN_MASK = (1 << _COLUMN_BITS) - 1
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_STR_TAG = "tag:yaml.org,2002:str"

CHECKS = {
    "file-unreadable": "the file cannot be read, or is not a regular file",
    "file-too-large": f"a zone file has at most {FILE_OCTETS_MAX // 2**20} MiB",
    "not-utf-8": "a zone file is UTF-8 text",
    "nul": "a zone file has no NUL characters",
    "yaml-tab": "YAML indents with spaces",
    "yaml-syntax": "the file is not YAML",
    "yaml-documents": "a zone file is one YAML document",
    "yaml-empty": "the file has no records",
    "yaml-not-a-mapping": "a zone file is a mapping of names to records",
    "yaml-duplicate-key": "a key is given once in its mapping",
    "yaml-key": "a key is a plain text",
    "yaml-tag": "tags (`!include`, `!!binary`) are not supported",
    "yaml-alias": "an alias needs an anchor before it, and a merge key a mapping",
    "yaml-too-deep": f"at most {DEPTH_MAX} levels of nesting",
    "yaml-too-many-nodes": "a bound on what aliases expand to",
    "yaml-too-long": "a bound on the length of one text",
    "too-many-problems": f"only the first {PROBLEMS_MAX} problems of a file are told",
}
"""What can be wrong with a file before its records are looked at: the name of the check, and what it asks."""


class Text(str):
    """A scalar as it was written. `at` is its packed place; `quoted` tells '' from nothing and "null" from
    null.
    """

    __slots__ = ("at", "quoted")

    at: int
    quoted: bool

    @property
    def is_null(self) -> bool:
        """True for an empty value, `~` and `null` without quotes."""
        return not self.quoted and str(self) in _NULLS


class Mapping(dict["Text", "Node"]):
    """A mapping in the order of the file; its keys are Text."""

    __slots__ = ("at",)

    at: int

    def key_at(self, key: str) -> int:
        """The place of a key that is in the mapping."""
        return next(known.at for known in self if known == key)


class Items(list["Node"]):
    """A sequence."""

    __slots__ = ("at",)

    at: int


Node = Text | Mapping | Items


class Contents(NamedTuple):
    """A file's octets, and when it was last changed (seconds since 1970)."""

    data: bytes
    changed: int


class StopReading(Exception):
    """The rest of the file cannot be understood; the problem says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.what)
        self.problem = problem


def unpack(at: int) -> tuple[int, int]:
    """(line, column) of a packed place, both from 1."""
    return (at >> _COLUMN_BITS) + 1, (at & _COLUMN_MASK) + 1


def shorten(text: str) -> str:
    """A user's text as it may stand in a message: one line, not too long, nothing that a terminal obeys."""
    shown = text if len(text) <= SHOWN_CHARACTERS_MAX else text[: SHOWN_CHARACTERS_MAX - 3] + "..."
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in shown)


def read_file(path: Path) -> Contents | Problem:
    """Read a zone file. A file that is too large, or a pipe or device, is refused before a byte of it is
    read.
    """
    file = str(path)
    try:
        # O_NONBLOCK: opening a FIFO would otherwise wait for somebody to write to it.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        return Problem(file, 0, 0, "", f"the file cannot be read: {reason}", check="file-unreadable")
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return Problem(file, 0, 0, "", "this is not a regular file", check="file-unreadable")
        if status.st_size > FILE_OCTETS_MAX:
            return _too_large(file, f"{status.st_size / 2**20:,.0f} MiB")
        data = _read_at_most(descriptor, FILE_OCTETS_MAX + 1)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Problem(file, 0, 0, "", f"the file cannot be read: {reason}", check="file-unreadable")
    finally:
        os.close(descriptor)
    if len(data) > FILE_OCTETS_MAX:
        return _too_large(file, "more")
    return Contents(data, int(status.st_mtime))


def _read_at_most(descriptor: int, octets: int) -> bytes:
    parts: list[bytes] = []
    while octets > 0 and (part := os.read(descriptor, octets)):
        parts.append(part)
        octets -= len(part)
    return b"".join(parts)


def _too_large(file: str, size: str) -> Problem:
    most = FILE_OCTETS_MAX // 2**20
    return Problem(
        file, 0, 0, "", f"the file has {size}; a zone file may have {most} MiB", check="file-too-large"
    )


@dataclass(slots=True)
class _Anchor:
    node: Node
    nodes: int  # how many nodes an alias to it stands for


class Source:
    """The entries of one zone file, to be read once. Read `entries` to the end, then `problems` is complete.

    `is_whole` turns false when the rest of the file had to be left unread.
    """

    def __init__(self, data: bytes, file: str) -> None:
        self.file = file
        self.data = data
        self.problems: list[Problem] = []
        self.is_whole = True
        self._kept: deque[tuple[Text, Node]] | None = None
        self._anchors: dict[str, _Anchor] = {}
        self._nodes = 0
        self._next: Callable[[], Event]
        self._told: set[Problem] = set()
        self._tagged: set[int] = set()
        self._nodes_max = NODES_MAX

    def mark(self, at: int) -> Mark:
        """Where a packed place is."""
        return Mark(self.file, *unpack(at))

    @staticmethod
    def at(mark: Mark) -> int:
        """The packed place of a mark that `mark` made."""
        return mark.line - 1 << _COLUMN_BITS | mark.column - 1

    def report(
        self,
        at: int,
        where: str,
        what: str,
        hint: str = "",
        check: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        """Note a problem; from PROBLEMS_MAX on, stop reading (raises what `entries` and `parse` catch)."""
        if at in self._tagged and check != "yaml-tag":
            return  # what a tag makes of a value is not known, so neither is whether that is right
        line, column = unpack(at)
        problem = Problem(self.file, line, column, where, what, hint, severity, check)
        if problem in self._told:
            return  # an alias leads to the same text again
        self._told.add(problem)
        self.problems.append(problem)
        if len(self.problems) >= PROBLEMS_MAX:
            raise self._stop(
                at, "too many problems; the rest of the file was not read", check="too-many-problems"
            )

    def keep(self) -> Iterable[tuple[Text, Node]]:
        """As `entries`, which can be read once more then: that a file is large is paid for once."""
        self._kept = deque(self.entries())
        return self._kept

    def entries(self) -> Iterator[tuple[Text, Node]]:
        """Every key of the file's mapping with what stands under it; problems go to `problems`."""
        while self._kept:
            yield self._kept.popleft()  # whoever reads them makes something else of them
        if self._kept is not None:
            return
        try:
            self._require_text()
            yield from self._entries()
        except StopReading as stop:
            self.is_whole = False
            self.problems.append(stop.problem)
        except yaml.YAMLError as error:
            self.is_whole = False
            self.problems.append(self._explain(error))

    def _stop(self, at: int, what: str, hint: str = "", check: str = "") -> StopReading:
        line, column = unpack(at)
        return StopReading(Problem(self.file, line, column, "", what, hint, check=check))

    def _require_text(self) -> None:
        data = self.data
        if data.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
            what = "the file is UTF-16 or UTF-32"
            raise self._stop(0, what, "save it as UTF-8", check="not-utf-8")
        nul = data.find(b"\0")
        if nul >= 0:
            hint = "save it as UTF-8" if nul < 4 else ""
            raise self._stop(self._at_octet(nul), "the file has a NUL character", hint, check="nul")
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as error:
            what = f"the octet 0x{data[error.start]:02X} is not UTF-8"
            hint = "Latin-1? save the file as UTF-8"
            raise self._stop(self._at_octet(error.start), what, hint, check="not-utf-8") from None

    def _at_octet(self, offset: int) -> int:
        before = self.data[:offset]
        start = before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace"))
        return before.count(b"\n") << _COLUMN_BITS | min(column, _COLUMN_MASK)

    def _entries(self) -> Iterator[tuple[Text, Node]]:
        loader = _open(self.data)
        self._next = loader.get_event
        self._next()  # StreamStart
        event = self._next()
        if type(event) is yaml.StreamEndEvent:
            raise self._stop(0, "the file is empty", check="yaml-empty")
        yield from self._document(self._next())
        self._next()  # DocumentEnd
        event = self._next()
        if type(event) is not yaml.StreamEndEvent:
            raise self._stop(
                _at(event),
                "a second YAML document begins here",
                "one file is one zone",
                check="yaml-documents",
            )

    def _document(self, event: Event) -> Iterator[tuple[Text, Node]]:
        if type(event) is not yaml.MappingStartEvent:
            at = _at(event)
            if type(event) is yaml.ScalarEvent and not event.style and event.value in _NULLS:
                raise self._stop(at, "the file is empty", check="yaml-empty")
            what = "a zone file is a mapping of names to records"
            raise self._stop(
                at, what, "such as `www: {type: A, value: 192.0.2.1}`", check="yaml-not-a-mapping"
            )
        if event.tag is not None:
            self._report_tag(event)
        seen: dict[str, int] = {}
        merged: list[Mapping] = []
        while type(event := self._next()) is not yaml.MappingEndEvent:
            self._nodes_max = min(NODES_MAX, self._nodes + NODES_PER_NAME_MAX)
            key = self._key(event)
            node = self._node(self._next(), 2)
            if key == "<<" and not key.quoted:
                merged += self._to_merge(node, key.at)
            elif key in seen:
                self._report_duplicate(key, seen[key], "; several records of one name are written as a list")
            else:
                seen[key] = key.at
                yield key, node
        for mapping in merged:
            for key, node in mapping.items():
                if key not in seen:
                    seen[key] = key.at
                    yield key, node

    def _node(self, event: Event, depth: int) -> Node:
        kind = type(event)
        if kind is yaml.AliasEvent:
            return self._alias(event)
        before = self._nodes
        node: Node
        if kind is yaml.ScalarEvent:
            node = self._text(event)
        elif depth > DEPTH_MAX:
            raise self._stop(_at(event), f"nested deeper than {DEPTH_MAX} levels", check="yaml-too-deep")
        elif kind is yaml.MappingStartEvent:
            node = self._mapping(event, depth)
        else:
            node = self._items(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchor(node, self._nodes - before)
        return node

    def _text(self, event: Event) -> Text:
        value = event.value
        mark = event.start_mark
        text = Text(value)
        text.at = mark.line << _COLUMN_BITS | (mark.column if mark.column < _COLUMN_MASK else _COLUMN_MASK)
        text.quoted = not event.implicit[0]
        if event.tag is not None:
            self._report_tag(event)
        if len(value) > SCALAR_CHARACTERS_MAX:
            what = f"a text of {len(value):,} characters; {SCALAR_CHARACTERS_MAX:,} are allowed"
            raise self._stop(text.at, what, check="yaml-too-long")
        self._count(1, text.at)
        return text

    def _mapping(self, event: Event, depth: int) -> Mapping:
        mapping = Mapping()
        mapping.at = _at(event)
        if event.tag is not None:
            self._report_tag(event)
        self._count(1, mapping.at)
        merged: list[Mapping] = []
        while type(event := self._next()) is not yaml.MappingEndEvent:
            key = self._key(event)
            node = self._node(self._next(), depth + 1)
            if key == "<<" and not key.quoted:
                merged += self._to_merge(node, key.at)
            elif key in mapping:
                self._report_duplicate(key, mapping.key_at(key))
            else:
                mapping[key] = node
        for other in merged:
            for key, node in other.items():
                mapping.setdefault(key, node)
        return mapping

    def _items(self, event: Event, depth: int) -> Items:
        items = Items()
        items.at = _at(event)
        if event.tag is not None:
            self._report_tag(event)
        self._count(1, items.at)
        while type(event := self._next()) is not yaml.SequenceEndEvent:
            items.append(self._node(event, depth + 1))
        return items

    def _key(self, event: Event) -> Text:
        if type(event) is yaml.ScalarEvent:
            text = self._text(event)
            if event.anchor is not None:
                self._anchors[event.anchor] = _Anchor(text, 1)
            return text
        if type(event) is yaml.AliasEvent and isinstance(node := self._alias(event), Text):
            return node
        raise self._stop(_at(event), "a key must be a text, not a list or a mapping", check="yaml-key")

    def _alias(self, event: Event) -> Node:
        at = _at(event)
        anchor = self._anchors.get(event.anchor)
        if anchor is None:
            name = shorten(event.anchor)
            raise self._stop(
                at,
                f'"*{name}" is an alias, and no anchor "&{name}" comes before it',
                'a wildcard is written in quotes: "*"',
                check="yaml-alias",
            )
        self._count(anchor.nodes, at)
        return anchor.node

    def _to_merge(self, node: Node, at: int) -> list[Mapping]:
        """What `<<` asks to be merged: a mapping, or the mappings of a list. What comes first wins."""
        items = [node] if isinstance(node, Mapping) else node if isinstance(node, Items) else [node]
        mappings = [item for item in items if isinstance(item, Mapping)]
        if len(mappings) < len(items):
            self.report(at, "", "`<<` merges a mapping, or a list of mappings", check="yaml-alias")
        return mappings

    def _count(self, nodes: int, at: int) -> None:
        self._nodes += nodes
        if self._nodes > self._nodes_max:
            name = "one name has" if self._nodes_max < NODES_MAX else "the file has"
            most = NODES_PER_NAME_MAX if self._nodes_max < NODES_MAX else NODES_MAX
            what = f"{name} more than {most:,} values, aliases counted as what they stand for"
            raise self._stop(at, what, check="yaml-too-many-nodes")

    def _report_tag(self, event: Event) -> None:
        if event.tag in (_STR_TAG, "!"):
            return
        tag = event.tag.replace("tag:yaml.org,2002:", "!!")
        hint = "put the records into this file" if tag == "!include" else "leave the tag out"
        self._tagged.add(_at(event))
        self.report(_at(event), "", f'the tag "{shorten(tag)}" is not supported', hint, check="yaml-tag")

    def _report_duplicate(self, key: Text, first: int, hint: str = "") -> None:
        line, _ = unpack(first)
        hint = f"the first is on line {line}{hint}"
        self.report(key.at, "", f'"{shorten(key)}" is given twice', hint, check="yaml-duplicate-key")

    def _explain(self, error: yaml.YAMLError) -> Problem:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        what = str(getattr(error, "problem", None) or getattr(error, "reason", None) or "the parser gives up")
        context = getattr(error, "context", None)
        at = 0 if mark is None else mark.line << _COLUMN_BITS | min(mark.column, _COLUMN_MASK)
        if isinstance(error, yaml.reader.ReaderError):
            at = self._at_octet(error.position)
        line, column = unpack(at)
        check = "yaml-syntax"
        hint = ""
        if "'\\t'" in what or " tab" in what or self._character(at) == "\t":
            what, hint, check = "there is a tab where YAML wants spaces", "indent with spaces", "yaml-tab"
        elif context == "while scanning an alias":
            what, hint, check = "`*` begins an alias", 'a wildcard is written in quotes: "*"', "yaml-alias"
        elif "cannot start any token" in what and (start := self._character(at)):
            what, hint = f"a text cannot begin with `{start}`", f'put it in quotes: "{start}"'
        elif isinstance(context, str):
            what = f"{what}, {context}"
        return Problem(self.file, line, column, "", f"not valid YAML: {_one_line(what)}", hint, check=check)

    def _character(self, at: int) -> str:
        """The character that stands at a packed place, or "" behind the end of its line."""
        line, column = unpack(at)
        start = 0
        for _ in range(line - 1):
            start = self.data.find(b"\n", start) + 1
        end = self.data.find(b"\n", start)
        text = self.data[start : end if end >= 0 else None].decode("utf-8", "replace")
        return text[column - 1 : column]


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in " ".join(text.split()))[:200]


def _at(event: Event) -> int:
    mark = event.start_mark
    return int(mark.line << _COLUMN_BITS | min(mark.column, _COLUMN_MASK))


def _open(data: bytes) -> "yaml.SafeLoader | yaml.CSafeLoader":
    """libyaml's parser, or the twenty times slower one in Python where PyYAML was built without it."""
    if yaml.__with_libyaml__:
        return yaml.CSafeLoader(data)
    return yaml.SafeLoader(data)
