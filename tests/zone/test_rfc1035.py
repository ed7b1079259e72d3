"""Master files: every problem has its line and column, and reading goes on behind it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geodns.name import Name
from geodns.zone import rdata, rfc1035
from geodns.zone.model import Zone
from geodns.zone.rfc1035.generate import generate
from geodns.zone.rfc1035.lexer import Lexer, Token
from geodns.zone.source import FILE_OCTETS_MAX, PROBLEMS_MAX

HEAD = """\
$ORIGIN example.com.
$TTL 1h
@ SOA ns1 host 1 1h 15m 1w 5m
  NS ns1
ns1 A 203.0.113.1
"""
HEAD_LINES = 5


def read(text: str | bytes, origin: str | None = None) -> tuple[Zone, list[str]]:
    """The zone, which must come to be, and its problems as "line:column check"."""
    parsed = rfc1035.read_text(text, "t", Name.parse(origin) if origin else None)
    assert parsed.zone is not None, parsed.problems
    return parsed.zone, [f"{item.line}:{item.column} {item.check}" for item in parsed.problems]


def told(text: str | bytes, origin: str | None = None) -> list[str]:
    """The problems as "line:column check"."""
    parsed = rfc1035.read_text(text, "t", Name.parse(origin) if origin else None)
    return [f"{item.line}:{item.column} {item.check}" for item in parsed.problems]


def below(text: str) -> list[str]:
    """The problems of lines below HEAD, lines counted from 1 there."""
    places = [item.split(":", 1) for item in told(HEAD + text)]
    return [f"{int(line) - HEAD_LINES}:{rest}" for line, rest in places]


def records(zone: Zone) -> list[str]:
    """Everything but the SOA, a line each, in canonical order."""
    return [line.replace("\tIN\t", " ").replace("\t", " ") for line in rfc1035.write(zone)][2:]


BROKEN = {
    "an address": ("www A 203.0.113.300\n", ["1:7 master-rdata"]),
    "the second of two": ("www A 203.0.113.1\n    A 203.0.113\n", ["2:7 master-rdata"]),
    "a token of several": ("x SRV 1 2 3 a..b\n", ["1:7 master-rdata"]),
    "a preference": ("x MX ten mail\n", ["1:6 master-rdata"]),
    "a name in the data": ("x NS a..b\n", ["1:6 master-rdata"]),
    "a name in MX data": ("x MX 10 a..b\n", ["1:9 master-rdata"]),
    "no data": ("x A\n", ["1:3 master-rdata"]),
    "too much data": ("x A 203.0.113.1 203.0.113.2\n", ["1:5 master-rdata"]),
    "an unknown type": ("x FOO bar\n", ["1:3 master-type"]),
    "a question type": ("x ANY bar\n", ["1:3 master-type"]),
    "a meta type": ("x OPT bar\n", ["1:3 master-type"]),
    "no type": ("x IN 300\n", ["1:6 master-type"]),
    "nothing behind the owner": ("x\n", ["1:1 master-type"]),
    "a type forgotten": ("x 300 203.0.113.1\n", ["1:7 master-type"]),
    "an owner forgotten": ("A 203.0.113.1\n", ["1:3 master-type"]),
    "another class": ("x CH A 203.0.113.1\n", ["1:3 master-class"]),
    "a class by number": ("x CLASS3 A 203.0.113.1\n", ["1:3 master-class"]),
    "an empty label": ("a..b A 203.0.113.1\n", ["1:1 master-name"]),
    "a long label": ("a" * 64 + " A 203.0.113.1\n", ["1:1 master-name"]),
    "an escape too large": ("\\256 A 203.0.113.1\n", ["1:1 master-name"]),
    "an escape cut off": ("a\\25 A 203.0.113.1\n", ["1:1 master-name"]),
    "a TTL too large": ("x 2147483648 A 203.0.113.1\n", ["1:3 master-ttl"]),
    "an odd unit": ("x 1y A 203.0.113.1\n", ["1:3 master-type"]),
    "$TTL": ("$TTL one\n", ["1:6 master-ttl"]),
    "$TTL too large": ("$TTL 4000000000\n", ["1:6 master-ttl"]),
    "$TTL without one": ("$TTL\n", ["1:1 master-directive"]),
    "$ORIGIN with more": ("$ORIGIN a. b.\n", ["1:12 master-directive"]),
    "$ORIGIN bad": ("$ORIGIN a..b\n", ["1:9 master-name"]),
    "an unknown directive": ("$INCLUED x\n", ["1:1 master-directive"]),
    "a directive behind a blank": (" $TTL 300\n", ["1:2 master-directive"]),
    "$INCLUDE of text": ("$INCLUDE x\n", ["1:10 master-include"]),
    "a quote not ended": ('x TXT "abc\ny A 203.0.113.300\n', ["1:7 master-quote", "2:5 master-rdata"]),
    "an escaped quote": ('x TXT "abc\\"\ny A 203.0.113.300\n', ["1:7 master-quote", "2:5 master-rdata"]),
    "a ( not closed": ("x TXT ( a\ny A 203.0.113.300\n", ["1:7 master-parenthesis", "2:5 master-rdata"]),
    "two ( not closed": ("x TXT (a\ny TXT (b\n", ["1:7 master-parenthesis", "2:7 master-parenthesis"]),
    "a ( not closed over lines": (
        "x SOA a b (\n 1 ; serial\n 2 3 4 5\ny A 1\n",
        ["1:11 master-parenthesis", "4:5 master-rdata"],
    ),
    "a ( among good ones": ("x TXT (\n a )\ny TXT ( b\nz TXT ( c )\n", ["3:7 master-parenthesis"]),
    "a ) not opened": ("x TXT a )\ny A 203.0.113.300\n", ["1:9 master-parenthesis", "2:5 master-rdata"]),
    "a backslash at the end": ("x TXT a\\\ny A 203.0.113.300\n", ["1:8 master-escape", "2:5 master-rdata"]),
    "an unknown length": ("x TYPE65280 \\# 4 010203\n", ["1:13 master-rdata"]),
    "odd hex": ("x TYPE65280 \\# 1 0\n", ["1:13 master-rdata"]),
    "data of a known type": ("x A \\# 3 010203\n", ["1:5 master-rdata"]),
    "a string too long": ("x TXT " + "a" * 256 + "\n", ["1:7 master-rdata"]),
    "a duplicate": ("x A 203.0.113.1\n  A 203.0.113.1\n", ["2:5 master-duplicate"]),
    "TTLs that differ": ("x 300 A 203.0.113.1\n  200 A 203.0.113.2\n", ["2:9 master-ttl-differs"]),
    "another zone's name": ("x.example.net. A 203.0.113.1\n", ["1:1 master-out-of-zone"]),
    "an inner wildcard": ("a.*.b A 203.0.113.1\n*.c A 203.0.113.1\n", ["1:1 master-inner-wildcard"]),
    "a name with umlaut": ("bücher A 203.0.113.1\n", ["1:1 master-name-not-ascii"]),
    "no range": ("$GENERATE x h$ A 203.0.113.$\n", ["1:11 master-generate"]),
    "an empty range": ("$GENERATE 5-1 h$ A 203.0.113.$\n", ["1:11 master-generate"]),
    "a step of 0": ("$GENERATE 1-5/0 h$ A 203.0.113.$\n", ["1:11 master-generate"]),
    "a huge range": ("$GENERATE 0-2147483647 h$ A 203.0.113.$\n", ["1:11 master-generate"]),
    "a range of bad data": ("$GENERATE 255-256 h$ A 203.0.113.$\n", ["1:24 master-rdata"]),
    "a format": ("$GENERATE 1-2 h${x} A 203.0.113.$\n", ["1:15 master-generate"]),
    "ALIAS elsewhere": ("x ALIAS example.net.\n", ["1:9 alias-target"]),
    "two ALIAS": ("x ALIAS ns1\n  ALIAS ns1\n", ["2:9 master-rdata"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_problem_has_its_place(name: str) -> None:
    """Each mistake is told with the line and column of its token, and nothing else is."""
    text, problems = BROKEN[name]
    assert problems == below(text)


def test_every_check_is_provoked() -> None:
    """Every row of CHECKS is in one of the tests here."""
    provoked = {problem.split()[1] for _, problems in BROKEN.values() for problem in problems}
    elsewhere = {
        "master-not-utf-8",
        "master-byte-order-mark",
        "master-last-line",
        "master-origin",
        "master-owner",
        "master-no-ttl",
        "master-ttl-implied",
        "master-soa",
    }
    assert {*rfc1035.CHECKS, "alias-target"} == provoked | elsewhere


def test_all_problems_at_once() -> None:
    """All the mistakes of a file are told in one go, in its order."""
    text = HEAD + "".join(text for text, _ in BROKEN.values() if "$ORIGIN" not in text)
    places = [tuple(map(int, item.split()[0].split(":"))) for item in told(text)]
    assert len(BROKEN) - 2 < len(places)
    assert sorted(places) == places


def test_what_a_message_says() -> None:
    """A message names the file, the place, the record, what is wrong and what to do."""
    parsed = rfc1035.read_text(HEAD + "www 192.0.2.1\n", "db.example.com")
    expected = 'db.example.com:6:5: "192.0.2.1" is neither a TTL nor a type (is the type missing, A?)'
    assert [expected] == [str(problem) for problem in parsed.problems]
    parsed = rfc1035.read_text(HEAD + "www IN A 192.0.2.300\n", "db.example.com")
    assert list(map(str, parsed.problems)) == [
        'db.example.com:6:10: www A: "192.0.2.300" is not an IPv4 address'
    ]


# What is understood


def test_ttl_and_class_in_either_order() -> None:
    """TTL and class may stand in either order, or not at all, and in any case of letters."""
    zone, problems = read(
        HEAD
        + "a 300 IN A 203.0.113.1\nb in 5M A 203.0.113.1\nc CLASS1 a 203.0.113.1\nd 1h30m A 203.0.113.1\n"
    )
    assert problems == []
    assert [line.rsplit(" ", 1)[0] for line in records(zone) if line[0] in "abcd"] == [
        "a 300 A",
        "b 300 A",
        "c 3600 A",
        "d 5400 A",
    ]


def test_ttl_units() -> None:
    """A TTL is a number of seconds, or BIND's 1w2d3h4m5s."""
    assert [rfc1035.ttl_of(text) for text in ("0", "3600", "1W2d3h4m5s", "1h30", "", "-1")] == [
        0,
        3600,
        788645,
        None,
        None,
        None,
    ]


