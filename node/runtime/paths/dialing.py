"""Opens single paths: by TCP to an address, or by way of a relay. Each is proven before it is handed on."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from node.config import host_port
from node.runtime.frame_link import FrameLink, OnLink
from node.runtime.handed_over import let_go
from node.runtime.paths.arrival import Unattached
from node.runtime.paths.doorway import ALPN_PATH, Doorway, kind_at, kind_of
from node.runtime.paths.end import PathEnd
from node.runtime.tally import Tally
from node.runtime.tcp_link import Security, open_connection
from protocol.errors import PeerError
from protocol.ids import NodeId, short
from protocol.paths import PathKind

DIAL_S = 3.0
"""For one address: TCP and TLS."""

RELAYED_S = 5.0
"""For one relay: reaching it, and TLS with whoever is behind it."""

SERVER_NAME = "sedma"
"""Said in TLS where there is no host; nobody looks at it, for whom we reached is told by the key."""


class Relays(Protocol):
    """Who keeps connections to relays."""

    async def open(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> socket.socket:
        """One end of a channel to this peer. OSError or SedmaError says why not."""


class Opened(NamedTuple):
    """A path that is attached to nothing yet, and who is on the other side."""

    end: PathEnd
    peer: NodeId


class PathDialer:
    """`security` None: bare links without TLS, in tests and benchmarks only."""

    def __init__(self, security: Security | None) -> None:
        self.relays: Relays | None = None
        self.tally = Tally()
        """Of what is tried here, and of what becomes of it."""
        self._security = security
        self._unattached = Unattached()

    @property
    def is_secure(self) -> bool:
        return self._security is not None

    async def tcp(self, address: str, on_link: OnLink) -> Opened | FrameLink:
        """A bare link where the other side knows no paths. OSError as of `open_connection`."""
        identify = None if self._security is None else self._security.identify
        with self.counted(kind_at(address)):
            doorway = await self._dial(
                address, lambda: FrameLink(on_link, dialed=True, identify=identify)
            )
        if isinstance(doorway.chosen, FrameLink):
            return doorway.chosen
        return self._proven(doorway, None)

    async def path(self, address: str) -> Opened:
        """PeerError where the other side knows no paths; OSError as of `open_connection`."""
        with self.counted(kind_at(address)):
            return self._proven(await self._dial(address, asyncio.Protocol), None)

    async def _dial(
        self, address: str, without_paths: Callable[[], asyncio.BaseProtocol]
    ) -> Doorway:
        def choose(transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
            if alpn == ALPN_PATH:
                return PathEnd(self._unattached, kind_of(transport), address)
            return without_paths()

        host, port = host_port(address)
        _, doorway = await open_connection(
            host, port, self._security, lambda: Doorway(choose), timeout_s=DIAL_S
        )
        return doorway

    async def relayed(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> Opened:
        """OSError, or SedmaError of the relay."""
        with self.counted(PathKind.RELAY):
            return await self._by_relay(relay, addresses, peer)

    @contextlib.contextmanager
    def counted(self, kind: PathKind) -> Iterator[None]:
        """Somebody tries to bring up such a path; what he raises counts as a failure."""
        self.tally.attempt(kind)
        try:
            yield
        except Exception:
            self.tally.outcome(kind, "failed")
            raise

    async def _by_relay(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> Opened:
        assert self.relays is not None and self._security is not None
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(RELAYED_S):
            channel = await self.relays.open(relay, addresses, peer)
            try:
                _, doorway = await loop.create_unix_connection(
                    lambda: Doorway(self._over_relay),
                    sock=channel,
                    ssl=self._security.context,
                    server_hostname=SERVER_NAME,
                    ssl_handshake_timeout=RELAYED_S,
                )
            except BaseException:
                # The other side of the relay learns of it by that.
                let_go(channel)
                raise
        opened = self._proven(doorway, peer)
        opened.end.via = relay
        return opened

    def _over_relay(self, transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
        is_path = alpn == ALPN_PATH
        return PathEnd(self._unattached, PathKind.RELAY) if is_path else asyncio.Protocol()

    def _proven(self, doorway: Doorway, sought: NodeId | None) -> Opened:
        assert self._security is not None
        end = doorway.chosen
        if not isinstance(end, PathEnd):
            doorway.transport.abort()
            raise PeerError("what answers there knows no paths")
        peer = self._security.identify(end.transport.get_extra_info("ssl_object"))
        if peer is None or (sought is not None and peer != sought):
            end.abort()
            raise PeerError(f"node {short(peer or 'without certificate')} is there")
        return Opened(end, NodeId(peer))
