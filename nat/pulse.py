"""Asks the other end of a connection from time to time whether it is there, and how far it is.

Every 25 s, which is less than the 30 s after which the shortest-lived NATs forget a connection that carries nothing,
and not just on the beat, lest a thousand nodes speak at once. A ping that is not answered within 5 s is repeated, and
a second miss is the end. Whatever is heard meanwhile counts as an answer: a pong may wait behind a window of data.
"""

import random
from dataclasses import dataclass

INTERVAL_S = 25.0
JITTER = 0.2
ANSWER_S = 5.0
LOOK_ANSWER_S = 1.5
"""The same where there was reason to doubt: others wait for us to find out."""
MISSES_MAX = 2
TOKEN_BYTES = 8

RECENT = 4
"""Round trips of which the least is told: a later one may have waited behind data."""


@dataclass(frozen=True, slots=True)
class SendPing:
    token: bytes


@dataclass(frozen=True, slots=True)
class Lost:
    silent_s: float


Effect = SendPing | Lost


class Pulse:
    """Of one connection; the first ping is due at once."""

    def __init__(self, dice: random.Random, now: float) -> None:
        self.deadline: float | None = now
        self._dice = dice
        self._round_trips_s: list[float] = []
        self._token: bytes | None = None
        self._sent_at = self._heard_at = now
        self._answer_s = ANSWER_S
        self._awaiting = False
        self._misses = 0

    @property
    def rtt_s(self) -> float | None:
        return min(self._round_trips_s, default=None)

    def heard(self, now: float) -> list[Effect]:
        """Anything at all, a pong too."""
        self._heard_at = now
        if self._awaiting:
            self._awaiting = False
            self._misses = 0
            self._answer_s = ANSWER_S
            self.deadline = now + INTERVAL_S * self._dice.uniform(1 - JITTER, 1 + JITTER)
        return []

    def pong(self, token: bytes, now: float) -> list[Effect]:
        if token == self._token:
            self._round_trips_s = [*self._round_trips_s[1 - RECENT :], now - self._sent_at]
            self._token = None
        return self.heard(now)

    def look(self, now: float) -> list[Effect]:
        """There is reason to doubt: the next ping is due at once."""
        if not self._awaiting and self.deadline is not None:
            self._answer_s = LOOK_ANSWER_S
            self.deadline = now
        return self.tick(now)

    def tick(self, now: float) -> list[Effect]:
        if self.deadline is None or now < self.deadline:
            return []
        if self._awaiting:
            self._misses += 1
        if self._misses == MISSES_MAX:
            self.deadline = None
            return [Lost(silent_s=now - self._heard_at)]
        self._token = self._dice.randbytes(TOKEN_BYTES)
        self._sent_at = now
        self._awaiting = True
        self.deadline = now + self._answer_s
        return [SendPing(self._token)]
