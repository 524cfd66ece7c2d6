"""What the links of this node have carried, those that are gone included.

Each is kept for as long as it is open; of those that have closed the sum is.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from node.runtime.counted import Counted, Watched


class Carrier(Counted, Protocol):
    """As much of a link as is looked at here."""

    @property
    def dialed(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Totals:
    """Bytes of frames and bodies, before encryption, since the start; and the links that are open."""

    bytes_in: int
    bytes_out: int
    links: Mapping[tuple[bool, str], int]
    """By whether we opened them, and by the path that carries them."""


C = TypeVar("C", bound=Carrier)


class Traffic(Generic[C]):
    def __init__(self) -> None:
        self._links = Watched[C](self._sum_up)
        self._gone_in = self._gone_out = 0

    def watch(self, link: C) -> None:
        """One more, from its beginning."""
        self._links.add(link)

    def totals(self, path_of: Callable[[C], str]) -> Totals:
        """`path_of` names the path that carries a link."""
        still = self._links.open()
        return Totals(
            bytes_in=self._gone_in + sum(link.bytes_in for link in still),
            bytes_out=self._gone_out + sum(link.bytes_out for link in still),
            links=Counter((link.dialed, path_of(link)) for link in still),
        )

    def _sum_up(self, link: C) -> None:
        self._gone_in += link.bytes_in
        self._gone_out += link.bytes_out