def test_parentheses_quotes_comments_and_blanks() -> None:
    """Records go over lines in parentheses; comments, tabs and line ends of all kinds do no harm."""
    text = HEAD.replace("\n", "\r\n") + (
        '\t; only a comment\r\n\r\nx\tTXT\t( "a;b" ; one\r\n\t\t"c(d" ) ; two\r\n'
        '\tA\t203.0.113.1;three\r\ny (TXT) z\\;\\"\\ 1\rz TXT a"b c"d\n'
    )
    zone, problems = read(text)
    assert problems == []
    assert [line for line in records(zone) if line[0] in "xyz"] == [
        "x 3600 A 203.0.113.1",
        'x 3600 TXT "a;b" "c(d"',
        'y 3600 TXT "z;\\" 1"',
        'z 3600 TXT "a" "b c" "d"',
    ]


def test_origin_owner_and_at() -> None:
    """Names are relative to $ORIGIN, itself perhaps relative; @ is the origin; a blank repeats the owner."""
    zone, problems = read(
        HEAD + "$ORIGIN sub\n@ A 203.0.113.2\n TXT x\nwww A 203.0.113.3\n$ORIGIN example.com.\n TXT y\n"
    )
    assert problems == []
    assert [line for line in records(zone) if "sub" in line] == [
        "sub 3600 A 203.0.113.2",
        'sub 3600 TXT "x"',
        "www.sub 3600 A 203.0.113.3",
        'www.sub 3600 TXT "y"',
    ]


