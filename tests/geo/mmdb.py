"""A small writer of MaxMind's format: a test says what is in a database, and what is wrong with it."""

import struct
from ipaddress import IPv6Network, ip_network
from pathlib import Path
from typing import Any

MARKER = b"\xab\xcd\xefMaxMind.com"


def write(
    path: Path,
    networks: dict[str, Any],
    *,
    ip_version: int = 6,
    record_size: int = 24,
    aliases: bool = True,
    metadata: dict[str, Any] | None = None,
) -> str:
    """Write a database of network -> record, later ones over earlier ones; returns the path as text."""
    nodes: list[list[int | None]] = [[None, None]]
    records: list[Any] = []
    bits = 128 if ip_version == 6 else 32
    for text, record in networks.items():
        network = ip_network(text)
        length, first = network.prefixlen, int(network.network_address)
        if ip_version == 6 and not isinstance(network, IPv6Network):
            length += 96
        records.append(record)
        _insert(nodes, first, length, bits, -len(records))
    if ip_version == 6 and aliases:
        home = _node_at(nodes, 0, 96)
        if home is not None:
            for first, length in ((0xFFFF << 32, 96), (0x2002 << 112, 16)):
                _insert(nodes, first, length, 128, home)
    data, offsets = b"", []
    for record in records:
        offsets.append(len(data))
        data += encode(record)
    count = len(nodes)
    tree = b"".join(_node(node, count, offsets, record_size) for node in nodes)
    told = {
        "binary_format_major_version": 2,
        "binary_format_minor_version": 0,
        "build_epoch": 1_700_000_000,
        "database_type": "Test",
        "description": {"en": "made by a test"},
        "ip_version": ip_version,
        "languages": ["en"],
        "node_count": count,
        "record_size": record_size,
        **(metadata or {}),
    }
    path.write_bytes(tree + bytes(16) + data + MARKER + encode_metadata(told))
    return str(path)


def encode(value: Any) -> bytes:
    """One value of the data section: map, array, string, double, unsigned 32 or 64 bits."""
    if isinstance(value, dict):
        return _head(7, len(value)) + b"".join(encode(key) + encode(item) for key, item in value.items())
    if isinstance(value, list):
        return _head(11, len(value)) + b"".join(map(encode, value))
    if isinstance(value, str):
        return _head(2, len(value.encode())) + value.encode()
    if isinstance(value, float):
        return _head(3, 8) + struct.pack(">d", value)
    octets = value.to_bytes((value.bit_length() + 7) // 8)
    return _head(6 if value < 1 << 32 else 9, len(octets)) + octets


def encode_metadata(told: dict[str, Any]) -> bytes:
    """A map in which each number has the type that the format gives it; the C reader insists."""
    return _head(7, len(told)) + b"".join(
        encode(key) + (_typed(_TYPES.get(key, 5), value) if isinstance(value, int) else encode(value))
        for key, value in told.items()
    )


_TYPES = {"node_count": 6, "build_epoch": 9}  # the others are unsigned 16 bits


def _typed(kind: int, value: int) -> bytes:
    octets = value.to_bytes((value.bit_length() + 7) // 8)
    return _head(kind, len(octets)) + octets


def _head(kind: int, size: int) -> bytes:
    low, tail = (size, b"") if size < 29 else (29, bytes([size - 29]))
    return (bytes([low, kind - 7]) if kind > 7 else bytes([kind << 5 | low])) + tail


def _insert(nodes: list[list[int | None]], first: int, length: int, bits: int, value: int) -> None:
    """Put `value` (a node if above 0, else minus the number of a record) at a prefix."""
    at = 0
    for depth in range(length):
        side = first >> (bits - 1 - depth) & 1
        if depth == length - 1:
            nodes[at][side] = value
            return
        child = nodes[at][side]
        if child is None or child < 0:
            nodes.append([child, child])
            child = nodes[at][side] = len(nodes) - 1
        at = child


def _node_at(nodes: list[list[int | None]], first: int, length: int) -> int | None:
    at = 0
    for depth in range(length):
        child = nodes[at][first >> (127 - depth) & 1]
        if child is None or child < 0:
            return None
        at = child
    return at


def _node(node: list[int | None], count: int, offsets: list[int], record_size: int) -> bytes:
    left, right = (
        count if child is None else child if child >= 0 else count + 16 + offsets[-child - 1]
        for child in node
    )
    if record_size == 28:
        middle = (left >> 24) << 4 | right >> 24
        return (left & 0xFFFFFF).to_bytes(3) + bytes([middle]) + (right & 0xFFFFFF).to_bytes(3)
    return left.to_bytes(record_size // 8) + right.to_bytes(record_size // 8)
