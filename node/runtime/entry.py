"""How a node comes into its mesh: it founds one, joins one by a ticket, or returns to its own.

Whoever cannot be reached is tried for ever; a ticket that the minter refuses for good ends the daemon with the
reason. Later the same object mints tickets and redeems those of others.
"""

import asyncio
import os
import random
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol

from nat.beacon import Beacon
from nat.relaying import RelayLimits
from node.communication.reach import Fact, HomesAre, Relocated
from node.config import MeshConfig, NatConfig, RelayConfig
from node.log import Log
from node.runtime import credentials, leaving, tls
from node.runtime.credentials import Membership
from node.runtime.datadir import DataDir
from node.runtime.heard import Heard
from node.runtime.identity import Identity
from node.runtime.joining import ask_to_join
from node.runtime.lan import Lan, local_networks
from node.runtime.listening import Listening
from node.runtime.outlook import Outlook
from node.runtime.packets import Hearer, Packets, bind
from node.runtime.paths.doorway import ALPN_HTTP, ALPN_PATH
from node.runtime.paths.surroundings import Surroundings
from node.runtime.paths.ways import Ways
from node.runtime.registrar import Registrar
from node.runtime.relaying.forwarding import Forwarding
from node.runtime.sealing import RUN_BYTES, Sealing
from node.runtime.signatures import Ed25519
from node.runtime.switchboard import Switchboard
from node.runtime.tcp_link import Security
from protocol.client import TicketRequest, TicketView
from protocol.errors import ConfigError, ErrorCode, PeerError, TaskError
from protocol.ids import MeshId, NodeId, node_id, short
from protocol.limits import ADDRESSES_MAX
from protocol.messages import Join, Joined
from protocol.ticket import Ticket, decode, read_token

if TYPE_CHECKING:
    from node.runtime.paths.punching import Puncher

RETRY_FIRST_S = 0.1

FINAL = frozenset(
    {
        ErrorCode.TICKET_EXPIRED,
        ErrorCode.TICKET_INVALID,
        ErrorCode.TICKET_USED_UP,
        ErrorCode.WRONG_MESH,
        ErrorCode.VERSION_MISMATCH,
        ErrorCode.FORBIDDEN,
        ErrorCode.BAD_REQUEST,
    }
)
"""Refusals that waiting does not change."""


class Ears(Heard, Hearer, Protocol):
    """Who is told of links and of packets, and knows the members."""

    def key_of(self, peer: NodeId) -> bytes | None:
        """The public key of a member; None of everybody else."""


class Company(Protocol):
    """Who knows the members, and is told of those that are within our own network."""

    def acquainted(self) -> Iterable[NodeId]:
        """All that we have heard of."""

    def nearby(self, peer: NodeId, address: str) -> None: ...

    def note(self, event: str, **fields: object) -> None: ...


