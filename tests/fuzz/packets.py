"""Fuzz the packet path with atheris, guided by coverage of the Python engine: `make fuzz`.

The native engine has to say the same, where it is built. What is found becomes a golden or a case in tests.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["geodns"]):
    from geodns.engine import native
    from geodns.engine.answer import answer
    from tests.conftest import NOW, snapshot_of_golden
    from tests.goldens import ANSWERS, ask, read

SNAPSHOTS = [snapshot_of_golden(file.name) for file in sorted(ANSWERS.glob("*.md"))]
# One for each snapshot, so that none is copied again.
NATIVE = [native.Native() for _ in SNAPSHOTS] if not native.why_not() else []


def one(data: bytes) -> None:
    """The first octet picks the snapshot, the second the client and the transport, the rest is the packet."""
    if len(data) < 2:
        return
    at = data[0] % len(SNAPSHOTS)
    snapshot = SNAPSHOTS[at]
    client = "2001:db8::1" if data[1] & 1 else f"127.{data[1] >> 2}.0.1"
    asked = (data[2:], client, snapshot, data[1] << 24, NOW, bool(data[1] & 2))
    wire = answer(*asked)
    if NATIVE:
        assert wire == NATIVE[at].answer(*asked)
    if wire is None:
        return
    assert wire[:2] == data[2:4]
    assert wire[2] & 0x80
    assert answer(wire, client, snapshot, 0, NOW) is None


def main() -> None:
    """Start from the questions of the goldens, and from what the command line names."""
    with TemporaryDirectory() as seeds:
        for file in ANSWERS.glob("*.md"):
            for case in read(file).cases:
                seed = Path(seeds, f"{file.stem}-{case.number}")
                seed.write_bytes(b"\0\0" + ask(case.question).packet)
        atheris.Setup([*sys.argv, seeds], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
