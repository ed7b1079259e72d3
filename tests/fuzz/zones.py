"""Fuzz the loaders of zone files with atheris: `make fuzz`.

Any octets are a zone or a problem, for the YAML and for the RFC 1035 reader, and a zone that loads compiles.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["geodns"]):
    from geodns.name import Name
    from geodns.table.compile import compile_zone
    from geodns.zone import load_text
    from geodns.zone.rfc1035 import read_text
    from tests.goldens import ANSWERS, read

APEX = Name.parse("example.com.")


def one(data: bytes) -> None:
    checked, problems = load_text(data, APEX, "fuzz", 1)
    assert checked is not None or problems
    if checked is not None:
        compile_zone(checked)
    read_text(data, "fuzz", APEX)


def main() -> None:
    """Start from the zones of the goldens, and from what the command line names."""
    with TemporaryDirectory() as seeds:
        for file in ANSWERS.glob("*.md"):
            for name, text in read(file).zones.items():
                Path(seeds, f"{file.stem}-{name}").write_text(text)
        atheris.Setup([*sys.argv, seeds], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
