"""An address: its family and value, the IPv4 address that some IPv6 addresses stand for, and whether it is
public.

text or octets --> Address --canonical--> Address (IPv4 if one is embedded) --is_public--> has it a place?
"""

from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import NamedTuple

WIDTH = {4: 32, 6: 128}
"""Bits of an address of each family."""

_FAMILY = {4: AF_INET, 6: AF_INET6}
_V4_MASK = 0xFFFFFFFF


class BadAddress(ValueError):
    """The text is not an address or a prefix; the message says why, in a user's words."""


class Address(NamedTuple):
    """`family` is 4 or 6, `value` the address as an integer."""

    family: int
    value: int

    def network(self, length: int) -> "Prefix":
        """The prefix of `length` bits around the address."""
        host = (1 << WIDTH[self.family] - length) - 1
        return Prefix(self.family, self.value & ~host, length)

    def __str__(self) -> str:
        return inet_ntop(_FAMILY[self.family], self.value.to_bytes(WIDTH[self.family] // 8))


class Prefix(NamedTuple):
    """`length` bits of `first`, an integer whose other bits are 0; as in `partition.Rule.subnets`."""

    family: int
    first: int
    length: int

    def __str__(self) -> str:
        return f"{Address(self.family, self.first)}/{self.length}"

    def covers(self, address: Address) -> bool:
        """True for an address of the same family inside."""
        if address.family != self.family:
            return False
        return (address.value ^ self.first) >> (WIDTH[self.family] - self.length) == 0


class Embedding(NamedTuple):
    """A block of IPv6 whose addresses stand for the IPv4 addresses that `shift` and `inverted` find."""

    name: str
    block: Prefix
    shift: int  # bits to the right of the IPv4 address
    inverted: bool
    source: str

    @property
    def offset(self) -> int:
        """Bits in front of the IPv4 address."""
        return 96 - self.shift

    def extract(self, value: int) -> int:
        """The IPv4 address in the IPv6 address `value`, both as integers."""
        return (value >> self.shift & _V4_MASK) ^ (_V4_MASK if self.inverted else 0)


def parse(text: str) -> Address:
    """Read an address in text form, with or without an IPv6 zone ("fe80::1%eth0"). Raises BadAddress."""
    family = 6 if ":" in text else 4
    bare = text.partition("%")[0] if family == 6 else text
    try:
        return Address(family, int.from_bytes(inet_pton(_FAMILY[family], bare)))
    except (OSError, ValueError):  # ValueError: a NUL or a letter outside ASCII
        raise BadAddress(f'"{text}" is not an IP address') from None


def from_octets(family: int, octets: bytes) -> Address:
    """The address that begins with `octets`, the rest being zeros: the ADDRESS of RFC 7871 section 6.

    `family` is 4 or 6. Raises BadAddress when there are more octets than the family has.
    """
    width = WIDTH[family] // 8
    if len(octets) > width:
        raise BadAddress(f"{len(octets)} octets are too many for an IPv{family} address")
    return Address(family, int.from_bytes(octets) << (width - len(octets)) * 8)


def parse_prefix(text: str) -> Prefix:
    """Read "192.0.2.0/24"; without a length, one address.

    Raises BadAddress, also for bits set past the length.
    """
    base, slash, digits = text.partition("/")
    address = parse(base)
    width = WIDTH[address.family]
    if "%" in base:
        raise BadAddress(f'"{text}" has an interface in it, which a prefix cannot have')
    if slash and not (digits.isascii() and digits.isdigit() and len(digits) <= 3 and int(digits) <= width):
        raise BadAddress(f'"{text}" is not a prefix: after the "/" comes a number from 0 to {width}')
    length = int(digits) if slash else width
    host = (1 << width - length) - 1
    if address.value & host:
        raise BadAddress(
            f'"{text}" has bits set past its first {length} (did you mean {address.network(length)}?)'
        )
    return Prefix(address.family, address.value, length)


EMBEDDINGS = (
    Embedding("IPv4-mapped", parse_prefix("::ffff:0:0/96"), 0, False, "RFC 4291 section 2.5.5.2"),
    Embedding("6to4", parse_prefix("2002::/16"), 80, False, "RFC 3056 section 2"),
    # "The obfuscated IPv4 address of the client": every bit of it is reversed.
    Embedding("Teredo", parse_prefix("2001::/32"), 0, True, "RFC 4380 section 4"),
    Embedding("NAT64", parse_prefix("64:ff9b::/96"), 0, False, "RFC 6052 section 2.1"),
)
"""The blocks whose addresses count as the IPv4 address in them."""

MAPPED = EMBEDDINGS[0]


class Special(NamedTuple):
    """A row of the table of addresses that no client on the Internet has."""

    prefix: Prefix
    what: str
    source: str


NOT_PUBLIC = tuple(
    Special(parse_prefix(prefix), what, source)
    for prefix, what, source in (
        # IANA's IPv4 and IPv6 special-purpose address registries (RFC 6890), without the documentation
        # prefixes 192.0.2.0/24, 198.51.100.0/24, 203.0.113.0/24 (RFC 5737), 2001:db8::/32 (RFC 3849) and
        # 3fff::/20 (RFC 9637): nobody has those, so an example that uses them may behave as the real thing
        # would.
        ("0.0.0.0/8", "unspecified", "RFC 1122 section 3.2.1.3"),
        ("10.0.0.0/8", "private", "RFC 1918"),
        ("100.64.0.0/10", "shared by a provider's customers (CGNAT)", "RFC 6598"),
        ("127.0.0.0/8", "loopback", "RFC 1122 section 3.2.1.3"),
        ("169.254.0.0/16", "link-local", "RFC 3927"),
        ("172.16.0.0/12", "private", "RFC 1918"),
        ("192.0.0.0/24", "for protocols of the IETF", "RFC 6890"),
        ("192.168.0.0/16", "private", "RFC 1918"),
        ("198.18.0.0/15", "for benchmarks", "RFC 2544"),
        ("224.0.0.0/4", "multicast", "RFC 5771"),
        ("240.0.0.0/4", "reserved, or broadcast", "RFC 1112 section 4"),
        # ::/96 has the unspecified address, loopback and the IPv4-compatible addresses.
        ("::/96", "unspecified, loopback or IPv4-compatible", "RFC 4291 section 2.5"),
        ("64:ff9b:1::/48", "local-use NAT64", "RFC 8215"),
        ("100::/64", "discard-only", "RFC 6666"),
        ("100:0:0:1::/64", "dummy", "RFC 9780"),
        ("2001:2::/48", "for benchmarks", "RFC 5180"),
        ("2001:10::/28", "ORCHID", "RFC 4843"),
        ("2001:20::/28", "ORCHIDv2", "RFC 7343"),
        ("5f00::/16", "segment routing", "RFC 9602"),
        ("fc00::/7", "private (unique local)", "RFC 4193"),
        ("fe80::/10", "link-local", "RFC 4291 section 2.5.6"),
        ("fec0::/10", "private (site-local)", "RFC 3879"),
        ("ff00::/8", "multicast", "RFC 4291 section 2.7"),
    )
)
"""Addresses without a place. IPv6 addresses with an IPv4 address in them follow that one."""


def embedding(address: Address) -> Embedding | None:
    """The row of EMBEDDINGS that `address` lies in."""
    if address.family == 4:
        return None
    return next((row for row in EMBEDDINGS if row.block.covers(address)), None)


def canonical(address: Address) -> Address:
    """The IPv4 address that `address` stands for, or `address` itself."""
    row = embedding(address)
    return Address(4, row.extract(address.value)) if row else address


def special(address: Address) -> Special | None:
    """The row of NOT_PUBLIC that `address`, or the IPv4 address in it, lies in."""
    address = canonical(address)
    return next((row for row in NOT_PUBLIC if row.prefix.covers(address)), None)


def is_public(address: Address) -> bool:
    """False for loopback, unspecified, private, link-local, multicast and the rest of NOT_PUBLIC."""
    return special(address) is None


def canonical_prefix(prefix: Prefix) -> Prefix | None:
    """The prefix as rules and overrides see it: an IPv4-mapped one is IPv4.

    None when no address can match, because every one in it counts as an IPv4 address: prefixes inside 6to4,
    Teredo and NAT64. Those of the whole of 6to4 are not read as "all of IPv4", which nobody would mean.
    """
    if prefix.family == 4:
        return prefix
    for row in EMBEDDINGS:
        if prefix.length >= row.block.length and row.block.covers(Address(6, prefix.first)):
            if row is not MAPPED:
                return None
            return Prefix(4, prefix.first & _V4_MASK, prefix.length - row.offset)
    return prefix
