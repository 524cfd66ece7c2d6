"""Strangers show their tickets: a few at once, and each is shown out when it has its answer."""

from collections.abc import Callable

from node.runtime.calls import IncomingRequest
from node.runtime.connection import Connection
from node.runtime.heard import Heard
from node.runtime.owned_tasks import OwnedTasks
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import short
from protocol.messages import Join

REDEMPTIONS_MAX = 16
"""Tickets redeemed at once; further strangers are told to come back."""


class Redeeming:
    """Of one switchboard. `tell` notes what the stranger on a connection has caused."""

    def __init__(self, heard: Heard, tasks: OwnedTasks, tell: Callable[..., None]) -> None:
        self.closing = False
        """The node is stopping, and tells that on all connections itself."""
        self._heard = heard
        self._tasks = tasks
        self._tell = tell
        self._under_way = 0

    def begin(self, request: IncomingRequest, join: Join) -> None:
        if self._under_way >= REDEMPTIONS_MAX:
            reason = f"{REDEMPTIONS_MAX} others are joining at the moment; try again"
            busy = ErrorInfo(code=ErrorCode.OVERLOADED, reason=reason, retry_after_s=1.0)
            request.connection.refuse(request, busy)
            _show_out(request.connection)
            return
        self._under_way += 1
        self._tasks.start(self._redeem(request, join))

    async def _redeem(self, request: IncomingRequest, join: Join) -> None:
        connection = request.connection
        try:
            joined = await self._heard.redeem(join)
        except TaskError as refused:
            reason = refused.info.reason
            self._tell(connection, "ticket.refused", node=short(connection.peer), reason=reason)
            if not request.answered:
                connection.refuse(request, refused.info)
        else:
            if not request.answered:
                connection.reply(request, joined, None)
        finally:
            self._under_way -= 1
            if not self.closing:
                _show_out(connection)


def _show_out(connection: Connection) -> None:
    if connection.stranger:
        connection.close("a stranger has nothing more to do here")
