"""A coordinator's sketches: what it needs of W to judge an answer without holding W.

The block sketches lie beside the blocks, on the nodes that hold them. Summed over all blocks they give S (K, 16)
and T (N, 16), which a coordinator keeps for as long as there is room. Summed over some blocks they judge one
holder's part.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from compute.partition import Block, BlockGrid
from compute.verify import SKETCH_WIDTH
from node.communication.desk import Desk
from node.deployment.ledger import Lease, Ledger, Purpose
from node.effects import Allocate, Call, CancelCall, CancelWork, Effect, Free, Work
from node.work import AddSketch, BufferRef, Outcome, ReadContent
from protocol.digests import LoadDigest, WeightsVersion
from protocol.errors import ErrorCode, ErrorInfo, TaskError
from protocol.ids import NodeId, short
from protocol.messages import FetchBlock, Manifest, Response

FETCHES_IN_FLIGHT = 8
FETCH_S = 10.0
FETCH_ELSEWHERE_S = 1.2
"""While there is another holder to ask: a frozen one shall not hold up the first product for long."""
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


class _Stage(Enum):
    """Of one block's sketch on its way into the sums."""

    CALLING = "asked of a peer"
    READING = "read from disk"
    WAITING = "here, until those before it are added"
    ADDING = "added"


@dataclass(slots=True)
class _Fetch:
    place: int
    """In the order in which the sketches are added."""
    holders: list[NodeId]
    buffer: BufferRef
    stage: _Stage = _Stage.WAITING
    tried: int = 0


def gathering_bytes(grid: BlockGrid, indices: list[int]) -> int:
    """What sums over these blocks take while they are gathered."""
    blocks = list(grid.blocks())
    largest = max(sketch_bytes(grid, blocks[index]) for index in indices)
    return _sums_bytes(grid) + min(len(indices), FETCHES_IN_FLIGHT) * largest


def _sums_bytes(grid: BlockGrid) -> int:
    return (grid.rows + grid.columns) * SKETCH_WIDTH * VALUE_BYTES


