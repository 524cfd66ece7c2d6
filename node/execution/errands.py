"""What a peer's request makes this node do: one class for each kind, with the stages it goes through.

    Storing       BODY  WORK               under the memory that was promised to its put
    Sketching     ROOM  BODY  WORK
    Fetching      ROOM  WORK  REPLY
    Multiplying   ROOM  BODY  SLOT  WORK  REPLY

An errand knows what it needs and what it answers; `Serving` leads it from stage to stage.
"""

from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from typing import ClassVar, Protocol

from compute.partition import BLOCK_SIDE, Block, BlockGrid
from compute.verify import SKETCH_WIDTH
from node.communication.desk import Desk
from node.communication.outstanding import Outstanding
from node.communication.policies import Chooser
from node.deployment.catalogue import Catalogue
from node.deployment.holding import NOTHING_PROMISED, Holding
from node.deployment.ledger import Lease, Ledger
from node.effects import Effect, Work
from node.execution import sketches
from node.execution.attempts import named
from node.execution.room import Room
from node.execution.shards import VALUE_BYTES, Layout, Sides, is_analog, lay_out
from node.memory.short_term import ShardServed, ShortTerm
from node.work import (
    Adopt,
    Adopted,
    BufferRef,
    Discard,
    Job,
    Outcome,
    ReadContent,
    RunShard,
    ShardDone,
    WriteContent,
    Written,
)
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId
from protocol.messages import (
    FetchBlock,
    Fetched,
    Manifest,
    Multiplied,
    Multiply,
    RequestHeader,
    Response,
    StoreBlock,
    Stored,
    StoreSketch,
)

SKETCH_BYTES_MAX = 2 * BLOCK_SIDE * SKETCH_WIDTH * sketches.VALUE_BYTES
"""Of a full block."""
FETCH_BYTES_MAX = BLOCK_SIDE * BLOCK_SIDE * VALUE_BYTES
"""A full block, the largest content there is."""


class Stage(Enum):
    """What an errand waits for."""

    ROOM = "memory"
    BODY = "its body"
    SLOT = "a free worker"
    WORK = "the work"
    REPLY = "its answer to leave"


WAITING = (Stage.ROOM, Stage.BODY, Stage.SLOT)
"""Where it can still be given up; work that has begun is not stopped, and an answer is not recalled."""


class Surroundings(Protocol):
    """What serving may ask of its node."""

    own: NodeId
    desk: Desk
    ledger: Ledger
    room: Room
    holding: Holding
    catalogue: Catalogue
    memory: ShortTerm
    outstanding: Outstanding
    chooser: Chooser


@dataclass(slots=True, eq=False)
class Errand(ABC):
    """One request under way."""

    stages: ClassVar[tuple[Stage, ...]]

    around: Surroundings
    number: int
    """Of the request."""
    peer: NodeId
    trace: str
    ends_at: float
    stage: Stage = field(init=False)
    incoming: BufferRef | None = field(init=False, default=None)
    """Where the request's body comes."""
    outgoing: BufferRef | None = field(init=False, default=None)
    """Where the answer's body lies."""
    held: list[BufferRef] = field(init=False, default_factory=list)
    """Buffers that are allocated and have to be freed."""
    lease: Lease | None = field(init=False, default=None)
    macs: int = field(init=False, default=0)
    analog: bool = field(init=False, default=False)
    """Its macs are done on simulated arrays."""
    outputs: int = field(init=False, default=1)
    """Parts of the answer, which workers can share out among them."""
    body_at: float = field(init=False, default=0.0)
    began_at: float = field(init=False, default=0.0)
    gone: bool = field(init=False, default=False)
    """Nobody waits for the answer any more."""

    def __post_init__(self) -> None:
        self.stage = self.stages[0]

    @property
    def owner(self) -> str:
        """Who asks for room and holds the lease."""
        return f"request {self.number}"

    def buffers(self) -> list[BufferRef]:
        return [buffer for buffer in (self.incoming, self.outgoing) if buffer is not None]

    @abstractmethod
    def job(self) -> Job:
        """The work; TaskError if there is no sense in it any more."""

    @abstractmethod
    def worked(self, outcome: Outcome, now: float) -> Response:
        """The work is done; TaskError if it was in vain."""

    def dropped(self) -> list[Effect]:
        """It ends without having been done."""
        return []


