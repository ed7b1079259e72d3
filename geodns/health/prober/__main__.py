"""python -m geodns.health.prober: the process. Started by the server; not for people."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor

from geodns.health.messages import FrameError, Frames, Order
from geodns.health.prober.outbox import Outbox
from geodns.health.prober.run import Prober

LOOKUPS_AT_ONCE = 32  # threads that look names up, read the external file, and nothing else
GC_THRESHOLD = (
    50_000  # objects between collections: what ends here has few cycles, and 10,000 checks are many
)
NICENESS = (
    5  # answering comes first; a third of the weight, so that checks are still made beside a busy server
)
LAST_SECONDS = 1.0  # for looks under way to end, and commands to be killed


class _Inbox(asyncio.Protocol):
    """The reading end of the pipe: `ended` is set when it has ended, or has brought what is no message."""

    def __init__(self, prober: Prober, ended: asyncio.Event) -> None:
        self._prober = prober
        self._ended = ended
        self._frames = Frames()

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        try:
            for order in self._frames:
                if isinstance(order, Order):
                    self._prober.take(order)
        except FrameError as error:
            print(f"the prober was sent what is no message: {error}", file=sys.stderr)
            self._ended.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended.set()


def main() -> None:
    """Make checks until stdin ends or SIGTERM comes, and end the process."""
    # Ctrl-C is for the server, which ends us. Not SIG_IGN: commands would inherit it.
    signal.signal(signal.SIGINT, lambda *_: None)
    # Messages have the pipe for themselves: what a library may print goes where tracebacks go.
    out = os.dup(1)
    os.dup2(2, 1)
    _be_nice()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what strangers' TLS does is told in results
    asyncio.run(_serve(out))


def _be_nice() -> None:
    os.nice(NICENESS)
    # A session of its own has a share of its own on a Linux that groups by session, whatever the niceness of
    # what is in it is: sched(7), "The autogroup feature".
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:
        group.write(str(NICENESS))


async def _serve(out: int) -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(LOOKUPS_AT_ONCE, "lookup"))
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    outbox = Outbox(ended.set)
    await loop.connect_write_pipe(lambda: outbox, os.fdopen(out, "wb", buffering=0))
    prober = Prober(outbox)
    running = loop.create_task(prober.run())
    running.add_done_callback(lambda _: ended.set())
    await loop.connect_read_pipe(lambda: _Inbox(prober, ended), sys.stdin.buffer)
    await ended.wait()
    running.cancel()
    await asyncio.wait([running], timeout=LAST_SECONDS)
    error = running.exception() if running.done() and not running.cancelled() else None
    if error is not None:
        print(f"the prober failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
    # Threads may still wait for a resolver, for half a minute, and Python would wait for them.
    os._exit(0 if error is None else 1)


if __name__ == "__main__":
    main()
