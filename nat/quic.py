"""A punched UDP path as an asyncio transport: QUIC with one stream, and both node keys proven.

Whoever has a protocol for TCP can use it here unchanged: bytes come whole and in order, `pause_writing` is called while
more is written than may leave, and `connection_lost` comes once. Datagrams reach this file from a peer alone that both
sides have agreed to punch with, under secrets of this one attempt (`nat/ice.py`): what strangers send is dropped
before QUIC sees it. So there is one handshake for each attempt, no flood of them, and no Retry is needed.
"""

import asyncio
from collections.abc import Callable, Iterable
from typing import TypeVar, assert_never

from nat.datagram_path import DatagramPath
from nat.engine import Engine, Heard, Over, Secured
from nat.proof import Credentials
from nat.proving import Proving
from protocol.errors import PeerError
from protocol.ids import short

HANDSHAKE_S = 5.0
"""From the first datagram until both keys are proven."""
CLOSE_S = 2.0
"""How long what was written before `close` may take to leave."""
BURST_MAX = 64
"""Datagrams that leave before the loop turns: 256 KiB at once overflow the buffer of a receiver that is busy."""
PROBE_S = 1.0
"""Without a word where one is due, the path is asked, so that we go on as soon as it is there again."""
TIMER_S_MIN = 0.001
WRITE_HIGH_BYTES = 64 * 1024
FLUSH_BYTES = 16 * 1024
"""Written at once, it leaves at once; less waits for what else comes in this turn of the loop."""

Stream = TypeVar("Stream", bound=asyncio.BufferedProtocol)


async def open_quic(
    path: DatagramPath,
    credentials: Credentials,
    protocol: Callable[[], Stream],
    *,
    dialled: bool,
) -> tuple["QuicTransport", Stream]:
    """Shake hands over this path, which belongs to the transport from now on; PeerError where that fails.

    One end is `dialled`, the other is not. A dialler may write at once; a refusal of its key comes as
    `connection_lost` with a PeerError.
    """
    transport = QuicTransport(path, credentials, dialled=dialled)
    try:
        async with asyncio.timeout(HANDSHAKE_S):
            await transport.proven
    except TimeoutError:
        reason = f"node {short(credentials.peer)} did not end the QUIC handshake in time"
        transport.refuse(reason)
        raise PeerError(reason) from None
    except BaseException:
        transport.abort()
        raise
    return transport, transport.begin(protocol())


