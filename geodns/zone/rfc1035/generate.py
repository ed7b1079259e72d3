"""BIND's $GENERATE: a range of numbers put into a text.

BIND 9 Administrator Reference Manual, section "BIND Primary File Extension: the $GENERATE Directive".
"""

import re

from geodns.zone.rfc1035.lexer import Token, TokenError
from geodns.zone.source import shorten

NUMBER_MAX = 2**31 - 1  # BIND's bound on the numbers of a range

_RANGE = re.compile(r"(\d{1,10})-(\d{1,10})(?:/(\d{1,10}))?", re.ASCII)
_DOLLAR = re.compile(r"\\(.?)|\$\$|\$(?:\{([^}]*)\}?)?", re.DOTALL)
_FORMAT = re.compile(r"(-?\d{1,10})(?:,(\d{1,3})(?:,([doxXnN]))?)?", re.ASCII)


def range_of(token: Token) -> range:
    """The numbers of `start-stop` or `start-stop/step`. Raises TokenError."""
    match = _RANGE.fullmatch(token.text)
    if match is None:
        what = f'"{shorten(token.text)}" is not a range'
        raise TokenError(token, "master-generate", what, "start-stop, or start-stop/step")
    start, stop, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if start > stop or step < 1 or stop > NUMBER_MAX:
        what = f'"{shorten(token.text)}" is an empty range, or its numbers are too large'
        raise TokenError(token, "master-generate", what)
    return range(start, stop + 1, step)


def generate(text: str, number: int, token: Token) -> str:
    """`text` with `number` in the place of each $; `\\$` and `$$` are a dollar."""

    def replace(match: re.Match[str]) -> str:
        if match[0].startswith("\\"):
            return match[0]
        if match[0] == "$$":
            return "$"
        if match[2] is None:
            return str(number)
        format_match = _FORMAT.fullmatch(match[2])
        if format_match is None:
            what = f'"{shorten(match[0])}" is not a format'
            raise TokenError(
                token, "master-generate", what, "${offset}, ${offset,width} or ${offset,width,base}"
            )
        value = number + int(format_match[1])
        return _format_number(value, int(format_match[2] or 0), format_match[3] or "d")

    return _DOLLAR.sub(replace, text)


def _format_number(value: int, width: int, base: str) -> str:
    if base == "d":
        return f"{value:0{width}d}" if width else str(value)
    value &= 0xFFFFFFFF  # as printf("%x") has it
    if base in "oxX":
        return f"{value:0{width}{base}}" if width else f"{value:{base}}"
    # Nibbles of a reverse name, least significant first. Dots count in the width: an even one ends in a dot.
    digits = f"{value:{'X' if base == 'N' else 'x'}}"[::-1].ljust((width + 1) // 2, "0")
    return ".".join(digits) + ("." if len(digits) * 2 == width else "")
