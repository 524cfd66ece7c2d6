"""One connection to another node: the greeting, our calls to the peer, and the peer's requests to us.

A call takes a stream number of ours (odd if we dialed, even if not, never used twice); its answer or error comes on the
same stream. What a request means is not known here: its owner is told of it, and answers when it likes.
"""

import asyncio
from collections import deque
from typing import Protocol

import msgspec

from node.runtime.calls import IncomingRequest, OutgoingCall
from node.runtime.greeting import OWN_ADDRESS, Terms, Unfit
from node.runtime.links import CANCELLED, Link
from protocol import codec
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, PeerError
from protocol.frames import Frame, FrameType, TrafficClass
from protocol.gossip import Compare, Tell
from protocol.ids import NodeId, short
from protocol.limits import STREAMS_MAX, TEXT_BYTES_MAX
from protocol.messages import (
    ANSWERS,
    Carry,
    ErrorHeader,
    FetchCatalogue,
    FetchManifest,
    Hello,
    Join,
    ManifestPart,
    Probe,
    RequestHeader,
    Response,
    ResponseHeader,
)

GREETING_S = 5.0
"""A side that has not said who it is by then is cut off."""

STRANGER_S = 10.0
"""So long a node without a certificate may take to show its ticket's token."""

STREAM_MAX = 2**32 - 1

DEADLINE_MS_MAX = 86_400_000

GOSSIP = frozenset({Carry, Compare, Tell, FetchCatalogue, FetchManifest, ManifestPart, Probe})
"""Kinds of requests that nobody waits for."""

_NOTHING = memoryview(b"")


class Owner(Protocol):
    """Who has connections, and is told what happens on them."""

    def greeted(self, connection: "Connection") -> None:
        """We know who is there, and can talk."""

    def unfit(self, connection: "Connection", reason: str) -> None:
        """We cannot talk to who is there; the connection closes."""

    def nonsense(self, connection: "Connection", reason: str) -> None:
        """A request was not understood; it has been refused."""

    def lost(self, connection: "Connection", reason: str) -> None: ...

    def joining(self, request: IncomingRequest, join: Join) -> None: ...

    def asked(self, request: IncomingRequest, header: RequestHeader) -> None: ...

    def body_received(self, request: IncomingRequest) -> None: ...

    def request_gone(self, request: IncomingRequest, reason: str) -> None: ...

    def replied(self, request: IncomingRequest) -> None: ...

    def load(self) -> LoadDigest: ...

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        """By a peer that refuses a call, which then fails."""


