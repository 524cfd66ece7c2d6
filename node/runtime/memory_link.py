"""Two linked ends in one process: the same frames and the same decoder, with no socket between them.

For tests and for a node that talks to itself. Bytes are handed over by the loop, a limited number each
turn, and a side that does not read makes the other wait, as on a socket.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from node.runtime.frame_link import FrameLink, OnLink

TURN_BYTES = 256 * 1024
"""What one turn of the loop hands over in each direction."""


class _MemoryTransport(asyncio.Transport):
    """One direction of a pair: what is written here is read by the other one's protocol."""

    def __init__(self, link: FrameLink, name: str) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._link = link
        self._name = name
        self._waiting: deque[memoryview] = deque()
        self._waiting_bytes = 0
        self._paused_link = False
        self._reading = True
        self._closing = False
        self._lost = False
        self._delivery_due = False

    def join(self, other: "_MemoryTransport") -> None:
        self._other = other

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        names = {"sockname": self._name, "peername": self._other._name}
        return names.get(name, default)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Always as a link wants it: paused while anything waits."""

    def get_write_buffer_size(self) -> int:
        return self._waiting_bytes

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or not len(data):
            return
        self._waiting.append(memoryview(data))
        self._waiting_bytes += len(data)
        if not self._paused_link:
            self._paused_link = True
            self._link.pause_writing()
        self._deliver_soon()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        for data in list_of_data:
            self.write(data)

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        self._reading = True
        self._other._deliver_soon()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._deliver_soon()

    def abort(self) -> None:
        self._waiting.clear()
        self._waiting_bytes = 0
        self._closing = True
        self._loop.call_soon(self._lose)

    def _deliver_soon(self) -> None:
        if not self._delivery_due:
            self._delivery_due = True
            self._loop.call_soon(self._deliver)

    def _deliver(self) -> None:
        self._delivery_due = False
        if self._other._lost:
            self._waiting.clear()
            self._waiting_bytes = 0
        elif not self._other._reading:
            return
        turn = TURN_BYTES
        while self._waiting and turn > 0:
            turn -= self._hand_over(self._waiting.popleft(), turn)
        if self._waiting:
            self._deliver_soon()
        elif self._closing:
            self._lose()
        elif self._paused_link:
            self._paused_link = False
            self._link.resume_writing()

    def _hand_over(self, data: memoryview, turn: int) -> int:
        buffer = self._other._link.get_buffer(len(data))
        nbytes = min(len(buffer), len(data), turn)
        buffer[:nbytes] = data[:nbytes]
        if nbytes < len(data):
            self._waiting.appendleft(data[nbytes:])
        self._waiting_bytes -= nbytes
        self._other._link.buffer_updated(nbytes)
        return nbytes

    def _lose(self) -> None:
        """This end is gone; the other one sees the end of the stream, as from a socket."""
        if self._lost:
            return
        self._lost = True
        self._link.connection_lost(None)
        self._other.close()


def memory_link_pair(on_left: OnLink, on_right: OnLink) -> tuple[FrameLink, FrameLink]:
    """Both ends of a link: the left one dialed the right one."""
    left, right = FrameLink(on_left, dialed=True), FrameLink(on_right, dialed=False)
    left_end = _MemoryTransport(left, "memory:left")
    right_end = _MemoryTransport(right, "memory:right")
    left_end.join(right_end)
    right_end.join(left_end)
    left.connection_made(left_end)
    right.connection_made(right_end)
    return left, right
