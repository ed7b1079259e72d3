"""Record data: presentation format, octoDNS's structured form and YAML text <-> wire form.

    "10 mail.example.com."                        from_text   to_text      RFC 1035 presentation format
    {preference: 10, exchange: mail.example.com.} from_fields to_fields    octoDNS's structured form
    either of them, and octoDNS's TXT             from_yaml   to_yaml      what stands under `value:`

The wire form is uncompressed, and names in it keep their spelling. The common types have code of their own
here, for speed; the rest is read by dnspython, and strictly: whatever was read must read back from its wire
form.
"""

import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

import dns.exception
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.tokenizer

from geodns.name import BadName, Name
from geodns.zone.source import shorten

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, LOC, SRV, NAPTR = 1, 2, 5, 6, 12, 15, 16, 28, 29, 33, 35
DNAME, OPT, DS, SSHFP, RRSIG, NSEC, DNSKEY, NSEC3, TLSA, OPENPGPKEY = 39, 41, 43, 44, 46, 47, 48, 50, 52, 61
SVCB, HTTPS, SPF, URI, CAA = 64, 65, 99, 256, 257

RDATA_OCTETS_MAX = 65535  # RDLENGTH has 16 bits, RFC 1035 section 3.2.1
STRING_OCTETS_MAX = 255  # a character-string, RFC 1035 section 3.3

SINGLE_NAME_TYPES = frozenset((NS, CNAME, PTR, DNAME))
TXT_TYPES = frozenset((TXT, SPF))

_IN = dns.rdataclass.IN
_RdataType = dns.rdatatype.RdataType
_WHOLE = re.compile(r"0|[1-9][0-9]{0,18}")
_GENERIC = re.compile(r"\\#(\s|$)")


class BadRdata(ValueError):
    """The text is not data of this type; the message says why in a user's words, `hint` what to do.

    `field` is the field of the structured form that is to blame, or "".
    """

    def __init__(self, what: str, hint: str = "", field: str = "") -> None:
        super().__init__(what)
        self.hint = hint
        self.field = field


class UnknownField(BadRdata):
    """The structured form has no field of this name."""


# --- types --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def type_number(text: str) -> int:
    """The number of a type's name, or of TYPEnnn (RFC 3597 section 5). Raises BadRdata.

    Types that no zone can hold (OPT, TSIG, ANY, AXFR, ...) are refused.
    """
    try:
        number = int(dns.rdatatype.from_text(text))
    except (dns.exception.DNSException, ValueError):
        raise BadRdata(f'"{shorten(text)}" is not a record type') from None
    if number == 0 or number == OPT or 128 <= number <= 255:  # RFC 6895 section 3.1: meta and question types
        raise BadRdata(f"{text.upper()} is not a type of data that a zone can hold")
    return number


@lru_cache(maxsize=512)
def type_name(number: int) -> str:
    """The name of a type, or TYPEnnn."""
    return dns.rdatatype.to_text(_RdataType.make(number))


# --- presentation format ------------------------------------------------------------------------------------


def from_text(rtype: int, text: str, origin: Name | None) -> bytes:
    """Read presentation format (RFC 1035 section 5.1), or RFC 3597's `\\# length hex`, of any type.

    Names without a final dot are relative to `origin`; without an origin they are refused. Raises BadRdata.
    """
    if rtype == A:
        return _ipv4(text)
    if rtype == AAAA:
        return _ipv6(text)
    if _GENERIC.match(text):
        return _from_generic(rtype, text)
    if rtype in SINGLE_NAME_TYPES:
        return _name(text, origin)
    if rtype == MX:
        return _mx(text, origin)
    return _from_dnspython(rtype, text, origin)


def to_text(rtype: int, wire: bytes, origin: Name | None = None) -> str:
    """Presentation format; names at or below `origin` are relative to it. Reads back to the same octets."""
    if rtype == A and len(wire) == 4:
        return socket.inet_ntop(socket.AF_INET, wire)
    if rtype == AAAA and len(wire) == 16:
        return socket.inet_ntop(socket.AF_INET6, wire)
    if rtype in SINGLE_NAME_TYPES and _is_name(wire):
        return _shown_name(Name(wire), origin)
    text = _to_dnspython(rtype, wire, origin)
    return to_generic(wire) if text is None else text


