"""Frames: how anything travels on a link between two nodes.

    byte   0      1     2      3      4       8            12         16    20       24
           ver    type  flags  class  stream  header_len   body_len   aux   crc32c | header | body
           u8     u8    u8     u8     u32     u32          u32        u32   u32

Little-endian. The CRC-32C covers the first 20 bytes and the header; bodies are covered by TLS and
by content ids. Headers are MessagePack (`protocol.codec`), opaque here. Only DATA carries a body,
and a tensor of any size is a run of DATA frames on one stream, the last one flagged END. `aux` is
the number of bytes granted in a CREDIT.

The decoder touches no socket. Its owner asks it where the next bytes shall go (`get_buffer`), puts
them there and says how many came (`buffer_updated`). Prefixes and headers go to a scratch that is
used again and again; bodies go to where the `sink` wants them, so a tensor lands in its final place
without a copy. Every limit is checked before anything is kept.
"""

import struct
from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum

import msgspec
from crc32c import crc32c

from protocol.errors import PeerError
from protocol.limits import BODY_BYTES_MAX, HEADER_BYTES_MAX

FRAME_VERSION = 1
PREFIX_BYTES = 24
SCRATCH_BYTES = PREFIX_BYTES + HEADER_BYTES_MAX
"""Holds the largest frame without its body."""

CHECKED_BYTES = 20
_CHECKED = struct.Struct("<BBBBIIII")
_PREFIX = struct.Struct("<BBBBIIIII")
_CRC = struct.Struct("<I")


class FrameType(IntEnum):
    HELLO = 1
    REQ = 2
    RES = 3
    ERR = 4
    DATA = 5
    CREDIT = 6
    CANCEL = 7
    PROGRESS = 8
    PING = 9
    PONG = 10
    GOAWAY = 11


class TrafficClass(IntEnum):
    """The lower goes first."""

    CONTROL = 0
    GOSSIP = 1
    RPC = 2
    BULK = 3


CRITICAL = 1
"""Flag: whoever does not know this type must not go on. Without it, unknown types are skipped."""

END = 2
"""Flag: the last DATA frame of a body."""

_DATA = FrameType.DATA
_TYPES = {int(kind): kind for kind in FrameType}
_CLASSES = {int(klass): klass for klass in TrafficClass}


class FrameError(PeerError):
    """Bytes that are no frame. Where the next one begins is not known: the connection ends."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """A frame without a body."""

    type: FrameType
    klass: TrafficClass
    stream: int
    header: bytes = b""
    aux: int = 0
    flags: int = 0


class BodyPart(msgspec.Struct, frozen=True, gc=False):
    """One DATA frame's body lies in its place, whole."""

    stream: int
    nbytes: int
    end: bool


Event = Frame | BodyPart

Sink = Callable[[int, int], memoryview | None]
"""(stream, nbytes) -> memory of exactly nbytes for the next DATA of this stream, or None to skip
it. It may raise PeerError to say that this body was not allowed to come."""


def encode_frame(frame: Frame) -> bytes:
    """Prefix and header of a frame without a body."""
    assert frame.type is not FrameType.DATA, "bodies go through encode_data_prefix"
    return _encode(frame.type, frame.flags, frame.klass, frame.stream, frame.header, 0, frame.aux)


def encode_credit(stream: int, nbytes: int) -> bytes:
    """A CREDIT frame: so many bytes more may come."""
    return _encode(FrameType.CREDIT, 0, TrafficClass.CONTROL, stream, b"", 0, nbytes)


def encode_data_prefix(stream: int, body_bytes: int, *, end: bool) -> bytes:
    """The 24 bytes that go before `body_bytes` of a body."""
    assert body_bytes <= BODY_BYTES_MAX, f"{body_bytes} bytes in one DATA frame"
    return _encode(FrameType.DATA, END if end else 0, TrafficClass.BULK, stream, b"", body_bytes, 0)


def _encode(
    kind: int, flags: int, klass: int, stream: int, header: bytes, body_bytes: int, aux: int
) -> bytes:
    header_bytes = len(header)
    assert header_bytes <= HEADER_BYTES_MAX, f"header of {header_bytes} bytes"
    checked = _CHECKED.pack(
        FRAME_VERSION, kind, flags, klass, stream, header_bytes, body_bytes, aux
    )
    crc = crc32c(checked)
    if header_bytes:
        return checked + _CRC.pack(crc32c(header, crc)) + header
    return checked + _CRC.pack(crc)


