"""The guests of a relay: nodes that are connected by a WebSocket, and the relay's own node."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from nat.relay_wire import (
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Window,
)
from node.runtime.relaying.channels import Channels, OnChannel
from node.runtime.relaying.outbox import Outbox

CLOSE_S = 1.0

TURN_MESSAGES = 32
"""After so many messages from one guest the others have a turn: aiohttp gives what it has buffered without a wait."""


class Guest(Protocol):
    node: bytes
    seen: str
    """host:port"""

    @property
    def waiting_bytes(self) -> int:
        """What is still to be sent to it."""

    def tell(self, message: Message) -> None: ...

    def pause(self) -> None:
        """Read nothing of it."""

    def resume(self) -> None: ...

    def end(self) -> None:
        """Send what waits, and hang up."""

    def cut(self) -> None:
        """Hang up at once."""


class ConnectedGuest:
    """`websocket` is open; `abort` drops the connection below it."""

    def __init__(
        self, node: bytes, seen: str, websocket: web.WebSocketResponse, abort: Callable[[], None]
    ) -> None:
        self.node = node
        self.seen = seen
        self._websocket = websocket
        self._abort = abort
        self._outbox = Outbox()
        self._reading = asyncio.Event()
        self._reading.set()
        self._over = False

    @property
    def waiting_bytes(self) -> int:
        return self._outbox.nbytes

    def tell(self, message: Message) -> None:
        self._outbox.put(message)

    def pause(self) -> None:
        self._reading.clear()

    def resume(self) -> None:
        self._reading.set()

    def end(self) -> None:
        self._over = True
        self._outbox.end()
        # Whoever waits for its quota shall see that it is over.
        self._reading.set()

    def cut(self) -> None:
        self.end()
        self._abort()

    async def serve(self, came: Callable[[bytes], None]) -> None:
        """Until it hangs up, or is hung up on."""
        async with asyncio.TaskGroup() as tasks:
            writing = tasks.create_task(self._write())
            try:
                await self._read(came)
            finally:
                self._outbox.end()
                await asyncio.wait([writing], timeout=CLOSE_S)
                writing.cancel()

    async def _read(self, came: Callable[[bytes], None]) -> None:
        number = 0
        while not self._over:
            received = await self._websocket.receive()
            # Pings of WebSockets are no messages: the relay's quotas would not count them.
            if self._over or received.type is not WSMsgType.BINARY:
                return
            came(received.data)
            number += 1
            if number % TURN_MESSAGES == 0:
                await asyncio.sleep(0)
            await self._reading.wait()

    async def _write(self) -> None:
        try:
            await self._outbox.send_all(self._websocket.send_bytes)
        except ConnectionError:
            # Reading finds out, too, and ends it all.
            return
        await self._websocket.close(code=WSCloseCode.GOING_AWAY)


class OwnGuest:
    """The relay's node itself: nothing waits for it, and it is never paused."""

    seen = ""
    waiting_bytes = 0

    def __init__(
        self, node: bytes, heard: Callable[[Message], None], on_channel: OnChannel
    ) -> None:
        self.node = node
        loop = asyncio.get_running_loop()

        def say(message: Message) -> None:
            # In a turn of its own: what is being carried out comes before it.
            loop.call_soon(heard, message)

        self.channels = Channels(say, on_channel, first=0)

    def tell(self, message: Message) -> None:
        # The rest (reservations, pongs) is about the connection to the relay, and here there is none.
        if isinstance(message, Open | Data | Window | Close | Opened | Absent):
            self.channels.heard(message)

    def pause(self) -> None:
        raise AssertionError("no quota is for the relay itself")

    def resume(self) -> None:
        raise AssertionError("what was never paused is not resumed")

    def end(self) -> None:
        self.channels.close("the relay has ended")

    def cut(self) -> None:
        self.end()
