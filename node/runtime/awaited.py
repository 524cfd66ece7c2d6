"""A task of this node that has no bodies: whoever began it awaits its end."""

import asyncio
from typing import Protocol

from protocol.errors import TaskError


class Ending(Protocol):
    """Who is told how a client's task ended."""

    def finish(self) -> None: ...

    def fail(self, error: TaskError) -> None: ...


class Awaited:
    """`ended` is done with the task; it raises the TaskError with which the task failed."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def finish(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: TaskError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)
            # Retrieved here, for a client that has gone does not await it.
            self.ended.exception()
