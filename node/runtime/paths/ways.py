"""All ways of this node to others: opens paths, makes links over them, and finds new paths for links that have none.

A link is opened over the first path that comes up, whichever it is; others that come up later are attached to it. Both
sides look for a new path when the last one is gone: whoever of them reaches the other first brings the link back, and
neither its frames nor who waits for them notice. A peer that is there but does not know the link has been restarted:
the link is over at once.
"""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine
from typing import Protocol

from nat.records import RecordKind
from node.config import host_port
from node.runtime.frame_link import FrameLink, OnLink
from node.runtime.links import Link, LinkListener
from node.runtime.paths.arrival import Arrival, Unattached
from node.runtime.paths.doorway import ALPN_HTTP, ALPN_PATH, Doorway, kind_of
from node.runtime.paths.end import PathEnd
from node.runtime.paths.multipath import Multipath
from node.runtime.tcp_link import Security, open_connection
from protocol import codec
from protocol.errors import ConfigError, PeerError
from protocol.ids import NodeId, short
from protocol.limits import TEXT_BYTES_MAX
from protocol.paths import Attach, Attached, Ending, PathKind

DIAL_S = 3.0
"""For one address: TCP and TLS."""

RESUME_S = 5.0
"""So long a link lives without any path."""

RETRY_S = 0.25

PATHS_MAX = 8
"""Of one link; a further one is refused."""


class Neighbourhood(Protocol):
    """Who knows the others, and is told of links that they open."""

    def on_link(self, link: Link) -> LinkListener:
        """Somebody else opened it; who shall hear it."""

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]: ...

    def path_note(self, event: str, **fields: object) -> None: ...


