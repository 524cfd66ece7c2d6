"""What waits to be sent over one WebSocket.

What is short and holds somebody up until it arrives (credit, pings, openings) overtakes the data that waits. What is
said to or by one peer stays in order, so the end of a channel comes after its data. The peers take turns: who is sent
little does not wait for all that another is sent.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable

from nat.relay_wire import Absent, Close, Data, Message, encode

HIGH_BYTES = 256 * 1024
"""When more waits, nothing is read that would have to be sent, until half of this has left."""

Send = Callable[[bytes], Awaitable[None]]


class Outbox:
    """`is_full` is called with each change: True above `HIGH_BYTES`, False again at half of it."""

    def __init__(self, is_full: Callable[[bool], None] | None = None) -> None:
        self.nbytes = 0
        self._urgent: deque[bytes] = deque()
        self._ordered: OrderedDict[bytes, deque[bytes]] = OrderedDict()
        """By the peer's id, who is next first; nobody for whom nothing waits."""
        self._something = asyncio.Event()
        self._full = False
        self._is_full = is_full
        self._ended = False

    def put(self, message: Message) -> None:
        if self._ended:
            return
        data = encode(message)
        if isinstance(message, Data | Close | Absent):
            self._ordered.setdefault(message.peer, deque()).append(data)
        else:
            self._urgent.append(data)
        self.nbytes += len(data)
        self._something.set()
        self._tell()

    def end(self) -> None:
        """Nothing more is put in; `send_all` returns once all has left."""
        self._ended = True
        self._something.set()

    async def send_all(self, send: Send) -> None:
        while True:
            while (data := self._next()) is not None:
                await send(data)
                self.nbytes -= len(data)
                self._tell()
            if self._ended:
                return
            self._something.clear()
            await self._something.wait()

    def _next(self) -> bytes | None:
        if self._urgent:
            return self._urgent.popleft()
        if not self._ordered:
            return None
        peer, queue = self._ordered.popitem(last=False)
        data = queue.popleft()
        if queue:
            self._ordered[peer] = queue
        return data

    def _tell(self) -> None:
        full = self.nbytes > (HIGH_BYTES // 2 if self._full else HIGH_BYTES)
        if full != self._full:
            self._full = full
            if self._is_full is not None:
                self._is_full(full)