def test_names_keep_their_octets_and_case() -> None:
    """Escapes, upper case, wildcards and odd labels come through."""
    zone, problems = read(
        HEAD + 'A\\.b\\032\\000\\255 A 203.0.113.1\n*.X CNAME \\@.Y\n0/25 NS n."\n'.replace('."', ".")
    )
    assert problems == []
    owners = {rrset.owner.wire for rrsets in zone.rrsets.values() for rrset in rrsets.values()}
    assert b"\x06A.b \0\xff\7example\3com\0" in owners
    assert b"\1*\1X\7example\3com\0" in owners
    cname = zone.rrsets[Name.parse("*.x.example.com.").key][rdata.CNAME]
    assert cname.rdatas == (b"\1@\1Y\7example\3com\0",)


def test_marks_lead_to_the_tokens() -> None:
    """Every record and its data know where they stand."""
    zone, _ = read(HEAD + "x  300 A  203.0.113.1\n   A ( \n   203.0.113.2 )\n")
    rrset = zone.rrsets[Name.parse("x.example.com.").key][rdata.A]
    assert str(rrset.mark) == "t:6:1"
    assert list(map(str, rrset.marks)) == ["t:6:11", "t:8:4"]


def test_differing_ttls_become_the_lowest() -> None:
    """Of differing TTLs in an RRset the lowest counts; RRSIGs may differ (RFC 4034 section 3)."""
    zone, _ = read(HEAD + "x 300 A 203.0.113.1\nx 200 A 203.0.113.2\nx 250 A 203.0.113.3\n")
    assert zone.rrsets[Name.parse("x.example.com.").key][rdata.A].ttl == 200
    signature = "13 3 3600 20300101000000 20200101000000 2642 example.com. oJB1W6WNGv+ldvQ3WDG0MQkg5IEhjRip\n"
    assert below(f"x 300 RRSIG A {signature}x 200 RRSIG TXT {signature}") == []


