"""What strangers cause at our door is told sparingly: whoever scans ports must not fill the disk with our log.

The first of a minute are told whole, for one of them may be the operator's own node with the wrong certificate. The
rest of that minute is counted, and written out at debug level alone. Packets that were dropped are counted only:
anybody can write anything on one, the sender's address too.
"""

import asyncio
from collections import Counter

from node.log import Log

TOLD_MAX = 20
"""Refusals of strangers that are told whole in one minute."""

MINUTE_S = 60.0


class Strangers:
    """Told of everybody who was turned away without having proven to be of the mesh."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._packets: Counter[str] = Counter()
        self._minute: asyncio.TimerHandle | None = None

    def packet_dropped(self, why: str) -> None:
        self._begin_minute()
        self._packets[why] += 1

    def turned_away(self, event: str, **fields: object) -> None:
        self._begin_minute()
        self._count += 1
        say = self._log.info if self._count <= TOLD_MAX else self._log.debug
        say(event, **fields)

    def sum_up(self) -> None:
        """Tell how many more there were, and begin anew."""
        if self._minute is not None:
            self._minute.cancel()
            self._minute = None
        if (more := self._count - TOLD_MAX) > 0:
            self._log.info("strangers.refused", count=more, within_s=MINUTE_S)
        self._count = 0
        if self._packets:
            self._log.info("packets.dropped", **self._packets, within_s=MINUTE_S)
        self._packets.clear()

    def _begin_minute(self) -> None:
        if self._minute is None:
            self._minute = self._loop.call_later(MINUTE_S, self.sum_up)
