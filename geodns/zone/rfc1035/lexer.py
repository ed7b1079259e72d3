"""Text of a master file -> entries.

Columns count characters from 1, as editors do. A line ends with LF, CR LF or CR.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from geodns.problems import Severity

_TOKEN = re.compile(
    r"""[ \t\f\v]*
    (?: (?P<end>\r\n?|\n|\Z)
      | (?P<plain>(?:[^ \t\f\v\r\n;()"\\]|\\[^\r\n])+)
      | (?P<comment>;[^\r\n]*)
      | (?P<open>\() | (?P<close>\))
      | (?P<quoted>"(?:[^"\\\r\n]|\\[^\r\n])*")
      | (?P<unended>"[^\r\n]*)
      | (?P<stray>\\)
    )""",
    re.VERBOSE,
)
BLANKS = " \t\f\v"
_UNDECODED = re.compile("[\udc80-\udcff]")  # octets that are not UTF-8, as "surrogateescape" has them


class Token(NamedTuple):
    """A word of a master file as it stands there, with quotes and escapes. `glued`: no blank before it."""

    text: str
    line: int
    column: int
    quoted: bool = False
    glued: bool = False

    @property
    def content(self) -> str:
        """The text without the quotes around it."""
        return self.text[1:-1] if self.quoted else self.text


class Entry(NamedTuple):
    """A record or directive. `blank`: it starts with a blank, so that it has the owner of the one before."""

    blank: bool
    tokens: list[Token]
    broken: bool  # a token of it could not be read, which was told
    spills: bool  # its parenthesis is never closed: the lines that follow may belong to it


class TokenError(Exception):
    """Something is wrong with a token; `hint` may help."""

    def __init__(
        self, token: Token, check: str, what: str, hint: str = "", severity: Severity = Severity.ERROR
    ) -> None:
        super().__init__(what)
        self.token = token
        self.check = check
        self.what = what
        self.hint = hint
        self.severity = severity
        self.where = ""


class Lexer:
    """Divides a text into entries; what cannot be read is handed to `tell`."""

    def __init__(self, text: str, tell: Callable[[TokenError], None]) -> None:
        self.text = text
        self.tell = tell
        self.at = 0
        self.line = 1
        self.line_start = 0
        self.unclosed: set[int] = set()  # offsets of "(" without a ")"

    def entries(self) -> Iterator[Entry]:
        while self.at < len(self.text):
            start = (self.at, self.line, self.line_start)
            entry, troubles, open_at = self._entry()
            if open_at:
                # A "(" without its ")" would swallow the rest of the file. Its record is read again as if
                # it were not there. Parentheses match innermost first: what is left over are the culprits.
                self.unclosed.update(open_at)
                self.at, self.line, self.line_start = start
                continue
            for trouble in troubles:
                self.tell(trouble)
            if entry.tokens:
                yield entry

    def _entry(self) -> tuple[Entry, list[TokenError], list[int]]:
        text = self.text
        match_at = _TOKEN.match
        blank = text[self.at] in BLANKS
        broken = spills = False
        tokens: list[Token] = []
        troubles: list[TokenError] = []
        open_at: list[int] = []
        while True:
            match = match_at(text, self.at)
            assert match is not None, "every character begins some token"
            kind = match.lastgroup or ""
            start = match.start(kind)
            before, self.at = self.at, match.end()
            if kind == "plain" or kind == "quoted":
                glued = start == before and start > self.line_start and text[start - 1] not in "()"
                token = Token(match[kind], self.line, start - self.line_start + 1, kind == "quoted", glued)
                if not token.text.isascii() and _UNDECODED.search(token.text):
                    troubles.append(_not_utf8(token))
                    token = token._replace(text=_UNDECODED.sub(_escape_octet, token.text))
                tokens.append(token)
            elif kind == "end":
                self.line += match[kind] != ""
                self.line_start = self.at
                if not open_at or self.at >= len(text):
                    return Entry(blank, tokens, broken, spills), troubles, open_at
            elif kind == "open" and start not in self.unclosed:
                open_at.append(start)
            elif kind == "close" and open_at:
                open_at.pop()
            elif kind != "comment":
                broken = True
                spills = spills or kind == "open"
                token = Token(match[kind], self.line, start - self.line_start + 1)
                troubles.append(TokenError(token, *_LEXICAL[kind]))


_LEXICAL: dict[str, tuple[str, str, str]] = {
    "open": ("master-parenthesis", "this parenthesis is never closed", ""),
    "close": ("master-parenthesis", "this parenthesis was never opened", ""),
    "unended": (
        "master-quote",
        "this quoted string does not end on its line",
        "a long text is several strings, each in its quotes",
    ),
    "stray": (
        "master-escape",
        "a backslash at the end of a line escapes nothing",
        "a record goes on in the next line between parentheses",
    ),
}


def _not_utf8(token: Token) -> TokenError:
    octet = ord(_UNDECODED.findall(token.text)[0]) - 0xDC00
    return TokenError(
        token,
        "master-not-utf-8",
        f"the octet 0x{octet:02X} is not UTF-8; it is taken as \\{octet:03d}",
        "Latin-1? save the file as UTF-8, or write such octets as \\DDD",
        Severity.WARNING,
    )


def _escape_octet(match: re.Match[str]) -> str:
    return f"\\{ord(match[0]) - 0xDC00:03d}"
