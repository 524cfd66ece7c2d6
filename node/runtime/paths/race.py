"""All ways to one peer at once: the first that comes up carries the new link, the others are attached to it.

A relay answers in a round trip or two whatever lies between, so the first message never waits for a direct path.
Addresses are dialled one a moment after the other: the first is the likeliest, and one that is dead holds up nobody.
"""

import asyncio
from typing import TYPE_CHECKING

from node.runtime.frame_link import FrameLink, OnLink
from node.runtime.links import Link
from node.runtime.paths.by_relays import by_relays
from node.runtime.paths.dialing import Opened
from node.runtime.paths.multipath import Multipath
from node.runtime.tls import explain
from protocol.errors import ErrorCode, SedmaError, TaskError
from protocol.ids import NodeId, short
from protocol.paths import PathKind, relay_in

if TYPE_CHECKING:
    from node.runtime.paths.ways import Ways


STAGGER_S = 0.1
"""Between one address and the next."""


class Race:
    """`first` is the link, or TaskError once nothing is left to try; `run` goes on until all have ended."""

    def __init__(
        self, ways: "Ways", peer: NodeId, addresses: tuple[str, ...], on_link: OnLink
    ) -> None:
        self.first: asyncio.Future[Link] = asyncio.get_running_loop().create_future()
        self._ways = ways
        self._peer = peer
        self._on_link = on_link
        self._direct = [one for one in addresses if relay_in(one) is None]
        self._relays = [relay for one in addresses if (relay := relay_in(one)) is not None]
        self._multipath: Multipath | None = None
        self._straight: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done once an address has answered: the others are of no use then."""
        self._failures: list[str] = []

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as attempts:
                attempts.create_task(self._by_relay())
                await self._dial_all(attempts)
        finally:
            if not self.first.done():
                reason = "; ".join(self._failures) or "no address is known"
                self.first.set_exception(TaskError(ErrorCode.UNAVAILABLE, reason))
                # Nobody may be left to ask.
                self.first.exception()

    async def _dial_all(self, attempts: asyncio.TaskGroup) -> None:
        """Each a moment after the one before, or as soon as that has failed."""
        for address in self._direct:
            attempt = attempts.create_task(self._dial(address))
            until = [attempt, self._straight]
            await asyncio.wait(until, timeout=STAGGER_S, return_when=asyncio.FIRST_COMPLETED)
            if self._straight.done():
                return

    async def _dial(self, address: str) -> None:
        try:
            opened = await self._ways.dialer.tcp(address, self._on_link)
        except OSError as wrong:
            self._failures.append(explain(wrong, address))
        except SedmaError as wrong:
            self._failures.append(f"{address}: {wrong}")
        else:
            self._arrived(opened, address)

    async def _by_relay(self) -> None:
        opened, failures = await by_relays(
            lambda relay: self._ways.relayed(relay, self._peer), self._relays
        )
        for relay, wrong in failures.items():
            where = f"{short(self._peer)} by relay {short(relay)}"
            told = explain(wrong, where) if isinstance(wrong, OSError) else f"{where}: {wrong}"
            self._failures.append(told)
        if opened is not None:
            self._arrived(opened, "a relay")

    def _arrived(self, opened: Opened | FrameLink, where: str) -> None:
        is_found = isinstance(opened, FrameLink) or opened.peer == self._peer
        is_relayed = not isinstance(opened, FrameLink) and opened.end.kind is PathKind.RELAY
        if is_found and not is_relayed and not self._straight.done():
            self._straight.set_result(None)
        if isinstance(opened, FrameLink):
            # From before paths; it is heard already, and whoever asked waits for what it says.
            if not self.first.done():
                self.first.set_result(opened)
            return
        if opened.peer != self._peer:
            self._failures.append(
                f"{where} is now node {short(opened.peer)}, not {short(self._peer)}"
            )
            opened.end.abort()
        elif self._multipath is None and not self.first.done():
            self._multipath = self._ways.open_over(opened, self._on_link)
            self.first.set_result(self._multipath.link)
        elif self._multipath is None or opened.end.kind in self._multipath.kinds:
            opened.end.abort()
        else:
            self._ways.attach(self._multipath, opened.end)
