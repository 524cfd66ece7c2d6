"""How late the loop is: whoever holds it up holds up every packet, link and answer of this node.

A timer that is due twice a second notes how long after its moment it was called. That costs an idle node some
microseconds a second, and sees whatever keeps the loop busy for long, whoever it was. uvloop reckons in whole
milliseconds, so on a quiet node the delays are of that size.
"""

import asyncio

PERIOD_S = 0.5

WINDOW_S = 60.0
"""The worst delay is that of this window and the one before: of the last one to two minutes."""


class Lateness:
    """Told of each delay; knows their sum, their number, and the worst of late."""

    def __init__(self, now: float) -> None:
        self.count = 0
        self.sum_s = 0.0
        self._began_at = now
        self._worst_s = self._worst_before_s = 0.0

    def noted(self, late_s: float, now: float) -> None:
        late_s = max(late_s, 0.0)
        self.count += 1
        self.sum_s += late_s
        self._turn(now)
        self._worst_s = max(self._worst_s, late_s)

    def worst_s(self, now: float) -> float:
        self._turn(now)
        return max(self._worst_s, self._worst_before_s)

    def _turn(self, now: float) -> None:
        """Begin a new window if this one is over; after two without a word nothing is left of either."""
        if now < self._began_at + WINDOW_S:
            return
        missed = now >= self._began_at + 2 * WINDOW_S
        self._worst_before_s = 0.0 if missed else self._worst_s
        self._worst_s = 0.0
        self._began_at = now


class Lag:
    """Samples the running loop until `stop`."""

    def __init__(self, period_s: float = PERIOD_S) -> None:
        self._loop = asyncio.get_running_loop()
        self._period_s = period_s
        self.lateness = Lateness(self._loop.time())
        self._due_at = self._loop.time() + period_s
        self._timer = self._loop.call_at(self._due_at, self._sample)

    @property
    def worst_s(self) -> float:
        return self.lateness.worst_s(self._loop.time())

    def stop(self) -> None:
        self._timer.cancel()

    def _sample(self) -> None:
        now = self._loop.time()
        self.lateness.noted(now - self._due_at, now)
        self._due_at = now + self._period_s
        self._timer = self._loop.call_at(self._due_at, self._sample)
