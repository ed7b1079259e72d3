"""Where a query of the sample comes from: the place that decides its answer, as the databases have it."""

from collections import OrderedDict
from collections.abc import Callable

from geodns.engine.wire import Query
from geodns.geo import overrides as overrides_
from geodns.geo.address import WIDTH, Address, canonical, parse
from geodns.geo.database import DatabaseError
from geodns.geo.locator import Locator
from geodns.geo.place import NOWHERE, Place

NETWORKS_KEPT = 1 << 16  # networks whose place is remembered: to look one up takes 0.1 ms and more
NETWORK_BITS = {4: 24, 6: 48}  # of an address, within which nearly all databases have one place


class Places:
    """The databases and overrides of the config, opened here. For one thread.

    `say_rarely` is told, with its kind, when a database can not be read; its addresses have no place then.
    """

    def __init__(self, say_rarely: Callable[[str, str], None]) -> None:
        self._say_rarely = say_rarely
        self._locator = Locator()
        self._made_of: object = None
        self._known: OrderedDict[tuple[int, int], tuple[Place, bool]] = OrderedDict()

    def configure(self, files: tuple[tuple[str, object], ...], overrides: dict[str, str]) -> None:
        """Go by these files (path, what tells a changed one apart) and by what `geo.overrides` says."""
        made_of = (files, overrides)
        if made_of == self._made_of:
            return
        self._made_of = made_of
        self._known.clear()
        try:
            self._locator = Locator.open([path for path, _ in files], overrides_.parse(overrides)[0])
        except DatabaseError as error:
            self._say_rarely("places", f"where queries come from can not be told: {error}")
            self._locator = Locator()

    def place(self, query: Query | None, client: str) -> Place:
        """Of the address in EDNS Client Subnet, if it is one that has a place, else of the one that asked."""
        subnet = None if query is None else query.subnet
        if subnet is not None and subnet.source:
            place, is_located = self._find(Address(subnet.family, subnet.address))
            if is_located:
                return place
        return self._find(parse(client))[0]

    def country(self, query: Query | None, client: str) -> str:
        """The geo code of that place's country, else of its continent; "" where nobody knows."""
        place = self.place(query, client)
        return f"{place.continent}-{place.country}" if place.continent and place.country else place.continent

    def _find(self, address: Address) -> tuple[Place, bool]:
        address = canonical(address)  # all of IPv4 that IPv6 has in itself is in one network of it
        network = (address.family, address.value >> WIDTH[address.family] - NETWORK_BITS[address.family])
        known = self._known.get(network)
        if known is not None:
            return known
        try:
            found = self._locator.explain(address)
        except DatabaseError as error:
            self._say_rarely("places", f"where queries come from can not be told: {error}")
            return NOWHERE, False
        known = self._known[network] = (found.place, found.is_located)
        if len(self._known) > NETWORKS_KEPT:
            self._known.popitem(last=False)
        return known
