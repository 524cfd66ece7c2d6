"""What the links of this node have carried, those that are gone included.

A link counts its own bytes, and counts no more once it closes. Links are kept here for as long as they are open; those
that have closed are summed up when the next one comes or somebody asks.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Counted(Protocol):
    """As much of a link as is looked at here."""

    @property
    def dialed(self) -> bool: ...

    @property
    def bytes_in(self) -> int: ...

    @property
    def bytes_out(self) -> int: ...

    @property
    def closing(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes of frames and bodies, before encryption, since the start; and the links that are open."""

    bytes_in: int
    bytes_out: int
    links: Mapping[tuple[bool, str], int]
    """By whether we opened them, and by the path that carries them."""


C = TypeVar("C", bound=Counted)


class Traffic(Generic[C]):
    def __init__(self) -> None:
        self._open: list[C] = []
        self._gone_in = self._gone_out = 0

    def watch(self, link: C) -> None:
        """One more, from its beginning."""
        self._sum_up()
        self._open.append(link)

    def totals(self, path_of: Callable[[C], str]) -> Totals:
        """`path_of` names the path that carries a link."""
        self._sum_up()
        return Totals(
            bytes_in=self._gone_in + sum(link.bytes_in for link in self._open),
            bytes_out=self._gone_out + sum(link.bytes_out for link in self._open),
            links=Counter((link.dialed, path_of(link)) for link in self._open),
        )

    def _sum_up(self) -> None:
        for link in self._open:
            if link.closing:
                self._gone_in += link.bytes_in
                self._gone_out += link.bytes_out
        self._open = [link for link in self._open if not link.closing]
