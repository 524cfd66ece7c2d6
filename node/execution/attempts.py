"""One part under way: some blocks of a panel at one holder, and the words in which they are asked for."""

from dataclasses import dataclass, replace

from compute.partition import Block
from node.deployment.ledger import Lease
from node.execution.shards import Layout, Sides
from node.work import BufferRef, RunShard, ShardDone
from protocol.client import MatmulRequest
from protocol.ids import NodeId, TaskId
from protocol.messages import ManifestHead, Multiplied, Multiply


@dataclass(frozen=True, slots=True)
class PanelRows:
    """One panel of X, for whoever multiplies it."""

    task: TaskId
    request: MatmulRequest
    head: ManifestHead
    m: int
    x: BufferRef
    x_key: int
    ends_at: float


@dataclass(slots=True, eq=False)
class Attempt:
    """One holder at work on some blocks of the panel."""

    node: NodeId
    layout: Layout
    out: BufferRef
    share: float | None
    exact: bool
    macs: int
    reserved: int
    """Bytes of the panel's own lease."""
    lease: Lease | None
    """Where the panel's lease was spent."""
    tries: int
    """That failed before."""
    began_at: float
    estimate_s: float
    hedge_at: float
    number: int
    packed: BufferRef | None = None
    calling: bool = False
    hedged: bool = False
    facts: ShardDone | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.layout.blocks


def shard_here(sides: Sides, rows: PanelRows, attempt: Attempt) -> RunShard:
    """On this node's own blocks, straight from X: nothing is packed."""
    blocks = tuple(
        replace(placed, input_start=sides.inputs(block)[0])
        for placed, block in zip(attempt.layout.shard_blocks, attempt.blocks, strict=True)
    )
    return RunShard(
        version=rows.head.version,
        blocks=blocks,
        transpose=rows.request.transpose,
        m=rows.m,
        x=rows.x,
        x_width=sides.width_in,
        out=attempt.out,
        share=attempt.share,
        x_key=rows.x_key,
        exact=attempt.exact,
    )


def multiply_request(rows: PanelRows, attempt: Attempt) -> Multiply:
    """The same, asked of a peer."""
    return Multiply(
        name=rows.head.name,
        version=rows.head.version,
        blocks=tuple((block.row, block.column) for block in attempt.blocks),
        transpose=rows.request.transpose,
        m=rows.m,
        share=attempt.share,
        x_key=rows.x_key,
        separate=rows.request.deterministic,
        exact=attempt.exact,
    )


def facts_of(answer: Multiplied) -> ShardDone:
    return ShardDone(
        answer.analog_macs,
        answer.digital_macs,
        answer.busy_s,
        answer.energy_j,
        answer.latency_s,
        answer.reads,
        answer.regime,
    )
