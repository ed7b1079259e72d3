"""Processes that we start: what they have in common."""

import os
from pathlib import Path

import geodns


def environment() -> dict[str, str]:
    """Theirs is ours, and they find this very geodns, and numpy starts no threads for linear algebra."""
    root = str(Path(geodns.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
