"""TCP: a connection is made, and closed. Nothing is sent."""

from geodns.health.prober.look import LookAt, connected, source_for
from geodns.health.words import Probe


def looking(probe: Probe) -> LookAt:
    """How to look for this check."""

    async def look_at(address: str) -> str:
        # An ordinary close, with a FIN: SO_LINGER would make it a reset, which servers log as an error.
        (await connected(address, probe.check.port, source_for(probe, address))).close()
        return "connected"

    return look_at
