"""Carries bytes between a socket and a channel, as far as there is credit.

What is read from the socket goes out as data while the other end has room; what comes in is written to the socket, and
gives credit once it is taken. Nothing is read that could not be sent, so what is too much waits where it comes from.
"""

import asyncio
import socket
from collections.abc import Callable

from nat.relay_wire import PAYLOAD_BYTES_MAX, WINDOW_BYTES, Data, Message, Window

GIVE_BYTES = WINDOW_BYTES // 4
"""Credit is given for so much at a time: often enough to keep data flowing, not with each message."""

Key = tuple[bytes, int]
"""The peer, and the channel as we name it."""


class Pump:
    """`full`: nothing is read for now. `ended` is called with the key and the reason when the channel ends here, not
    when `finish` has ended it."""

    def __init__(
        self,
        key: Key,
        pumped: socket.socket,
        say: Callable[[Message], None],
        ended: Callable[[Key, str], None],
        full: bool,
    ) -> None:
        self._key = key
        self._say = say
        self._ended = ended
        self._full = full
        self._socket = pumped
        self._loop = asyncio.get_running_loop()
        self._credit = WINDOW_BYTES
        self._reading = False
        self._room = WINDOW_BYTES
        """Bytes that the peer may still send."""
        self._taken = 0
        """Bytes that the socket has taken, and for which no credit has been given yet."""
        self._waiting = bytearray()
        """What has come in, and the socket has not taken yet."""
        self._ending = self._closed = False
        self._look()

    def set_full(self, full: bool) -> None:
        self._full = full
        self._look()

    def granted(self, nbytes: int) -> None:
        self._credit += nbytes
        if self._credit > WINDOW_BYTES:
            self._break("more was taken than had been sent")
        else:
            self._look()

    def arrived(self, payload: bytes) -> None:
        self._room -= len(payload)
        if self._room < 0:
            self._break("more was sent than there was room for")
            return
        self._waiting += payload
        if len(self._waiting) == len(payload):
            self._write()

    def finish(self) -> None:
        """The channel is over. What has come in may still be read."""
        self._ending = True
        self._look()
        if not self._waiting:
            self._close()

    # -- within --------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Read from the socket if what is read can be sent, and only then."""
        wanted = self._credit > 0 and not (self._full or self._ending or self._closed)
        if wanted == self._reading:
            return
        self._reading = wanted
        if wanted:
            self._loop.add_reader(self._socket, self._readable)
        else:
            self._loop.remove_reader(self._socket)

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
        self._say(Data(*self._key, data))
        self._look()

    def _write(self) -> None:
        while self._waiting:
            try:
                sent = self._socket.send(self._waiting)
            except BlockingIOError:
                self._loop.add_writer(self._socket, self._writable)
                return
            except OSError:
                self._break("")
                return
            del self._waiting[:sent]
            self._give(sent)
        if self._ending:
            self._close()

    def _writable(self) -> None:
        self._loop.remove_writer(self._socket)
        self._write()

    def _give(self, nbytes: int) -> None:
        self._taken += nbytes
        if self._taken >= GIVE_BYTES and not self._ending:
            self._say(Window(*self._key, self._taken))
            self._room += self._taken
            self._taken = 0

    def _break(self, reason: str) -> None:
        """It ends from our side."""
        self._ended(self._key, reason)
        self._close()

    def _close(self) -> None:
        if not self._closed:
            self._closed = True
            self._look()
            self._loop.remove_writer(self._socket)
            self._socket.close()
