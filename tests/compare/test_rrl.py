"""Rate limiting beside Knot DNS's: the same flood, the same outcome for everybody."""

from pathlib import Path

import dns.message
import dns.query
import pytest

from geodns.name import Name
from geodns.zone import load_text
from tests.compare.peers import KNOT_RRL, running
from tests.server.serving import serving, texts, write_zone, zone_text
from tests.server.test_rrl import FLOOD, QUERY, client, flood

RATE = 40
FLOODED = 800


@pytest.mark.parametrize("slip", [1, 2])
def test_a_flood_fares_as_with_knot(tmp_path: Path, slip: int) -> None:
    """Of a flood from one /24 about as much is answered in full, the rest is short as often; another /24
    gets every answer, and TCP is not limited.
    """
    (tmp_path / "zones").mkdir()
    (tmp_path / "knot").mkdir()
    write_zone(tmp_path / "zones")
    zone, _ = load_text(zone_text().encode(), Name.parse("example.com"), "example.com.yaml", 1)
    assert zone is not None
    rrl = KNOT_RRL.format(rate=RATE, slip=slip)
    config = f"rrl: {{responses_per_second: {RATE}, slip: {slip}}}\n"
    with (
        serving(tmp_path, config=config) as server,
        running("knotd", {"example.com.": zone.zone}, tmp_path / "knot", rrl, "mod-rrl") as knot,
    ):
        outcomes = [outcome(port) for port in (server.ports()[0], knot)]
    for whole, short, octets, is_unhurt, over_tcp in outcomes:
        assert RATE <= whole < 6 * RATE  # Knot has a burst of four seconds
        # Knot throws dice for who slips: six times the standard deviation
        assert abs((FLOODED - whole) / slip - short) <= 6 * (FLOODED * (slip - 1) / slip**2) ** 0.5
        assert ({len(QUERY)}, True, ["a 1", "b 1"]) == (octets, is_unhurt, over_tcp)


def outcome(port: int) -> tuple[int, int, set[int], bool, list[str]]:
    """Answers in full; short ones; their octets; whether the neighbour got all; what TCP says."""
    found = flood(port, FLOOD, FLOODED)
    short = [wire for wire in found if wire[2] & 2]
    neighbour = client(port, "127.7.8.1")
    is_unhurt = all(texts(neighbour.ask(QUERY)) for _ in range(RATE // 2))
    over_tcp = dns.query.tcp(dns.message.from_wire(QUERY), "127.0.0.1", 10, port, source=FLOOD)
    octets = {len(wire) for wire in short}
    return len(found) - len(short), len(short), octets, is_unhurt, texts(over_tcp.to_wire())
