"""The holder's side: leads what other nodes ask of this one from the first word to the last byte.

Every request ends in exactly one answer or refusal, unless its peer is gone before. Memory is taken before a body may
come and given back as soon as it is not needed; workers go to whose deadline is nearest. The stages of each kind of
request stand in `errands`. It never calls a peer, so it waits for nobody for ever.
"""

import heapq
from collections.abc import Callable
from math import inf

import msgspec

from node.communication.admission import in_vain
from node.communication.desk import OnlyWork
from node.communication.scoring import SPEED_UNKNOWN_MACS_S
from node.deployment.ledger import Lease, Purpose
from node.effects import Allocate, Effect, Free, Grant, Refuse, Reply, Work
from node.execution.errands import WAITING, Errand, Stage, Surroundings, errand
from node.execution.shards import threads_worth
from node.work import Discard, Outcome
from protocol.digests import LoadDigest
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId
from protocol.limits import STREAMS_MAX
from protocol.messages import Release, RequestHeader, Reserve, Reserved, Response, Taken
from protocol.quantities import duration_text

OPEN_PER_PEER_MAX = STREAMS_MAX
"""Requests of one peer under way here; it is told to come back with further ones."""
RETRY_AFTER_S = 1.0
ENDS_SPARE = 64
"""Moments kept of requests that do not wait any more, beside as many as there are requests."""


