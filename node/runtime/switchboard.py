"""All connections to other nodes: whom we can reach, over which connection a call goes, which of two stays.

Between two nodes there are up to two connections: control, and bulk for what is large, dialed when it is first needed.
Where both sides dial at once, both keep the one that the node with the smaller id dialed; whoever dialed the other
closes it once nothing is under way on it. Nothing is decided here about peers or tasks: `Heard` is told.
"""

import asyncio
import itertools
import random
from functools import partial
from weakref import WeakSet

from node.runtime.bulk import BULK_BYTES_MIN, Bulk, Pair, gone
from node.runtime.calls import Answered, IncomingRequest, OutgoingCall, Refused
from node.runtime.connection import Connection
from node.runtime.greeting import Terms
from node.runtime.heard import Heard
from node.runtime.links import Link
from node.runtime.owned_tasks import OwnedTasks
from node.runtime.paths.sight import Sight, sight_of
from node.runtime.paths.ways import Ways
from node.runtime.reaching import greeted, reach
from node.runtime.redeeming import Redeeming
from node.runtime.tcp_link import LISTEN, LinkServer, Security, serve_connections
from node.runtime.tls import explain
from node.runtime.traffic import Totals, Traffic
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import MeshId, NodeId, short
from protocol.messages import Join, Request, RequestHeader, Response
from protocol.paths import relay_in

CLOSE_S = 1.0

STRANGERS_MAX = 64
"""Connections from those who have shown no certificate. For a further one goes who has been silent for longest."""


