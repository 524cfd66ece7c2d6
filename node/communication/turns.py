"""When a node compares what it knows, and with whom.

In quiet times it is one random linked peer in ten seconds. A peer that was just linked, or that has just come back from
a grave, has its turn at once. After a round that taught much the next ones follow quickly, for as long as they find
somebody to learn from or to teach, so that what two halves of a mesh tell each other runs through both within seconds.
"""

import random
from bisect import insort

from protocol.ids import NodeId

INTERVAL_S = 10.0
QUICK_S = 0.5
AGREED_FACTOR = 1.5
TAUGHT_FACTOR = 1.25
"""How the pause grows with rounds that show no difference, and with those that teach us nothing but perhaps the peer:
slowly, but it grows, for there may be differences that no round removes."""
MUCH = 8
"""Nodes that came, went or started anew, learnt of at once."""
HEARD_S = 2.0
"""Or one by one within so long."""
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
        self._heard = 0
        self._heard_from = float("-inf")

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

    def agree(self, now: float) -> None:
        """A round has ended: the peer knew the same nodes in the same incarnations."""
        if self._pause_s < INTERVAL_S:
            self._hurry(self._pause_s * AGREED_FACTOR, now)

    def learn(self, nodes: int, more: bool, now: float) -> None:
        """A round has ended that taught us of so many nodes, or the peer, and left more to be told."""
        if nodes >= MUCH or (nodes and more):
            self._hurry(QUICK_S, now)
        elif self._pause_s < INTERVAL_S:
            self._hurry(self._pause_s * TAUGHT_FACTOR, now)

    def hear(self, nodes: int, now: float) -> None:
        """We have been told of so many nodes, all at once or one by one."""
        if now > self._heard_from + HEARD_S:
            self._heard_from, self._heard = now, 0
        self._heard += nodes
        if self._heard >= MUCH:
            self._heard_from, self._heard = now, 0
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
