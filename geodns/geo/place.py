"""A place: what a geo database says of an address."""

from dataclasses import dataclass


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


NOWHERE = Place()
