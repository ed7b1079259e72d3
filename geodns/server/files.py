"""Which files there are, and whether one was changed: a look that costs a system call a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from geodns.zone.files import SUFFIX

if TYPE_CHECKING:
    from geodns.config import Config  # which takes a while, and the loader does without

Fingerprint = tuple[int, int, int]
"""A file's (time of change in ns, size in octets, inode): a file with the same one was not changed."""

MISSING: Fingerprint = (0, 0, 0)


class Scan(NamedTuple):
    """The zone files and databases of one moment, with their fingerprints. Equal scans: nothing to load."""

    zones: dict[str, Fingerprint]
    databases: tuple[tuple[str, Fingerprint], ...]


def fingerprint_of(path: str) -> Fingerprint:
    """The fingerprint of a file, links followed; MISSING for one that is not there or not ours to see."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return MISSING
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def scan(config: "Config") -> Scan:
    """Look at everything that a load reads."""
    try:
        names = [name for name in os.listdir(config.zones) if name.endswith(SUFFIX)]
    except OSError:
        names = []
    zones = {name: fingerprint_of(os.path.join(config.zones, name)) for name in names}
    return Scan(zones, tuple((str(path), fingerprint_of(str(path))) for path in config.database_files()))


def watched_folders(config: "Config") -> set[Path]:
    """The folders whose changes concern us, those that exist."""
    folders = {config.zones, *(path.parent for path in map(Path, config.geo.databases))}
    return {folder for folder in folders if folder.is_dir()}