def test_alias_of_powerdns() -> None:
    """PowerDNS's ALIAS becomes octoDNS's."""
    zone, problems = read(HEAD + "@ 300 ALIAS ns1\n")
    assert problems == []
    (alias,) = zone.aliases.values()
    assert (
        str(alias.owner), alias.ttl, str(alias.target), str(alias.mark)
    ) == ("example.com.", 300, "ns1.example.com.", "t:6:13")  # fmt: skip


# Which zone it is


@pytest.mark.parametrize(
    ("text", "file", "origin", "apex"),
    [
        (HEAD, "t", None, "example.com."),
        ("$TTL 1\nexample.com. SOA a b 1 2 3 4 5\n", "t", None, "example.com."),
        ("$TTL 1\n@ SOA a b 1 2 3 4 5\n", "db.example.com", None, "example.com."),
        ("$TTL 1\n@ SOA a b 1 2 3 4 5\n", "x/example.com.zone", None, "example.com."),
        (
            "$TTL 1\n@ SOA a b 1 2 3 4 5\n",
            "0%2F25.2.0.192.in-addr.arpa.db",
            None,
            "0/25.2.0.192.in-addr.arpa.",
        ),
        ("$TTL 1\n@ SOA a b 1 2 3 4 5\n", "t", "Example.org", "Example.org."),
        ("$ORIGIN com.\n$TTL 1\nexample SOA a b 1 2 3 4 5\n", "t", None, "example.com."),
        ("$ORIGIN .\n$TTL 1\n@ SOA a b 1 2 3 4 5\n", "t", None, "."),
    ],
)
def test_the_zone_is_found(text: str, file: str, origin: str | None, apex: str) -> None:
    """--origin tells the zone; else the SOA's owner, relative to $ORIGIN or what the file's name says."""
    parsed = rfc1035.read_text(text, file, Name.parse(origin) if origin else None)
    assert parsed.zone is not None
    assert apex == str(parsed.zone.apex)


