"""One record of a zone file put or taken out, and every other octet of the file left as it is.

    text --Source--> what each record says, before and after: nobody else's may differ
    text --compose--> where the record stands --ruamel.yaml--> its own lines, changed in place --> text

A record that is changed keeps its comments, the order of its keys, and its style. What can not be done
without touching other records (they share its text by an alias, say) is refused.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from difflib import SequenceMatcher
from functools import lru_cache
from io import StringIO
from typing import Any, NamedTuple

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import ScalarNode
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, PlainScalarString, SingleQuotedScalarString

from geodns.name import BadName, Name
from geodns.problems import Problem
from geodns.zone import rdata, yamlout
from geodns.zone.parse import ZONE_KEY
from geodns.zone.source import Items, Mapping, Node, Source, Text

KEPT_OCTETS_MAX = 1 << 18  # of a record whose comments are kept: ruamel.yaml reads some 100 kB/s
WIDTH_COLUMNS = 1 << 20  # of what ruamel.yaml writes: no line is broken that was not
_BOM = "\ufeff"
_ANCHOR = re.compile(r"&\S+(?:\s|#[^\n]*\n)*")
_LIST_STYLE = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*(?:#[^\n]*)?\n(?:[ ]*(?:#[^\n]*)?\n)*( *)- ", re.M)
_MAPPING_STYLE = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*(?:#[^\n]*)?\n( +)[^\s#-]", re.M)
_COMMENT_LINE = re.compile(r"^[ \t]*(#[^\n]*?)[ \t\r]*$", re.M)
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_DECIMAL = re.compile(r"-?[0-9]{1,10}\.[0-9]{1,10}")

Plain = Any  # None, str, and lists and mappings of them: what a node says, without how it is written
Said = dict[tuple[bytes, str], list[Node]]  # by the owner's key and the type


class EditError(ValueError):
    """The file can not be changed so; `problems` has what is wrong with it already."""

    def __init__(self, what: str, problems: list[Problem] | None = None) -> None:
        super().__init__(what)
        self.problems = problems or []


class Record(NamedTuple):
    """A record as its file has it; `at` is its packed place, `type` a name as `canonical_type` gives it."""

    owner: Name
    type: str
    at: int
    node: Mapping


@lru_cache(maxsize=1024)
def canonical_type(text: str) -> str:
    """ "A" of "a" and of "TYPE1"; what no DNS type is named (ALIAS, mistakes) in capitals."""
    try:
        return rdata.type_name(rdata.type_number(text))
    except rdata.BadRdata:
        return text.upper()


def records(source: Source, apex: Name) -> Iterator[Record]:
    """The records of a file in its order, also those with mistakes in their data."""
    for key, node in source.entries():
        owner = _owner(str(key), apex)
        if owner is not None:
            for item in node if isinstance(node, Items) else [node]:
                kind = item.get("type") if isinstance(item, Mapping) else None  # type: ignore[call-overload]
                if isinstance(kind, Text) and isinstance(item, Mapping):
                    yield Record(owner, canonical_type(kind), kind.at, item)


def as_json(node: Node) -> Any:
    """What JSON has for a node: numbers and booleans where their texts come out the same."""
    if isinstance(node, Mapping):
        return {str(key): as_json(item) for key, item in node.items()}
    if isinstance(node, Items):
        return [as_json(item) for item in node]
    text = str(node)
    if node.quoted:
        return text
    if node.is_null:
        return None
    if text in ("true", "false"):
        return text == "true"
    if _INTEGER.fullmatch(text) and text != "-0":
        return int(text)
    if _DECIMAL.fullmatch(text) and repr(float(text)) == text:
        return float(text)
    return text


def put(data: bytes, apex: Name, owner: Name, rtype: str, record: dict[str, Any], file: str) -> Source:
    """The file with this record in the place of the one of its name and type, or added; its entries are still
    to be read.

    `record` is the YAML form as JSON; its `type` may be left out. A number that has not changed stays as it
    is written: JavaScript has 39 for 39.0. Raises EditError.
    """
    record = record if "type" in record else {"type": rtype, **record}
    if canonical_type(str(record["type"])) != rtype:
        raise EditError(f'the record\'s type is "{record["type"]}", and {rtype} is to be written')

    def change(text: _File, record: dict[str, Any]) -> str:
        here = text.entries(owner)
        for _, value in here:
            for item in _items(value):
                if _type_of(item) == rtype:
                    return text.replaced(item, record)
        return text.joined(*here[0], record) if here else text.added(owner, record)

    before = Source(data, file)
    where = (owner.key, rtype)
    said = _said(before.entries(), before, apex)
    if where in said:
        record = _respelled(as_json(said[where][0]), record)
        if [_plain(record)] == _plain(said[where]):
            return Source(data, file)
    return _edited(before, said, apex, (where, record), lambda text: change(text, record))


def remove(data: bytes, apex: Name, owner: Name, rtype: str, file: str) -> Source:
    """The file without the record of this name and type; its entries are still to be read.

    Raises EditError, LookupError when there is none.
    """

    def change(text: _File) -> str:
        for key, value in text.entries(owner):
            for item in _items(value):
                if _type_of(item) == rtype:
                    return text.without(key, value, item)
        raise LookupError(rtype)

    before = Source(data, file)
    said = _said(before.entries(), before, apex)
    return _edited(before, said, apex, ((owner.key, rtype), None), change)


# What a file says


def _owner(text: str, apex: Name) -> Name | None:
    if text == ZONE_KEY:
        return None
    try:
        return Name.parse(text, apex)
    except (BadName, ValueError):
        return None


def _edited(
    source: Source,
    before: Said,
    apex: Name,
    wanted: tuple[tuple[bytes, str], dict[str, Any] | None],
    change: Callable[["_File"], str],
) -> Source:
    """The changed file, when it says the same as before in every record but the one that is `wanted`."""
    where, record = wanted
    text = source.data.decode()
    mark = _BOM if text.startswith(_BOM) else ""
    written = Source((mark + change(_File(text.removeprefix(_BOM), apex))).encode(), source.file)
    try:
        after = _said(written.keep(), written, apex)
    except EditError:
        after = {}
    now = _plain(after.pop(where, []))
    before.pop(where, None)
    if now != ([] if record is None else [_plain(record)]) or not _is_same(before, after):
        what = "others share the text of this record by an alias or `<<`, and would be changed as well"
        raise EditError(f"{what}: edit the whole file")
    return written


def _said(entries: Iterable[tuple[Text, Node]], source: Source, apex: Name) -> Said:
    """What stands under each name and type, and under each key that is no name. Raises EditError."""
    said: Said = {}
    for key, node in entries:
        owner = _owner(str(key), apex)
        for item in node if owner is not None and isinstance(node, Items) else [node]:
            kind = item.get("type") if isinstance(item, Mapping) else None  # type: ignore[call-overload]
            if owner is not None and isinstance(kind, Text):
                said.setdefault((owner.key, canonical_type(kind)), []).append(item)
            else:
                said.setdefault((b"", str(key)), []).append(item)
    if any(problem.is_error for problem in source.problems):
        raise EditError("the file has errors: mend it as a whole first", source.problems)
    return said


def _is_same(one: Said, other: Said) -> bool:
    return one.keys() == other.keys() and all(
        nodes == other[key] and _plain(nodes) == _plain(other[key]) for key, nodes in one.items()
    )


def _respelled(old: Any, new: Any) -> Any:
    """`new` with the numbers of `old` (both as JSON) where the two have the same: 39.0 for 39."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {key: _respelled(old.get(key), value) for key, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return _respelled_list(old, new)
    return old if _key(old) == _key(new) else new


