"""Which address counts, and where it is: the locator, in words."""

from geodns.explain.step import Step
from geodns.geo import codes
from geodns.geo.locator import Explanation as Located


def client_steps(located: Located) -> list[Step]:
    """Which address counts, and where it is."""
    steps = []
    if located.embedding is not None:
        row = located.embedding
        steps.append(Step("address", f"{located.used}, as {located.asked} is {row.name} ({row.source})"))
    else:
        steps.append(Step("address", f"{located.used}"))
    if located.override is not None:
        steps.append(
            Step("override", f"{located.override.prefix} is {located.override.place} (geo.overrides)")
        )
    elif located.special is not None:
        row_ = located.special
        steps.append(
            Step("place", f"none: {row_.prefix} is {row_.what} ({row_.source}); the default answers")
        )
        return steps
    place = located.place
    code = next(iter(place.codes()), "")
    words = [f"{code} ({codes.describe(code)})"] if code else []
    words += [f"AS{place.asn} {place.organization}".strip()] if place.asn else []
    steps.append(Step("place", ", ".join(words) or "unknown: no database has this address"))
    steps += [
        Step("", f"{source.file} has {source.prefix} as {_seen(source.place.codes(), source.place.asn)}")
        for source in located.sources
    ]
    return steps


def _seen(place: tuple[str, ...], asn: int) -> str:
    words = [*place[:1], *([f"AS{asn}"] if asn else [])]
    return " ".join(words) or "nothing it knows"
