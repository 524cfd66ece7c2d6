"""Bodies on their way over one link: whose turn it is, and who may send how much.

Nothing here touches a socket. The sending half hands out slices of those bodies that have credit, one
each in turn; a body may come in pieces, and then waits for its next piece without losing its credit.
The receiving half says where the next DATA of a stream shall lie, and notices a body that was not
granted, is longer than granted, or ends early.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from protocol.errors import PeerError
from protocol.frames import BodyPart
from protocol.limits import STREAMS_MAX

BODIES_MAX = 2 * STREAMS_MAX
"""Bodies that leave on one link at once: those of our calls, and of our answers to the peer's."""

_NOTHING = memoryview(b"")


class Slice(NamedTuple):
    """The bytes of one DATA frame."""

    stream: int
    body: memoryview
    end: bool
    """Of the whole body."""
    last: bool
    """Of the piece: nothing of its memory is left to be handed out."""


@dataclass(slots=True)
class _Outgoing:
    piece: memoryview
    left: int
    """Bytes of the whole body that have not been handed out."""
    sent: int = 0
    """Bytes of the piece that have."""
    credit: int = 0


class OutgoingBodies:
    """What we want to send. A stream stands in `_turns` while it has credit and bytes at hand."""

    def __init__(self) -> None:
        self._bodies: dict[int, _Outgoing] = {}
        self._turns: deque[int] = deque()

    def __contains__(self, stream: int) -> bool:
        return stream in self._bodies

    @property
    def ready(self) -> bool:
        """A body has credit."""
        return bool(self._turns)

    def add(self, stream: int, piece: memoryview, total: int | None = None) -> None:
        """A body of `total` bytes that begins with this piece, or is this piece alone."""
        assert stream not in self._bodies, f"stream {stream} has a body already"
        assert len(self._bodies) < BODIES_MAX, f"more than {BODIES_MAX} bodies on a link"
        left = piece.nbytes if total is None else total
        assert left > 0, "a body of no bytes is not sent"
        assert piece.nbytes <= left, f"a piece of {piece.nbytes} bytes in a body of {left}"
        self._bodies[stream] = _Outgoing(piece, left)

    def go_on(self, stream: int, piece: memoryview) -> None:
        """The next piece of a body whose former piece has left."""
        outgoing = self._bodies[stream]
        assert not outgoing.piece.nbytes, f"stream {stream}: the former piece has not left yet"
        assert 0 < piece.nbytes <= outgoing.left, (
            f"a piece of {piece.nbytes} bytes where {outgoing.left} of the body are to come"
        )
        outgoing.piece, outgoing.sent = piece, 0
        if outgoing.credit:
            self._turns.append(stream)

    def grant(self, stream: int, nbytes: int) -> None:
        """The peer takes `nbytes` more. Credit for a stream that was cancelled here comes too late."""
        outgoing = self._bodies.get(stream)
        if outgoing is None or nbytes == 0:
            return
        if outgoing.credit + nbytes > outgoing.left:
            raise PeerError(
                f"stream {stream}: credit for more than the {outgoing.left} bytes to come"
            )
        if outgoing.credit == 0 and outgoing.piece.nbytes:
            self._turns.append(stream)
        outgoing.credit += nbytes

    def next_slice(self, nbytes_max: int) -> Slice | None:
        """The next DATA frame to send, None while no body has credit."""
        if not self._turns:
            return None
        stream = self._turns.popleft()
        outgoing = self._bodies[stream]
        piece, start = outgoing.piece, outgoing.sent
        nbytes = min(nbytes_max, outgoing.credit, piece.nbytes - start)
        outgoing.sent += nbytes
        outgoing.left -= nbytes
        outgoing.credit -= nbytes
        end, last = outgoing.left == 0, outgoing.sent == piece.nbytes
        if end:
            del self._bodies[stream]
        elif last:
            outgoing.piece = _NOTHING
        elif outgoing.credit:
            self._turns.append(stream)
        return Slice(stream, piece[start : start + nbytes], end, last)

    def remove(self, stream: int) -> None:
        outgoing = self._bodies.pop(stream, None)
        if outgoing is not None and outgoing.credit and outgoing.piece.nbytes:
            self._turns.remove(stream)

    def clear(self) -> None:
        self._bodies.clear()
        self._turns.clear()


@dataclass(slots=True)
class _Incoming:
    into: memoryview
    placed: int = 0
    """Bytes whose DATA frame has begun."""


class IncomingBodies:
    """What the peer may send us, because we granted it."""

    def __init__(self) -> None:
        self._bodies: dict[int, _Incoming] = {}
        self._stray_bytes_max = 0
        """Granted to streams that we gave up since: the peer may have sent it before it heard."""

    def __bool__(self) -> bool:
        return bool(self._bodies)

    def expect(self, stream: int, into: memoryview) -> None:
        assert stream not in self._bodies, f"stream {stream} is expected already"
        assert into.nbytes > 0, "a body of no bytes is not sent"
        assert not into.readonly, "a body cannot come into read-only memory"
        self._bodies[stream] = _Incoming(into)

    def target(self, stream: int, nbytes: int) -> memoryview | None:
        """Where the next DATA of this stream shall lie; None for a stream that we gave up."""
        incoming = self._bodies.get(stream)
        if incoming is None:
            if nbytes > self._stray_bytes_max:
                raise PeerError(f"stream {stream}: {nbytes} bytes of a body that nobody granted")
            self._stray_bytes_max -= nbytes
            return None
        start, left = incoming.placed, incoming.into.nbytes - incoming.placed
        if nbytes > left:
            granted = incoming.into.nbytes
            raise PeerError(f"stream {stream}: body longer than the {granted} bytes granted")
        incoming.placed += nbytes
        return incoming.into[start : start + nbytes]

    def arrived(self, part: BodyPart) -> int | None:
        """None while more is to come; at the end of a body, how many bytes it lacks."""
        incoming = self._bodies.get(part.stream)
        if incoming is None:
            return None
        missing = incoming.into.nbytes - incoming.placed
        if part.end:
            del self._bodies[part.stream]
            return missing
        if not missing:
            raise PeerError(
                f"stream {part.stream}: body goes on after the {incoming.placed} bytes granted"
            )
        return None

    def give_up(self, stream: int, *, may_come: bool) -> bool:
        """We want it no more. `may_come`: the peer does not know yet. Whether it was expected."""
        incoming = self._bodies.pop(stream, None)
        if incoming is not None and may_come:
            self._stray_bytes_max += incoming.into.nbytes - incoming.placed
        return incoming is not None

    def clear(self) -> list[int]:
        """Expect nothing more; of which streams something was expected."""
        streams = list(self._bodies)
        self._bodies.clear()
        return streams
