"""Addresses: their forms, the IPv4 address in some of them, and which are public."""

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geodns.geo.address import (
    NOT_PUBLIC,
    Address,
    BadAddress,
    Prefix,
    canonical,
    canonical_prefix,
    embedding,
    from_octets,
    is_public,
    parse,
    parse_prefix,
)

any_address = st.ip_addresses()


@given(any_address)
def test_text_round_trip(address: object) -> None:
    """An address is read from its text, and its text reads as the same address."""
    parsed = parse(str(address))
    assert Address(address.version, int(address)) == parsed
    assert address == ip_address(str(parsed))


@given(any_address, st.integers(0, 16))
def test_octets(address: object, length: int) -> None:
    """Octets that are missing at the end are zeros; too many are refused."""
    octets = address.packed[:length]
    padded = octets.ljust(len(address.packed), b"\0")
    assert Address(address.version, int.from_bytes(padded)) == from_octets(address.version, octets)
    with pytest.raises(BadAddress, match="too many"):
        from_octets(4, bytes(5))


@pytest.mark.parametrize(
    "text", ["", " ", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", ":", "::g", "1.2.3.4\0", "é::"]
)
def test_what_is_no_address(text: str) -> None:
    """Anything but an address is refused with a message, whatever is wrong with it."""
    with pytest.raises(BadAddress, match="is not an IP address"):
        parse(text)


def test_interface_is_left_out() -> None:
    """An IPv6 address with an interface, as getsockname gives it, is the address."""
    assert parse("fe80::1") == parse("fe80::1%eth0")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10.0.0.0/33", "from 0 to 32"),
        ("10.0.0.0/", "from 0 to 32"),
        ("10.0.0.0/-1", "from 0 to 32"),
        ("10.0.0.0/٨", "from 0 to 32"),
        ("2001:db8::/129", "from 0 to 128"),
        ("10.0.0.1/8", r"did you mean 10\.0\.0\.0/8\?"),
        ("fe80::%eth0/64", "interface"),
        ("x/8", "not an IP address"),
    ],
)
def test_what_is_no_prefix(text: str, message: str) -> None:
    """A prefix that cannot be read is refused with what would be right."""
    with pytest.raises(BadAddress, match=message):
        parse_prefix(text)


@given(any_address, st.integers(0, 128))
def test_prefix(address: object, length: int) -> None:
    """A prefix covers what ipaddress says it covers, and its text reads as the same prefix."""
    length = min(length, address.max_prefixlen)
    network = ip_network((address, length), strict=False)
    prefix = parse(str(address)).network(length)
    assert prefix == parse_prefix(str(network)) == parse_prefix(str(prefix))
    assert prefix.covers(parse(str(network[-1])))
    assert prefix.covers(Address(prefix.family, int(network[0])))
    if length:
        assert not prefix.covers(Address(prefix.family, prefix.first ^ 1 << address.max_prefixlen - length))


@given(any_address)
def test_embedded(address: object) -> None:
    """The IPv4 address in a v4-mapped, 6to4 or Teredo address is the one that ipaddress finds."""
    expected = address
    if address.version == 6:
        teredo = address.teredo
        expected = address.ipv4_mapped or address.sixtofour or (teredo and teredo[1]) or address
    if ip_network("64:ff9b::/96").supernet_of(ip_network(address)) if address.version == 6 else False:
        return
    assert str(expected) == str(canonical(parse(str(address))))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("::ffff:192.0.2.33", "IPv4-mapped"),
        ("2002:c000:221::1", "6to4"),
        ("2001:0:4136:e378:8000:63bf:3fff:fdde", "Teredo"),
        ("64:ff9b::192.0.2.33", "NAT64"),
    ],
)
def test_all_forms_of_one_address(text: str, name: str) -> None:
    """Each of the four forms counts as 192.0.2.33 (the Teredo one as in RFC 4380's usual example)."""
    row = embedding(parse(text))
    assert row is not None
    assert name == row.name
    assert parse("192.0.2.33") == canonical(parse(text))


@pytest.mark.parametrize("row", NOT_PUBLIC, ids=lambda row: str(row.prefix))
def test_every_row_is_not_public(row: object) -> None:
    """The first and the last address of every row of the table are not public, and their sources are RFCs."""
    last = row.prefix.first + (1 << (32 if row.prefix.family == 4 else 128) - row.prefix.length) - 1
    assert not is_public(Address(row.prefix.family, row.prefix.first))
    assert not is_public(Address(row.prefix.family, last))
    assert row.source.startswith("RFC ")


@pytest.mark.parametrize(
    "text",
    [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "2001:db8::1",
        "3fff::1",
        "8.8.8.8",
        "2a00::1",
        "100.128.0.1",
    ],
)
def test_public(text: str) -> None:
    """Addresses of the Internet are public, and so are those reserved for documentation."""
    assert is_public(parse(text))


@pytest.mark.parametrize(
    "text", ["::", "::1", "::ffff:10.0.0.1", "2002:a00:1::", "64:ff9b::7f00:1", "::8.8.8.8"]
)
def test_not_public_in_ipv6(text: str) -> None:
    """An IPv4 address that is not public is not so inside IPv6 either; unspecified and loopback are not."""
    assert not is_public(parse(text))


@given(st.ip_addresses())
def test_not_public_is_not_global(address: object) -> None:
    """Apart from documentation, what ipaddress calls private or multicast is not public here."""
    if is_public(parse(str(address))) and canonical(parse(str(address))).family == address.version:
        documentation = (
            "192.0.2.0/24",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "2001:db8::/32",
            "3fff::/20",
            "2001::/23",
        )
        if any(address in ip_network(network) for network in documentation):
            return
        assert not address.is_private
        assert not address.is_multicast


def test_canonical_prefix() -> None:
    """A v4-mapped prefix is IPv4; one inside the other blocks matches nobody; all others are themselves."""
    assert parse_prefix("192.0.2.0/24") == canonical_prefix(parse_prefix("::ffff:192.0.2.0/120"))
    assert Prefix(4, 0, 0) == canonical_prefix(parse_prefix("::ffff:0:0/96"))
    for text in ("2002::/16", "2002:c000:200::/40", "2001::/32", "2001:0:1::/48", "64:ff9b::/96"):
        assert canonical_prefix(parse_prefix(text)) is None
    for text in ("192.0.2.0/24", "::/0", "2000::/3", "2001:db8::/32", "2001::/31"):
        assert parse_prefix(text) == canonical_prefix(parse_prefix(text))
