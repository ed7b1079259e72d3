"""What single words of a master file mean: times and file names."""

import os
import re

from geodns.name import BadName, Name

_TTL_UNITS = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}
_TTL_WITH_UNITS = re.compile(r"(?:\d{1,20}[wdhms])+", re.IGNORECASE | re.ASCII)
_TTL_PART = re.compile(r"(\d+)([wdhms])", re.IGNORECASE | re.ASCII)
_FILE_NAME_ENDINGS = (".signed", ".zone", ".db", ".txt", ".master", ".hosts")
_FILE_NAME_BEGINNINGS = ("db.", "zone.")


def ttl_of(text: str) -> int | None:
    """Seconds of a TTL as BIND writes it, "3600" or "1h30m"; None when it is none. May be too large."""
    if text.isascii() and text.isdigit():
        return int(text[:20])
    if _TTL_WITH_UNITS.fullmatch(text):
        return sum(int(number) * _TTL_UNITS[unit.lower()] for number, unit in _TTL_PART.findall(text))
    return None


def origin_of_file_name(path: str) -> Name | None:
    """The zone of "example.com.zone", "db.example.com" or "example.com"; None when the name is unclear."""
    text = os.path.basename(path)
    for ending in _FILE_NAME_ENDINGS:
        text = text.removesuffix(ending)
    for beginning in _FILE_NAME_BEGINNINGS:
        text = text.removeprefix(beginning)
    text = re.sub(r"%([0-9A-Fa-f]{2})", lambda match: f"\\{int(match[1], 16):03d}", text).strip(".")
    if "." not in text or text.rpartition(".")[2].isdigit():
        return None  # "named", "db.192.0.2"
    try:
        return Name.parse(text)
    except BadName:
        return None