class FrameDecoder:
    """Bytes in, frames out; the same frames however the bytes were cut."""

    def __init__(self, sink: Sink) -> None:
        self.skipped_frames = 0
        """Frames of types that this version does not know."""
        self.skipped_bytes = 0
        """Body bytes that nobody wanted any more."""
        self.frames = 0
        """Prefixes read so far. While it stands still and `partial` is true, a frame is hanging."""
        self.bodies_due = False
        """Set by the owner while bodies are expected: then prefixes are read alone, so that a body
        need not pass through the scratch. One more short read a frame, one copy of 64 KiB less."""
        self._sink = sink
        self._scratch = bytearray(SCRATCH_BYTES)
        self._view = memoryview(self._scratch)
        self._start = 0
        self._end = 0
        self._target: memoryview | None = None
        self._left = 0
        self._part: BodyPart | None = None

    @property
    def partial(self) -> bool:
        """A prefix or header has begun to come and is not whole."""
        return self._end > self._start

    @property
    def between_frames(self) -> bool:
        return not self._left and not self.partial

    def abandon(self, stream: int) -> None:
        """Write nothing more into the memory of this stream, not even the rest of a frame."""
        if self._left and self._part is not None and self._part.stream == stream:
            self._target = self._part = None

    def get_buffer(self, _sizehint: int) -> memoryview:
        """Where the next bytes shall go; never empty."""
        if self._left:
            if self._target is None:
                return self._view[: min(self._left, SCRATCH_BYTES)]
            return self._target[-self._left :]
        if self._start:
            waiting = self._end - self._start
            self._scratch[:waiting] = self._scratch[self._start : self._end]
            self._start, self._end = 0, waiting
        if self.bodies_due and self._end < PREFIX_BYTES:
            return self._view[self._end : PREFIX_BYTES]
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> Iterable[Event]:
        """What the `nbytes` just put into `get_buffer()` complete; must be iterated to its end.

        Raises FrameError, or what the sink raised, after the events that came before it; then the
        decoder is of no more use.
        """
        if not self._left:
            self._end += nbytes
            if self._end - self._start != PREFIX_BYTES:
                return self._parse()
            return self._parse_lone()
        self._left -= nbytes
        if self._target is None:
            self.skipped_bytes += nbytes
        if self._left or self._part is None:
            return ()
        return (self._part,)

    def _parse_lone(self) -> Iterable[Event]:
        """One prefix and nothing else, as before each piece of a body: the way must be short.

        What is not the prefix of such a piece, or is wrong, goes the long way.
        """
        prefix: tuple[int, ...] = _PREFIX.unpack_from(self._scratch, self._start)
        version, kind, flags, _, stream, header_bytes, body_bytes, _, crc = prefix
        if version != FRAME_VERSION or kind != _DATA or header_bytes:
            return self._parse()
        checked = self._view[self._start : self._start + CHECKED_BYTES]
        if not 0 < body_bytes <= BODY_BYTES_MAX or crc32c(checked) != crc:
            return self._parse()
        self.frames += 1
        self._start = self._end = 0
        self._place_piece(stream, body_bytes, bool(flags & END))
        return ()

    def _parse(self) -> Iterator[Event]:
        while self._end - self._start >= PREFIX_BYTES:
            prefix: tuple[int, ...] = _PREFIX.unpack_from(self._scratch, self._start)
            if prefix[0] != FRAME_VERSION:
                raise FrameError(f"frame of version {prefix[0]}; this node speaks {FRAME_VERSION}")
            if prefix[5] > HEADER_BYTES_MAX:
                raise FrameError(f"header of {prefix[5]} bytes; at most {HEADER_BYTES_MAX}")
            stop = self._start + PREFIX_BYTES + prefix[5]
            if stop > self._end:
                return
            event = self._take(prefix, stop)
            if event is not None:
                yield event
            if self._left:
                return

    def _take(self, prefix: tuple[int, ...], stop: int) -> Event | None:
        """Check a whole prefix and header, and move on to its body or the next frame."""
        _, kind, flags, klass, stream, header_bytes, body_bytes, aux, crc = prefix
        start, self._start = self._start, stop
        self.frames += 1
        header = b""
        computed = crc32c(self._view[start : start + CHECKED_BYTES])
        if header_bytes:
            header = bytes(self._view[start + PREFIX_BYTES : stop])
            computed = crc32c(header, computed)
        if computed != crc:
            raise FrameError("prefix or header damaged: the CRC does not fit")
        if body_bytes > BODY_BYTES_MAX:
            raise FrameError(f"body of {body_bytes} bytes in one frame; at most {BODY_BYTES_MAX}")
        known = _TYPES.get(kind)
        if known is None:
            self._skip(kind, flags, body_bytes)
            return None
        if known is _DATA:
            return self._begin_body(stream, header_bytes, body_bytes, bool(flags & END))
        if body_bytes:
            raise FrameError(f"{known.name} with a body of {body_bytes} bytes; only DATA has one")
        if klass not in _CLASSES:
            raise FrameError(f"{known.name} of class {klass}; classes are 0 to {max(_CLASSES)}")
        return Frame(known, _CLASSES[klass], stream, header, aux, flags)

    def _skip(self, kind: int, flags: int, body_bytes: int) -> None:
        if flags & CRITICAL:
            raise FrameError(f"critical frame of type {kind}, which this node does not know")
        self.skipped_frames += 1
        self._place(None, body_bytes, None)

    def _begin_body(
        self, stream: int, header_bytes: int, body_bytes: int, end: bool
    ) -> Event | None:
        if header_bytes:
            raise FrameError(f"DATA with a header of {header_bytes} bytes; it has none")
        if self._start == self._end and body_bytes:
            self._place_piece(stream, body_bytes, end)
            return None
        target = self._sink(stream, body_bytes)
        return self._place(target, body_bytes, self._part_of(target, stream, body_bytes, end))

    def _place_piece(self, stream: int, body_bytes: int, end: bool) -> None:
        """All of it is still to come."""
        target = self._sink(stream, body_bytes)
        self._part = self._part_of(target, stream, body_bytes, end)
        self._target, self._left = target, body_bytes

    def _part_of(
        self, target: memoryview | None, stream: int, body_bytes: int, end: bool
    ) -> BodyPart | None:
        if target is None:
            return None
        assert target.nbytes == body_bytes, f"sink gave {target.nbytes} bytes for {body_bytes}"
        return BodyPart(stream, body_bytes, end)

    def _place(
        self, target: memoryview | None, body_bytes: int, part: BodyPart | None
    ) -> Event | None:
        """Take what the scratch holds of the body; the rest goes straight into the target."""
        here = min(body_bytes, self._end - self._start)
        if target is None:
            self.skipped_bytes += here
        else:
            target[:here] = self._view[self._start : self._start + here]
        self._start += here
        self._target, self._left, self._part = target, body_bytes - here, part
        return None if self._left else part