@pytest.mark.parametrize("file", ["named", "t.zone", "db.192.0.2", "a..b.zone"])
def test_an_unknown_zone_is_asked_for(file: str) -> None:
    """When nothing says which zone it is, that is told, and the other problems as well."""
    parsed = rfc1035.read_text("$TTL 1\n@ SOA a b 1 2 3 4 5\nx A 1\n", file)
    assert [problem.check for problem in parsed.problems] == ["master-origin", "master-rdata"]
    assert parsed.zone is None


def test_a_zone_without_soa_is_no_zone() -> None:
    """A file without SOA is told so, with an example."""
    assert told("$ORIGIN example.com.\n$TTL 1\n@ NS ns1.example.net.\n") == ["1:1 master-soa"]
    assert ["3:1 master-out-of-zone", "1:1 master-soa"][::-1] == told(
        "$ORIGIN example.com.\n$TTL 1\n@ SOA a b 1 2 3 4 5\n", "example.net."
    )


def test_no_owner_to_repeat() -> None:
    """A file cannot begin with a record without owner; those of a broken owner are passed over."""
    assert told("$TTL 1\n NS a.\nexample.com. SOA a b 1 2 3 4 5\n") == ["2:2 master-owner"]
    assert below("a..b A 203.0.113.1\n TXT x\n A 1\n") == ["1:1 master-name"]


def test_a_missing_ttl() -> None:
    """Without $TTL the SOA's minimum or the last TTL counts, with a warning; with neither it is an error."""
    soa = "example.com. SOA a b 1 2 3 4 5\n"
    assert told(soa + " NS a.\n") == ["1:1 master-ttl-implied"]
    assert told(soa.replace("SOA", "300 SOA") + " NS a.\n NS b.\n") == ["2:2 master-ttl-implied"]
    assert told("example.com. NS a.\n NS b.\n" + soa.replace("SOA", "300 SOA")) == ["1:1 master-no-ttl"]
    zone, _ = read(soa + "x 60 A 203.0.113.1\nx TXT a\n")
    assert {"x 60 A 203.0.113.1", 'x 5 TXT "a"'} == {line for line in records(zone) if line[0] == "x"}


# Text that is none


def test_octets_that_are_not_utf8() -> None:
    """Latin-1 in a comment does no harm; in data it is taken as it is, with a warning; UTF-8 is UTF-8."""
    zone, problems = read(HEAD.encode() + b'; caf\xe9\nx TXT "caf\xe9"\ny TXT caf\xc3\xa9\n')
    assert problems == ["7:7 master-not-utf-8"]
    assert [zone.rrsets[Name.parse(f"{name}.example.com.").key][rdata.TXT].rdatas[0] for name in "xy"] == [
        b"\4caf\xe9",
        b"\5caf\xc3\xa9",
    ]


def test_a_byte_order_mark_is_told() -> None:
    """A UTF-8 byte order mark is passed over with a warning."""
    assert told(b"\xef\xbb\xbf" + HEAD.encode()) == ["1:1 master-byte-order-mark"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (HEAD.encode("utf-16"), "1:1 not-utf-8"),
        (b"\0\0\0\2" + b"x" * 20, "1:1 nul"),
        (HEAD.encode() + b"ab\0c\n", "6:3 nul"),
    ],
)
def test_a_file_that_is_no_text_is_one_line(data: bytes, problem: str) -> None:
    """UTF-16 and NUL are one clear problem."""
    assert [problem] == told(data)


def test_a_missing_line_end_is_told() -> None:
    """The last line counts without its end, with a warning, as named-checkzone gives one."""
    zone, problems = read(HEAD + "x A 203.0.113.9")
    assert problems == ["6:15 master-last-line"]
    assert "x 3600 A 203.0.113.9" in records(zone)


