"""What goes to the serving process: results gathered into batches, so that it has little to do for each."""

import asyncio
from collections.abc import Callable

from geodns.health.messages import BATCH_SECONDS, RESULTS_PER_BATCH, Batch, Notice, Pace, frame
from geodns.health.words import PeerHeard, PeerView, Result


class Outbox(asyncio.BaseProtocol):
    """The writing end of the pipe.

    It is not ready while the other side does not read: then nobody begins a new look, so that what waits
    here is bounded by what was under way. `on_ready` is called when that is over, `on_end` when the pipe has
    ended.
    """

    def __init__(self, on_end: Callable[[], None] = lambda: None) -> None:
        self.is_ready = True
        self.on_ready: Callable[[], None] = lambda: None
        self._on_end = on_end
        self._results: list[Result] = []
        self._flush: asyncio.TimerHandle | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def pause_writing(self) -> None:
        self.is_ready = False

    def resume_writing(self) -> None:
        self.is_ready = True
        self.on_ready()

    def connection_lost(self, exc: Exception | None) -> None:
        self._on_end()

    def result(self, result: Result) -> None:
        """Send this within BATCH_SECONDS."""
        self._results.append(result)
        if len(self._results) >= RESULTS_PER_BATCH:
            self.flush()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(BATCH_SECONDS, self.flush)

    def say(self, text: str) -> None:
        """Send a line for the log."""
        self.send(Notice(text))

    def send(self, message: PeerView | PeerHeard | Notice | Pace) -> None:
        """Send this now, after the results that came before it."""
        self.flush()
        self._write(frame(message))

    def flush(self) -> None:
        """Send the results that wait."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._results:
            self._write(frame(Batch(self._results)))
            self._results = []

    def _write(self, octets: bytes) -> None:
        if self._transport is not None:
            self._transport.write(octets)
