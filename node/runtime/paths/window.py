"""How much of a link's stream may be under way.

All of it is kept until it has come, and is sent again over another path if this one fails; and what is written later
waits behind it. So it shall be no more than what the path carries in about half a second, and no less than it takes to
keep the path busy.
"""

WINDOW_BYTES = 1024 * 1024
WINDOW_BYTES_MIN = 256 * 1024
WINDOW_BYTES_MAX = 8 * 1024 * 1024

WINDOW_RELAY_BYTES_MAX = 512 * 1024
"""By way of a relay: what was quick slows down to a quota all of a sudden, and who waits for an answer behind what is
under way then shall not give up.
"""

QUICK_S = 0.25
SLOW_S = 0.75


class Window:
    """Told what was written and what has come; `nbytes` is what may lie between them."""

    __slots__ = ("_bytes_max", "_mark", "_marked_at", "_was_full", "nbytes")

    def __init__(self) -> None:
        self.nbytes = WINDOW_BYTES
        self._bytes_max = WINDOW_BYTES_MAX
        self._mark: int | None = None
        self._marked_at = 0.0
        self._was_full = False

    def bound(self, bytes_max: int) -> None:
        """The path is another one."""
        self._bytes_max = bytes_max
        self.nbytes = min(self.nbytes, bytes_max)

    def written(self, offset: int, now: float) -> None:
        if self._mark is None:
            self._mark, self._marked_at = offset, now

    def filled(self) -> None:
        """It has held something up."""
        self._was_full = True

    def acknowledged(self, offset: int, now: float) -> None:
        if self._mark is None or offset < self._mark:
            return
        took_s, self._mark = now - self._marked_at, None
        if took_s > SLOW_S:
            self.nbytes = max(self.nbytes // 2, WINDOW_BYTES_MIN)
        elif took_s < QUICK_S and self._was_full:
            self.nbytes = min(2 * self.nbytes, self._bytes_max)
        self._was_full = False
