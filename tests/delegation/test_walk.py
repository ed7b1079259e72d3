"""The walk from the root: what a resolver would find, and where it ends when it finds nothing."""

from dataclasses import replace

from geodns.delegation.reply import Outcome, Question, Record, Reply
from geodns.delegation.walk import DETOURS_MAX, Server, Walker
from geodns.name import Name
from geodns.zone.rdata import NS
from tests.delegation.world import (
    COM_HEAD,
    COM_SERVERS,
    NET_SERVER,
    NET_ZONE,
    NS1,
    ROOT_SERVER,
    ROOT_ZONE,
    ROOTS,
    World,
    look,
    snapshot,
    world,
)

APEX = Name.parse("example.com.")


def names(*texts: str) -> frozenset[Name]:
    return frozenset(map(Name.parse, texts))


def test_the_parent_and_all_its_servers() -> None:
    """Each of the parent's servers is asked, and refers with its glue."""
    walked = Walker(world(), ROOTS).parent_of(APEX)
    assert [".", "com."] == list(map(str, walked.path))
    assert list(COM_SERVERS) == [referral.server.address for referral in walked.referrals]
    assert [names("ns1.example.com.", "ns2.example.com.")] * 2 == [one.names for one in walked.referrals]
    assert frozenset(NS1) == walked.referrals[0].glue[Name.parse("ns1.example.com.")]
    assert "" == walked.failure


def test_a_server_of_two_zones_in_a_row() -> None:
    """Where one server has root and com, com is the parent all the same."""
    both = snapshot((".", ROOT_ZONE), ("com.", COM_HEAD + "example: {type: NS, value: ns.hoster.net.}\n"))
    around = World(dict.fromkeys((ROOT_SERVER, *COM_SERVERS), both))
    walked = Walker(around, ROOTS).parent_of(APEX)
    assert [".", "com."] == list(map(str, walked.path))
    assert names("ns.hoster.net.") == walked.referrals[0].names


def test_labels_without_a_cut_are_passed() -> None:
    """A parent may be several labels up; the names in between are nobody's zone."""
    deep = Name.parse("a.b.c.example.com.")
    com = COM_HEAD + "a.b.c.example: {type: NS, values: [ns.hoster.net.]}\n"
    walked = Walker(world(com=com), ROOTS).parent_of(deep)
    assert [".", "com."] == list(map(str, walked.path))
    assert names("ns.hoster.net.") == walked.referrals[0].names


def test_a_silent_server_is_passed_over() -> None:
    """As long as one of a zone's servers helps, the walk goes on."""
    silent = Reply(Outcome.SILENT, edns=None)
    walked = Walker(world(faults={COM_SERVERS[0]: lambda question, reply: silent}), ROOTS).parent_of(APEX)
    assert [COM_SERVERS[1]] == [referral.server.address for referral in walked.referrals]


def test_where_the_walk_ended() -> None:
    """Which zone's servers did not help, and what each of them said."""
    refused = Reply(rcode="REFUSED")
    walked = Walker(world(faults={ROOT_SERVER: lambda question, reply: refused}), ROOTS).parent_of(APEX)
    assert "none of the servers of . helps: a.root-servers. (192.0.2.129) answers REFUSED" == walked.failure


def test_no_root_at_all() -> None:
    """An address where nobody answers is told as such."""
    walked = Walker(world(), [Server(Name.parse("x."), "203.0.113.99")]).parent_of(APEX)
    assert "none of the servers of . helps: x. (203.0.113.99) does not answer" == walked.failure


def test_addresses_of_names_elsewhere() -> None:
    """Asked at the servers of their own zone, by way of the root."""
    walker = Walker(world(), ROOTS)
    assert {"192.0.2.1"} == walker.addresses(Name.parse("ns1.elsewhere.net.")).addresses
    assert Name.parse("ns2.elsewhere.net.") == walker.addresses(Name.parse("alias.net.")).alias
    assert "net. has no address for it (NXDOMAIN)" == walker.addresses(Name.parse("nobody.net.")).failure


def test_a_nameserver_without_glue_is_a_detour() -> None:
    """Its address is found first, and then its zone."""
    com = COM_HEAD + "sub: {type: NS, values: [ns1.elsewhere.net.]}\n"
    around = world(com=com)
    sub = "'': {type: NS, values: [ns1.elsewhere.net.]}\nx: {type: A, value: 192.0.2.7}\n"
    around.servers |= {NS1[0]: snapshot(("sub.com.", sub))}
    assert {"192.0.2.7"} == Walker(around, ROOTS).addresses(Name.parse("x.sub.com.")).addresses


def test_a_circle_of_nameservers_ends() -> None:
    """Two zones whose nameservers are in each other have no address, and that is said."""
    com = COM_HEAD + "one: {type: NS, value: ns.two.com.}\ntwo: {type: NS, value: ns.one.com.}\n"
    found = Walker(world(com=com), ROOTS).addresses(Name.parse("ns.one.com."))
    assert frozenset() == found.addresses
    assert "no nameserver of one.com. has an address" == found.failure


def test_a_long_chain_of_detours_ends() -> None:
    """However long somebody makes it: the questions are counted."""
    com = COM_HEAD + "".join(f"z{at}: {{type: NS, value: ns.z{(at + 1) % 20}.com.}}\n" for at in range(20))
    around = world(com=com)
    assert frozenset() == Walker(around, ROOTS).addresses(Name.parse("ns.z0.com.")).addresses
    assert 30 * DETOURS_MAX > len(around.asked)


def test_a_referral_of_many_names_is_cut() -> None:
    """A server can name thousands; a few dozen are looked at."""
    many = tuple(Record(APEX, NS, 300, f"ns{number}.example.net.") for number in range(500))

    def flooded(question: Question, reply: Reply) -> Reply:
        return replace(reply, authority=many) if question.name == APEX else reply

    seen = look(world(faults=dict.fromkeys(COM_SERVERS, flooded)))
    assert 32 == len(seen.delegated)


def test_what_is_in_two_zones_is_asked_of_the_right_one() -> None:
    """Nothing that a com server says of net counts: only net's own servers are asked."""
    around = world()
    Walker(around, ROOTS).addresses(Name.parse("ns1.elsewhere.net."))
    asked = {address for question, address in around.asked}
    assert {ROOT_SERVER, NET_SERVER} == asked
    assert "ns.hoster" in NET_ZONE
