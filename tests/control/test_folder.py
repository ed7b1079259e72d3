"""Zone files over the network: nothing outside of the folder, no half of a file, no write over another."""

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from geodns.control import folder
from geodns.control.folder import ChangedError, FolderError, etag_of

NAME = "example.com.yaml"


def is_new(etag: str | None) -> bool:
    return etag is None


@pytest.fixture
def zones(tmp_path: Path) -> Path:
    made = tmp_path / "zones"
    made.mkdir()
    return made


def test_a_file_is_made_read_replaced_and_removed(zones: Path) -> None:
    """With the ETag of what is there; an old one changes nothing. Nothing else is left in the folder."""
    etag = folder.write(zones, NAME, b"one", is_new)
    assert (b"one", etag) == folder.read(zones, NAME)
    with pytest.raises(ChangedError) as told:
        folder.write(zones, NAME, b"two", is_new)
    assert etag == told.value.etag
    other = folder.write(zones, NAME, b"two", lambda given: given == etag)
    with pytest.raises(ChangedError):
        folder.remove(zones, NAME, lambda given: given == etag)
    assert b"two" == (zones / NAME).read_bytes()
    folder.remove(zones, NAME, lambda given: given == other)
    assert folder.read(zones, NAME) is None
    assert [] == os.listdir(zones)


def test_the_mode_is_kept(zones: Path) -> None:
    """A file that only its owner may read stays so; a new one may be read by a server of another user."""
    folder.write(zones, NAME, b"one", is_new)
    assert 0o644 == stat.S_IMODE((zones / NAME).stat().st_mode)
    (zones / NAME).chmod(0o640)
    folder.write(zones, NAME, b"two", lambda etag: etag == etag_of(b"one"))
    assert 0o640 == stat.S_IMODE((zones / NAME).stat().st_mode)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "a\0b", "", ".", ".."])
def test_no_other_folder(zones: Path, name: str) -> None:
    """What is no plain name of a file is refused, whoever asks."""
    (zones.parent / "secret").write_text("secret")
    for work in (
        lambda: folder.read(zones, name),
        lambda: folder.write(zones, name, b"x", lambda etag: True),
        lambda: folder.remove(zones, name, lambda etag: True),
    ):
        with pytest.raises(FolderError):
            work()
    assert "secret" == (zones.parent / "secret").read_text()


@pytest.mark.parametrize("target", ["secret", "folder", "nothing", "zones/other.yaml"])
def test_links_are_not_followed(zones: Path, target: str) -> None:
    """Links to files and folders, in or out of the folder, broken or not: neither read nor replaced."""
    (zones.parent / "secret").write_text("secret")
    (zones.parent / "folder").mkdir()
    (zones / "other.yaml").write_text("secret")
    (zones / NAME).symlink_to(zones.parent / target)
    for work in (
        lambda: folder.read(zones, NAME),
        lambda: folder.write(zones, NAME, b"x", lambda etag: True),
        lambda: folder.remove(zones, NAME, lambda etag: True),
    ):
        with pytest.raises(FolderError, match="link"):
            work()
    assert (zones / NAME).is_symlink()
    assert {"secret"} == {path.read_text() for path in (zones.parent / "secret", zones / "other.yaml")}


def test_what_is_no_file(zones: Path) -> None:
    """A folder and a pipe are no zone files, and nobody waits for them."""
    (zones / "folder.yaml").mkdir()
    os.mkfifo(zones / "pipe.yaml")
    for name in ("folder.yaml", "pipe.yaml"):
        with pytest.raises(FolderError, match="regular"):
            folder.read(zones, name)
        with pytest.raises(FolderError, match="regular"):
            folder.write(zones, name, b"x", lambda etag: True)
    with pytest.raises(FolderError, match="too long"):
        folder.write(zones, "x" * 300 + ".yaml", b"x", is_new)


def test_a_folder_that_can_not_be_written(tmp_path: Path) -> None:
    """A folder that is not there, or that is a file, is told in words."""
    (tmp_path / "file").write_text("")
    for name in ("nothing", "file"):
        with pytest.raises(FolderError, match="can not be read"):
            folder.read(tmp_path / name, NAME)


# Ends itself by SIGKILL at the moment that the argument names.
_KILLED = """
import os, signal, sys
from pathlib import Path
from geodns.control import folder

def die(*given, **more):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, sys.argv[2], die)
folder.write(Path(sys.argv[1]), "example.com.yaml", b"new " * 100_000, lambda etag: True)
"""


@pytest.mark.parametrize(
    ("moment", "is_new"), [("fsync", False), ("rename", False), ("fchmod", False), ("link", True)]
)
def test_a_writer_that_is_killed(zones: Path, moment: str, is_new: bool) -> None:
    """Whenever it dies, the file is the old one, no other zone is there, and the next writer tidies up."""
    if not is_new:
        (zones / NAME).write_bytes(b"old")
    root = str(Path(folder.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(zones), moment],
        env={**os.environ, "PYTHONPATH": root},
        check=False,
    )
    assert -signal.SIGKILL == done.returncode
    found = folder.read(zones, NAME)
    assert (None if is_new else b"old") == (found and found.data)
    assert [] == [name for name in os.listdir(zones) if name.endswith(".yaml") and name != NAME]
    folder.write(zones, NAME, b"next", lambda etag: True)
    assert [NAME] == os.listdir(zones)


def _compete(
    zones: str, number: int, begin: "multiprocessing.synchronize.Event", won: "multiprocessing.Queue[int]"
) -> None:
    begin.wait()
    try:
        folder.write(Path(zones), NAME, f"{number}".encode() * 1000, lambda etag: etag == etag_of(b"old"))
    except ChangedError:
        return
    won.put(number)


def test_one_of_many_writers_wins(zones: Path) -> None:
    """Of processes that all have seen the same version, exactly one replaces it, and its text is there."""
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        (zones / NAME).write_bytes(b"old")
        begin, won = context.Event(), context.Queue()
        writers = [context.Process(target=_compete, args=(str(zones), at, begin, won)) for at in range(6)]
        for writer in writers:
            writer.start()
        begin.set()
        for writer in writers:
            writer.join()
        number = won.get()
        assert won.empty()
        assert f"{number}".encode() * 1000 == (zones / NAME).read_bytes()
