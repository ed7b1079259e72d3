"""A problem has an address: file, line and column, the record it concerns, what is wrong, and a hint."""

from dataclasses import dataclass
from enum import Enum


class Severity(Enum):
    """`ERROR`: the file is not served. `WARNING`: it is served, and its author should look."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with one place in one file.

    `line` and `column` count from 1; 0 means that the whole file is meant.
    """

    file: str
    line: int
    column: int
    where: str  # the record: "www A", or "" for the file
    what: str  # without a full stop
    hint: str = ""
    severity: Severity = Severity.ERROR
    check: str = ""  # the name of the check's row, for documentation and for tests

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        where = f"{self.where}: " if self.where else ""
        warning = "warning: " if self.severity is Severity.WARNING else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{place}: {warning}{where}{self.what}{hint}"

    @property
    def is_error(self) -> bool:
        return self.severity is Severity.ERROR
