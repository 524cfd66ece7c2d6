"""Members that are not there any more, and whom of them to look for.

SWIM forgets the dead, so two halves of a mesh that were cut apart for longer never find each other again: each has
buried the other, and nobody probes anybody. Here the dead are remembered for days, on disk too, and looked for one at
a time. Whoever answers learns of its own death, denies it, and both sides compare what they know.
"""

import random
from collections.abc import Iterable

from node.effects import Grave
from protocol.ids import NodeId
from protocol.limits import PEERS_MAX
from protocol.members import Cause, MemberRecord

KEPT_S = 72 * 3600.0
"""So long a dead member is remembered and looked for."""
GRAVES_MAX = PEERS_MAX
"""Past it the oldest is forgotten."""
INTERVAL_S = 10.0
"""Between two searches of one node, on average."""
PAUSE_FIRST_S = 10.0
PAUSE_MAX_S = 300.0
"""Between two searches of one node for the same grave."""


class Buried:
    """One grave."""

    __slots__ = (
        "answered",
        "at",
        "by_link",
        "cause",
        "due_at",
        "incarnation",
        "pause_s",
        "record",
    )

    def __init__(
        self, record: MemberRecord, incarnation: int, cause: Cause, at: float, now: float
    ) -> None:
        self.record = record
        self.incarnation = incarnation
        """In which it was declared dead: it may be later than its record that we have."""
        self.cause = cause
        self.at = at
        self.due_at = now
        """When it is to be looked for again."""
        self.pause_s = PAUSE_FIRST_S
        self.by_link = True
        """The last search went over a link; they take turns, for one of both may not pass."""
        self.answered = False
        """It has been heard from since, and will deny its death."""


class Graveyard:
    """The graves, and whose turn it is."""

    def __init__(self, dice: random.Random) -> None:
        self.graves: dict[NodeId, Buried] = {}
        self._dice = dice
        self._pushed_out: dict[NodeId, None] = {}
        """Whose graves others took the place of, and nobody was told so yet."""

    def bury(
        self, node: NodeId, record: MemberRecord, incarnation: int, cause: Cause, now: float
    ) -> None:
        if len(self.graves) >= GRAVES_MAX:
            oldest = min(self.graves, key=lambda one: self.graves[one].at)
            del self.graves[oldest]
            self._pushed_out[oldest] = None
        self._pushed_out.pop(node, None)
        self.graves[node] = Buried(record, incarnation, cause, now, now)

    def restore(self, graves: Iterable[Grave], now: float) -> None:
        """As kept on disk by the last process."""
        for grave in graves:
            at = now - grave.age_s
            if grave.age_s < KEPT_S:
                record = grave.record
                self.graves[record.id] = Buried(record, record.incarnation, grave.cause, at, now)

    def kept(self, now: float) -> tuple[Grave, ...]:
        """For the disk."""
        return tuple(
            Grave(grave.record, grave.cause, age_s=now - grave.at) for grave in self.graves.values()
        )

    def next_turn(self, now: float) -> float:
        """Full jitter: nodes that were cut apart at the same moment do not search in step."""
        return now + 2.0 * INTERVAL_S * self._dice.random()

    def search(self, nodes: int, now: float) -> NodeId | None:
        """Whom to look for, if anybody. `nodes`: how many of us search.

        A grave is looked for by the whole mesh at least each `INTERVAL_S`, so the pause that one node makes grows
        no longer than that times the number of nodes: two halves of two find each other as soon as large ones.
        """
        due = [
            node
            for node, grave in self.graves.items()
            if grave.due_at <= now and grave.cause is not Cause.LEFT
        ]
        if not due:
            return None
        node = due[int(self._dice.random() * len(due))]
        grave = self.graves[node]
        grave.by_link = not grave.by_link
        grave.due_at = now + grave.pause_s * self._dice.random()
        grave.pause_s = min(2.0 * grave.pause_s, PAUSE_MAX_S, INTERVAL_S * nodes)
        return node

    def forget_old(self, now: float) -> list[NodeId]:
        """Who is dead for so long that nobody needs to know of it any more, or had to make room for other graves."""
        old = [node for node, grave in self.graves.items() if now - grave.at > KEPT_S]
        for node in old:
            del self.graves[node]
        pushed_out, self._pushed_out = self._pushed_out, {}
        return [*pushed_out, *old]
