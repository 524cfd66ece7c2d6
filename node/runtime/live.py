"""The live driver: carries out the Node's effects on threads and disk, and tells it what became of them.

It decides nothing. After every input it re-arms one timer for the Node's deadline.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, assert_never

import msgspec
import numpy as np
import psutil

from compute.partition import Block, BlockGrid, Matrix
from node.core import Node
from node.effects import (
    Allocate,
    Call,
    CancelCall,
    CancelWork,
    Dial,
    Done,
    Effect,
    Failed,
    Free,
    GiveRows,
    Grant,
    Hang,
    KeepPeers,
    Note,
    Outcome,
    Refuse,
    Relay,
    Reply,
    RowsTaken,
    TakeRows,
    Work,
)
from node.runtime.arena import Arena
from node.runtime.intake import Intake
from node.runtime.relay import relay
from node.runtime.sessions import Session
from node.runtime.store import Store, content_id
from node.runtime.workshop import Blocking, Workshop
from node.service import MatrixAnswer, MatrixBody
from protocol.client import (
    MatmulRequest,
    PeerView,
    PlanRequest,
    PlanView,
    PutRequest,
    StatusView,
    TicketRequest,
    TicketView,
    WeightsView,
)
from protocol.errors import ErrorCode, ErrorInfo, SedmaError, TaskError
from protocol.ids import ContentId
from protocol.npy import require_2d

SAMPLE_S = 1.0
"""How often the process's resident memory is measured."""
DOWNLOAD_ROWS = 64


T = TypeVar("T")


class Log(Protocol):
    """Where notes go."""

    def info(self, event: str, /, **fields: Any) -> object: ...

    def exception(self, event: str, /, **fields: Any) -> object: ...


@dataclass(frozen=True, slots=True)
class Face:
    """What `status` tells that the Node does not know."""

    name: str
    version: str
    data_dir: Path
    listen: tuple[str, ...] = ()


