"""The folder of the zone files, for those who come from the network: nothing outside of it can be reached.

    zone --zone_file_name--> one name without a slash --openat, O_NOFOLLOW--> octets and their ETag
    octets --temporary file, fsync, rename or link, fsync--> the file, under a lock of the folder

Names are looked up relative to the open folder, and never through a link. A write happens only if the file is
still the one that its author has seen, and leaves either the old file or the new one, whatever happens.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from geodns.health import files
from geodns.zone.source import FILE_OCTETS_MAX

MODE = 0o644  # of a new file: a server of another user may read it
ETAG_DIGITS = 32  # of SHA-256: 128 bits
LEFTOVERS_LOOKED_AT = 100_000  # names of a folder in which a write looks for what a killed one has left
_TEMPORARY = ".tmp"


class FolderError(Exception):
    """A file that can not be read or written; `status` is HTTP's (RFC 9110 section 15)."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class ChangedError(Exception):
    """The file is not as its author has seen it; `etag` is what it has now, None when there is none."""

    def __init__(self, etag: str | None) -> None:
        super().__init__("the file has changed")
        self.etag = etag


class Stored(NamedTuple):
    """A file's octets, and their strong ETag (RFC 9110 section 8.8.3) with its quotes."""

    data: bytes
    etag: str


Expected = Callable[[str | None], bool]
"""Whether a write may replace what has this ETag; None: no file."""


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:ETAG_DIGITS]}"'


def read(folder: Path, name: str) -> Stored | None:
    """The file of this name; None when there is none. Raises FolderError."""
    with _opened(folder) as directory:
        return _read(directory, name)


def write(folder: Path, name: str, data: bytes, expected: Expected) -> str:
    """Put `data` into the file; returns its ETag. Raises FolderError, ChangedError.

    A file that is there keeps its mode, and its owner where that can be.
    """
    with _opened(folder) as directory:
        _lock(directory)
        before = _expect(directory, name, expected)
        _sweep(directory, name)
        temporary = f".{name}.{secrets.token_hex(8)}{_TEMPORARY}"[-255:]
        try:
            _write(directory, temporary, name, data, is_new=before is None)
            os.fsync(directory)
        except FileExistsError:
            raise ChangedError(_etag(_read(directory, name))) from None
        except OSError as error:
            raise _failure(error) from None
        finally:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=directory)
        return etag_of(data)


def remove(folder: Path, name: str, expected: Expected) -> None:
    """Take the file away. Raises FolderError, ChangedError."""
    with _opened(folder) as directory:
        _lock(directory)
        if _expect(directory, name, expected) is None:
            raise ChangedError(None)
        try:
            os.unlink(name, dir_fd=directory)
            os.fsync(directory)
        except OSError as error:
            raise _failure(error) from None


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise FolderError(403, f"the folder of the zones can not be read: {files.reason_of(error)}") from None
    try:
        yield directory
    finally:
        os.close(directory)


def _lock(directory: int) -> None:
    """Of the folder itself, so that no file of ours lies in it. Other instances that share it wait too."""
    try:
        files.lock(directory)
    except files.BadFile as error:
        raise FolderError(409, f"the folder of the zones can not be locked: {error}") from None


def _expect(directory: int, name: str, expected: Expected) -> Stored | None:
    before = _read(directory, name)
    if not expected(_etag(before)):
        raise ChangedError(_etag(before))
    return before


def _etag(stored: Stored | None) -> str | None:
    return None if stored is None else stored.etag


def _read(directory: int, name: str) -> Stored | None:
    if "/" in name or "\0" in name or name in ("", ".", ".."):
        raise FolderError(400, "this is no name of a file")
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO would wait for its writer
    try:
        descriptor = os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _failure(error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FolderError(409, "this is not a regular file")
    try:
        with open(descriptor, "rb") as file:
            data = file.read(FILE_OCTETS_MAX + 1)
    except OSError as error:
        raise _failure(error) from None
    if len(data) > FILE_OCTETS_MAX:
        raise FolderError(409, f"the file is larger than {FILE_OCTETS_MAX:,} octets")
    return Stored(data, etag_of(data))


def _write(directory: int, temporary: str, name: str, data: bytes, is_new: bool) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:
        file.write(data)
        file.flush()
        before = None if is_new else os.stat(name, dir_fd=directory, follow_symlinks=False)
        files.take_after(file.fileno(), before, MODE)
        os.fsync(file.fileno())
    if is_new:  # unlike a rename, a link fails when somebody else has made the file
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    else:
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)


def _sweep(directory: int, name: str) -> None:
    """Take away what writers of this file have left that were killed; we have the lock, so none is alive."""
    for found in os.listdir(directory)[:LEFTOVERS_LOOKED_AT]:
        if found.startswith(f".{name}.") and found.endswith(_TEMPORARY):
            with contextlib.suppress(OSError):
                os.unlink(found, dir_fd=directory)


def _failure(error: OSError) -> FolderError:
    if error.errno == errno.ELOOP:
        return FolderError(409, "the file is a symbolic link, which is neither followed nor replaced here")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FolderError(507, f"there is no room: {files.reason_of(error)}")
    if error.errno == errno.ENAMETOOLONG:
        return FolderError(400, "the zone's name is too long for a file's name")
    return FolderError(403, f"the folder of the zones does not let us: {files.reason_of(error)}")