class QuicTransport(asyncio.Transport):
    """Drives one engine over one path."""

    def __init__(self, path: DatagramPath, credentials: Credentials, *, dialled: bool) -> None:
        super().__init__()
        self._path = path
        self._credentials = credentials
        self._loop = asyncio.get_running_loop()
        self.proven: asyncio.Future[None] = self._loop.create_future()
        """Done once the other end's key is proven; what follows on the stream is the protocol's."""
        self._engine = Engine(credentials, dialled=dialled)
        self._proving = Proving(credentials, dialled=dialled)
        self._early: list[bytes] = []
        """What came behind the proof before the protocol was there."""
        self._protocol: asyncio.BufferedProtocol | None = None
        self._outbox: list[bytes] = []
        """Datagrams that the socket was too full for."""
        self._high, self._low = WRITE_HIGH_BYTES, WRITE_HIGH_BYTES // 4
        self._paused = False
        self._closing = False
        self._peer_ended = False
        self._gone = False
        self._error: PeerError | None = None
        self._flushing = False
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = 0.0
        self._heard_at = self._probed_at = self._loop.time()
        self._close_timer: asyncio.TimerHandle | None = None
        path.listen(self)
        self._engine.start(self._loop.time())
        self._flush_soon()

    # -- asyncio.Transport ---------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: object = None) -> object:
        """`node` is the id of the peer, as proven; `path` is what carries the datagrams."""
        match name:
            case "peername":
                return self._path.remote
            case "sockname":
                return self._path.local
            case "node":
                return self._credentials.peer
            case "path":
                return self._path
            case _:
                return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writelines((data,))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        if self._closing:
            return
        nbytes = 0
        for data in list_of_data:
            self._engine.write(data)
            nbytes += memoryview(data).nbytes
        if nbytes >= FLUSH_BYTES:
            self._flush()
        else:
            self._flush_soon()

    def get_write_buffer_size(self) -> int:
        return self._engine.unsent() + sum(map(len, self._outbox))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if high is None:
            high = WRITE_HIGH_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not 0 <= low <= high:
            raise ValueError(f"a low mark of {low} and a high mark of {high} bytes")
        self._high, self._low = high, low

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Send what is written, then tell the other end."""
        if self._closing:
            return
        self._closing = True
        self._close_timer = self._loop.call_later(CLOSE_S, self.abort)
        self._engine.write(b"", end=True)
        self._flush_soon()

    def abort(self) -> None:
        self._stop("", None)

    # -- the handshake -------------------------------------------------------------------------------

    def begin(self, protocol: Stream) -> Stream:
        """Hand the stream to its protocol, with what has come on it already."""
        if self._gone:
            # It has gone while nobody was there to be told.
            self._loop.call_soon(protocol.connection_lost, self._error)
        self._protocol = protocol
        early, self._early = self._early, []
        # What has come since must not overtake it, though the protocol may write at once.
        self._flushing = True
        try:
            protocol.connection_made(self)
            for data in early:
                self._deliver(data)
        finally:
            self._flushing = False
        if self._peer_ended and not self._gone:
            self._eof()
        return protocol

    def refuse(self, reason: str) -> None:
        """Break off, with a sentence for both ends."""
        self._stop(reason, PeerError(reason))

    def _secured(self, chain: tuple[bytes, ...]) -> None:
        # Whoever waited for the proof may have given up already, and is about to abort this.
        if not self.proven.done() and (proof := self._proving.secured(chain)) is not None:
            self._engine.write(proof)
            self.proven.set_result(None)

    def _prove(self, data: bytes) -> None:
        rest = self._proving.heard(data)
        if rest is None:
            return
        self.proven.set_result(None)
        if rest:
            self._early.append(rest)

    # -- PathHearer ----------------------------------------------------------------------------------

    def owns(self, datagram: bytes) -> bool:
        return self._engine.owns(datagram)

    def heard(self, buffer: bytes, segment: int) -> None:
        if self._gone:
            return
        self._heard_at = self._loop.time()
        self._engine.receive(buffer, segment, self._heard_at)
        # Once for all that came in this turn: one acknowledgement answers many datagrams.
        self._flush_soon()

    def writable(self) -> None:
        self._flush_soon()

    def answered(self) -> None:
        now = self._loop.time()
        if not self._gone and now - self._heard_at >= PROBE_S:
            self._engine.hurry(now)
            self._flush_soon()

    def lost(self, reason: str) -> None:
        self._stop("", PeerError(reason))

    # -- within --------------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        self._flush()

    def _flush(self) -> None:
        """Take what has happened, send what is due, and look when to wake next."""
        if self._gone:
            return
        if self._flushing:
            # A protocol that is being told of data writes: what came behind that data must not overtake it.
            self._flush_soon()
            return
        self._flushing = True
        try:
            self._take_events()
        except PeerError as wrong:
            self.refuse(str(wrong))
        finally:
            self._flushing = False
        if not self._gone:
            self._send()
            self._rearm()
            self._mind_the_buffer()

    def _take_events(self) -> None:
        for event in self._engine.events():
            match event:
                case Secured():
                    self._secured(event.chain)
                case Heard():
                    self._take(event.data)
                    if event.ended and not self._gone:
                        self._peer_ended = True
                        if self._protocol is not None:
                            self._eof()
                case Over():
                    self._stop("", PeerError(event.error) if event.error else None)
                case _:
                    assert_never(event)
            if self._gone:
                return

    def _take(self, data: bytes) -> None:
        if not data:
            return
        if not self.proven.done():
            self._prove(data)
        elif self._protocol is None:
            self._early.append(data)
        elif not self._closing:
            self._deliver(data)

    def _deliver(self, data: bytes) -> None:
        """Into the memory that the protocol names, which may take less at a time."""
        assert self._protocol is not None
        rest = memoryview(data)
        while rest and not self._closing:
            into = memoryview(self._protocol.get_buffer(len(rest))).cast("B")
            count = min(len(into), len(rest))
            into[:count] = rest[:count]
            self._protocol.buffer_updated(count)
            rest = rest[count:]

    def _eof(self) -> None:
        """The other end has written its last; once we have as well, it is over."""
        assert self._protocol is not None
        if self._closing:
            self._stop("", None)
        elif not self._protocol.eof_received():
            self.close()

    def _send(self) -> None:
        if not self._outbox:
            self._outbox = self._engine.datagrams(self._loop.time())
        if self._outbox:
            burst = self._outbox[:BURST_MAX]
            taken = self._path.send(burst)
            del self._outbox[:taken]
            if self._outbox and taken == len(burst):
                self._flush_soon()
        if self._closing and self._peer_ended and not self.get_write_buffer_size():
            self._stop("", None)

    def _rearm(self) -> None:
        """A timer that is set too early is kept: it asks again, which is cheaper than to set it anew each time."""
        deadline = self._engine.deadline()
        if self._gone or deadline is None:
            return
        now = self._loop.time()
        if self._engine.awaits(now):
            deadline = min(deadline, max(self._heard_at, self._probed_at) + PROBE_S)
        if self._timer is not None:
            if self._wakes_at <= deadline:
                return
            self._timer.cancel()
        # uvloop counts in milliseconds, and calls at once what is due in less.
        self._wakes_at = max(deadline, now + TIMER_S_MIN)
        self._timer = self._loop.call_at(self._wakes_at, self._tick)

    def _tick(self) -> None:
        self._timer = None
        if self._gone:
            return
        now = self._loop.time()
        deadline = self._engine.deadline()
        if deadline is not None and deadline <= now:
            self._engine.tick(now)
        if self._engine.awaits(now) and now - max(self._heard_at, self._probed_at) >= PROBE_S:
            self._probed_at = now
            self._path.probe()
        self._flush()

    def _mind_the_buffer(self) -> None:
        if self._protocol is None or self._closing:
            return
        waiting = self.get_write_buffer_size()
        if not self._paused and waiting > self._high:
            self._paused = True
            self._protocol.pause_writing()
        elif self._paused and waiting <= self._low:
            self._paused = False
            self._protocol.resume_writing()

    def _stop(self, tell: str, error: PeerError | None) -> None:
        """The end, once: tell the other side, give the path back, tell the protocol."""
        if self._gone:
            return
        self._gone = self._closing = True
        self._error = error
        for timer in (self._timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._engine.close(tell)
        self._path.send(self._engine.datagrams(self._loop.time()))
        self._path.close()
        if not self.proven.done():
            self.proven.set_exception(error or PeerError("the peer closed the punched path"))
        if self._protocol is not None:
            self._loop.call_soon(self._protocol.connection_lost, error)
