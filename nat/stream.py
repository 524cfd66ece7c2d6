"""The byte stream of a link, which outlives the paths that carry it.

What was sent is kept until the other side says that it has come. On a change of path everything since then is sent
once more, in order; the receiver knows by the offset what it has already, so nothing is lost and nothing comes twice.
On each path the offsets have no gap: whoever makes one has broken the protocol.
"""

from collections import deque
from collections.abc import Iterator

from protocol.errors import PeerError

Piece = bytes | memoryview

COPIED_BYTES = 16 * 1024
"""Up to so much of others' memory is copied: they have it back at once, and need not wait a round trip for it."""


class Outflow:
    """The way out. `written` and `acked` are offsets in the stream: bytes between them are kept.

    Up to `borrowed` some of them lie in memory of others.
    """

    __slots__ = ("_pieces", "acked", "borrowed", "written")

    def __init__(self) -> None:
        self.written = 0
        self.acked = 0
        self.borrowed = 0
        self._pieces: deque[tuple[int, Piece]] = deque()
        """(offset behind its end, bytes)"""

    @property
    def kept_bytes(self) -> int:
        return self.written - self.acked

    def write(self, piece: Piece) -> None:
        """At the end of the stream; memory that is borrowed must not change until it is acknowledged."""
        self.written += len(piece)
        if not isinstance(piece, bytes):
            if len(piece) <= COPIED_BYTES:
                piece = bytes(piece)
            else:
                self.borrowed = self.written
        self._pieces.append((self.written, piece))

    def acknowledged(self, received: int) -> bool:
        """The other side has so many bytes; whether that is news. PeerError if we have not sent so many."""
        if received <= self.acked:
            # Told on another path before, and overtaken.
            return False
        if received > self.written:
            raise PeerError(f"{received} bytes are said to have come, of {self.written} sent")
        self.acked = received
        pieces = self._pieces
        while pieces and pieces[0][0] <= received:
            pieces.popleft()
        return True

    def since(self, offset: int) -> Iterator[Piece]:
        """What was written from there on, in order; nothing before `acked` is there any more."""
        assert self.acked <= offset <= self.written, (self.acked, offset, self.written)
        for end, piece in self._pieces:
            if end <= offset:
                continue
            begin = end - len(piece)
            yield memoryview(piece)[offset - begin :] if begin < offset else piece

    def drop(self) -> None:
        """The link is over: nothing is kept any more."""
        self._pieces.clear()
        self.acked = self.written
