"""What takes time in the API, as the server asks for it: reading, checking and changing zone files.

Task --(another process) control.work--> Outcome: new octets, problems and diff, or a document
"""

import struct
from dataclasses import dataclass
from typing import NamedTuple

from geodns.control.document import Document
from geodns.name import Name
from geodns.problems import Problem

LENGTH = struct.Struct("!Q")
"""Of a pickled Outcome, which follows."""

EXIT_MEMORY = 12
"""The exit code of a process that needed more memory than it may have; ENOMEM's number."""


class Limits(NamedTuple):
    """What the process may use."""

    memory_octets: int
    niceness: int


@dataclass(frozen=True, slots=True)
class File:
    """A zone file: its name in messages and its octets."""

    apex: bytes  # wire form
    name: str
    data: bytes

    @property
    def zone(self) -> Name:
        return Name(self.apex)


@dataclass(frozen=True, slots=True)
class Check:
    """Say what `geodns check` says, and what is different from `before`; without `after`, only that."""

    before: bytes
    after: File | None
    name: str


@dataclass(frozen=True, slots=True)
class Edit:
    """Put the record (JSON in UTF-8), or take it out (None); then as Check."""

    file: File
    owner: bytes  # wire form
    type: str
    record: bytes | None


@dataclass(frozen=True, slots=True)
class List:
    """The records whose name or type has `search` in it, `limit` of them."""

    file: File
    search: str
    limit: int


@dataclass(frozen=True, slots=True)
class Show:
    """One record."""

    file: File
    owner: bytes
    type: str


Task = Check | Edit | List | Show


@dataclass(frozen=True, slots=True)
class Refused:
    """The task can not be done: HTTP's status and a sentence, and problems that are why."""

    status: int
    what: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Checked:
    """`data` is what is to be written; `is_good` says that a server would serve it."""

    data: bytes
    is_good: bool
    records: int
    problems: tuple[Problem, ...]
    diff: str | None


Outcome = Checked | Refused | Document
