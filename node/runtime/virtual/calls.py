"""Calls between simulated machines: headers through the codec, bodies against a grant, each end with its own view.

REQ ->                     the server is asked
<- CREDIT                  it granted memory for the body
DATA ... ->                the body is there
<- RES, DATA ...           answered, with the answer's body
CANCEL ->                  the caller waits no longer: its time was up, or it changed its mind
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from node.runtime.bulk import BULK_BYTES_MIN
from node.runtime.virtual.links import BULK, CONTROL, FRAME_BYTES, Act, End, Links
from node.runtime.virtual.shop import Body
from node.work import BufferRef
from protocol import codec
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId, short
from protocol.limits import HEADER_BYTES_MAX, SLICE_BYTES
from protocol.messages import ErrorHeader, Request, RequestHeader, Response, ResponseHeader

if TYPE_CHECKING:
    from node.runtime.virtual.machine import Machine
    from node.runtime.virtual.world import World


class Caller(Protocol):
    """Who asked, and is told once how it ended."""

    def call_answered(
        self, calling: "Calling", response: Response, load: LoadDigest, body: Body
    ) -> None: ...

    def call_failed(self, calling: "Calling", error: ErrorInfo) -> None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class Calling:
    """One call, seen from both ends."""

    machine: "Machine"
    """That asks."""
    caller: Caller
    number: int
    """The caller's own."""
    peer: NodeId
    end: End | None
    """The caller's; the server's is the other one."""
    body: Body
    body_bytes: int
    into: BufferRef | None
    """Where the caller wants the answer's body."""
    ready_at: float = 0.0
    """The body cannot leave before: somebody else still brings it."""
    request: int = 0
    """The server's number for it; 0 before it came there, and once it has been answered."""
    over: bool = False
    """For the caller."""
    life: int = field(init=False)
    lane: int = field(init=False)
    """Which connection its bodies take."""

    def __post_init__(self) -> None:
        self.life = self.machine.life
        most = max(self.body_bytes, 0 if self.into is None else self.into.nbytes)
        self.lane = BULK if most > BULK_BYTES_MIN else CONTROL

    @property
    def server(self) -> End:
        assert self.end is not None
        return self.end.other


