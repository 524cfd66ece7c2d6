"""One end of one path: cuts what comes in into records, and hands the stream's bytes to their final memory.

What a link reads lies in memory that the link names, so nothing is copied but the small records, and what arrives
together with the head of a large one. All ends of a process read into one scratch buffer: asyncio fills it and tells of
it in one step, and what is left of a record that is not whole yet is kept aside.
"""

import asyncio
from typing import Protocol, cast

from nat.datagram_path import DatagramPath
from nat.endpoint import plain
from nat.records import DATA, HEADER_BYTES, RecordKind, encode_record, read_head
from protocol.errors import PeerError
from protocol.ids import NodeId
from protocol.paths import PathKind

SCRATCH_BYTES = 64 * 1024
_SCRATCH = memoryview(bytearray(SCRATCH_BYTES + HEADER_BYTES + 8 * 1024))

LARGE_BYTES = 64 * 1024
PEEK_BYTES = 512
"""Read with the next head after so large a record: the body of another one is likely to follow, and is to go straight
to its place."""


class PathOwner(Protocol):
    """Who is told what comes in on a path."""

    @property
    def received(self) -> int:
        """Up to where the stream has come."""

    def heard(self, end: "PathEnd", received: int) -> None:
        """A record began; the other side has so much of our stream. PeerError if that cannot be."""

    def record(self, end: "PathEnd", kind: RecordKind, number: int, payload: bytes) -> None:
        """Any but DATA, which comes by the three below. PeerError if it is nonsense."""

    def get_buffer(self, hint: int) -> memoryview:
        """Where the next bytes of the stream shall lie."""

    def buffer_updated(self, nbytes: int) -> None:
        """So many lie there."""

    def data_ended(self, end: "PathEnd") -> None:
        """All that was read at once has been handed over."""

    def paused(self, end: "PathEnd") -> None: ...

    def resumed(self, end: "PathEnd") -> None: ...

    def broke(self, end: "PathEnd", wrong: PeerError) -> None:
        """What came in is nonsense, as inside TLS only the peer itself can say it; nothing more is read."""

    def path_lost(self, end: "PathEnd", reason: str, *, refused: bool) -> None:
        """Told once, last. `refused`: by the other side, or its kernel; not by silence."""


