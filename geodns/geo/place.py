"""A place: what a geo database says of an address."""

from dataclasses import dataclass
from typing import NamedTuple

from geodns.geo import codes as codes_


class Position(NamedTuple):
    """Degrees, north and east positive. `code` is the geo code whose middle this is, "" for coordinates of
    the database's own.
    """

    latitude: float
    longitude: float
    code: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an address is. Empty strings, 0 and None mean that the database does not say.

    `continent` is one of AF AN AS EU NA OC SA, `country` an ISO 3166-1 alpha-2 code, `subdivision` the part
    of the ISO 3166-2 code after the hyphen. `within` has the subdivisions that `subdivision` is a part of,
    the smallest first: in Madrid ("MD",) around "M". `asn` is an autonomous system number.
    """

    continent: str = ""
    country: str = ""
    subdivision: str = ""
    latitude: float | None = None  # degrees, north positive
    longitude: float | None = None  # degrees, east positive
    asn: int = 0
    organization: str = ""
    within: tuple[str, ...] = ()

    def codes(self) -> tuple[str, ...]:
        """The geo codes that hold here, the most specific first: ("NA-US-CA", "NA-US", "NA")."""
        if not self.continent:
            return ()
        if not self.country:
            return (self.continent,)
        country = f"{self.continent}-{self.country}"
        if not self.subdivision:
            return (country, self.continent)
        parts = (self.subdivision, *self.within)
        return (*(f"{country}-{part}" for part in parts), country, self.continent)

    def position(self) -> Position | None:
        """The coordinates, else the middle of the most specific geo code that is known to have one."""
        if self.latitude is not None and self.longitude is not None:
            return Position(self.latitude, self.longitude)
        found = ((code, codes_.location(code)) for code in self.codes())
        return next((Position(*middle, code) for code, middle in found if middle), None)


NOWHERE = Place()
