"""The channels of one node by way of one relay: each a socket at our side, whose bytes come out at the other end.

Whoever opens a channel gets one end of a socket pair, as if he had dialled; TLS runs on it from end to end. The other
end is pumped here: what is read from it goes out as data while there is credit, what comes in is written to it, and
gives credit once it is taken. A channel ends both ways at once.
"""

import asyncio
import itertools
import socket
from collections import Counter, deque
from collections.abc import Callable

from nat.relay_wire import (
    OPENER,
    PAYLOAD_BYTES_MAX,
    WINDOW_BYTES,
    Absent,
    Close,
    Data,
    Message,
    Open,
    Opened,
    Told,
    Window,
)
from nat.relaying import CHANNELS_MAX
from protocol.errors import SedmaError
from protocol.ids import NodeId, id_of_digest, short

GIVE_BYTES = WINDOW_BYTES // 4
"""Credit is given for so much at a time: often enough to keep data flowing, not with each message."""

OPEN_S = 5.0
"""A relay answers at once; who waits for longer than this waits in vain."""

Say = Callable[[Message], None]
OnChannel = Callable[[NodeId, socket.socket], None]
"""(who has opened it, our end)"""


class RelayFailed(SedmaError):
    """No bytes by this way; the text says why."""


class PeerAbsent(RelayFailed):
    """The relay is there, and the node that we want is not its guest."""


class Channels:
    """`say` sends to the relay; `on_channel` hears of the channels that others open."""

    def __init__(self, say: Say, on_channel: OnChannel) -> None:
        self.say = say
        self.counters: Counter[str] = Counter()
        self.full = False
        """More waits to be sent than should: nothing is read meanwhile."""
        self._on_channel = on_channel
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._opening: dict[tuple[bytes, int], asyncio.Future[socket.socket]] = {}
        self._channels: dict[tuple[bytes, int], _Channel] = {}
        """By the peer and the channel as we name it."""
        self._closed: str | None = None

    def __len__(self) -> int:
        return len(self._channels) + len(self._opening)

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
        channel = self._channels.get(key)
        if channel is None:
            self.counters["without_channel"] += 1
            return
        match message:
            case Data(_, _, payload):
                channel.arrived(payload)
            case Window(_, _, nbytes):
                channel.granted(nbytes)
            case Close() | Absent():
                self._forget(key)
                channel.finish()

    def set_full(self, full: bool) -> None:
        self.full = full
        for channel in self._channels.values():
            channel.look()

    def close(self, reason: str) -> None:
        """The relay is lost: all channels end, and none is opened any more."""
        self._closed = reason
        for opened in self._opening.values():
            if not opened.done():
                opened.set_exception(RelayFailed(reason))
        for key, channel in tuple(self._channels.items()):
            self._forget(key)
            channel.finish()

    def end(self, key: tuple[bytes, int], reason: str) -> None:
        """A channel has ended at our side."""
        if self._forget(key):
            self.say(Close(*key, reason))

    # -- within --------------------------------------------------------------------------------------------

    def _come(self, key: tuple[bytes, int]) -> None:
        if key in self._channels or len(self._channels) >= CHANNELS_MAX:
            self.say(Close(*key, f"no channel beyond {len(self._channels)} here"))
            return
        self._on_channel(id_of_digest(key[0]), self._begin(key))

    def _opened(self, key: tuple[bytes, int]) -> None:
        opened = self._opening.get(key)
        if opened is not None and not opened.done():
            opened.set_result(self._begin(key))

    def _not_opened(self, key: tuple[bytes, int], message: Close | Absent) -> None:
        opened, node = self._opening[key], short(id_of_digest(key[0]))
        if opened.done():
            # It was there for a moment.
            self._channels[key].finish()
            self._forget(key)
        elif isinstance(message, Absent):
            opened.set_exception(PeerAbsent(f"node {node} is absent from this relay"))
        else:
            opened.set_exception(RelayFailed(f"no channel to {node}: {message.reason}"))

    def _abandon(self, key: tuple[bytes, int], opened: "asyncio.Future[socket.socket]") -> None:
        if key in self._channels:
            # It was opened at the very moment. The pump ends when it finds nobody at the other end.
            opened.result().close()
        else:
            self.say(Close(*key, "its opener waits no more"))

    def _begin(self, key: tuple[bytes, int]) -> socket.socket:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        channel = self._channels[key] = _Channel(self, key, ours)
        self.counters["begun"] += 1
        channel.look()
        return theirs

    def _forget(self, key: tuple[bytes, int]) -> bool:
        return self._channels.pop(key, None) is not None


class _Channel:
    """Between a socket pair and a relay."""

    def __init__(self, channels: Channels, key: tuple[bytes, int], pumped: socket.socket) -> None:
        self._channels = channels
        self._key = key
        self._socket = pumped
        self._loop = asyncio.get_running_loop()
        self._credit = WINDOW_BYTES
        self._reading = False
        self._room = WINDOW_BYTES
        """What the peer may still send."""
        self._taken = 0
        """Of what it has sent, and has not been told."""
        self._waiting: deque[memoryview] = deque()
        """For the socket to take them."""
        self._ending = self._closed = False

    def look(self) -> None:
        """Read from the socket if what is read can be sent, and only then."""
        wanted = self._credit > 0 and not (self._channels.full or self._ending or self._closed)
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._socket, self._readable)
        else:
            self._loop.remove_reader(self._socket)

    def granted(self, nbytes: int) -> None:
        self._credit += nbytes
        if self._credit > WINDOW_BYTES:
            self._break("more was taken than had been sent")
        else:
            self.look()

    def arrived(self, payload: bytes) -> None:
        self._room -= len(payload)
        if self._room < 0:
            self._break("more was sent than there was room for")
            return
        self._waiting.append(memoryview(payload))
        if len(self._waiting) == 1:
            self._write()

    def finish(self) -> None:
        """The channel is over. What has come in may still be read."""
        self._ending = True
        self.look()
        if not self._waiting:
            self._close()

    # -- within --------------------------------------------------------------------------------------------

    def _readable(self) -> None:
        try:
            data = self._socket.recv(min(self._credit, PAYLOAD_BYTES_MAX))
        except BlockingIOError:
            return
        except OSError:
            # Whoever had the other end has dropped it with something unread.
            data = b""
        if not data:
            self._break("")
            return
        self._credit -= len(data)
        self._channels.say(Data(*self._key, data))
        self.look()

    def _write(self) -> None:
        while self._waiting:
            piece = self._waiting[0]
            try:
                sent = self._socket.send(piece)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                self._break("")
                return
            self._give(sent)
            if sent == len(piece):
                self._waiting.popleft()
            else:
                self._waiting[0] = piece[sent:]
        if self._ending:
            self._close()

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._write()

    def _give(self, nbytes: int) -> None:
        self._taken += nbytes
        if self._taken >= GIVE_BYTES and not self._ending:
            self._channels.say(Window(*self._key, self._taken))
            self._room += self._taken
            self._taken = 0

    def _break(self, reason: str) -> None:
        """It ends from our side."""
        self._channels.end(self._key, reason)
        self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self.look()
            self._loop.remove_writer(self._socket)
            self._socket.close()
