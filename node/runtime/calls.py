"""One question between two nodes, as each side keeps it: our call to a peer, and a peer's request to us."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from node.runtime.body_sent import settle
from node.runtime.links import StreamCancelled
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo
from protocol.ids import NodeId, short
from protocol.messages import Request, Response, ResponseHeader

if TYPE_CHECKING:
    from node.runtime.connection import Connection

Answered = Callable[[Response, LoadDigest], None]
Refused = Callable[[ErrorInfo], None]


ENDED = "the call ended before its body was sent"


class OutgoingCall:
    """A question to a peer, until it is answered, refused, given up or out of time."""

    __slots__ = (
        "_answered",
        "_begun",
        "_leaving",
        "_refused",
        "_timer",
        "body",
        "body_bytes",
        "connection",
        "into",
        "over",
        "peer",
        "request",
        "response",
        "stream",
        "trace",
        "until",
    )

    def __init__(
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
    ) -> None:
        loop = asyncio.get_running_loop()
        self.peer = peer
        self.request = request
        self.until = loop.time() + deadline_s
        self.body = body
        self.body_bytes = body_bytes if body is None else body.nbytes
        self.into = into
        self.trace = trace
        self.connection: Connection | None = None
        self.stream = 0
        self.response: ResponseHeader | None = None
        """Has come, and its body is on the way."""
        self.over = False
        self._answered = answered
        self._refused = failed
        self._begun: asyncio.Future[None] | None = None
        self._leaving: asyncio.Future[None] | None = None
        """The last piece of a body that was given to the link."""
        self._timer = loop.call_at(self.until, self._expired, deadline_s)

    async def send(self, piece: memoryview) -> None:
        """Send the next piece of a body that was announced by its size; return when its memory is free.

        Raises LinkClosed or StreamCancelled: `failed` has been told the reason, or will be. Then the transport may
        still have the memory, which must not change any more.
        """
        while self.connection is None and not self.over:
            self._begun = asyncio.get_running_loop().create_future()
            await self._begun
        if self.over or self.connection is None or not self.connection.link.is_sending(self.stream):
            raise StreamCancelled(ENDED)
        self._leaving = self.connection.link.send_body(self.stream, piece)
        await self._leaving

    def cancel(self) -> None:
        """Give it up: the peer is told, nothing more is told here, and the memory is free."""
        if not self.over:
            self._end()
            if self.connection is not None:
                self.connection.give_up(self)

    # -- for the connection --------------------------------------------------------------------------

    def begin(self, connection: "Connection", stream: int) -> None:
        self.connection, self.stream = connection, stream
        self._wake()

    def succeed(self, header: ResponseHeader) -> None:
        self._end()
        self._answered(header.response, header.load)

    def fail(self, error: ErrorInfo) -> None:
        if not self.over:
            self._refuse(error)

    def _expired(self, deadline_s: float) -> None:
        self._end()
        if self.connection is not None:
            self.connection.give_up(self)
        reason = f"node {short(self.peer)} did not answer within {max(deadline_s, 0.0):.3g} s"
        self._refuse(ErrorInfo(code=ErrorCode.DEADLINE, reason=reason, node=self.peer))

    def _refuse(self, error: ErrorInfo) -> None:
        self._end()
        if self._leaving is not None:
            # A peer that does not read may let the transport keep it for as long as the link lives.
            settle(self._leaving, StreamCancelled(ENDED))
        self._refused(error)

    def _end(self) -> None:
        self.over = True
        self._timer.cancel()
        self._wake()

    def _wake(self) -> None:
        if self._begun is not None and not self._begun.done():
            self._begun.set_result(None)


class IncomingRequest:
    """A peer's request, until it is answered or the peer is gone."""

    __slots__ = ("answered", "body_bytes", "coming", "connection", "number", "peer", "stream")

    def __init__(self, connection: "Connection", stream: int, body_bytes: int) -> None:
        self.connection = connection
        self.stream = stream
        self.peer = connection.peer
        self.body_bytes = body_bytes
        self.coming = False
        """Its body has been granted and is not whole yet."""
        self.answered = False
        self.number = 0