class Storing(Errand):
    """A block comes and is programmed."""

    stages = (Stage.BODY, Stage.WORK)
    _store: StoreBlock
    _promise: int
    _programmed: bool

    def prepare(self, store: StoreBlock, body_bytes: int, now: float) -> None:
        if max(store.rows, store.columns) > BLOCK_SIDE:
            reason = f"a block has at most {BLOCK_SIDE} rows and columns, not {_shape(store)}"
            raise TaskError(ErrorCode.BAD_REQUEST, reason)
        need = store.rows * store.columns * VALUE_BYTES
        _sized(f"a float32 block of {_shape(store)}", need, body_bytes)
        self._promise = self.around.holding.claim(store, now)
        self._store = store
        self._programmed = False
        self.incoming = self.around.desk.buffer(need)

    def job(self) -> Job:
        self._still_promised()
        assert self.incoming is not None
        # The work makes the buffer the resident block, or frees it.
        self.held.clear()
        return Adopt(self._store, self.incoming)

    def worked(self, outcome: Outcome, now: float) -> Response:
        assert isinstance(outcome, Adopted)
        self._programmed = True
        self._still_promised()
        self.around.holding.wrote(self._store.put, outcome.content)
        self.around.holding.adopted(self._store, now, outcome.arrays)
        return Stored(outcome.content)

    def dropped(self) -> list[Effect]:
        store, holding = self._store, self.around.holding
        if not self._programmed:
            holding.unclaim(store, self._promise)
            return []
        if holding.expects(store.version, store.block):
            return []
        number = self.around.desk.number(self.around.catalogue)
        return [Work(number, Discard(store.version, (store.block,), contents=()))]

    def _still_promised(self) -> None:
        if not self.around.holding.stands(self._store.put, self._promise):
            raise TaskError(ErrorCode.NO_ROOM, NOTHING_PROMISED, need=0, free=0)


class Sketching(Errand):
    """A block's sketch comes and is kept on disk."""

    stages = (Stage.ROOM, Stage.BODY, Stage.WORK)
    _put: str

    def prepare(self, request: StoreSketch, body_bytes: int, now: float) -> None:
        _sized("the sketch", request.nbytes, body_bytes)
        _within("a sketch", request.nbytes, SKETCH_BYTES_MAX)
        if not self.around.holding.renew(request.put, now):
            raise TaskError(ErrorCode.NO_ROOM, NOTHING_PROMISED)
        self._put = request.put
        self.incoming = self.around.desk.buffer(request.nbytes)

    def job(self) -> Job:
        assert self.incoming is not None
        return WriteContent(self.incoming)

    def worked(self, outcome: Outcome, now: float) -> Response:
        assert isinstance(outcome, Written)
        self.around.holding.wrote(self._put, outcome.content)
        return Stored(outcome.content)


class Fetching(Errand):
    """A block or a sketch is read from disk for another node."""

    stages = (Stage.ROOM, Stage.WORK, Stage.REPLY)
    _request: FetchBlock

    def prepare(self, request: FetchBlock) -> None:
        _within("content", request.nbytes, FETCH_BYTES_MAX)
        self._request = request
        self.outgoing = self.around.desk.buffer(request.nbytes)

    def job(self) -> Job:
        assert self.outgoing is not None
        return ReadContent(self._request.content, self.outgoing)

    def worked(self, outcome: Outcome, now: float) -> Response:
        return Fetched(nbytes=self._request.nbytes)