class Gathering:
    """Fetches the sketches of some blocks and sums them; eight at a time, each from any holder that has it.

    They are added in the order of the grid, whichever comes first, so that the same weights give the same sums.
    """

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
        self._indices = sorted(indices)
        self._own = own
        self._reachable = reachable
        self._desk = desk
        self._ready = ready
        self._failed = failed
        self._late: set[NodeId] = set()
        """Holders that did not answer: they are asked last, or each of their sketches would cost as much again."""
        self._begun = 0
        self._added = 0
        self._flying: dict[int, _Fetch] = {}
        """By the number of the call or the work."""
        self._here: dict[int, _Fetch] = {}
        """Waiting for their turn, by place."""
        head = manifest.head
        self.sums = Sums(
            desk.buffer(head.rows * SKETCH_WIDTH * VALUE_BYTES),
            desk.buffer(head.columns * SKETCH_WIDTH * VALUE_BYTES),
        )

    def start(self, now: float) -> list[Effect]:
        effects: list[Effect] = [Allocate(self.sums.rows), Allocate(self.sums.columns)]
        return effects + self._more(now)

    def cancel(self) -> list[Effect]:
        """Stop, and free everything."""
        effects: list[Effect] = []
        for number, fetch in self._flying.items():
            self._desk.forget(number)
            calling = fetch.stage is _Stage.CALLING
            effects.append(CancelCall(number) if calling else CancelWork(number))
        for fetch in (*self._flying.values(), *self._here.values()):
            effects.append(Free(fetch.buffer))
        self._flying.clear()
        self._here.clear()
        return [*effects, Free(self.sums.rows), Free(self.sums.columns)]

    def answered(
        self, call: int, peer: NodeId, response: Response, load: LoadDigest, now: float
    ) -> list[Effect]:
        return self._arrived(self._flying.pop(call))

    def call_failed(self, call: int, error: ErrorInfo, now: float) -> list[Effect]:
        fetch = self._flying.pop(call)
        self._late.add(fetch.holders[fetch.tried - 1])
        return self._fetch(fetch, now)

    def job_done(self, job: int, outcome: Outcome, now: float) -> list[Effect]:
        fetch = self._flying.pop(job)
        if fetch.stage is _Stage.READING:
            return self._arrived(fetch)
        self._added += 1
        effects: list[Effect] = [Free(fetch.buffer), *self._add(), *self._more(now)]
        if self._added == len(self._indices):
            effects += self._ready(self.sums, now)
        return effects

    def job_failed(self, job: int, error: ErrorInfo, now: float) -> list[Effect]:
        """Not on our disk, or damaged: the next holder may have it."""
        return self._fetch(self._flying.pop(job), now)

    def _more(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        while self._begun < len(self._indices) and (
            len(self._flying) + len(self._here) < FETCHES_IN_FLIGHT
        ):
            index = self._indices[self._begun]
            # This node's own disk first: it costs no round trip.
            holders = sorted(
                self._manifest.holders(self._manifest.entries[index]),
                key=lambda node: (node != self._own, node in self._late),
            )
            buffer = self._desk.buffer(sketch_bytes(self._grid, self._blocks[index]))
            fetch = _Fetch(self._begun, holders, buffer)
            self._begun += 1
            effects += [Allocate(buffer), *self._fetch(fetch, now)]
        return effects

    def _fetch(self, fetch: _Fetch, now: float) -> list[Effect]:
        """From the next holder that has not been asked."""
        content = self._manifest.entries[self._indices[fetch.place]].sketch
        while fetch.tried < len(fetch.holders):
            holder = fetch.holders[fetch.tried]
            fetch.tried += 1
            if holder == self._own:
                job = self._fly(fetch, _Stage.READING)
                return [Work(job, ReadContent(content, fetch.buffer))]
            if self._reachable(holder):
                call = self._fly(fetch, _Stage.CALLING)
                request = FetchBlock(content=content, nbytes=fetch.buffer.nbytes)
                others = any(map(self._reachable, fetch.holders[fetch.tried :]))
                patience_s = FETCH_ELSEWHERE_S if others else FETCH_S
                return [Call(call, holder, request, patience_s, into=fetch.buffer)]
        block = self._blocks[self._indices[fetch.place]]
        names = ", ".join(map(short, fetch.holders))
        reason = (
            f"no holder of block ({block.row}, {block.column}) gives its sketch: {names};"
            " start one of these nodes again, or put the weights again"
        )
        # Nothing further is begun.
        self._begun = len(self._indices)
        effects: list[Effect] = [Free(fetch.buffer), *self.cancel()]
        return effects + self._failed(TaskError(ErrorCode.UNAVAILABLE, reason), now)

    def _fly(self, fetch: _Fetch, stage: _Stage) -> int:
        number = self._desk.number(self)
        fetch.stage = stage
        self._flying[number] = fetch
        return number

    def _arrived(self, fetch: _Fetch) -> list[Effect]:
        fetch.stage = _Stage.WAITING
        self._here[fetch.place] = fetch
        return self._add()

    def _add(self) -> list[Effect]:
        """The next in order, once it is here and the one before it is in."""
        fetch = self._here.pop(self._added, None)
        if fetch is None:
            return []
        job = self._fly(fetch, _Stage.ADDING)
        index = self._indices[fetch.place]
        block, content = self._blocks[index], self._manifest.entries[index].sketch
        rows, columns = self._grid.row_span(block.row), self._grid.column_span(block.column)
        sums = self.sums
        return [Work(job, AddSketch(fetch.buffer, content, rows, columns, sums.rows, sums.columns))]


@dataclass(slots=True)
class _Kept:
    lease: Lease
    sums: Sums | None = None
    """None: they are being gathered."""
    used_at: float = 0.0
    users: int = 0
    waiting: list[tuple[Ready, Failed]] = field(default_factory=list)
    dropped: bool = False
    """To be freed when nobody uses or waits for it."""


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

    def done(self, version: WeightsVersion) -> list[Effect]:
        kept = self._kept[version]
        kept.users -= 1
        return self._free(version) if kept.dropped and kept.users == 0 else []

    def drop(self, version: WeightsVersion) -> list[Effect]:
        """The weights are gone; whoever still uses the sums, or waits for them, may finish."""
        kept = self._kept.get(version)
        if kept is None:
            return []
        kept.dropped = True
        return [] if kept.users or kept.sums is None else self._free(version)

    def some(
        self, manifest: Manifest, indices: list[int], ready: Ready, failed: Failed
    ) -> Gathering:
        """Sums over some blocks only, not kept: whoever asks has the memory, and frees them."""
        return Gathering(manifest, indices, self._own, self._reachable, self._desk, ready, failed)

    def _gather(self, manifest: Manifest, ready: Ready, failed: Failed, now: float) -> list[Effect]:
        version = manifest.head.version
        nbytes = _sums_bytes(BlockGrid(manifest.head.rows, manifest.head.columns))
        effects = self._make_room(nbytes)
        try:
            lease = self._ledger.reserve("sketches", Purpose.SKETCHES, nbytes, now)
        except TaskError as refused:
            return effects + failed(refused, now)

        def complete(sums: Sums, at: float) -> list[Effect]:
            kept = self._kept[version]
            kept.sums, kept.used_at = sums, at
            waiting, kept.waiting = kept.waiting, []
            kept.users += len(waiting)
            return [effect for ready_one, _ in waiting for effect in ready_one(sums, at)]

        def give_up(error: TaskError, at: float) -> list[Effect]:
            kept = self._kept.pop(version)
            self._ledger.release(kept.lease.id)
            return [effect for _, failed_one in kept.waiting for effect in failed_one(error, at)]

        indices = list(range(len(manifest.entries)))
        gathering = self.some(manifest, indices, complete, give_up)
        self._kept[version] = _Kept(lease, waiting=[(ready, failed)])
        return effects + gathering.start(now)

    def _make_room(self, nbytes: int) -> list[Effect]:
        effects: list[Effect] = []
        if self._has_room(nbytes):
            return effects
        idle = sorted(
            (kept.used_at, version)
            for version, kept in self._kept.items()
            if kept.sums is not None and kept.users == 0
        )
        for _, version in idle:
            effects += self._free(version)
            if self._has_room(nbytes):
                break
        return effects

    def _has_room(self, nbytes: int) -> bool:
        full = len(self._kept) >= CACHED_MAX
        return not full and self._ledger.free_for(Purpose.SKETCHES) >= nbytes

    def _free(self, version: WeightsVersion) -> list[Effect]:
        kept = self._kept.pop(version)
        assert kept.sums is not None and kept.users == 0
        self._ledger.release(kept.lease.id)
        return [Free(kept.sums.rows), Free(kept.sums.columns)]
