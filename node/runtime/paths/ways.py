"""All links of this node and the paths that carry them: makes links over paths, and attaches paths to links.

A link is opened over the first path that comes up, whichever it is; others that come up later are attached to it. Both
sides look for a new path when the last one is gone: whoever of them reaches the other first brings the link back, and
neither its frames nor who waits for them notice. A peer that is there but does not know the link has been restarted:
the link is over at once.
"""

import asyncio
import importlib
import os
import random
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

from nat.records import RecordKind
from node.runtime.frame_link import FrameLink, OnLink
from node.runtime.links import HANDSHAKE_S, Link, LinkListener
from node.runtime.owned_tasks import OwnedTasks
from node.runtime.paths.arrival import Arrival
from node.runtime.paths.dialing import Opened, PathDialer
from node.runtime.paths.doorway import ALPN_HTTP, ALPN_PATH, Doorway, kind_of
from node.runtime.paths.end import PathEnd
from node.runtime.paths.multipath import Multipath
from node.runtime.paths.race import Race
from node.runtime.paths.upkeep import Upkeep
from node.runtime.tcp_link import Security
from node.runtime.tls import explain
from node.runtime.whereabouts import Detour
from protocol import codec
from protocol.errors import PeerError
from protocol.ids import NodeId, short
from protocol.limits import TEXT_BYTES_MAX
from protocol.paths import Attach, Attached, Ending, PathKind

if TYPE_CHECKING:
    from node.runtime.paths.punching import Puncher

PUNCHING = "node.runtime.paths.punching"

ARRIVALS_MAX = 64
"""Paths of members that are attached to nothing; for a further one the oldest is cut off."""

LINKS_MAX = 16
"""Of one peer: two are in use, more while both sides dial at once or old ones wait to be found dead. Of those that the
peer opens, a further one is refused."""


class Neighbourhood(Protocol):
    """Who knows the others, and is told of links that they open."""

    def on_link(self, link: Link) -> LinkListener:
        """Somebody else opened it; who shall hear it."""

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...

    def path_note(self, event: str, **fields: object) -> None: ...

    def path_used(self, link: Link) -> None:
        """The link runs over another path than before."""


