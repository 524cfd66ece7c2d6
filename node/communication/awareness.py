"""How far we may trust our own judgement of others (Lifeguard, arXiv 1707.00788, section IV.A).

A node that is slow itself, or behind a bad line, sees everybody else fail. So each sign that the fault may be ours
raises a score, each probe that goes well lowers it, and the score stretches the probes: who doubts himself waits
longer before he accuses.
"""

SCORE_MAX = 8


class Awareness:
    """0: healthy; probes take `factor` times as long."""

    __slots__ = ("factor", "score")

    def __init__(self) -> None:
        self.score = 0
        self.factor = 1.0

    def worse(self, by: int = 1) -> None:
        self.score = min(self.score + by, SCORE_MAX)
        self.factor = 1.0 + self.score

    def better(self) -> None:
        if self.score:
            self.score -= 1
            self.factor = 1.0 + self.score
