"""Which files of a directory are zones, and which zone a file is.

The file of a zone is named as the zone, without the final dot: `example.com.yaml`; the root zone's is
`.yaml`. What a file's name cannot hold is written as %XX: "0/25.2.0.192.in-addr.arpa" is
`0%2F25.2.0.192.in-addr.arpa.yaml`.
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

from geodns.name import ROOT, BadName, Name
from geodns.problems import Problem, Severity
from geodns.zone.rdata import is_absolute
from geodns.zone.source import shorten

ZONES_MAX = 1_000_000  # files of a directory that are looked at; each costs an open file name in memory
SUFFIX = ".yaml"

_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")

CHECKS = {
    "bad-file-name": "a zone file is named as its zone",
    "file-outside": "a link in the directory of zones stays in it",
    "zone-twice": "a zone has one file",
    "file-suffix": "a zone file ends in .yaml",
}


def zone_file_name(name: Name) -> str:
    """The file name of a zone: `example.com.yaml`, `.yaml` for the root, %XX for "/" and the like."""
    text = "" if name.is_root else str(Name(name.key))[:-1]
    return quote(text, safe="") + SUFFIX


def zone_name(file_name: str) -> Name:
    """The zone of a file name, the inverse of `zone_file_name`. Raises BadName with a user's words."""
    if not file_name.endswith(SUFFIX):
        raise BadName(f'"{shorten(file_name)}" does not end in {SUFFIX}')
    text = _ESCAPE.sub(lambda match: chr(int(match[1], 16)), file_name[: -len(SUFFIX)])
    if text == "":
        return ROOT
    if is_absolute(text):
        raise BadName(f'"{shorten(file_name)}" has two dots before yaml')
    return Name.parse(text)


def zone_files(directory: Path) -> tuple[dict[Name, Path], list[Problem]]:
    """The zone files right in a directory, by zone. Never raises; what is wrong is among the problems.

    Droppings of editors (`.foo.yaml.swp`, `.#foo.yaml`, `foo.yaml~`) and other files are passed over, and so
    are directories. Links must lead to a file in the same directory (or below: Kubernetes mounts them so).
    """
    files: dict[Name, Path] = {}
    problems: list[Problem] = []
    try:
        names = sorted(os.listdir(directory))
        home = Path(os.path.realpath(directory))
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        what = f"the directory of zones cannot be read: {reason}"
        return {}, [Problem(str(directory), 0, 0, "", what, check="file-unreadable")]
    for file_name in names[:ZONES_MAX]:
        if not _is_candidate(directory, file_name, problems):
            continue
        path = directory / file_name
        zone = _zone_of(path, home, problems)
        if zone is None:
            continue
        if zone in files:
            what = f"the zone {zone} has two files"
            problems.append(_problem(path, what, f"the other is {files[zone].name}", "zone-twice"))
            continue
        files[zone] = path
    return files, problems


def _is_candidate(directory: Path, file_name: str, problems: list[Problem]) -> bool:
    if file_name.startswith(".") and file_name != SUFFIX:
        return False
    if file_name.endswith(".yml"):
        what = f"a file that ends in .yml is not read; zone files end in {SUFFIX}"
        path = directory / file_name
        problems.append(Problem(str(path), 0, 0, "", what, "", Severity.WARNING, "file-suffix"))
    return file_name.endswith(SUFFIX)


def _zone_of(path: Path, home: Path, problems: list[Problem]) -> Name | None:
    try:
        real = Path(os.path.realpath(path, strict=True))
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        problems.append(_problem(path, f"the file cannot be read: {reason}", "", "file-unreadable"))
        return None
    if not real.is_relative_to(home):
        what = "the link leads out of the directory of zones"
        problems.append(_problem(path, what, "copy the file, or serve its own directory", "file-outside"))
        return None
    if not real.is_file():
        problems.append(_problem(path, "this is not a regular file", "", "file-unreadable"))
        return None
    try:
        return zone_name(path.name)
    except (BadName, ValueError) as error:
        hint = "such as example.com.yaml"
        problems.append(_problem(path, f"the file is not named as a zone: {error}", hint, "bad-file-name"))
        return None


def _problem(path: Path, what: str, hint: str, check: str) -> Problem:
    shown = str(path).encode("utf-8", "replace").decode()
    return Problem(shown, 0, 0, "", what, hint, check=check)
