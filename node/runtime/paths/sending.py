"""The way out of a stream: what was written, what of it the path in use was given, how much may be under way."""

from collections.abc import Callable

from nat.records import encode_data_head
from nat.stream import Outflow, Piece
from node.runtime.paths.end import PathEnd
from node.runtime.paths.window import WINDOW_BYTES_MAX, WINDOW_RELAY_BYTES_MAX, Window
from protocol.paths import PathKind

RECORD_BYTES = 1024 * 1024
"""What is sent again goes in records of this size; what is new, in those that it was written in, up to that."""

RELAY_RECORD_BYTES = 64 * 1024
"""By way of a relay, where a ping may have to wait for what is left of one at the speed of a quota."""


class Sending:
    """`tell` is what came in, as it rides on every record."""

    def __init__(self, tell: Callable[[], int]) -> None:
        self.out = Outflow()
        self.end: PathEnd | None = None
        """The path in use."""
        self._tell = tell
        self._window = Window()
        self._record_bytes = RECORD_BYTES
        self._given = 0
        """Offset up to which that path was handed the stream."""

    def write(self, pieces: list[Piece], now: float) -> None:
        """Hand it to the path at once, if it has all that goes before."""
        out, begin, end = self.out, self.out.written, self.end
        for piece in pieces:
            out.write(piece)
        nbytes = out.written - begin
        self._window.written(out.written, now)
        if end is not None and self._given == begin and nbytes <= self._record_bytes:
            self._send(end, pieces, begin, nbytes)
            self._given = out.written
        else:
            self.go_on()

    def use(self, end: PathEnd) -> None:
        """From the first byte on that is not known to have come."""
        self.end = end
        relayed = end.kind is PathKind.RELAY
        self._record_bytes = RELAY_RECORD_BYTES if relayed else RECORD_BYTES
        self._window.bound(WINDOW_RELAY_BYTES_MAX if relayed else WINDOW_BYTES_MAX)
        self._given = self.out.acked
        self.go_on()

    def go_on(self, *, everything: bool = False) -> None:
        """Hand to the path in use what it has not had yet, as long as it takes it."""
        end = self.end
        while end is not None and self._given < self.out.written:
            if end.is_paused and not everything:
                return
            pieces, nbytes = self._next_pieces()
            self._send(end, pieces, self._given, nbytes)
            self._given += nbytes

    def acknowledged(self, received: int, now: float) -> bool:
        """Whether more has come than was known; see `Outflow`."""
        if not self.out.acknowledged(received):
            return False
        # What another path has brought need not go over this one.
        self._given = max(self._given, received)
        self._window.acknowledged(received, now)
        return True

    def holds(self) -> bool:
        """Nothing more shall be written for now: only what can leave, and no more than may be under way."""
        is_full = self.out.kept_bytes >= self._window.nbytes
        if is_full:
            self._window.filled()
        end = self.end
        return is_full or end is None or end.is_paused or self._given < self.out.written

    def _next_pieces(self) -> tuple[list[Piece], int]:
        pieces: list[Piece] = []
        nbytes = 0
        for piece in self.out.since(self._given):
            room = self._record_bytes - nbytes
            pieces.append(memoryview(piece)[:room] if len(piece) > room else piece)
            nbytes += len(pieces[-1])
            if nbytes == self._record_bytes:
                break
        return pieces, nbytes

    def _send(self, end: PathEnd, pieces: list[Piece], offset: int, nbytes: int) -> None:
        end.send_data([encode_data_head(offset, self._tell(), nbytes), *pieces], nbytes)
