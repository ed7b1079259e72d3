"""The only room that knows YAML: zone files in, checked zones out.

    file --source--> Source --parse--> Zone --checks--> CheckedZone --> table.compile
           |                  |                 |
           +------------------+-----------------+--> problems, each with file:line:column

It knows nothing of packets, sockets, databases or tables. `forms` has the structure of a file (and its JSON
Schema) and `fields` single settings, `rdata` the data of records, `steering` and `zonepools` who gets which
of them, `files` the names of files; `rfc1035` reads and writes zone files of the old kind.
"""

import gc
from functools import lru_cache
from pathlib import Path

from geodns.name import BadName, Name
from geodns.problems import Problem
from geodns.zone.files import zone_file_name, zone_files, zone_name
from geodns.zone.model import CheckedZone, Zone
from geodns.zone.source import Source, read_file

__all__ = [
    "CheckedZone",
    "Zone",
    "load",
    "load_source",
    "load_text",
    "local_zones",
    "zone_file_name",
    "zone_files",
    "zone_name",
]

_LOCAL = Path(__file__).parent / "local"
_LOCAL_SERIAL = 1  # the built-in zones change with a release, and nobody transfers them


def load(path: Path, serial: int | None = None) -> tuple[CheckedZone | None, list[Problem]]:
    """Read and check one zone file, whose name is that of the zone. Never raises for what a user can get
    wrong.

    The zone is None when a problem is an error. `serial` is that of a SOA whose file gives none; else it is
    the time of the file's last change.
    """
    try:
        apex = zone_name(path.name)
    except (BadName, ValueError) as error:
        what = f"the file is not named as a zone: {error}"
        return None, [Problem(str(path), 0, 0, "", what, "such as example.com.yaml", check="bad-file-name")]
    contents = read_file(path)
    if isinstance(contents, Problem):
        return None, [contents]
    return load_text(contents.data, apex, str(path), contents.changed if serial is None else serial)


def load_text(
    data: bytes, apex: Name, file: str, serial: int | None = None, *, local: bool = False
) -> tuple[CheckedZone | None, list[Problem]]:
    """Read and check the text of a zone file. `file` is how messages call it; `local` marks the built-in
    zones.
    """
    return load_source(Source(data, file), apex, serial, local=local)


def load_source(
    source: Source, apex: Name, serial: int | None = None, *, local: bool = False
) -> tuple[CheckedZone | None, list[Problem]]:
    """As `load_text`, of a Source whose entries are still to be read."""
    # here, since a process that only serves does without, and starts in less time
    from geodns.zone import parse
    from geodns.zone.checks import check

    collecting = gc.isenabled()
    gc.disable()  # a zone is many small objects without cycles; looking for some takes a third of the time
    try:
        parsed = parse.parse(source, apex, serial, local)
        if parsed.zone is None:
            return None, parsed.problems
        checked, problems = check(parsed.zone, parsed.broken)
    finally:
        if collecting:
            gc.enable()
    problems = sorted(parsed.problems + problems, key=lambda problem: (problem.line, problem.column))
    return (None if any(problem.is_error for problem in problems) else checked), problems


@lru_cache(maxsize=1)
def _load_local() -> tuple[CheckedZone, ...]:
    zones = []
    for path in sorted(_LOCAL.glob("*.yaml")):
        apex = zone_name(path.name)
        checked, problems = load_text(
            path.read_bytes(), apex, f"local/{path.name}", _LOCAL_SERIAL, local=True
        )
        if checked is None:
            raise RuntimeError(f"a built-in zone is broken: {problems[0]}")
        zones.append(checked)
    return tuple(zones)


def local_zones() -> list[CheckedZone]:
    """The built-in zones: localhost and the addresses that mean this host or none (RFC 6761, RFC 6303)."""
    return list(_load_local())
