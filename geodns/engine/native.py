"""The native engine, where it is built: `answer` as in `geodns.engine.answer`, octet for octet, in Rust.

    Snapshot --publish (copies what is new)--> Engine --> the threads of geodns._native.Server, without Python
                                                 +------> answer, for tests

What is for a service (another opcode than QUERY, a transfer, the CHAOS class) it leaves to Python: there
`geodns.engine.answer` says what it always says.

Its sources are in native/, with the same file names as here.
"""

from importlib import import_module

from geodns.engine.answer import answer
from geodns.engine.left import Left
from geodns.engine.snapshot import Snapshot

MODULE = "geodns._native"


def why_not() -> str:
    """Why the native engine can not be had, in words that end a sentence; "" where it can."""
    try:
        import_module(MODULE)
    except ModuleNotFoundError:
        return "the native one is not built"
    except ImportError as error:  # built for another system, or half copied
        return f"the native one can not be loaded: {error}"
    return ""


class Native:
    """`answer` with the signature of the Python engine's, for whatever snapshot it is asked with.

    It publishes every snapshot that is not the one before, so it is for tests and measurements: a server
    publishes once, and answers in threads of its own.
    """

    def __init__(self) -> None:
        from geodns._native import Engine

        self.engine = Engine()
        self._published: Snapshot | None = None
        self._names = self.engine.names()

    def publish(self, snapshot: Snapshot) -> None:
        """Answer from this snapshot."""
        if snapshot is not self._published:
            self.engine.publish(snapshot)
            self._published = snapshot
            self._names = self.engine.names()

    def answer(
        self, packet: bytes, client: str, snapshot: Snapshot, draw: int, now: int, stream: bool = False
    ) -> bytes | None:
        """The answer to `packet`, or None for what gets none."""
        self.publish(snapshot)
        found = self.engine.answer(packet, client, draw, now, stream)
        if found is None and self.engine.hands_over(packet):
            return answer(packet, client, snapshot, draw, now, stream)
        return found

    def left(
        self, packet: bytes, client: str, snapshot: Snapshot, draw: int, now: int
    ) -> tuple[bytes, int, int, list[tuple[bytes, str]]] | None:
        """What the query leaves behind: the zone's apex, type, rcode, pools; None for silence."""
        self.publish(snapshot)
        found = self.engine.left(packet, client, draw, now)
        if found is None:
            if not self.engine.hands_over(packet):
                return None
            left = Left()
            answer(packet, client, snapshot, draw, now, left=left)
            return b"" if left.zone is None else left.zone.apex, left.qtype, left.rcode, left.pools
        zone, qtype, rcode, pools = found
        zones, known = self._names
        return zones.get(zone, b""), qtype, rcode, [known[pool] for pool in pools]

    def time(self, packets: list[bytes], client: str, now: int, times: int) -> list[float]:
        """Answer these packets over UDP, all of them several times: seconds for each time."""
        return self.engine.time(packets, client, now, times)
