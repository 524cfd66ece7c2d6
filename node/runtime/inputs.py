"""Whatever packets, links, threads and sockets tell becomes an input of the Node; what they ask of it is answered.

One object stands behind several doors: `Heard` of the switchboard, `Hearer` of the packets, `Surroundings` of whoever
punches, `Company` of the beacons.
"""

import asyncio
from collections.abc import Callable, Coroutine

from nat.endpoint import Endpoint
from node.communication.reach import Fact, HomesAre, NatKnown, Relocated
from node.core import Node
from node.effects import Effect
from node.log import Log
from node.runtime.addresses import own_hosts
from node.runtime.paths.ways import Ways
from node.runtime.relaying.homes import Homes
from node.runtime.strangers import Strangers
from node.runtime.tally import Tally
from node.work import Outcome
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.ids import NodeId
from protocol.members import Packet
from protocol.messages import Join, Joined, RequestHeader, Response
from protocol.paths import PathKind

LOAD_FRESH_S = 0.005
"""How old the load may be that rides on an answer: what a peer makes of it is coarser than that."""


class Inputs:
    """Of one Node; `feed` carries out what it answers with."""

    def __init__(
        self,
        node: Node,
        feed: Callable[[list[Effect]], None],
        tally: Tally,
        log: Log,
        redeem: Callable[[Join], Coroutine[object, object, Joined]],
    ) -> None:
        self._node = node
        self._feed = feed
        self.strangers = Strangers(log)
        self.ways: Ways | None = None
        """Once there is a way to peers."""
        self.homes: Homes | None = None
        """Once relays are looked for."""
        self._tally = tally
        self._log = log
        self._redeem = redeem
        self._loop = asyncio.get_running_loop()
        self._load = LoadDigest()
        self._load_at = -LOAD_FRESH_S

    # -- what packets tell ---------------------------------------------------------------------------

    def packet(self, peer: NodeId, packet: Packet) -> None:
        self._feed(self._node.packet(peer, packet, self._now))

    def packet_dropped(self, why: str) -> None:
        self.strangers.packet_dropped(why)

    def key_of(self, peer: NodeId) -> bytes | None:
        return self._node.mesh.key_of(peer)

    # -- what links tell -----------------------------------------------------------------------------

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        self._feed(self._node.link_up(peer, dialled, self._now))

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        self._node.fleet.path_is(peer, kind)

    def reached(self, addresses: tuple[str, ...]) -> None:
        self._feed(self._node.reached(addresses))

    def link_down(self, peer: NodeId, reason: str) -> None:
        self._feed(self._node.link_down(peer, reason, self._now))

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None:
        self._feed(self._node.dial_failed(addresses, peer, reason, self._now))

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        self._feed(self._node.asked(request, peer, header, self._now))

    def body_received(self, request: int) -> None:
        self._feed(self._node.body_received(request, self._now))

    def request_gone(self, request: int, reason: str) -> None:
        self._feed(self._node.request_gone(request, self._now))

    def replied(self, request: int) -> None:
        self._feed(self._node.replied(request, self._now))

    def note(self, event: str, **fields: object) -> None:
        self._log.info(event, **fields)

    def turned_away(self, event: str, **fields: object) -> None:
        self._tally.refused("stranger", event)
        self.strangers.turned_away(event, **fields)

    def load(self) -> LoadDigest:
        now = self._now
        if now - self._load_at >= LOAD_FRESH_S:
            self._load, self._load_at = self._node.load(now), now
        return self._load

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        self._feed(self._node.load_told(peer, load, self._now))

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self._node.mesh.addresses_of(peer)

    async def redeem(self, join: Join) -> Joined:
        return await self._redeem(join)

    # -- what became of effects ----------------------------------------------------------------------

    def answered(self, call: int, peer: NodeId, response: Response, load: LoadDigest) -> None:
        self._feed(self._node.answered(call, peer, response, load, self._now))

    def call_failed(self, call: int, error: ErrorInfo) -> None:
        self._feed(self._node.call_failed(call, error, self._now))

    def job_done(self, job: int, outcome: Outcome) -> None:
        self._feed(self._node.job_done(job, outcome, self._now))

    def job_failed(self, job: int, error: ErrorInfo) -> None:
        self._feed(self._node.job_failed(job, error, self._now))

    def measured(self, rss_bytes: int, disk_free_bytes: int) -> None:
        self._feed(self._node.measured(rss_bytes, disk_free_bytes, self._now))

    # -- where this node is --------------------------------------------------------------------------

    def learn(self, fact: Fact | HomesAre) -> None:
        if isinstance(fact, Relocated):
            hosts = own_hosts()
            for holders in (self.ways, self.homes):
                if holders is not None:
                    holders.network_changed(hosts)
        self._feed(self._node.learn(fact, self._now))
        if isinstance(fact, NatKnown) and self.ways is not None:
            self.ways.nat_known()

    def acquainted(self) -> list[NodeId]:
        return self._node.mesh.acquainted()

    def nearby(self, peer: NodeId, address: str) -> None:
        assert self.ways is not None
        self.ways.nearby(peer, address)
        self._feed(self._node.nearby(peer, self._now))

    def stun_servers(self) -> tuple[Endpoint, ...]:
        return self._node.mesh.reach.servers_at

    def keepalive_s(self) -> float | None:
        return self._node.mesh.reach.knowledge.keepalive_s

    def seen_at(self) -> tuple[Endpoint, ...]:
        return self._node.mesh.reach.knowledge.outside

    @property
    def _now(self) -> float:
        return self._loop.time()
