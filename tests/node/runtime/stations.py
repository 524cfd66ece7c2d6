"""Switchboards to test with: each with an ear that keeps what it is told; linked in memory, or by real TLS on loopback.

A `RawPeer` is the other side of a link, frame by frame: it says what no switchboard of ours would say.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node.runtime import tls
from node.runtime.calls import OutgoingCall
from node.runtime.frame_link import FrameLink
from node.runtime.greeting import Terms
from node.runtime.links import Link, LinkListener
from node.runtime.memory_link import memory_link_pair
from node.runtime.paths.doorway import ALPN_PATH
from node.runtime.switchboard import Switchboard
from node.runtime.tcp_link import Security
from protocol import codec
from protocol.codec import Header
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo
from protocol.frames import Frame, FrameType, TrafficClass
from protocol.ids import MeshId, NodeId
from protocol.messages import (
    ErrorHeader,
    Join,
    Joined,
    Request,
    RequestHeader,
    Response,
    ResponseHeader,
)
from protocol.paths import PathKind
from tests.node.runtime.small_mesh import Member, founder, joiner

SOON_S = 5.0
MESH = MeshId("3" * 64)
LOW, HIGH, THIRD = NodeId("a" * 52), NodeId("b" * 52), NodeId("c" * 52)
SOFTWARE = "sedma-node 0.0"


class Waiting:
    """Wakes who waits for something to have happened."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def changed(self) -> None:
        self._changed.set()

    async def until(self, happened: Callable[[], object]) -> None:
        async with asyncio.timeout(SOON_S):
            while not happened():
                self._changed.clear()
                await self._changed.wait()


@dataclass(frozen=True, slots=True)
class Asked:
    number: int
    peer: NodeId
    header: RequestHeader


class Ear(Waiting):
    """Hears a switchboard. Requests are kept, unless `on_asked` deals with them."""

    def __init__(self) -> None:
        super().__init__()
        self.up: list[NodeId] = []
        self.paths: list[tuple[NodeId, PathKind]] = []
        self.found: list[tuple[str, ...]] = []
        self.down: list[tuple[NodeId, str]] = []
        self.failed: list[tuple[NodeId | None, str]] = []
        self.requests: list[Asked] = []
        self.bodies: list[int] = []
        self.gone: list[tuple[int, str]] = []
        self.left: list[int] = []
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.away: list[str] = []
        """Events of those who were turned away unproven."""
        self.addresses: dict[NodeId, tuple[str, ...]] = {}
        self.digest = LoadDigest(in_flight=7)
        self.loads: dict[NodeId, LoadDigest] = {}
        """That came with refusals."""
        self.on_asked: Callable[[Asked], None] = lambda asked: None
        self.on_body: Callable[[int], None] = lambda number: None
        self.on_join: Callable[[Join], Awaitable[Joined]]

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        self.up.append(peer)
        self.changed()

    def path_is(self, peer: NodeId, kind: PathKind) -> None:
        self.paths.append((peer, kind))
        self.changed()

    def reached(self, addresses: tuple[str, ...]) -> None:
        self.found.append(addresses)
        self.changed()

    def link_down(self, peer: NodeId, reason: str) -> None:
        self.down.append((peer, reason))
        self.changed()

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None:
        self.failed.append((peer, reason))
        self.changed()

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        asked = Asked(request, peer, header)
        self.requests.append(asked)
        self.changed()
        self.on_asked(asked)

    def body_received(self, request: int) -> None:
        self.bodies.append(request)
        self.changed()
        self.on_body(request)

    def request_gone(self, request: int, reason: str) -> None:
        self.gone.append((request, reason))
        self.changed()

    def replied(self, request: int) -> None:
        self.left.append(request)
        self.changed()

    def note(self, event: str, **fields: object) -> None:
        self.notes.append((event, fields))
        self.changed()

    def turned_away(self, event: str, **fields: object) -> None:
        self.away.append(event)
        self.note(event, **fields)

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        self.loads[peer] = load

    def load(self) -> LoadDigest:
        return self.digest

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self.addresses.get(peer, ())

    async def redeem(self, join: Join) -> Joined:
        return await self.on_join(join)

    def noted(self, event: str) -> list[dict[str, object]]:
        return [fields for name, fields in self.notes if name == event]


