"""Entries of a master file -> records -> Zone: directives and defaults applied, everything wrong told."""

import ipaddress
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from geodns.name import ROOT, BadName, Name
from geodns.problems import Problem, Severity
from geodns.zone import rdata
from geodns.zone.checks import check
from geodns.zone.fields import TTL_SECONDS_MAX
from geodns.zone.model import Alias, CheckedZone, Mark, RRset, Zone
from geodns.zone.parse import TTL_SECONDS_DEFAULT, Parsed
from geodns.zone.rfc1035.generate import generate, range_of
from geodns.zone.rfc1035.lexer import Entry, Lexer, Token, TokenError
from geodns.zone.rfc1035.words import origin_of_file_name, ttl_of
from geodns.zone.source import FILE_OCTETS_MAX, PROBLEMS_MAX, read_file, shorten

INCLUDE_DEPTH_MAX = 10  # files inside files; as many as NSD allows
GENERATED_RECORDS_MAX = 100_000  # by all $GENERATE of a zone; no line may ask for more than a large zone has

_APL = 42
_ALIAS = -1  # PowerDNS's and octoDNS's, for which the model has a class of its own

_LINE_END = re.compile(r"\r\n?|\n")
_CLASS = re.compile(r"IN|CH|CHAOS|HS|HESIOD|CS|CLASS\d+", re.IGNORECASE | re.ASCII)
_QUOTED = re.compile(r'"([^"]+)"')


def load(
    path: Path, origin: Name | None = None, included: set[Path] | None = None
) -> tuple[CheckedZone | None, list[Problem]]:
    """Read and check the master file at `path`; the zone is None when a problem is an error.

    The real paths of the files that it includes are put into `included`.
    """
    return _checked(read(path, origin, included))


def load_text(
    text: str | bytes, file: str, origin: Name | None = None
) -> tuple[CheckedZone | None, list[Problem]]:
    """Like `load`, of text in hand; `file` is its name in problems. $INCLUDE is refused."""
    return _checked(read_text(text, file, origin))


def _checked(parsed: Parsed) -> tuple[CheckedZone | None, list[Problem]]:
    if parsed.zone is None:
        return None, parsed.problems
    checked, problems = check(parsed.zone, parsed.broken)
    files = [parsed.zone.file, *(problem.file for problem in (*parsed.problems, *problems))]
    order = {file: number for number, file in enumerate(dict.fromkeys(files))}
    problems = sorted(
        parsed.problems + problems, key=lambda problem: (order[problem.file], problem.line, problem.column)
    )
    return (None if any(problem.is_error for problem in problems) else checked), problems


def read(path: Path, origin: Name | None = None, included: set[Path] | None = None) -> Parsed:
    """Read the master file at `path`. The zone is `origin`; without it, the one whose SOA the file has.

    The zone is None when none could be made: no SOA, no text, a file missing that is included. The problems
    are in the order of the file, and records with an error are left out. $INCLUDE reaches files in the folder
    of `path` and below. Raises nothing.
    """
    contents = read_file(path)
    if isinstance(contents, Problem):
        return Parsed(None, [contents], frozenset())
    reader = _Reader(str(path), path.parent, origin)
    reader.open_paths.append(path.resolve())
    parsed = reader.read(contents.data)
    if included is not None:
        included |= reader.included
    return parsed


