"""The pages of deploy/, and the commands in them."""

import re
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
PAGES = sorted(DEPLOY.rglob("*.md"))

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.M | re.S)


def blocks(page: Path, kind: str) -> list[str]:
    """The texts of a page's blocks of this kind."""
    return [dedent(block[3]) for block in _BLOCK.finditer(page.read_text()) if block[2] == kind]


def commands(page: Path) -> list[str]:
    """The "$ " lines of a page's console blocks; a line that ends in a backslash goes on in the next."""
    text = "\n".join(blocks(page, "console")).replace("\\\n", " ")
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