class Ways:
    """Of one node. `security` None: bare links without TLS, in tests and benchmarks only."""

    def __init__(
        self, neighbourhood: Neighbourhood, security: Security | None, dice: random.Random
    ) -> None:
        self.http: Callable[[], asyncio.BaseProtocol] | None = None
        """Who serves HTTP on the port of the links, if anybody does."""
        self.make_puncher: Callable[[], Puncher] | None = None
        """Made when it is needed first; None: this node does not punch."""
        self._puncher: Puncher | None = None
        self._warmed_up = False
        self.on_packet: Callable[[bytes, Detour], NodeId | None] | None = None
        """Opens sealed packets that came along a link, and tells who has sealed them; None: they are for nobody."""
        self.near: Callable[[NodeId], tuple[str, ...]] = lambda peer: ()
        """Where the peer has said within our own network that it is."""
        self._neighbourhood = neighbourhood
        self.dialer = PathDialer(security)
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._links: dict[tuple[bytes, bool], Multipath] = {}
        """By their ids, and whether we opened them: whoever dials his own address has both ends of a link."""
        self._over: dict[Link, Multipath] = {}
        self._upkeep: dict[Multipath, Upkeep] = {}
        self._arrivals: dict[Arrival, None] = {}
        """Paths that others have opened and that carry nothing yet, or that we have refused. The oldest first."""
        self._tasks = OwnedTasks()
        self._closing = False

    # -- what others ask of it -------------------------------------------------------------------------

    def multipath(self, link: Link) -> Multipath | None:
        """What carries this link; None if it is a bare one."""
        return self._over.get(link)

    def why_not_direct(self, multipath: Multipath) -> str:
        """What the last tries at a direct path for this link said."""
        upkeep = self._upkeep.get(multipath)
        return "" if upkeep is None else upkeep.why_not_direct

    def send_packet(self, peer: NodeId, datagram: bytes, in_doubt: bool) -> Detour | None:
        """Along the link with this peer, if that runs by ways which packets from our port would not find."""
        for multipath in self._links.values():
            if multipath.peer == peer and multipath.kind in (PathKind.PUNCHED, PathKind.RELAY):
                return multipath.send_packet(datagram, in_doubt=in_doubt)
        return None

    def network_changed(self, hosts: frozenset[str]) -> None:
        """This machine has these IP addresses now. What was found out about ways may be of another place."""
        for multipath, upkeep in list(self._upkeep.items()):
            multipath.network_changed(hosts)
            upkeep.network_changed()

    def nearby(self, peer: NodeId, address: str) -> None:
        """The peer says within our own network that it is here: its links can do with such a path."""
        for multipath, upkeep in list(self._upkeep.items()):
            if multipath.peer == peer:
                upkeep.nearby(address)

    def nat_known(self) -> None:
        """More was found out about the NAT in front of us."""
        if self._puncher is not None:
            self._puncher.nat_known()

    @property
    def has_paths(self) -> bool:
        """Links may have several; else each is one connection."""
        return self.dialer.is_secure

    @property
    def can_relay(self) -> bool:
        return self.dialer.relays is not None

    @property
    def can_punch(self) -> bool:
        return self.make_puncher is not None

    async def relayed(self, relay: NodeId, peer: NodeId) -> Opened:
        """A path to the peer by way of a relay. OSError or SedmaError says why not."""
        return await self.dialer.relayed(relay, self.addresses_of(relay), peer)

    def warm_up(self) -> None:
        """Load beside the loop what punching takes: at the first attempt it would hold up all else."""
        if self.can_punch and not self._warmed_up:
            self._warmed_up = True
            self.own_task(self._load_puncher())

    async def _load_puncher(self) -> None:
        await self._loop.run_in_executor(None, importlib.import_module, PUNCHING)

    async def punch(self, multipath: Multipath) -> dict[str, Exception]:
        """Look for a way through the NATs of both sides; what stood in the way, if none was found."""
        self.dialer.tally.attempt(PathKind.PUNCHED)
        failures = await self._punching.punch(multipath)
        if failures:
            self.dialer.tally.outcome(PathKind.PUNCHED, "failed")
        return failures

    @property
    def _punching(self) -> "Puncher":
        if self._puncher is None:
            assert self.make_puncher is not None
            self._puncher = self.make_puncher()
        return self._puncher

    # -- connections that others open ------------------------------------------------------------------

    def doorway(
        self, server: Security | None, kind: PathKind | None = None
    ) -> Callable[[], asyncio.BaseProtocol]:
        """Makes the protocol of each connection that is accepted, before its handshake.

        Of what `kind` the path is, its addresses tell, unless it is said.
        """

        def choose(transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
            if server is not None and alpn == ALPN_PATH:
                try:
                    peer = server.identify(transport.get_extra_info("ssl_object"))
                except PeerError:
                    # A bare link says to the other side what is wrong with its certificate.
                    peer = None
                if peer is not None:
                    return self._arrive(NodeId(peer), kind or kind_of(transport))
            if alpn == ALPN_HTTP and self.http is not None:
                return self.http()
            identify = None if server is None else server.identify
            return FrameLink(self._neighbourhood.on_link, dialed=False, identify=identify)

        return lambda: Doorway(choose)

    def _arrive(self, peer: NodeId, kind: PathKind) -> PathEnd:
        """Saying what a path is for takes a member no time: whoever has not for longest makes room."""
        if len(self._arrivals) >= ARRIVALS_MAX:
            oldest = next(iter(self._arrivals))
            del self._arrivals[oldest]
            oldest.end.abort()
        arrival = Arrival(peer, kind, self._attach, lambda one: self._arrivals.pop(one, None))
        self._arrivals[arrival] = None
        return arrival.end

    def arrival(self, peer: NodeId, kind: PathKind) -> asyncio.BufferedProtocol:
        """Speaks on a path that `peer`, as its transport has proven, opened in another way than over TCP."""
        return Arrival(peer, kind, self._attach).end

    def channel(
        self, server: Security, peer: NodeId, channel: socket.socket, relay: NodeId
    ) -> None:
        """A relay says that `peer` opens a path by way of it. Who it is, TLS shows."""
        self.own_task(self._greet(server, peer, channel, relay))

    async def _greet(
        self, server: Security, peer: NodeId, channel: socket.socket, relay: NodeId
    ) -> None:
        # uvloop tells of its own TLS protocol in place of ours, so we keep ours.
        doorway = self.doorway(server, PathKind.RELAY)()
        try:
            await self._loop.connect_accepted_socket(
                lambda: doorway,
                channel,
                ssl=server.context,
                ssl_handshake_timeout=HANDSHAKE_S,
            )
        except OSError as wrong:
            channel.close()
            where = f"{short(peer)}, by way of relay {short(relay)}"
            self.note("path.refused", peer=short(peer), reason=explain(wrong, where))
            return
        assert isinstance(doorway, Doorway)
        if isinstance(doorway.chosen, PathEnd):
            doorway.chosen.via = relay

    def _attach(self, end: PathEnd, peer: NodeId, attach: Attach) -> None:
        multipath = self._links.get((attach.link, not attach.opener))
        if multipath is not None and multipath.peer != peer:
            raise PeerError(f"node {short(peer)} wants to attach to a link of somebody else")
        reason = ""
        if self._closing:
            reason = "the node is stopping"
        elif multipath is None and not (attach.fresh and attach.opener):
            reason = "no such link: this node was started anew, or has given the link up"
        elif multipath is None and self._links_with(peer) >= LINKS_MAX:
            reason = f"there are {LINKS_MAX} links with this node already"
        if reason:
            ending = codec.encode(Ending(reason=reason[:TEXT_BYTES_MAX]))
            end.send(RecordKind.ENDING, 0, 0, ending)
            end.close()
            return
        fresh = multipath is None
        if multipath is None:
            if attach.received:
                raise PeerError("bytes are said to have come on a link that begins")
            multipath = self._make(attach.link, peer, self._neighbourhood.on_link, dialed=False)
        attached = codec.encode(Attached(multipath.received))
        end.send(RecordKind.ATTACHED, 0, multipath.received, attached)
        try:
            multipath.add(end, attach.received)
        except PeerError as wrong:
            multipath.broke(end, wrong)
            raise
        self.dialer.tally.watch(end)
        if fresh:
            multipath.link.connection_made(multipath.transport)
        self._upkeep[multipath].paths_changed()

    # -- connections that we open ----------------------------------------------------------------------

    async def dial(self, address: str, on_link: OnLink) -> Link:
        """A new link over TCP, to whoever is there. OSError as of `open_connection`."""
        opened = await self.dialer.tcp(address, on_link)
        return opened if isinstance(opened, FrameLink) else self.open_over(opened, on_link).link

    async def race(self, addresses: tuple[str, ...], on_link: OnLink, peer: NodeId) -> Link:
        """A new link over the first path that comes up by any of these addresses, relays among them.

        Those that come up later are attached to it. TaskError says of each address why it is not the one.
        """
        race = Race(self, peer, addresses, on_link)
        self.own_task(race.run())
        return await race.first

    def open_over(self, opened: Opened, on_link: OnLink) -> Multipath:
        """A new link whose first path this is."""
        multipath = self._make(os.urandom(16), opened.peer, on_link, dialed=True)
        self.attach(multipath, opened.end)
        multipath.link.connection_made(multipath.transport)
        return multipath

    def attach(self, multipath: Multipath, end: PathEnd) -> None:
        """One more path of ours for a link, unless that is over by now."""
        if multipath.is_over:
            end.abort()
            return
        # Until the other side has spoken it may not have heard of the link: paths overtake each other.
        attach = Attach(
            link=multipath.link_id,
            opener=multipath.dialed,
            kind=end.kind,
            received=multipath.received,
            fresh=multipath.received == 0,
        )
        end.send(RecordKind.ATTACH, 0, multipath.received, codec.encode(attach))
        multipath.add(end, 0)
        self.dialer.tally.watch(end)
        self._upkeep[multipath].paths_changed()

    def _make(self, link_id: bytes, peer: NodeId, on_link: OnLink, *, dialed: bool) -> Multipath:
        link = FrameLink(on_link, dialed=dialed)
        link.peer = peer
        multipath = Multipath(link_id, peer, link, self, self._dice, dialed=dialed)
        self._links[link_id, dialed] = self._over[link] = multipath
        self._upkeep[multipath] = Upkeep(multipath, self)
        return multipath

    def _links_with(self, peer: NodeId) -> int:
        return sum(one.peer == peer for one in self._links.values())

    # -- what links tell -------------------------------------------------------------------------------

    def stranded(self, multipath: Multipath, reason: str, *, refused: bool) -> None:
        if self._closing:
            multipath.fail(ConnectionResetError(reason))
        else:
            self._upkeep[multipath].stranded(reason)

    def switched(self, multipath: Multipath, kind: PathKind, why: str) -> None:
        self.note(
            "path.used",
            peer=short(multipath.peer),
            path=str(kind),
            remote=multipath.remote,
            why=why,
        )
        self._neighbourhood.path_used(multipath.link)
        if self._puncher is not None:
            self._puncher.switched(multipath)
        # One that has become silent is looked for anew, before it is given up.
        self._upkeep[multipath].paths_changed()

    def path_closed(self, multipath: Multipath, kind: PathKind, reason: str) -> None:
        self.dialer.tally.outcome(kind, "lost")
        self.note("path.lost", peer=short(multipath.peer), path=str(kind), reason=reason)
        self._upkeep[multipath].paths_changed()

    def offered(self, multipath: Multipath, end: PathEnd, payload: bytes) -> None:
        # Whoever offers cannot know that this node does not punch; it goes without an answer.
        if self.can_punch:
            self._punching.offered(multipath, end, payload)

    def packet_came(self, multipath: Multipath, payload: bytes) -> None:
        if self.on_packet is not None:
            self.on_packet(payload, Detour.LINK)

    def packet_punched(self, peer: NodeId, datagram: bytes) -> bool:
        """It came where we have punched a way to this peer; whether the peer has sealed it."""
        return self.on_packet is not None and self.on_packet(datagram, Detour.PUNCHED) == peer

    def over(self, multipath: Multipath) -> None:
        self._links.pop((multipath.link_id, multipath.dialed), None)
        self._over.pop(multipath.link, None)
        self._upkeep.pop(multipath).end()
        if self._puncher is not None:
            self._puncher.over(multipath)

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self.with_near(self._neighbourhood.addresses_of(peer), peer)

    def with_near(self, addresses: tuple[str, ...], peer: NodeId) -> tuple[str, ...]:
        """First of all where the peer is within our own network."""
        return tuple(dict.fromkeys([*self.near(peer), *addresses]))

    def note(self, event: str, **fields: object) -> None:
        self._neighbourhood.path_note(event, **fields)

    # -- the end ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Look for nothing any more. Links close as their owners say."""
        self._closing = True
        await self._tasks.close()

    def own_task(self, doing: Coroutine[object, object, None]) -> "asyncio.Task[None]":
        """Ends with this node at the latest; what goes wrong in it is loud."""
        return self._tasks.start(doing)
