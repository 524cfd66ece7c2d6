"""Who sent a body waits here until the transport needs its memory no longer."""

from asyncio import Future
from collections import deque
from typing import Protocol

from node.runtime.body_sent import settle
from protocol.errors import SedmaError


class Stream(Protocol):
    """What a transport that outlives connections says of itself, as `get_extra_info("stream")`."""

    @property
    def borrowed(self) -> int:
        """An offset in all that was ever written: memory that was written behind it is free."""

    @property
    def acked(self) -> int:
        """Up to there the other side has it, and memory is free too. The link's `acknowledged` tells when it grows."""


class Draining:
    """`stream` is None for a plain transport: it holds nothing whenever it does not pause its writer."""

    def __init__(self) -> None:
        self.stream: Stream | None = None
        self._waiting: deque[tuple[int, Future[None], SedmaError | None]] = deque()
        """(offset that must be acknowledged, who waits, how it ended)"""

    def release(self, future: "Future[None]", error: SedmaError | None, *, paused: bool) -> None:
        """As soon as its memory is free. `paused`: the transport has more than it can send."""
        stream = self.stream
        if stream is not None and stream.acked < stream.borrowed:
            self._waiting.append((stream.borrowed, future, error))
        elif stream is None and paused:
            self._waiting.append((0, future, error))
        else:
            settle(future, error)

    def resumed(self) -> None:
        """Nothing is left in a plain transport."""
        if self.stream is None:
            self.acknowledged(0)

    def acknowledged(self, offset: int) -> None:
        """The other side has the stream up to there."""
        while self._waiting and self._waiting[0][0] <= offset:
            _, future, error = self._waiting.popleft()
            settle(future, error)

    def lost(self, error: SedmaError) -> None:
        """The transport is gone, and holds nothing any more."""
        while self._waiting:
            settle(self._waiting.popleft()[1], error)
