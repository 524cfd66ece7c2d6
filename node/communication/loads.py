"""How busy each peer is, as far as we have heard: from its answers to us, or from its record.

An answer is for us alone and at once, a record comes round in its own time: whichever came last holds.
"""

import msgspec

from protocol.digests import LoadDigest, NodeRecord
from protocol.ids import NodeId


class Loads:
    """The last that was heard of each peer's load, and when."""

    def __init__(self) -> None:
        self._heard: dict[NodeId, tuple[LoadDigest, float]] = {}

    def answered(self, peer: NodeId, load: LoadDigest, now: float) -> None:
        """It rode on an answer."""
        self._heard[peer] = (load, now)

    def told(self, record: NodeRecord, now: float) -> None:
        """A new record came."""
        load = msgspec.structs.replace(record.load, free=record.memory.free)
        self._heard[record.id] = (load, now)

    def forget(self, peer: NodeId) -> None:
        self._heard.pop(peer, None)

    def load(self, peer: NodeId) -> LoadDigest | None:
        return self._heard[peer][0] if peer in self._heard else None

    def age_s(self, peer: NodeId, now: float) -> float | None:
        return now - self._heard[peer][1] if peer in self._heard else None
