"""Carries out which relays are kept, and opens channels by way of any relay.

There is one client for each relay. Those of home relays stay connected, so that others reach us; one that was made for
a channel alone goes a while after the last channel has.
"""

import asyncio
import random
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import assert_never

from nat.home import Effect, HomeRelays, Public, Release, Reserve
from node.log import Log
from node.runtime.alarm import Alarm
from node.runtime.owned_tasks import OwnedTasks
from node.runtime.relaying.channels import RelayFailed
from node.runtime.relaying.client import OnChannel, RelayClient
from node.runtime.relaying.server import RelayServer
from node.runtime.signatures import Ed25519
from protocol.ids import NodeId, digest_of_id, is_node_id, node_id, short

IDLE_S = 30.0
"""How long a relay that is no home is kept without a channel: the next one is likely to follow."""

LOOK_S = 5.0
"""So often it is looked whether a relay is idle, and how far it is."""

OnHomes = Callable[[tuple[NodeId, ...]], None]
"""By way of which relays others reach us now."""


class _Line:
    """A client, and what it is kept for."""

    def __init__(self, client: RelayClient, addresses: tuple[str, ...]) -> None:
        self.client = client
        self.addresses = addresses
        self.home = False
        self.opening = 0
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_idle(self) -> bool:
        return not (self.home or self.opening or self.client.channels)

    def fail(self, failed: RelayFailed) -> None:
        if not self.ready.done():
            self.ready.set_exception(failed)
            # Perhaps nobody waits for it: a home that fails is tried again.
            self.ready.exception()


class Homes:
    """`on_channel` is told of each channel that another node opens, `on_homes` of each change of our home relays.

    `server` is our own relay, if we are one: by way of it we reach those who keep it as their home.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        signatures: Ed25519,
        on_channel: OnChannel,
        on_homes: OnHomes,
        dice: random.Random,
        server: RelayServer | None,
        log: Log,
    ) -> None:
        self._own = node_id(signatures.key)
        self._context = context
        self._signatures = signatures
        self._on_channel = on_channel
        self._on_homes = on_homes
        self._dice = dice
        self._log = log
        self._core = HomeRelays(dice)
        self._loop = asyncio.get_running_loop()
        self._addresses: Mapping[NodeId, tuple[str, ...]] = {}
        self._lines: dict[NodeId, _Line] = {}
        self._failures: dict[NodeId, str] = {}
        """Why relays that should be our homes are not: what has been logged is not logged again each time."""
        self._tasks = OwnedTasks()
        self._alarm = Alarm(lambda now: self._feed(self._core.tick(now)))
        self.up: tuple[NodeId, ...] = ()
        """Relays that forward to us now; others are told of the last ones there were."""
        self._told: tuple[NodeId, ...] = ()
        self._wanted = False
        self._closing = False
        self._own_channels = None
        if server is not None:
            self._own_channels = server.own_channels(
                lambda peer, end: on_channel(peer, end, self._own)
            )

    # -- for the layer above -----------------------------------------------------------------------------

    def wanted(self, wanted: bool) -> None:
        """Whether others need a relay to reach us."""
        self._wanted = wanted
        self._feed(self._core.wanted(wanted, self._loop.time()))

    def known(self, publics: Iterable[Public], addresses: Mapping[NodeId, tuple[str, ...]]) -> None:
        """All public members, and where they are dialled."""
        self._addresses = addresses
        self._feed(self._core.known(publics, self._loop.time()))

    def network_changed(self, hosts: frozenset[str]) -> None:
        """This machine has these IP addresses now: a relay that does not hear us any more is found out in seconds."""
        for line in tuple(self._lines.values()):
            line.client.network_changed(hosts)

    async def open(self, relay: NodeId, addresses: tuple[str, ...], peer: NodeId) -> socket.socket:
        """A socket whose bytes come out at that peer by way of that relay, or RelayFailed."""
        for node in (relay, peer):
            # Others have told us of it.
            if not is_node_id(node):
                raise RelayFailed(f"{node!r} is no node id")
        if relay == self._own:
            if self._own_channels is None:
                raise RelayFailed("this node is no relay")
            return await self._own_channels.open(digest_of_id(peer))
        if self._closing:
            raise RelayFailed("this node is closing")
        line = self._line(relay, addresses)
        line.opening += 1
        try:
            await asyncio.shield(line.ready)
            return await line.client.open(peer)
        finally:
            line.opening -= 1

    async def close(self) -> None:
        self._closing = True
        self._alarm.set(None)
        await self._tasks.close()
        if self._own_channels is not None:
            self._own_channels.close("this node is closing")

    # -- what is decided ---------------------------------------------------------------------------------

    def _feed(self, effects: list[Effect]) -> None:
        if self._closing:
            return
        for effect in effects:
            match effect:
                case Reserve(relay):
                    self._reserve(relay)
                case Release(relay):
                    if (line := self._lines.get(relay)) is not None:
                        line.home = False
                case _:
                    assert_never(effect)
        self._tell()
        self._alarm.set(self._core.deadline)

    def _tell(self) -> None:
        homes = self._core.homes
        if homes != self.up:
            self.up = homes
            self._log.info("relay.homes", relays=[short(relay) for relay in homes])
        # That there is none helps nobody: whoever looks for us finds us soonest by way of those that were.
        if homes != self._told and (homes or not self._wanted):
            self._told = homes
            self._on_homes(homes)

    def _reserve(self, relay: NodeId) -> None:
        line = self._line(relay, self._addresses.get(relay, ()))
        line.home = True
        if line.client.reserved is not None:
            # Connected already, for a channel: it says so in the next turn, as a new one does.
            self._loop.call_soon(self._reserved, line)

    # -- lines -------------------------------------------------------------------------------------------

    def _line(self, relay: NodeId, addresses: tuple[str, ...]) -> _Line:
        line = self._lines.get(relay)
        if line is not None and not line.client.lost.is_set():
            return line
        client = RelayClient(relay, self._context, self._signatures, self._on_channel, self._dice)
        line = self._lines[relay] = _Line(client, addresses)
        self._tasks.start(self._run(line))
        return line

    async def _run(self, line: _Line) -> None:
        try:
            await line.client.connect(line.addresses)
            line.ready.set_result(None)
            self._reserved(line)
            await self._keep(line)
            self._lost(line, line.client.reason)
        except RelayFailed as failed:
            line.fail(failed)
            self._lost(line, str(failed))
        finally:
            line.fail(RelayFailed("this node is closing"))
            await line.client.close()

    def _lost(self, line: _Line, reason: str) -> None:
        relay = line.client.relay
        if self._lines.get(relay) is line:
            del self._lines[relay]
        if not line.home:
            return
        if self._failures.get(relay) != reason:
            self._failures[relay] = reason
            self._log.info("relay.failed", relay=short(relay), reason=reason)
        # A router that has forgotten this connection has most likely forgotten the others, too.
        for other in self._lines.values():
            other.client.look()
        self._feed(self._core.failed(relay, self._loop.time()))

    async def _keep(self, line: _Line) -> None:
        """Until it is lost, or has been idle for a while."""
        busy_at = self._loop.time()
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    await line.client.lost.wait()
                    return
            except TimeoutError:
                now = self._loop.time()
            if not line.is_idle:
                busy_at = now
            elif now - busy_at >= IDLE_S:
                return
            if line.home and line.client.rtt_s is not None:
                self._feed(self._core.measured(line.client.relay, line.client.rtt_s, now))

    def _reserved(self, line: _Line) -> None:
        if line.home:
            self._failures.pop(line.client.relay, None)
            self._feed(self._core.reserved(line.client.relay, self._loop.time()))
