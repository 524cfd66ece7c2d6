"""Whose turn it is to be probed: everybody once a round, in a new random order each round (SWIM, section 4.3).

So a dead member is probed by each node within one round, and by somebody at once. The order is drawn as it goes
(Fisher and Yates, one step a turn): nothing is ever shuffled whole, which would take milliseconds at thousands.
"""

import random
from collections.abc import Iterable

from protocol.ids import NodeId


class Rota:
    """The members, in the order of this round; those before `_turn` had theirs."""

    __slots__ = ("_dice", "_gone", "_order", "_turn")

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._order: list[NodeId] = []
        self._turn = 0
        self._gone: dict[NodeId, None] = {}
        """Left out from now on; their places are cleared as we come across them."""

    def __len__(self) -> int:
        return len(self._order) - len(self._gone)

    def restore(self, nodes: Iterable[NodeId]) -> None:
        self._order, self._turn, self._gone = list(nodes), 0, {}

    def add(self, node: NodeId) -> None:
        """A new one has its first turn at random within this round."""
        if node in self._gone:
            del self._gone[node]
        else:
            self._order.append(node)

    def remove(self, node: NodeId) -> None:
        self._gone[node] = None

    def next(self) -> NodeId | None:
        """Whose turn it is; None if there is nobody."""
        order = self._order
        while order:
            turn = self._turn
            if turn >= len(order):
                turn = 0
            drawn = turn + int(self._dice.random() * (len(order) - turn))
            node = order[drawn]
            order[drawn] = order[turn]
            order[turn] = node
            self._turn = turn + 1
            if node not in self._gone:
                return node
            self._clear(turn)
        return None

    def sample(self, count: int, avoid: NodeId | None = None) -> list[NodeId]:
        """At most `count` different nodes at random, without this one."""
        order, drawn = self._order, dict[NodeId, None]()
        if len(self) <= count:
            return [node for node in order if node not in self._gone and node != avoid]
        # Few of many: a handful of draws finds them, and one that is missing does no harm.
        for _ in range(4 * count):
            node = order[int(self._dice.random() * len(order))]
            if node != avoid and node not in self._gone:
                drawn[node] = None
                if len(drawn) == count:
                    break
        return list(drawn)

    def _clear(self, place: int) -> None:
        """Take a place out that had its turn in this round."""
        order = self._order
        del self._gone[order[place]]
        # The last of those who had their turn moves up, and the last of all into its place: no list is shifted.
        self._turn -= 1
        order[place] = order[self._turn]
        order[self._turn] = order[-1]
        order.pop()
