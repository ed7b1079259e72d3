"""The rooms, and who may ask whom: the imports of every module, read and not run."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "geodns"

# Room: the rooms it may ask, and why no others.
MAY_ASK: dict[str, tuple[set[str], str]] = {
    "name": (set(), "a name is a name, whoever uses it"),
    "problems": (set(), "a problem is text with an address, whoever has it"),
    "zone": ({"name", "problems", "geo"}, "it reads files and knows nothing of what is answered"),
    "geo": ({"problems"}, "it knows addresses and places, and no DNS"),
    "table": ({"name", "zone", "geo"}, "it is made of checked zones and has no sockets, files or clocks"),
    "_native": (set(), "it is Rust, and has its own rooms"),
    "engine": (
        {"name", "table", "geo", "_native"},
        "it is pure: packet to packet, without YAML, databases or sockets",
    ),
    "explain": (
        {"name", "zone", "geo", "table", "engine", "health"},
        "it asks those who decide, and decides nothing",
    ),
    "config": ({"name", "problems", "zone", "geo", "engine"}, "it has settings and starts nothing"),
    "health": ({"name", "problems", "config", "table"}, "it says which values are up, and answers nothing"),
    "acme": (
        {"name", "problems", "config", "health"},
        "it says which challenges are set and who may set them, and answers nothing",
    ),
    "delegation": (
        {"name", "problems", "zone", "geo"},
        "it compares a zone with what the world sees, and serves nothing",
    ),
    "traffic": (
        {"name", "problems", "zone", "geo", "table", "engine", "config"},
        "it looks at what was answered, and has no part in it",
    ),
    "server": (
        {"name", "problems", "zone", "geo", "table", "engine", "explain", "config", "health", "traffic"}
        | {"acme", "control", "_native"},
        "it has the sockets and clocks and puts the others together",
    ),
    "control": (
        {"name", "problems", "zone", "geo", "table", "engine", "explain", "config", "health", "traffic"}
        | {"acme"},
        "it shows and changes what the others have, and is not needed for an answer",
    ),
}
MAY_ASK["cli"] = (set(MAY_ASK), "the commands may use everything, and nothing uses them")

# Of these rooms one room may ask only for the modules named: the words both sides share.
ONLY = {
    ("engine", "geo"): {"partition"},
    ("engine", "table"): {"shape", "steer"},
    ("zone", "geo"): {"codes", "address"},
    ("delegation", "geo"): {"address"},
    ("geo", "problems"): {"problems"},
    ("table", "geo"): {"partition"},
    ("acme", "health"): {"files"},
}

# Libraries that only one room may know.
LIBRARIES = {
    "yaml": {"zone", "config"},
    "ruamel": {"zone"},
    "numpy": {"geo"},
    "maxminddb": {"geo"},
    "geoip2": {"geo"},
    "socket": {"server", "health", "traffic", "geo", "zone"},  # the latter two for inet_pton alone
    "asyncio": {"server", "health", "control"},
    "aiohttp": {"health", "control"},
    "prometheus_client": {"control"},
    "click": {"cli"},
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports() -> list[tuple[str, str, str]]:
    """(file, room, imported module) for every import in the package."""
    found = []
    for file in sorted(PACKAGE.rglob("*.py")):
        relative = file.relative_to(PACKAGE.parent)
        room = room_of(".".join(relative.with_suffix("").parts))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found += [(str(relative), room, alias.name) for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                is_package = (PACKAGE.parent / node.module.replace(".", "/")).is_dir()
                found += [(str(relative), room, name) for name in (names if is_package else [node.module])]
    return found


IMPORTS = imports()


@pytest.mark.parametrize("room", sorted(MAY_ASK))
def test_a_room_asks_only_the_rooms_it_may(room: str) -> None:
    """The arrows of docs/architecture.md: forward, and never around a corner."""
    allowed, why = MAY_ASK[room]
    for file, importing, module in IMPORTS:
        other = room_of(module)
        if importing != room or not module.startswith("geodns.") or other in (room, "__version__"):
            continue
        known = ", ".join(sorted(allowed)) or "nobody"
        assert other in allowed, f"{file} asks {other}; {room} may ask {known}: {why}"
        only = ONLY.get((room, other))
        inner = module.split(".")[2] if module.count(".") > 1 else other
        assert only is None or inner in only, f"{file} asks {module}; of {other}, {room} may use {only}"


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_a_library_is_known_to_its_room_alone(library: str) -> None:
    """YAML, databases, sockets: one room has each, so that it can be replaced there."""
    rooms = LIBRARIES[library]
    for file, importing, module in IMPORTS:
        if module.split(".")[0] == library:
            assert importing in rooms, f"{file} imports {library}, which is the affair of {', '.join(rooms)}"


def test_every_room_has_its_row() -> None:
    """A new room says whom it may ask."""
    rooms = {room for _, room, _ in IMPORTS} - {"", "__init__"}
    assert rooms <= set(MAY_ASK) | {"__main__"}
