"""How many chips are in the mesh at once: as many as asked for, and fewer once it had no room for them."""

TRIES_MAX = 8
"""So often in a row one chip that is alone may find no room: memory of the chip before it may still be on its way
back, and others put weights too."""
WAIT_S = 0.5
"""Before the next try, when nobody's end can be waited for; each further time twice as long."""


class Crowd:
    """Told who begins and how it ends; says whether one more may begin."""

    def __init__(self, most: int) -> None:
        self.limit = most
        self.aloft = 0
        self._refusals = 0
        """In a row, of chips that were alone."""

    @property
    def has_place(self) -> bool:
        return self.aloft < self.limit

    def began(self) -> None:
        self.aloft += 1

    def ended(self) -> None:
        self.aloft -= 1
        self._refusals = 0

    def refused(self) -> float | None:
        """There was no room for one: seconds to wait before the next begins, None where there is no hope."""
        self.aloft -= 1
        if self.aloft:
            self.limit = self.aloft
            return 0.0
        self.limit = 1
        self._refusals += 1
        return None if self._refusals == TRIES_MAX else WAIT_S * 2 ** (self._refusals - 1)
