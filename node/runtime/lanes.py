"""The connections of one kind between two nodes: one takes the calls, doubles are closed once they are idle."""

import asyncio

from node.runtime.connection import Connection
from protocol.ids import NodeId

RETIRE_S = 1.0
"""How often a doubled connection is looked at, whether it can be closed."""

FORGOTTEN_S = 10.0
"""A doubled connection that the peer dialed and has not closed by then is closed here: as after a restart of the
peer that we have not noticed."""


class Lane:
    """The best connection stands first. Both sides come to the same one, whatever each of them saw first."""

    def __init__(self, own: NodeId) -> None:
        self.connections: list[Connection] = []
        self._own = own

    @property
    def open(self) -> Connection | None:
        """The first that still takes calls."""
        for connection in self.connections:
            if not connection.link.closing:
                return connection
        return None

    def take_in(self, connection: Connection) -> None:
        """One more; of several only the best shall stay."""
        if not self.connections or self._stays(connection, self.connections[0]):
            self.connections.insert(0, connection)
        else:
            self.connections.append(connection)
        if len(self.connections) > 1:
            loop = asyncio.get_running_loop()
            loop.call_later(RETIRE_S, self._retire, True)
            loop.call_later(FORGOTTEN_S, self._retire, False)

    def _stays(self, new: Connection, old: Connection) -> bool:
        if new.link.dialed == old.link.dialed:
            return True
        return new.link.dialed == (self._own < new.peer)

    def _retire(self, dialed: bool) -> None:
        """Close what was dialed in vain, by us or by the peer, unless something is under way on it."""
        spare = [one for one in self.connections[1:] if one.link.dialed is dialed]
        for connection in spare:
            if connection.idle:
                connection.close("another connection between these two nodes stays")
        if any(not connection.idle for connection in spare):
            asyncio.get_running_loop().call_later(RETIRE_S, self._retire, dialed)
