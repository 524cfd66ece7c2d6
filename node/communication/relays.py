"""Which public members could forward for this node, and by way of which it is reached.

A node that others cannot dial keeps connections to two of them and says so in its addresses. `nat/home.py` decides
which two, by what the connections show; this file tells it from time to time whom it may choose from.
"""

from typing import Protocol

from node.communication.reach import leads_somewhere
from node.effects import Effect, KeepRelays, RelayAt
from protocol.digests import NodeRecord, Public
from protocol.ids import NodeId
from protocol.paths import by_way_of

LOOK_FIRST_S = 0.25
"""From a new link to the first look at who is there: records come over it meanwhile. Then pauses double."""
LOOK_MAX_S = 8.0
"""The longest pause between two looks."""
TELL_S = 60.0
"""After so long round trips are told again, though nothing else has changed."""
NEVER = float("inf")


class Peers(Protocol):
    """Who is there."""

    def known(self) -> list[NodeId]:
        """All members that are alive."""

    def record(self, peer: NodeId) -> NodeRecord | None: ...

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...

    def rtt_s(self, peer: NodeId, now: float) -> float | None: ...


class Relays:
    """Told of links and homes; answers with whom to choose from."""

    def __init__(self, peers: Peers) -> None:
        self.deadline: float | None = None
        self.homes: tuple[NodeId, ...] = ()
        """Relays that forward to us."""
        self._peers = peers
        self._outward = False
        """We listen where other machines could come in."""
        self._public = False
        self._look_s = LOOK_FIRST_S
        self._told: tuple[bool, tuple[tuple[NodeId, tuple[str, ...]], ...]] = (False, ())
        self._told_at = -NEVER

    @property
    def addresses(self) -> tuple[str, ...]:
        """By way of them."""
        return tuple(by_way_of(relay) for relay in self.homes)

    def introduced(self, addresses: tuple[str, ...], now: float) -> None:
        """Where the node listens."""
        self._outward = leads_somewhere(addresses)
        self.look_soon(now)

    def look_soon(self, now: float) -> None:
        """Somebody may have become known."""
        if self._outward:
            self._look_s = LOOK_FIRST_S
            self.deadline = now + LOOK_FIRST_S

    def own_is(self, public: Public, now: float) -> None:
        """Whether others dial us."""
        is_public = public is not Public.NO
        if is_public != self._public:
            self._public = is_public
            self.look_soon(now)

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        self._look_s = min(2 * self._look_s, LOOK_MAX_S)
        self.deadline = now + self._look_s
        relays = [
            RelayAt(peer, self._peers.addresses_of(peer), self._peers.rtt_s(peer, now))
            for peer in self._peers.known()
            if (record := self._peers.record(peer)) is not None
            and record.relays
            and record.public is not Public.NO
        ]
        told = (not self._public, tuple((one.node, one.addresses) for one in relays))
        if told == self._told and (not relays or now < self._told_at + TELL_S):
            return []
        self._told, self._told_at = told, now
        return [KeepRelays(not self._public, tuple(relays))]