def to_generic(wire: bytes) -> str:
    """RFC 3597 section 5: `\\# 4 C0000201`."""
    return f"\\# {len(wire)} {wire.hex().upper()}".rstrip()


def _ipv4(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        pass
    if _GENERIC.match(text):
        return _from_generic(A, text)
    hint = "an IPv6 address belongs into a record of type AAAA" if _is_ipv6(text) else ""
    raise BadRdata(f'"{shorten(text)}" is not an IPv4 address', hint)


def _ipv6(text: str) -> bytes:
    try:
        return socket.inet_pton(socket.AF_INET6, text)
    except (OSError, ValueError):
        pass
    if _GENERIC.match(text):
        return _from_generic(AAAA, text)
    hint = "an IPv4 address belongs into a record of type A" if _is_ipv4(text) else ""
    raise BadRdata(f'"{shorten(text)}" is not an IPv6 address', hint)


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except ValueError:
        return False
    return True


def _name(text: str, origin: Name | None, field: str = "") -> bytes:
    if origin is None and not is_absolute(text):
        _refuse_relative(text, field)
    if not text or text != text.strip() or " " in text or "\t" in text:
        raise BadRdata(f'"{shorten(text)}" is not a domain name', field=field)
    try:
        return Name.parse(text, origin).wire
    except (BadName, ValueError) as error:
        raise BadRdata(str(error), field=field) from None


def is_absolute(text: str) -> bool:
    """True for a name in presentation format that ends with a dot, an escaped one not counted."""
    if not text.endswith("."):
        return False
    escapes = len(text[:-1]) - len(text[:-1].rstrip("\\"))
    return escapes % 2 == 0


def _refuse_relative(text: str, field: str) -> None:
    if not text:
        raise BadRdata("a domain name is missing", field=field)
    if _is_ipv4(text) or _is_ipv6(text):
        raise BadRdata(
            f'"{text}" is an address where a domain name is wanted',
            "give the address to a name with an A or AAAA record, and write that name here",
            field,
        )
    raise BadRdata(
        f'"{shorten(text)}" has no final dot', f'add a dot: "{shorten(text)}."' if text != "@" else "", field
    )


def _is_name(wire: bytes) -> bool:
    """True for a whole, uncompressed name and nothing behind it."""
    at = 0
    while at < len(wire) and 0 < wire[at] <= 63:
        at += 1 + wire[at]
    return at == len(wire) - 1 and wire[at] == 0 and len(wire) <= 255


def _shown_name(name: Name, origin: Name | None) -> str:
    return str(name) if origin is None else name.relative_to(origin)


def _mx(text: str, origin: Name | None) -> bytes:
    parts = text.split()
    if len(parts) != 2:
        raise BadRdata(f'"{shorten(text)}" is not a preference and a host', 'such as "10 mail.example.com."')
    return struct.pack("!H", _number(parts[0], 0xFFFF, "preference")) + _name(parts[1], origin)


def _number(value: object, most: int, what: str) -> int:
    text = str(value)
    if isinstance(value, bool) or not _WHOLE.fullmatch(text) or int(text) > most:
        raise BadRdata(f'{what} "{shorten(text)}" is not a whole number from 0 to {most}', field=what)
    return int(text)


def _from_generic(rtype: int, text: str) -> bytes:
    parts = text.split()
    try:
        wire = bytes.fromhex("".join(parts[2:]))
    except ValueError:
        raise BadRdata("the data after \\# is not hexadecimal") from None
    if len(parts) < 2 or not _WHOLE.fullmatch(parts[1]):
        raise BadRdata("\\# is followed by a length", "such as `\\# 4 C0000201`")
    if int(parts[1]) != len(wire):
        raise BadRdata(f"the length says {parts[1]} octets, the data has {len(wire)}")
    if len(wire) > RDATA_OCTETS_MAX:
        raise BadRdata(f"{len(wire)} octets of data; a record has at most {RDATA_OCTETS_MAX}")
    return check_wire(rtype, wire)


def check_wire(rtype: int, wire: bytes) -> bytes:
    """`wire` with its names uncompressed, if it is data of this type. Raises BadRdata."""
    if rtype in SINGLE_NAME_TYPES and _is_name(wire):
        return wire
    try:
        return _rdata_to_wire(dns.rdata.from_wire(_IN, _RdataType.make(rtype), wire, 0, len(wire)))
    except Exception as error:  # dnspython raises whatever its classes raise: struct.error, KeyError, ...
        reason = _one_line(error)
        raise BadRdata(f"the data is not that of {type_name(rtype)}{reason and ': ' + reason}") from None


def _from_dnspython(rtype: int, text: str, origin: Name | None) -> bytes:
    what = f'"{shorten(text)}" is not {type_name(rtype)} data'
    _refuse_comment(text)
    relative_to = None if origin is None else dns.name.from_wire(origin.wire, 0)[0]
    try:
        rdata = dns.rdata.from_text(_IN, _RdataType.make(rtype), text, relative_to, False)
        if origin is None and not _names_absolute(rdata):
            raise BadRdata(
                f'"{shorten(text)}" has a name without a final dot',
                "write the name in full, with a dot at its end",
            )
        wire = _rdata_to_wire(rdata)
        dns.rdata.from_wire(_IN, _RdataType.make(rtype), wire, 0, len(wire))
    except BadRdata:
        raise
    except Exception as error:  # dnspython raises whatever its classes raise: struct.error, KeyError, ...
        reason = _one_line(error)
        raise BadRdata(f"{what}{reason and ': ' + reason}", _FORMS.get(rtype, "")) from None
    if len(wire) > RDATA_OCTETS_MAX:
        raise BadRdata(f"{len(wire)} octets of data; a record has at most {RDATA_OCTETS_MAX}")
    return wire


def _names_absolute(rdata: dns.rdata.Rdata) -> bool:
    for slot in rdata._get_all_slots():  # type: ignore[no-untyped-call]
        value = getattr(rdata, slot, None)
        if isinstance(value, dns.name.Name) and not value.is_absolute():
            return False
    return True


def _rdata_to_wire(rdata: dns.rdata.Rdata) -> bytes:
    wire = rdata.to_wire()
    assert wire is not None
    return wire


def _to_dnspython(rtype: int, wire: bytes, origin: Name | None) -> str | None:
    """None when the text would not read back to the same octets."""
    relative_to = None if origin is None else dns.name.from_wire(origin.wire, 0)[0]
    try:
        rdata = dns.rdata.from_wire(_IN, _RdataType.make(rtype), wire, 0, len(wire), relative_to)
        text = str(rdata.to_text(relative_to, origin is not None))
        return text if _from_dnspython(rtype, text, origin) == wire else None
    except Exception:  # as above; the generic form is always right
        return None


def _refuse_comment(text: str) -> None:
    """A semicolon outside quotes would begin a comment, and what follows it would be lost in silence."""
    quoted = escaped = False
    for char in text:
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == ";" and not quoted:
            raise BadRdata(f'"{shorten(text)}" has a semicolon outside quotes', 'put it in quotes: "...;..."')
        elif char in "\r\n":
            raise BadRdata(f'"{shorten(text)}" has a line break')


def _one_line(error: Exception) -> str:
    if isinstance(error, (AssertionError, struct.error, OverflowError)):
        return ""
    return shorten(" ".join(str(error).split()).rstrip("."))


# --- the structured form ------------------------------------------------------------------------------------


class Kind(Enum):
    """How a field is written, and how it goes on the wire."""

    U8 = "a whole number from 0 to 255"
    U16 = "a whole number from 0 to 65535"
    U32 = "a whole number from 0 to 4294967295"
    NAME = "a domain name with a final dot"
    STRING = "a text of at most 255 octets"
    REST = "a text"
    HEX = "hexadecimal digits"
    STRINGS = "a list of texts, each of at most 255 octets, with RFC 1035 escapes"
    PARAMS = "a mapping of service parameters, RFC 9460 section 2.1"
    DECIMAL = "a number"
    WORD = "a word"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a type's structured form. `older` is a name that octoDNS files had for it before."""

    name: str
    kind: Kind
    about: str
    older: str = ""
    default: str | None = None


FIELDS: dict[int, tuple[Field, ...]] = {
    MX: (
        Field("preference", Kind.U16, "lower is tried first", older="priority"),
        Field("exchange", Kind.NAME, "the mail server", older="value"),
    ),
    CAA: (
        Field("flags", Kind.U8, "128: critical", default="0"),
        Field("tag", Kind.STRING, "issue, issuewild, iodef, ..."),
        Field("value", Kind.REST, "the certification authority, or where to report"),
    ),
    DS: (
        Field("key_tag", Kind.U16, "of the DNSKEY"),
        Field("algorithm", Kind.U8, "of the DNSKEY"),
        Field("digest_type", Kind.U8, "2: SHA-256, 4: SHA-384"),
        Field("digest", Kind.HEX, "of the DNSKEY"),
    ),
    NAPTR: (
        Field("order", Kind.U16, "lower is looked at first"),
        Field("preference", Kind.U16, "among those of equal order"),
        Field("flags", Kind.STRING, "S, A, U or P"),
        Field("service", Kind.STRING, "such as SIP+D2U"),
        Field("regexp", Kind.STRING, "the substitution"),
        Field("replacement", Kind.NAME, "the next name, or a dot"),
    ),
    SRV: (
        Field("priority", Kind.U16, "lower is tried first"),
        Field("weight", Kind.U16, "share among those of equal priority"),
        Field("port", Kind.U16, "of the service"),
        Field("target", Kind.NAME, "the host, or a dot: no such service"),
    ),
    SSHFP: (
        Field("algorithm", Kind.U8, "1: RSA, 3: ECDSA, 4: Ed25519"),
        Field("fingerprint_type", Kind.U8, "1: SHA-1, 2: SHA-256"),
        Field("fingerprint", Kind.HEX, "of the host key"),
    ),
    TLSA: (
        Field("certificate_usage", Kind.U8, "0: PKIX-TA, 1: PKIX-EE, 2: DANE-TA, 3: DANE-EE", default="0"),
        Field("selector", Kind.U8, "0: certificate, 1: public key", default="0"),
        Field("matching_type", Kind.U8, "0: whole, 1: SHA-256, 2: SHA-512", default="0"),
        Field("certificate_association_data", Kind.HEX, "the certificate, key or its hash"),
    ),
    URI: (
        Field("priority", Kind.U16, "lower is tried first"),
        Field("weight", Kind.U16, "share among those of equal priority"),
        Field("target", Kind.REST, "the URI"),
    ),
    SVCB: (
        Field("svcpriority", Kind.U16, "0: alias", older="priority"),
        Field("targetname", Kind.NAME, "the host, or a dot: the owner", older="target"),
        Field("svcparams", Kind.PARAMS, "alpn, port, ipv4hint, ...", older="params", default=""),
    ),
    SOA: (
        Field("mname", Kind.NAME, "the primary nameserver"),
        Field("rname", Kind.NAME, "the mailbox of who is responsible"),
        Field("serial", Kind.U32, "grows with every change"),
        Field("refresh", Kind.U32, "seconds"),
        Field("retry", Kind.U32, "seconds"),
        Field("expire", Kind.U32, "seconds"),
        Field("minimum", Kind.U32, "seconds that negative answers are kept"),
    ),
    LOC: (
        Field("lat_degrees", Kind.WORD, "0 to 90"),
        Field("lat_minutes", Kind.WORD, "0 to 59", default="0"),
        Field("lat_seconds", Kind.DECIMAL, "0 to 59.999", default="0"),
        Field("lat_direction", Kind.WORD, "N or S"),
        Field("long_degrees", Kind.WORD, "0 to 180"),
        Field("long_minutes", Kind.WORD, "0 to 59", default="0"),
        Field("long_seconds", Kind.DECIMAL, "0 to 59.999", default="0"),
        Field("long_direction", Kind.WORD, "E or W"),
        Field("altitude", Kind.DECIMAL, "metres"),
        Field("size", Kind.DECIMAL, "metres", default="1"),
        Field("precision_horz", Kind.DECIMAL, "metres", default="10000"),
        Field("precision_vert", Kind.DECIMAL, "metres", default="10"),
    ),
    TXT: (Field("strings", Kind.STRINGS, "where the cuts between the strings matter"),),
}
"""The fields of the structured form of every type that has one, in wire order."""
FIELDS[HTTPS] = FIELDS[SVCB]
FIELDS[SPF] = FIELDS[TXT]

_FORMS = {
    CAA: 'such as `0 issue "letsencrypt.org"`',
    SRV: 'priority, weight, port and target, such as "0 5 443 www.example.com."',
    DS: "key tag, algorithm, digest type and digest",
    HTTPS: 'such as "1 . alpn=h2,h3"',
    SVCB: 'such as "1 . alpn=h2,h3"',
    SSHFP: "algorithm, fingerprint type and fingerprint",
    TLSA: "usage, selector, matching type and data",
    NAPTR: 'order, preference, "flags", "service", "regexp" and replacement',
    SOA: "mname, rname, serial, refresh, retry, expire and minimum",
    URI: 'priority, weight and "target"',
    LOC: 'such as "52 14 05.000 N 00 08 50.000 E 10m"',
}

_DS_LEGACY = {"flags": "key_tag", "protocol": "algorithm", "algorithm": "digest_type", "public_key": "digest"}
_PARAM_KEY = re.compile(r"[a-z0-9-]{1,63}")


def from_fields(rtype: int, fields: Mapping[str, object], origin: Name | None) -> bytes:
    """Read octoDNS's structured form; the fields of each type are in FIELDS. Raises BadRdata.

    Names without a final dot are relative to `origin`; without an origin they are refused.
    """
    table = FIELDS.get(rtype)
    if table is None:
        raise BadRdata(f"{type_name(rtype)} data is a text, not a mapping")
    values = _by_field(rtype, table, fields)
    if rtype == LOC:
        return _loc_from_fields(values)
    wire = bytearray()
    for field in table:
        wire += _ENCODERS[field.kind](values[field.name], field.name, origin)
    if rtype == CAA and not wire[1]:
        raise BadRdata("the tag is empty", field="tag")
    return check_wire(rtype, bytes(wire))


def _by_field(rtype: int, table: Sequence[Field], fields: Mapping[str, object]) -> dict[str, object]:
    if rtype == DS and ("public_key" in fields or "flags" in fields):
        # octoDNS before 1.0 had the names of a DNSKEY's fields for those of a DS.
        fields = {_DS_LEGACY.get(name, name): value for name, value in fields.items()}
    values: dict[str, object] = {}
    known = {field.name for field in table} | {field.older for field in table if field.older}
    for name in fields:
        if name not in known:
            wanted = ", ".join(field.name for field in table)
            close = get_close_matches(name, known, 1)
            hint = f'did you mean "{close[0]}"?' if close else f"the fields are {wanted}"
            raise UnknownField(f'{type_name(rtype)} data has no field "{shorten(name)}"', hint, field=name)
    for field in table:
        value = fields.get(field.name)
        if value is None and field.older:
            value = fields.get(field.older)
        if value is None:
            if field.default is None:
                raise BadRdata(f'the field "{field.name}" is missing ({field.kind.value})')
            value = field.default
        values[field.name] = value
    return values


def _scalar(value: object, field: str) -> str:
    if isinstance(value, (Mapping, list, tuple)):
        raise BadRdata(f'"{field}" is a text, not a list or a mapping', field=field)
    return str(value)


def _encode_number(octets: int) -> Callable[[object, str, Name | None], bytes]:
    def encode(value: object, field: str, _origin: Name | None) -> bytes:
        return _number(_scalar(value, field), (1 << 8 * octets) - 1, field).to_bytes(octets)

    return encode


def _encode_name(value: object, field: str, origin: Name | None) -> bytes:
    return _name(_scalar(value, field), origin, field)


def _encode_string(value: object, field: str, _origin: Name | None) -> bytes:
    data = _utf8(_scalar(value, field), field)
    if len(data) > STRING_OCTETS_MAX:
        raise BadRdata(f'"{field}" has {len(data)} octets; {STRING_OCTETS_MAX} are allowed', field=field)
    return bytes((len(data),)) + data


def _encode_rest(value: object, field: str, _origin: Name | None) -> bytes:
    data = _utf8(_scalar(value, field), field)
    if not data:
        raise BadRdata(f'"{field}" is empty', field=field)
    return data


def _encode_hex(value: object, field: str, _origin: Name | None) -> bytes:
    try:
        return bytes.fromhex(_scalar(value, field))
    except ValueError:
        raise BadRdata(f'"{shorten(str(value))}" is not hexadecimal', field=field) from None


def _encode_strings(value: object, field: str, _origin: Name | None) -> bytes:
    if not isinstance(value, list) or not value:
        raise BadRdata(f'"{field}" is a list of texts', field=field)
    return b"".join(_encode_escaped(item, field) for item in value)


def _encode_escaped(value: object, field: str) -> bytes:
    data = _unescape(_scalar(value, field), field)
    if len(data) > STRING_OCTETS_MAX:
        raise BadRdata(f"a string has {len(data)} octets; {STRING_OCTETS_MAX} are allowed", field=field)
    return bytes((len(data),)) + data


def _encode_params(value: object, field: str, _origin: Name | None) -> bytes:
    if value == "" or value is None:
        return b""
    if not isinstance(value, Mapping):
        raise BadRdata(f'"{field}" is a mapping', "such as `{alpn: [h2, h3], port: 443}`", field)
    words = [_param(str(key), setting, field) for key, setting in value.items()]
    try:
        wire = _from_dnspython(SVCB, "1 . " + " ".join(words), None)
    except BadRdata as error:
        raise BadRdata(str(error), error.hint, field) from None
    return wire[3:]  # behind priority 1 and the root


def _param(key: str, value: object, field: str) -> str:
    if not _PARAM_KEY.fullmatch(key):
        raise BadRdata(f'"{shorten(key)}" is not the name of a service parameter', field=field)
    if value is None or getattr(value, "is_null", False):
        return key
    if isinstance(value, Mapping):
        raise BadRdata(f'the service parameter "{key}" is a text or a list', field=field)
    if isinstance(value, (list, tuple)):
        # RFC 9460 appendix A.1: a comma or backslash inside an item of a list is escaped.
        items = [_scalar(item, field).replace("\\", "\\\\").replace(",", "\\,") for item in value]
        text = ",".join(items)
    else:
        text = str(value)
    if key == "ech":
        return f'ech="{text}"'
    return f'{key}="' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_ENCODERS: dict[Kind, Callable[[object, str, Name | None], bytes]] = {
    Kind.U8: _encode_number(1),
    Kind.U16: _encode_number(2),
    Kind.U32: _encode_number(4),
    Kind.NAME: _encode_name,
    Kind.STRING: _encode_string,
    Kind.REST: _encode_rest,
    Kind.HEX: _encode_hex,
    Kind.STRINGS: _encode_strings,
    Kind.PARAMS: _encode_params,
}


def _loc_from_fields(values: Mapping[str, object]) -> bytes:
    words = []
    for field in FIELDS[LOC]:
        word = _scalar(values[field.name], field.name)
        if not word or not word.isascii() or not re.fullmatch(r"[-+.0-9A-Za-z]+", word):
            raise BadRdata(f'"{shorten(word)}" is not {field.about}', field=field.name)
        metres = field.name in ("altitude", "size", "precision_horz", "precision_vert")
        words.append(f"{word.rstrip('m')}m" if metres else word.upper())
    return _from_dnspython(LOC, " ".join(words), None)


def _utf8(text: str, field: str = "") -> bytes:
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadRdata(f'"{shorten(text)}" cannot be written as UTF-8', field=field) from None


def _unescape(text: str, field: str = "") -> bytes:
    """RFC 1035 section 5.1: `\\DDD` is an octet, `\\X` is X."""
    if "\\" not in text:
        return _utf8(text, field)
    out = bytearray()
    at = 0
    while at < len(text):
        if text[at] != "\\":
            out += _utf8(text[at], field)
            at += 1
            continue
        digits = text[at + 1 : at + 4]
        if len(digits) == 3 and digits.isascii() and digits.isdigit() and int(digits) < 256:
            out.append(int(digits))
            at += 4
        elif at + 1 < len(text) and not text[at + 1].isdigit():
            out += _utf8(text[at + 1], field)
            at += 2
        else:
            raise BadRdata(
                f'"{shorten(text)}" has an escape that is not an octet (\\000 to \\255)', field=field
            )
    return bytes(out)


def _escaped(data: bytes) -> str:
    """A character-string with RFC 1035 escapes, UTF-8 left as it is."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "".join(
            chr(octet) if octet < 0x7F else f"\\{octet:03d}" for octet in data.replace(b"\\", b"\\\\")
        )
        return "".join(f"\\{ord(char):03d}" if ord(char) < 0x20 else char for char in text)
    return "".join(
        "\\\\"
        if char == "\\"
        else char
        if char.isprintable()
        else "".join(f"\\{octet:03d}" for octet in char.encode())
        for char in text
    )


# --- what stands under `value:` -----------------------------------------------------------------------------


def from_yaml(rtype: int, value: object) -> bytes:
    """Read a value as a zone file has it: a text or a mapping. Names need their final dot. Raises BadRdata.

    TXT is octoDNS's: the text as it is, `\\;` for a semicolon, cut into strings of 255 octets; quotes around
    it may be there or not.
    """
    if isinstance(value, Mapping):
        return from_fields(rtype, value, None)
    if isinstance(value, (list, tuple)):
        raise BadRdata("a value is a text or a mapping, not a list")
    text = str(value)
    if rtype == A:
        return _ipv4(text)
    if rtype == AAAA:
        return _ipv6(text)
    if rtype in TXT_TYPES and not _GENERIC.match(text):
        return _txt(text)
    if rtype == CAA and not _GENERIC.match(text):
        return _caa(text)
    return from_text(rtype, text, None)


def to_yaml(rtype: int, wire: bytes) -> object:
    """A value for a zone file, as octoDNS writes it where that says it all; `from_yaml` reads it back.

    The way there and back changes no octet.
    """
    value: object
    if rtype in TXT_TYPES:
        value = _txt_to_yaml(wire)
    elif rtype in FIELDS and rtype != LOC:
        value = to_fields(rtype, wire)
    else:
        value = to_text(rtype, wire)
    if value is not None:
        try:
            if from_yaml(rtype, value) == wire:
                return value
        except BadRdata:
            pass
    text = to_text(rtype, wire)
    try:
        return text if from_yaml(rtype, text) == wire else to_generic(wire)
    except BadRdata:
        return to_generic(wire)


def _txt(text: str) -> bytes:
    if len(text) > 1 and text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('" "', "")
    data = _utf8(text.replace("\\;", ";"))
    pieces = [data[at : at + STRING_OCTETS_MAX] for at in range(0, len(data), STRING_OCTETS_MAX)] or [b""]
    wire = b"".join(bytes((len(piece),)) + piece for piece in pieces)
    if len(wire) > RDATA_OCTETS_MAX:
        raise BadRdata(f"{len(wire)} octets of data; a record has at most {RDATA_OCTETS_MAX}")
    return wire


def _strings(wire: bytes) -> list[bytes] | None:
    strings = []
    at = 0
    while at < len(wire):
        strings.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return strings if at == len(wire) and strings else None


def _txt_to_yaml(wire: bytes) -> object:
    strings = _strings(wire)
    if strings is None:
        return None
    data = b"".join(strings)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and not text.startswith("\\#"):
        plain = text.replace(";", "\\;")
        if _txt(plain) == wire:
            return plain
    return {"strings": [_escaped(string) for string in strings]}


def _caa(text: str) -> bytes:
    parts = text.split(None, 2)
    if len(parts) != 3:
        raise BadRdata(f'"{shorten(text)}" is not CAA data', _FORMS[CAA])
    value = parts[2]
    if value.startswith('"') and value.endswith('"') and len(value) > 1:
        return _from_dnspython(CAA, text, None)
    fields = {"flags": parts[0], "tag": parts[1], "value": value}
    return from_fields(CAA, fields, None)


def to_fields(rtype: int, wire: bytes) -> dict[str, object] | None:
    """The structured form, or None for a type that has none and for data it cannot hold."""
    table = FIELDS.get(rtype)
    if table is None or rtype == LOC:
        return None
    fields: dict[str, object] = {}
    at = 0
    try:
        for field in table:
            value, at = _DECODERS[field.kind](wire, at)
            if value is not None:
                fields[field.name] = value
    except (IndexError, ValueError, struct.error):
        return None
    return fields if at == len(wire) else None


def _decode_number(octets: int) -> Callable[[bytes, int], tuple[object, int]]:
    def decode(wire: bytes, at: int) -> tuple[object, int]:
        if at + octets > len(wire):
            raise IndexError
        return int.from_bytes(wire[at : at + octets]), at + octets

    return decode


def _decode_name(wire: bytes, at: int) -> tuple[object, int]:
    end = at
    while wire[end]:
        if wire[end] > 63:
            raise ValueError("a compressed name")
        end += 1 + wire[end]
    return str(Name(wire[at : end + 1])), end + 1


def _decode_string(wire: bytes, at: int) -> tuple[object, int]:
    end = at + 1 + wire[at]
    if end > len(wire):
        raise IndexError
    return wire[at + 1 : end].decode("utf-8"), end


def _decode_rest(wire: bytes, at: int) -> tuple[object, int]:
    return wire[at:].decode("utf-8"), len(wire)


def _decode_hex(wire: bytes, at: int) -> tuple[object, int]:
    return wire[at:].hex(), len(wire)


def _decode_strings(wire: bytes, at: int) -> tuple[object, int]:
    strings = _strings(wire[at:])
    if strings is None:
        raise ValueError("not character-strings")
    return [_escaped(string) for string in strings], len(wire)


def _decode_params(wire: bytes, at: int) -> tuple[object, int]:
    if at == len(wire):
        return None, at
    text = _to_dnspython(SVCB, b"\0\1\0" + wire[at:], None)
    if text is None:
        raise ValueError("not service parameters")
    params: dict[str, object] = {}
    for word in re.findall(r'([a-z0-9-]+)(?:="((?:[^"\\]|\\.)*)")?', text[len("1 . ") :]):
        params[word[0]] = _param_to_yaml(word[0], word[1])
    return params, len(wire)


def _param_to_yaml(key: str, text: str) -> object:
    if not text:
        return None
    if "\\" in text:
        raise ValueError("better left as presentation format")
    if key in ("mandatory", "alpn", "ipv4hint", "ipv6hint"):
        return text.split(",")
    return int(text) if key == "port" else text


_DECODERS: dict[Kind, Callable[[bytes, int], tuple[object, int]]] = {
    Kind.U8: _decode_number(1),
    Kind.U16: _decode_number(2),
    Kind.U32: _decode_number(4),
    Kind.NAME: _decode_name,
    Kind.STRING: _decode_string,
    Kind.REST: _decode_rest,
    Kind.HEX: _decode_hex,
    Kind.STRINGS: _decode_strings,
    Kind.PARAMS: _decode_params,
}
