"""A coordinator's sketches: what it needs of W to judge an answer without holding W.

The block sketches lie beside the blocks, on the nodes that hold them. Summed over all blocks they give S (K, 16)
and T (N, 16), which a coordinator keeps for as long as there is room. Summed over some blocks they judge one
holder's part.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from compute.partition import Block, BlockGrid
from compute.verify import SKETCH_WIDTH
from node.communication.desk import Desk
from node.deployment.ledger import Lease, Ledger, Purpose
from node.effects import (
    AddSketch,
    Allocate,
    BufferRef,
    Call,
    CancelCall,
    Effect,
    Free,
    Outcome,
    ReadContent,
    Work,
)
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId
from protocol.messages import FetchBlock, Manifest, Response

FETCHES_IN_FLIGHT = 8
FETCH_S = 10.0
VALUE_BYTES = 8
"""Sketches are float64."""
CACHED_MAX = 256
"""Versions of which the sums are kept."""


def sketch_bytes(grid: BlockGrid, block: Block) -> int:
    rows, columns = grid.shape(block)
    return (rows + columns) * SKETCH_WIDTH * VALUE_BYTES


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums of sketches over a set of blocks."""

    rows: BufferRef
    columns: BufferRef


Ready = Callable[[Sums, float], list[Effect]]
Failed = Callable[[TaskError, float], list[Effect]]


@dataclass(slots=True)
class _Fetch:
    index: int
    holders: list[NodeId]
    buffer: BufferRef
    call: int | None = None
    tried: int = 0


