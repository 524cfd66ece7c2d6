"""The way out of a stream: what was written, what of it the path in use was given, how much may be under way."""

from collections.abc import Callable

from nat.records import encode_data_head
from nat.stream import Outflow, Piece
from node.runtime.paths.end import PathEnd
from node.runtime.paths.window import Window

RECORD_BYTES = 1024 * 1024
"""What is sent again goes in records of this size; what is new, in those that it was written in, up to that."""


class Sending:
    """`tell` is what came in, as it rides on every record."""

    def __init__(self, tell: Callable[[], int]) -> None:
        self.out = Outflow()
        self.end: PathEnd | None = None
        """The path in use."""
        self._tell = tell
        self._window = Window()
        self._given = 0
        """Offset up to which that path was handed the stream."""

    def write(self, pieces: list[Piece], now: float) -> None:
        """Hand it to the path at once, if it has all that goes before."""
        out, begin, end = self.out, self.out.written, self.end
        for piece in pieces:
            out.write(piece)
        nbytes = out.written - begin
        self._window.written(out.written, now)
        if end is not None and self._given == begin and nbytes <= RECORD_BYTES:
            self._send(end, pieces, begin, nbytes)
            self._given = out.written
        else:
            self.go_on()

    def use(self, end: PathEnd) -> None:
        """From the first byte on that is not known to have come."""
        self.end = end
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
            room = RECORD_BYTES - nbytes
            pieces.append(memoryview(piece)[:room] if len(piece) > room else piece)
            nbytes += len(pieces[-1])
            if nbytes == RECORD_BYTES:
                break
        return pieces, nbytes

    def _send(self, end: PathEnd, pieces: list[Piece], offset: int, nbytes: int) -> None:
        end.send_data([encode_data_head(offset, self._tell(), nbytes), *pieces], nbytes)
