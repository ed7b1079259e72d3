"""What a query leaves behind besides its answer: what it asked, which zone said what, and which pools
answered.
"""

from geodns.table.shape import ZoneTable

POOLS_MAX = 4  # told of one answer: a rule has seldom more than two answer together
RCODE = 0x03FF  # of the flags of a plan, with the bits that stand in an OPT record (RFC 6891 section 6.1.3)


class Left:
    """What one query left behind.

    `zone` is that of the name asked for, None for a name outside of all; `rcode` has its upper bits. `pools`
    are those that have part in the answer, each once, as (zone, name); the name is "" where a record's own
    values were answered, or none.
    """

    __slots__ = ("at", "pools", "qtype", "rcode", "zone")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget the query before."""
        self.zone: ZoneTable | None = None
        self.at: ZoneTable | None = None  # the zone that a DNAME has led to
        self.qtype = 0
        self.rcode = 0
        self.pools: list[tuple[bytes, str]] = []

    def add_pool(self, name: str) -> None:
        """A pool of the zone `at` has part in the answer."""
        pool = (b"" if self.at is None else self.at.apex, name)
        if pool not in self.pools and len(self.pools) < POOLS_MAX:
            self.pools.append(pool)
