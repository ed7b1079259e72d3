"""Reading YAML: places, YAML 1.1's traps, and everything that is bounded."""

import os
from pathlib import Path

import pytest

from geodns.zone import source
from geodns.zone.source import Contents, Items, Mapping, Source, Text, read_file, unpack


def read(text: str | bytes) -> tuple[dict[str, object], list[str]]:
    read_from = Source(text.encode() if isinstance(text, str) else text, "z.yaml")
    entries = {str(key): node for key, node in read_from.entries()}
    return entries, [str(problem) for problem in read_from.problems]


def test_every_node_knows_its_line_and_column() -> None:
    """Keys, texts, lists and mappings keep the place where they stand, counted from 1 in characters."""
    entries, problems = read("# é\nwww:\n  type: A\n  é: [1, x]\n")
    www = entries["www"]
    assert isinstance(www, Mapping)
    values = www["é"]  # type: ignore[index]
    assert isinstance(values, Items)
    assert [] == problems
    assert [(3, 3), (3, 3), (4, 3), (4, 6), (4, 10)] == [
        unpack(www.at),
        unpack(www.key_at("type")),
        unpack(www.key_at("é")),
        unpack(values.at),
        unpack(values[1].at),
    ]


@pytest.mark.parametrize(
    "word", ["no", "on", "y", "1.0", "010", "1e3", "0x1F", "1_000", "2001-01-01", "12:30:00"]
)
def test_a_name_or_value_stays_the_text_that_was_written(word: str) -> None:
    """YAML 1.1 would make a boolean, a number or a date of it."""
    entries, problems = read(f"{word}: {word}\n")
    assert ({word: word}, []) == (entries, problems)


def test_null_is_told_from_quoted_text() -> None:
    """An empty value, ~ and null are nothing; in quotes they are texts."""
    entries, _ = read("a:\nb: ~\nc: null\nd: ''\ne: 'null'\nf: nil\n")
    nulls = {key: node.is_null for key, node in entries.items() if isinstance(node, Text)}
    assert {"a": True, "b": True, "c": True, "d": False, "e": False, "f": False} == nulls


def test_aliases_and_merge_keys() -> None:
    """An alias is what its anchor is; `<<` adds what is not said, the first of several wins, at the top as
    well.
    """
    entries, problems = read(
        "a: &a {ttl: 60, type: A}\nb: &b {ttl: 30, x: y}\n"
        "c: {<<: [*a, *b], type: TXT}\nd: *a\n<<: {e: f, a: g}\n"
    )
    assert [] == problems
    assert {"ttl": "60", "type": "TXT", "x": "y"} == entries["c"]
    assert entries["a"] is entries["d"]
    assert "f" == entries["e"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "a: *a\n",
            '1:4: "*a" is an alias, and no anchor "&a" comes before it '
            '(a wildcard is written in quotes: "*")',
        ),
        ("a: &a [*a]\n", '1:8: "*a" is an alias'),
        ("a: {<<: b}\n", "1:5: `<<` merges a mapping, or a list of mappings"),
        ("@: {}\n", '1:1: not valid YAML: a text cannot begin with `@` (put it in quotes: "@")'),
        ("a: b: c\n", "1:5: not valid YAML: mapping values are not allowed in this context"),
        ("a: 'b\n", "2:1: not valid YAML: found unexpected end of stream, while scanning a quoted scalar"),
        ("%YAML 3.0\n---\na: b\n", "1:1: not valid YAML: found incompatible YAML document"),
        (b"\xff\xfea\0:\0", "1:1: the file is UTF-16 or UTF-32 (save it as UTF-8)"),
        ("a: b\n".encode("utf-16-be"), "1:1: the file has a NUL character (save it as UTF-8)"),
        (b"a: b\n# \x07\n", "2:3: not valid YAML: control characters are not allowed"),
    ],
)
def test_one_line_for_what_is_not_yaml(text: str | bytes, expected: str) -> None:
    """Each of these has a single problem, with its place, and a hint where there is one."""
    _, problems = read(text)
    assert 1 == len(problems)
    assert problems[0].startswith(f"z.yaml:{expected}")


def test_a_byte_order_mark_is_no_problem() -> None:
    """Windows editors write one."""
    assert ({"a": "b"}, []) == read(b"\xef\xbb\xbfa: b\n")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 100_000,
        "a:\n  " + "- " * 100_000,
        "? " * 100_000,
        "{" * 100_000,
        "a: {" + "? " * 100_000,
        "a: " + "x" * 1_000_000,
        "a: &a [x]\nb: [" + "*a, " * 300_000 + "]\n",
    ],
    ids=["flow", "block", "keys", "mappings", "flow-keys", "long-text", "many"],
)
def test_size_and_depth_are_bounded(text: str) -> None:
    """Nesting, length and number are refused with one line, and cost no stack and little memory."""
    _, problems = read(text)
    assert 1 == len(problems)


def test_an_alias_bomb_costs_nothing() -> None:
    """Twenty levels of nine aliases would be 9**20 values; it stops before any is made."""
    levels = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    levels += [
        f"{new}: &{new} [{', '.join(['*' + old] * 9)}]"
        for old, new in zip("abcdefghijklmnopqrs", "bcdefghijklmnopqrst", strict=True)
    ]
    _, problems = read("\n".join(levels))
    assert ["one name has more than 200,000 values, aliases counted as what they stand for"] == [
        problem.split(": ", 1)[1] for problem in problems
    ]


def test_problems_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """After PROBLEMS_MAX of them the file is left."""
    monkeypatch.setattr(source, "PROBLEMS_MAX", 3)
    _, problems = read("a: 1\n" * 10)
    assert 4 == len(problems)
    assert "z.yaml:4:1: too many problems; the rest of the file was not read" == problems[-1]


def test_a_large_file_is_refused_unread(tmp_path: Path) -> None:
    """A file of 1 GB costs a look at its size."""
    path = tmp_path / "example.com.yaml"
    with path.open("wb") as handle:
        handle.truncate(2**30)
    assert f"{path}: the file has 1,024 MiB; a zone file may have 64 MiB" == str(read_file(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe would wait forever, a device has no end, a directory and a missing file have nothing to read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    assert f"{pipe}: this is not a regular file" == str(read_file(pipe))
    assert "/dev/zero: this is not a regular file" == str(read_file(Path("/dev/zero")))
    assert f"{tmp_path}: this is not a regular file" == str(read_file(tmp_path))
    missing = tmp_path / "missing"
    assert f"{missing}: the file cannot be read: no such file or directory" == str(read_file(missing))
    assert isinstance(read_file(Path("a\0b")), source.Problem)


def test_a_file_is_read_with_its_time(tmp_path: Path) -> None:
    """The time of the last change becomes the serial of a SOA that gives none."""
    path = tmp_path / "example.com.yaml"
    path.write_text("a: b\n")
    os.utime(path, (5, 1_700_000_000.7))
    assert Contents(b"a: b\n", 1_700_000_000) == read_file(path)
