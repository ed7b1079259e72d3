"""What every listener shares: the snapshot to answer from, and what to do when the engine itself fails."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

from geodns.engine.answer import answer, servfail
from geodns.engine.left import Left
from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import SERVFAIL
from geodns.server.limiter import Limiter
from geodns.server.say import Sayer
from geodns.table.overlay import Texts, overlaid
from geodns.traffic.event import NANOSECONDS
from geodns.traffic.tally import Tally

Answer = Callable[[bytes, str, Snapshot, int, int, bool, None, Left], bytes | None]
"""`engine.answer.answer`: (packet, client, snapshot, draw, now, stream, None, left)."""


class Drained(Exception):
    """A query that is answered from `snapshot`, and the last one that this thread takes."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__("this server is drained")
        self.snapshot = snapshot


class _Over:
    """Stands in the place of a snapshot, and raises Drained as soon as it is looked at.

    So a thread that answers need not ask after every query whether it should end.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __getattr__(self, name: str) -> Any:
        raise Drained(self._snapshot)


class Served:
    """The one place that is assigned to when something new is published.

    A listener reads `snapshot` once a query and hands it on, so that a query sees one snapshot from its first
    byte to its last; reading and assigning an attribute are atomic. Whoever publishes goes by `publish`, so
    that two who do so at a time do not lose what one of them has changed.
    """

    __slots__ = (
        "_publish",
        "_publishing",
        "_texts",
        "answer",
        "base",
        "engine_errors",
        "is_limiting",
        "limiter",
        "say",
        "snapshot",
    )

    def __init__(
        self,
        snapshot: Snapshot,
        say: Sayer,
        answer: Answer = answer,
        publish: Callable[[Snapshot], object] = lambda snapshot: None,
    ) -> None:
        """`publish` gets every snapshot before it counts as published: the native engine copies it there."""
        self.snapshot = snapshot
        self.base = snapshot.table  # as the zones have it: the snapshot's has challenges in front
        self.say = say
        self.answer = answer
        self.engine_errors = 0  # queries on which the engine raised: each of them is a bug in it
        self.limiter = Limiter()
        self.is_limiting = False  # whether replies over UDP go by the limiter
        self._publish = publish
        self._texts: Texts = {}
        self._publishing = threading.Lock()

    def publish(self, **changes: Any) -> None:
        """Serve from a snapshot that is the one before but for these fields."""
        with self._publishing:
            if "table" in changes:
                self.base = changes["table"]
                changes["table"] = overlaid(self.base, self._texts)
            self._put(changes)

    def challenge(self, texts: Texts) -> None:
        """Serve these TXT records beside those of the zones, in place of those that were given before."""
        with self._publishing:
            self._texts = texts
            self._put({"table": overlaid(self.base, texts)})

    def _put(self, changes: dict[str, Any]) -> None:
        if isinstance(self.snapshot, _Over):
            return
        snapshot = replace(self.snapshot, **changes)
        self._publish(snapshot)
        self.snapshot = snapshot
        self.is_limiting = snapshot.rrl is not None

    def now(self) -> Snapshot | None:
        """The snapshot that is served; None once this server is drained."""
        snapshot = self.snapshot
        return None if isinstance(snapshot, _Over) else snapshot

    def drain(self) -> None:
        """From now on every query raises Drained in the Python engine, and nothing is published any more."""
        with self._publishing:
            self.snapshot = cast(Snapshot, _Over(self.snapshot))

    def failed(self, packet: bytes, client: str, error: Exception, left: Left) -> bytes | None:
        """Count and tell an engine's failure; returns the SERVFAIL to send instead, if there can be one."""
        self.engine_errors += 1
        left.clear()
        left.rcode = SERVFAIL
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        self.say.rarely(
            "engine",
            f"the engine failed on a query from {client}: {type(error).__name__}: {error}{where}; "
            f"answered SERVFAIL; please report this with the packet: {packet[:512].hex()}",
        )
        try:
            return servfail(packet)
        except Exception:  # what made the engine fail may do so again
            return None

    def limit(self, packet: bytes, client: str, reply: bytes) -> bytes | None:
        """What is to be sent over UDP in place of `reply`, if anything."""
        try:
            return self.limiter.limit(packet, client, reply, self.snapshot)
        except Drained as drained:
            return self.limiter.limit(packet, client, reply, drained.snapshot)

    def over_stream(self, packet: bytes, client: str, port: int, draw: int, tally: Tally) -> bytes | None:
        """The answer to a query that came over TCP; never raises."""
        received = time.time_ns()
        reply = self.reply(packet, client, draw, received, True, tally.left)
        tally.answered(packet, client, port, draw, received, True, reply)
        return reply

    def reply(
        self, packet: bytes, client: str, draw: int, received: int, stream: bool, left: Left
    ) -> bytes | None:
        """The answer to a query, also while this server is drained; `received` is Unix time in nanoseconds.
        Never raises.
        """
        now = received // NANOSECONDS
        try:
            return self.answer(packet, client, self.snapshot, draw, now, stream, None, left)
        except Drained as drained:  # a UDP socket's last query; TCP clients until their connections end
            return self.answer(packet, client, drained.snapshot, draw, now, stream, None, left)
        except Exception as error:
            return self.failed(packet, client, error, left)