class Outcome(Waiting):
    """Of one call."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[tuple[Response, LoadDigest]] = []
        self.errors: list[ErrorInfo] = []

    def answered(self, response: Response, load: LoadDigest) -> None:
        self.answers.append((response, load))
        self.changed()

    def failed(self, error: ErrorInfo) -> None:
        self.errors.append(error)
        self.changed()

    @property
    def over(self) -> bool:
        return bool(self.answers or self.errors)

    async def answer(self) -> Response:
        await self.until(lambda: self.over)
        assert not self.errors, self.errors
        (answer,) = self.answers
        return answer[0]

    async def error(self) -> ErrorInfo:
        await self.until(lambda: self.over)
        assert not self.answers, self.answers
        (error,) = self.errors
        return error


@dataclass(slots=True)
class Station:
    id: NodeId
    ear: Ear
    board: Switchboard
    address: str = ""
    calls: list[OutgoingCall] = field(default_factory=list)

    def ask(
        self,
        peer: "Station | RawPeer | NodeId",
        request: Request,
        deadline_s: float = SOON_S,
        *,
        body: bytes | None = None,
        body_bytes: int = 0,
        into: bytearray | None = None,
        trace: str = "",
    ) -> Outcome:
        outcome = Outcome()
        call = self.board.call(
            peer if isinstance(peer, str) else peer.id,
            request,
            deadline_s,
            answered=outcome.answered,
            failed=outcome.failed,
            body=None if body is None else memoryview(body),
            body_bytes=body_bytes,
            into=None if into is None else memoryview(into),
            trace=trace,
        )
        self.calls.append(call)
        return outcome

    def answer(self, make: Callable[[Request], Response]) -> None:
        """From now on answer every request at once."""
        self.ear.on_asked = lambda asked: self.board.reply(
            asked.number, make(asked.header.request), None
        )

    def take_bodies(self) -> dict[int, bytearray]:
        """From now on grant every request its body, and keep what comes by the request's number."""
        come: dict[int, bytearray] = {}

        def grant(asked: Asked) -> None:
            come[asked.number] = bytearray(asked.header.body_bytes)
            self.board.grant(asked.number, memoryview(come[asked.number]))

        self.ear.on_asked = grant
        return come

    async def is_down(self) -> None:
        await self.ear.until(lambda: self.ear.down)

    async def up(self, *peers: "Station | RawPeer") -> None:
        await self.ear.until(lambda: {peer.id for peer in peers} <= set(self.ear.up))


def plain_station(own: NodeId, mesh: MeshId = MESH) -> Station:
    """For memory links and plain TCP."""
    ear = Ear()
    return Station(own, ear, Switchboard(own, mesh, SOFTWARE, ear, None))


def tls_station(member: Member) -> Station:
    ear = Ear()
    client = Security(tls.client_context(member.membership, (ALPN_PATH,)), tls.peer_id)
    own, mesh = member.identity.id, member.membership.mesh
    return Station(own, ear, Switchboard(own, mesh, SOFTWARE, ear, client))


async def listen(station: Station, member: Member | None = None) -> None:
    """On a free port of loopback; with a member, by TLS."""
    server = None
    if member is not None:
        server = Security(tls.server_context(member.membership, (ALPN_PATH,)), tls.peer_id)
    host, port = await station.board.listen("127.0.0.1", 0, server)
    station.address = f"{host}:{port}"


def link_in_memory(dialler: Station, listener: Station) -> tuple[FrameLink, FrameLink]:
    return memory_link_pair(dialler.board.on_link, listener.board.on_link)


