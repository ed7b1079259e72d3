"""Looking at what queries leave behind, in a thread of its own.

    listeners --Sums, once a second--> Recent --> GET /v1/traffic
             \\--Events, four times a second--> places, and whoever else wants whole queries

The listeners keep as many queries for the sample as the one wants who wants the most; each of the others
takes its share of them.
"""

import threading
import time
from random import random
from typing import TYPE_CHECKING

from geodns.config import Config
from geodns.engine.wire import read
from geodns.server.files import fingerprint_of
from geodns.server.library import Library
from geodns.server.listeners import Listeners
from geodns.server.say import Sayer
from geodns.server.served import Served
from geodns.traffic.dnstap import Dnstap
from geodns.traffic.querylog import QueryLog
from geodns.traffic.recent import PLACES_PER_SECOND, Recent
from geodns.traffic.writer import Writer

if TYPE_CHECKING:
    from geodns.traffic.places import Places

TURN_SECONDS = 0.25  # between two takings of the sample: at 20,000 queries a second a full ring


class Observer:
    """Looks from `start` until `stop`. `recent` and `writers` may be read at any time."""

    def __init__(
        self, listeners: Listeners, library: Library, served: Served, identity: str, say: Sayer
    ) -> None:
        config = library.config
        self.recent = Recent()
        self._querylog = QueryLog(config.querylog, served.now, self._look_at_databases, say.rarely)
        self._dnstap = Dnstap(config.dnstap, identity.encode(), say.rarely)
        self.writers: tuple[Writer, ...] = (self._querylog, self._dnstap)
        self._is_shown = bool(config.control.addresses)  # to nobody, where there is no endpoint
        self._places = _places(say) if self._is_shown else None
        self._second = 0
        self._listeners = listeners
        self._library = library
        self._say = say
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begin, before the listeners: what a log is to have of all queries has to hold for the first."""
        for writer in self.writers:
            writer.start()
        self._listeners.sample(self._every())
        self._thread.start()

    def stop(self) -> None:
        """Take what is left of the sample, and end; after the listeners have ended."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()
        for writer in self.writers:
            writer.stop()

    def configure(self, config: Config, identity: str) -> None:
        """Go by another config, and open the files anew."""
        self._querylog.settings = config.querylog
        self._dnstap.settings, self._dnstap.identity = config.dnstap, identity.encode()
        for writer in self.writers:
            writer.reopen()

    def _run(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._over.wait(TURN_SECONDS)
            try:
                self._turn(int(time.time()))
            except Exception as error:
                what = f"looking at the traffic: {type(error).__name__}: {error}"
                self._say.rarely("traffic", f"{what}; a bug of geodns, and queries are answered as before")

    def _turn(self, now: int) -> None:
        if self._places is not None:
            self._look_at_databases(self._places)
        self._sample()
        if now != self._second:
            self._second = now
            if self._is_shown:
                self.recent.take(self._listeners.sums(), now - 1)
            self._listeners.sample(self._every())

    def _look_at_databases(self, places: "Places") -> None:
        config = self._library.config
        files = tuple((str(path), fingerprint_of(str(path))) for path in config.database_files())
        places.configure(files, config.geo.overrides)

    def _every(self) -> int:
        """One of how many queries are to be kept: as many as the one wants who wants the most; 0: none."""
        located = PLACES_PER_SECOND / max(self.recent.queries_per_second, PLACES_PER_SECOND)
        share = max([located if self._is_shown else 0.0, *(writer.share for writer in self.writers)])
        return int(1 / share) if share else 0

    def _sample(self) -> None:
        events = sorted(self._listeners.sampled())  # by the time: they come from several threads
        located = PLACES_PER_SECOND * TURN_SECONDS / max(len(events), 1)
        for event in events:
            if self._places is not None and random() < located:
                country = self._places.country(read(event.query), event.client)
                self.recent.see(country, max(1, round(event.weight / min(located, 1))), event.now)
        for writer in self.writers:
            share = writer.share
            writer.take([event for event in events if random() < share * event.weight])


def _places(say: Sayer) -> "Places":
    from geodns.traffic.places import Places  # with numpy, whose 20 MB others do without

    return Places(say.rarely)
