"""What several instances see together: one of them with a bad uplink does not take a value out.

own state + PeerViews of those that can be heard --verdict--> up or down
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from geodns.health.words import PeerHeard, PeerView

PEER_SILENT_SECONDS = 10.0  # about five polls; the votes of a peer that fell silent are too old after that
PEER_FORGOTTEN_SECONDS = 60.0  # without even a failed poll: the config no longer has this peer
PEER_KEYS_MAX = 100_000  # of one view: ten times the checks that one instance is built for
PEERS_MAX = 16  # as the config has it


def verdict(own: bool | None, peers: Iterable[bool]) -> bool | None:
    """Down when more than half of those that know say down; None when nobody knows."""
    votes = [*peers] if own is None else [own, *peers]
    if not votes:
        return None
    return 2 * votes.count(False) <= len(votes)


@dataclass(slots=True)
class Peer:
    """A peer and what it said last. `heard` is when it said that, `told` when we last heard of it at all."""

    name: str
    up: Mapping[str, bool]
    heard: float
    told: float
    detail: str
    counts: bool
    id: str = ""
    zones: Mapping[str, int] = field(default_factory=dict)


class Peers:
    """The views of all peers. Those that are silent do not vote, nor does one that lacks the key."""

    def __init__(self) -> None:
        self._peers: dict[str, Peer] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def votes(self, key: str) -> list[bool]:
        """What the peers that count say of a check."""
        return [vote for _, vote in self.ballots(key)]

    def ballots(self, key: str) -> list[tuple[str, bool]]:
        """As `votes`, with the peers' names."""
        if not self._peers:
            return []
        return [(peer.name, peer.up[key]) for peer in self if peer.counts and key in peer.up]

    def hear(self, view: PeerView | PeerHeard, now: float) -> set[str]:
        """Take a view, or that it is still the same. Returns the keys of checks whose votes changed by it."""
        peer = self._peers.get(view.peer) or self._welcome(view, now)
        if peer is None:
            return set()
        before: Mapping[str, bool] = peer.up if peer.counts else {}
        peer.told = now
        if isinstance(view, PeerHeard):
            peer.heard = min(view.at, now)
        else:
            peer.detail = view.detail
            if view.up is not None:
                peer.heard = min(view.at, now)
                peer.up = _bounded(view.up)
                peer.id, peer.zones = view.id or peer.id, dict(view.zones)
        peer.counts = _is_heard(peer, now)
        return _different(before, peer.up if peer.counts else {})

    def tick(self, now: float) -> set[str]:
        """Let peers that are silent lapse, and forget those that nobody asks any more: the keys concerned."""
        changed: set[str] = set()
        for peer in list(self):
            if peer.counts and not _is_heard(peer, now):
                peer.counts = False
                changed.update(peer.up)
            if now - peer.told > PEER_FORGOTTEN_SECONDS:
                del self._peers[peer.name]
        return changed

    def _welcome(self, view: PeerView | PeerHeard, now: float) -> Peer | None:
        """A new peer. One of which we know only that it sees what it saw before tells us nothing."""
        if isinstance(view, PeerHeard) or len(self._peers) >= PEERS_MAX:
            return None
        peer = self._peers[view.peer] = Peer(view.peer, {}, float("-inf"), now, "", False)
        return peer


def _is_heard(peer: Peer, now: float) -> bool:
    return now - peer.heard <= PEER_SILENT_SECONDS


def _different(before: Mapping[str, bool], after: Mapping[str, bool]) -> set[str]:
    if before is after or before == after:
        return set()
    return {key for key in before.keys() | after.keys() if before.get(key) is not after.get(key)}


def _bounded(up: Mapping[str, bool]) -> dict[str, bool]:
    """What of a view is taken: it came over the network."""
    taken: dict[str, bool] = {}
    for key, vote in up.items():
        if len(taken) >= PEER_KEYS_MAX:
            break
        if isinstance(vote, bool):
            taken[key] = vote
    return taken