class PathEnd(asyncio.BufferedProtocol):
    """Speaks over a transport that is connected and proven. Who owns it may change: first whoever waits for Attach."""

    def __init__(self, owner: PathOwner, kind: PathKind, address: str = "") -> None:
        self.owner = owner
        self.kind = kind
        self.address = address
        """Where it was dialled; empty if the other side did, or if it has none."""
        self.via: NodeId | None = None
        """The relay, if it runs by way of one."""
        self.number = 0
        """Among the paths of its link."""
        self.is_paused = False
        self.closing = False
        self.bytes_in = self.bytes_out = 0
        self._carry = b""
        self._at = 0
        """Offset in the stream of the next payload byte of the DATA record that is coming in."""
        self._left = 0
        self._peek = False
        self._direct = False
        self._beside: DatagramPath | None = None
        """What carries the transport, where that is datagrams: others find their way there, too."""

    # -- what its owner calls ------------------------------------------------------------------------

    def send(self, kind: RecordKind, number: int, received: int, payload: bytes = b"") -> None:
        if not self.closing:
            record = encode_record(kind, number, received, payload)
            self.bytes_out += len(record)
            self._transport.write(record)

    def send_data(self, pieces: list[bytes | memoryview], nbytes: int) -> None:
        """The head of a DATA record and its payload."""
        self.bytes_out += nbytes
        self._transport.writelines(pieces)

    def send_datagram(self, datagram: bytes) -> bool:
        """By itself, and lost as any may be; False where the path has no room for it, or carries no datagrams."""
        return self._beside is not None and self._beside.send([datagram]) == 1

    def close(self) -> None:
        """Once all that was sent has left."""
        self.closing = True
        self._transport.close()

    def abort(self) -> None:
        self.closing = True
        self._transport.abort()

    @property
    def in_record(self) -> bool:
        """More of a DATA record is to come."""
        return self._left > 0

    @property
    def remote(self) -> str:
        return _address(self._transport.get_extra_info("peername"))

    @property
    def local(self) -> str:
        return _address(self._transport.get_extra_info("sockname"))

    @property
    def local_host(self) -> str:
        """Our IP address on this path; empty where it has none of its own."""
        name = self._transport.get_extra_info("sockname")
        return plain(name[0]) if isinstance(name, tuple) else ""

    @property
    def transport(self) -> asyncio.Transport:
        return self._transport

    # -- what the transport calls --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have all the methods, but not the class.
        self._transport = cast(asyncio.Transport, transport)
        # Anything left unsent pauses: the stream behind it may still choose another path.
        self._transport.set_write_buffer_limits(high=1, low=0)
        self._beside = self._transport.get_extra_info("path")

    def get_buffer(self, sizehint: int) -> memoryview:
        self._direct = self._left > 0 and self._at == self.owner.received and not self.closing
        if self._direct:
            return self.owner.get_buffer(sizehint)[: self._left]
        kept = len(self._carry)
        if kept:
            _SCRATCH[:kept] = self._carry
        room = PEEK_BYTES if self._peek and not self._left else SCRATCH_BYTES
        return _SCRATCH[kept : kept + max(room, HEADER_BYTES)]

    def buffer_updated(self, nbytes: int) -> None:
        self.bytes_in += nbytes
        if self.closing:
            return
        try:
            if self._direct:
                self._at += nbytes
                self._left -= nbytes
                self.owner.buffer_updated(nbytes)
            else:
                kept, self._carry = len(self._carry), b""
                self._parse(_SCRATCH[: kept + nbytes])
        except PeerError as wrong:
            self.owner.broke(self, wrong)
            self.closing = True
        else:
            self.owner.data_ended(self)

    def eof_received(self) -> None:
        """The transport closes itself."""

    def pause_writing(self) -> None:
        self.is_paused = True
        self.owner.paused(self)

    def resume_writing(self) -> None:
        self.is_paused = False
        self.owner.resumed(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closing = True
        refused = exc is None or isinstance(exc, ConnectionError)
        reason = "the other side closed it" if exc is None else str(exc) or type(exc).__name__
        self.owner.path_lost(self, reason, refused=refused)

    # -- within --------------------------------------------------------------------------------------

    def _parse(self, view: memoryview) -> None:
        while view and not self.closing:
            if self._left:
                view = self._deliver(view)
                continue
            if len(view) < HEADER_BYTES:
                self._carry = bytes(view)
                return
            kind, length, number, received = read_head(view)
            if kind == DATA:
                self.owner.heard(self, received)
                self._at, self._left = number, length
                self._peek = length >= LARGE_BYTES
                if number > self.owner.received:
                    raise PeerError(f"the stream lacks {number - self.owner.received} bytes")
                view = view[HEADER_BYTES:]
                continue
            end = HEADER_BYTES + length
            if len(view) < end:
                self._carry = bytes(view)
                return
            self.owner.heard(self, received)
            self.owner.record(self, RecordKind(kind), number, bytes(view[HEADER_BYTES:end]))
            view = view[end:]

    def _deliver(self, view: memoryview) -> memoryview:
        """Hand over what is new of this; what came before over another path is left out."""
        here = view[: self._left]
        stale = min(self.owner.received - self._at, len(here))
        self._at += len(here)
        self._left -= len(here)
        fresh = here[stale:]
        while fresh and not self.closing:
            into = self.owner.get_buffer(len(fresh))
            nbytes = min(len(into), len(fresh))
            into[:nbytes] = fresh[:nbytes]
            self.owner.buffer_updated(nbytes)
            fresh = fresh[nbytes:]
        return view[len(here) :]


def _address(name: object) -> str:
    if isinstance(name, tuple):
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return str(name or "")
