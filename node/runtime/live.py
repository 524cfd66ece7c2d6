"""The live driver: carries out the Node's effects on sockets, threads and disk, and tells it what became of them.

It decides nothing. After every input it re-arms one timer for the Node's deadline.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar, assert_never

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
    Grant,
    Hang,
    KeepIncarnation,
    KeepMembers,
    KeepPeers,
    Note,
    Refuse,
    Reply,
    SendPacket,
    Work,
)
from node.log import Log
from node.runtime.arena import Arena
from node.runtime.awaited import Ending
from node.runtime.calls import OutgoingCall
from node.runtime.chores import Chores, Peers
from node.runtime.intake import Intake
from node.runtime.jobs import Doing, Jobs
from node.runtime.relay import relay
from node.runtime.sessions import Session
from node.runtime.shard_run import run_shard
from node.runtime.spool import Spool
from node.runtime.store import Store, content_id
from node.runtime.strangers import Strangers
from node.runtime.switchboard import Switchboard
from node.runtime.workshop import Blocking, Workshop
from node.service import MatrixBody
from node.work import (
    Adopt,
    Discard,
    GiveRows,
    KeepManifest,
    Outcome,
    Relay,
    RowsTaken,
    RunShard,
    SpoolContent,
    TakeRows,
    WriteContent,
)
from protocol.digests import LoadDigest
from protocol.errors import ErrorInfo, TaskError
from protocol.ids import NodeId
from protocol.messages import Join, Joined, RequestHeader, Response

LOAD_FRESH_S = 0.005
"""How old the load may be that rides on an answer: what a peer makes of it is coarser than that."""

X_KEY_DIGITS = 15
"""Of the hash of X, in hexadecimal: 60 bits, which every field of a message can carry."""

T = TypeVar("T")


class Live:
    """The hands of the Node, and its ears: the switchboard calls the methods named in `Heard`."""

    def __init__(
        self,
        node: Node,
        store: Store,
        workers: int,
        spool: Path,
        log: Log,
        keep_peers: Callable[[Peers], None],
        redeem: Callable[[Join], Coroutine[object, object, Joined]],
    ) -> None:
        self.node = node
        self.store = store
        self.pool = ThreadPoolExecutor(workers, "worker")
        self.spool = Spool(spool / "fetched", store.quota_bytes, self.pool)
        self.stopping = False
        self._folder = spool
        self._workers = workers
        self._log = log
        self._redeem = redeem
        self._loop = asyncio.get_running_loop()
        self._strangers = Strangers(log)
        self._arena = Arena()
        self._workshop = Workshop(self._arena, store)
        self._switchboard: Switchboard | None = None
        self._sessions: dict[str, Session] = {}
        self._endings: dict[str, Ending] = {}
        self._jobs = Jobs(
            log,
            lambda job, outcome: self.feed(node.job_done(job, outcome, self.now)),
            lambda job, error: self.feed(node.job_failed(job, error, self.now)),
        )
        self._calls: dict[int, OutgoingCall] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._rearm_due = False
        self._load = LoadDigest()
        self._load_at = -LOAD_FRESH_S
        self._chores = Chores(
            store,
            self.pool,
            log,
            measured=lambda rss, free: self.feed(self.node.measured(rss, free, self.now)),
            named=lambda: node.catalogue.contents() | node.holding.unpublished,
            keep_peers=keep_peers,
        )

    # -- start and stop ------------------------------------------------------------------------------

    def restore(self, *, belongs: bool) -> None:
        """Take up what the disk remembers, if it is of the mesh that this node is in."""
        if not belongs and (left := self.store.leave_manifests_behind()):
            # Under these names other weights may stand in the mesh that it joins.
            self._log.warning("weights.left_behind", files=left)
        manifests, damaged = self.store.manifests()
        for file in damaged:
            self._log.info("manifest.damaged", file=file)
        self.feed(self.node.restore(manifests, self.now))

    def connect(self, switchboard: Switchboard) -> None:
        """From now on there is a way to peers."""
        self._switchboard = switchboard

    async def close(self) -> None:
        self.stopping = True
        self._chores.rest()
        for task in list(self._endings):
            self.feed(self.node.cancel(task, self.now))
        if self._switchboard is not None:
            await self._switchboard.close("the node is stopping")
        self._strangers.sum_up()
        if self._timer is not None:
            self._timer.cancel()
        await self._jobs.close()
        await self._chores.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    # -- clients -------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def rss_bytes(self) -> int:
        return self._chores.rss_bytes

    def session(self, body: MatrixBody) -> Session:
        return Session(
            Intake(body.header, body.chunks, self.pool, self._folder), self.pool, self._folder
        )

    async def run(
        self, task: str, ending: Ending, effects: list[Effect], awaited: "asyncio.Future[T]"
    ) -> T:
        """Carry out a client's task that has begun, until what it waits for is there."""
        self._endings[task] = ending
        if isinstance(ending, Session):
            self._sessions[task] = ending
        self.feed(effects)
        try:
            return await awaited
        except asyncio.CancelledError:
            self.feed(self.node.cancel(task, self.now))
            raise

    # -- what the switchboard tells ------------------------------------------------------------------

    def link_up(self, peer: NodeId, dialled: bool) -> None:
        self.feed(self.node.link_up(peer, dialled, self.now))

    def reached(self, addresses: tuple[str, ...]) -> None:
        self.feed(self.node.reached(addresses))

    def link_down(self, peer: NodeId, reason: str) -> None:
        self.feed(self.node.link_down(peer, reason, self.now))

    def dial_failed(self, addresses: tuple[str, ...], peer: NodeId | None, reason: str) -> None:
        self.feed(self.node.dial_failed(addresses, peer, reason, self.now))

    def asked(self, request: int, peer: NodeId, header: RequestHeader) -> None:
        self.feed(self.node.asked(request, peer, header, self.now))

    def body_received(self, request: int) -> None:
        self.feed(self.node.body_received(request, self.now))

    def request_gone(self, request: int, reason: str) -> None:
        self.feed(self.node.request_gone(request, self.now))

    def replied(self, request: int) -> None:
        self.feed(self.node.replied(request, self.now))

    def note(self, event: str, **fields: object) -> None:
        self._log.info(event, **fields)

    def turned_away(self, event: str, **fields: object) -> None:
        self._strangers.turned_away(event, **fields)

    def load(self) -> LoadDigest:
        now = self.now
        if now - self._load_at >= LOAD_FRESH_S:
            self._load, self._load_at = self.node.load(now), now
        return self._load

    def addresses_of(self, peer: NodeId) -> tuple[str, ...]:
        return self.node.mesh.addresses_of(peer)

    async def redeem(self, join: Join) -> Joined:
        return await self._redeem(join)

    # -- effects -------------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        """Carry out what the Node asks for."""
        for effect in effects:
            match effect:
                case Dial() | Hang() | Call() | CancelCall() | Grant() | Reply() | Refuse():
                    self._speak(effect)
                case Allocate():
                    self._arena.allocate(effect.buffer)
                case Free():
                    self._arena.free(effect.buffer)
                case Work():
                    self._start(effect)
                case CancelWork():
                    self._jobs.cancel(effect.job)
                case Done():
                    self._sessions.pop(effect.task, None)
                    self._endings.pop(effect.task).finish()
                case Failed():
                    self._sessions.pop(effect.task, None)
                    self._endings.pop(effect.task).fail(TaskError.of(effect.error))
                case KeepPeers():
                    self._chores.keep(effect.peers)
                case SendPacket() | KeepMembers() | KeepIncarnation():
                    raise AssertionError("nothing orders this yet")
                case Note():
                    self._log.info(effect.event, **effect.fields)
                case _:
                    assert_never(effect)
        if not self._rearm_due:
            # Once for all inputs of one turn of the loop.
            self._rearm_due = True
            self._loop.call_soon(self._rearm)

    def _speak(self, effect: Dial | Hang | Call | CancelCall | Grant | Reply | Refuse) -> None:
        switchboard = self._switchboard
        assert switchboard is not None, f"there is no way to peers yet: {effect}"
        match effect:
            case Dial():
                switchboard.dial(effect.addresses, effect.peer)
            case Hang():
                switchboard.hang(effect.peer, effect.reason)
            case Call():
                self._call(switchboard, effect)
            case CancelCall():
                if (call := self._calls.pop(effect.call, None)) is not None:
                    call.cancel()
            case Grant():
                switchboard.grant(effect.request, self._arena.bytes(effect.into))
            case Reply(body=None):
                switchboard.reply(effect.request, effect.response, None)
            case Reply(body=body):
                assert body is not None
                switchboard.reply(effect.request, effect.response, self._arena.bytes(body))
            case Refuse():
                switchboard.refuse(effect.request, effect.error)

    def _call(self, switchboard: Switchboard, effect: Call) -> None:
        number, peer = effect.call, effect.peer

        def answered(response: Response, load: LoadDigest) -> None:
            if self._calls.pop(number, None) is not None:
                self.feed(self.node.answered(number, peer, response, load, self.now))

        def failed(error: ErrorInfo) -> None:
            if self._calls.pop(number, None) is not None:
                self.feed(self.node.call_failed(number, error, self.now))

        self._calls[number] = switchboard.call(
            peer,
            effect.request,
            effect.deadline_s,
            answered=answered,
            failed=failed,
            body=None if effect.body is None else self._arena.bytes(effect.body),
            into=None if effect.into is None else self._arena.bytes(effect.into),
            trace=effect.trace,
        )

    def _start(self, work: Work) -> None:
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
                before = self._jobs.heard_up_to(self.store.stamp)
                doing = partial(self._discard, what, before)
            case _:
                doing = partial(self._blocking, what)
        # Without these the disk would not tell the truth at the next start.
        lasting = isinstance(what, KeepManifest | Discard)
        writes = isinstance(what, Adopt | WriteContent | Relay)
        writes_from = self.store.stamp if writes else None
        self._jobs.begin(work.job, doing, lasting=lasting, writes_from=writes_from)

    async def _discard(self, what: Discard, before: int) -> Outcome:
        # What a cancelled put's last thread still brings must not come after it was let go.
        await self._jobs.settled()
        await self._loop.run_in_executor(self.pool, self._workshop.discard, what, before)
        return None

    async def _blocking(self, what: Blocking) -> Outcome:
        return await self._loop.run_in_executor(self.pool, self._workshop.do, what)

    async def _spool_content(self, what: SpoolContent) -> Outcome:
        await self.spool.take(self._arena.bytes(what.buffer), what.content)
        return None

    async def _relay(self, work: Relay) -> Outcome:
        assert self._switchboard is not None
        intake = self._sessions[work.task].intake
        return await relay(work, intake, self._workshop, self.store, self.pool, self._switchboard)

    async def _take(self, work: TakeRows) -> Outcome:
        intake = self._sessions[work.task].intake
        rows = self._arena.matrix(work.into, work.m, intake.columns)
        await intake.take(rows)
        content = await self._loop.run_in_executor(
            self.pool, content_id, self._arena.bytes(work.into)
        )
        return RowsTaken(int(content[:X_KEY_DIGITS], 16))

    def _give(self, job: int, work: GiveRows) -> None:
        session = self._sessions[work.task]
        rows = self._arena.bytes(work.rows)
        if work.last and not session.spooling:

            def sent() -> None:
                self.feed(self.node.job_done(job, None, self.now))

            session.give(rows, work.certificate, sent)
            return

        async def spooled() -> Outcome:
            await session.spool(rows, work.last, work.certificate)
            return None

        self._jobs.begin(job, spooled)

    # -- within --------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._timer = None
        self.feed(self.node.tick(self.now))

    def _rearm(self) -> None:
        """A timer that is right stays: one that is due must not be put off by every input that comes."""
        self._rearm_due = False
        deadline = None if self.stopping else self.node.deadline
        if self._timer is not None:
            if self._timer_at == deadline:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)
            self._timer_at = deadline
