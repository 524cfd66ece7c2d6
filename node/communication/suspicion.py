"""How long a suspect has to speak up before it is declared dead.

One accuser may be wrong by its own fault, so a suspicion begins with a long time and shrinks with each further node
that had no answer either (Lifeguard, section IV.B):

    time = max(min, max - (max - min) * ln(c + 1) / ln(k + 1))      after c of k confirmations
"""

import math

from protocol.ids import NodeId

CONFIRMATIONS = 2
"""k: after so many accusers beside the first the time is at its minimum."""
MULTIPLE = 1.5
"""Minimum = this x max(1, log10 N) x the probing period: news needs log N rounds to reach the suspect, and its
denial as many back."""
MAX_TO_MIN = 6.0


class Suspicion:
    """Of one member in one incarnation, as one node keeps it."""

    __slots__ = (
        "_accusers",
        "_expected",
        "_min_s",
        "_since",
        "check_at",
        "deadline",
        "incarnation",
    )

    def __init__(
        self,
        incarnation: int,
        accuser: NodeId,
        nodes: int,
        period_s: float,
        now: float,
        chance: float,
    ) -> None:
        """`nodes`: in the mesh, with ourselves and the suspect. `chance`: 0 to 1, spreads the checks."""
        self.incarnation = incarnation
        self._accusers: tuple[NodeId, ...] = (accuser,)
        # In a small mesh there are not so many others to confirm it.
        self._expected = max(0, min(CONFIRMATIONS, nodes - 2))
        self._min_s = MULTIPLE * max(1.0, math.log10(nodes)) * period_s
        self._since = now
        self.check_at = now + self._min_s * (1.0 + chance)
        """A dead one would have been found dead by then: if we still suspect it, we have missed something."""
        self.deadline = now + self._time_s()

    def confirm(self, accuser: NodeId) -> bool:
        """Whether this is a further accuser, and one that counts."""
        if accuser in self._accusers or len(self._accusers) > self._expected:
            return False
        self._accusers += (accuser,)
        self.deadline = self._since + self._time_s()
        return True

    def check_again(self, now: float) -> None:
        """What we have missed may be lost again."""
        self.check_at = now + self._min_s

    def postpone(self, by_s: float) -> None:
        """For so long we could not have heard its denial."""
        self._since += by_s
        self.check_at += by_s
        self.deadline += by_s

    @property
    def at(self) -> float:
        """When something is to be done about it."""
        return min(self.check_at, self.deadline)

    @property
    def accusers(self) -> tuple[NodeId, ...]:
        return self._accusers

    def _time_s(self) -> float:
        if self._expected == 0:
            return self._min_s
        max_s = MAX_TO_MIN * self._min_s
        share = math.log(len(self._accusers)) / math.log(self._expected + 1)
        return max(self._min_s, max_s - (max_s - self._min_s) * share)
