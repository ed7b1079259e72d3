"""The built-in zones: localhost, and the addresses that mean this host or none."""

from geodns.name import Name
from geodns.zone import load_text, local_zones
from geodns.zone.rdata import to_text, type_name


def records() -> dict[str, dict[str, dict[str, list[str]]]]:
    """What the built-in zones have, SOA and NS left out: zone, owner, type, data."""
    return {
        str(checked.zone.apex): {
            str(next(iter(types.values())).owner): {
                type_name(rtype): [to_text(rtype, wire) for wire in rrset.rdatas]
                for rtype, rrset in types.items()
                if rtype not in (2, 6)
            }
            for types in checked.zone.rrsets.values()
        }
        for checked in local_zones()
    }


ONE = "1." + "0." * 31 + "ip6.arpa."
UNSPECIFIED = "0." * 32 + "ip6.arpa."


def test_the_built_in_zones_have_just_this() -> None:
    """RFC 6761 section 6.3 for localhost, RFC 6303 for the reverse zones, and the literals that answer
    themselves.
    """
    both = {"A": ["127.0.0.1"], "AAAA": ["::1"]}
    assert {
        "localhost.": {"localhost.": both, "*.localhost.": both},
        "127.in-addr.arpa.": {"127.in-addr.arpa.": {}, "1.0.0.127.in-addr.arpa.": {"PTR": ["localhost."]}},
        "0.in-addr.arpa.": {"0.in-addr.arpa.": {}},
        ONE: {ONE: {"PTR": ["localhost."]}},
        UNSPECIFIED: {UNSPECIFIED: {}},
        "127.0.0.1.": {"127.0.0.1.": {"A": ["127.0.0.1"]}},
        "0.0.0.0.": {"0.0.0.0.": {"A": ["0.0.0.0"]}},
        "::1.": {"::1.": {"AAAA": ["::1"]}},
    } == records()


def test_the_built_in_zones_are_marked_and_have_rfc_6303s_soa() -> None:
    """They are `local`, so that nobody is warned of loopback addresses in them."""
    for checked in local_zones():
        zone = checked.zone
        assert zone.local
        soa = zone.rrsets[zone.apex.key][6]
        assert (10800, ["localhost. nobody.invalid. 1 3600 1200 604800 10800"]) == (
            soa.ttl,
            [to_text(6, wire) for wire in soa.rdatas],
        )
        assert ["localhost."] == [to_text(2, wire) for wire in zone.rrsets[zone.apex.key][2].rdatas]


def test_only_built_in_zones_may_have_loopback_addresses() -> None:
    """The same records in a zone file of one's own are served, with a warning."""
    text = b"'': [{type: NS, value: localhost.}, {type: A, value: 127.0.0.1}]\n"
    checked, problems = load_text(text, Name.parse("localhost."), "z.yaml")
    assert checked is not None
    assert ["z.yaml:1:54: warning: @ A: 127.0.0.1 is a loopback address, in a public zone"] == list(
        map(str, problems)
    )
