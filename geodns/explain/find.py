"""Which zone has a name, and what the name is in it: lookup, in words."""

from geodns.engine.lookup import closest_encloser
from geodns.explain.step import Step
from geodns.name import Name
from geodns.table.shape import Dname, Node, Plan, Table
from geodns.zone.rdata import type_name


def find_steps(table: Table, name: Name, qtype: int) -> list[Step]:
    """Which zone, and what the name is in it."""
    node = table.nodes.get(name.key)
    found = node or closest_encloser(table.nodes, name.key)
    if found is None:
        failed = [apex for apex in table.failed if name.is_under(Name(apex))]
        if failed:
            return [Step("zone", f"{Name(failed[0])} has a file, but no version of it without an error")]
        return [Step("zone", "none of the zones that are served has this name")]
    if node is not None and name.key in table.parent_side and type_name(qtype) == "DS":
        found = table.parent_side[name.key]
    zone = found.zone
    steps = [Step("zone", f"{Name(zone.apex)} ({zone.file}, serial {zone.serial})")]
    if node is not None:
        steps.append(Step("name", _existing(node, qtype)))
        if any(name.key in overlay.nodes for overlay in table.overlays):
            said = "an ACME challenge stands here or below, beside what the file has"
            steps.append(Step("challenge", f"{said} (geodns acme-dns-01 list)"))
        return steps
    encloser = next(key for key in _ancestors(name) if table.nodes.get(key) is found)
    steps.append(Step("name", _missing(found, Name(encloser))))
    return steps


def _existing(node: Node, qtype: int) -> str:
    if isinstance(node.below, Plan):
        return "is where a child zone is delegated: a referral for all types but DS"
    types = " ".join(type_name(rtype) for rtype in sorted(node.plans)) or "none: it has only names below it"
    if qtype in node.plans:
        return f"exists, with types {types}"
    return f"exists, without this type (types: {types})"


def _missing(encloser: Node, name: Name) -> str:
    """What becomes of a name that does not exist, under its closest encloser (RFC 4592)."""
    if isinstance(encloser.below, Plan):
        return f"is in the child zone {name}, which is delegated: a referral"
    if isinstance(encloser.below, Dname):
        return f"is below the DNAME at {name}, which redirects it"
    if isinstance(encloser.below, Node):
        return f"does not exist; the wildcard {name.child(b'*')} stands in for it"
    return f"does not exist; the closest name above it is {name}, which has no wildcard"


def _ancestors(name: Name) -> list[bytes]:
    keys = []
    while not name.is_root:
        name = name.parent()
        keys.append(name.key)
    return keys
