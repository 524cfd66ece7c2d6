"""One timer that follows a deadline, which moves with every message."""

import asyncio
from collections.abc import Callable

PAUSE_S_MIN = 0.001
"""uvloop counts in milliseconds, and calls at once what is due in less: without this it would call in a circle."""


class Alarm:
    """Calls `ring` with the time, never much later than at the deadline, now and then before it.

    A deadline that moves to later leaves the timer where it is: it rings early, finds nothing to do and is set anew,
    which is cheaper than a new timer for each message.
    """

    def __init__(self, ring: Callable[[float], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        # What uvloop gives for a timer need not know when it rings.
        self._timer: asyncio.Handle | None = None
        self._rings_at = 0.0

    def set(self, deadline: float | None) -> None:
        if self._timer is not None:
            if deadline is not None and self._rings_at <= deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._rings_at = max(deadline, self._loop.time() + PAUSE_S_MIN)
            self._timer = self._loop.call_at(self._rings_at, self._due)

    def _due(self) -> None:
        self._timer = None
        self._ring(self._loop.time())
