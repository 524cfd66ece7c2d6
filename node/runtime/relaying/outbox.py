"""What waits to be sent over one WebSocket.

What is short and holds somebody up until it arrives (credit, pings, openings) overtakes the data that waits. What a
channel says of itself stays in order: its end comes after its data.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from nat.relay_wire import Absent, Close, Data, Message, encode

HIGH_BYTES = 256 * 1024
"""When more waits, nothing more should be read that would be sent; it may again when half of it has left."""

Send = Callable[[bytes], Awaitable[None]]


class Outbox:
    """`is_full` is told of each change."""

    def __init__(self, is_full: Callable[[bool], None] | None = None) -> None:
        self.nbytes = 0
        self._urgent: deque[bytes] = deque()
        self._ordered: deque[bytes] = deque()
        self._something = asyncio.Event()
        self._full = False
        self._is_full = is_full
        self._ended = False

    def put(self, message: Message) -> None:
        if self._ended:
            return
        data = encode(message)
        (self._ordered if isinstance(message, Data | Close | Absent) else self._urgent).append(data)
        self.nbytes += len(data)
        self._something.set()
        self._tell()

    def end(self) -> None:
        """Nothing more is put in; `send_all` returns once all has left."""
        self._ended = True
        self._something.set()

    async def send_all(self, send: Send) -> None:
        while True:
            while queue := self._urgent or self._ordered:
                data = queue.popleft()
                await send(data)
                self.nbytes -= len(data)
                self._tell()
            if self._ended:
                return
            self._something.clear()
            await self._something.wait()

    def _tell(self) -> None:
        full = self.nbytes > (HIGH_BYTES // 2 if self._full else HIGH_BYTES)
        if full != self._full:
            self._full = full
            if self._is_full is not None:
                self._is_full(full)
