"""How large the slices are in which the bodies of one link leave.

Each slice costs a turn of the loop, and makes every other stream of the link wait until it has left. So slices grow
where they leave quickly, and shrink where they do not.
"""

from protocol.limits import BODY_BYTES_MAX, SLICE_BYTES

QUICK_S = 0.005
"""What a slice may take to leave, and so to make other streams wait, and still be grown."""


class Pace:
    """Told when a slice was handed to the transport, and when nothing of it was left there."""

    def __init__(self) -> None:
        self.slice_bytes = SLICE_BYTES
        self.slice_bytes_max = BODY_BYTES_MAX
        self._handed_over_at = 0.0

    def handed_over(self, now: float) -> None:
        self._handed_over_at = now

    def left(self, now: float) -> None:
        if now - self._handed_over_at < QUICK_S:
            self.slice_bytes = min(2 * self.slice_bytes, self.slice_bytes_max)
        else:
            self.slice_bytes = max(self.slice_bytes // 2, SLICE_BYTES)
