"""The work that the Node orders, on threads, memory and disk: rows in and out, blocks, shards, manifests."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from node.effects import Work
from node.log import Log
from node.runtime.arena import Arena
from node.runtime.chips import Chips
from node.runtime.jobs import Doing, Jobs
from node.runtime.relay import relay
from node.runtime.sessions import Session
from node.runtime.shard_run import run_shard
from node.runtime.spool import Spool
from node.runtime.store import Store
from node.runtime.switchboard import Switchboard
from node.runtime.workshop import Blocking, Workshop
from node.work import (
    Adopt,
    Discard,
    GiveRows,
    KeepManifest,
    Outcome,
    Relay,
    RunShard,
    SpoolContent,
    TakeRows,
    WriteContent,
)
from protocol.errors import ErrorInfo


class Working:
    """Carries out what `start` is given; `done` and `failed` are told how each piece ended."""

    def __init__(
        self,
        arena: Arena,
        store: Store,
        chips: Chips,
        workers: int,
        folder: Path,
        log: Log,
        *,
        done: Callable[[int, Outcome], None],
        failed: Callable[[int, ErrorInfo], None],
    ) -> None:
        self.pool = ThreadPoolExecutor(workers, "worker")
        self.spool = Spool(folder / "fetched", store.quota_bytes, self.pool)
        self.sessions: dict[str, Session] = {}
        """Clients' tasks whose rows come and go."""
        self.switchboard: Switchboard | None = None
        """Blocks are passed on by it; None before there is a way to peers."""
        self._arena = arena
        self._store = store
        self._workers = workers
        self._workshop = Workshop(arena, store, chips)
        self._done = done
        self._jobs = Jobs(log, done, failed)

    def start(self, work: Work) -> None:
        what = work.what
        doing: Doing
        match what:
            case TakeRows():
                doing = partial(self._take, what)
            case GiveRows():
                self._give(work.job, what)
                return
            case Relay():
                doing = partial(self._relay, what)
            case RunShard():
                doing = partial(run_shard, what, self._workshop, self.pool, self._workers)
            case SpoolContent():
                doing = partial(self._spool_content, what)
            case Discard():
                # What is written from now on, or has been without the Node knowing it yet, is not meant.
                before = self._jobs.heard_up_to(self._store.stamp)
                doing = partial(self._discard, what, before)
            case _:
                doing = partial(self._blocking, what)
        # Without these the disk would not tell the truth at the next start.
        lasting = isinstance(what, KeepManifest | Discard)
        writes = isinstance(what, Adopt | WriteContent | Relay)
        writes_from = self._store.stamp if writes else None
        self._jobs.begin(work.job, doing, lasting=lasting, writes_from=writes_from)

    def cancel(self, job: int) -> None:
        self._jobs.cancel(job)

    @property
    def is_at_work(self) -> bool:
        """A thread has not ended, for a job that was cancelled."""
        return self._jobs.are_leaving

    async def close(self) -> None:
        """Return when nothing is under way that anybody wants. The threads live on until `pool` is shut down."""
        await self._jobs.close()

    # -- within --------------------------------------------------------------------------------------

    async def _discard(self, what: Discard, before: int) -> Outcome:
        # What a cancelled put's last thread still brings must not come after it was let go.
        await self._jobs.settled()
        await asyncio.to_thread(self._workshop.discard, what, before)
        return None

    async def _blocking(self, what: Blocking) -> Outcome:
        if isinstance(what, KeepManifest):
            # The end of the node waits for it, and not for workers that write arrays.
            return await asyncio.to_thread(self._workshop.do, what)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self._workshop.do, what)

    async def _spool_content(self, what: SpoolContent) -> Outcome:
        await self.spool.take(self._arena.bytes(what.buffer), what.content)
        return None

    async def _relay(self, work: Relay) -> Outcome:
        assert self.switchboard is not None
        intake = self.sessions[work.task].intake
        return await relay(work, intake, self._workshop, self._store, self.pool, self.switchboard)

    async def _take(self, work: TakeRows) -> Outcome:
        intake = self.sessions[work.task].intake
        rows = self._arena.matrix(work.into, work.m, intake.columns)
        await intake.take(rows)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.pool, self._workshop.taken, work.into)

    def _give(self, job: int, work: GiveRows) -> None:
        session = self.sessions[work.task]
        rows = self._arena.bytes(work.rows)
        if work.last and not session.spooling:
            session.give(rows, work.certificate, lambda: self._done(job, None))
            return

        async def spooled() -> Outcome:
            await session.spool(rows, work.last, work.certificate)
            return None

        self._jobs.begin(job, spooled)
