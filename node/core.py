"""Node: the whole daemon without a socket, a clock or a byte.

It is told what clients ask, what became of calls and work, and what time it is; it answers with effects. Everything
that it knows is in the machines that it wires: the ledger, what it holds, the list of weights, the tasks in flight.
"""

import random
from dataclasses import dataclass

import msgspec

from compute.backend import backend
from compute.device import DeviceError
from compute.partition import BlockGrid
from node.communication.desk import Desk
from node.communication.scoring import Candidate, HedgeBudget
from node.deployment.catalogue import Catalogue
from node.deployment.holding import Holding
from node.deployment.ledger import Lease, Ledger, Purpose
from node.deployment.placement import Capacity, place
from node.effects import Discard, Effect, LoadBlock, Outcome, Work, note
from node.execution.matmul import Matmul
from node.execution.put import Put, fit, units
from node.execution.room import Room
from node.execution.sketches import SketchCache
from node.memory.short_term import ShortTerm
from protocol.client import (
    MatmulRequest,
    PlanRequest,
    PlanShare,
    PlanView,
    PutRequest,
    WeightsView,
)
from protocol.digests import WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, TaskId
from protocol.messages import Manifest, ManifestHead, StoreBlock

Task = Put | Matmul


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request gets that does not say."""

    backend: str
    device: str


class Node:
    """One node of the mesh, as a machine: inputs end in `now`, each returns effects, `deadline` says when to tick."""

    def __init__(
        self,
        own: NodeId,
        labels: tuple[str, ...],
        ledger: Ledger,
        defaults: Defaults,
        dice: random.Random,
    ) -> None:
        self.own = own
        self.ledger = ledger
        self.desk = Desk()
        self.room = Room(ledger)
        self.memory = ShortTerm()
        self.hedges = HedgeBudget()
        self.holding = Holding(own, ledger)
        self.catalogue = Catalogue(self.desk)
        self.sketches = SketchCache(own, ledger, self.desk, self._reachable)
        self.done = 0
        self.failed = 0
        self._labels = labels
        self._defaults = defaults
        self._dice = dice
        self._tasks: dict[str, Task] = {}
        self._loading: dict[int, StoreBlock] = {}

    # -- clients -------------------------------------------------------------------------------------

    def put(
        self, request: PutRequest, shape: tuple[int, int], wall_ms: int, now: float
    ) -> tuple[TaskId, list[Effect]]:
        """Begin a put of a (K, N) matrix; TaskError when it cannot even begin."""
        standing = self.catalogue.get(request.name)
        _match(request.name, standing, request.if_match)
        full = msgspec.structs.replace(
            request,
            backend=request.backend or self._defaults.backend,
            device=request.device if request.device is not None else self._defaults.device,
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
        manifest = self._find(request.name)
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

    def remove(self, name: str, if_match: str | None, wall_ms: int, now: float) -> list[Effect]:
        """Delete weights everywhere: a tombstone takes the manifest's place."""
        standing = self._find(name)
        _match(name, standing, if_match)
        version = self.catalogue.next_version(wall_ms, self.own)
        tombstone = Manifest(ManifestHead(name=name, version=version, deleted=True))
        return [*self.catalogue.adopt(tombstone), *self._act_on_news()]

    def cancel(self, task: str, now: float) -> list[Effect]:
        """The client has gone."""
        running = self._tasks.get(task)
        if running is None:
            return []
        return self._settle(running.cancel("the client closed the connection", now))

    def manifest(self, name: str) -> Manifest:
        return self._find(name)

    # -- what happens --------------------------------------------------------------------------------

    def restore(self, manifests: list[Manifest], now: float) -> list[Effect]:
        """After a start: take up what the disk remembers and load the blocks that are ours."""
        effects: list[Effect] = []
        for manifest in sorted(manifests, key=lambda one: one.head.version):
            self.catalogue.manifests[manifest.head.name] = manifest
        for manifest in self.catalogue.living():
            effects += self._load(manifest, now)
        return effects

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        if (store := self._loading.pop(job, None)) is not None:
            self.holding.adopted(store, now)
            return []
        waiter = self.desk.settle(job)
        return [] if waiter is None else self._settle(waiter.job_done(job, outcome, now))

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        if (store := self._loading.pop(job, None)) is not None:
            return [note("block.lost", name=store.name, block=store.block, reason=error.reason)]
        waiter = self.desk.settle(job)
        return [] if waiter is None else self._settle(waiter.job_failed(job, error, now))

    def memory_measured(self, rss_bytes: int, now: float) -> list[Effect]:
        self.ledger.memory_measured(rss_bytes, now)
        return []

    def tick(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        for lease in self.ledger.expire(now):
            effects += self._lapsed(lease)
        for task in list(self._tasks.values()):
            if task.deadline is not None and task.deadline <= now:
                effects += task.tick(now)
        return self._settle(effects)

    @property
    def deadline(self) -> float | None:
        moments = [task.deadline for task in self._tasks.values()]
        return min((m for m in [*moments, self.ledger.deadline] if m is not None), default=None)

    @property
    def loading(self) -> int:
        """Blocks that are still on their way from disk."""
        return len(self._loading)

    @property
    def tasks(self) -> int:
        return len(self._tasks)

    # -- what tasks ask ------------------------------------------------------------------------------

    def candidates(self, version: WeightsVersion, now: float) -> list[Candidate]:
        """Live nodes that have all their blocks of this version in memory."""
        if version not in self.holding.ready:
            return []
        speed = self.memory.forecast_speed_macs_s(self.own, now) or 0.0
        reliability = self.memory.forecast_reliability(self.own, now)
        return [Candidate(self.own, 0.0, float("inf"), 0.0, 0.0, speed, reliability)]

    def capacities(self, only: tuple[str, ...], avoid: tuple[str, ...]) -> list[Capacity]:
        """Nodes that may hold new weights, with what they can take."""
        if not set(only) <= set(self._labels) or set(avoid) & set(self._labels):
            return []
        return [Capacity(self.own, self.ledger.free_for(Purpose.WEIGHTS))]

    def linked(self) -> list[NodeId]:
        return []

    # -- views ---------------------------------------------------------------------------------------

    def weights(self) -> list[WeightsView]:
        return [self.view(manifest) for manifest in self.catalogue.living()]

    def view(self, manifest: Manifest) -> WeightsView:
        head = manifest.head
        holders: dict[str, int] = {}
        for entry in manifest.entries:
            for index in entry.holders:
                holders[head.holders[index]] = holders.get(head.holders[index], 0) + 1
        ready = head.version in self.holding.ready
        missing = sum(
            1
            for entry in manifest.entries
            if not (ready and self.own in (head.holders[h] for h in entry.holders))
        )
        return WeightsView(
            name=head.name,
            version=str(head.version),
            shape=(head.rows, head.columns),
            dtype="float32",
            backend=head.backend,
            device=head.device,
            seed=head.seed,
            replicas=head.replicas,
            blocks=head.blocks,
            nbytes=4 * head.rows * head.columns,
            holders=holders,
            missing=missing,
        )

    def plan(self, request: PlanRequest) -> PlanView:
        """Where a matrix would lie, or why it would not fit."""
        if request.name is not None:
            head = self._find(request.name).head
            rows, columns = head.rows, head.columns
        elif request.rows is not None and request.columns is not None:
            rows, columns = request.rows, request.columns
        else:
            raise TaskError(ErrorCode.BAD_REQUEST, "say which: name, or rows and columns")
        kind = request.backend or self._defaults.backend
        device = "" if kind == "digital" else self._defaults.device
        try:
            backend(kind, device or None, 0)
        except (DeviceError, ValueError) as wrong:
            raise TaskError(ErrorCode.BAD_REQUEST, str(wrong)) from wrong
        grid = BlockGrid(rows, columns)
        blocks = units(grid, kind, device, 0)
        capacities = self.capacities(request.only, request.avoid)
        need = sum(unit.resident_bytes for unit in blocks) * request.replicas
        free = sum(capacity.free_bytes for capacity in capacities)
        fits, reason, shares = True, "", []
        try:
            placement = place(blocks, capacities, request.replicas)
            costs = {unit.block: unit.resident_bytes for unit in blocks}
            for capacity in capacities:
                held = [b for b, nodes in placement.holders.items() if capacity.node in nodes]
                shares.append(
                    PlanShare(
                        node=capacity.node,
                        name=capacity.node,
                        blocks=len(held),
                        nbytes=sum(costs[block] for block in held),
                        free_bytes=capacity.free_bytes,
                    )
                )
        except TaskError as refused:
            fits, reason = False, refused.info.reason
        return PlanView(
            fits=fits,
            reason=reason,
            shape=(rows, columns),
            replicas=request.replicas,
            need=need,
            free=free,
            nearest_fit=fit(grid, blocks, capacities, request.replicas),
            shares=tuple(shares),
        )

    # -- within --------------------------------------------------------------------------------------

    def _new_task(self) -> TaskId:
        return TaskId(f"{self._dice.getrandbits(128):032x}")

    def _begin(self, task: Task, now: float) -> list[Effect]:
        self._tasks[task.task] = task
        return self._settle(task.start(now))

    def _settle(self, effects: list[Effect]) -> list[Effect]:
        """After anything happened: forget ended tasks, act on new manifests."""
        for name in [name for name, task in self._tasks.items() if task.over]:
            del self._tasks[name]
        return effects + self._act_on_news()

    def _act_on_news(self) -> list[Effect]:
        effects: list[Effect] = []
        news, self.catalogue.news = self.catalogue.news, []
        for before, manifest in news:
            if not manifest.head.deleted:
                effects += self.holding.publish(manifest)
            if before is not None:
                effects += self._drop(before)
        return effects

    def _drop(self, manifest: Manifest) -> list[Effect]:
        version = manifest.head.version
        blocks = self.holding.drop(version)
        kept = {
            content
            for other in self.catalogue.living()
            for entry in other.entries
            for content in (entry.content, entry.sketch)
        }
        contents = tuple(
            content
            for entry in manifest.entries
            for content in (entry.content, entry.sketch)
            if content not in kept
        )
        discard = Work(self.desk.number(self.catalogue), Discard(version, blocks, contents))
        return [*self.sketches.drop(version), discard]

    def _load(self, manifest: Manifest, now: float) -> list[Effect]:
        try:
            stores = self.holding.expect(manifest, now)
        except TaskError as refused:
            return [note("weights.not_loaded", name=manifest.head.name, reason=str(refused))]
        contents = {
            (block.row, block.column): entry.content
            for block, entry in zip(
                BlockGrid(manifest.head.rows, manifest.head.columns).blocks(),
                manifest.entries,
                strict=True,
            )
        }
        effects: list[Effect] = []
        for store in stores:
            job = self.desk.number(self.catalogue)
            self._loading[job] = store
            effects.append(Work(job, LoadBlock(store, contents[store.block])))
        return effects

    def _lapsed(self, lease: Lease) -> list[Effect]:
        released = self.holding.lapsed(lease)
        if released is None:
            return []
        number = self.desk.number(self.catalogue)
        return [note("put.lapsed", put=lease.owner), Work(number, Discard(*released, contents=()))]

    def _counted(self, ok: bool) -> None:
        if ok:
            self.done += 1
        else:
            self.failed += 1

    def _find(self, name: str) -> Manifest:
        manifest = self.catalogue.get(name)
        if manifest is None:
            names = ", ".join(m.head.name for m in self.catalogue.living()[:10]) or "none yet"
            raise TaskError(
                ErrorCode.NOT_FOUND, f"there are no weights named {name}; there are: {names}"
            )
        return manifest

    def _reachable(self, node: NodeId) -> bool:
        return node == self.own


def _match(name: str, standing: Manifest | None, if_match: str | None) -> None:
    """If-Match: the version that the client saw must still stand."""
    if if_match is None:
        return
    found = "nothing" if standing is None else str(standing.head.version)
    if found != if_match:
        raise TaskError(
            ErrorCode.CONFLICT,
            f"{name} is at {found}, not at {if_match}: someone changed it; look, then try again",
        )
