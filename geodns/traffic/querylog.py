"""The query log: a line of JSON for each query, with why it was answered as it was.

    Event --answered again, over the snapshot that is served--> rule, pool, values --+--> JSON line --> file
          --read--> name, type, rcode, place ----------------------------------------+

Answering costs nothing more for it: an answer depends on the packet, the client, the draw, the second and the
snapshot alone, so it can be asked for again. Where other octets come out, the snapshot has been replaced
meanwhile: then the line has no rule and no pool, and says so (`"exact": false`).
"""

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any

import dns.exception
import dns.message

from geodns.config import QueryLog as Settings
from geodns.config import Truncate
from geodns.engine.answer import answer
from geodns.engine.choose import Chosen
from geodns.engine.left import Left
from geodns.engine.snapshot import Snapshot
from geodns.engine.wire import Query, read
from geodns.geo.place import Place
from geodns.name import Name
from geodns.traffic.event import NANOSECONDS, Event
from geodns.traffic.recent import rcode_label, zone_label
from geodns.traffic.rotate import RotatingFile
from geodns.traffic.writer import Writer
from geodns.zone.rdata import type_name

if TYPE_CHECKING:
    from geodns.traffic.places import Places

VALUES_MAX = 20  # told of one answer
ANSWERS_KEPT = 1024  # whose values are remembered, in half a megabyte
_ID_OCTETS = 2
_ANCOUNT = slice(4, 6)  # behind the ID and the flags


class QueryLog(Writer):
    """Writes as `settings` say, which may be assigned at any time; `reopen` makes another file hold.

    `snapshot` gives the one that is served now; `look_at_databases` is called before places are asked for.
    """

    name = "querylog"

    def __init__(
        self,
        settings: Settings,
        snapshot: Callable[[], Snapshot | None],
        look_at_databases: "Callable[[Places], None]",
        say_rarely: Callable[[str, str], None],
    ) -> None:
        super().__init__(say_rarely)
        self.settings = settings
        self._snapshot = snapshot
        self._look_at_databases = look_at_databases
        self._places: Places | None = None
        self._file: RotatingFile | None = None

    @property
    def share(self) -> float:
        return self.settings.sample if self.settings.file is not None else 0.0

    def open(self) -> None:
        settings = self.settings
        assert settings.file is not None
        self._file = RotatingFile(
            settings.file, settings.rotate_octets, settings.rotate_after, settings.rotate_keep
        )

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, events: Sequence[Event]) -> int:
        assert self._file is not None
        if not events:
            self._file.look()
            return 0
        if self._places is None:
            from geodns.traffic.places import Places  # with numpy, whose 20 MB only a log needs

            self._places = Places(self._say_rarely)
        self._look_at_databases(self._places)
        lines = list(self._lines(events, self._places))
        if lines:
            self._file.write(b"".join(lines))
        return len(lines)

    def _lines(self, events: Sequence[Event], places: "Places") -> Iterator[bytes]:
        settings = self.settings
        for event in events:
            query = read(event.query)
            place = places.place(query, event.client)
            codes = place.codes()
            if settings.places and not set(settings.places).intersection(codes):
                continue
            row = record(event, query, place, self._snapshot(), settings.truncate)
            if settings.rcodes and row["rcode"] not in settings.rcodes:
                continue
            if settings.zones and row["zone"] not in settings.zones:
                continue
            yield (
                json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
            )


def record(
    event: Event, query: Query | None, place: Place, snapshot: Snapshot | None, truncate: Truncate
) -> dict[str, Any]:
    """What a line says; docs/traffic.md."""
    trace: list[Chosen] = []
    left = Left()
    again = None
    if snapshot is not None:
        draw, now = event.draw, event.now
        again = answer(event.query, event.client, snapshot, draw, now, event.stream, trace, left)
    is_exact = (again or b"") == event.answer
    row: dict[str, Any] = {
        "time": _time(event.received),
        "client": shortened(event.client, truncate),
        "transport": "tcp" if event.stream else "udp",
        "name": "" if query is None or not query.question else str(Name(query.key)),
        "type": "" if query is None or not query.question else type_name(query.qtype),
        "rcode": _rcode(event, left if is_exact else None),
        "zone": zone_label(left.zone.apex) if is_exact and left.zone is not None else "",
        "place": next(iter(place.codes()), ""),
        "asn": place.asn,
        "took_us": event.took // 1000,
        "octets": len(event.answer),
        "weight": event.weight,
    }
    if query is not None and query.subnet is not None and query.subnet.source:
        row["subnet"] = _subnet(query, truncate)
    if not is_exact:
        row["exact"] = False
    elif trace:
        row["rule"] = [_rule(chosen) for chosen in trace]
        row["pool"] = [name for _, name in left.pools]
        row["scope"] = max(chosen.scope for chosen in trace)
    row["values"] = _values(event.answer[_ID_OCTETS:])
    return row


@lru_cache(ANSWERS_KEPT)
def shortened(client: str, truncate: Truncate) -> str:
    """An address, without the bits that are not to be kept."""
    address = ip_address(client.partition("%")[0])
    return str(ip_network((address, truncate.bits(address.version)), strict=False).network_address)


def _time(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06}Z"


def _rcode(event: Event, left: Left | None) -> str:
    if not event.answer:
        return ""
    return rcode_label(event.answer[3] & 15 if left is None else left.rcode)


def _subnet(query: Query, truncate: Truncate) -> str:
    subnet = query.subnet
    assert subnet is not None
    address = ip_address(subnet.address.to_bytes(4 if subnet.family == 4 else 16))
    return str(ip_network((address, min(subnet.source, truncate.bits(subnet.family))), strict=False))


def _rule(chosen: Chosen) -> str:
    """Where the rule that decided stands: file:line:column; "" for the record's own values."""
    rule = chosen.decision.rule
    return "" if rule is None else chosen.choice.steer.rules[rule].mark


@lru_cache(ANSWERS_KEPT)
def _values(message: bytes) -> tuple[str, ...]:
    """The data of the answer section, in presentation format, as they were sent; of a message without its ID.

    To read them takes longer than all the rest of a line, and the same answers come again and again.
    """
    if len(message) < _ANCOUNT.stop or not any(message[_ANCOUNT]):
        return ()
    try:
        answers = dns.message.from_wire(bytes(_ID_OCTETS) + message, ignore_trailing=True).answer
    except dns.exception.DNSException:
        return ()  # of a client's own options, that we echo
    return tuple(rdata.to_text() for rrset in answers for rdata in rrset)[:VALUES_MAX]
