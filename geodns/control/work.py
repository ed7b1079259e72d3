"""The work of the API that takes time: zone files read, checked and changed. Pure: octets in, outcome out.

    Task --perform--> Outcome

It runs in a process of its own (`control.worker`), so that a large zone keeps nobody else waiting.
"""

import difflib
import json
from typing import Any

from geodns.control.document import Document, document
from geodns.control.forms import Record, RecordRow, Records
from geodns.control.tasks import Check, Checked, Edit, File, List, Outcome, Refused, Show, Task
from geodns.name import Name
from geodns.problems import Problem
from geodns.table.compile import compile_zone
from geodns.zone import edit, load_source
from geodns.zone.edit import EditError
from geodns.zone.parse import TTL_SECONDS_DEFAULT, ZONE_KEY
from geodns.zone.source import Mapping, Node, Source, Text

DIFF_LINES_MAX = 4_000  # between the first and the last difference: a diff of more is not read
DIFF_CONTEXT = 3  # lines, as everywhere
NESTING_MAX = 64  # of a record's JSON; a zone file has half of it at most


def perform(task: Task) -> Outcome:
    """Do it. Raises nothing that a client can cause but MemoryError."""
    match task:
        case Check():
            return _checked(task.before, task.after, task.name)
        case Edit():
            return _changed(task)
        case List():
            return _list(task)
        case Show():
            return _show(task)


def _checked(before: bytes, after: File | None, name: str) -> Checked:
    if after is None:
        return Checked(b"", True, 0, (), unified(before, b"", name))
    return _loaded(before, Source(after.data, after.name), after.zone, name)


def _loaded(before: bytes, source: Source, zone: Name, name: str) -> Checked:
    diff = unified(before, source.data, name)
    count = 0
    checked, problems = load_source(source, zone)
    if checked is not None:
        try:
            count = compile_zone(checked).records
        except MemoryError:
            raise
        except Exception as error:
            checked = None
            what = f"compiling the zone failed: {type(error).__name__}: {error}"
            problems.append(Problem(source.file, 0, 0, "", what, "a bug of geodns: please report it"))
    return Checked(source.data, checked is not None, count, tuple(problems), diff)


def _changed(task: Edit) -> Outcome:
    file, owner = task.file, Name(task.owner)
    try:
        if task.record is None:
            source = edit.remove(file.data, file.zone, owner, task.type, file.name)
        else:
            source = edit.put(file.data, file.zone, owner, task.type, _record(task.record), file.name)
    except LookupError:
        return Refused(404, f"{file.name} has no record of {owner} {task.type}")
    except EditError as error:
        return Refused(422, str(error), tuple(error.problems))
    except (ValueError, RecursionError) as error:
        return Refused(400, f"the body is not a record in JSON: {error}")
    return _loaded(file.data, source, file.zone, file.name)


def _record(body: bytes) -> dict[str, Any]:
    """A record of JSON. Raises ValueError."""
    if body.count(b"[") + body.count(b"{") > NESTING_MAX and _depth(body) > NESTING_MAX:
        raise ValueError("it is nested too deeply")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def no_number(text: str) -> Any:
        raise ValueError(f"{text} is no number")

    found = json.loads(body, object_pairs_hook=once, parse_constant=no_number)
    if not isinstance(found, dict):
        raise ValueError("it is not an object")
    json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate is no text
    return found


def _depth(body: bytes) -> int:
    """The deepest nesting that these octets may have; more than that only where texts have brackets."""
    depth = deepest = 0
    for octet in body:
        if octet in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif octet in b"]}":
            depth -= 1
    return deepest


def _list(task: List) -> Document:
    source = Source(task.file.data, task.file.name)
    search = task.search.lower()
    found = [
        (task.file.zone, each)
        for each in edit.records(source, task.file.zone)
        if not search or search in _name(task.file.zone, each) or search == each.type.lower()
    ]
    default = _default_ttl(task.file)
    rows = [_row(apex, each, source, default) for apex, each in found[: task.limit]]
    return document(Records(zone=str(task.file.zone), total=len(found), records=rows).model_dump())