class Ways:
    """Of one node. `security` None: bare links without TLS, in tests and benchmarks only."""

    def __init__(
        self, neighbourhood: Neighbourhood, security: Security | None, dice: random.Random
    ) -> None:
        self.http: Callable[[], asyncio.BaseProtocol] | None = None
        """Who serves HTTP on the port of the links, if anybody does."""
        self.on_packet: Callable[[bytes], None] | None = None
        """Who opens sealed packets that came over a link, if anybody does."""
        self._neighbourhood = neighbourhood
        self._security = security
        self._dice = dice
        self._loop = asyncio.get_running_loop()
        self._links: dict[tuple[bytes, bool], Multipath] = {}
        """By their ids, and whether we opened them: whoever dials his own address has both ends of a link."""
        self._over: dict[Link, Multipath] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    # -- what others ask of it -------------------------------------------------------------------------

    def multipath(self, link: Link) -> Multipath | None:
        """What carries this link; None if it is a bare one."""
        return self._over.get(link)

    # -- connections that others open ------------------------------------------------------------------

    def doorway(self, server: Security | None) -> Callable[[], asyncio.BaseProtocol]:
        """Makes the protocol of each connection that is accepted, before its handshake."""

        def choose(transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
            if server is not None and alpn == ALPN_PATH:
                try:
                    peer = server.identify(transport.get_extra_info("ssl_object"))
                except PeerError:
                    # A bare link says to the other side what is wrong with its certificate.
                    peer = None
                if peer is not None:
                    return Arrival(NodeId(peer), kind_of(transport), self._attach).end
            if alpn == ALPN_HTTP and self.http is not None:
                return self.http()
            identify = None if server is None else server.identify
            return FrameLink(self._neighbourhood.on_link, dialed=False, identify=identify)

        return lambda: Doorway(choose)

    def arrival(self, peer: NodeId, kind: PathKind) -> asyncio.BufferedProtocol:
        """Speaks on a path that `peer`, as its transport has proven, opened in another way than over TCP."""
        return Arrival(peer, kind, self._attach).end

    def _attach(self, end: PathEnd, peer: NodeId, attach: Attach) -> None:
        multipath = self._links.get((attach.link, not attach.opener))
        if multipath is not None and multipath.peer != peer:
            raise PeerError(f"node {short(peer)} wants to attach to a link of somebody else")
        reason = ""
        if self._closing:
            reason = "the node is stopping"
        elif multipath is None and not (attach.fresh and attach.opener):
            reason = "no such link: this node was started anew, or has given the link up"
        elif multipath is not None and len(multipath.kinds) >= PATHS_MAX:
            reason = f"the link has {PATHS_MAX} paths already"
        if reason:
            ending = codec.encode(Ending(reason=reason[:TEXT_BYTES_MAX]))
            end.send(RecordKind.ENDING, 0, 0, ending)
            end.close()
            return
        fresh = multipath is None
        if multipath is None:
            multipath = self._make(attach.link, peer, self._neighbourhood.on_link, dialed=False)
        attached = codec.encode(Attached(multipath.received))
        end.send(RecordKind.ATTACHED, 0, multipath.received, attached)
        multipath.add(end, attach.received)
        if fresh:
            multipath.link.connection_made(multipath.transport)

    # -- connections that we open ----------------------------------------------------------------------

    async def dial(self, address: str, on_link: OnLink) -> Link:
        """A new link over TCP, to whoever is there. OSError as of `open_connection`."""
        opened = await self._dial_tcp(address, on_link, None)
        if isinstance(opened, FrameLink):
            return opened
        end, peer = opened
        return self._open_over(end, peer, on_link)

    async def _dial_tcp(
        self, address: str, on_link: OnLink, sought: NodeId | None
    ) -> FrameLink | tuple[PathEnd, NodeId]:
        """A path that is attached to nothing yet, and who is there; or a bare link, from who knows no paths."""
        security = self._security
        identify = None if security is None else security.identify
        waiting = Unattached()

        def choose(transport: asyncio.BaseTransport, alpn: str) -> asyncio.BaseProtocol:
            if alpn == ALPN_PATH:
                return PathEnd(waiting, kind_of(transport), address)
            return FrameLink(on_link, dialed=True, identify=identify)

        host, port = host_port(address)
        transport, doorway = await open_connection(
            host, port, security, lambda: Doorway(choose), timeout_s=DIAL_S
        )
        chosen = doorway.chosen
        if isinstance(chosen, FrameLink):
            return chosen
        assert isinstance(chosen, PathEnd) and security is not None
        peer = security.identify(transport.get_extra_info("ssl_object"))
        if peer is None or (sought is not None and peer != sought):
            chosen.abort()
            found = "nobody of this mesh" if peer is None else f"now node {short(peer)}"
            raise PeerError(f"that is {found}" + (f", not {short(sought)}" if sought else ""))
        return chosen, NodeId(peer)

    def _open_over(self, end: PathEnd, peer: NodeId, on_link: OnLink) -> Link:
        multipath = self._make(os.urandom(16), peer, on_link, dialed=True)
        self._attach_to(multipath, end)
        multipath.link.connection_made(multipath.transport)
        return multipath.link

    def _attach_to(self, multipath: Multipath, end: PathEnd) -> None:
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

    def _make(self, link_id: bytes, peer: NodeId, on_link: OnLink, *, dialed: bool) -> Multipath:
        link = FrameLink(on_link, dialed=dialed)
        link.peer = peer
        multipath = Multipath(link_id, peer, link, self, self._dice, dialed=dialed)
        self._links[link_id, dialed] = self._over[link] = multipath
        return multipath

    # -- what links tell -------------------------------------------------------------------------------

    def stranded(self, multipath: Multipath, reason: str, *, refused: bool) -> None:
        if self._closing:
            multipath.fail(ConnectionResetError(reason))
        else:
            self._own_task(self._repair(multipath, reason))

    def switched(self, multipath: Multipath, kind: PathKind, why: str) -> None:
        self._neighbourhood.path_note(
            "path.used", peer=short(multipath.peer), path=kind, remote=multipath.remote, why=why
        )

    def path_closed(self, multipath: Multipath, kind: PathKind, reason: str) -> None:
        self._neighbourhood.path_note(
            "path.lost", peer=short(multipath.peer), path=kind, reason=reason
        )

    def offered(self, multipath: Multipath, payload: bytes) -> None:
        raise PeerError("nobody punches here")

    def packet_came(self, multipath: Multipath, payload: bytes) -> None:
        if self.on_packet is not None:
            self.on_packet(payload)

    def over(self, multipath: Multipath) -> None:
        self._links.pop((multipath.link_id, multipath.dialed), None)
        self._over.pop(multipath.link, None)

    # -- finding a path again --------------------------------------------------------------------------

    async def _repair(self, multipath: Multipath, reason: str) -> None:
        until = self._loop.time() + RESUME_S
        last = multipath.last_address
        while multipath.is_stranded:
            addresses = self._neighbourhood.addresses_of(multipath.peer)
            direct = list(dict.fromkeys([last, *addresses] if last else addresses))
            failures = await self._seek(multipath, direct)
            if not multipath.is_stranded:
                return
            if failures and _is_final(failures, last):
                multipath.fail(ConnectionResetError(reason))
            elif self._loop.time() >= until:
                multipath.fail(TimeoutError(f"{reason}; and no other path within {RESUME_S:g} s"))
            else:
                await asyncio.sleep(RETRY_S)

    async def _seek(self, multipath: Multipath, addresses: list[str]) -> dict[str, Exception]:
        """Try all at once; attach the first that answers. What went wrong with each, if none did."""
        failures: dict[str, Exception] = {}

        async def attempt(address: str) -> None:
            try:
                opened = await self._dial_tcp(address, _nobody, multipath.peer)
            except (OSError, PeerError, ConfigError) as wrong:
                failures[address] = wrong
                return
            if isinstance(opened, FrameLink):
                opened.abort()
                failures[address] = PeerError("it does not know paths any more")
            elif multipath.is_stranded:
                self._attach_to(multipath, opened[0])
            else:
                opened[0].abort()

        async with asyncio.TaskGroup() as attempts:
            for address in addresses:
                attempts.create_task(attempt(address))
        return failures

    # -- the end ---------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Look for nothing any more. Links close as their owners say."""
        self._closing = True
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _own_task(self, doing: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(doing)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # What goes wrong on the way is told as it goes; anything else is our own fault, and loud.
            task.result()


def _nobody(link: Link) -> LinkListener:
    raise AssertionError("a bare link is closed before anybody hears it")


def _is_final(failures: dict[str, Exception], last: str) -> bool:
    """Whether the peer's process has ended, as far as its machine says so: nothing listens where it was."""
    asked = [failures[last]] if last in failures else list(failures.values())
    return any(isinstance(wrong, ConnectionRefusedError) for wrong in asked)
