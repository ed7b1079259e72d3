"""RFC 1035 master files: read with a place for every token, and written.

    file --lexer--> entries: a record or directive each, its tokens with line and column
         --reader--> records: $ORIGIN, $TTL, $INCLUDE and $GENERATE applied
         --reader--> Zone: the same model, and the same rdata functions, as for YAML
    Zone --writer--> lines of a master file

Reading never stops at a mistake: what is wrong with a record is told, and reading goes on with the next. What
is wrong with the data (a CNAME beside other data, an NS without address) is no business of this package:
`checks.check` tells it, for both formats.
"""

from geodns.zone.rfc1035.reader import (
    GENERATED_RECORDS_MAX,
    INCLUDE_DEPTH_MAX,
    load,
    load_text,
    read,
    read_text,
)
from geodns.zone.rfc1035.words import origin_of_file_name, ttl_of
from geodns.zone.rfc1035.writer import write

__all__ = ["CHECKS", "load", "load_text", "origin_of_file_name", "read", "read_text", "ttl_of", "write"]

CHECKS = {
    "master-parenthesis": "every parenthesis has its partner",
    "master-quote": "a quoted string ends on its line",
    "master-escape": "a backslash escapes a character of its line",
    "master-not-utf-8": "octets outside ASCII are UTF-8, or written as \\DDD",
    "master-byte-order-mark": "a master file does not start with a byte order mark",
    "master-last-line": "the last line ends like the others; otherwise the file may be cut short",
    "master-origin": "--origin, $ORIGIN, the SOA or the file's name tells which zone it is",
    "master-directive": "the directives are $ORIGIN, $TTL, $INCLUDE and $GENERATE",
    "master-include": f"$INCLUDE reads files in the zone file's folder and below, {INCLUDE_DEPTH_MAX} deep",
    "master-generate": f"$GENERATE makes {GENERATED_RECORDS_MAX} records at most",
    "master-owner": "every record has an owner",
    "master-name": "an owner or origin is a domain name",
    "master-name-not-ascii": "names are ASCII; others are read as internationalised names",
    "master-ttl": f"a TTL is 0 to {2**31 - 1} seconds",
    "master-no-ttl": "the TTL is said by $TTL or by the record",
    "master-ttl-implied": "other servers guess a TTL that neither $TTL nor the record says",
    "master-ttl-differs": "the records of one name and type have one TTL: RFC 2181 section 5.2",
    "master-class": "the class is IN",
    "master-type": "the type is known, and may stand in a zone",
    "master-rdata": "record data is as its type wants it",
    "master-duplicate": "a record is given once: RFC 2181 section 5",
    "master-inner-wildcard": "a wildcard is the first label of a name: RFC 4592 section 2.1.1",
    "master-out-of-zone": "every owner is in the zone",
    "master-soa": "the zone has a SOA at its apex",
}
"""What can be wrong with a master file itself, its data apart: the name of the check, and what it asks."""
