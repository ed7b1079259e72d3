"""Documents: the same JSON, whole or packed, and an ETag that tells contents apart."""

import gzip
import json

from geodns.control.document import document

CHECKS = {f"https 203.0.113.{at % 256}:{at} www.example.com /_dns": at % 3 > 0 for at in range(10_000)}


def test_a_document_is_json():
    """The body is the value again, packed or not; what no UTF-8 can say becomes a question mark."""
    value = {"id": "ns1", "checks": CHECKS, "odd": "ü\udcff"}
    made = document(value)
    assert {**value, "odd": "ü?"} == json.loads(made.body)
    assert made.packed is not None
    assert made.body == gzip.decompress(made.packed)
    assert len(made.packed) < len(made.body) / 5


def test_a_small_document_is_not_packed():
    """What fits a packet or three is sent as it is."""
    assert (b'{"id": "ns1"}', None) == document({"id": "ns1"})[:2]


def test_the_etag_names_the_contents():
    """Equal values have equal tags, others have others."""
    tags = [document(value).etag for value in ({"a": True}, {"a": True}, {"a": False})]
    assert tags[0] == tags[1]
    assert tags[0] != tags[2]
    assert tags[0].startswith('"')
    assert tags[0].endswith('"')
