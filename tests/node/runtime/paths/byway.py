"""Stands for a relay between two stations: what goes in on one side comes out on the other, as far as it likes.

What a relay does to single messages is tested where relays are; here it lies in the middle of the bytes.
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable

from node.runtime import tls
from node.runtime.paths.doorway import ALPN_PATH
from node.runtime.relaying.channels import RelayFailed
from node.runtime.tcp_link import Security
from protocol.ids import NodeId
from protocol.paths import by_way_of
from tests.node.runtime.small_mesh import Member
from tests.node.runtime.stations import Station

RELAY = NodeId("r" * 52)
VIA = by_way_of(RELAY)
PIECE_BYTES = 16 * 1024

Spoil = Callable[[bytes], list[bytes]]
"""What leaves instead of this piece."""


def honest(piece: bytes) -> list[bytes]:
    return [piece]


class Byway:
    """From one station, its owner, to another. `spoil` is asked anew for each channel."""

    def __init__(self, here: Station, there: Station, member: Member) -> None:
        self.opened = 0
        self.failure: str | None = None
        """Why nothing is opened."""
        self.dead: set[NodeId] = set()
        """Relays that cannot be reached."""
        self.claimed: NodeId | None = None
        """Whose channel it says this is; None: the truth."""
        self.delay_s = 0.0
        self.make_spoil: Callable[[], Spoil] = lambda: honest
        self._here, self._there = here, there
        self._security = Security(tls.server_context(member.membership, (ALPN_PATH,)), tls.peer_id)
        self._sockets: list[socket.socket] = []
        self._pumps: set[asyncio.Task[None]] = set()
        here.board.ways.dialer.relays = self

    async def open(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> socket.socket:
        assert peer == self._there.id
        if relay in self.dead:
            raise RelayFailed("it is dead")
        self.opened += 1
        if self.failure is not None:
            raise RelayFailed(self.failure)
        ours, near = socket.socketpair()
        far, theirs = socket.socketpair()
        for one in (ours, near, far, theirs):
            one.setblocking(False)
        self._sockets += (near, far)
        spoil = self.make_spoil()
        for source, sink in ((near, far), (far, near)):
            pump = asyncio.get_running_loop().create_task(self._pump(source, sink, spoil))
            self._pumps.add(pump)
            pump.add_done_callback(self._pumps.discard)
        told = self.claimed or self._here.id
        self._there.board.ways.channel(self._security, told, theirs, RELAY)
        return ours

    def cut(self) -> None:
        """All channels, at once."""
        for one in self._sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    async def close(self) -> None:
        self.cut()
        if self._pumps:
            await asyncio.wait(self._pumps)
        for one in self._sockets:
            one.close()

    async def _pump(self, source: socket.socket, sink: socket.socket, spoil: Spoil) -> None:
        loop = asyncio.get_running_loop()
        try:
            while piece := await loop.sock_recv(source, PIECE_BYTES):
                await asyncio.sleep(self.delay_s)
                for told in spoil(piece):
                    await loop.sock_sendall(sink, told)
        except ConnectionError:
            # One of the two ends has gone; the other is told below.
            return
        finally:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_RDWR)