def _name(apex: Name, each: edit.Record) -> str:
    return each.owner.relative_to(apex)


def _row(apex: Name, each: edit.Record, source: Source, default_ttl: int) -> RecordRow:
    node = each.node
    ttl = _get(node, "ttl")
    dynamic = _get(node, "dynamic")
    geo = _get(node, "geo")
    pools: dict[str, None] = {}
    if isinstance(geo, Mapping):
        pools.update(dict.fromkeys(map(str, geo)))
    if isinstance(dynamic, Mapping):
        own = _get(dynamic, "pools")
        pools.update(dict.fromkeys(map(str, own)) if isinstance(own, Mapping) else {})
        rules = _get(dynamic, "rules")
        for rule in rules if isinstance(rules, list) else []:
            pools.update(dict.fromkeys(_named(rule)))
    return RecordRow(
        name=_name(apex, each),
        type=each.type,
        ttl=default_ttl if ttl is None else _number(ttl),
        steered=bool(pools),
        pools=list(pools),
        line=source.mark(each.at).line,
    )


def _named(rule: Node) -> list[str]:
    """The pools that a rule names."""
    if not isinstance(rule, Mapping):
        return []
    several = _get(rule, "pools")
    named = [_get(rule, "pool"), *(several if isinstance(several, list) else [])]
    return [str(pool) for pool in named if isinstance(pool, Text)]


def _get(node: Mapping, key: str) -> Node | None:
    return node.get(key)  # type: ignore[call-overload, no-any-return]  # a str finds the Text that equals it


def _number(node: Node | None) -> int | None:
    text = str(node) if isinstance(node, Text) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _default_ttl(file: File) -> int:
    for key, node in Source(file.data, file.name).entries():
        if key == ZONE_KEY and isinstance(node, Mapping):
            found = _number(_get(node, "ttl"))
            return TTL_SECONDS_DEFAULT if found is None else found
    return TTL_SECONDS_DEFAULT


def _show(task: Show) -> Outcome:
    source = Source(task.file.data, task.file.name)
    for each in edit.records(source, task.file.zone):
        if (each.owner.key, each.type) == (Name(task.owner).key, task.type):
            found = Record(
                zone=str(task.file.zone),
                name=_name(task.file.zone, each),
                type=each.type,
                line=source.mark(each.at).line,
                record=edit.as_json(each.node),
            )
            return document(found.model_dump())
    return Refused(404, f"{task.file.name} has no record of {Name(task.owner)} {task.type}")


def unified(before: bytes, after: bytes, name: str) -> str | None:
    """A unified diff; "" when nothing differs, None when too much does."""
    old, new = (_lines(data) for data in (before, after))
    same = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        same += 1
    tail = 0
    while tail < min(len(old), len(new)) - same and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    start = max(0, same - DIFF_CONTEXT)
    ends = [len(lines) - max(0, tail - DIFF_CONTEXT) for lines in (old, new)]
    if max(ends) - start > DIFF_LINES_MAX:
        return None
    return _hunks(old[start : ends[0]], new[start : ends[1]], start, name)


def _lines(data: bytes) -> list[str]:
    return data.decode("utf-8", "replace").removesuffix("\n").split("\n") if data else []


def _hunks(old: list[str], new: list[str], start: int, name: str) -> str:
    """The diff of pieces that begin at line `start` (from 0) of both files."""
    lines = list(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", n=DIFF_CONTEXT, lineterm=""))
    return "\n".join(_moved(line, start) for line in lines) + ("\n" if lines else "")


def _moved(line: str, start: int) -> str:
    """A line of a diff, with the numbers of the whole file if it has some."""
    if not line.startswith("@@"):
        return line
    marks = line.split(" ")
    for at in (1, 2):
        number, comma, count = marks[at][1:].partition(",")
        marks[at] = f"{marks[at][0]}{int(number) + start}{comma}{count}"
    return " ".join(marks)