def _respelled_list(old: list[Any], new: list[Any]) -> list[Any]:
    if all(isinstance(item, str) for item in old):
        return new
    before, after = ([_key(item) for item in items] for items in (old, new))
    made: list[Any] = []
    for tag, first, last, start, end in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if tag == "equal":
            made += old[first:last]
        elif tag == "replace" and last - first == end - start:
            made += map(_respelled, old[first:last], new[start:end])
        else:
            made += new[start:end]
    return made


def _key(value: Any) -> str:
    """The same for values of JSON that are the same, whatever the spelling of their numbers."""
    return json.dumps(_by_number(value), sort_keys=True)


def _by_number(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_number(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_by_number(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _plain(value: Any) -> Plain:
    """Of a node, or of JSON's values."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, Text):
        return None if value.is_null else str(value)
    return None if value is None else _shown(value)


def _shown(value: object) -> str:
    """How a scalar is written, apart from its quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


# Where it stands


def _items(value: Any) -> list[Any]:
    return value.value if isinstance(value, yaml.SequenceNode) else [value]


def _type_of(item: Any) -> str:
    if isinstance(item, yaml.MappingNode):
        for key, value in item.value:
            if key.value == "type" and isinstance(value, yaml.ScalarNode):
                return canonical_type(value.value)
    return ""


class _File:
    """The text of a file that Source can read, and its nodes: each method gives the text after a change."""

    def __init__(self, text: str, apex: Name) -> None:
        self._text = text
        self._apex = apex
        self._newline = "\r\n" if "\r\n" in text else "\n"
        loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
        root = yaml.compose(text, Loader=loader)
        assert isinstance(root, yaml.MappingNode)  # as Source has found
        self._root = root

    def entries(self, owner: Name) -> list[tuple[Any, Any]]:
        """The key and the value of each entry of this name. Raises EditError for one that is an alias."""
        found = [
            (key, value)
            for key, value in self._root.value
            if isinstance(key, yaml.ScalarNode) and _owner(key.value, self._apex) == owner
        ]
        for key, value in found:
            after = key.end_mark.index
            for item in (value, *_items(value)):
                if item.start_mark.index < after:
                    raise EditError(f"the records of {owner} are an alias: edit the whole file")
                after = item.start_mark.index
        return found

    def replaced(self, item: Any, record: dict[str, Any]) -> str:
        """With another text for the mapping `item`."""
        start = self._start(item)
        end = self._end(item)
        if not item.flow_style:
            end = self._line_end(end)  # a comment behind the last value is the record's
        column = start - self._line_start(start)
        old = self._text[start:end].replace("\r\n", "\n")
        new = _rewritten(old, column, record, bool(item.flow_style), self._text)
        lost = _lost_comments(old, new)
        if not item.flow_style:
            new += "".join(f"\n{' ' * column}{comment}" for comment in lost)
            return self._spliced(start, end, new)
        after = self._line_end(end)
        margin = " " * self._indent(start)
        kept = self._text[end:after] + "".join(f"\n{margin}{comment}" for comment in lost)
        return self._spliced(start, after, new + kept)

    def joined(self, key: Any, value: Any, record: dict[str, Any]) -> str:
        """With the record added to the entry of its name, which becomes a list if it is none."""
        if not isinstance(value, yaml.SequenceNode):
            return self._listed(key, value, record)
        end = self._end(value.value[-1]) if value.value else 0
        if value.flow_style or not value.value:
            at = end or self._end(value) - 1
            return self._spliced(at, at, (", " if value.value else "") + yamlout.flow(record))
        last = value.value[-1].start_mark.index
        dash = self._text.rindex("-", 0, last)
        at = self._line_end(end)
        return self._spliced(at, at, "\n" + _item(record, dash - self._line_start(dash)))

    def _listed(self, key: Any, value: Any, record: dict[str, Any]) -> str:
        """With a list of the record that is there and this one."""
        start, end = value.start_mark.index, self._end(value)
        if self._root.flow_style:
            return self._spliced(start, end, f"[{self._text[start:end]}, {yamlout.flow(record)}]")
        between = self._text[key.end_mark.index : start]
        if not isinstance(value, yaml.MappingNode) or (start != self._start(value) and not value.flow_style):
            raise EditError("the record of this name is not written as one that another can stand beside")
        after = self._line_end(end)
        old = self._text[start:after].replace("\r\n", "\n")
        if value.flow_style:
            if "#" in between:
                raise EditError("there is a comment between the name and its record: edit the whole file")
            column = key.start_mark.column + 2
            start = key.end_mark.index + between.index(":") + 1
            first = f"\n{' ' * column}- {old}"
        else:
            column = start - self._line_start(start)
            first = "- " + re.sub(r"\n(?=[^\n])", "\n  ", old)
        return self._spliced(start, after, f"{first}\n{_item(record, column)}")

    def added(self, owner: Name, record: dict[str, Any]) -> str:
        """With an entry more at the end, in front of what comments stand there."""
        name = "" if owner == self._apex else owner.relative_to(self._apex)
        if any(key.value == "<<" for key, _ in self._root.value):
            raise EditError("a `<<` among the names may have this one: edit the whole file")
        end = self._end(self._root.value[-1][1]) if self._root.value else 0
        if self._root.flow_style or not end:
            at = end or self._end(self._root) - 1
            entry = f"{yamlout.quote(name)}: {yamlout.flow(record)}"
            return self._spliced(at, at, (", " if end else "") + entry)
        at = self._line_end(end)
        lines = yamlout.block({name: record}, self._root.start_mark.column)
        return self._spliced(at, at, "\n\n" + "\n".join(lines))

    def without(self, key: Any, value: Any, item: Any) -> str:
        """Without the record `item` of the entry, and without the entry when it was the only one."""
        is_only = len(_items(value)) == 1
        start = key.start_mark.index if is_only else item.start_mark.index
        end = self._end(value if is_only else item)
        outer = self._root if is_only else value
        if outer.flow_style:
            return self._without_comma(start, end)
        if not is_only:
            start = self._text.rindex("-", 0, start)
        after = min(self._line_end(end) + len(self._newline), len(self._text))
        before, rest = self._text[: self._line_start(start)], self._text[after:]
        blank = self._newline * 2
        if is_only and before.endswith(blank) and (not rest or rest.startswith(self._newline)):
            before = before.removesuffix(self._newline)  # one blank line where there were two
        return before + rest

    def _without_comma(self, start: int, end: int) -> str:
        following = re.compile(r"\s*,[ \t]*").match(self._text, end)
        if following:
            return self._text[:start] + self._text[following.end() :]
        before = self._text[:start].rstrip()
        return before.removesuffix(",") + self._text[end:]

    # Places in the text

    def _spliced(self, start: int, end: int, new: str) -> str:
        new = new.replace("\r\n", "\n").replace("\n", self._newline)
        return self._text[:start] + new + self._text[end:]

    def _line_start(self, at: int) -> int:
        return self._text.rfind("\n", 0, at) + 1

    def _line_end(self, at: int) -> int:
        """Where the line ends, before its line break."""
        end = self._text.find("\n", at)
        if end < 0:
            return len(self._text)
        return end - 1 if self._text[end - 1] == "\r" and end > at else end

    def _indent(self, at: int) -> int:
        """The blanks in front of a line."""
        line = self._text[self._line_start(at) : at]
        return len(line) - len(line.lstrip(" "))

    def _start(self, node: Any) -> int:
        """Where a node begins, behind its anchor."""
        start: int = node.start_mark.index
        anchor = _ANCHOR.match(self._text, start)
        return anchor.end() if anchor else start

    def _end(self, node: Any) -> int:
        """Where the text of a node ends. libyaml has the end of a block where the next token begins."""
        while isinstance(node, yaml.CollectionNode) and not node.flow_style:
            after, last = node.start_mark.index, node.value[-1]
            if isinstance(node, yaml.MappingNode):
                after, last = last[0].end_mark.index, last[1]
            elif len(node.value) > 1:
                after = node.value[-2].start_mark.index + 1
            if last.start_mark.index < after:  # it is an alias, whose place nobody has kept
                return self._before_comments(node.end_mark.index)
            node = last
        end: int = node.end_mark.index
        while end and self._text[end - 1].isspace():
            end -= 1
        return end

    def _before_comments(self, at: int) -> int:
        while at:
            start = self._line_start(at - 1)
            line = self._text[start:at].strip()
            if line and not line.startswith("#"):
                break
            at = start
        return len(self._text[:at].rstrip())


# How it is written


def _item(record: dict[str, Any], column: int) -> str:
    """A record as an item of a list whose dashes stand in this column."""
    first, *lines = yamlout.block(record, column + 2)
    return "\n".join([f"{' ' * column}- {first.lstrip()}", *lines])


def _rewritten(old: str, column: int, record: dict[str, Any], is_flow: bool, text: str) -> str:
    """The text of a mapping that begins in this column, with what the record says now."""
    margin = " " * column
    tree = None
    if len(old) <= KEPT_OCTETS_MAX and "<<" not in old:
        tree = _read(re.sub(rf"\n {{0,{column}}}", "\n", old))
    if tree is None:  # it has aliases, or is too much
        lines = [yamlout.flow(record)] if is_flow else yamlout.block(record)
    else:
        _merge(tree, record)
        lines = _write(tree, old, text).rstrip().split("\n")
    return "\n".join([lines[0], *(margin + line if line else line for line in lines[1:])])


def _read(text: str) -> CommentedMap | None:
    try:
        tree = _yaml().load(text)
    except (YAMLError, ValueError, RecursionError):
        return None
    return tree if isinstance(tree, CommentedMap) else None


def _write(tree: CommentedMap, old: str, text: str) -> str:
    """In the style that the record has, else in that of its file."""
    writer = _yaml()
    dash = _LIST_STYLE.search(old) or _LIST_STYLE.search(text)
    offset = min(max(len(dash[2]) - len(dash[1]), 0), 8) if dash else 2
    nested = _MAPPING_STYLE.search(old) or _MAPPING_STYLE.search(text)
    deep = min(max(len(nested[2]) - len(nested[1]), 1), 8) if nested else 2
    writer.indent(mapping=deep, sequence=offset + 2, offset=offset)
    out = StringIO()
    writer.dump(tree, out)
    return out.getvalue()


class _TextResolver(VersionedResolver):
    """Takes every scalar for a text, as Source does: 0060 and 50.10 stay as they are written."""

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        if kind is ScalarNode:
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)


def _yaml() -> YAML:
    made = YAML()
    made.Resolver = _TextResolver
    made.preserve_quotes = True
    made.width = WIDTH_COLUMNS
    made.brace_single_entry_mapping_in_flow_sequence = True  # [{value: x}], and not [value: x]
    return made


def _merge(old: CommentedMap, new: dict[str, Any]) -> None:
    known = {_shown(key): key for key in old}
    for text, key in known.items():
        if text not in new:
            del old[key]
    for text, value in new.items():
        if text in known:
            old[known[text]] = _merged(old[known[text]], value)
        else:
            old[_styled(text)] = _styled(value)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(old, CommentedMap) and isinstance(new, dict):
        _merge(old, new)
    elif isinstance(old, CommentedSeq) and isinstance(new, list):
        _merge_list(old, new)
    elif isinstance(new, (dict, list)) or _plain(old) != _plain(new):
        quoted = isinstance(old, (SingleQuotedScalarString, DoubleQuotedScalarString))
        if quoted and isinstance(new, str) and new.isprintable():
            return type(old)(new)
        return _styled(new)
    return old


def _merge_list(old: CommentedSeq, new: list[Any]) -> None:
    """What stays the same keeps its comments."""
    before, after = ([repr(_plain(item)) for item in items] for items in (old, new))
    changes = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for tag, first, last, start, end in reversed(changes):
        if tag == "replace" and last - first == end - start:
            for at in range(last - first):
                old[first + at] = _merged(old[first + at], new[start + at])
        elif tag != "equal":
            for at in reversed(range(first, last)):
                del old[at]
            for at, item in enumerate(new[start:end]):
                old.insert(first + at, _styled(item))


def _styled(value: Any) -> Any:
    """A value of JSON's as ruamel.yaml will write it, with the quotes that `yamlout` would give it."""
    if isinstance(value, dict):
        return {_styled(str(key)): _styled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_styled(item) for item in value]
    quoted = yamlout.scalar(value)
    if quoted[0] not in "'\"":
        return PlainScalarString(quoted)
    value = str(value)
    return (SingleQuotedScalarString if quoted[0] == "'" else DoubleQuotedScalarString)(value)


def _lost_comments(old: str, new: str) -> list[str]:
    """The comments with a line of their own that the new text has no more."""
    left = Counter(_COMMENT_LINE.findall(new))
    lost = []
    for comment in _COMMENT_LINE.findall(old):
        left[comment] -= 1
        if left[comment] < 0:
            lost.append(comment)
    return lost
