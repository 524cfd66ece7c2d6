"""The second connection to a peer: for what is large, dialed when it is first needed.

A call waits for it for a moment, and goes over the first connection if it does not come up.
"""

import asyncio
from collections.abc import Awaitable, Callable

from node.runtime.calls import OutgoingCall
from node.runtime.connection import Connection
from node.runtime.heard import Heard
from node.runtime.lanes import Lane
from node.runtime.paths.ways import Ways
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, short
from protocol.paths import PathKind, relay_in

BULK_BYTES_MIN = 64 * 1024
"""A call whose body or answer is larger goes over the bulk connection."""

BULK_WAIT_S = 2.0
"""How long a call waits for that connection to come up before it goes over the other one."""

BULK_RETRY_S = 30.0
"""How long nobody tries again after that."""


class Pair:
    """The connections to one peer."""

    def __init__(self, own: NodeId) -> None:
        self.control = Lane(own)
        self.bulk = Lane(own)
        self.waiting: list[OutgoingCall] = []
        """For a bulk connection that is being dialed."""
        self.dialing = False
        self.no_bulk_until = 0.0

    def lane(self, connection: Connection) -> Lane:
        return self.bulk if connection.bulk else self.control

    @property
    def connections(self) -> list[Connection]:
        return [*self.control.connections, *self.bulk.connections]

    def settled(self) -> None:
        """There is a bulk connection now, or there will be none for a while."""
        connection = self.bulk.open or self.control.open
        if connection is None:
            # They fail with the reason for which the connections close.
            return
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            if not call.over:
                connection.start(call)

    def fail(self, error: ErrorInfo) -> None:
        """No connection is left."""
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call.fail(error)


class Bulk:
    """Chooses the connection of a large call. `dial` tries the addresses in turn; TaskError says why none is it."""

    def __init__(
        self,
        ways: Ways,
        heard: Heard,
        dial: Callable[[tuple[str, ...], NodeId], Awaitable[None]],
    ) -> None:
        self._ways = ways
        self._heard = heard
        self._dial = dial
        self._loop = asyncio.get_running_loop()

    def start(self, call: OutgoingCall, pair: Pair, control: Connection) -> None:
        if (bulk := pair.bulk.open) is not None:
            bulk.start(call)
            return
        addresses = self._addresses(call.peer, control)
        if not addresses or self._loop.time() < pair.no_bulk_until:
            control.start(call)
            return
        pair.waiting.append(call)
        if not pair.dialing:
            pair.dialing = True
            self._ways.own_task(self._bring_up(call.peer, pair, addresses))

    def _addresses(self, peer: NodeId, control: Connection) -> tuple[str, ...]:
        """Where the peer has been reached comes first; nowhere, if that was by a way on which a second connection
        would come no further."""
        multipath = self._ways.multipath(control.link)
        if multipath is not None and not multipath.is_straight:
            return ()
        reached = control.address if multipath is None else multipath.address
        told = self._heard.addresses_of(peer)
        known = [one for one in told if relay_in(one) is None]
        if multipath is not None and not reached and multipath.kind is not PathKind.LAN:
            # It has dialled us, and keeps relays by which others reach it: so nobody out here can dial it.
            known = known if len(known) == len(told) else []
        return tuple(dict.fromkeys([reached, *known] if reached else known))

    async def _bring_up(self, peer: NodeId, pair: Pair, addresses: tuple[str, ...]) -> None:
        reason = f"no answer within {BULK_WAIT_S:g} s"
        try:
            async with asyncio.timeout(BULK_WAIT_S):
                await self._dial(addresses, peer)
                return
        except TimeoutError:
            pass
        except TaskError as failure:
            reason = str(failure)
        finally:
            pair.dialing = False
        self._heard.note("link.bulk_failed", peer=short(peer), reason=reason)
        pair.no_bulk_until = self._loop.time() + BULK_RETRY_S
        pair.settled()


def gone(peer: NodeId, reason: str) -> ErrorInfo:
    """What calls are told whose connection is lost."""
    text = f"the connection to node {short(peer)} is gone: {reason}"
    return ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=text, node=peer)
