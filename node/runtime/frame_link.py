"""The one implementation of `Link`, over whatever asyncio offers as a transport.

It hands the transport its own memory to read into, so a body goes from the kernel (or from OpenSSL)
to its final place. Sending, it gives the transport a slice at a time and waits while anything is left
in the transport's buffer: a tensor handed over whole costs its size in memory once more, and over TLS
eight times the time.
"""

import asyncio
import ssl
from asyncio import Future
from collections.abc import Callable
from typing import cast

from node.runtime.bodies import IncomingBodies, OutgoingBodies
from node.runtime.body_sent import BodySent, settle
from node.runtime.draining import Draining
from node.runtime.links import (
    CANCELLED,
    CLOSE_S,
    QUEUE_BYTES_MAX,
    Link,
    LinkClosed,
    LinkListener,
    StreamCancelled,
)
from node.runtime.pace import Pace
from node.runtime.slow_frames import SlowFrames
from protocol import codec
from protocol.errors import PeerError, SedmaError
from protocol.frames import (
    PREFIX_BYTES,
    BodyPart,
    Frame,
    FrameDecoder,
    FrameType,
    TrafficClass,
    encode_credit,
    encode_data_prefix,
    encode_frame,
)
from protocol.limits import SLICE_BYTES, TEXT_BYTES_MAX
from protocol.messages import Goodbye

CREDIT_BYTES_MAX = 2**32 - 1
"""What one CREDIT frame can carry."""

CREDIT, CANCEL, GOAWAY = FrameType.CREDIT, FrameType.CANCEL, FrameType.GOAWAY
"""Looking a member up in its enum costs more than the rest of the way of a small frame."""

OnLink = Callable[[Link], LinkListener]
"""Told of each new link before anything comes in on it; answers who shall hear it."""

Identify = Callable[[ssl.SSLObject], str | None]
"""The node id that the certificate on the other side proves, None without a certificate."""