def read_text(text: str | bytes, file: str, origin: Name | None = None) -> Parsed:
    """Like `read`, of text in hand; `file` is its name in problems. $INCLUDE is refused."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return _Reader(file, None, origin).read(data)


@dataclass(slots=True)
class _Records:
    """The records of one owner and type, as they come."""

    owner: Name
    mark: Mark
    rdatas: list[bytes] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    ttls: list[int] = field(default_factory=list)
    seen: set[bytes] = field(default_factory=set)


@dataclass(slots=True)
class _File:
    """One file being read. `origin` and `owner` are its own: the file that includes it keeps what it had."""

    name: str
    folder: Path | None  # None: $INCLUDE is refused
    origin: Name
    owner: Name | None = None
    owner_broken: bool = False  # the last owner could not be read: what would inherit it is passed over
    spilling: bool = False  # after a record whose parenthesis is never closed

    def mark(self, token: Token) -> Mark:
        return Mark(self.name, token.line, token.column)


class _Head(NamedTuple):
    """What stands before the data of a record."""

    ttl: int | None
    type_token: Token
    data: list[Token]


class _Reader:
    """Reads one zone from one file and those that it includes."""

    def __init__(self, file: str, folder: Path | None, apex: Name | None) -> None:
        self.file = file
        self.folder = folder
        self.apex = apex
        self.origin = apex or ROOT  # where the first file begins
        self.problems: list[Problem] = []
        self.files: dict[str, int] = {file: 0}  # numbered in the order in which they were opened
        self.open_paths: list[Path] = []  # the file being read and those that include it
        self.broken: set[bytes] = set()  # keys of owners of which records are left out
        self.incomplete = False  # records are missing, and nobody knows whose
        self.included: set[Path] = set()
        self.octets = 0
        self.generated = 0
        self.ttl_default: int | None = None  # $TTL
        self.ttl_last: int | None = None  # the last one written: RFC 1035 section 5.1
        self.ttl_implied_told = False
        self.records: dict[tuple[bytes, int], _Records] = {}
        self.aliases: dict[bytes, Alias] = {}
        self.names: dict[tuple[str, bytes], Name] = {}

    def read(self, data: bytes) -> Parsed:
        self.octets = len(data)
        text = self.decode(data, self.file)
        if text is None:
            return Parsed(None, self.problems, frozenset())
        origin = self.apex or self.first_origin(text)
        if origin is None:
            hint = "name it with --origin, or begin the file with $ORIGIN"
            self.tell(Mark(self.file, 1, 1), "", "master-origin", "nothing says which zone this is", hint)
        else:
            self.origin = origin
        self.file_of(text, _File(self.file, self.folder, self.origin))
        zone = self.zone() if origin and not self.incomplete else None
        self.problems.sort(
            key=lambda problem: (self.files.get(problem.file, 0), problem.line, problem.column)
        )
        return Parsed(zone, self.problems, frozenset(self.broken))

    # Telling what is wrong

    def tell(
        self,
        mark: Mark,
        where: str,
        check: str,
        what: str,
        hint: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(
                Problem(mark.file, mark.line, mark.column, where, what, hint, severity, check)
            )
        elif len(self.problems) == PROBLEMS_MAX:
            what = f"more than {PROBLEMS_MAX} problems; the others are not told"
            self.problems.append(
                Problem(mark.file, mark.line, mark.column, "", what, check="too-many-problems")
            )

    def warn(self, mark: Mark, where: str, check: str, what: str, hint: str = "") -> None:
        self.tell(mark, where, check, what, hint, Severity.WARNING)

    def where(self, owner: Name, type_text: str) -> str:
        return f"{owner.relative_to(self.origin)} {type_text}"

    # Octets to text

    def decode(self, data: bytes, file: str) -> str | None:
        """The text of a file, octets that are not UTF-8 as surrogates; None (and told) when it is no text."""
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            what = "the file is UTF-16 or UTF-32"
            self.tell(Mark(file, 1, 1), "", "not-utf-8", what, "save it as UTF-8")
            return None
        nul = data.find(b"\0")
        if nul >= 0:
            before = data[:nul].decode("utf-8", "replace")
            hint = "BIND's raw format? named-compilezone -f raw makes it text" if nul == 0 else ""
            self.tell(_end_of(f"{before}\0", file), "", "nul", "the file has a NUL character", hint)
            return None
        text = data.decode("utf-8", "surrogateescape")
        if text.startswith("\ufeff"):
            what = "the file starts with a byte order mark, which other servers do not understand"
            self.warn(Mark(file, 1, 1), "", "master-byte-order-mark", what)
            text = text[1:]
        if text and text[-1] not in "\r\n":
            what = "the last line has no line end; is the file complete?"
            self.warn(_end_of(text, file), "", "master-last-line", what)
        return text

    def first_origin(self, text: str) -> Name | None:
        """Where the file begins: its first $ORIGIN, or its SOA's owner, or what its name says."""
        for entry in Lexer(text, lambda trouble: None).entries():
            words = [token.text for token in entry.tokens[:5]]
            if not entry.blank and words[0].upper() == "$ORIGIN":
                first = words[1] if len(words) > 1 else ""
            elif any(word.upper() == "SOA" for word in words[not entry.blank :]):
                first = "" if entry.blank else words[0]
            else:
                continue
            try:
                if first.endswith("."):
                    return Name.parse(first)
            except BadName:
                pass
            break
        return origin_of_file_name(self.file)

    # Entries

    def file_of(self, text: str, file: _File) -> None:
        """Read all that is in a file."""

        def tell(trouble: TokenError) -> None:
            self.tell(
                file.mark(trouble.token),
                trouble.where,
                trouble.check,
                trouble.what,
                trouble.hint,
                trouble.severity,
            )

        for entry in Lexer(text, tell).entries():
            try:
                self.entry(entry, file)
            except TokenError as trouble:
                tell(trouble)

    def entry(self, entry: Entry, file: _File) -> None:
        first = entry.tokens[0]
        if not first.text.startswith("$"):
            self.record(entry, file)
            return
        directive = _DIRECTIVES.get(first.text.upper())
        if directive is None:
            what = f'unknown directive "{shorten(first.text)}"'
            raise TokenError(first, "master-directive", what, f"known: {', '.join(_DIRECTIVES)}")
        if entry.blank:
            what = f"{first.text} stands at the start of its line, with no blank before it"
            raise TokenError(first, "master-directive", what)
        try:
            if not entry.broken:
                directive(self, entry.tokens, file)
        except TokenError:
            self.incomplete = True
            raise
        self.incomplete = self.incomplete or entry.broken

    def record(self, entry: Entry, file: _File) -> None:
        tokens = entry.tokens
        if not entry.blank:
            file.owner, file.owner_broken, file.spilling = None, True, False
            file.owner = self.name(tokens[0], file)
            file.owner_broken = False
        elif file.owner is None and not file.owner_broken:
            hint = "a line that starts with a blank has the owner of the record before it"
            raise TokenError(tokens[0], "master-owner", "there is no record before that has an owner", hint)
        if entry.broken:
            file.spilling = entry.spills
            self.leave_out(file.owner)
            return
        try:
            head = self.head(tokens if entry.blank else tokens[1:], tokens[0])
            rtype = self.type_of(head)
            file.spilling = False
            if file.owner is not None:
                self.add(file.owner, rtype, head, _join(head.data), tokens[0], file)
        except TokenError:
            self.leave_out(file.owner)
            if not file.spilling:
                raise

    def leave_out(self, owner: Name | None) -> None:
        """Remember whose record has an error, so that `checks` does not tell what only follows from it."""
        if owner is not None:
            self.broken.add(owner.key)

    def head(self, tokens: list[Token], first: Token) -> _Head:
        """[TTL] [class] type data, or [class] [TTL] type data: RFC 1035 section 5.1."""
        ttl: int | None = None
        has_class = False
        for at, token in enumerate(tokens):
            if ttl is None and token.text[0].isdigit():
                ttl = self.ttl(token, first)
            elif not has_class and _CLASS.fullmatch(token.text):
                has_class = True
                if token.text.upper() not in ("IN", "CLASS1"):
                    raise TokenError(
                        token, "master-class", f"class {token.text.upper()} is not served, only IN"
                    )
            else:
                return _Head(ttl, token, tokens[at + 1 :])
        raise TokenError(tokens[-1] if tokens else first, "master-type", "the record ends before its type")

    def type_of(self, head: _Head) -> int:
        token = head.type_token
        text = token.content.upper()
        try:
            rtype = _ALIAS if text == "ALIAS" else rdata.type_number(text)
        except rdata.BadRdata as error:
            raise TokenError(token, "master-type", str(error), error.hint) from None
        if not head.data and rtype != _APL:  # RFC 3123 section 4: an APL may have no items
            raise TokenError(token, "master-rdata", f"{text} without data")
        return rtype

    def name(self, token: Token, file: _File) -> Name:
        key = (token.content, file.origin.wire)
        name = self.names.get(key)
        if name is None:
            try:
                name = self.names[key] = Name.parse(token.content, file.origin)
            except BadName as error:
                raise TokenError(token, "master-name", str(error)) from None
            if not token.text.isascii():
                what = f'"{shorten(token.content)}" is read as {name}'
                hint = "other servers take its octets as they are; write names in ASCII"
                self.warn(file.mark(token), "", "master-name-not-ascii", what, hint)
        return name

    def ttl(self, token: Token, first: Token | None = None) -> int:
        seconds = ttl_of(token.text)
        if seconds is None:
            if first is None:
                raise TokenError(
                    token, "master-ttl", f'"{shorten(token.text)}" is not a TTL', "3600, or 1h30m"
                )
            hint = ""
            if _is_type(first.text):
                hint = "a line that starts without a blank starts with the owner"
            elif _is_address(token.text):
                hint = f"is the type missing, {'AAAA' if ':' in token.text else 'A'}?"
            what = f'"{shorten(token.text)}" is neither a TTL nor a type'
            raise TokenError(token, "master-type", what, hint)
        if seconds > TTL_SECONDS_MAX:
            what = f"a TTL is at most {TTL_SECONDS_MAX} seconds, not {shorten(token.text)}"
            raise TokenError(token, "master-ttl", what)
        return seconds

    def add(self, owner: Name, rtype: int, head: _Head, text: str, first: Token, file: _File) -> None:
        """Take a record whose data is `text`."""
        data_token = head.data[0] if head.data else head.type_token
        where = self.where(owner, head.type_token.text.upper())
        if rtype == _ALIAS:
            self.add_alias(owner, head, first, file)
            return
        try:
            data = rdata.from_text(rtype, text, file.origin)
        except rdata.BadRdata as error:
            culprit = _culprit(str(error), head) or data_token
            trouble = TokenError(culprit, "master-rdata", str(error), error.hint)
            trouble.where = where
            raise trouble from None
        ttl = self.ttl_for(head, rtype, data, first, file)
        key = (owner.key, rtype)
        records = self.records.get(key)
        if records is None:
            records = self.records[key] = _Records(owner, file.mark(first))
        elif data in records.seen:
            what = "the same record again; it counts once"
            self.warn(file.mark(data_token), where, "master-duplicate", what)
            return
        records.seen.add(data)
        records.rdatas.append(data)
        records.marks.append(file.mark(data_token))
        records.ttls.append(ttl)

    def add_alias(self, owner: Name, head: _Head, first: Token, file: _File) -> None:
        if len(head.data) != 1 or owner.key in self.aliases:
            what = "an ALIAS has one target" if len(head.data) != 1 else "a second ALIAS for this name"
            raise TokenError(head.data[-1], "master-rdata", what)
        target = self.name(head.data[0], file)
        if not target.is_under(self.origin):
            what = f"the target {target} is not in the zone {self.origin}"
            hint = "geodns asks no other server: write its addresses as A and AAAA records"
            raise TokenError(head.data[0], "alias-target", what, hint)
        ttl = self.ttl_for(head, _ALIAS, b"", first, file)
        self.aliases[owner.key] = Alias(owner, ttl, target, file.mark(head.data[0]))

    def ttl_for(self, head: _Head, rtype: int, data: bytes, first: Token, file: _File) -> int:
        """RFC 2308 section 4: $TTL where the record has none; RFC 1035 section 5.1: else the last one."""
        if head.ttl is not None:
            self.ttl_last = head.ttl
            return head.ttl
        if self.ttl_default is not None:
            return self.ttl_default
        mark = file.mark(first)
        hint = "write $TTL at the top of the file, such as $TTL 1h"
        if self.ttl_last is not None:
            if not self.ttl_implied_told:
                what = f"without $TTL, the TTL of the record before is taken, {self.ttl_last}"
                self.warn(mark, "", "master-ttl-implied", what, hint)
                self.ttl_implied_told = True
            return self.ttl_last
        if rtype == rdata.SOA:
            self.ttl_default = min(int.from_bytes(data[-4:]), TTL_SECONDS_MAX)
            what = f"without $TTL, the SOA's minimum is taken as TTL, {self.ttl_default}"
            self.warn(mark, "", "master-ttl-implied", what, hint)
            return self.ttl_default
        self.tell(mark, "", "master-no-ttl", "nothing says the TTL", hint)
        self.ttl_default = TTL_SECONDS_DEFAULT
        return self.ttl_default

    # Directives

    def directive_origin(self, tokens: list[Token], file: _File) -> None:
        _require(tokens, 1, 1, "$ORIGIN example.com.")
        file.origin = self.name(tokens[1], file)

    def directive_ttl(self, tokens: list[Token], file: _File) -> None:
        _require(tokens, 1, 1, "$TTL 3600, or $TTL 1h30m")
        self.ttl_default = self.ttl(tokens[1])

    def directive_include(self, tokens: list[Token], file: _File) -> None:
        _require(tokens, 1, 2, "$INCLUDE hosts.zone, or $INCLUDE hosts.zone sub.example.com.")
        origin = self.name(tokens[2], file) if len(tokens) > 2 else file.origin
        path = self.path_to_include(tokens[1], file)
        contents = read_file(path)
        if isinstance(contents, Problem):
            raise TokenError(tokens[1], contents.check, f"{path}: {contents.what}", contents.hint)
        self.octets += len(contents.data)
        if self.octets > FILE_OCTETS_MAX:
            most = FILE_OCTETS_MAX // 2**20
            what = f"the file and those it includes have more than {most} MiB"
            raise TokenError(tokens[1], "file-too-large", what)
        self.files.setdefault(str(path), len(self.files))
        text = self.decode(contents.data, str(path))
        if text is not None:
            self.included.add(path.resolve())
            self.open_paths.append(path.resolve())
            self.file_of(text, _File(str(path), path.parent, origin))
            self.open_paths.pop()

    def path_to_include(self, token: Token, file: _File) -> Path:
        """The file that $INCLUDE names, relative to the one that includes it. Raises TokenError."""

        def refuse(what: str) -> TokenError:
            hint = "files in the zone file's own folder and below can be included"
            return TokenError(token, "master-include", what, hint)

        name = re.sub(r"\\(.)", r"\1", token.content)
        shown = shorten(name)
        if file.folder is None or self.folder is None:
            raise refuse("$INCLUDE needs a file to be relative to")
        if os.path.isabs(name):
            raise refuse(f'"{shown}" is an absolute path')
        if ".." in Path(name).parts:
            raise refuse(f'"{shown}" leads out of the folder')
        path = file.folder / name
        resolved = path.resolve()
        if not resolved.is_relative_to(self.folder.resolve()):
            raise refuse(f'"{shown}" leads out of the folder through a symbolic link, to {resolved}')
        if resolved in self.open_paths:
            loop = [*self.open_paths[self.open_paths.index(resolved) :], resolved]
            what = f"files include each other: {' -> '.join(step.name for step in loop)}"
            raise TokenError(token, "master-include", what)
        if len(self.open_paths) > INCLUDE_DEPTH_MAX:
            what = f"$INCLUDE inside $INCLUDE, more than {INCLUDE_DEPTH_MAX} deep"
            raise TokenError(token, "master-include", what)
        return path

    def directive_generate(self, tokens: list[Token], file: _File) -> None:
        """$GENERATE start-stop[/step] owner [TTL] [class] type data, with $ and ${offset,width,base}."""
        _require(tokens, 4, None, "$GENERATE 1-9 host-$ A 192.0.2.$")
        numbers = range_of(tokens[1])
        self.generated += len(numbers)
        if self.generated > GENERATED_RECORDS_MAX:
            what = f"$GENERATE makes more than {GENERATED_RECORDS_MAX:,} records"
            raise TokenError(tokens[1], "master-generate", what)
        head = self.head(tokens[3:], tokens[2])
        rtype = self.type_of(head)
        text = _join(head.data)
        if len(head.data) == 1 and head.data[0].quoted:
            text = head.data[0].content.replace('\\"', '"')  # as named does: the quotes only hold it together
        data_token = head.data[0] if head.data else head.type_token
        for number in numbers:
            owner_token = tokens[2]._replace(
                text=generate(tokens[2].content, number, tokens[2]), quoted=False
            )
            owner = self.name(owner_token, file)
            made = generate(text, number, data_token)
            self.add(
                owner, rtype, head._replace(data=[data_token._replace(text=made)]), made, owner_token, file
            )

    # Records to zone

    def zone(self) -> Zone | None:
        apex = self.apex or self.apex_by_soa()
        rrsets: dict[bytes, dict[int, RRset]] = {}
        for (_, rtype), records in self.records.items():
            if self.is_in(apex, records.owner, rtype, records.mark):
                self.check_wildcard(records, rtype)
                rrset = self.rrset(rtype, records)
                rrsets.setdefault(records.owner.key, {})[rtype] = rrset
        aliases = {
            key: alias
            for key, alias in self.aliases.items()
            if self.is_in(apex, alias.owner, _ALIAS, alias.mark)
        }
        if rdata.SOA not in rrsets.get(apex.key, {}):
            if not any(problem.is_error for problem in self.problems):
                what = f"the zone {apex} has no SOA"
                hint = f"such as: {apex} SOA ns1.example.com. hostmaster.example.com. 1 3600 600 604800 300"
                self.tell(Mark(self.file, 1, 1), "", "master-soa", what, hint)
            return None
        return Zone(apex, self.file, rrsets, aliases)

    def apex_by_soa(self) -> Name:
        return next(
            (records.owner for (_, rtype), records in self.records.items() if rtype == rdata.SOA), self.origin
        )

    def is_in(self, apex: Name, owner: Name, rtype: int, mark: Mark) -> bool:
        type_text = "ALIAS" if rtype == _ALIAS else rdata.type_name(rtype)
        if not owner.is_under(apex):
            what = f"{owner} is not in the zone {apex}; it is left out"
            hint = f"without its final dot it would be {str(owner)[:-1]}.{apex}" if not apex.is_root else ""
            self.warn(mark, self.where(owner, type_text), "master-out-of-zone", what, hint)
            return False
        return True

    def check_wildcard(self, records: _Records, rtype: int) -> None:
        """Warn, as named does, of "*" inside a name: RFC 4592 section 2.1.1 gives it no meaning there."""
        owner = records.owner
        if b"\1*" in owner.wire[1:] and b"*" in owner.labels()[1:]:
            where = self.where(owner, rdata.type_name(rtype))
            what = "the * in the middle of the name stands for nothing but itself"
            hint = "only a first label * is a wildcard"
            self.warn(records.mark, where, "master-inner-wildcard", what, hint)

    def rrset(self, rtype: int, records: _Records) -> RRset:
        ttl = min(records.ttls)
        if ttl != max(records.ttls) and rtype != rdata.RRSIG:
            # RFC 2181 section 5.2: "the use of differing TTLs in an RRset is hereby deprecated". The lowest
            # is what it has a resolver take; named takes the first. RFC 4034 section 3 excepts RRSIGs.
            at = next(at for at, other in enumerate(records.ttls) if other != records.ttls[0])
            what = f"TTL {records.ttls[at]} beside {records.ttls[0]} in line {records.marks[0].line}"
            self.warn(
                records.marks[at],
                self.where(records.owner, rdata.type_name(rtype)),
                "master-ttl-differs",
                f"{what}; {ttl} is taken for all of them",
                "records of one name and type have one TTL: RFC 2181 section 5.2",
            )
        return RRset(records.owner, rtype, ttl, tuple(records.rdatas), tuple(records.marks), records.mark)


