"""One part under way: some blocks of a panel at one holder, and the words in which they are asked for."""

from dataclasses import dataclass, replace
from enum import IntEnum
from math import inf

from compute.partition import Block
from compute.verify import STRONGER
from node.communication.scoring import Estimate
from node.deployment.ledger import Lease
from node.execution.shards import Layout, Sides
from node.work import BufferRef, RunShard, ShardDone
from protocol.client import MatmulRequest
from protocol.ids import NodeId, TaskId
from protocol.messages import ManifestHead, Multiplied, Multiply

WAY_SHARE_MAX = 0.5
"""Of what is left, the most that is set aside for the way: a figure that is wrong must not leave no time at all."""


class Rigour(IntEnum):
    """How a part is worked; each where the one before it did not keep the tolerance. Its number tells noise apart."""

    PLANNED = 0
    STRONGER = 1
    """Under a smaller share, which takes more readings or another regime, and with noise of its own."""
    DIGITAL = 2


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
    rigour: Rigour
    macs: int
    reserved: int
    """Bytes of the panel's own lease."""
    lease: Lease | None
    """Where the panel's lease was spent."""
    tries: int
    """That failed before."""
    avoid: frozenset[NodeId]
    """Who did, of those."""
    began_at: float
    estimate: Estimate
    number: int
    hedge_at: float
    """When it is slower than its holder nearly always is; infinity once that was looked into."""
    rescue_at: float
    """When it is so late that something must be wrong with its holder."""
    back_s: float
    """What goes by on the way, as far as it was measured."""
    look_at: float
    """When to see whether its holder is still there; never, where that is this node."""
    packed: BufferRef | None = None
    calling: bool = False
    facts: ShardDone | None = None

    @property
    def blocks(self) -> tuple[Block, ...]:
        return self.layout.blocks

    @property
    def exact(self) -> bool:
        return self.rigour is Rigour.DIGITAL

    @property
    def due_at(self) -> float:
        """When to look at it next; infinity once it is answered."""
        if self.facts is not None:
            return inf
        return min(self.hedge_at, self.rescue_at, self.look_at)


@dataclass(frozen=True, slots=True)
class Lost:
    """Blocks that wait for a holder, as at their first or next try."""

    blocks: tuple[Block, ...]
    share: float | None
    at: float
    rigour: Rigour = Rigour.PLANNED
    avoid: frozenset[NodeId] = frozenset()
    """Who failed with them, or gave them back."""
    refused: bool = False
    """The last of these had no time for them."""
    tries: int = 0
    """That failed before."""


@dataclass(frozen=True, slots=True)
class Redo:
    """An answer that does not stand, and how it is made anew."""

    attempt: Attempt
    why: str
    rigour: Rigour
    """By the same holder, or by any where nobody is to blame."""
    elsewhere: Rigour | None = None
    """It is wrong: by another holder, if there is one."""


def risen_share(share: float | None, before: Rigour, after: Rigour) -> float | None:
    """A part's share of the tolerance once it is worked with more rigour."""
    if share is None or after is before:
        return share
    return STRONGER * share if after is Rigour.STRONGER else 0.0


def share_of(share: float | None, blocks: int, of: int) -> float | None:
    """Of a part's share of the tolerance, what goes to some of its blocks."""
    return None if share is None else share * blocks / of


def named(blocks: tuple[Block, ...], names_max: int = 3) -> str:
    """Blocks in words."""
    shown = ", ".join(f"({block.row}, {block.column})" for block in blocks[:names_max])
    more = len(blocks) - names_max
    return f"block {shown}" + (f" and {more} more" if more > 0 else "")


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
        x_key=_noise_key(rows, attempt),
        exact=attempt.exact,
    )


def multiply_request(rows: PanelRows, attempt: Attempt, now: float) -> Multiply:
    """The same, asked of a peer, which must be done before our time is up, for its answer takes some of it."""
    return Multiply(
        name=rows.head.name,
        version=rows.head.version,
        blocks=tuple((block.row, block.column) for block in attempt.blocks),
        transpose=rows.request.transpose,
        m=rows.m,
        share=attempt.share,
        x_key=_noise_key(rows, attempt),
        separate=rows.request.deterministic,
        exact=attempt.exact,
        back_ms=int(min(attempt.back_s, WAY_SHARE_MAX * max(rows.ends_at - now, 0.0)) * 1e3),
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


def _noise_key(rows: PanelRows, attempt: Attempt) -> int:
    """The same X meets the same noise at every holder, for they simulate the same cells; a second try meets other."""
    return rows.x_key ^ attempt.rigour
