"""A domain name: its wire form, and the lower-case wire form under which it is looked up.

RFC 1035 section 3.1: a name is a run of length-prefixed labels that ends with the empty label, 255 octets at
the most, 63 a label. RFC 4343: comparison ignores the case of ASCII letters and nothing else. Lower-casing a
whole wire name at once is safe: length octets are below 64, and "A" is 65.
"""

from collections.abc import Iterator

NAME_OCTETS_MAX = 255  # RFC 1035 section 3.1
LABEL_OCTETS_MAX = 63  # RFC 1035 section 3.1

_SPECIAL = frozenset(b'".;\\()@$')


class BadName(ValueError):
    """The text is not a domain name; the message says why, in a user's words."""


class Name:
    """An absolute domain name. Two names are equal when only the case of their letters differs."""

    __slots__ = ("key", "wire")

    wire: bytes
    key: bytes

    def __init__(self, wire: bytes) -> None:
        """Take a valid, uncompressed wire form as it is; `parse` and `from_labels` make one."""
        self.wire = wire
        self.key = wire.lower()

    @classmethod
    def parse(cls, text: str, origin: "Name | None" = None) -> "Name":
        """Read presentation format (RFC 1035 section 5.1): `\\.`, `\\DDD`, `@` for the origin.

        A name without a final dot is relative to `origin`, or absolute when there is none. Letters outside
        ASCII are turned into A-labels (IDNA 2008). Raises BadName.
        """
        if origin is not None and text in ("@", ""):
            return origin
        if text == ".":
            return ROOT
        if not text.isascii():
            text = _to_ascii(text)
        if "\\" not in text:
            absolute = text.endswith(".")
            labels = [part.encode("ascii") for part in (text[:-1] if absolute else text).split(".")]
        else:
            labels, absolute = _split_escaped(text)
        rest = b"\0" if absolute or origin is None else origin.wire
        return cls._join(labels, rest, text)

    @classmethod
    def from_labels(cls, labels: list[bytes]) -> "Name":
        """The absolute name of these labels, without the empty one at the end. Raises BadName."""
        return cls._join(labels, b"\0", b".".join(labels).decode("latin-1"))

    @classmethod
    def _join(cls, labels: list[bytes], rest: bytes, text: str) -> "Name":
        wire = bytearray()
        for label in labels:
            if not label:
                raise BadName(f'"{text}" has an empty label (two dots in a row, or a dot in front)')
            if len(label) > LABEL_OCTETS_MAX:
                raise BadName(f'a label of "{_shorten(text)}" is longer than {LABEL_OCTETS_MAX} octets')
            wire.append(len(label))
            wire += label
        wire += rest
        if len(wire) > NAME_OCTETS_MAX:
            raise BadName(f'"{_shorten(text)}" is longer than {NAME_OCTETS_MAX} octets')
        return cls(bytes(wire))

    def labels(self) -> list[bytes]:
        """The labels from left to right, without the empty one at the end."""
        return [self.wire[at + 1 : at + 1 + self.wire[at]] for at in label_offsets(self.wire)]

    def parent(self) -> "Name":
        """The name without its first label; the root's parent is the root."""
        return Name(self.wire[1 + self.wire[0] :]) if self.wire[0] else self

    def is_under(self, other: "Name") -> bool:
        """True for `other` itself and for everything below it."""
        return key_is_under(self.key, other.key)

    def child(self, label: bytes) -> "Name":
        """`label` in front of this name. Raises BadName when that is too long."""
        return Name._join([label], self.wire, label.decode("latin-1") + "." + str(self))

    @property
    def is_root(self) -> bool:
        return self.wire == b"\0"

    @property
    def is_wildcard(self) -> bool:
        """RFC 4592 section 2.1.1: the first label is a single asterisk."""
        return self.wire.startswith(b"\x01*")

    def relative_to(self, origin: "Name") -> str:
        """Presentation format without `origin` at the end; "@" for the origin itself."""
        if self.key == origin.key:
            return "@"
        if origin.is_root or not self.is_under(origin):
            return str(self)
        head = self.wire[: len(self.wire) - len(origin.wire)] + b"\0"
        return str(Name(head))[:-1]

    def __str__(self) -> str:
        if self.is_root:
            return "."
        return "".join(_escape(label) + "." for label in self.labels())

    def __repr__(self) -> str:
        return f"Name({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Name) and self.key == other.key

    def __lt__(self, other: "Name") -> bool:
        """Canonical order: RFC 4034 section 6.1, compared from the rightmost label."""
        return canonical_order(self.key) < canonical_order(other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __reduce__(self) -> tuple[type["Name"], tuple[bytes]]:
        return (Name, (self.wire,))


def label_offsets(wire: bytes) -> Iterator[int]:
    """Where each label of a valid wire name starts (at its length octet), the empty one left out."""
    at = 0
    while wire[at]:
        yield at
        at += 1 + wire[at]


def key_is_under(key: bytes, ancestor: bytes) -> bool:
    """True when the lower-case wire name `key` is `ancestor` or below it."""
    start = len(key) - len(ancestor)
    if start < 0 or not key.endswith(ancestor):
        return False
    at = 0  # the end may match in the middle of a label
    while at < start:
        at += 1 + key[at]
    return at == start


def canonical_order(key: bytes) -> list[bytes]:
    """A sort key for lower-case wire names: RFC 4034 section 6.1."""
    return [key[at + 1 : at + 1 + key[at]] for at in label_offsets(key)][::-1]


def _split_escaped(text: str) -> tuple[list[bytes], bool]:
    labels: list[bytes] = []
    label = bytearray()
    at = 0
    ended = False
    while at < len(text):
        char = text[at]
        ended = False
        if char == "\\":
            digits = text[at + 1 : at + 4]
            if len(digits) == 3 and digits.isdigit():
                if int(digits) > 255:
                    raise BadName(f'"\\{digits}" in "{_shorten(text)}" is not an octet (000 to 255)')
                label.append(int(digits))
                at += 4
            elif at + 1 < len(text) and not text[at + 1].isdigit():
                label.append(ord(text[at + 1]))
                at += 2
            else:
                raise BadName(f'"{_shorten(text)}" ends in the middle of an escape')
        elif char == ".":
            labels.append(bytes(label))
            label.clear()
            ended = True
            at += 1
        else:
            label.append(ord(char))
            at += 1
    if not ended:
        labels.append(bytes(label))
    return labels, ended


def _escape(label: bytes) -> str:
    return "".join(
        f"\\{octet:03d}"
        if octet < 0x21 or octet > 0x7E
        else f"\\{octet:c}"
        if octet in _SPECIAL
        else chr(octet)
        for octet in label
    )


def _to_ascii(text: str) -> str:
    import idna

    try:
        return ".".join(
            part if part.isascii() else idna.encode(part, uts46=True).decode("ascii")
            for part in text.split(".")
        )
    except (idna.IDNAError, UnicodeError) as error:
        raise BadName(f'"{_shorten(text)}" is not an internationalised domain name: {error}') from None


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


ROOT = Name(b"\0")
