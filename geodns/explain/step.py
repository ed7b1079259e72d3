"""A line of an explanation."""

from dataclasses import dataclass

LABEL_WIDTH = 9  # columns of the text in front of what is said


@dataclass(frozen=True, slots=True)
class Step:
    """A line of the explanation: what it is about, and what is said; `depth` indents it."""

    about: str
    said: str
    depth: int = 0
