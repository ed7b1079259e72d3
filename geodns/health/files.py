"""The files of this room: read as a whole and within a bound, written so that nobody sees half of one."""

import fcntl
import os
import stat
import tempfile
import time
from pathlib import Path

LOCK_SECONDS = 5.0  # an edit takes milliseconds: whoever locks for longer hangs
_LOCK_PAUSE_SECONDS = 0.05


class BadFile(Exception):
    """A file that cannot be read or written; the text is for people."""


def read(path: Path, octets_max: int) -> bytes | None:
    """What the file holds; None when there is none. Raises BadFile."""
    try:
        # without O_NONBLOCK, opening a FIFO would wait for its writer
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadFile("this is not a regular file")
            data = file.read(octets_max + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadFile(reason_of(error)) from None
    if len(data) > octets_max:
        raise BadFile(f"larger than {octets_max:,} octets")
    return data


def write(path: Path, data: bytes, mode: int) -> None:
    """Replace the file by one with `data`, or make it, with its folder. Raises BadFile.

    A file that is there keeps its mode, owner and group; `mode` is for a new one. A symbolic link
    is followed.
    """
    path = Path(os.path.realpath(path))
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            take_after(file.fileno(), _status(path), mode)
            os.fsync(file.fileno())
        os.replace(temporary, path)
        temporary = ""
        _keep_name(path.parent)
    except (OSError, ValueError) as error:
        raise BadFile(reason_of(error)) from None
    finally:
        if temporary:
            os.unlink(temporary)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def take_after(descriptor: int, before: os.stat_result | None, mode: int) -> None:
    """Give a new file the owner, group and mode of the one that it replaces; `mode` where there is none.

    Raises OSError.
    """
    if before is None:
        os.fchmod(descriptor, mode)
        return
    now = os.fstat(descriptor)
    if now.st_gid != before.st_gid:
        os.fchown(descriptor, -1, before.st_gid)
    if now.st_uid != before.st_uid:
        os.fchown(descriptor, before.st_uid, -1)
    os.fchmod(descriptor, stat.S_IMODE(before.st_mode))


def lock(descriptor: int) -> None:
    """Wait until nobody else has this lock; it ends with the descriptor. Raises BadFile."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise BadFile("somebody else is writing there") from None
            time.sleep(_LOCK_PAUSE_SECONDS)
        except OSError as error:
            raise BadFile(reason_of(error)) from None


def _keep_name(folder: Path) -> None:
    """The new name too survives a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: OSError | ValueError) -> str:
    """Why, in the system's words, without the file's name, which is told anyway."""
    return ((error.strerror if isinstance(error, OSError) else None) or str(error)).lower()
