"""Keeps one path through NATs open while nothing is said on it.

A router forgets a mapping that is not used, some after 30 s. So one of the two ends, the one that asks, sends a check
when nothing went or came for an interval; the answer keeps the mapping of the other end. That is one packet for each
of them and interval. Who answers asks by itself only when nothing came for somewhat longer than its own interval: the
other has missed its turn, or the mapping on this side is known to live less long than the one over there.

Whether a path is used although it is silent is judged above, among all paths of a link. Here one is only given up, when
it has answered nothing for as long as nobody would wait.
"""

from dataclasses import dataclass

INTERVAL_S = 18.0
"""Until told better: common routers forget after 30 s, and then there is time to ask again."""
INTERVAL_S_MIN = 5.0
"""A mapping that lives less long than this costs more than the relay beside it."""
PATIENCE = 1.25
"""Intervals after which the end that answers asks by itself: it is two thirds of a measured life at most."""
RETRY_S = 1.0
UNANSWERED_MAX = 30
"""Checks, and as many seconds at least. Consent to receive is over then (RFC 7675, section 5.1)."""


@dataclass(frozen=True, slots=True)
class SendCheck:
    """An authenticated question, which the other end answers at once."""


@dataclass(frozen=True, slots=True)
class PathDead:
    silent_s: float


KeeperEffect = SendCheck | PathDead


def interval_s(wished_s: float | None, measured_s: float | None) -> float:
    """How often a path is used at least: as the user says, else as the mappings on our side need it."""
    if wished_s is not None:
        return wished_s
    return INTERVAL_S if measured_s is None else max(INTERVAL_S_MIN, min(INTERVAL_S, measured_s))


class PathKeeper:
    """Told what was sent and heard on one path; answers with when to ask whether it is there."""

    def __init__(self, *, asks: bool, now: float) -> None:
        self._asks = asks
        self._interval_s = INTERVAL_S
        self._sent_at = self._heard_at = now
        self._unanswered = 0
        """Checks since anything was heard. Not their time is counted: a machine that was frozen could hear nothing."""
        self._retry_at = 0.0
        self._dead = False

    @property
    def deadline(self) -> float | None:
        """Moves later with each packet: a timer that was set for an earlier moment asks again then."""
        if self._dead:
            return None
        if self._unanswered:
            return self._retry_at
        if self._asks:
            return min(self._sent_at, self._heard_at) + self._interval_s
        return self._heard_at + self._interval_s * PATIENCE

    def keepalive(self, interval_s: float, now: float) -> list[KeeperEffect]:
        """The mapping is known to live for longer than this."""
        assert interval_s > 0
        self._interval_s = interval_s
        return self.tick(now)

    def sent(self, now: float) -> list[KeeperEffect]:
        """Something of the connection above."""
        self._sent_at = now
        return []

    def heard(self, now: float) -> list[KeeperEffect]:
        """Anything that the other end has written."""
        self._heard_at = now
        self._unanswered = 0
        return []

    def asked(self, now: float) -> list[KeeperEffect]:
        """The other end has sent a check, which was answered at once."""
        return [*self.sent(now), *self.heard(now)]

    def tick(self, now: float) -> list[KeeperEffect]:
        deadline = self.deadline
        if deadline is None or now < deadline:
            return []
        if self._unanswered == UNANSWERED_MAX:
            self._dead = True
            return [PathDead(silent_s=now - self._heard_at)]
        self._unanswered += 1
        self._sent_at = now
        self._retry_at = now + RETRY_S
        return [SendCheck()]
