"""Node: the whole daemon without a socket, a clock or a byte.

It is told what clients and peers ask, what became of calls and work, and what time it is; it answers with effects.
Everything that it knows is in the machines that it wires: the exchange with its neighbours, the ledger, what it
holds, the list of weights, the tasks in flight.
"""

import random
from dataclasses import dataclass

import msgspec

from compute.partition import BlockGrid
from node.communication.asking import Asking
from node.communication.desk import Desk
from node.communication.exchange import Exchange
from node.communication.outstanding import Outstanding
from node.communication.policies import chooser
from node.communication.scoring import Candidate, HedgeBudget
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Ledger
from node.deployment.placement import Capacity
from node.effects import Effect, Refuse, Reply
from node.execution.announce import Removal
from node.execution.fetch import Fetch
from node.execution.fleet import Fleet
from node.execution.matmul import Matmul
from node.execution.plans import plan_of_put, plan_of_weights
from node.execution.put import Put
from node.execution.recent import Recent
from node.execution.room import Room
from node.execution.serving import Serving
from node.execution.sketches import SketchCache
from node.execution.upkeep import Upkeep
from node.execution.views import peer_views, weights_view
from node.memory.short_term import ShortTerm
from node.work import Outcome
from protocol.client import (
    MatmulRequest,
    PeerView,
    PlanRequest,
    PlanView,
    PutRequest,
    TaskView,
    WeightsView,
)
from protocol.digests import LoadDigest, NodeRecord, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import MeshId, NodeId, TaskId
from protocol.messages import (
    Exchange as ExchangeRequest,
)
from protocol.messages import (
    FetchCatalogue,
    FetchManifest,
    Manifest,
    ManifestHead,
    ManifestPart,
    Probe,
    Probed,
    RequestHeader,
    Response,
)

Task = Put | Matmul | Removal | Fetch

FREE_CHANGE_BYTES = 1024 * 1024
"""Neighbours are told of our memory when it has changed by this much, or when what we hold has changed."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the settings decide."""

    backend: str
    """Of weights whose put does not say."""
    device: str
    workers: int
    """Products at work at once."""
    hedge_share: float
    interval_s: float
    """Between two tellings of news to one neighbour."""
    redial_s: float
    """The longest pause between two tries at a lost peer."""
    choice: str = "ours"
    """How holders are chosen; other ways are there to be compared with."""


