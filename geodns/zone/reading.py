"""What every reader of a file's parts needs: places, problems, and record data.

node --value--> record data in wire form, and a problem for what is none
"""

from geodns.problems import Severity
from geodns.zone import rdata
from geodns.zone.fields import POOL_NAME_CHARACTERS_MAX, VALUES_MAX
from geodns.zone.model import Mark, Rdata
from geodns.zone.rdata import BadRdata, UnknownField
from geodns.zone.source import Mapping, Node, Source, Text, shorten


class Reading:
    """The file that is being read. While `lenient`, warnings are not told: octoDNS's, of a record."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.lenient = False

    def mark(self, at: int) -> Mark:
        return self.source.mark(at)

    def report(
        self,
        at: int,
        where: str,
        what: str,
        hint: str = "",
        check: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        self.source.report(at, where, what, hint, check, severity)

    def warn(self, at: int, where: str, what: str, hint: str = "", check: str = "") -> None:
        if not self.lenient:
            self.source.report(at, where, what, hint, check, Severity.WARNING)

    def values(self, where: str, rtype: int, nodes: list[Node]) -> tuple[tuple[Rdata, ...], tuple[Mark, ...]]:
        """The data of a record or place, each once, and where it stands."""
        if len(nodes) == 1:
            wire = self.value(where, rtype, nodes[0])
            return ((), ()) if wire is None else ((wire,), (self.mark(nodes[0].at),))
        if len(nodes) > VALUES_MAX:
            what = f"{len(nodes):,} values; {VALUES_MAX:,} are allowed"
            self.report(nodes[VALUES_MAX].at, where, what, check="too-many-values")
            return (), ()
        found: dict[Rdata, Mark] = {}
        for node in nodes:
            wire = self.value(where, rtype, node)
            if wire is None:
                continue
            if wire in found:
                what = f'"{shorten(rdata.to_text(rtype, wire))}" is given twice'
                self.warn(node.at, where, what, "once is enough", "value-twice")
            found.setdefault(wire, self.mark(node.at))
        return tuple(found), tuple(found.values())

    def value(self, where: str, rtype: int, node: Node) -> Rdata | None:
        """The data that a node says; None for what is told of as a problem."""
        if is_null(node):
            self.report(node.at, where, "the value is empty", check="no-value")
            return None
        try:
            return rdata.from_yaml(rtype, node)
        except BadRdata as error:
            at, check = node.at, "bad-value"
            if isinstance(node, Mapping) and error.field in node:
                at = child(node, error.field).at
                if isinstance(error, UnknownField):
                    at, check = node.key_at(error.field), "unknown-key"
            self.report(at, where, str(error), error.hint, check)
            return None

    def require_pool_name(self, where: str, key: Text) -> None:
        """Tell of a pool's name that could not stand in a line of text."""
        if not key or not key.isprintable() or len(key) > POOL_NAME_CHARACTERS_MAX:
            hint = f"at most {POOL_NAME_CHARACTERS_MAX} characters that can be seen"
            self.report(key.at, where, f'"{shorten(key)}" is not a name for a pool', hint, "bad-setting")


def child(node: Node | None, key: str) -> Node:
    """What stands under a key that the forms have found to be there."""
    assert isinstance(node, Mapping)
    return node[key]  # type: ignore[index]  # a str finds the Text that equals it


def is_null(node: Node) -> bool:
    return isinstance(node, Text) and node.is_null