class Entry:
    """Of one daemon: first `enter`, then `open`; until then `obstacle` says what stands in the way."""

    def __init__(
        self,
        data: DataDir,
        registrar: Registrar,
        identity: Identity,
        signatures: Ed25519,
        incarnation: int,
        settings: MeshConfig,
        relay: RelayConfig,
        redial_s: float,
        software: str,
        log: Log,
        dice: random.Random,
        nat: NatConfig,
    ) -> None:
        self.entered = False
        self.obstacle = ""
        self._listening = Listening(settings, log)
        self._server: Security | None = None
        """How links that come in are encrypted, once they may come in."""
        self._data = data
        self._registrar = registrar
        self._identity = identity
        self._signatures = signatures
        self._incarnation = incarnation
        self._relay = relay
        self._nat = nat
        self._redial_s = redial_s
        self._software = software
        self._log = log
        self._dice = dice
        self._membership: Membership | None = None

    @property
    def listens(self) -> tuple[str, ...]:
        """host:port, as others are told."""
        return self._listening.addresses

    @property
    def can_invite(self) -> bool:
        return self._membership is not None and self._membership.can_invite

    @property
    def belongs(self) -> bool:
        """This node has been in a mesh before, and has not left it."""
        return credentials.load(self._data, self._identity) is not None

    async def enter(self, join: str | None) -> Membership:
        """Belong to a mesh. ConfigError when the ticket is refused for good or does not fit this node."""
        ticket = None if join is None else decode(join)
        if ticket is not None:
            credentials.check_free_for(self._data, self._identity, ticket.mesh)
        # Before anything is founded or a ticket is used: who must start again elsewhere starts from nothing.
        await self._listening.check()
        kept = credentials.load(self._data, self._identity)
        now_wall = time.time()
        if kept is not None:
            kept = await self._registrar.renew(kept, now_wall)
        if kept is not None and kept.expires_at > now_wall:
            self._membership = kept
        elif ticket is not None:
            self._membership = await self._join(ticket)
        elif kept is not None:
            raise ConfigError(
                "this node's certificate has expired: join again with a fresh ticket"
                " (`sedma-node up --join TICKET`)"
            )
        else:
            leaving.check_not_left(self._data)
            self._membership = await self._registrar.found(now_wall)
            self._log.info("mesh.founded", mesh=short(self._membership.mesh))
        leaving.has_joined(self._data)
        self._data.members.begin(self._membership.mesh)
        self._remember(ticket)
        return self._membership

    async def open(self, membership: Membership, ears: Ears) -> tuple[Switchboard, Packets | None]:
        """Listen for the other members, and be able to dial them. No `Packets` where UDP cannot be had."""
        client = Security(tls.client_context(membership, (ALPN_PATH,)), tls.peer_id)
        server = Security(tls.server_context(membership, (ALPN_PATH, ALPN_HTTP)), tls.peer_id)
        switchboard = Switchboard(self._identity.id, membership.mesh, self._software, ears, client)
        self._server = server
        try:
            bound = await self._listening.begin(switchboard, server)
        except ConfigError:
            # It may listen at one of two addresses already.
            await switchboard.close("this node cannot start")
            raise
        self.entered = True
        if bound is None:
            return switchboard, None
        sealing = Sealing(
            self._signatures,
            membership.mesh,
            self._incarnation,
            os.urandom(RUN_BYTES),
            ears.key_of,
        )
        return switchboard, Packets(bound, sealing, ears)

    async def forwarding(
        self, switchboard: Switchboard, surroundings: Surroundings, tell: Callable[[HomesAre], None]
    ) -> Forwarding:
        """What reaches others by way of relays, and punches through NATs; once the node is open."""
        membership, ways = self._membership, switchboard.ways
        assert membership is not None and self._server is not None
        relay = self._relay
        limits = RelayLimits(
            relay.reservations,
            relay.per_address,
            relay.rate_bytes,
            relay.burst_bytes,
            relay.total_bytes,
        )
        forwarding = Forwarding(
            membership,
            self._signatures,
            self._server,
            limits if relay.serve else None,
            ways,
            tell,
            self._dice,
            self._log,
        )
        await forwarding.start()

        def puncher() -> "Puncher":
            from node.runtime.paths.punching import Puncher

            own, keepalive_s = self._identity.id, self._nat.keepalive_s
            return Puncher(own, membership, self._signatures, surroundings, ways, keepalive_s)

        ways.make_puncher = puncher if self._nat.punch else None
        return forwarding

    async def outlook(
        self, switchboard: Switchboard, packets: Packets | None, tell: Callable[[Fact], None]
    ) -> Outlook:
        """What finds out how others reach this node, once it is open."""
        membership = self._membership
        assert membership is not None
        outlook = Outlook(switchboard, lambda: tls.client_context(membership), tell)
        if packets is not None:
            outlook.speak_stun(packets, await bind(self._listening.host, 0))

        def changed() -> None:
            tell(Relocated(self._listening.look_again()))
            if outlook.lan is not None:
                outlook.lan.begin()

        try:
            outlook.watch(changed)
        except OSError as wrong:
            reason = f"{wrong.strerror or wrong}; start the node again when this machine's addresses change"
            self._log.warning("network.not_watched", reason=reason)
        return outlook

    def look_around(self, outlook: Outlook, ways: Ways, company: Company) -> None:
        """Find members within our own network, and be found by them, if that is wished."""
        if not self._nat.lan_discovery:
            return
        assert self._membership is not None
        host = self._listening.host
        beacon = Beacon(
            self._membership.mesh,
            self._identity.id,
            self._listening.port,
            company.acquainted,
            self._dice,
            outlook.counters,
        )
        found, note = company.nearby, company.note
        outlook.lan = Lan(beacon, lambda: local_networks(host), found, note, outlook.counters)
        ways.near = outlook.lan.addresses_of
        outlook.lan.begin()

    async def mint(self, request: TicketRequest, proven: tuple[str, ...]) -> TicketView:
        """`proven`: where others have come in, behind a router that leads here too."""
        assert self._membership is not None
        addresses = tuple(dict.fromkeys([*proven, *self.listens]))[:ADDRESSES_MAX]
        ticket, expires_at = await self._registrar.mint(
            self._membership,
            addresses,
            request.ttl_s,
            request.uses,
            request.may_invite,
            time.time(),
        )
        return TicketView(
            ticket=ticket,
            expires_at=expires_at,
            uses=request.uses,
            addresses=addresses,
            warning=self._listening.warning,
        )

    @property
    def mesh(self) -> MeshId | None:
        return None if self._membership is None else self._membership.mesh

    @property
    def holds_ca(self) -> bool:
        """Nobody else does: with this node the mesh loses it."""
        return self._membership is not None and self._membership.is_founder

    def leave(self) -> None:
        """Belong to no mesh from the next start on."""
        assert self._membership is not None
        leaving.leave(self._data, self._membership)
        self._log.info("mesh.left", mesh=short(self._membership.mesh))

    async def redeem(self, join: Join) -> Joined:
        """A stranger shows a token; TaskError with what it is told."""
        node = short(node_id(join.public_key))
        try:
            joined = await self._registrar.redeem(join, time.time())
        except ConfigError as damaged:
            # Our own files: their state is nothing to tell a stranger.
            self._log.warning("ticket.not_redeemed", node=node, reason=str(damaged))
            reason = "this node cannot let anybody in at the moment; its log says why"
            raise TaskError(ErrorCode.INTERNAL, reason) from damaged
        self._log.info("ticket.redeemed", node=node)
        return joined

    # -- within --------------------------------------------------------------------------------------

    async def _join(self, ticket: Ticket) -> Membership:
        join = await self._registrar.ask_join(ticket)
        pause_s = RETRY_FIRST_S
        while True:
            try:
                joined = await ask_to_join(ticket, join, self._identity.id, self._software)
                self.obstacle = ""
                return await self._registrar.adopt(ticket.mesh, joined, time.time())
            except TaskError as refused:
                if refused.code in FINAL:
                    raise ConfigError(f"cannot join: {refused.info.reason}") from refused
                self._wait_for(refused.info.reason)
            except PeerError as wrong:
                self._wait_for(str(wrong))
            await asyncio.sleep(pause_s * self._dice.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, self._redial_s)

    def _wait_for(self, reason: str) -> None:
        if reason != self.obstacle:
            self._log.warning("join.waiting", reason=reason)
        self.obstacle = reason

    def _remember(self, ticket: Ticket | None) -> None:
        """Where the minter is, for this start and the next."""
        if ticket is None:
            return
        minter = read_token(ticket.token).claims.minter
        others = [(node, at) for node, at in self._data.members.places() if node != minter]
        if minter != self._identity.id:
            place = (minter, ticket.addresses[:ADDRESSES_MAX])
            self._data.members.keep_places((place, *others))
