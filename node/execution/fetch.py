"""One block on its way to this node for a client that downloads weights: asked of its holders in turn.

The block is verified and kept in the spool, outside of what this node holds for the mesh.
"""

from typing import Protocol

import msgspec

from node.communication.desk import Desk
from node.deployment.ledger import Lease, Purpose
from node.effects import Allocate, Call, CancelCall, CancelWork, Done, Effect, Failed, Free, Work
from node.execution.room import Room
from node.work import BufferRef, Outcome, SpoolContent
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import ContentId, NodeId, TaskId, short
from protocol.messages import FetchBlock, Response

FETCH_S = 60.0
"""For one block of at most 4 MiB, on a slow line."""


class Surroundings(Protocol):
    """What a fetch may ask of its node."""

    desk: Desk
    room: Room

    def linked(self) -> list[NodeId]: ...


class Fetch:
    """Told what became of its calls; `over` once the block is in the spool, or cannot be had."""

    def __init__(
        self,
        task: TaskId,
        content: ContentId,
        nbytes: int,
        holders: tuple[NodeId, ...],
        around: Surroundings,
    ) -> None:
        self.task = task
        self.over = False
        self.deadline: float | None = None
        self._content = content
        self._nbytes = nbytes
        self._holders = holders
        self._left = list(holders)
        self._around = around
        self._lease: Lease | None = None
        self._buffer: BufferRef | None = None
        self._call: int | None = None
        self._job: int | None = None

    def start(self, now: float) -> list[Effect]:
        try:
            return self._around.room.ask(
                self.task, Purpose.ACTIVATIONS, self._nbytes, now, self._granted
            )
        except TaskError as refused:
            return self._fail(refused.info, now)

    def tick(self, now: float) -> list[Effect]:
        raise AssertionError("a fetch waits for its calls only")

    def cancel(self, reason: str, now: float) -> list[Effect]:
        """The client has gone."""
        if self.over:
            return []
        return self._fail(ErrorInfo(code=ErrorCode.CANCELLED, reason=reason), now)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        assert self._buffer is not None
        self._call = None
        self._job = self._around.desk.number(self)
        return [Work(self._job, SpoolContent(self._buffer, self._content))]

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        self._call = None
        return self._next(now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        return [*self._end(now), Done(self.task)]

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        """The bytes were not those that we asked for, or the disk is full."""
        self._job = None
        return self._next(now) if error.code is ErrorCode.NOT_FOUND else self._fail(error, now)

    def _granted(self, lease: Lease, now: float) -> list[Effect]:
        self._lease = lease
        self._buffer = self._around.desk.buffer(self._nbytes)
        return [Allocate(self._buffer), *self._next(now)]

    def _next(self, now: float) -> list[Effect]:
        """Ask the next holder that is linked; UNAVAILABLE when all have been asked."""
        linked = self._around.linked()
        while self._left:
            holder = self._left.pop(0)
            if holder in linked:
                self._call = self._around.desk.number(self)
                request = FetchBlock(content=self._content, nbytes=self._nbytes)
                return [
                    Call(self._call, holder, request, FETCH_S, into=self._buffer, trace=self.task)
                ]
        names = ", ".join(short(holder) for holder in self._holders)
        reason = f"no holder of a block answers: {names}; start one of these nodes"
        return self._fail(ErrorInfo(code=ErrorCode.UNAVAILABLE, reason=reason), now)

    def _fail(self, error: ErrorInfo, now: float) -> list[Effect]:
        effects: list[Effect] = []
        if self._call is not None:
            self._around.desk.forget(self._call)
            effects.append(CancelCall(self._call))
        if self._job is not None:
            self._around.desk.forget(self._job)
            effects.append(CancelWork(self._job))
        info = msgspec.structs.replace(error, trace=self.task)
        return [*effects, *self._end(now), Failed(self.task, info)]

    def _end(self, now: float) -> list[Effect]:
        self.over = True
        self._around.room.withdraw(self.task)
        effects: list[Effect] = [] if self._buffer is None else [Free(self._buffer)]
        if self._lease is not None:
            effects += self._around.room.give_back(self._lease, now)
        return effects