class FrameLink(asyncio.BufferedProtocol):
    """See `Link` for what its public methods promise."""

    def __init__(self, on_link: OnLink, *, dialed: bool, identify: Identify | None = None) -> None:
        self.dialed = dialed
        self.peer: str | None = None
        self.local = self.remote = ""
        self.bytes_in = self.bytes_out = 0
        self.closing = False
        self.fault: PeerError | None = None
        self.error: Exception | None = None
        self._on_link = on_link
        self._identify = identify
        self._loop = asyncio.get_running_loop()
        self.heard_at = self._loop.time()
        self._outgoing = OutgoingBodies()
        self._incoming = IncomingBodies()
        self._decoder = FrameDecoder(self._incoming.target)
        self._slow_frames = SlowFrames(self._decoder, self._stuck)
        self._sending: dict[int, Future[None]] = {}
        self._draining = Draining()
        self._queue: list[bytes] = []
        self._pace = Pace()
        self._flush_due = False
        """Something is to be sent."""
        self._flush_scheduled = False
        self._reading = False
        """What came in is being told: what is sent meanwhile leaves at the end of it."""
        self._paused = False
        self._lost = False
        self._reason: str | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()

    # -- what the layer above calls ----------------------------------------------------------------

    def send(self, frame: Frame) -> None:
        if not self.closing:
            self._queue.append(encode_frame(frame))
            self._flush_soon()

    def send_body(self, stream: int, body: memoryview, total: int | None = None) -> "Future[None]":
        future = BodySent(loop=self._loop)
        future.link, future.stream = self, stream
        if self.closing:
            settle(future, LinkClosed(self._reason or "the link is closing"))
            return future
        piece = _as_bytes(body)
        if stream in self._outgoing:
            self._outgoing.go_on(stream, piece)
            self._flush_soon()
        else:
            self._outgoing.add(stream, piece, total)
        if piece.nbytes:
            self._sending[stream] = future
        else:
            settle(future, None)
        return future

    def is_sending(self, stream: int) -> bool:
        return stream in self._outgoing

    def expect_body(self, stream: int, into: memoryview) -> None:
        if self.closing:
            return
        memory = _as_bytes(into)
        self._incoming.expect(stream, memory)
        self._decoder.bodies_due = True
        left = memory.nbytes
        while left > CREDIT_BYTES_MAX:
            self._queue.append(encode_credit(stream, CREDIT_BYTES_MAX))
            left -= CREDIT_BYTES_MAX
        self._queue.append(encode_credit(stream, left))
        self._flush_soon()

    def cancel(self, stream: int) -> None:
        if self.closing:
            return
        self._forget_outgoing(stream, "cancelled here")
        self._incoming.give_up(stream, may_come=True)
        self._forget_incoming(stream)
        self._control(FrameType.CANCEL, stream)

    def close(self, reason: str) -> None:
        if self.closing:
            return
        goodbye = codec.encode(Goodbye(reason=reason[:TEXT_BYTES_MAX]))
        self._control(FrameType.GOAWAY, 0, header=goodbye)
        self._write(b"".join(self._queue))
        self._stop(reason)

    def abort(self) -> None:
        self._reason = self._reason or "the connection was cut here"
        self.closing = True
        self._transport.abort()

    async def closed(self) -> None:
        await self._gone.wait()

    # -- what the transport calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have all the methods, but not the class.
        self._transport = transport = cast(asyncio.Transport, transport)
        self.local = _address(transport.get_extra_info("sockname"))
        self.remote = _address(transport.get_extra_info("peername"))
        self._draining.stream = transport.get_extra_info("stream")
        ssl_object = transport.get_extra_info("ssl_object")
        # Anything left unsent pauses us, and nothing left resumes us: then a slice's memory is free
        # whenever we are not paused. TLS transports pause at the mark, all others above it.
        transport.set_write_buffer_limits(high=0 if ssl_object is None else 1, low=0)
        if ssl_object is not None:
            # Encrypting costs far more than framing, and what is encrypted lies in memory.
            self._pace.slice_bytes_max = SLICE_BYTES
        if ssl_object is not None and self._identify is not None:
            try:
                self.peer = self._identify(ssl_object)
            except PeerError as wrong:
                self.fault = wrong
        self._listener = self._on_link(self)
        if self.fault is not None:
            self.close(str(self.fault))

    def get_buffer(self, sizehint: int) -> memoryview:
        if self.closing:
            return memoryview(bytearray(max(sizehint, 4096)))
        return self._decoder.get_buffer(sizehint)

    def buffer_updated(self, nbytes: int) -> None:
        if self.closing:
            return
        self.bytes_in += nbytes
        self.heard_at = self._loop.time()
        self._reading = True
        try:
            for event in self._decoder.buffer_updated(nbytes):
                if isinstance(event, BodyPart):
                    self._part_arrived(event)
                else:
                    self._handle(event)
                if self.closing:
                    return
        except PeerError as wrong:
            self.fault = wrong
            self.close(str(wrong))
            return
        finally:
            self._reading = False
            if self._flush_due:
                self._flush_after_reading()
        if self._decoder.partial:
            self._slow_frames.watch()

    def eof_received(self) -> None:
        """Without a GOAWAY before it; the transport closes itself."""

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pace.left(self._loop.time())
        self._draining.resumed()
        if self._outgoing.ready or self._queue:
            self._flush_soon()

    def acknowledged(self, offset: int) -> None:
        """The other side has the stream up to there; told by transports that keep what they send until then."""
        self.heard_at = self._loop.time()
        self._draining.acknowledged(offset)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        self.error = exc
        self._slow_frames.stop()
        if self._close_timer is not None:
            self._close_timer.cancel()
        reason = self._reason or self._loss(exc)
        self._paused = False
        self._draining.lost(LinkClosed(reason))
        self._gone.set()
        self._lose(reason)

    # -- coming in ---------------------------------------------------------------------------------

    def _handle(self, event: Frame) -> None:
        kind = event.type
        if kind is CREDIT:
            self._outgoing.grant(event.stream, event.aux)
            self._flush_soon()
        elif kind is GOAWAY:
            self._stop(codec.decode(Goodbye, event.header).reason)
        else:
            if kind is CANCEL:
                self._peer_cancelled(event.stream)
            self._listener.frame_received(self, event)

    def _part_arrived(self, part: BodyPart) -> None:
        missing = self._incoming.arrived(part)
        if missing is None:
            return
        self._decoder.bodies_due = bool(self._incoming)
        if missing:
            reason = f"the body ended {missing} bytes short of what was said"
            self._listener.body_failed(self, part.stream, reason)
        else:
            self._listener.body_received(self, part.stream)

    def _peer_cancelled(self, stream: int) -> None:
        self._forget_outgoing(stream, CANCELLED)
        if self._incoming.give_up(stream, may_come=False):
            self._forget_incoming(stream)
            self._listener.body_failed(self, stream, CANCELLED)

    def _forget_incoming(self, stream: int) -> None:
        self._decoder.abandon(stream)
        self._decoder.bodies_due = bool(self._incoming)

    def _stuck(self, reason: str) -> None:
        if not self.closing:
            self.fault = PeerError(reason)
            self.close(reason)

    # -- going out ---------------------------------------------------------------------------------

    def _control(self, kind: FrameType, stream: int, *, header: bytes = b"") -> None:
        self.send(Frame(kind, TrafficClass.CONTROL, stream, header))

    def _flush_soon(self) -> None:
        self._flush_due = True
        if not (self._reading or self._flush_scheduled):
            self._schedule_flush()

    def _flush_after_reading(self) -> None:
        """At once, but while bodies travel: what else comes in this turn shall leave in the same write."""
        if not (self._decoder.bodies_due or self._outgoing.ready):
            self._flush()
        elif not self._flush_scheduled:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        self._flush_scheduled = True
        self._loop.call_soon(self._scheduled_flush)

    def _scheduled_flush(self) -> None:
        self._flush_scheduled = False
        if self._flush_due:
            self._flush()

    def _flush(self) -> None:
        self._flush_due = False
        if self.closing:
            return
        if self._queue:
            waiting = self._transport.get_write_buffer_size()
            if waiting > QUEUE_BYTES_MAX:
                self.close(f"{waiting} bytes wait because the peer does not read")
                return
            frames, self._queue = self._queue, []
            self._write(b"".join(frames))
        if not self._paused and self._send_slices():
            self._flush_soon()

    def _write(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._transport.write(data)

    def _send_slices(self) -> bool:
        """Write the next slices, until they make up a full one; False if none has credit."""
        pieces: list[bytes | memoryview] = []
        finished: list[Future[None]] = []
        total, full = 0, self._pace.slice_bytes
        while total < full:
            piece = self._outgoing.next_slice(full)
            if piece is None:
                break
            nbytes = piece.body.nbytes
            pieces += (encode_data_prefix(piece.stream, nbytes, end=piece.end), piece.body)
            self.bytes_out += PREFIX_BYTES + nbytes
            total += nbytes
            if piece.last:
                finished.append(self._sending.pop(piece.stream))
        if not pieces:
            return False
        self._pace.handed_over(self._loop.time())
        self._transport.writelines(pieces)
        for future in finished:
            self._release(future, None)
        if not self._paused:
            self._pace.left(self._loop.time())
        return True

    def _release(self, future: Future[None], error: SedmaError | None) -> None:
        """Let a sender go, as soon as the transport holds none of its memory."""
        self._draining.release(future, error, paused=self._paused)

    def _forget_outgoing(self, stream: int, reason: str) -> None:
        if stream in self._outgoing:
            self._outgoing.remove(stream)
            # Between two pieces of a body nobody waits.
            if (future := self._sending.pop(stream, None)) is not None:
                self._release(future, StreamCancelled(reason))

    # -- the end -----------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        self.closing = True
        self._reason = reason
        self._transport.close()
        self._close_timer = self._loop.call_later(CLOSE_S, self._transport.abort)
        # A peer that is frozen lets the transport wait for all of that time; the layer above need not.
        self._loop.call_soon(self._lose, reason)

    def _lose(self, reason: str) -> None:
        if self._lost:
            return
        self._lost = True
        sending = list(self._sending.values())
        self._sending.clear()
        self._outgoing.clear()
        for future in sending:
            self._release(future, LinkClosed(reason))
        for stream in self._incoming.clear():
            self._decoder.abandon(stream)
        self._listener.link_lost(self, reason)

    def _loss(self, exc: Exception | None) -> str:
        where = "" if self._decoder.between_frames else " in the middle of a frame"
        if exc is None:
            return f"the peer closed the connection{where}"
        return f"connection lost{where}: {str(exc) or type(exc).__name__}"


def _as_bytes(view: memoryview) -> memoryview:
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _address(name: object) -> str:
    if isinstance(name, tuple):
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(name)
