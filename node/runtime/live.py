"""The live driver: carries out the Node's effects on sockets, threads and disk, and tells it what became of them.

It decides nothing. After every input it re-arms one timer for the Node's deadline.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, assert_never

import msgspec

from node.core import Node
from node.effects import (
    Allocate,
    Call,
    CancelCall,
    CancelWork,
    Dial,
    DialOut,
    Done,
    Effect,
    Failed,
    Free,
    Grant,
    Hang,
    KeepIncarnation,
    KeepMembers,
    KeepRelays,
    Note,
    ProbeNat,
    Refuse,
    Reply,
    SendPacket,
    Work,
)
from node.log import Log
from node.runtime.alarm import Alarm
from node.runtime.arena import Arena
from node.runtime.awaited import Ending
from node.runtime.chips import Chips
from node.runtime.chores import Chores
from node.runtime.datadir import DataDir
from node.runtime.farewell import Farewell
from node.runtime.inputs import Inputs
from node.runtime.intake import Intake
from node.runtime.keeping import Keeping
from node.runtime.lag import Lag
from node.runtime.outlook import Outlook
from node.runtime.packets import Packets
from node.runtime.paths.sight import Sight
from node.runtime.relaying.forwarding import Forwarding, RelayFigures
from node.runtime.sessions import Session
from node.runtime.spokesman import Spokesman
from node.runtime.spool import Spool
from node.runtime.store import Store
from node.runtime.switchboard import Switchboard
from node.runtime.tally import Tally
from node.runtime.traffic import Totals
from node.runtime.working import Working
from node.service import MatrixBody
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId
from protocol.members import Cause
from protocol.messages import Join, Joined

STOPPING = "this node is stopping: ask another one"

T = TypeVar("T")


class Live:
    """Carries out the effects of one Node; `inputs` tells that Node what comes in."""

    def __init__(
        self,
        node: Node,
        store: Store,
        workers: int,
        data: DataDir,
        log: Log,
        redeem: Callable[[Join], Coroutine[object, object, Joined]],
    ) -> None:
        self.node = node
        self.store = store
        self.stopping = False
        self.tally = Tally()
        self.lag = Lag()
        self._folder = data.spool
        self._log = log
        self._loop = asyncio.get_running_loop()
        self.inputs = Inputs(node, self.feed, self.tally, log, redeem)
        self._arena = Arena()
        self._working = Working(
            self._arena,
            store,
            Chips(data.arrays, time.time),
            workers,
            self._folder,
            log,
            done=self.inputs.job_done,
            failed=self.inputs.job_failed,
        )
        self._switchboard: Switchboard | None = None
        self._packets: Packets | None = None
        self._endings: dict[str, Ending] = {}
        self._outlook: Outlook | None = None
        self._forwarding: Forwarding | None = None
        self._farewell = Farewell()
        self._spokesman = Spokesman(
            self._arena,
            self.tally,
            self._farewell,
            answered=self.inputs.answered,
            failed=self.inputs.call_failed,
        )
        self._alarm = Alarm(self._tick)
        self._rearm_due = False
        # Not by the workers, who may write arrays for minutes when the node ends.
        self._keeping = Keeping(data, None, log)
        self._chores = Chores(
            store,
            self.pool,
            log,
            measured=self.inputs.measured,
            named=lambda: node.catalogue.contents() | node.holding.unpublished,
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

    def connect(self, switchboard: Switchboard, packets: Packets | None) -> None:
        """From now on there is a way to peers; without `packets` all goes over links."""
        self._switchboard, self.inputs.ways = switchboard, switchboard.ways
        self._working.switchboard = self._spokesman.switchboard = switchboard
        switchboard.ways.dialer.tally = self.tally
        self._packets = packets
        if packets is not None:
            switchboard.ways.on_packet, packets.detour = (
                packets.arrived,
                switchboard.ways.send_packet,
            )

    def look_out(self, outlook: Outlook, forwarding: Forwarding) -> None:
        """From now on there is somebody to find out how others reach us, to dial them back, and to keep relays."""
        self._outlook, self._forwarding = outlook, forwarding
        self.inputs.homes = forwarding.homes

    async def farewell(self, cause: Cause) -> None:
        """Tell the others that this node goes, and why; return when that has left, or after a moment. Once alone."""
        if self._farewell.said:
            return
        self._farewell.said = True
        before = self._spokesman.calls
        self.feed(self.node.leave(cause, self.now))
        # Packets have left by now; what goes over links shall be answered.
        await self._farewell.heard(self._spokesman.calls - before)

    async def close(self) -> None:
        self.stopping = True
        self._chores.rest()
        self.lag.stop()
        for task in list(self._endings):
            self.feed(self.node.cancel(task, self.now))
        if self._outlook is not None:
            await self._outlook.close()
        if self._forwarding is not None:
            await self._forwarding.close()
        if self._switchboard is not None:
            await self._switchboard.close("the node is stopping")
        if self._packets is not None:
            await self._packets.close()
        self.inputs.strangers.sum_up()
        self._alarm.set(None)
        await self._working.close()
        await self._chores.close()
        await self._keeping.close()
        self.pool.shutdown(wait=False, cancel_futures=True)

    @property
    def is_at_work(self) -> bool:
        """Once it is closed: a thread has not ended, whose work nobody wants."""
        return self._working.is_at_work

    # -- clients -------------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def rss_bytes(self) -> int:
        return self._chores.rss_bytes

    @property
    def pool(self) -> ThreadPoolExecutor:
        return self._working.pool

    @property
    def spool(self) -> Spool:
        """Contents fetched for clients who download."""
        return self._working.spool

    @property
    def packets(self) -> dict[str, int]:
        """What became of packets, by kind; empty where UDP is not to be had."""
        if self._packets is None:
            return {}
        return {"sent": 0, "received": 0} | dict(sorted(self._packets.counters.items()))

    @property
    def traffic(self) -> Totals:
        """Over links; nothing before this node has come into its mesh."""
        board = self._switchboard
        return Totals(0, 0, {}) if board is None else board.carried()

    def sight(self, peer: NodeId) -> Sight | None:
        """How a peer is reached at the moment; None if it is not."""
        return None if self._switchboard is None else self._switchboard.sight(peer)

    @property
    def relaying(self) -> RelayFigures | None:
        """What this node forwards for others; None if it is no relay."""
        return None if self._forwarding is None else self._forwarding.figures

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
            self._working.sessions[task] = ending
        self.feed(effects)
        try:
            return await awaited
        except asyncio.CancelledError:
            self.feed(self.node.cancel(task, self.now))
            raise

    def _as_told(self, error: ErrorInfo) -> ErrorInfo:
        """Once we have said goodbye peers hang up: that none is in reach is our doing alone."""
        if self._farewell.said and error.code is ErrorCode.UNAVAILABLE:
            return msgspec.structs.replace(error, reason=STOPPING)
        return error

    # -- effects -------------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        """Carry out what the Node asks for."""
        for effect in effects:
            match effect:
                case Dial() | Hang() | Call() | CancelCall() | Grant() | Reply() | Refuse():
                    self._spokesman.carry_out(effect)
                case Allocate():
                    self._arena.allocate(effect.buffer)
                case Free():
                    self._arena.free(effect.buffer)
                case Work():
                    self._working.start(effect)
                case CancelWork():
                    self._working.cancel(effect.job)
                case Done():
                    self._working.sessions.pop(effect.task, None)
                    self._endings.pop(effect.task).finish()
                case Failed():
                    self._working.sessions.pop(effect.task, None)
                    self._endings.pop(effect.task).fail(TaskError.of(self._as_told(effect.error)))
                case SendPacket():
                    if self._packets is not None:
                        self._packets.send(effect.peer, effect.addresses, effect.packet)
                case ProbeNat() | DialOut():
                    if self._outlook is not None:
                        self._outlook.carry_out(effect)
                case KeepRelays():
                    if self._forwarding is not None:
                        self._forwarding.carry_out(effect)
                case KeepMembers() | KeepIncarnation():
                    self._keeping.carry_out(effect)
                case Note():
                    self._log.info(effect.event, **effect.fields)
                case _:
                    assert_never(effect)
        if not self._rearm_due:
            # Once for all inputs of one turn of the loop.
            self._rearm_due = True
            self._loop.call_soon(self._rearm)

    # -- within --------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        self.feed(self.node.tick(now))

    def _rearm(self) -> None:
        self._rearm_due = False
        self._alarm.set(None if self.stopping else self.node.deadline)