def test_an_empty_file() -> None:
    """An empty file is a problem, not an accident."""
    assert told("") == ["1:1 master-origin"]
    assert told("", "example.com.") == ["1:1 master-soa"]


@given(st.text(st.sampled_from(' \t\r\n;()"\\$@.*AIN109azTXÜ\udcff\0'), max_size=80))
@settings(max_examples=300, deadline=None)
def test_no_text_is_too_odd(text: str) -> None:
    """Whatever a file has in it, reading ends with a zone or with problems, each at a place that exists."""
    parsed = rfc1035.read_text(HEAD + text, "t")
    lines = (HEAD + text).count("\n") + text.count("\r") + 1
    assert all(1 <= problem.line <= lines and problem.column >= 1 for problem in parsed.problems)
    assert parsed.zone is not None or parsed.problems


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_octets_are_too_odd(data: bytes) -> None:
    """Any octets: a zone or problems."""
    parsed = rfc1035.read_text(data, "t", Name.parse("example.com."))
    assert parsed.zone is not None or parsed.problems


def test_parentheses_without_end_take_no_time() -> None:
    """20,000 parentheses that are not closed are told up to the bound, in linear time."""
    problems = told(HEAD + "x TXT ( a\n" * 20_000)
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1].endswith("too-many-problems")


def test_tokens_know_their_columns() -> None:
    """Columns count characters, tabs too; a token that touches the one before is glued to it."""
    entries = list(Lexer('a\tbü "c d"e ; x\n', lambda trouble: pytest.fail(str(trouble))).entries())
    assert [
        [(token.text, token.line, token.column, token.glued) for token in entry.tokens] for entry in entries
    ] == [[("a", 1, 1, False), ("bü", 1, 3, False), ('"c d"', 1, 6, False), ("e", 1, 11, True)]]


# $INCLUDE


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to stand in, with a zone file that includes `part.zone`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "main.zone").write_text(HEAD + "$INCLUDE part.zone\nlast A 203.0.113.9\n")
    return tmp_path / "z"


def load(path: str = "z/main.zone") -> tuple[Zone | None, list[str]]:
    parsed = rfc1035.read(Path(path))
    return parsed.zone, [f"{item.file}:{item.line}:{item.column} {item.check}" for item in parsed.problems]


def test_include(folder: Path) -> None:
    """An included file has the origin that is given, and leaves the includer's origin and owner alone."""
    (folder / "main.zone").write_text(
        HEAD + "own A 203.0.113.9\n$INCLUDE sub/part.zone sub\n TXT own\nlast A 203.0.113.9\n"
    )
    (folder / "sub").mkdir()
    (folder / "sub" / "part.zone").write_text("a A 203.0.113.1\n$ORIGIN other\nb A 1\n$INCLUDE more.zone\n")
    (folder / "sub" / "more.zone").write_text("c A 203.0.113.2\n")
    zone, problems = load()
    assert problems == ["z/sub/part.zone:3:5 master-rdata"]
    assert zone is not None
    assert [line for line in records(zone) if line.split()[0] not in ("@", "ns1")] == [
        "last 3600 A 203.0.113.9",
        "own 3600 A 203.0.113.9",
        'own 3600 TXT "own"',
        "a.sub 3600 A 203.0.113.1",
        "c.other.sub 3600 A 203.0.113.2",
    ]
    mark = zone.rrsets[Name.parse("a.sub.example.com.").key][rdata.A].mark
    assert str(mark) == "z/sub/part.zone:1:1"


