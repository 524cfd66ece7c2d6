"""A path by way of one of a peer's relays, whichever has it.

One after the other, for two at once would carry the same; but none is waited for long before the next is tried beside
it. A relay may take the peer for its guest and be wrong: the peer's router may have forgotten the connection. One that
has no such guest is asked again as long as another does not answer: the peer is perhaps just coming back to it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from node.runtime.paths.dialing import Opened
from node.runtime.relaying.channels import PeerAbsent
from protocol.errors import SedmaError
from protocol.ids import NodeId

STAGGER_S = 0.3
"""A relay that is near has answered by then."""

Open = Callable[[NodeId], Awaitable[Opened]]
"""A path by way of this relay. OSError or SedmaError says why not."""


async def by_relays(
    open_by: Open, relays: Sequence[NodeId]
) -> tuple[Opened | None, dict[NodeId, Exception]]:
    """The first that comes up, if any does, and what went wrong with others."""
    loop, left = asyncio.get_running_loop(), list(relays)
    failures: dict[NodeId, Exception] = {}
    tries: dict[asyncio.Task[Opened], NodeId] = {}
    absent: list[NodeId] = []

    async def attempt(relay: NodeId) -> Opened:
        return await open_by(relay)

    try:
        while left or tries:
            if left:
                relay = left.pop(0)
                failures.pop(relay, None)
                tries[loop.create_task(attempt(relay))] = relay
            pause_s = STAGGER_S if left or absent else None
            done, _ = await asyncio.wait(
                tries, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED
            )
            for ended in done:
                relay = tries.pop(ended)
                try:
                    return ended.result(), failures
                except (OSError, SedmaError) as wrong:
                    failures[relay] = wrong
                    if isinstance(wrong, PeerAbsent):
                        absent.append(relay)
            if not done and not left and absent:
                left.append(absent.pop(0))
    finally:
        await _give_up(tries)
    return None, failures


async def _give_up(tries: dict[asyncio.Task[Opened], NodeId]) -> None:
    for one in tries:
        one.cancel()
    for ended in await asyncio.gather(*tries, return_exceptions=True):
        # It came up at the same moment as another one.
        if isinstance(ended, Opened):
            ended.end.abort()
