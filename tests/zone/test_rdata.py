"""Record data: presentation format, structured form, YAML values; there and back."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from geodns.name import Name
from geodns.zone import rdata
from geodns.zone.rdata import (
    BadRdata,
    from_fields,
    from_text,
    from_yaml,
    to_text,
    to_yaml,
    type_name,
    type_number,
)

ORIGIN = Name.parse("example.com.")

VALUES = [
    ("A", "192.0.2.1", "c0000201"),
    ("A", "\\# 4 C0000201", "c0000201"),
    ("AAAA", "2001:DB8::1", "20010db8000000000000000000000001"),
    ("NS", "Ns1.example.com.", "034e7331076578616d706c6503636f6d00"),
    ("NS", "\\# 3 016100", "016100"),
    ("CNAME", "bücher.example.", "0d786e2d2d62636865722d6b7661076578616d706c6500"),
    ("PTR", "a\\.b.c\\032d.", "03612e6203632064" + "00"),
    ("DNAME", ".", "00"),
    ("MX", "10 mail.example.", "000a046d61696c076578616d706c6500"),
    ("MX", {"preference": "10", "exchange": "mail.example."}, "000a046d61696c076578616d706c6500"),
    ("MX", {"priority": 10, "value": "mail.example."}, "000a046d61696c076578616d706c6500"),
    ("TXT", "v=spf1\\; -all; \\", "0f763d737066313b202d616c6c3b205c"),
    ("TXT", '"quo ted" "x"', "08" + b"quo tedx".hex()),
    ("TXT", "", "00"),
    ("TXT", "é", "02c3a9"),
    ("TXT", {"strings": ["a", "b\\255\\\\"]}, "0161" + "0362ff5c"),
    ("SPF", "v=spf1 -all", "0b" + b"v=spf1 -all".hex()),
    ("CAA", "0 issue ca.example; x=y", "000569737375" + "65" + b"ca.example; x=y".hex()),
    ("CAA", '0 issue "ca.example"', "00056973737565" + b"ca.example".hex()),
    ("CAA", {"tag": "issue", "value": "ca.example"}, "00056973737565" + b"ca.example".hex()),
    ("SRV", {"priority": 1, "weight": 2, "port": 3, "target": "."}, "000100020003" + "00"),
    ("SRV", "1 2 3 a.", "000100020003" + "016100"),
    ("DS", "1 13 2 " + "ab" * 32, "00010d02" + "ab" * 32),
    ("DS", {"key_tag": 1, "algorithm": 13, "digest_type": 2, "digest": "AB" * 32}, "00010d02" + "ab" * 32),
    ("DS", {"flags": 1, "protocol": 13, "algorithm": 2, "public_key": "AB" * 32}, "00010d02" + "ab" * 32),
    ("SSHFP", {"algorithm": 4, "fingerprint_type": 2, "fingerprint": "ab" * 32}, "0402" + "ab" * 32),
    ("TLSA", {"certificate_association_data": "ab"}, "000000ab"),
    ("TLSA", "3 1 1 " + "ab" * 32, "030101" + "ab" * 32),
    ("URI", {"priority": 10, "weight": 1, "target": "ftp://a/;b"}, "000a0001" + b"ftp://a/;b".hex()),
    ("OPENPGPKEY", "mQINBF5D", "99020d045e43"),
    ("HTTPS", "1 . alpn=h2,h3 port=8443", "000100" + "00010006026832026833" + "0003000220fb"),
    (
        "HTTPS",
        {"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": ["h2", "h3"], "port": 8443}},
        "000100" + "00010006026832026833" + "0003000220fb",
    ),
    ("SVCB", {"svcpriority": 0, "targetname": "a."}, "0000016100"),
    (
        "SVCB",
        {"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": "h2", "no-default-alpn": None}},
        None,
    ),
    ("NAPTR", '10 20 "S" "SIP+D2U" "" _sip._udp.example.', None),
    (
        "NAPTR",
        {
            "order": 1,
            "preference": 2,
            "flags": "U",
            "service": "E2U+sip",
            "regexp": "!^.*$!sip:\\1@b!",
            "replacement": ".",
        },
        None,
    ),
    ("LOC", "52 14 05.000 N 00 08 50.000 E 10m", None),
    (
        "LOC",
        {
            "lat_degrees": 31,
            "lat_minutes": 58,
            "lat_seconds": 52.1,
            "lat_direction": "S",
            "long_degrees": 115,
            "long_minutes": 49,
            "long_seconds": 11.7,
            "long_direction": "E",
            "altitude": 20,
            "size": 10,
            "precision_horz": 10,
            "precision_vert": 2,
        },
        "001313227923393c98da2d9400989e50",
    ),
    ("SOA", "a. b. 1 2 3 4 5", "016100016200" + "0000000100000002000000030000000400000005"),
    ("HINFO", "a b", "01610162"),
    ("TYPE65280", "\\# 2 abcd", "abcd"),
    ("TYPE65280", "\\# 0", ""),
]


@pytest.mark.parametrize(("kind", "value", "expected"), VALUES)
def test_a_value_becomes_these_octets_and_can_be_written_again(
    kind: str, value: object, expected: str | None
) -> None:
    """The wire form is as expected; presentation format, relative or not, and YAML read back to the same
    octets.
    """
    rtype = type_number(kind)
    wire = from_yaml(rtype, value)
    if expected is not None:
        assert expected == wire.hex()
    assert wire == from_text(rtype, to_text(rtype, wire), None)
    assert wire == from_text(rtype, to_text(rtype, wire, ORIGIN), ORIGIN)
    assert wire == from_yaml(rtype, to_yaml(rtype, wire))


@pytest.mark.parametrize(
    ("kind", "value", "what", "hint", "field"),
    [
        ("A", "203.0.113.300", '"203.0.113.300" is not an IPv4 address', "", ""),
        ("A", "010.0.0.1", '"010.0.0.1" is not an IPv4 address', "", ""),
        (
            "A",
            "::1",
            '"::1" is not an IPv4 address',
            "an IPv6 address belongs into a record of type AAAA",
            "",
        ),
        (
            "AAAA",
            "192.0.2.1",
            '"192.0.2.1" is not an IPv6 address',
            "an IPv4 address belongs into a record of type A",
            "",
        ),
        ("AAAA", "fe80::1%eth0", '"fe80::1%eth0" is not an IPv6 address', "", ""),
        (
            "CNAME",
            "www.example.com",
            '"www.example.com" has no final dot',
            'add a dot: "www.example.com."',
            "",
        ),
        (
            "NS",
            "192.0.2.1",
            '"192.0.2.1" is an address where a domain name is wanted',
            "give the address to a name with an A or AAAA record, and write that name here",
            "",
        ),
        (
            "MX",
            "mail.example.",
            '"mail.example." is not a preference and a host',
            'such as "10 mail.example.com."',
            "",
        ),
        ("MX", {"preference": 10, "exchange": "a"}, '"a" has no final dot', 'add a dot: "a."', "exchange"),
        (
            "MX",
            {"preference": 70000, "exchange": "a."},
            'preference "70000" is not a whole number from 0 to 65535',
            "",
            "preference",
        ),
        (
            "MX",
            {"exchange": "a."},
            'the field "preference" is missing (a whole number from 0 to 65535)',
            "",
            "",
        ),
        (
            "SRV",
            "1 2 3 a",
            '"1 2 3 a" has a name without a final dot',
            "write the name in full, with a dot at its end",
            "",
        ),
        (
            "SRV",
            "1 2 3 a.;b",
            '"1 2 3 a.;b" has a semicolon outside quotes',
            'put it in quotes: "...;..."',
            "",
        ),
        ("TXT", {"strings": ["x" * 256]}, "a string has 256 octets; 255 are allowed", "", ""),
        ("A", {"address": "192.0.2.1"}, "A data is a text, not a mapping", "", ""),
        ("A", "\\# 3 C00002", "the data is not that of A: Text input is malformed", "", ""),
        ("TYPE65280", "\\# 3 ab", "the length says 3 octets, the data has 1", "", ""),
        ("SSHFP", "1 1 zz", None, "algorithm, fingerprint type and fingerprint", ""),
        (
            "HTTPS",
            {"svcpriority": 1, "targetname": ".", "svcparams": {"alpn": {"a": "b"}}},
            None,
            "",
            "svcparams",
        ),
    ],
)
def test_a_problem_is_told_in_a_users_words(
    kind: str, value: object, what: str | None, hint: str, field: str
) -> None:
    """What is wrong, what to do, and which field is to blame."""
    with pytest.raises(BadRdata) as caught:
        from_yaml(type_number(kind), value)
    if what is not None:
        assert what == str(caught.value)
    assert hint == caught.value.hint
    if field:
        assert field == caught.value.field


def test_relative_names_need_an_origin() -> None:
    """Presentation format in a zone file of the old kind has an origin; YAML has none."""
    assert from_text(rdata.MX, "10 mail.example.com.", None) == from_text(rdata.MX, "10 mail", ORIGIN)
    assert from_text(rdata.SOA, "a.example.com. example.com. 1 2 3 4 5", None) == from_text(
        rdata.SOA, "a @ 1 2 3 4 5", ORIGIN
    )
    fields = {"preference": 10, "exchange": "mail"}
    assert from_text(rdata.MX, "10 mail", ORIGIN) == from_fields(rdata.MX, fields, ORIGIN)


def test_long_texts_are_cut_into_strings() -> None:
    """RFC 1035 section 3.3: a character-string has at most 255 octets."""
    wire = from_yaml(rdata.TXT, "x" * 600)
    assert [255, 255, 90] == [wire[0], wire[256], wire[512]]
    assert "x" * 600 == to_yaml(rdata.TXT, wire)


def test_where_cuts_matter_they_are_kept() -> None:
    """Strings that are cut elsewhere, or are no text, are written as a list with escapes."""
    assert {"strings": ["a", 'b"\\\\\\255']} == to_yaml(rdata.TXT, b'\x01a\x04b"\\\xff')


@pytest.mark.parametrize("text", ["", "FOO", "TYPE65536", "ANY", "AXFR", "OPT", "TSIG", "TYPE0", "type255"])
def test_types_that_no_zone_holds(text: str) -> None:
    """Unknown names, and those that are questions or belong to a message."""
    with pytest.raises(BadRdata):
        type_number(text)


def test_types_have_names_and_numbers() -> None:
    """RFC 3597 section 5: any type is TYPEnnn."""
    assert [1, 28, 257, 65280, 1] == [
        type_number(text) for text in ("A", "aaaa", "CAA", "TYPE65280", "TYPE1")
    ]
    assert ["A", "CAA", "TYPE65280"] == [type_name(number) for number in (1, 257, 65280)]


TYPES = st.sampled_from(
    [*rdata.FIELDS, rdata.A, rdata.AAAA, rdata.NS, rdata.OPENPGPKEY, 13, 65280, rdata.DNSKEY]
)


@given(TYPES, st.binary(max_size=300))
@example(rdata.TXT, b'\x07"a" "b"')
@example(rdata.TXT, b"\x03\\;;")
@example(rdata.TXT, b"\x05\\# 1 ")
@example(rdata.CAA, b'\x00\x05issue"x"')
@example(rdata.URI, b'\x00\x01\x00\x01a\\b"c')
@example(rdata.NAPTR, b'\0\1\0\1\1\\\1"\1;\0')
def test_whatever_is_data_can_be_written_and_read_back(rtype: int, octets: bytes) -> None:
    """For any octets that are data of a type, no octet is lost in presentation format or YAML."""
    try:
        wire = rdata.check_wire(rtype, octets)
    except BadRdata:
        return
    assert wire == from_text(rtype, to_text(rtype, wire), None)
    assert wire == from_text(rtype, to_text(rtype, wire, ORIGIN), ORIGIN)
    assert wire == from_yaml(rtype, to_yaml(rtype, wire))


@given(TYPES, st.text(max_size=80))
def test_any_text_is_read_or_refused(rtype: int, text: str) -> None:
    """No text raises anything but BadRdata."""
    for read in (lambda: from_text(rtype, text, ORIGIN), lambda: from_yaml(rtype, text)):
        try:
            wire = read()
        except BadRdata:
            continue
        assert wire == from_text(rtype, to_text(rtype, wire), None)
