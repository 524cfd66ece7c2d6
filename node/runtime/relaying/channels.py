"""The channels of one node by way of one relay: each a socket at our side, whose bytes come out at the other end.

Whoever opens a channel gets one end of a socket pair, as if he had dialled; TLS runs on it from end to end. The other
end is pumped. A channel ends both ways at once.
"""

import asyncio
import itertools
import socket
from collections import Counter
from collections.abc import Callable

from nat.relay_channels import CHANNELS_MAX
from nat.relay_wire import (
    OPENER,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Told,
    Window,
)
from node.runtime.relaying.pump import Key, Pump
from protocol.errors import SedmaError
from protocol.ids import NodeId, id_of_digest, short

OPEN_S = 5.0
"""How long the relay may take to say whether the peer is there: it knows, and needs to ask nobody."""

Say = Callable[[Message], None]
OnChannel = Callable[[NodeId, socket.socket], None]
"""(who has opened it, our end)"""


class RelayFailed(SedmaError):
    """No bytes by this way; the text says why."""


class PeerAbsent(RelayFailed):
    """The relay is there, and the node that we want is not its guest."""


class Channels:
    """`say` sends to the relay; `on_channel` hears of the channels that others open.

    `first` is the number of the first channel opened here. Who has been here before under the same id, over another
    connection, begins at another number: the other end may still speak in the old channels.
    """

    def __init__(self, say: Say, on_channel: OnChannel, *, first: int) -> None:
        self.say = say
        self.counters: Counter[str] = Counter()
        self._full = False
        self._on_channel = on_channel
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(first)
        self._opening: dict[Key, asyncio.Future[socket.socket]] = {}
        self._pumps: dict[Key, Pump] = {}
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._pumps) + len(self._opening)

    async def open(self, peer: bytes) -> socket.socket:
        """Our end of a new channel, once the relay says that the peer is there. RelayFailed if it is not to be had."""
        if self._closed is not None:
            raise RelayFailed(self._closed)
        key = peer, next(self._numbers) % OPENER | OPENER
        opened: asyncio.Future[socket.socket] = self._loop.create_future()
        self._opening[key] = opened
        self.say(Open(*key))
        try:
            async with asyncio.timeout(OPEN_S):
                return await opened
        except TimeoutError as late:
            self._abandon(key, opened)
            raise RelayFailed(f"the relay has said nothing for {OPEN_S:.0f} s") from late
        except asyncio.CancelledError:
            self._abandon(key, opened)
            raise
        finally:
            self._opening.pop(key, None)

    def heard(self, message: Told | Opened | Absent) -> None:
        # Its opener is the other side from here: so we name it.
        key = message.peer, message.channel ^ OPENER
        match message:
            case Open():
                self._come(key)
                return
            case Opened():
                self._opened(key)
                return
            case Close() | Absent() if key in self._opening:
                self._not_opened(key, message)
                return
        pump = self._pumps.get(key)
        if pump is None:
            self.counters["without_channel"] += 1
            return
        match message:
            case Data(_, _, payload):
                pump.arrived(payload)
            case Window(_, _, nbytes):
                pump.granted(nbytes)
            case Close() | Absent():
                self._forget(key)
                pump.finish()

    def set_full(self, full: bool) -> None:
        """Whether enough waits to be sent to the relay: nothing is read from the sockets meanwhile."""
        self._full = full
        for pump in self._pumps.values():
            pump.set_full(full)

    def close(self, reason: str) -> None:
        """The relay is lost: all channels end, and none is opened any more."""
        self._closed = reason
        for opened in self._opening.values():
            if not opened.done():
                opened.set_exception(RelayFailed(reason))
        for key, pump in tuple(self._pumps.items()):
            self._forget(key)
            pump.finish()

    # -- within --------------------------------------------------------------------------------------------

    def _come(self, key: Key) -> None:
        if (reason := self._not_taken(key)) is not None:
            self.say(Close(*key, reason))
            return
        try:
            end = self._begin(key)
        except OSError as wrong:
            # Out of file descriptors, most often.
            self.counters["not_begun"] += 1
            self.say(Close(*key, f"no channel here: {wrong.strerror}"))
            return
        self._on_channel(id_of_digest(key[0]), end)

    def _not_taken(self, key: Key) -> str | None:
        if self._closed is not None:
            return self._closed
        if key in self._pumps:
            return "there is such a channel already"
        if len(self._pumps) >= CHANNELS_MAX:
            return f"there are {CHANNELS_MAX} channels here: no more may be"
        return None

    def _opened(self, key: Key) -> None:
        opened = self._opening.get(key)
        if opened is None or opened.done():
            return
        try:
            opened.set_result(self._begin(key))
        except OSError as wrong:
            self.counters["not_begun"] += 1
            self.say(Close(*key, f"no channel here: {wrong.strerror}"))
            opened.set_exception(RelayFailed(f"no channel can be opened here: {wrong.strerror}"))

    def _not_opened(self, key: Key, message: Close | Absent) -> None:
        opened, node = self._opening[key], short(id_of_digest(key[0]))
        if (pump := self._pumps.get(key)) is not None:
            # It was there for a moment.
            self._forget(key)
            pump.finish()
        elif opened.done():
            # Nobody waits for it any more.
            return
        elif isinstance(message, Absent):
            opened.set_exception(PeerAbsent(f"node {node} is absent from this relay"))
        else:
            opened.set_exception(RelayFailed(f"no channel to {node}: {message.reason}"))

    def _abandon(self, key: Key, opened: "asyncio.Future[socket.socket]") -> None:
        if opened.done() and not opened.cancelled():
            # It was opened, or refused, at the very moment. The pump ends when it finds nobody at the other end.
            if opened.exception() is None:
                opened.result().close()
        else:
            self.say(Close(*key, "its opener waits no more"))

    def _end(self, key: Key, reason: str) -> None:
        """A channel has ended at our side."""
        if self._forget(key):
            self.say(Close(*key, reason))

    def _begin(self, key: Key) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        self._pumps[key] = Pump(key, ours, self.say, self._end, self._full)
        self.counters["begun"] += 1
        return theirs

    def _forget(self, key: Key) -> bool:
        return self._pumps.pop(key, None) is not None