class Gathering:
    """Fetches the sketches of some blocks and sums them; eight at a time, each from any holder that has it."""

    def __init__(
        self,
        manifest: Manifest,
        indices: list[int],
        own: NodeId,
        reachable: Callable[[NodeId], bool],
        desk: Desk,
        ready: Ready,
        failed: Failed,
    ) -> None:
        self._manifest = manifest
        self._grid = BlockGrid(manifest.head.rows, manifest.head.columns)
        self._blocks = list(self._grid.blocks())
        self._waiting = list(reversed(indices))
        self._own = own
        self._reachable = reachable
        self._desk = desk
        self._ready = ready
        self._failed = failed
        self._flying: dict[int, _Fetch] = {}
        self.over = False
        head = manifest.head
        self.sums = Sums(
            desk.buffer(head.rows * SKETCH_WIDTH * VALUE_BYTES),
            desk.buffer(head.columns * SKETCH_WIDTH * VALUE_BYTES),
        )

    def start(self, now: float) -> list[Effect]:
        effects: list[Effect] = [Allocate(self.sums.rows), Allocate(self.sums.columns)]
        return effects + self._more(now)

    def cancel(self) -> list[Effect]:
        """Stop; the sums are freed with everything else."""
        self.over = True
        effects: list[Effect] = [Free(self.sums.rows), Free(self.sums.columns)]
        for number, fetch in self._flying.items():
            self._desk.forget(number)
            if fetch.call is not None:
                effects.append(CancelCall(fetch.call))
            effects.append(Free(fetch.buffer))
        self._flying.clear()
        return effects

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        return self._add(self._flying.pop(call))

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._again(self._flying.pop(call), error, now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        fetch = self._flying.pop(job)
        if fetch.call == -1:
            fetch.call = None
            return self._add(fetch)
        effects: list[Effect] = [Free(fetch.buffer)]
        effects += self._more(now)
        if not self._flying and not self._waiting and not self.over:
            self.over = True
            effects += self._ready(self.sums, now)
        return effects

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        return self._again(self._flying.pop(job), error, now)

    def _more(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._waiting and len(self._flying) < FETCHES_IN_FLIGHT and not self.over:
            index = self._waiting.pop()
            head = self._manifest.head
            holders = [head.holders[h] for h in self._manifest.entries[index].holders]
            # This node's own disk first: it costs no round trip.
            holders.sort(key=lambda node: node != self._own)
            buffer = self._desk.buffer(sketch_bytes(self._grid, self._blocks[index]))
            effects += [Allocate(buffer), *self._fetch(_Fetch(index, holders, buffer), now)]
        return effects

    def _fetch(self, fetch: _Fetch, now: float) -> list[Effect]:
        content = self._manifest.entries[fetch.index].sketch
        while fetch.tried < len(fetch.holders):
            holder = fetch.holders[fetch.tried]
            fetch.tried += 1
            if holder == self._own:
                fetch.call = -1
                job = self._desk.number(self)
                self._flying[job] = fetch
                return [Work(job, ReadContent(content, fetch.buffer))]
            if self._reachable(holder):
                fetch.call = self._desk.number(self)
                self._flying[fetch.call] = fetch
                request = FetchBlock(content=content, nbytes=fetch.buffer.nbytes)
                return [Call(fetch.call, holder, request, FETCH_S, into=fetch.buffer)]
        block = self._blocks[fetch.index]
        names = ", ".join(holder[:8] for holder in fetch.holders)
        reason = f"no holder of block ({block.row}, {block.column}) answers: {names}"
        effects: list[Effect] = [Free(fetch.buffer), *self.cancel()]
        return effects + self._failed(TaskError(ErrorCode.UNAVAILABLE, reason), now)

    def _again(self, fetch: _Fetch, error: ErrorInfo, now: float) -> list[Effect]:
        fetch.call = None
        return self._fetch(fetch, now)

    def _add(self, fetch: _Fetch) -> list[Effect]:
        fetch.call = None
        job = self._desk.number(self)
        self._flying[job] = fetch
        block = self._blocks[fetch.index]
        content = self._manifest.entries[fetch.index].sketch
        rows, columns = self._grid.row_span(block.row), self._grid.column_span(block.column)
        sums = self.sums
        return [Work(job, AddSketch(fetch.buffer, content, rows, columns, sums.rows, sums.columns))]


@dataclass(slots=True)
class _Kept:
    lease: Lease
    gathering: Gathering | None
    sums: Sums | None = None
    used_at: float = 0.0
    users: int = 0
    waiting: list[tuple[Ready, Failed]] = field(default_factory=list)


class SketchCache:
    """The sums over all blocks, by version; the least recently used go when the ledger wants the room."""

    def __init__(
        self, own: NodeId, ledger: Ledger, desk: Desk, reachable: Callable[[NodeId], bool]
    ) -> None:
        self._own = own
        self._ledger = ledger
        self._desk = desk
        self._reachable = reachable
        self._kept: dict[WeightsVersion, _Kept] = {}

    def want(self, manifest: Manifest, ready: Ready, failed: Failed, now: float) -> list[Effect]:
        """Calls `ready` with the sums, at once if they are here. Each use ends with `done`."""
        version = manifest.head.version
        kept = self._kept.get(version)
        if kept is not None and kept.sums is not None:
            kept.users += 1
            kept.used_at = now
            return ready(kept.sums, now)
        if kept is not None:
            kept.waiting.append((ready, failed))
            return []
        return self._gather(manifest, ready, failed, now)

    def done(self, version: WeightsVersion) -> None:
        if (kept := self._kept.get(version)) is not None:
            kept.users -= 1

    def drop(self, version: WeightsVersion) -> list[Effect]:
        """The weights are gone, or their sketches proved wrong."""
        kept = self._kept.pop(version, None)
        if kept is None:
            return []
        self._ledger.release(kept.lease.id)
        if kept.sums is not None:
            return [Free(kept.sums.rows), Free(kept.sums.columns)]
        assert kept.gathering is not None
        return kept.gathering.cancel()

    def _gather(self, manifest: Manifest, ready: Ready, failed: Failed, now: float) -> list[Effect]:
        version = manifest.head.version
        nbytes = (manifest.head.rows + manifest.head.columns) * SKETCH_WIDTH * VALUE_BYTES
        effects = self._make_room(nbytes)
        lease = self._ledger.reserve("sketches", Purpose.SKETCHES, nbytes, now)

        def complete(sums: Sums, at: float) -> list[Effect]:
            kept = self._kept[version]
            kept.sums, kept.gathering, kept.used_at = sums, None, at
            waiting, kept.waiting = kept.waiting, []
            kept.users += len(waiting)
            return [effect for ready_one, _ in waiting for effect in ready_one(sums, at)]

        def give_up(error: TaskError, at: float) -> list[Effect]:
            kept = self._kept.pop(version)
            self._ledger.release(kept.lease.id)
            return [effect for _, failed_one in kept.waiting for effect in failed_one(error, at)]

        indices = list(range(len(manifest.entries)))
        gathering = Gathering(
            manifest, indices, self._own, self._reachable, self._desk, complete, give_up
        )
        self._kept[version] = _Kept(lease, gathering, waiting=[(ready, failed)])
        return effects + gathering.start(now)

    def _make_room(self, nbytes: int) -> list[Effect]:
        effects: list[Effect] = []
        idle = sorted(
            (kept.used_at, version)
            for version, kept in self._kept.items()
            if kept.sums is not None and kept.users == 0
        )
        for _, version in idle:
            full = len(self._kept) >= CACHED_MAX
            if not full and self._ledger.free_for(Purpose.SKETCHES) >= nbytes:
                break
            effects += self.drop(version)
        return effects
