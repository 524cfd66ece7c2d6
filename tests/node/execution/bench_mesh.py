"""A coordinator and its holders on virtual time: real blocks, real arithmetic, no sockets.

One `Matmul` at a time is driven by hand: calls and work are carried out at once, and told after a delay that dice
draw. Holders can be dead, silent, refusing, or wrong.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import numpy as np

from compute.partition import Block, BlockGrid, Matrix
from compute.verify import SketchAccumulator
from node.communication.asking import Asking
from node.communication.desk import Desk, Waiter
from node.communication.outstanding import Outstanding
from node.communication.policies import Chooser, Ours
from node.communication.scoring import Candidate, HedgeBudget
from node.deployment.ledger import MIB, Ledger, Purpose
from node.effects import (
    Allocate,
    Call,
    CancelCall,
    CancelWork,
    Done,
    Effect,
    Failed,
    Free,
    Note,
    Work,
)
from node.execution.matmul import Matmul
from node.execution.room import Room
from node.execution.shards import Sides, lay_out
from node.execution.sketches import SketchCache
from node.memory.short_term import ShortTerm
from node.runtime.arena import Arena
from node.runtime.array_store import ArrayStore
from node.runtime.chips import Chips
from node.runtime.store import Store, content_id
from node.runtime.workshop import Workshop
from node.work import BufferRef, GiveRows, Outcome, RowsTaken, RunShard, ShardDone, TakeRows
from protocol.client import MatmulRequest
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, TaskId
from protocol.messages import (
    BlockEntry,
    FetchBlock,
    Fetched,
    Manifest,
    ManifestHead,
    Multiplied,
    Multiply,
    Probe,
    Probed,
    Response,
    StoreBlock,
)
from protocol.tasks import AccountView, CertificateView, ExplainView

VERSION = WeightsVersion(1, 0, "w")
SKETCH_SEED = 77
OWN = NodeId("coordinator")
TASK = TaskId("t")


class Holder:
    """A node with some blocks in memory and their sketches on disk."""

    def __init__(self, folder: Path) -> None:
        self.arena = Arena()
        self.store = Store(folder, 1 << 30)
        self.shop = Workshop(
            self.arena, self.store, Chips(ArrayStore(folder / "arrays.db"), lambda: 0.0)
        )


class Weights:
    """W on several holders; made once for many products."""

    def __init__(
        self, folder: Path, w: Matrix, backend: str, holders: Callable[[Block], tuple[str, ...]]
    ) -> None:
        self.w = w
        self.grid = BlockGrid(*w.shape)
        names = sorted({OWN, *(name for block in self.grid.blocks() for name in holders(block))})
        self.nodes = {NodeId(name): Holder(folder / name) for name in names}
        entries = []
        for block in self.grid.blocks():
            values = self.cut(block).copy()
            sketching = SketchAccumulator(values.shape, SKETCH_SEED, block)
            sketching.add_rows(0, values)
            sketch = np.concatenate(sketching.finish()).data.cast("B")
            content = content_id(values.data.cast("B"))
            for name in holders(block):
                node = self.nodes[NodeId(name)]
                node.store.write(sketch)
                node.shop.adopt(self._store(block, backend), values.copy())
            held = tuple(names.index(name) for name in holders(block))
            entries.append(BlockEntry(content, content_id(sketch), held))
        head = ManifestHead(
            name="w",
            version=VERSION,
            rows=self.grid.rows,
            columns=self.grid.columns,
            backend=backend,
            seed=3,
            sketch_seed=SKETCH_SEED,
            holders=tuple(NodeId(name) for name in names),
            blocks=self.grid.count,
        )
        self.manifest = Manifest(head, tuple(entries))
        self.buffers: set[BufferRef] = set()
        """Allocated at the coordinator."""

    def cut(self, block: Block) -> Matrix:
        (top, bottom), (left, right) = (
            self.grid.row_span(block.row),
            self.grid.column_span(block.column),
        )
        values: Matrix = self.w[top:bottom, left:right]
        return values

    def renamed(self, name: str) -> Manifest:
        """The same under another name and version."""
        head = msgspec.structs.replace(
            self.manifest.head, name=name, version=WeightsVersion(2, 0, name)
        )
        return Manifest(head, self.manifest.entries)

    def _store(self, block: Block, backend: str) -> StoreBlock:
        rows, columns = self.grid.shape(block)
        return StoreBlock(
            put="p",
            name="w",
            version=VERSION,
            block=(block.row, block.column),
            rows=rows,
            columns=columns,
            backend=backend,
            device="",
            seed=3,
        )


@dataclass
class Answer:
    value: Matrix | None = None
    certificate: CertificateView | None = None
    error: ErrorInfo | None = None
    account: AccountView | None = None
    explain: ExplainView | None = None
    notes: list[Note] = field(default_factory=list)
    asked: list[tuple[str, Multiply]] = field(default_factory=list)
    """Who was asked for what, in order."""

    def named(self, event: str) -> list[dict[str, object]]:
        return [note.fields for note in self.notes if note.event == event]


Spoil = Callable[[Multiply, Matrix], None]


class BenchMesh:
    """The surroundings of products on one coordinator; `speeds` says who is fast, in MACs a second."""

    def __init__(self, weights: Weights, seed: int = 1, budget_bytes: int = 128 * MIB) -> None:
        self.own = OWN
        self.weights = weights
        self.desk = Desk()
        self.ledger = Ledger(budget_bytes)
        self.room = Room(self.ledger)
        self.memory = ShortTerm()
        self.outstanding = Outstanding()
        self.hedges = HedgeBudget(1.0)
        self.chooser: Chooser = Ours(None)
        self.asking = Asking(self.desk, self.chooser)
        self.sketches = SketchCache(OWN, self.ledger, self.desk, lambda node: node not in self.dead)
        self.speeds: dict[str, float] = {}
        self.dead: set[str] = set()
        self.silent: set[str] = set()
        self.refusing: dict[str, int] = {}
        """How many more times."""
        self.retry_after_s: float | None = None
        self.takes_s: dict[str, float] = {}
        """Of parts."""
        self.queues: dict[str, float] = {}
        """What they are said to have ahead, in seconds."""
        self.wrong: dict[str, Spoil] = {}
        self.claims_analog = False
        """Whoever is wrong says that all of it came from arrays."""
        self.answer = Answer()
        self.now = 100.0
        self._dice = random.Random(seed)
        self._events: list[tuple[float, int, int, Callable[[], list[Effect]]]] = []
        self._drawn = 0
        # What a test that failed has left would stand in the way of the next.
        for buffer in weights.buffers:
            self.arena.free(buffer)
        weights.buffers.clear()
        self._cancelled: set[int] = set()
        self._inputs: dict[str, Matrix] = {}
        """What the clients have still to send."""
        self._given: list[Matrix] = []

    @property
    def arena(self) -> Arena:
        return self.weights.nodes[OWN].arena

    def candidates(self, version: WeightsVersion, now: float, *, analog: bool) -> list[Candidate]:
        return [
            Candidate(
                node,
                0.0 if node == OWN else 0.001,
                float("inf") if node == OWN else 1e9,
                self.queues.get(node, 0.0)
                + self.outstanding.macs(node) / self.speeds.get(node, 1e9),
                self.speeds.get(node, 1e9),
                self.memory.forecast_reliability(node, now),
                silent_s=self.asking.silent_s(node, 0.001, now),
            )
            for node in self.weights.manifest.head.holders
            if node not in self.dead
        ]

    def matmul(
        self,
        x: Matrix,
        rtol: float | None = 1e-2,
        *,
        transpose: bool = False,
        deterministic: bool = False,
        deadline_s: float = 30.0,
    ) -> Answer:
        """Run one product to its end and check that nothing is left of it."""
        request = MatmulRequest(
            name="w",
            rtol=rtol,
            transpose=transpose,
            deterministic=deterministic,
            deadline_s=deadline_s,
        )
        product = self.begin(request, x)
        while not product.over:
            self.step(product)
        return self.end(product)

    def begin(self, request: MatmulRequest, x: Matrix, task: TaskId = TASK) -> Matmul:
        self._inputs[task] = x
        product = Matmul(
            task, request, len(x), self.weights.manifest, self, self.now, lambda ok: None
        )
        self.feed(product.start(self.now))
        return product

    def step(self, product: Matmul) -> None:
        """Whatever comes first: an answer, or the product's own deadline."""
        due = product.deadline
        at = self._events[0][0] if self._events else None
        if due is not None and (at is None or due <= at):
            self.now = max(self.now, due)
            self.feed(product.tick(self.now))
            return
        assert at is not None, "nothing happens any more"
        self._happen()

    def settle(self) -> None:
        """Until nothing is under way."""
        while self._events:
            self._happen()

    def _happen(self) -> None:
        self.now, _, number, tell = heapq.heappop(self._events)
        if number not in self._cancelled:
            self.feed(tell())

    def end(self, product: Matmul) -> Answer:
        self.feed(self.sketches.drop(VERSION))
        self.settle()
        for node in self.weights.nodes:
            assert self.outstanding.macs(node) == 0
        free = self.ledger.free_for(Purpose.ACTIVATIONS)
        assert free == self.ledger.budget_bytes - self.ledger.overhead_bytes
        assert not self.weights.buffers
        view = product.view(self.now)
        self.answer.account, self.answer.explain = view.account, view.explain
        if self._given:
            self.answer.value = np.concatenate(self._given)
        return self.answer

    # -- the doing side ------------------------------------------------------------------------------

    def feed(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Allocate(buffer):
                    self.arena.allocate(buffer)
                    self.weights.buffers.add(buffer)
                case Free(buffer):
                    self.arena.free(buffer)
                    self.weights.buffers.discard(buffer)
                case Work():
                    self._work(effect)
                case Call():
                    self._call(effect)
                case CancelCall(number) | CancelWork(number):
                    self._cancelled.add(number)
                case Note():
                    self.answer.notes.append(effect)
                case Failed(_, error):
                    self.answer.error = error
                case Done():
                    pass
                case _:
                    raise AssertionError(f"not for a product: {effect}")

    def _soon(self, number: int, tell: Callable[[], list[Effect]], delay_s: float = 0.0) -> None:
        self._drawn += 1
        at = self.now + delay_s + self._dice.uniform(1e-4, 2e-3)
        heapq.heappush(self._events, (at, self._drawn, number, tell))

    def _work(self, work: Work) -> None:
        def tell() -> list[Effect]:
            waiter = self.desk.settle(work.job)
            assert waiter is not None
            try:
                outcome = self._do(work)
            except TaskError as error:
                return waiter.job_failed(work.job, error.info, self.now)
            return waiter.job_done(work.job, outcome, self.now)

        self._soon(work.job, tell)

    def _do(self, work: Work) -> Outcome:
        match work.what:
            case TakeRows() as take:
                rows = self._inputs[take.task][: take.m]
                self._inputs[take.task] = self._inputs[take.task][take.m :]
                self.arena.matrix(take.into, *rows.shape)[:] = rows
                return RowsTaken(int(content_id(self.arena.bytes(take.into))[:15], 16))
            case GiveRows() as give:
                grid = self.weights.grid
                width = grid.rows + grid.columns - self._inputs[give.task].shape[1]
                m = give.rows.nbytes // 4 // width
                self._given.append(self.arena.matrix(give.rows, m, width).copy())
                self.answer.certificate = give.certificate
                return None
            case RunShard() as shard if OWN in self.refusing:
                self._refuse(OWN)
                return self.weights.nodes[OWN].shop.do(shard)
            case what:
                return self.weights.nodes[OWN].shop.do(what)  # type: ignore[arg-type]

    def _refuse(self, node: str) -> None:
        if self.refusing.get(node, 0):
            self.refusing[node] -= 1
            reason = f"{node} is busy; come back later"
            raise TaskError(ErrorCode.OVERLOADED, reason, retry_after_s=self.retry_after_s)

    def _call(self, call: Call) -> None:
        node, request = call.peer, call.request
        body = b"" if call.body is None else bytes(self.arena.bytes(call.body))
        if isinstance(request, Multiply):
            self.answer.asked.append((node, request))

        def tell() -> list[Effect]:
            waiter = self.desk.settle(call.call)
            assert waiter is not None
            if isinstance(request, Probe):
                return self._probed(call, waiter)
            assert call.into is not None
            try:
                if node in self.dead:
                    raise TaskError(ErrorCode.UNAVAILABLE, f"the link to {node} is lost")
                if node in self.silent:
                    raise TaskError(ErrorCode.DEADLINE, f"{node} did not answer in time")
                if isinstance(request, Multiply):
                    self._refuse(node)
                response = self._answer(node, request, body, call.into)
            except TaskError as error:
                return waiter.call_failed(call.call, error.info, self.now)
            self.asking.heard(node, self.now)
            return waiter.answered(call.call, node, response, LoadDigest(), self.now)

        multiplying = isinstance(request, Multiply)
        takes_s = self.takes_s.get(node, 0.001) if multiplying else 0.001
        self._soon(call.call, tell, call.deadline_s if node in self.silent else takes_s)

    def _probed(self, call: Call, waiter: Waiter) -> list[Effect]:
        if call.peer in self.silent | self.dead:
            gone = ErrorInfo(code=ErrorCode.DEADLINE, reason=f"{call.peer} did not answer")
            return waiter.call_failed(call.call, gone, self.now)
        return waiter.answered(call.call, call.peer, Probed(), LoadDigest(), self.now)

    def _answer(self, node: NodeId, request: object, body: bytes, into: BufferRef) -> Response:
        holder = self.weights.nodes[node]
        match request:
            case FetchBlock():
                holder.store.read_into(request.content, self.arena.bytes(into))
                return Fetched(nbytes=into.nbytes)
            case Multiply():
                return self._multiply(node, request, body, into)
            case _:
                raise AssertionError(f"not for a holder: {request}")

    def _multiply(
        self, node: NodeId, request: Multiply, body: bytes, into: BufferRef
    ) -> Multiplied:
        holder = self.weights.nodes[node]
        blocks = tuple(Block(*block) for block in request.blocks)
        sides = Sides(self.weights.grid, request.transpose)
        layout = lay_out(sides, blocks, request.m, separate=request.separate)
        x, out = BufferRef(-1, len(body)), BufferRef(-2, layout.output_bytes)
        assert x.nbytes == request.m * layout.packed_width * 4 and out.nbytes == into.nbytes
        for buffer in (x, out):
            holder.arena.allocate(buffer)
        holder.arena.bytes(x)[:] = body
        shard = RunShard(
            version=request.version,
            blocks=layout.shard_blocks,
            transpose=request.transpose,
            m=request.m,
            x=x,
            x_width=layout.packed_width,
            out=out,
            share=request.share,
            x_key=request.x_key,
            exact=request.exact,
        )
        done = holder.shop.do(shard)
        assert isinstance(done, ShardDone)
        if node in self.wrong:
            if self.claims_analog:
                done = replace(done, analog_macs=done.analog_macs + done.digital_macs)
            self.wrong[node](request, holder.arena.matrix(out, 1, layout.output_values))
        self.arena.bytes(into)[:] = holder.arena.bytes(out)
        for buffer in (x, out):
            holder.arena.free(buffer)
        return Multiplied(
            nbytes=out.nbytes,
            analog_macs=done.analog_macs,
            digital_macs=done.digital_macs,
            busy_s=done.busy_s,
            energy_j=done.energy_j,
            latency_s=done.latency_s,
            reads=done.reads,
            regime=done.regime,
        )


def every(*names: str) -> Callable[[Block], tuple[str, ...]]:
    """Each block at all of these."""
    return lambda block: names