class Multiplying(Errand):
    """This node's part of a product."""

    stages = (Stage.ROOM, Stage.BODY, Stage.SLOT, Stage.WORK, Stage.REPLY)
    _request: Multiply
    _layout: Layout

    def prepare(self, request: Multiply, body_bytes: int) -> None:
        manifest = self._manifest(request)
        sides = Sides(BlockGrid(manifest.head.rows, manifest.head.columns), request.transpose)
        blocks = _placed(sides.grid, request)
        if not self.around.holding.has(request.version, request.blocks):
            reason = f"not all of {named(blocks)} of {request.name} are in memory on this node"
            raise TaskError(ErrorCode.UNAVAILABLE, reason)
        layout = lay_out(sides, blocks, request.m, separate=request.separate)
        x_bytes = request.m * layout.packed_width * VALUE_BYTES
        _sized(f"X of {request.m} x {layout.packed_width} float32 values", x_bytes, body_bytes)
        self._request, self._layout = request, layout
        self.outputs = len(layout.outputs)
        self.macs = sum(sides.macs(block, request.m) for block in blocks)
        self.analog = is_analog(manifest.head, exact=request.exact)
        self.incoming = self.around.desk.buffer(x_bytes)
        self.outgoing = self.around.desk.buffer(layout.output_bytes)

    def job(self) -> Job:
        assert self.incoming is not None and self.outgoing is not None
        return RunShard(
            version=self._request.version,
            blocks=self._layout.shard_blocks,
            transpose=self._request.transpose,
            m=self._request.m,
            x=self.incoming,
            x_width=self._layout.packed_width,
            out=self.outgoing,
            share=self._request.share,
            x_key=self._request.x_key,
            exact=self._request.exact,
        )

    def worked(self, outcome: Outcome, now: float) -> Response:
        assert isinstance(outcome, ShardDone)
        queued_s = self.began_at - self.body_at
        macs = outcome.analog_macs + outcome.digital_macs
        served = ShardServed(
            self.around.own,
            macs,
            outcome.busy_s,
            0,
            now - self.body_at,
            queued_s,
            analog=self.analog,
            regime=outcome.regime,
        )
        self.around.memory.record(served, now)
        return Multiplied(
            nbytes=self._layout.output_bytes,
            analog_macs=outcome.analog_macs,
            digital_macs=outcome.digital_macs,
            busy_s=outcome.busy_s,
            queued_s=queued_s,
            energy_j=outcome.energy_j,
            latency_s=outcome.latency_s,
            reads=outcome.reads,
            regime=outcome.regime,
        )

    def _manifest(self, request: Multiply) -> Manifest:
        manifest = self.around.catalogue.at(request.name, request.version)
        if manifest is None:
            reason = (
                f"this node does not know {request.name} at version {request.version}: it may not"
                " have arrived here yet, or it has been removed or replaced meanwhile;"
                " look with `sedma-node weights`, then ask again"
            )
            raise TaskError(ErrorCode.UNAVAILABLE, reason)
        return manifest


def errand(
    around: Surroundings, number: int, peer: NodeId, header: RequestHeader, now: float
) -> Errand:
    """The errand for a request, checked; TaskError if it cannot be done."""
    request, body_bytes = header.request, header.body_bytes
    ends_at = now + header.deadline_ms / 1000
    about = (around, number, peer, header.trace, ends_at)
    match request:
        case StoreBlock():
            storing = Storing(*about)
            storing.prepare(request, body_bytes, now)
            return storing
        case StoreSketch():
            sketching = Sketching(*about)
            sketching.prepare(request, body_bytes, now)
            return sketching
        case FetchBlock():
            _sized("a request for content", 0, body_bytes)
            fetching = Fetching(*about)
            fetching.prepare(request)
            return fetching
        case Multiply():
            back_s = request.back_ms / 1000
            multiplying = Multiplying(around, number, peer, header.trace, ends_at - back_s)
            multiplying.prepare(request, body_bytes)
            return multiplying
        case _:
            raise AssertionError(f"{type(request).__name__} is not for a holder")


def _sized(what: str, need: int, body_bytes: int) -> None:
    if body_bytes != need:
        reason = f"{what} has a body of {need} bytes, but {body_bytes} are announced"
        raise TaskError(ErrorCode.BAD_REQUEST, reason)


def _within(what: str, nbytes: int, most: int) -> None:
    if not 1 <= nbytes <= most:
        reason = f"{what} has 1 to {most} bytes, not {nbytes}"
        raise TaskError(ErrorCode.BAD_REQUEST, reason)


def _shape(store: StoreBlock) -> str:
    return f"{store.rows} x {store.columns}"


def _placed(grid: BlockGrid, request: Multiply) -> tuple[Block, ...]:
    """The request's blocks; BAD_REQUEST if one is not of the grid, or stands there twice."""
    blocks = tuple(Block(row, column) for row, column in request.blocks)
    outside = [
        block
        for block in blocks
        if block.row >= grid.row_blocks or block.column >= grid.column_blocks
    ]
    if outside:
        reason = (
            f"{request.name} has {grid.row_blocks} x {grid.column_blocks} blocks;"
            f" there is no {named(tuple(outside))}"
        )
        raise TaskError(ErrorCode.BAD_REQUEST, reason)
    twice = sorted(block for block, count in Counter(blocks).items() if count > 1)
    if twice:
        reason = f"a block can be asked for once only: {named(tuple(twice))} stands there twice"
        raise TaskError(ErrorCode.BAD_REQUEST, reason)
    return blocks
