"""`geo.overrides`: places that the operator knows better than any database, or that no database has.

{"10.0.0.0/8": "EU-DE", "127.0.0.0/8": "database"} --parse--> Overrides --find(address)--> Override
"""

from collections.abc import Mapping
from dataclasses import dataclass

from geodns.geo import codes
from geodns.geo.address import Address, BadAddress, Prefix, canonical, canonical_prefix, parse_prefix
from geodns.geo.place import Place

DATABASE = "database"
"""As a value: take the place from the database, although the address is private, loopback or the like."""

OVERRIDES_MAX = 10_000  # a configuration is written by people; more than this belongs in a database


@dataclass(frozen=True, slots=True)
class Override:
    """Addresses in `prefix` are at the geo code `place`, or where DATABASE says."""

    prefix: Prefix
    place: str

    @property
    def codes(self) -> tuple[str, ...]:
        """The geo codes that hold, the most specific first; none for DATABASE."""
        return () if self.place == DATABASE else self.as_place().codes()

    def as_place(self) -> Place:
        """The Place of a geo code, without coordinates or AS."""
        continent, country, subdivision = (*self.place.split("-"), "", "")[:3]
        return Place(continent, country, subdivision)


class Overrides(tuple[Override, ...]):
    """Hashable; of several that have an address the longest prefix wins."""

    __slots__ = ()

    def find(self, address: Address) -> Override | None:
        """The override of an address, or of the IPv4 address in it."""
        address = canonical(address)
        return max(
            (override for override in self if override.prefix.covers(address)),
            key=lambda override: override.prefix.length,
            default=None,
        )


NONE = Overrides()


def parse(written: Mapping[str, str]) -> tuple[Overrides, list[tuple[str, str]]]:
    """Read prefix -> geo code or "database". Returns the good ones, and (prefix, message) of the others."""
    found: dict[Prefix, Override] = {}
    problems: list[tuple[str, str]] = []
    for text, place in written.items():
        try:
            prefix = canonical_prefix(parse_prefix(text))
        except BadAddress as error:
            problems.append((text, str(error)))
            continue
        problem = None if place == DATABASE else codes.check(place)
        if prefix is None:
            problems.append(
                (text, f"{text} never matches: its addresses count as the IPv4 addresses in them")
            )
        elif problem:
            problems.append((text, f'{problem}; or say "{DATABASE}"'))
        elif prefix in found:
            problems.append((text, f"{text} stands here twice"))
        elif len(found) >= OVERRIDES_MAX:
            problems.append((text, f"more than {OVERRIDES_MAX:,} overrides: put them in a database"))
            break
        else:
            found[prefix] = Override(prefix, place)
    return Overrides(found.values()), problems
