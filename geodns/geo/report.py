"""What is known of an address, as JSON says it: the same for `geodns geo lookup` and the HTTP API."""

from typing import Any

from geodns.geo.locator import Explanation


def report(found: Explanation) -> dict[str, Any]:
    """Texts, numbers, lists and mappings; None for what nobody knows."""
    place, override = found.place, found.override
    return {
        "address": str(found.asked),
        "used": str(found.used),
        "embedding": found.embedding.name if found.embedding else None,
        "special": found.special.what if found.special else None,
        "override": {"prefix": str(override.prefix), "place": override.place} if override else None,
        "located": found.is_located,
        "codes": list(place.codes()),
        "names": list(found.names),
        "latitude": place.latitude,
        "longitude": place.longitude,
        "asn": place.asn or None,
        "organization": place.organization or None,
        "databases": [
            {
                "file": source.file,
                "type": source.type,
                "prefix": str(source.prefix),
                "codes": list(source.place.codes()),
                "asn": source.place.asn or None,
            }
            for source in found.sources
        ],
    }