@pytest.mark.parametrize(
    ("name", "about"),
    [
        ("/etc/hostname", "an absolute path"),
        ("../outside.zone", "leads out of the folder"),
        ("sub/../../outside.zone", "leads out of the folder"),
        ("link.zone", "through a symbolic link"),
        ("linked/outside.zone", "through a symbolic link"),
        ("missing.zone", "no such file"),
        (".", "not a regular file"),
        ("pipe", "not a regular file"),
    ],
)
def test_include_stays_in_its_folder(folder: Path, name: str, about: str) -> None:
    """Nothing outside the zone file's folder is read, whatever leads there; pipes do not block."""
    outside = folder.parent / "outside.zone"
    outside.write_text("x A 203.0.113.66\n")
    (folder / "link.zone").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "pipe")
    (folder / "main.zone").write_text(HEAD + f"$INCLUDE {name}\nx A 1\n")
    parsed = rfc1035.read(Path("z/main.zone"))
    assert [f"{item.file}:{item.line}:{item.column}" for item in parsed.problems] == [
        "z/main.zone:6:10",
        "z/main.zone:7:5",
    ]
    assert about in parsed.problems[0].what
    assert parsed.zone is None


def test_a_link_inside_is_fine(folder: Path) -> None:
    """A link to a file in the same folder is followed."""
    (folder / "real.zone").write_text("x A 203.0.113.1\n")
    (folder / "part.zone").symlink_to("real.zone")
    zone, problems = load()
    assert problems == []
    assert zone is not None


def test_an_include_loop_is_shown(folder: Path) -> None:
    """Files that include each other are a problem that shows the loop."""
    (folder / "part.zone").write_text("$INCLUDE main.zone\n")
    parsed = rfc1035.read(Path("z/main.zone"))
    expected = "z/part.zone:1:10: files include each other: main.zone -> part.zone -> main.zone"
    assert [expected] == [str(problem) for problem in parsed.problems]


def test_includes_are_bounded(folder: Path) -> None:
    """$INCLUDE inside $INCLUDE ends at a depth, and all the files together at a size."""
    for number in range(20):
        (folder / f"{number}.zone").write_text(f"$INCLUDE {number + 1}.zone\n")
    (folder / "part.zone").write_text("$INCLUDE 0.zone\n")
    _, problems = load()
    assert problems == ["z/8.zone:1:10 master-include"]
    with (folder / "big.zone").open("wb") as stream:
        stream.truncate(FILE_OCTETS_MAX - 5)
    (folder / "part.zone").write_text("$INCLUDE big.zone\n")
    assert load()[1] == ["z/part.zone:1:10 file-too-large"]


def test_included_files_are_known(folder: Path) -> None:
    """The caller can learn which files a zone file includes."""
    (folder / "part.zone").write_text("x A 203.0.113.1\n")
    included: set[Path] = set()
    rfc1035.load(Path("z/main.zone"), None, included)
    assert {(folder / "part.zone").resolve()} == included


# $GENERATE


@pytest.mark.parametrize(
    ("text", "number", "expected"),
    [
        ("host-$", 7, "host-7"),
        ("$.$", 7, "7.7"),
        ("${0,3}", 7, "007"),
        ("${0,3,d}", 7, "007"),
        ("${10}", 7, "17"),
        ("${-8,0,d}", 7, "-1"),
        ("${0,2,x}", 171, "ab"),
        ("${0,4,X}", 171, "00AB"),
        ("${0,0,o}", 8, "10"),
        ("${-8,0,x}", 7, "ffffffff"),
        ("${0,3,n}", 18, "2.1"),
        ("${0,4,n}", 1, "1.0."),
        ("${0,7,N}", 171, "B.A.0.0"),
        ("${0,0,n}", 0, "0"),
        ("$$ \\$ \\\\$", 7, "$ \\$ \\\\7"),
    ],
)
def test_generate_formats(text: str, number: int, expected: str) -> None:
    """$ and ${offset,width,base} become what named makes of them."""
    assert expected == generate(text, number, Token(text, 1, 1))


GENERATED = """\
$GENERATE 1-3 host-$ A 203.0.113.$
$GENERATE 0-20/10 ${0,3,x} 300 IN A 203.0.113.${5}
$GENERATE 1-2 mx$ MX "10 mail$"
$GENERATE 1-2 t$ TXT "\\"a b\\" $$ \\$ $"
$GENERATE 1-2 ${0,3,n}.r PTR h${0,2,d}
$GENERATE 5-5 c$ CNAME ${-5,0,x}.d
"""