class Switchboard:
    """Has every connection of this node. `client` None: without TLS, in tests and benchmarks only."""

    def __init__(
        self, own: NodeId, mesh: MeshId, software: str, heard: Heard, client: Security | None
    ) -> None:
        self._own = own
        self._terms = Terms(own, mesh, software, plain=client is None)
        self._traffic: Traffic[Link] = Traffic()
        self._heard = heard
        self.ways = Ways(self, client, random.SystemRandom())
        self._bulk = Bulk(self.ways, heard, self._dial_bulk)
        self._loop = asyncio.get_running_loop()
        self._servers: list[LinkServer] = []
        self._pairs: dict[NodeId, Pair] = {}
        self._unknown: dict[Connection, None] = {}
        """Not greeted yet, or with a stranger on the other side. The oldest first."""
        self._leaving: WeakSet[Link] = WeakSet()
        """Lost, while what they said last may still be on its way."""
        self._requests: dict[int, IncomingRequest] = {}
        self._numbers = itertools.count(1)
        self._tasks = OwnedTasks()
        self._redeeming = Redeeming(heard, self._tasks, self._tell)
        self._closing = False

    # -- what the driver asks for --------------------------------------------------------------------

    async def listen(
        self, host: str, port: int, server: Security | None, setting: str = LISTEN
    ) -> tuple[str, int]:
        """Let others dial us, here too; where we really listen. ConfigError when the address of this setting
        cannot be had."""
        make = self.ways.doorway(server)
        opened = await serve_connections(host, port, server, make, self._refused, setting=setting)
        self._servers.append(opened)
        return opened.address

    def dial(self, addresses: tuple[str, ...], peer: NodeId | None) -> None:
        """Try the addresses in order; `link_up`, `reached` or `dial_failed` tells how it ended."""
        if not self._closing:
            self._tasks.start(self._dial(addresses, peer))

    def hang(self, peer: NodeId, reason: str, quiet_s: float = 0.0) -> None:
        """Close every connection to this peer; it is down soon, whether it still listens or not.

        Unless something has come from it, on any of them, within the last `quiet_s`.
        """
        if (pair := self._pairs.get(peer)) is None:
            return
        now, connections = self._loop.time(), pair.connections
        if all(now - connection.link.heard_at >= quiet_s for connection in connections):
            for connection in connections:
                connection.close(reason)

    def call(
        self,
        peer: NodeId,
        request: Request,
        deadline_s: float,
        *,
        answered: Answered,
        failed: Refused,
        body: memoryview | None = None,
        body_bytes: int = 0,
        into: memoryview | None = None,
        trace: str = "",
    ) -> OutgoingCall:
        """Ask; exactly one of `answered` and `failed` is called, later, unless the call is cancelled.

        A body goes whole (`body`), or by pieces (`body_bytes` says how many bytes `send` will bring).
        `into` is where the answer's body shall lie; without it the answer has none. Memory is used
        until the end of the call.
        """
        call = OutgoingCall(
            peer,
            request,
            deadline_s,
            answered=answered,
            failed=failed,
            body=body,
            body_bytes=body_bytes,
            into=into,
            trace=trace,
        )
        pair = self._pairs.get(peer)
        if pair is None or (control := pair.control.open) is None:
            reason = f"there is no connection to node {short(peer)}"
            error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason, node=peer)
            self._loop.call_soon(call.fail, error)
        elif max(call.body_bytes, 0 if into is None else into.nbytes) <= BULK_BYTES_MIN:
            control.start(call)
        else:
            self._bulk.start(call, pair, control)
        return call

    def grant(self, request: int, into: memoryview) -> None:
        """Let the body of a request come, into memory of just its size."""
        one = self._requests[request]
        one.connection.grant(one, into)

    def reply(self, request: int, response: Response, body: memoryview | None) -> None:
        """Answer; a body's memory is used until `replied`."""
        one = self._requests.pop(request)
        one.connection.reply(one, response, body)

    def refuse(self, request: int, error: ErrorInfo) -> None:
        one = self._requests.pop(request)
        one.connection.refuse(one, error)

    def sight(self, peer: NodeId) -> Sight | None:
        """How it is reached at the moment; None if it is not."""
        pair = self._pairs.get(peer)
        if pair is None or (control := pair.control.open) is None:
            return None
        others = (one for one in pair.connections if one is not control)
        return sight_of([control.link, *(one.link for one in others)], self.ways)

    def carried(self) -> Totals:
        """By all links, those that are gone included."""
        return self._traffic.totals(self._path_of)

    async def close(self, reason: str) -> None:
        """Tell every peer, and return when all connections are gone."""
        self._closing = self._redeeming.closing = True
        await self._tasks.close()
        await self.ways.close()
        for server in self._servers:
            await server.close()
        links = [*self._leaving, *(connection.link for connection in self._connections())]
        for link in links:
            link.close(reason)
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(*(link.closed() for link in links))
        except TimeoutError:
            for link in links:
                link.abort()
            await asyncio.gather(*(link.closed() for link in links))

    # -- what connections tell -----------------------------------------------------------------------

    def on_link(self, link: Link) -> Connection:
        """Hear a link that somebody else opened."""
        connection = self._begin(link)
        # A member has proven who it is: it comes in however many strangers there are.
        if link.peer is None and len(strangers := self._strangers()) > STRANGERS_MAX:
            # Joining takes milliseconds, so a crowd that says nothing keeps nobody out.
            silent = next((one for one in strangers if one.idle), connection)
            silent.close(f"{STRANGERS_MAX} strangers are connected already; try again later")
        return connection

    def greeted(self, connection: Connection) -> None:
        if connection.stranger:
            return
        self._unknown.pop(connection, None)
        peer = connection.peer
        pair = self._pairs.setdefault(peer, Pair(self._own))
        lane = pair.lane(connection)
        if lane.connections and lane.open is None:
            self._lose(lane.connections.copy())
            pair = self._pairs.setdefault(peer, pair)
        is_new = not connection.bulk and not lane.connections
        lane.take_in(connection)
        if connection.bulk:
            if connection.link.dialed and not pair.control.connections:
                connection.close("there is no control connection any more")
            pair.settled()
        if is_new:
            self._heard.link_up(peer, connection.link.dialed)
        self._tell_path(peer, pair)

    def unfit(self, connection: Connection, reason: str) -> None:
        self._tell(connection, "peer.rejected", remote=connection.link.remote, reason=reason)

    def nonsense(self, connection: Connection, reason: str) -> None:
        self._tell(connection, "peer.nonsense", peer=short(connection.peer), reason=reason)

    def lost(self, connection: Connection, reason: str) -> None:
        self._unknown.pop(connection, None)
        self._leaving.add(connection.link)
        if (fault := connection.link.fault) is not None:
            remote = connection.link.remote
            self._tell(connection, "peer.broke_protocol", remote=remote, reason=str(fault))
        pair = self._pairs.get(connection.peer)
        if pair is None or connection not in (lane := pair.lane(connection)).connections:
            return
        lane.connections.remove(connection)
        if not pair.connections:
            del self._pairs[connection.peer]
        if not pair.control.connections and not connection.bulk:
            self._down(connection.peer, pair, reason)

    def joining(self, request: IncomingRequest, join: Join) -> None:
        self._redeeming.begin(request, join)

    def asked(self, request: IncomingRequest, header: RequestHeader) -> None:
        request.number = next(self._numbers)
        self._requests[request.number] = request
        self._heard.asked(request.number, request.peer, header)

    def body_received(self, request: IncomingRequest) -> None:
        self._heard.body_received(request.number)

    def request_gone(self, request: IncomingRequest, reason: str) -> None:
        # One that came to join has no number: its redemption finds that it is answered already.
        if self._requests.pop(request.number, None) is not None:
            self._heard.request_gone(request.number, reason)

    def replied(self, request: IncomingRequest) -> None:
        self._heard.replied(request.number)

    def load(self) -> LoadDigest:
        return self._heard.load()

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        self._heard.load_told(peer, load)

    # -- what ways ask and tell ------------------------------------------------------------------------

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self._heard.addresses_of(peer)

    def path_used(self, link: Link) -> None:
        if link.peer is not None and (pair := self._pairs.get(NodeId(link.peer))) is not None:
            self._tell_path(NodeId(link.peer), pair)

    def path_note(self, event: str, **fields: object) -> None:
        self._heard.note(event, **fields)

    # -- dialing -------------------------------------------------------------------------------------

    async def _dial(self, addresses: tuple[str, ...], peer: NodeId | None) -> None:
        try:
            everywhere = addresses if peer is None else self.ways.with_near(addresses, peer)
            await self._reach(everywhere, peer)
        except TaskError as failure:
            self._heard.dial_failed(addresses, peer, str(failure))
            return
        if peer is None:
            self._heard.reached(addresses)

    async def _reach(self, addresses: tuple[str, ...], peer: NodeId | None) -> None:
        """By all ways at once, relays among them; one address after the other where it is not known who is there."""
        relays = any(relay_in(address) is not None for address in addresses)
        if peer is None or not self.ways.has_paths or (len(addresses) == 1 and not relays):
            await reach(addresses, self.ways.dial, self._begin, peer)
            return
        made: list[Connection] = []

        def on_link(link: Link) -> Connection:
            made.append(self._begin(link))
            return made[0]

        await greeted(self.ways.race(addresses, on_link, peer), made)

    async def _dial_bulk(self, addresses: tuple[str, ...], peer: NodeId) -> None:
        await reach(addresses, self.ways.dial, partial(self._begin, bulk=True), peer)

    def _begin(self, link: Link, address: str = "", *, bulk: bool = False) -> Connection:
        """On a link that is new; `address` is where we dialed it."""
        connection = Connection(link, self, self._terms, bulk=bulk, address=address)
        self._unknown[connection] = None
        self._traffic.watch(link)
        return connection

    def _tell_path(self, peer: NodeId, pair: Pair) -> None:
        """Of the connection that calls take; the other one is there only where both run straight."""
        control = pair.control.open
        multipath = None if control is None else self.ways.multipath(control.link)
        if multipath is not None and multipath.kind is not None:
            self._heard.path_is(peer, multipath.kind)

    # -- which connection ----------------------------------------------------------------------------

    def _lose(self, closing: list[Connection]) -> None:
        """Who comes while they are about to be lost is not their double, but a new beginning."""
        for one in closing:
            reason = one.ending or "the peer closed the connection, and opened another"
            one.link_lost(one.link, reason)

    def _down(self, peer: NodeId, pair: Pair, reason: str) -> None:
        """The last control connection is gone: so is all that goes with it."""
        for bulk in pair.bulk.connections:
            bulk.close(reason)
        self._heard.link_down(peer, reason)
        pair.fail(gone(peer, reason))

    # -- within --------------------------------------------------------------------------------------

    def _strangers(self) -> list[Connection]:
        return [
            one
            for one in self._unknown
            if not (one.link.peer or one.link.dialed or one.link.closing)
        ]

    def _refused(self, remote: str, wrong: OSError) -> None:
        self._heard.turned_away("link.refused", remote=remote, reason=explain(wrong, remote))

    def _tell(self, connection: Connection, event: str, **fields: object) -> None:
        is_member = connection.link.peer is not None
        (self._heard.note if is_member else self._heard.turned_away)(event, **fields)

    def _path_of(self, link: Link) -> str:
        """The kind of the path in use; `none` while the link has lost its last one."""
        multipath = self.ways.multipath(link)
        if multipath is None:
            return "bare"
        return "none" if multipath.kind is None else multipath.kind.value

    def _connections(self) -> list[Connection]:
        pairs = [pair.connections for pair in self._pairs.values()]
        return [*self._unknown, *itertools.chain.from_iterable(pairs)]
