"""What survives a restart: the state of every check and what the peers said, as JSON.

    Watches, Peers --save--> dict --write--> file --read--> dict --parse--> Saved

A restart then answers as before it, and no value has to earn its state again. Of the peers only what they
see otherwise than up is written: most of them agree.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geodns.health import files
from geodns.health.votes import PEERS_MAX, Peer
from geodns.health.watch import Watch
from geodns.health.words import PeerView, Result
from geodns.problems import Problem

VERSION = 1
OCTETS_MAX = 64 << 20  # 100,000 checks with keys of 400 characters, and what 16 peers see
COUNT_MAX = 1_000  # successes or failures: as `rise` and `fall` in the config
OLD_SECONDS = 300.0  # longer than a reboot takes; a state older than that holds until the first look
MODE = 0o640  # of a new file: it names every address and command that is checked


@dataclass(frozen=True, slots=True)
class SavedCheck:
    """A check's own state and counters, and `stood`: what it came to with the peers' votes."""

    up: bool
    failures: int
    successes: int
    since: float
    stood: bool
    stood_since: float
    has_risen: bool
    last: Result | None  # for people: why it is up or down


@dataclass(frozen=True, slots=True)
class Saved:
    """Everything that was saved, at Unix second `at`."""

    at: float
    checks: dict[str, SavedCheck]
    peers: tuple[PeerView, ...]

    def is_old(self, now: float) -> bool:
        return not 0 <= now - self.at <= OLD_SECONDS


NOTHING = Saved(0.0, {}, ())


def save(watches: Mapping[str, Watch], peers: Iterable[Peer], at: float) -> dict[str, Any]:
    """What `parse` reads. Checks of which nothing is known are left out."""
    known = {key: watch for key, watch in watches.items() if watch.monitor.is_up is not None}
    return {
        "version": VERSION,
        "at": at,
        "checks": {key: _save_check(watch) for key, watch in known.items()},
        "peers": [_save_peer(peer, known) for peer in peers if peer.counts],
    }


def _save_check(watch: Watch) -> dict[str, Any]:
    return {
        "up": watch.monitor.is_up,
        "failures": watch.monitor.failures,
        "successes": watch.monitor.successes,
        "since": watch.monitor.since,
        "stood": watch.is_up is not False,
        "stood_since": watch.since,
        "has_risen": watch.has_risen,
        "last": None if watch.last is None else list(watch.last[1:]),
    }


def _save_peer(peer: Peer, known: Iterable[str]) -> dict[str, Any]:
    known = list(known)
    return {
        "peer": peer.name,
        "at": peer.heard,
        "down": [key for key in known if peer.up.get(key) is False],
        "missing": [key for key in known if key not in peer.up],
    }


def parse(saved: object) -> Saved:
    """Read what `save` gave. Unknown keys are ignored; raises ValueError when anything is not as it was."""
    data = _mapping(saved, "the state")
    if data.get("version") != VERSION:
        raise ValueError(f"version {data.get('version')!r:.20} is not {VERSION}")
    checks = {key: _parse_check(key, each) for key, each in _mapping(data.get("checks"), "checks").items()}
    peers = _items(data.get("peers"), "peers")[:PEERS_MAX]
    return Saved(_time(data, "at"), checks, tuple(_parse_peer(each, checks) for each in peers))


def _parse_check(key: str, saved: object) -> SavedCheck:
    data = _mapping(saved, f"check {key:.200}")
    return SavedCheck(
        _flag(data, "up"),
        _count(data, "failures"),
        _count(data, "successes"),
        _time(data, "since"),
        _flag(data, "stood"),
        _time(data, "stood_since"),
        _flag(data, "has_risen"),
        _parse_result(key, data.get("last")),
    )


def _parse_result(key: str, saved: object) -> Result | None:
    if saved is None:
        return None
    match _items(saved, "last"):
        case [bool() | None as ok, str() as detail, *times] if len(times) == 2:
            at, took = (_time({"last": value}, "last") for value in times)
            return Result(key, ok, detail, at, took)
    raise ValueError('"last" is not a result')


def _parse_peer(saved: object, keys: Iterable[str]) -> PeerView:
    data = _mapping(saved, "a peer")
    name = data.get("peer")
    if not isinstance(name, str):
        raise ValueError('"peer" is not a text')
    down = frozenset(_texts(data.get("down"), "down"))
    missing = frozenset(_texts(data.get("missing"), "missing"))
    up = {key: key not in down for key in keys if key not in missing}
    return PeerView(name, up, "saved", _time(data, "at"))


def _mapping(value: object, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"{what} is not a mapping")
    return value


def _items(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f'"{what}" is not a list')
    return value


def _texts(value: object, what: str) -> list[str]:
    items = _items(value, what)
    if not all(isinstance(item, str) for item in items):
        raise ValueError(f'"{what}" is not a list of texts')
    return items


def _flag(data: dict[str, Any], key: str) -> bool:
    value = data.get(key)
    if not isinstance(value, bool):
        raise ValueError(f'"{key}" is not true or false')
    return value


def _count(data: dict[str, Any], key: str) -> int:
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= COUNT_MAX:
        raise ValueError(f'"{key}" is not a number from 0 to {COUNT_MAX}')
    return value


def _time(data: dict[str, Any], key: str) -> float:
    value = data.get(key)
    # past 2**53 seconds the arithmetic is no longer exact; nothing that is a time comes near
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise ValueError(f'"{key}" is not a time')
    return float(value)


# ---------------------------------------------------------------------------------------------- files


def read(path: Path) -> tuple[dict[str, Any] | None, list[Problem]]:
    """The saved state in a file, for `Health.restore`; None when there is none or it cannot be read."""
    try:
        data = files.read(path, OCTETS_MAX)
        return (None if data is None else _mapping(json.loads(data), "the state")), []
    except files.BadFile as error:
        return None, [Problem(str(path), 0, 0, "", str(error))]
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return None, [Problem(str(path), 0, 0, "", f"this is no saved state: {error}")]


def write(path: Path, saved: dict[str, Any]) -> list[Problem]:
    """Replace the file with the saved state; the one that was there stays if that fails."""
    try:
        files.write(path, "".join(_pieces(saved)).encode(), MODE)
    except files.BadFile as error:
        return [Problem(str(path), 0, 0, "", str(error))]
    return []


_encode = json.JSONEncoder(separators=(",", ":")).encode


def _pieces(saved: dict[str, Any]) -> Iterator[str]:
    """The JSON, a check at a time: as a whole it would hold the interpreter's lock for 30 ms."""
    comma = "{"
    for key, value in saved.items():
        yield f"{comma}{_encode(key)}:"
        comma = ","
        if isinstance(value, dict):
            yield "{" + ",".join([f"{_encode(inner)}:{_encode(each)}" for inner, each in value.items()]) + "}"
        else:
            yield _encode(value)
    yield "}"
