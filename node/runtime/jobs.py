"""The work under way for one Node: each piece is one task, and its end is told once, unless it was cancelled before."""

import asyncio
import errno
from collections.abc import Callable, Coroutine

from node.log import Log
from node.work import Outcome
from protocol.errors import ErrorCode, ErrorInfo, SedmaError, TaskError

LEAVING_S = 1.0
"""So long the end of a node waits for threads whose work nobody wants any more."""

Doing = Callable[[], Coroutine[object, object, Outcome]]

FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
FULL = ErrorInfo(
    code=ErrorCode.INTERNAL,
    reason="the disk of this node is full: make room where its data directory lies, or ask another node",
)


class Jobs:
    """Numbered by the Node; `done` and `failed` are told how they end."""

    def __init__(
        self,
        log: Log,
        done: Callable[[int, Outcome], None],
        failed: Callable[[int, ErrorInfo], None],
    ) -> None:
        self._log = log
        self._done = done
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._lasting: set[int] = set()
        self._writing_since: dict[int, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        """Cancelled and not ended yet: a thread of theirs may be at work."""
        self._given_up = asyncio.Event()

    @property
    def are_leaving(self) -> bool:
        """A thread may be at work for a job that was cancelled."""
        return bool(self._leaving)

    def begin(
        self, number: int, doing: Doing, *, lasting: bool = False, writes_from: int | None = None
    ) -> None:
        """`lasting`: `close` waits for it instead of cancelling it. `writes_from`: the stamp of the store at its
        beginning, if it may write there."""
        if writes_from is not None:
            self._writing_since[number] = writes_from
        self._running[number] = self._loop.create_task(self._follow(number, doing))
        if lasting:
            self._lasting.add(number)

    def cancel(self, number: int) -> None:
        """Nothing more is told of it."""
        self._writing_since.pop(number, None)
        if (job := self._running.pop(number, None)) is not None:
            job.cancel()
            self._leaving.add(job)
            job.add_done_callback(self._leaving.discard)

    def heard_up_to(self, stamp: int) -> int:
        """Of what was written before this the Node has heard; of what has been since, perhaps not."""
        return min(self._writing_since.values(), default=stamp)

    async def settled(self) -> None:
        """Return once no thread works for a job that was cancelled before, or the end does not wait for it."""
        if self._leaving and not self._given_up.is_set():
            given_up = asyncio.create_task(self._given_up.wait())
            left = asyncio.create_task(asyncio.wait(set(self._leaving)))
            await asyncio.wait({given_up, left}, return_when=asyncio.FIRST_COMPLETED)
            given_up.cancel()
            left.cancel()

    async def close(self) -> None:
        """Threads that are at work for nobody are waited for a moment; what lasts is, however long it takes."""
        for number in self._running.keys() - self._lasting:
            self.cancel(number)
        if self._leaving:
            await asyncio.wait(set(self._leaving), timeout=LEAVING_S)
        self._given_up.set()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _follow(self, number: int, doing: Doing) -> None:
        try:
            outcome = await doing()
        except SedmaError as error:
            info = error.info if isinstance(error, TaskError) else _internal(error)
            self._end(number, lambda: self._failed(number, info))
        except Exception as error:  # noqa: BLE001
            # The outermost loop of this work: the task fails, the node goes on.
            if isinstance(error, OSError) and error.errno in FULL_ERRORS:
                self._log.warning("disk.full", job=number, reason=str(error))
                info = FULL
            else:
                self._log.exception("work.broke", job=number)
                info = _internal(error)
            self._end(number, lambda: self._failed(number, info))
        else:
            self._end(number, lambda: self._done(number, outcome))

    def _end(self, number: int, tell: Callable[[], None]) -> None:
        self._lasting.discard(number)
        self._writing_since.pop(number, None)
        if self._running.pop(number, None) is not None:
            tell()


def _internal(error: Exception) -> ErrorInfo:
    return ErrorInfo(code=ErrorCode.INTERNAL, reason=f"the node failed: {error}; see its log")