_DIRECTIVES: dict[str, Callable[[_Reader, list[Token], _File], None]] = {
    "$ORIGIN": _Reader.directive_origin,
    "$TTL": _Reader.directive_ttl,
    "$INCLUDE": _Reader.directive_include,
    "$GENERATE": _Reader.directive_generate,
}


def _require(tokens: list[Token], least: int, most: int | None, example: str) -> None:
    name = tokens[0].text.upper()
    if len(tokens) - 1 < least:
        raise TokenError(tokens[-1], "master-directive", f"{name} ends too early", example)
    if most is not None and len(tokens) - 1 > most:
        what = f'"{shorten(tokens[most + 1].text)}" is too much for {name}'
        raise TokenError(tokens[most + 1], "master-directive", what, example)


def _join(tokens: list[Token]) -> str:
    """Tokens as one line, with a blank between those that had one."""
    return "".join(token.text if token.glued and at else f" {token.text}" for at, token in enumerate(tokens))[
        1:
    ]


def _end_of(text: str, file: str) -> Mark:
    """Where the last character of a text stands."""
    ends = list(_LINE_END.finditer(text))
    return Mark(file, len(ends) + 1, max(1, len(text) - (ends[-1].end() if ends else 0)))


def _is_type(text: str) -> bool:
    try:
        rdata.type_number(text)
    except rdata.BadRdata:
        return False
    return True


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _culprit(message: str, head: _Head) -> Token | None:
    """The token of which an error message speaks."""
    for quoted in _QUOTED.findall(message):
        for token in head.data:
            if quoted in (token.text, token.content):
                return token
    return None
