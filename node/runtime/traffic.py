"""What the links of this node have carried, those that are gone included.

A link counts its own bytes, and counts no more once it closes. Links are kept here for as long as they are open; those
that have closed are summed up when the next one comes or somebody asks.
"""

from dataclasses import dataclass
from typing import Protocol


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
    dialed: int
    accepted: int


class Traffic:
    def __init__(self) -> None:
        self._open: list[Counted] = []
        self._gone_in = self._gone_out = 0

    def watch(self, link: Counted) -> None:
        """One more, from its beginning."""
        self._sum_up()
        self._open.append(link)

    def totals(self) -> Totals:
        self._sum_up()
        dialed = sum(link.dialed for link in self._open)
        return Totals(
            bytes_in=self._gone_in + sum(link.bytes_in for link in self._open),
            bytes_out=self._gone_out + sum(link.bytes_out for link in self._open),
            dialed=dialed,
            accepted=len(self._open) - dialed,
        )

    def _sum_up(self) -> None:
        for link in self._open:
            if link.closing:
                self._gone_in += link.bytes_in
                self._gone_out += link.bytes_out
        self._open = [link for link in self._open if not link.closing]