class Serving(OnlyWork):
    """Told of peers' requests and of what became of the work; `deadline` says when to tick."""

    def __init__(self, around: Surroundings, workers: int) -> None:
        assert workers >= 1
        self._around = around
        self._workers = workers
        self._open: dict[int, Errand] = {}
        self._open_of: dict[NodeId, int] = {}
        self._jobs: dict[int, Errand] = {}
        self._queue: list[tuple[float, int, Errand]] = []
        """For a worker, the earliest deadline first."""
        self._running: set[Errand] = set()
        """Of those that need a worker's slot."""
        self._ahead: dict[Errand, None] = {}
        """Products that have been let in and have not begun."""
        self._ends: list[tuple[float, int]] = []
        """When each request runs out of time, as a heap; those that wait no more are taken out later."""

    def load(self, now: float) -> LoadDigest:
        """How busy this node is. A shard's speed is that of all workers together, for its blocks are shared out
        among them."""
        memory, own = self._around.memory, self._around.own
        ours_s = self._around.outstanding.queue_s(own, now, told_s=0.0, told_at=-inf, rtt_s=0.0)
        return LoadDigest(
            queue_s=self.backlog_s(now) + ours_s,
            in_flight=len(self._open) + self._around.outstanding.count(own),
            speed_macs_s=memory.forecast_speed_macs_s(own, now) or 0.0,
            analog_macs_s=memory.forecast_speed_macs_s(own, now, analog=True) or 0.0,
            free=self._around.holding.room_bytes,
        )

    @property
    def open(self) -> int:
        """Requests of others under way here."""
        return len(self._open)

    def backlog_s(self, now: float) -> float:
        """Seconds until a product that comes now would begin, for others' products that are here already."""
        running_s = 0.0
        for one in self._running:
            service_s = self._service_s(one, now)[0]
            left = 1.0 - min((now - one.began_at) / service_s, 1.0) if service_s else 0.0
            running_s += left * self._takes_s(one, now)
        return sum(self._takes_s(one, now) for one in self._ahead) + running_s

    @property
    def deadline(self) -> float | None:
        """When the next request that still waits for something runs out of time."""
        while self._ends and not self._waits_until(*self._ends[0]):
            heapq.heappop(self._ends)
        return self._ends[0][0] if self._ends else None

    # -- requests ------------------------------------------------------------------------------------

    def asked(self, request: int, peer: NodeId, header: RequestHeader, now: float) -> list[Effect]:
        assert request not in self._open
        try:
            match header.request:
                case Reserve():
                    return [self._reserve(request, header.request, header.body_bytes, now)]
                case Release():
                    return [*self._release(header.request), Reply(request, Taken())]
                case _:
                    self._admit(peer, header)
                    one = errand(self._around, request, peer, header, now)
                    self._require_time(one, now)
                    return self._begin(one, now)
        except TaskError as error:
            return [self._refusal(request, header.trace, error.info)]

    def body_received(self, request: int, now: float) -> list[Effect]:
        one = self._open.get(request)
        if one is None:
            return []
        assert one.stage is Stage.BODY
        one.body_at = now
        return self._advance(one, now)

    def request_gone(self, request: int, now: float) -> list[Effect]:
        """The peer has cancelled, or its link is lost: nothing is answered."""
        one = self._open.get(request)
        if one is None:
            return []
        if one.stage in WAITING:
            return [*one.dropped(), *self._close(one, now)]
        # Work that has begun cannot be stopped: its buffers stay until it ends.
        one.gone = True
        return []

    def replied(self, request: int, now: float) -> list[Effect]:
        """The answer's body has left, or never will."""
        one = self._open[request]
        assert one.stage is Stage.REPLY
        return self._close(one, now)

    # -- what happens --------------------------------------------------------------------------------

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        one = self._ended(job)
        effects = self._guard(one, lambda: self._answer(one, one.worked(outcome, now), now), now)
        return effects + self._fill(now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        one = self._ended(job)
        return self._refuse(one, error, now) + self._fill(now)

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while (deadline := self.deadline) is not None and deadline <= now:
            one = self._open[heapq.heappop(self._ends)[1]]
            reason = f"its time was up while it waited for {one.stage.value}; allow it more"
            late = ErrorInfo(code=ErrorCode.DEADLINE, reason=reason)
            effects += self._refuse(one, late, now)
        return effects

    # -- at once -------------------------------------------------------------------------------------

    def _reserve(self, request: int, asked: Reserve, body_bytes: int, now: float) -> Effect:
        if asked.nbytes < 1 or body_bytes:
            reason = (
                f"a reservation is for at least 1 byte and has no body; this one is for"
                f" {asked.nbytes} bytes, with a body of {body_bytes}"
            )
            raise TaskError(ErrorCode.BAD_REQUEST, reason)
        self._around.holding.reserve(asked.put, asked.nbytes, now)
        return Reply(request, Reserved())

    def _release(self, asked: Release) -> list[Effect]:
        released = self._around.holding.release(asked.put)
        if released is None or not released[1]:
            return []
        number = self._around.desk.number(self._around.catalogue)
        return [Work(number, Discard(*released, contents=()))]

    # -- from stage to stage -------------------------------------------------------------------------

    def _admit(self, peer: NodeId, header: RequestHeader) -> None:
        if header.deadline_ms == 0:
            reason = "no time is left for this request; allow it more"
            raise TaskError(ErrorCode.DEADLINE, reason)
        if self._open_of.get(peer, 0) >= OPEN_PER_PEER_MAX:
            reason = (
                f"{OPEN_PER_PEER_MAX} requests of this peer are under way here; come back later"
            )
            raise TaskError(ErrorCode.OVERLOADED, reason, retry_after_s=RETRY_AFTER_S)

    def _require_time(self, one: Errand, now: float) -> None:
        """OVERLOADED, before a byte of its body has moved, where a product would only wait in vain."""
        service_s, measured = self._service_s(one, now)
        if not (one.macs and measured and self._around.chooser.sheds):
            return
        queue_s, left_s = self.load(now).queue_s, one.ends_at - now
        retry_after_s = in_vain(queue_s, service_s, left_s)
        if retry_after_s is not None:
            reason = (
                f"there is work for {duration_text(queue_s)} ahead of it here, it takes"
                f" {duration_text(service_s)} itself, and {duration_text(left_s)} are left"
            )
            raise TaskError(ErrorCode.OVERLOADED, reason, retry_after_s=retry_after_s)

    def _begin(self, one: Errand, now: float) -> list[Effect]:
        self._open[one.number] = one
        self._open_of[one.peer] = self._open_of.get(one.peer, 0) + 1
        if one.macs:
            self._ahead[one] = None
        heapq.heappush(self._ends, (one.ends_at, one.number))
        return self._guard(one, lambda: self._enter(one, now), now)

    def _advance(self, one: Errand, now: float) -> list[Effect]:
        return self._guard(one, lambda: self._next(one, now), now)

    def _next(self, one: Errand, now: float) -> list[Effect]:
        one.stage = one.stages[one.stages.index(one.stage) + 1]
        return self._enter(one, now)

    def _enter(self, one: Errand, now: float) -> list[Effect]:
        match one.stage:
            case Stage.ROOM:
                return self._ask_for_room(one, now)
            case Stage.BODY:
                assert one.incoming is not None
                return [*self._allocate(one), Grant(one.number, one.incoming)]
            case Stage.SLOT:
                heapq.heappush(self._queue, (one.ends_at, one.number, one))
                return self._fill(now)
            case Stage.WORK:
                return [*self._allocate(one), self._work(one, now)]
            case Stage.REPLY:
                return []

    def _ask_for_room(self, one: Errand, now: float) -> list[Effect]:
        def granted(lease: Lease, at: float) -> list[Effect]:
            one.lease = lease
            return self._advance(one, at)

        need = sum(buffer.nbytes for buffer in one.buffers())
        return self._around.room.ask(one.owner, Purpose.STREAM, need, now, granted)

    def _allocate(self, one: Errand) -> list[Effect]:
        """All its buffers, when the first of them is needed."""
        if one.held:
            return []
        one.held = one.buffers()
        return [Allocate(buffer) for buffer in one.held]

    def _fill(self, now: float) -> list[Effect]:
        """Give free workers to whose time is up first. Where deadlines differ, this keeps one request in a hundred more
        in time than the order of arrival (`bench/choice_model.py`)."""
        effects: list[Effect] = []
        while self._queue and len(self._running) < self._workers:
            one = heapq.heappop(self._queue)[2]
            if self._too_late(one, now):
                reason = "others' work took so long that it could not be done in time any more"
                effects += self._refuse(
                    one, ErrorInfo(code=ErrorCode.OVERLOADED, reason=reason), now
                )
                continue
            self._running.add(one)
            effects += self._advance(one, now)
        return effects

    def _too_late(self, one: Errand, now: float) -> bool:
        """Nobody waits for what comes after its deadline; what had not to wait is never judged by an estimate."""
        service_s, measured = self._service_s(one, now)
        judged = measured and self._around.chooser.sheds and now > one.body_at
        return judged and now + service_s > one.ends_at

    def _work(self, one: Errand, now: float) -> Work:
        self._ahead.pop(one, None)
        one.began_at = now
        # The number is drawn last: one for work that is never ordered would be waited for for ever.
        what = one.job()
        work = Work(self._around.desk.number(self), what)
        self._jobs[work.job] = one
        return work

    def _ended(self, job: int) -> Errand:
        one = self._jobs.pop(job)
        self._running.discard(one)
        return one

    # -- ends ----------------------------------------------------------------------------------------

    def _answer(self, one: Errand, response: Response, now: float) -> list[Effect]:
        if one.gone:
            return self._close(one, now)
        reply = Reply(one.number, response, one.outgoing)
        if one.outgoing is None:
            return [reply, *self._close(one, now)]
        spent = [buffer for buffer in one.held if buffer != one.outgoing]
        one.held = [one.outgoing]
        return [reply, *map(Free, spent), *self._next(one, now)]

    def _guard(self, one: Errand, step: Callable[[], list[Effect]], now: float) -> list[Effect]:
        """A step that finds the errand impossible ends it with the reason."""
        try:
            return step()
        except TaskError as error:
            return self._refuse(one, error.info, now)

    def _refuse(self, one: Errand, error: ErrorInfo, now: float) -> list[Effect]:
        told = [] if one.gone else [self._refusal(one.number, one.trace, error)]
        return [*told, *one.dropped(), *self._close(one, now)]

    def _refusal(self, request: int, trace: str, error: ErrorInfo) -> Refuse:
        node = error.node or self._around.own
        info = msgspec.structs.replace(error, node=node, trace=error.trace or trace or None)
        return Refuse(request, info)

    def _close(self, one: Errand, now: float) -> list[Effect]:
        """Give back all that it has."""
        del self._open[one.number]
        self._clear_ends()
        self._open_of[one.peer] -= 1
        if self._open_of[one.peer] == 0:
            del self._open_of[one.peer]
        self._ahead.pop(one, None)
        if one.stage is Stage.ROOM:
            self._around.room.withdraw(one.owner)
        if (entry := (one.ends_at, one.number, one)) in self._queue:
            self._queue.remove(entry)
            heapq.heapify(self._queue)
        self._running.discard(one)
        effects: list[Effect] = [Free(buffer) for buffer in one.held]
        one.held = []
        if one.lease is not None:
            effects += self._around.room.give_back(one.lease, now)
        return effects

    def _clear_ends(self) -> None:
        """Now and then: a request may be done at once and have hours left, and they come by the hundred a second."""
        if len(self._ends) > 2 * len(self._open) + ENDS_SPARE:
            waiting = [one for one in self._open.values() if one.stage in WAITING]
            self._ends = [(one.ends_at, one.number) for one in waiting]
            heapq.heapify(self._ends)

    def _service_s(self, one: Errand, now: float) -> tuple[float, bool]:
        """How long its work takes, and whether that rests on a measured speed."""
        own = self._around.own
        measured = self._around.memory.forecast_speed_macs_s(own, now, analog=one.analog)
        return one.macs / (measured or SPEED_UNKNOWN_MACS_S), measured is not None

    def _takes_s(self, one: Errand, now: float) -> float:
        """By how much it delays what comes after it: others may run beside it."""
        threads = threads_worth(one.outputs, one.macs, self._workers)
        return self._service_s(one, now)[0] * threads / self._workers

    def _waits_until(self, ends_at: float, number: int) -> bool:
        """Whether this entry is of a request that can still run out of time."""
        one = self._open.get(number)
        return one is not None and one.ends_at == ends_at and one.stage in WAITING
