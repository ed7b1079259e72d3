"""Looking at what queries leave behind, in a thread of its own.

    listeners --Sums, once a second--> Recent --> GET /v1/traffic
             \\--Events, four times a second--> places, and whoever else wants whole queries

The listeners keep as many queries for the sample as the one wants who wants the most; each of the others
takes its share of them.
"""

import threading
import time
from collections.abc import Sequence
from random import random
from typing import Protocol

from geodns.engine.wire import read
from geodns.server.files import fingerprint_of
from geodns.server.library import Library
from geodns.server.listeners import Listeners
from geodns.server.say import Sayer
from geodns.traffic.event import Event
from geodns.traffic.places import Places, country
from geodns.traffic.recent import PLACES_PER_SECOND, Recent
from geodns.traffic.sums import Sums

TURN_SECONDS = (
    0.25  # between two takings of the sample: a full ring is a quarter of a second at 20,000 a second
)
FILES_SECONDS = 5.0  # between looks at whether a database is another one


class Consumer(Protocol):
    """Wants whole queries. `share` is how many of all of them, from 0 to 1; it may change at any time."""

    name: str
    written: int  # queries that it kept
    dropped: int  # queries that it had no room for

    @property
    def share(self) -> float: ...

    def take(self, events: Sequence[Event]) -> None:
        """Some of the sample; must not raise."""

    def turn(self) -> None:
        """Called four times a second, whether there are events or not; must not raise."""


class Observer:
    """Looks from `start` until `stop`. `recent` may be read at any time."""

    def __init__(
        self, listeners: Listeners, library: Library, say: Sayer, consumers: Sequence[Consumer] = ()
    ) -> None:
        self.recent = Recent()
        self.places = Places(say.rarely)
        self._listeners = listeners
        self._library = library
        self._say = say
        self._consumers = consumers
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Take what is left of the sample, and end. In any thread but the listeners'; after they have
        ended.
        """
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def sums(self) -> Sums:
        """What was counted since the start."""
        return self._listeners.sums()

    def _run(self) -> None:
        second, looked = 0, float("-inf")
        while not self._over.wait(TURN_SECONDS):
            try:
                if time.monotonic() - looked > FILES_SECONDS:
                    looked = time.monotonic()
                    self._look_at_databases()
                self._sample()
                now = int(time.time())
                if now != second:
                    self.recent.take(self._listeners.sums(), now - 1)
                    self._listeners.sample(self._every())
                    second = now
            except Exception as error:
                self._failed(error)
        self._sample()

    def _look_at_databases(self) -> None:
        config = self._library.config
        files = tuple((str(path), fingerprint_of(str(path))) for path in config.database_files())
        self.places.configure(files, config.geo.overrides)

    def _every(self) -> int:
        """One of how many queries are to be kept: as many as the one wants who wants the most."""
        located = PLACES_PER_SECOND / max(self.recent.queries_per_second, PLACES_PER_SECOND)
        share = max([located, *(consumer.share for consumer in self._consumers)])
        return int(1 / share)

    def _sample(self) -> None:
        events = self._listeners.sampled()
        located = PLACES_PER_SECOND * TURN_SECONDS / max(len(events), 1)
        for event in events:
            if located >= 1 or random() < located:
                place = self.places.place(read(event.query), event.client)
                self.recent.see(country(place), max(1, round(event.weight / min(located, 1))), event.now)
        for consumer in self._consumers:
            share = consumer.share
            if share > 0:
                consumer.take([event for event in events if random() < share * event.weight])
            consumer.turn()

    def _failed(self, error: Exception) -> None:
        what = f"looking at the traffic: {type(error).__name__}: {error}"
        self._say.rarely("traffic", f"{what}; a bug of geodns, and queries are answered as before")