def test_generate() -> None:
    """$GENERATE makes records with TTL, class and data of their own, each at the place of its line."""
    zone, problems = read(HEAD + GENERATED)
    assert problems == []
    lines = records(zone)
    assert "host-3 3600 A 203.0.113.3" in lines
    assert "014 300 A 203.0.113.25" in lines
    assert "mx2 3600 MX 10 mail2.example.com." in lines
    assert 't1 3600 TXT "a b" "$" "$" "1"' in lines
    assert "2.0.r 3600 PTR h02.example.com." in lines
    assert "c5 3600 CNAME 0.d.example.com." in lines
    assert str(zone.rrsets[Name.parse("014.example.com.").key][rdata.A].mark) == "t:7:19"


def test_generate_is_bounded_over_all_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many $GENERATE lines together make no more than the bound."""
    monkeypatch.setattr("geodns.zone.rfc1035.reader.GENERATED_RECORDS_MAX", 100)
    line = "$GENERATE 1-60 {} A 203.0.113.$\n"
    assert below(line.format("a$") + line.format("b$")) == ["2:11 master-generate"]


# Beside named and ldns

ODD = HEAD + GENERATED + """\
*.wild 5m MX 10 Mail.Example.NET.
esc\\.aped\\032x\\000 TXT "q\\"uo;te" un\\ quoted "\\000\\255"
0/25 NS ns1
x300 1W2D A 203.0.113.7
 ( TXT "par" )
multi SRV ( 0 5
   5060 ; port
   ns1 )
t65280 TYPE65280 \\# 3 01 0203
a1 TYPE1 \\# 4 CB007101
h HTTPS 1 . alpn=h2,h3 port=8443
c CAA 0 issue "ca.example; a=b"
n NAPTR 100 50 "s" "z+I" "" _z._tcp
l LOC 52 14 05 N 00 08 50 E 10m
d DNAME elsewhere.example.
"""  # fmt: skip


def canonical(lines: list[str]) -> list[tuple[str, int, int, bytes]]:
    """Lines "owner TTL IN type data" of another server as (owner, TTL, type, wire form), sorted."""
    found = []
    for line in lines:
        if not line.strip() or line.startswith(";"):
            continue
        owner, ttl, _, kind, data = line.split(None, 4)
        rtype = rdata.type_number(kind)
        found.append((Name.parse(owner).key.hex(), int(ttl), rtype, rdata.from_text(rtype, data, None)))
    return sorted(found)


def ours(zone: Zone) -> list[tuple[str, int, int, bytes]]:
    return sorted(
        (rrset.owner.key.hex(), rrset.ttl, rrset.type, data)
        for rrsets in zone.rrsets.values()
        for rrset in rrsets.values()
        for data in rrset.rdatas
    )


def run(*command: str) -> list[str]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not shutil.which("named-compilezone"), reason="BIND is not installed")
def test_named_reads_the_same(tmp_path: Path) -> None:
    """named reads out of an odd file, and out of our export of it, the records that we do."""
    zone, problems = read(ODD)
    assert problems == []
    (tmp_path / "in").write_text(ODD)
    (tmp_path / "out").write_text("\n".join(rfc1035.write(zone)) + "\n")
    for name in ("in", "out"):
        lines = run(
            "named-compilezone",
            "-q",
            "-i",
            "none",
            "-k",
            "ignore",
            "-o",
            "-",
            "example.com",
            str(tmp_path / name),
        )
        assert ours(zone) == canonical(lines), name


@pytest.mark.skipif(not shutil.which("ldns-read-zone"), reason="ldns is not installed")
def test_ldns_reads_the_same(tmp_path: Path) -> None:
    """ldns reads out of our export the records that we have."""
    zone, _ = read(ODD)
    (tmp_path / "out").write_text("\n".join(rfc1035.write(zone)) + "\n")
    assert ours(zone) == canonical(run("ldns-read-zone", str(tmp_path / "out")))