class Node:
    """One node of the mesh, as a machine: inputs end in `now`, each returns effects, `deadline` says when to tick."""

    def __init__(
        self, record: NodeRecord, ledger: Ledger, policy: Policy, dice: random.Random
    ) -> None:
        self.own = record.id
        self.ledger = ledger
        self.desk = Desk()
        self.room = Room(ledger)
        self.memory = ShortTerm()
        self.outstanding = Outstanding()
        self.hedges = HedgeBudget(policy.hedge_share)
        self.chooser = chooser(policy.choice, dice)
        self.asking = Asking(self.desk, self.chooser)
        self.holding = Holding(self.own, ledger)
        self.catalogue = Catalogue(self.desk)
        self.exchange = Exchange(
            record,
            self.desk,
            self.memory,
            dice,
            interval_s=policy.interval_s,
            redial_s=policy.redial_s,
        )
        self.fleet = Fleet(
            self.exchange, self.memory, self.outstanding, ledger, self.holding, self.catalogue
        )
        self.sketches = SketchCache(self.own, ledger, self.desk, self.fleet.reachable)
        self.serving = Serving(self, policy.workers)
        self.fleet.backlog_s, self.fleet.silent_s = self.serving.backlog_s, self.asking.silent_s
        self.upkeep = Upkeep(
            self.own, self.desk, self.catalogue, self.holding, self.sketches, self.fleet
        )
        self.recent = Recent()
        self.done = 0
        self.failed = 0
        self._policy = policy
        self._dice = dice
        self._tasks: dict[str, Task] = {}
        self._told_changes = -1

    # -- clients -------------------------------------------------------------------------------------

    def put(
        self, request: PutRequest, shape: tuple[int, int], wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Begin a put of a (K, N) matrix; TaskError when it cannot even begin."""
        self.catalogue.match(request.name, request.if_match)
        full = msgspec.structs.replace(
            request,
            backend=request.backend or self._policy.backend,
            device=request.device if request.device is not None else self._policy.device,
        )
        if full.backend == "digital":
            full = msgspec.structs.replace(full, device="")
        task = self._new_task()
        version = self.catalogue.next_version(wall_ms, self.own)
        seed = self._dice.getrandbits(62)
        put = Put(task, full, shape, version, seed, self, now, self._counted)
        return task, self._begin(put, now)

    def matmul(
        self, request: MatmulRequest, rows: int, width: int, now: float
    ) -> tuple[TaskId, int, list[Effect]]:
        """Begin a product with X (rows, width); the answer's width, or TaskError."""
        manifest = self.catalogue.find(request.name)
        head = manifest.head
        need, gives = (head.rows, head.columns)
        if request.transpose:
            need, gives = gives, need
        if width != need:
            formula = "Y W^T" if request.transpose else "X W"
            raise TaskError(
                ErrorCode.BAD_REQUEST,
                f"{formula}: the matrix sent has {width} columns, but {request.name} is"
                f" {head.rows} x {head.columns} and needs {need}",
            )
        task = self._new_task()
        matmul = Matmul(task, request, rows, manifest, self, now, self._counted)
        return task, gives, self._begin(matmul, now)

    def remove(
        self, name: str, if_match: str | None, wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Delete weights everywhere."""
        self.catalogue.find(name)
        self.catalogue.match(name, if_match)
        version = self.catalogue.next_version(wall_ms, self.own)
        tombstone = Manifest(ManifestHead(name=name, version=version, deleted=True))
        task = self._new_task()
        return task, self._begin(Removal(task, tombstone, self), now)

    def fetch(self, manifest: Manifest, index: int, now: float) -> tuple[TaskId, list[Effect]]:
        """Begin to bring one block of these weights into the spool."""
        head, entry = manifest.head, manifest.entries[index]
        grid = BlockGrid(head.rows, head.columns)
        nbytes = grid.payload_bytes(list(grid.blocks())[index])
        holders = tuple(head.holders[h] for h in entry.holders)
        task = self._new_task()
        return task, self._begin(Fetch(task, entry.content, nbytes, holders, self), now)

    def cancel(self, task: str, now: float) -> list[Effect]:
        """The client has gone."""
        running = self._tasks.get(task)
        if running is None:
            return []
        return self._settle(running.cancel("the client closed the connection", now), now)

    # -- peers ---------------------------------------------------------------------------------------

    def introduce(self, mesh: MeshId, addresses: tuple[str, ...], now: float) -> list[Effect]:
        """This node belongs to a mesh now, and is reached at these addresses."""
        return self.exchange.introduce(mesh, addresses, now)

    def seek(self, addresses: tuple[str, ...], peer: NodeId | None, now: float) -> list[Effect]:
        """Link up with whoever answers there, however long that takes."""
        return [*self.exchange.seek(addresses, peer, now), *self.exchange.tick(now)]

    def link_up(self, peer: NodeId, now: float) -> list[Effect]:
        self.fleet.link_up(peer, now)
        self.asking.lost(peer)
        return self.exchange.link_up(peer, now)

    def reached(self, addresses: tuple[str, ...]) -> list[Effect]:
        """The address we were told to join at has answered."""
        self.exchange.reached(addresses)
        return []

    def link_down(self, peer: NodeId, reason: str, now: float) -> list[Effect]:
        self.fleet.link_down(peer)
        self.asking.lost(peer)
        return self.exchange.link_down(peer, reason, now)

    def dial_failed(
        self, addresses: tuple[str, ...], peer: NodeId | None, reason: str, now: float
    ) -> list[Effect]:
        return self.exchange.dial_failed(addresses, peer, reason, now)

    def asked(self, request: int, peer: NodeId, header: RequestHeader, now: float) -> list[Effect]:
        """A peer asks; every request ends in one Reply or Refuse, unless it is gone before."""
        match header.request:
            case ExchangeRequest() as told:
                answer, effects = self.exchange.asked(peer, told, now)
                effects = [Reply(request, answer), *effects, *self._compare(peer)]
            case Probe():
                # It changes nothing, and there are many of them.
                return [Reply(request, Probed())]
            case ManifestPart() as part:
                effects = self.catalogue.asked(request, part)
            case FetchCatalogue(after=after):
                effects = [Reply(request, self.catalogue.tell_names(after))]
            case FetchManifest(name=name, first=first):
                effects = [self._tell_part(request, name, first)]
            case _:
                effects = self.serving.asked(request, peer, header, now)
        return self._settle(effects, now)

    def body_received(self, request: int, now: float) -> list[Effect]:
        return self._settle(self.serving.body_received(request, now), now)

    def request_gone(self, request: int, now: float) -> list[Effect]:
        self.catalogue.request_gone(request)
        return self._settle(self.serving.request_gone(request, now), now)

    def replied(self, request: int, now: float) -> list[Effect]:
        return self._settle(self.serving.replied(request, now), now)

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        self.exchange.load_seen(peer, load, now)
        self.asking.heard(peer, now)
        waiter = self.desk.settle(call)
        if waiter is None:
            return []
        effects = waiter.answered(call, peer, response, load, now)
        if waiter is self.exchange:
            effects = [*effects, *self._compare(peer)]
        return self._settle(effects, now)

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        waiter = self.desk.settle(call)
        return [] if waiter is None else self._settle(waiter.call_failed(call, error, now), now)

    def load(self, now: float) -> LoadDigest:
        """What rides on every answer."""
        return self.serving.load(now)

    # -- what happens here ---------------------------------------------------------------------------

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        """After a start: take up what the disk remembers and load the blocks that are ours."""
        return self._settle(self.upkeep.restore(manifests, now), now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        waiter = self.desk.settle(job)
        return [] if waiter is None else self._settle(waiter.job_done(job, outcome, now), now)

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        waiter = self.desk.settle(job)
        return [] if waiter is None else self._settle(waiter.job_failed(job, error, now), now)

    def measured(self, rss_bytes: int, disk_free_bytes: int, now: float) -> list[Effect]:
        """The process's resident memory, and what the disk still takes."""
        self.ledger.memory_measured(rss_bytes, now)
        self.holding.disk_free_bytes = disk_free_bytes
        told = self.exchange.own
        apart = (
            abs(self.ledger.digest().free - told.memory.free),
            abs(self.holding.room_bytes - told.load.free),
        )
        return self._describe(now) if max(apart) >= FREE_CHANGE_BYTES else []

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for lease in self.ledger.expire(now):
            effects += self.upkeep.lapsed(lease)
        for task in list(self._tasks.values()):
            if task.deadline is not None and task.deadline <= now:
                effects += task.tick(now)
        effects += self.upkeep.tick(now)
        effects += self.serving.tick(now)
        effects += self.exchange.tick(now)
        return self._settle(effects, now)

    @property
    def deadline(self) -> float | None:
        moments = [task.deadline for task in self._tasks.values()]
        moments += [self.ledger.deadline, self.upkeep.deadline]
        moments += [self.serving.deadline, self.exchange.deadline]
        return min((moment for moment in moments if moment is not None), default=None)

    @property
    def tasks(self) -> int:
        return len(self._tasks)

    # -- what tasks ask ------------------------------------------------------------------------------

    def candidates(self, version: WeightsVersion, now: float, *, analog: bool) -> list[Candidate]:
        return self.fleet.candidates(version, now, analog=analog)

    def capacities(self, only: tuple[str, ...], avoid: tuple[str, ...]) -> list[Capacity]:
        return self.fleet.capacities(only, avoid)

    def linked(self) -> list[NodeId]:
        return self.fleet.linked()

    # -- views ---------------------------------------------------------------------------------------

    def weights(self, now: float) -> list[WeightsView]:
        return [self.view(manifest, now) for manifest in self.catalogue.living()]

    def view(self, manifest: Manifest, now: float) -> WeightsView:
        return weights_view(manifest, self.fleet, now)

    def peers(self, now: float) -> list[PeerView]:
        return peer_views(self.exchange, self.fleet, now)

    def task(self, task: str, now: float) -> TaskView:
        """What a product takes or took; TaskError if it is not known here."""
        running = self._tasks.get(task)
        return running.view(now) if isinstance(running, Matmul) else self.recent.find(task)

    def plan(self, request: PlanRequest, now: float) -> PlanView:
        """Where a matrix would lie, or who would multiply by weights that stand."""
        if request.name is not None:
            return plan_of_weights(self.catalogue.find(request.name), request, self.fleet, now)
        full = msgspec.structs.replace(request, backend=request.backend or self._policy.backend)
        return plan_of_put(full, self.fleet, self._policy.device, now)

    # -- within --------------------------------------------------------------------------------------

    def _new_task(self) -> TaskId:
        return TaskId(f"{self._dice.getrandbits(128):032x}")

    def _begin(self, task: Task, now: float) -> list[Effect]:
        self._tasks[task.task] = task
        return self._settle(task.start(now), now)

    def _settle(self, effects: list[Effect], now: float) -> list[Effect]:
        """After anything happened: forget ended tasks, act on new manifests, tell what changed."""
        effects = effects + self.room.serve(now)
        for name in [name for name, task in self._tasks.items() if task.over]:
            if isinstance(ended := self._tasks.pop(name), Matmul):
                self.recent.keep(ended.view(now))
        effects = effects + self.upkeep.act_on_news(now)
        effects += self.exchange.catalogue_is(self.catalogue.digest, now)
        if self.holding.changes != self._told_changes:
            effects += self._describe(now)
        return effects

    def _describe(self, now: float) -> list[Effect]:
        self._told_changes = self.holding.changes
        record = msgspec.structs.replace(
            self.exchange.own,
            memory=self.ledger.digest(),
            load=self.serving.load(now),
            ready=self.holding.ready,
        )
        return self.exchange.describe(record, now)

    def _compare(self, peer: NodeId) -> list[Effect]:
        digest = self.exchange.other_catalogues().get(peer, "")
        return self.catalogue.compare(peer, digest)

    def _tell_part(self, request: int, name: str, first: int) -> Reply | Refuse:
        try:
            return Reply(request, self.catalogue.tell_part(name, first))
        except TaskError as unknown:
            return Refuse(request, unknown.info)

    def _counted(self, ok: bool) -> None:
        if ok:
            self.done += 1
        else:
            self.failed += 1
