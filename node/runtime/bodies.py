"""Bodies on their way over one link: whose turn it is, and who may send how much.

Nothing here touches a socket. The sending half hands out slices of those bodies that have credit, one
each in turn. The receiving half says where the next DATA of a stream shall lie, and notices a body that
was not granted, is longer than granted, or ends early.
"""

from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from protocol.errors import PeerError
from protocol.frames import BodyPart
from protocol.limits import STREAMS_MAX


class Slice(NamedTuple):
    """The bytes of one DATA frame."""

    stream: int
    body: memoryview
    end: bool


@dataclass(slots=True)
class _Outgoing:
    body: memoryview
    sent: int = 0
    credit: int = 0


class OutgoingBodies:
    """What we want to send. A stream stands in `_turns` as long as it has credit and bytes left."""

    def __init__(self) -> None:
        self._bodies: dict[int, _Outgoing] = {}
        self._turns: deque[int] = deque()

    def __contains__(self, stream: int) -> bool:
        return stream in self._bodies

    @property
    def ready(self) -> bool:
        """A body has credit."""
        return bool(self._turns)

    def add(self, stream: int, body: memoryview) -> None:
        assert stream not in self._bodies, f"stream {stream} has a body already"
        assert len(self._bodies) < STREAMS_MAX, f"more than {STREAMS_MAX} bodies on a link"
        assert body.nbytes > 0, "a body of no bytes is not sent"
        self._bodies[stream] = _Outgoing(body)

    def grant(self, stream: int, nbytes: int) -> None:
        """The peer takes `nbytes` more. Credit for a stream that was cancelled here comes too late."""
        outgoing = self._bodies.get(stream)
        if outgoing is None or nbytes == 0:
            return
        left = outgoing.body.nbytes - outgoing.sent
        if outgoing.credit + nbytes > left:
            raise PeerError(f"stream {stream}: credit for more than the {left} bytes to come")
        if outgoing.credit == 0:
            self._turns.append(stream)
        outgoing.credit += nbytes

    def next_slice(self, nbytes_max: int) -> Slice | None:
        """The next DATA frame to send, None while no body has credit."""
        if not self._turns:
            return None
        stream = self._turns.popleft()
        outgoing = self._bodies[stream]
        start, nbytes = outgoing.sent, min(nbytes_max, outgoing.credit)
        outgoing.sent += nbytes
        outgoing.credit -= nbytes
        end = outgoing.sent == outgoing.body.nbytes
        if end:
            del self._bodies[stream]
        elif outgoing.credit:
            self._turns.append(stream)
        return Slice(stream, outgoing.body[start : start + nbytes], end)

    def remove(self, stream: int) -> None:
        outgoing = self._bodies.pop(stream, None)
        if outgoing is not None and outgoing.credit:
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

    def clear(self) -> None:
        self._bodies.clear()
