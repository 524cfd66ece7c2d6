"""When a node compares what it knows, and with whom.

In quiet times it is one random linked peer in ten seconds. A peer that was just linked, or that has just come back from
a grave, has its turn at once. After a round that taught much the next ones follow quickly, with pauses that double for
as long as they teach nothing, so that what two halves of a mesh tell each other runs through both within seconds.
"""

import random
from bisect import insort

from protocol.ids import NodeId

INTERVAL_S = 10.0
QUICK_S = 0.5
MUCH = 8
"""Nodes that came, went or started anew, learnt of at once."""
ROUNDS_MAX = 3
"""Under way at a time: after a start many links come up together, and all peers would tell the same."""


class Turns:
    """Told of links and of what rounds brought; says with whom to begin one now."""

    def __init__(self, dice: random.Random) -> None:
        self.linked: list[NodeId] = []
        """By id."""
        self._dice = dice
        self._soon: dict[NodeId, float] = {}
        self._under_way: dict[NodeId, None] = {}
        self._next_at = 0.0
        self._pause_s = INTERVAL_S

    @property
    def deadline(self) -> float | None:
        if not self.linked:
            return None
        moments = [at for peer, at in self._soon.items() if self._may_begin(peer)]
        return min([self._next_at, *moments])

    def meet(self, peer: NodeId, at: float, now: float) -> None:
        """There is a link to this peer now."""
        if not self.linked:
            # Full jitter: nodes that were started together do not ask in step.
            self._next_at = now + self._dice.uniform(0.0, INTERVAL_S)
        insort(self.linked, peer)
        self._soon[peer] = at

    def part(self, peer: NodeId) -> None:
        self.linked.remove(peer)
        self._soon.pop(peer, None)
        self.end(peer)

    def want(self, peer: NodeId, at: float) -> None:
        """It has a turn of its own; after the one that is under way."""
        self._soon[peer] = at

    def begin(self, now: float) -> list[NodeId]:
        """With whom to begin a round now."""
        begun: list[NodeId] = []
        for peer in [peer for peer, at in self._soon.items() if at <= now]:
            if self._may_begin(peer):
                begun.append(self._begin(peer))
        if self.linked and self._next_at <= now:
            self._next_at = now + self._pause_s * self._dice.uniform(0.9, 1.1)
            peer = self._dice.choice(self.linked)
            if peer not in self._under_way:
                begun.append(self._begin(peer))
        return begun

    def end(self, peer: NodeId) -> None:
        self._under_way.pop(peer, None)

    def agree(self) -> None:
        """A peer knew the same nodes in the same incarnations: no hurry any more."""
        self._pause_s = INTERVAL_S

    def learn(self, nodes: int, more: bool, now: float) -> None:
        """A round has ended that taught us of so many nodes, and left more to be told."""
        if nodes >= MUCH or (nodes and more):
            self._hurry(QUICK_S, now)
        elif self._pause_s < INTERVAL_S:
            self._hurry(self._pause_s if nodes else 2 * self._pause_s, now)

    def hear(self, nodes: int, now: float) -> None:
        """A peer's round has taught us of so many nodes."""
        if nodes >= MUCH:
            self._hurry(QUICK_S, now)

    def _begin(self, peer: NodeId) -> NodeId:
        self._soon.pop(peer, None)
        self._under_way[peer] = None
        return peer

    def _may_begin(self, peer: NodeId) -> bool:
        return len(self._under_way) < ROUNDS_MAX and peer not in self._under_way

    def _hurry(self, pause_s: float, now: float) -> None:
        self._pause_s = min(pause_s, INTERVAL_S)
        self._next_at = min(self._next_at, now + self._pause_s * self._dice.uniform(0.5, 1.0))
