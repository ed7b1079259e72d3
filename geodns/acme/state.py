"""What survives a restart: the Book as JSON in the state folder."""

import json
import re
from pathlib import Path
from typing import Any

from geodns.acme.accounts import Account
from geodns.acme.book import parse
from geodns.acme.words import Change, Refused
from geodns.config import Config
from geodns.health import files
from geodns.problems import Problem

OCTETS_MAX = 64 << 20  # CHANGES_MAX changes with names of 1,000 characters, and the accounts
MODE = 0o600  # of a new file: hashes of keys are nobody else's business
BROKEN = ".broken"  # what a file is called that could not be read, so that nothing in it is lost


def state_path(config: Config, server_id: str) -> Path:
    """Where this instance saves it; others may share the folder."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", server_id)[:100] or "_"
    return config.state / f"acme-{name}.json"


def read(path: Path) -> tuple[list[Change], list[Account], list[Problem]]:
    """What a file has; nothing when there is none, or when it has a problem."""
    try:
        data = files.read(path, OCTETS_MAX)
        if data is None:
            return [], [], []
        return *parse(json.loads(data)), []
    except (files.BadFile, Refused) as error:
        what = str(error)
    except (ValueError, RecursionError):
        what = "this is not JSON"
    return [], [], [Problem(str(path), 0, 0, "", what)]


def write(path: Path, book: dict[str, Any]) -> list[Problem]:
    """Replace the file by one with `Book.to_json`."""
    try:
        files.write(path, json.dumps(book).encode(), MODE)
    except files.BadFile as error:
        return [Problem(str(path), 0, 0, "", str(error))]
    return []