class Live:
    """The Service behind the HTTP side, and the hands of the Node."""

    def __init__(
        self,
        node: Node,
        store: Store,
        face: Face,
        workers: int,
        spool: Path,
        log: Log,
    ) -> None:
        self.api_url = ""
        self.stopping = False
        self._node = node
        self._store = store
        self._face = face
        self._spool = spool
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._arena = Arena()
        self._workshop = Workshop(self._arena, store)
        self._pool = ThreadPoolExecutor(workers, "worker")
        self._sessions: dict[str, Session] = {}
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._process = psutil.Process()
        self._began_at = self._loop.time()
        self._sampler = self._loop.call_soon(self._sample)

    # -- start and stop ------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up what the disk remembers."""
        manifests, damaged = self._store.manifests()
        for file in damaged:
            self._log.info("manifest.damaged", file=file)
        self.feed(self._node.restore(manifests, self._now))

    async def close(self) -> None:
        self.stopping = True
        self._sampler.cancel()
        if self._timer is not None:
            self._timer.cancel()
        for task in list(self._sessions):
            self.feed(self._node.cancel(task, self._now))
        for job in list(self._jobs.values()):
            job.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    # -- the Service ---------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        return not self.stopping and self._node.loading == 0

    def status(self) -> StatusView:
        node, ledger = self._node, self._node.ledger
        digest = ledger.digest()
        state = "stopping" if self.stopping else "ready" if self.ready else "starting"
        return StatusView(
            id=node.own,
            name=self._face.name,
            version=self._face.version,
            mesh="",
            state=state,
            budget_bytes=digest.budget,
            rss_bytes=self._process.memory_info().rss,
            free_bytes=digest.free,
            pinned_bytes=digest.pinned,
            leased_bytes=ledger.accounted_bytes - ledger.overhead_bytes,
            disk_budget_bytes=self._store.quota_bytes,
            disk_used_bytes=self._store.used_bytes,
            peers=0,
            weights=len(node.catalogue.living()),
            tasks_in_flight=node.tasks,
            tasks_done=node.done,
            tasks_failed=node.failed,
            listen=self._face.listen,
            api=self.api_url,
            data_dir=str(self._face.data_dir),
            can_invite=False,
            uptime_s=self._now - self._began_at,
        )

    def peers(self) -> list[PeerView]:
        return []

    def weights(self) -> list[WeightsView]:
        return self._node.weights()

    def plan(self, request: PlanRequest) -> PlanView:
        return self._node.plan(request)

    async def put(self, request: PutRequest, body: MatrixBody) -> WeightsView:
        shape = require_2d(body.header, "weights")
        session = self._session(body)
        task, effects = self._node.put(request, shape, time.time_ns() // 1_000_000, self._now)
        await self._run(task, session, effects, session.ended)
        view = self._node.view(self._node.manifest(request.name))
        return msgspec.structs.replace(view, converted=body.header.converted)

    async def matmul(self, request: MatmulRequest, body: MatrixBody) -> MatrixAnswer:
        session = self._session(body)
        rows, width = session.intake.rows, session.intake.columns
        task, gives, effects = self._node.matmul(request, rows, width, self._now)
        certificate = await self._run(task, session, effects, session.answer)
        return MatrixAnswer(
            shape=(gives,) if len(body.header.shape) == 1 else (rows, gives),
            chunks=session.chunks(),
            task=task,
            certificate=certificate,
            converted=body.header.converted,
        )

    async def remove(self, name: str, if_match: str | None) -> None:
        wall_ms = time.time_ns() // 1_000_000
        self.feed(self._node.remove(name, if_match, wall_ms, self._now))

    async def download(self, name: str) -> MatrixAnswer:
        manifest = self._node.manifest(name)
        grid = BlockGrid(manifest.head.rows, manifest.head.columns)
        contents = {
            block: entry.content
            for block, entry in zip(grid.blocks(), manifest.entries, strict=True)
        }

        async def chunks() -> AsyncIterator[memoryview]:
            for row in range(grid.row_blocks):
                strips = _strips(self._store, grid, contents, row)
                while True:
                    rows = await self._loop.run_in_executor(self._pool, next, strips, None)
                    if rows is None:
                        break
                    yield rows.data.cast("B")

        return MatrixAnswer(shape=(grid.rows, grid.columns), chunks=chunks())

    async def ticket(self, request: TicketRequest) -> TicketView:
        reason = "this version runs on its own: it cannot invite other nodes yet"
        raise TaskError(ErrorCode.UNAVAILABLE, reason)

    # -- effects -------------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        """Carry out what the Node asks for."""
        for effect in effects:
            match effect:
                case Allocate():
                    self._arena.allocate(effect.buffer)
                case Free():
                    self._arena.free(effect.buffer)
                case Work():
                    self._start(effect)
                case CancelWork():
                    if (job := self._jobs.pop(effect.job, None)) is not None:
                        job.cancel()
                case Done():
                    self._sessions.pop(effect.task).finish()
                case Failed():
                    self._sessions.pop(effect.task).fail(TaskError.of(effect.error))
                case Note():
                    self._log.info(effect.event, **effect.fields)
                case (
                    Dial()
                    | Hang()
                    | Call()
                    | CancelCall()
                    | Grant()
                    | Reply()
                    | Refuse()
                    | KeepPeers()
                ):
                    raise AssertionError(f"a node on its own has no peers: {effect}")
                case _:
                    assert_never(effect)
        self._rearm()

    def _start(self, work: Work) -> None:
        what = work.what
        match what:
            case TakeRows():
                doing = self._take(what)
            case GiveRows():
                self._give(work.job, what)
                return
            case Relay():
                intake = self._sessions[what.task].intake
                doing = relay(what, intake, self._workshop, self._store, self._pool)
            case _:
                doing = self._blocking(what)
        self._jobs[work.job] = self._loop.create_task(self._follow(work.job, doing))

    async def _follow(self, job: int, doing: Coroutine[object, object, Outcome]) -> None:
        """Await one piece of work and tell the Node how it ended."""
        try:
            outcome = await doing
        except SedmaError as error:
            info = error.info if isinstance(error, TaskError) else _internal(error)
            self._ended(job, lambda: self._node.job_failed(job, info, self._now))
        except Exception as error:  # noqa: BLE001
            # The outermost loop of this work: the task fails, the node goes on.
            self._log.exception("work.broke", job=job)
            info = _internal(error)
            self._ended(job, lambda: self._node.job_failed(job, info, self._now))
        else:
            self._ended(job, lambda: self._node.job_done(job, outcome, self._now))

    def _ended(self, job: int, tell: Callable[[], list[Effect]]) -> None:
        if self._jobs.pop(job, None) is not None:
            self.feed(tell())

    async def _blocking(self, what: Blocking) -> Outcome:
        return await self._loop.run_in_executor(self._pool, self._workshop.do, what)

    async def _take(self, work: TakeRows) -> Outcome:
        intake = self._sessions[work.task].intake
        rows = self._arena.matrix(work.into, work.m, intake.columns)
        await intake.take(rows)
        content = await self._loop.run_in_executor(
            self._pool, content_id, self._arena.bytes(work.into)
        )
        return RowsTaken(int(content[:16], 16))

    def _give(self, job: int, work: GiveRows) -> None:
        session = self._sessions[work.task]
        rows = self._arena.bytes(work.rows)
        if work.last and not session.spooling:

            def sent() -> None:
                self.feed(self._node.job_done(job, None, self._now))

            session.give(rows, work.certificate, sent)
            return

        async def spooled() -> Outcome:
            await session.spool(rows, work.last, work.certificate)
            return None

        self._jobs[job] = self._loop.create_task(self._follow(job, spooled()))

    # -- within --------------------------------------------------------------------------------------

    @property
    def _now(self) -> float:
        return self._loop.time()

    def _session(self, body: MatrixBody) -> Session:
        intake = Intake(body.header, body.chunks, self._pool, self._spool)
        return Session(intake, self._pool, self._spool)

    async def _run(
        self, task: str, session: Session, effects: list[Effect], awaited: "asyncio.Future[T]"
    ) -> T:
        self._sessions[task] = session
        self.feed(effects)
        try:
            return await awaited
        except asyncio.CancelledError:
            self.feed(self._node.cancel(task, self._now))
            raise

    def _sample(self) -> None:
        rss = self._process.memory_info().rss
        self.feed(self._node.memory_measured(rss, self._now))
        self._sampler = self._loop.call_later(SAMPLE_S, self._sample)

    def _tick(self) -> None:
        self._timer = None
        self.feed(self._node.tick(self._now))

    def _rearm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._node.deadline) is not None and not self.stopping:
            self._timer = self._loop.call_at(deadline, self._tick)


def _strips(
    store: Store, grid: BlockGrid, contents: dict[Block, ContentId], row: int
) -> Iterator[Matrix]:
    """One block row of a matrix from disk, some rows at a time, put together from its blocks."""
    panels = []
    for column in range(grid.column_blocks):
        start, stop = grid.column_span(column)
        panels.append(store.panels(contents[Block(row, column)], stop - start, DOWNLOAD_ROWS))
    for pieces in zip(*panels, strict=True):
        yield np.concatenate([rows for _, rows in pieces], axis=1)


def _internal(error: Exception) -> ErrorInfo:
    return ErrorInfo(code=ErrorCode.INTERNAL, reason=f"the node failed: {error}; see its log")