class Calls:
    """Carries calls over links."""

    def __init__(self, world: "World", links: Links) -> None:
        self._world = world
        self._links = links

    # -- the caller's side ---------------------------------------------------------------------------

    def call(self, calling: Calling, request: Request, deadline_s: float, trace: str = "") -> None:
        """Ask; the caller is told once, later, unless it cancels."""
        world, machine = self._world, calling.machine
        if calling.end is None or not calling.end.open:
            calling.end = None
            world.after(0.0, machine.inbox, self._no_way, (calling,))
            return
        calling.end.calls[calling] = None
        header = RequestHeader(
            request=request,
            deadline_ms=int(deadline_s * 1000),
            trace=trace,
            body_bytes=calling.body_bytes,
        )
        wire = codec.encode(header)
        self._send(calling.end, CONTROL, type(request).__name__, wire, self._asked, calling, wire)
        late_s = deadline_s / machine.spec.clock_rate
        world.after(late_s, machine.inbox, self._late, (calling,))

    def cancel(self, calling: Calling) -> None:
        """Nobody waits any more: the server hears of it."""
        if self._end(calling):
            self._tell_gone(calling)

    def fail(self, calling: Calling, reason: str) -> None:
        """Its link is lost."""
        if self._end(calling):
            error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason, node=calling.peer)
            calling.caller.call_failed(calling, error)

    # -- the server's side ---------------------------------------------------------------------------

    def grant(self, calling: Calling, into: BufferRef) -> None:
        """Let the body come."""
        self._send(calling.server, calling.lane, "Credit", b"", self._credited, calling, into)

    def answer(self, calling: Calling, header: ResponseHeader, body: Body, number: int) -> None:
        """With a body the machine is told when its buffer is free again."""
        server, nbytes = calling.server, header.body_bytes
        wire = codec.encode(header)
        kind = type(header.response).__name__
        if not nbytes:
            self._send(server, CONTROL, kind, wire, self._answered, calling, wire, None)
            return
        lane = calling.lane
        self._send(server, lane, kind, wire, _announced)
        machine = server.machine
        machine.traffic.count_body(nbytes)
        left = (machine.replied, (number, machine.life))
        args = (calling, wire, body)
        self._links.send_body(server, lane, nbytes, self._answered, args, left, SLICE_BYTES)

    def refuse(self, calling: Calling, header: ErrorHeader) -> None:
        wire = codec.encode(header)
        self._send(calling.server, CONTROL, "Error", wire, self._refused, calling, wire)

    # -- what arrives --------------------------------------------------------------------------------

    def _asked(self, calling: Calling, wire: bytes) -> None:
        calling.server.machine.talk.asked(calling, codec.decode(RequestHeader, wire))

    def _credited(self, calling: Calling, into: BufferRef) -> None:
        if calling.over or calling.end is None or calling.life != calling.machine.life:
            return
        world, machine = self._world, calling.machine
        if calling.ready_at > world.now:
            world.schedule(calling.ready_at, machine.inbox, (self._credited, (calling, into)))
            return
        machine.traffic.count_body(calling.body_bytes)
        args = (calling, into)
        self._links.send_body(
            calling.end, calling.lane, calling.body_bytes, self._brought, args, None, SLICE_BYTES
        )

    def _brought(self, calling: Calling, into: BufferRef) -> None:
        """The whole body is at the server."""
        if not calling.request:
            return
        machine = calling.server.machine
        machine.shop.fill(into, calling.body)
        machine.hear(machine.node.body_received, calling.request)

    def _answered(self, calling: Calling, wire: bytes, body: Body) -> None:
        if self._end(calling):
            told = codec.decode(ResponseHeader, wire)
            calling.caller.call_answered(calling, told.response, told.load, body)

    def _refused(self, calling: Calling, wire: bytes) -> None:
        if self._end(calling):
            header, machine = codec.decode(ErrorHeader, wire), calling.machine
            machine.hear(machine.node.load_told, calling.peer, header.load)
            calling.caller.call_failed(calling, header.error)

    def _gone(self, calling: Calling) -> None:
        calling.server.machine.talk.gone(calling)

    # -- what does not -------------------------------------------------------------------------------

    def _no_way(self, calling: Calling) -> None:
        if not calling.over and calling.life == calling.machine.life:
            calling.over = True
            reason = f"there is no connection to node {short(calling.peer)}"
            error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason, node=calling.peer)
            calling.caller.call_failed(calling, error)

    def _late(self, calling: Calling) -> None:
        if self._end(calling):
            self._tell_gone(calling)
            error = ErrorInfo(
                code=ErrorCode.DEADLINE, reason="no answer in time", node=calling.peer
            )
            calling.caller.call_failed(calling, error)

    def _tell_gone(self, calling: Calling) -> None:
        if calling.end is not None:
            self._send(calling.end, CONTROL, "Cancel", b"", self._gone, calling)

    def _end(self, calling: Calling) -> bool:
        """False if it has ended before."""
        if calling.over or calling.life != calling.machine.life:
            return False
        calling.over = True
        if calling.end is not None:
            calling.end.calls.pop(calling, None)
        return True

    def _send(self, end: End, lane: int, kind: str, wire: bytes, act: Act, *args: object) -> None:
        assert len(wire) <= HEADER_BYTES_MAX, f"a header of {len(wire)} bytes: {kind}"
        nbytes = FRAME_BYTES + len(wire)
        end.machine.traffic.count_message(kind, nbytes)
        self._links.send(end, lane, nbytes, act, *args)


def _announced() -> None:
    """The header of an answer whose body follows: the answer counts once that is there."""