class Connection:
    """Hears one link. `ready` is done when the greeting is over, one way or the other."""

    def __init__(
        self, link: Link, owner: Owner, terms: Terms, *, bulk: bool = False, address: str = ""
    ) -> None:
        loop = asyncio.get_running_loop()
        self.link = link
        self.peer = NodeId("")
        self.bulk = bulk
        self.stranger = False
        self.address = address
        """Where we dialed it; empty if the peer did."""
        self.ending = ""
        """Why we close it, if it was us."""
        self.ready: asyncio.Future[None] = loop.create_future()
        # Whoever dialed asks; nobody does on the other side.
        self.ready.add_done_callback(lambda ready: ready.cancelled() or ready.exception())
        self._owner = owner
        self._terms = terms
        self._calls: dict[int, OutgoingCall] = {}
        self._waiting: deque[OutgoingCall] = deque()
        self._requests: dict[int, IncomingRequest] = {}
        self._next_stream = 1 if link.dialed else 2
        self._last_asked = 0
        self._lost: str | None = None
        self._timer = loop.call_later(GREETING_S, self._silent, "did not say who it is")
        self._send(FrameType.HELLO, 0, codec.encode(terms.hello(bulk=bulk)))

    @property
    def idle(self) -> bool:
        return not (self._calls or self._waiting or self._requests)

    def close(self, reason: str) -> None:
        self.ending = self.ending or reason
        self.link.close(reason)

    # -- our calls -----------------------------------------------------------------------------------

    def start(self, call: OutgoingCall) -> None:
        """Ask now, or as soon as one of the calls under way has ended."""
        loop = asyncio.get_running_loop()
        if self._lost is not None:
            loop.call_soon(call.fail, self._unreachable(self._lost))
            return
        if len(self._calls) >= STREAMS_MAX:
            self._waiting.append(call)
            return
        left_ms = int((call.until - loop.time()) * 1e3)
        if left_ms <= 0:
            # Its timer is about to say so.
            return
        stream = self._next_stream
        if stream > STREAM_MAX:
            self.close("all stream numbers of this connection are used up; dial again")
        self._next_stream += 2
        self._calls[stream] = call
        header = RequestHeader(
            request=call.request,
            deadline_ms=min(left_ms, DEADLINE_MS_MAX),
            trace=call.trace,
            body_bytes=call.body_bytes,
        )
        klass = TrafficClass.GOSSIP if type(call.request) in GOSSIP else TrafficClass.RPC
        self.link.send(Frame(FrameType.REQ, klass, stream, codec.encode(header)))
        if call.body_bytes:
            body = _NOTHING if call.body is None else call.body
            self.link.send_body(stream, body, call.body_bytes)
        call.begin(self, stream)

    def give_up(self, call: OutgoingCall) -> None:
        self.link.cancel(call.stream)
        self._forget(call.stream)

    def _forget(self, stream: int) -> None:
        """A call is over: the next one may begin."""
        self._calls.pop(stream, None)
        while self._waiting and len(self._calls) < STREAMS_MAX:
            if not (call := self._waiting.popleft()).over:
                self.start(call)

    def _answer_came(self, frame: Frame) -> None:
        if (call := self._calls.get(frame.stream)) is None:
            return
        if call.response is not None:
            raise PeerError(f"a second answer came on stream {frame.stream}")
        header = codec.decode(ResponseHeader, frame.header)
        expected = ANSWERS[type(call.request)]
        if type(header.response) is not expected:
            came = type(header.response).__name__
            raise PeerError(f"{came} came in answer to {type(call.request).__name__}")
        due = 0 if call.into is None else call.into.nbytes
        if header.body_bytes != due:
            reason = f"the answer has a body of {header.body_bytes} bytes where {due} are due"
            self.give_up(call)
            call.fail(ErrorInfo(code=ErrorCode.INTERNAL, reason=reason, node=self.peer))
        elif call.into is not None and due:
            call.response = header
            self.link.expect_body(frame.stream, call.into)
        else:
            self._conclude(call, header)

    def _conclude(self, call: OutgoingCall, header: ResponseHeader) -> None:
        if call.body_bytes and self.link.is_sending(call.stream):
            self.link.cancel(call.stream)
        self._forget(call.stream)
        call.succeed(header)

    def _refusal_came(self, frame: Frame) -> None:
        if (call := self._calls.get(frame.stream)) is None:
            return
        header = codec.decode(ErrorHeader, frame.header)
        if call.response is not None or (call.body_bytes and self.link.is_sending(frame.stream)):
            # Neither the rest of our body nor an answer that was announced is due any more.
            self.link.cancel(frame.stream)
        self._forget(frame.stream)
        self._owner.load_told(call.peer, header.load)
        call.fail(_said_by(header.error, self.peer))

    # -- the peer's requests -------------------------------------------------------------------------

    def grant(self, request: IncomingRequest, into: memoryview) -> None:
        assert into.nbytes == request.body_bytes, (into.nbytes, request.body_bytes)
        request.coming = True
        self.link.expect_body(request.stream, into)

    def reply(self, request: IncomingRequest, response: Response, body: memoryview | None) -> None:
        nbytes = 0 if body is None else body.nbytes
        header = ResponseHeader(response=response, load=self._owner.load(), body_bytes=nbytes)
        request.answered = True
        self._send(FrameType.RES, request.stream, codec.encode(header), TrafficClass.RPC)
        if body is None:
            self._settle(request)
            return

        def left(_: "asyncio.Future[None] | None" = None) -> None:
            self._settle(request)
            self._owner.replied(request)

        if nbytes:
            self.link.send_body(request.stream, body).add_done_callback(left)
        else:
            asyncio.get_running_loop().call_soon(left)

    def refuse(self, request: IncomingRequest, error: ErrorInfo) -> None:
        request.answered = True
        self._send_error(request.stream, error)
        self._settle(request)

    def _settle(self, request: IncomingRequest) -> None:
        self._requests.pop(request.stream, None)
        if request.coming:
            request.coming = False
            self.link.cancel(request.stream)

    def _asked(self, frame: Frame) -> None:
        stream = frame.stream
        if stream <= self._last_asked or stream % 2 == (1 if self.link.dialed else 0):
            raise PeerError(f"a request came on stream {stream}, which is not the peer's to open")
        self._last_asked = stream
        if len(self._requests) >= STREAMS_MAX and self._count_open() >= STREAMS_MAX:
            raise PeerError(f"more than {STREAMS_MAX} requests are open on one connection")
        try:
            header = codec.decode(RequestHeader, frame.header)
        except PeerError as wrong:
            self._reject(stream, f"not understood: {wrong}"[:TEXT_BYTES_MAX])
            return
        request = IncomingRequest(self, stream, header.body_bytes)
        self._requests[stream] = request
        if isinstance(header.request, Join):
            self._timer.cancel()
            self._owner.joining(request, header.request)
        elif self.stranger:
            reason = "whoever has no certificate of this mesh may only join it"
            self.refuse(request, ErrorInfo(code=ErrorCode.FORBIDDEN, reason=reason))
        else:
            self._owner.asked(request, header)

    def _reject(self, stream: int, reason: str) -> None:
        """A request that breaks the rules, without harm to the others of this connection."""
        self._owner.nonsense(self, reason)
        self._send_error(stream, ErrorInfo(code=ErrorCode.BAD_REQUEST, reason=reason))

    def _count_open(self) -> int:
        """Requests that the peer knows to be open.

        An answer that has left may still keep memory here: we learn later than the peer that it has come.
        """
        requests = self._requests.values()
        return sum(not one.answered or self.link.is_sending(one.stream) for one in requests)

    def _gone(self, stream: int, reason: str) -> None:
        request = self._requests.get(stream)
        if request is not None and not request.answered:
            del self._requests[stream]
            request.answered = True
            self._owner.request_gone(request, reason)

    # -- what the link tells -------------------------------------------------------------------------

    def frame_received(self, link: Link, frame: Frame) -> None:
        if not self.ready.done():
            self._greeting_came(frame)
            return
        match frame.type:
            case FrameType.REQ:
                self._asked(frame)
            case FrameType.RES:
                self._answer_came(frame)
            case FrameType.ERR:
                self._refusal_came(frame)
            case FrameType.CANCEL:
                self._cancelled(frame.stream)
            case FrameType.PING:
                self._send(FrameType.PONG, frame.stream, b"")
            case FrameType.HELLO:
                raise PeerError("a second HELLO on one connection")
            case _:
                # PONG and PROGRESS ask for nothing.
                pass

    def body_received(self, link: Link, stream: int) -> None:
        call = self._calls.get(stream)
        if call is not None and call.response is not None:
            self._conclude(call, call.response)
        elif (request := self._requests.get(stream)) is not None:
            request.coming = False
            if not request.answered:
                self._owner.body_received(request)

    def body_failed(self, link: Link, stream: int, reason: str) -> None:
        if (call := self._calls.get(stream)) is not None:
            self.give_up(call)
            call.fail(self._unavailable(f"the answer broke off: {reason}"))
        elif (request := self._requests.get(stream)) is not None:
            request.coming = False
            if reason != CANCELLED and not request.answered:
                self._reject(stream, reason)
            self._gone(stream, reason)

    def link_lost(self, link: Link, reason: str) -> None:
        if self._lost is not None:
            return
        self._timer.cancel()
        self._lost = reason
        if not self.ready.done():
            error = link.error
            self.ready.set_exception(error if isinstance(error, OSError) else PeerError(reason))
        calls = [*self._calls.values(), *self._waiting]
        self._calls.clear()
        self._waiting.clear()
        # Its owner first: what follows may want to call this peer again.
        self._owner.lost(self, reason)
        for stream in list(self._requests):
            self._gone(stream, reason)
        for call in calls:
            call.fail(self._unreachable(reason))

    # -- within --------------------------------------------------------------------------------------

    def _greeting_came(self, frame: Frame) -> None:
        if frame.type is not FrameType.HELLO:
            raise PeerError(f"{frame.type.name} came before HELLO")
        hello = codec.decode(Hello, frame.header)
        self._timer.cancel()
        self.peer = hello.node
        try:
            self._terms.judge(hello, self.link.peer, dialed=self.link.dialed)
        except Unfit as unfit:
            self.ready.set_exception(unfit)
            if str(unfit) != OWN_ADDRESS:
                self._owner.unfit(self, str(unfit))
            self.close(str(unfit))
            return
        self.stranger = hello.mesh is None
        if not self.link.dialed:
            self.bulk = hello.bulk
        if self.stranger:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(STRANGER_S, self._silent, "did not show a ticket")
        self.ready.set_result(None)
        self._owner.greeted(self)

    def _cancelled(self, stream: int) -> None:
        if (call := self._calls.get(stream)) is not None:
            self._forget(stream)
            call.fail(self._unavailable("the peer gave the request up"))
        else:
            self._gone(stream, "cancelled by the peer")

    def _silent(self, what: str) -> None:
        self.close(f"the other side {what} in time")

    def _unreachable(self, reason: str) -> ErrorInfo:
        return self._unavailable(f"the connection to node {short(self.peer)} is gone: {reason}")

    def _unavailable(self, reason: str) -> ErrorInfo:
        return ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason, node=self.peer)

    def _send_error(self, stream: int, error: ErrorInfo) -> None:
        header = ErrorHeader(error=error, load=self._owner.load())
        self._send(FrameType.ERR, stream, codec.encode(header), TrafficClass.RPC)

    def _send(
        self,
        kind: FrameType,
        stream: int,
        header: bytes,
        klass: TrafficClass = TrafficClass.CONTROL,
    ) -> None:
        self.link.send(Frame(kind, klass, stream, header))


def _said_by(error: ErrorInfo, peer: NodeId) -> ErrorInfo:
    return msgspec.structs.replace(error, node=error.node or peer)
