"""Notices a frame that has begun and does not go on: a peer that sends it byte by byte blocks us on purpose."""

import asyncio
from collections.abc import Callable

from protocol.frames import FrameDecoder

PARTIAL_FRAME_S = 10.0
"""A prefix or header that takes longer than this to come is cut off with its link."""


class SlowFrames:
    """Watches one decoder from when it is told that a frame is half done; calls `stuck` if it stays so for long."""

    def __init__(self, decoder: FrameDecoder, stuck: Callable[[str], None]) -> None:
        self._decoder = decoder
        self._stuck = stuck
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(PARTIAL_FRAME_S, self._judge, self._decoder.frames)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _judge(self, frames: int) -> None:
        self._timer = None
        if not self._decoder.partial:
            return
        if self._decoder.frames == frames:
            self._stuck(f"a frame did not come whole within {PARTIAL_FRAME_S:g} s")
        else:
            self.watch()
