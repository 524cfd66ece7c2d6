"""Links and paths that count their own bytes: those that are open, and the sum of those that have closed."""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar


class Counted(Protocol):
    """It counts no more once it closes."""

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...

    @property
    def closing(self) -> bool: ...


C = TypeVar("C", bound=Counted)


class Watched(Generic[C]):
    """Keeps each for as long as it is open; `closed` is told of it once, when the next one comes or somebody asks."""

    def __init__(self, closed: Callable[[C], None]) -> None:
        self._closed = closed
        self._kept: list[C] = []

    def __len__(self) -> int:
        return len(self._kept)

    def add(self, one: C) -> None:
        self.open()
        self._kept.append(one)

    def open(self) -> list[C]:
        """Those that are still open."""
        for one in self._kept:
            if one.closing:
                self._closed(one)
        self._kept = [one for one in self._kept if not one.closing]
        return self._kept
