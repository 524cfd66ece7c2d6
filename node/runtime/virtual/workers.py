"""Worker threads on virtual time: so many pieces of work at once, the others wait their turn, and speed may change.

How much each running piece still needs is kept in seconds of a worker that nobody slows down. All of them go at one
pace, so a piece that needs w more is done when the sum of pace over time has grown by w, whatever the pace was
meanwhile; a machine that stands still has pace 0.
"""

import heapq
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol


class Clock(Protocol):
    """The world, as far as workers need it."""

    now: float

    def after(self, delay_s: float, act: Callable[..., None], *args: object) -> None: ...


class Piece:
    """One piece of work on one worker."""

    __slots__ = ("began_at", "done", "need_s")

    def __init__(self, need_s: float, done: Callable[["Piece"], None]) -> None:
        self.need_s = need_s
        self.done = done
        self.began_at = 0.0


class Workers:
    """Told of pieces and of the pace; tells each piece when it is done."""

    def __init__(self, clock: Clock, workers: int) -> None:
        assert workers >= 1
        self._clock = clock
        self._free = workers
        self._pace = 1.0
        self._queue: deque[Piece] = deque()
        self._running: list[tuple[float, int, Piece]] = []
        self._order = count()
        self._passed_s = 0.0
        """Sum of pace over time, up to `_at`."""
        self._at = clock.now
        self._token = 0
        """Of the one event that counts; others were overtaken by a change of pace."""

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def begin(self, need_s: float, done: Callable[[Piece], None]) -> Piece:
        """As soon as a worker is free."""
        piece = Piece(need_s, done)
        if self._free:
            self._start(piece)
            self._arm()
        else:
            self._queue.append(piece)
        return piece

    def drop(self, piece: Piece) -> None:
        """Let it not begin, if it still waits; what has begun cannot be stopped."""
        if piece in self._queue:
            self._queue.remove(piece)

    def set_pace(self, pace: float) -> None:
        """Of all workers, from now on; 1 is their own speed, 0 stands still."""
        assert pace >= 0.0
        self._catch_up()
        self._pace = pace
        self._arm()

    def stop(self) -> None:
        """Nothing more is told."""
        self._token += 1
        self._queue.clear()
        self._running.clear()

    # -- within --------------------------------------------------------------------------------------

    def _start(self, piece: Piece) -> None:
        self._catch_up()
        self._free -= 1
        piece.began_at = self._clock.now
        heapq.heappush(self._running, (self._passed_s + piece.need_s, next(self._order), piece))

    def _catch_up(self) -> None:
        now = self._clock.now
        self._passed_s += (now - self._at) * self._pace
        self._at = now

    def _arm(self) -> None:
        self._token += 1
        if self._running and self._pace > 0.0:
            left_s = max(self._running[0][0] - self._passed_s, 0.0)
            self._clock.after(left_s / self._pace, self._due, self._token)

    def _due(self, token: int) -> None:
        if token != self._token:
            return
        self._catch_up()
        ended = [heapq.heappop(self._running)[2]]
        while self._running and self._running[0][0] <= self._passed_s:
            ended.append(heapq.heappop(self._running)[2])
        self._free += len(ended)
        while self._free and self._queue:
            self._start(self._queue.popleft())
        self._arm()
        for piece in ended:
            piece.done(piece)
