"""A log file that is set aside when it is large or old: NAME, NAME.1, NAME.2 and so on, the newest first."""

import os
import time
from collections.abc import Callable
from pathlib import Path

MODE = 0o640  # who asked what is nobody else's business


class RotatingFile:
    """Lines are appended; `keep` older files stay. `octets` and `seconds` of 0: never for that reason.

    All methods may raise OSError.
    """

    def __init__(
        self, path: Path, octets: int, seconds: float, keep: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._octets = octets
        self._seconds = seconds
        self._keep = keep
        self._clock = clock
        self._open()

    def _open(self) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, MODE)
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        status = os.fstat(descriptor)
        self._size = status.st_size
        # Linux does not tell when a file was begun: one from before this run is as old as its last line.
        self._began = min(self._clock(), status.st_mtime) if self._size else self._clock()

    def write(self, lines: bytes) -> None:
        """Append whole lines; before them the file is set aside if it is its time."""
        self.look(len(lines))
        view = memoryview(lines)
        while view:
            view = view[self._file.write(view) :]
        self._size += len(lines)

    def look(self, more: int = 0) -> None:
        """Set the file aside if it is old, or too large for so many octets more."""
        is_large = self._octets and self._size and self._size + more > self._octets
        is_old = self._seconds and self._size and self._clock() - self._began >= self._seconds
        if is_large or is_old:
            self._rotate()

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        for number in range(self._keep, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.rename(self._numbered(number + 1)) if number < self._keep else older.unlink()
        if self._keep:
            self._path.rename(self._numbered(1))
        else:
            self._path.unlink()
        self._open()

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
