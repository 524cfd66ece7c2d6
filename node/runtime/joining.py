"""The joiner's side of a ticket: dial the minter as a stranger, show the token, take home the certificates."""

import asyncio

from node.runtime import tls
from node.runtime.calls import IncomingRequest, OutgoingCall
from node.runtime.connection import Connection
from node.runtime.greeting import Terms
from node.runtime.links import Link
from node.runtime.reaching import bare, reach
from node.runtime.tcp_link import Security
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, short
from protocol.messages import Join, Joined, RequestHeader, Response
from protocol.ticket import Ticket, read_token

ANSWER_S = 15.0
"""Signing takes milliseconds, but the minter may have to start the process that signs."""


async def ask_to_join(ticket: Ticket, join: Join, own: NodeId, software: str) -> Joined:
    """TaskError with the minter's code and reason if it refuses, UNAVAILABLE if it does not answer."""
    minter = read_token(ticket.token).claims.minter
    joiner = _Joiner(Terms(own, None, software), minter)
    security = Security(tls.joining_context(ticket), tls.peer_id)
    connection = await reach(ticket.addresses, bare(security), joiner.connect, minter)
    answer: asyncio.Future[Response] = asyncio.get_running_loop().create_future()

    def failed(error: ErrorInfo) -> None:
        if not answer.done():
            answer.set_exception(TaskError.of(error))

    def answered(response: Response, load: LoadDigest) -> None:
        if not answer.done():
            answer.set_result(response)

    call = OutgoingCall(connection.peer, join, ANSWER_S, answered=answered, failed=failed)
    connection.start(call)
    try:
        joined = await answer
    finally:
        call.cancel()
        connection.close("the joiner has its answer")
    assert isinstance(joined, Joined)
    return joined


class _Joiner:
    """Owns the one connection of a joiner, who answers no question."""

    def __init__(self, terms: Terms, minter: NodeId) -> None:
        self._terms = terms
        self._minter = minter

    def connect(self, link: Link, address: str) -> Connection:
        return Connection(link, self, self._terms, address=address)

    def greeted(self, connection: Connection) -> None:
        if connection.peer != self._minter:
            connection.close(
                f"node {short(self._minter)} was sought here, with a ticket of its own"
            )

    def unfit(self, connection: Connection, reason: str) -> None:
        """`reach` raises it."""

    def nonsense(self, connection: Connection, reason: str) -> None:
        pass

    def lost(self, connection: Connection, reason: str) -> None:
        """Its call fails with the reason."""

    def joining(self, request: IncomingRequest, join: Join) -> None:
        self._refuse(request)

    def asked(self, request: IncomingRequest, header: RequestHeader) -> None:
        self._refuse(request)

    def body_received(self, request: IncomingRequest) -> None:
        pass

    def request_gone(self, request: IncomingRequest, reason: str) -> None:
        pass

    def replied(self, request: IncomingRequest) -> None:
        pass

    def load(self) -> LoadDigest:
        return LoadDigest()

    def load_told(self, peer: NodeId, load: LoadDigest) -> None:
        """The minter's, which is of no use to who is no member yet."""

    def _refuse(self, request: IncomingRequest) -> None:
        reason = "this node is not in the mesh yet"
        error = ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason)
        request.connection.refuse(request, error)
