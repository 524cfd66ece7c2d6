"""Both sides of relaying in one daemon: the relay that this node is for others, and those by which it is reached."""

import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nat.home import Public
from nat.relaying import RelayLimits
from node.communication.reach import HomesAre
from node.effects import KeepRelays
from node.log import Log
from node.runtime.credentials import Membership
from node.runtime.paths.ways import Ways
from node.runtime.relaying.client import relay_context
from node.runtime.relaying.homes import Homes
from node.runtime.relaying.server import RelayServer
from node.runtime.signatures import Ed25519
from node.runtime.tcp_link import Security
from protocol.ids import NodeId


@dataclass(frozen=True, slots=True)
class RelayFigures:
    """Of the relay that this node is."""

    guests: int
    """Nodes that keep it as a way to be reached, itself left out."""
    channels: int
    """Between two of them, open now."""
    counters: Mapping[str, int]
    """Since the start, by what happened; `forwarded_bytes` are those of the channels."""


class Forwarding:
    """`limits` None: this node forwards for nobody. `tell` hears by way of which relays others reach us."""

    def __init__(
        self,
        membership: Membership,
        signatures: Ed25519,
        server: Security,
        limits: RelayLimits | None,
        ways: Ways,
        tell: Callable[[HomesAre], None],
        dice: random.Random,
        log: Log,
    ) -> None:
        self.server = None if limits is None else RelayServer(signatures, limits, log)
        self._ways = ways
        self._security = server
        self.homes = Homes(
            relay_context(membership),
            signatures,
            on_channel=self._opened,
            on_homes=lambda homes: tell(HomesAre(homes)),
            dice=dice,
            server=self.server,
            log=log,
        )

    async def start(self) -> None:
        """From now on there are ways by relays, to others and from them."""
        if self.server is not None:
            await self.server.start()
            self._ways.http = self.server.protocol_factory
        self._ways.dialer.relays = self.homes

    @property
    def figures(self) -> RelayFigures | None:
        """None: it forwards for nobody."""
        server = self.server
        if server is None:
            return None
        return RelayFigures(len(server.guests), server.channels, dict(server.counters))

    def carry_out(self, effect: KeepRelays) -> None:
        relays = effect.relays
        if relays:
            # Whoever is reached by way of one will offer to punch, or be offered to.
            self._ways.warm_up()
        addresses = {relay.node: relay.addresses for relay in relays}
        self.homes.known([Public(one.node, True, one.rtt_s) for one in relays], addresses)
        self.homes.wanted(effect.needed)

    async def close(self) -> None:
        await self.homes.close()
        if self.server is not None:
            await self.server.close()

    def _opened(self, peer: NodeId, channel: socket.socket, relay: NodeId) -> None:
        self._ways.channel(self._security, peer, channel, relay)