class RawPeer(Waiting):
    """Keeps what a link says, and sends what the test says."""

    def __init__(self, own: NodeId = THIRD) -> None:
        super().__init__()
        self.id = own
        self.link: FrameLink
        self.frames: list[Frame] = []
        self.bodies: list[int] = []
        self.failures: list[tuple[int, str]] = []
        self.lost: list[str] = []
        self.on_frame: Callable[[Frame], None] = lambda frame: None

    def met(self, link: Link) -> LinkListener:
        assert isinstance(link, FrameLink)
        self.link = link
        self.changed()
        return self

    async def is_met(self) -> None:
        await self.until(lambda: hasattr(self, "link"))

    def frame_received(self, link: Link, frame: Frame) -> None:
        self.frames.append(frame)
        self.changed()
        self.on_frame(frame)

    def body_received(self, link: Link, stream: int) -> None:
        self.bodies.append(stream)
        self.changed()

    def body_failed(self, link: Link, stream: int, reason: str) -> None:
        self.failures.append((stream, reason))
        self.changed()

    def link_lost(self, link: Link, reason: str) -> None:
        self.lost.append(reason)
        self.changed()

    def dials(self, station: Station, *, bulk: bool = False) -> "RawPeer":
        memory_link_pair(self.met, station.board.on_link)
        self.say(FrameType.HELLO, 0, Terms(self.id, MESH, "raw").hello(bulk=bulk))
        return self

    def is_dialled_by(self, station: Station, *, bulk: bool = False) -> "RawPeer":
        memory_link_pair(station.board.on_link, self.met)
        self.say(FrameType.HELLO, 0, Terms(self.id, MESH, "raw").hello(bulk=bulk))
        return self

    def say(self, kind: FrameType, stream: int, header: Header | bytes = b"") -> None:
        said = header if isinstance(header, bytes) else codec.encode(header)
        self.link.send(Frame(kind, TrafficClass.RPC, stream, said))

    def ask(self, stream: int, request: Request, body_bytes: int = 0) -> None:
        header = RequestHeader(request=request, deadline_ms=5_000, body_bytes=body_bytes)
        self.say(FrameType.REQ, stream, header)

    def answer(self, stream: int, response: Response, body_bytes: int = 0) -> None:
        self.say(FrameType.RES, stream, ResponseHeader(response=response, body_bytes=body_bytes))

    def refuse(self, stream: int, error: ErrorInfo) -> None:
        self.say(FrameType.ERR, stream, ErrorHeader(error=error))

    def heard(self, kind: FrameType) -> list[Frame]:
        return [frame for frame in self.frames if frame.type is kind]

    async def hears(self, kind: FrameType, count: int = 1) -> Frame:
        """The last of so many frames of a kind."""
        await self.until(lambda: len(self.heard(kind)) >= count)
        return self.heard(kind)[count - 1]

    async def hears_error(self, count: int = 1) -> ErrorInfo:
        return codec.decode(ErrorHeader, (await self.hears(FrameType.ERR, count)).header).error

    async def is_cut(self) -> str:
        """Wait until the link is gone; why it went."""
        await self.until(lambda: self.lost)
        return self.lost[0]


def three_members(folder: Path) -> list[Member]:
    """Of one mesh, the smallest id first; any of them may invite."""
    now = time.time()
    anna = founder(folder / "anna", now)
    others = [joiner(folder / name, anna, now, may_invite=True) for name in ("bert", "carl")]
    return sorted([anna, *others], key=lambda member: member.identity.id)


@asynccontextmanager
async def linked_pair(members: list[Member] | None) -> AsyncIterator[tuple[Station, Station]]:
    """The first has dialed the second: by TLS if there are members, else in memory."""
    if members is None:
        left, right = plain_station(LOW), plain_station(HIGH)
        link_in_memory(left, right)
    else:
        left, right = (tls_station(member) for member in members[:2])
        await listen(right, members[1])
        left.board.dial((right.address,), right.id)
    try:
        await left.up(right)
        await right.up(left)
        yield left, right
    finally:
        await left.board.close("test over")
        await right.board.close("test over")
