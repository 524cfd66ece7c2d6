"""Work that the core orders: what is to be done off the event loop, and what comes of it.

Each order names the buffers that it reads and fills; what it answers says only what the core has to decide upon.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.digests import WeightsVersion
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockIndex, Manifest, StoreBlock
from protocol.tasks import CertificateView

if TYPE_CHECKING:
    # Brings numpy with it, which the daemon's child has no use for.
    from compute.health import HealthSummary


@dataclass(frozen=True, slots=True)
class BufferRef:
    """A stretch of memory in the arena; in a simulation only its size."""

    id: int
    nbytes: int


# -- products ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PackColumns:
    """Copy these column spans of x (m, width) side by side into another buffer."""

    x: BufferRef
    m: int
    width: int
    spans: tuple[tuple[int, int], ...]
    into: BufferRef


@dataclass(frozen=True, slots=True)
class ShardBlock:
    """One block's place in a shard: where its input begins in a row of x, where its output lies in `out`."""

    block: BlockIndex
    input_start: int
    input_width: int
    output_offset: int
    """In float32 values; the output is an (m, output_width) matrix from there, added to."""
    output_width: int


@dataclass(frozen=True, slots=True)
class RunShard:
    """Multiply x (m, x_width) by blocks that are resident here; outputs are zeroed first. Answer: ShardDone."""

    version: WeightsVersion
    blocks: tuple[ShardBlock, ...]
    transpose: bool
    m: int
    x: BufferRef
    x_width: int
    out: BufferRef
    share: float | None
    x_key: int
    exact: bool


@dataclass(frozen=True, slots=True)
class MoreSlices:
    """In so many slices of this block a product would have taken less energy."""

    version: WeightsVersion
    block: BlockIndex
    slices: int


@dataclass(frozen=True, slots=True)
class ShardDone:
    analog_macs: int = 0
    digital_macs: int = 0
    busy_s: float = 0.0
    energy_j: float = 0.0
    latency_s: float = 0.0
    reads: int = 0
    regime: str = "digital"
    wanted: tuple[MoreSlices, ...] = ()


@dataclass(frozen=True, slots=True)
class Project:
    """xs = x (m, width) times the sketch (width, 16), float64. Answer: Projected."""

    x: BufferRef
    m: int
    width: int
    sketch: BufferRef
    into: BufferRef


@dataclass(frozen=True, slots=True)
class Projected:
    norm_estimate: float
    """Of ||X W||_F, before W has been multiplied."""


@dataclass(frozen=True, slots=True)
class PartOutput:
    """Where one partial output (m, width) lies in a part, and at which column of the answer it belongs."""

    offset: int
    start: int
    width: int


@dataclass(frozen=True, slots=True)
class Part:
    buffer: BufferRef
    outputs: tuple[PartOutput, ...]


@dataclass(frozen=True, slots=True)
class Combine:
    """Sum the parts in the order given into y (m, width) and check the sum against xs. Answer: Combined."""

    parts: tuple[Part, ...]
    y: BufferRef
    m: int
    width: int
    depth: int
    """Length of the sums behind one value, for the round-off term."""
    xs: BufferRef
    sketch_seed: int
    transpose: bool


@dataclass(frozen=True, slots=True)
class Combined:
    norm: float
    """||Y'||_F."""
    error_bound: float
    """One-sided bound on ||Y' - X W||_F at the certificate's confidence."""


# -- what a node keeps -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AddSketch:
    """Verify one block's sketch (S then T) against its content id and add it to the sums. Answer: None."""

    source: BufferRef
    content: ContentId
    rows: tuple[int, int]
    columns: tuple[int, int]
    into_rows: BufferRef
    """Sum of S over block columns, (K, 16): checks X W."""
    into_columns: BufferRef
    """Sum of T over block rows, (N, 16): checks Y W^T."""


@dataclass(frozen=True, slots=True)
class Adopt:
    """Hash the block in this buffer, keep it on disk, program it. The buffer becomes the resident block or is
    freed. Answer: Adopted."""

    store: StoreBlock
    buffer: BufferRef


@dataclass(frozen=True, slots=True)
class LoadBlock:
    """Bring a block from disk back to its array, as after a restart. Answer: Adopted."""

    store: StoreBlock
    content: ContentId


@dataclass(frozen=True, slots=True)
class BlockArrays:
    """The arrays that a block stands in, as they were measured when they were written or last looked at."""

    health: "HealthSummary"
    slices: int
    slices_written: int
    """In their last writing, held here or not: so many can be derived again, at their present age."""
    replicas: int
    error: float
    """||E||_F / ||W||_F: what is wrong with the block as it is read from all its arrays."""
    dearer: float
    """By how much more energy a product takes than when they had just been written, at the common tolerance that
    suffers most, digital arithmetic included."""
    drift_t0_s: float | None
    """From this age on their cells move; None: they stay as they were written."""


@dataclass(frozen=True, slots=True)
class Adopted:
    content: ContentId
    arrays: BlockArrays | None = None
    """Where it stands in any."""


@dataclass(frozen=True, slots=True)
class Reprogram:
    """Read a resident block from disk again and derive how it stands in its arrays by now, or write them `anew`; from
    then on products use that. With fewer slices than it has, the others are let go and all else stays as it is.
    Answer: Reprogrammed."""

    store: StoreBlock
    slices: int
    anew: bool


@dataclass(frozen=True, slots=True)
class Reprogrammed:
    arrays: BlockArrays | None
    """None: the block is not here any more, or other weights have been written to its cells."""


@dataclass(frozen=True, slots=True)
class WriteContent:
    """Keep the buffer's bytes on disk under their content id. Answer: Written."""

    buffer: BufferRef


@dataclass(frozen=True, slots=True)
class Written:
    content: ContentId


@dataclass(frozen=True, slots=True)
class ReadContent:
    """Read content from disk, verified, into a buffer. Answer: None, or failed with NOT_FOUND."""

    content: ContentId
    into: BufferRef


@dataclass(frozen=True, slots=True)
class SpoolContent:
    """Keep fetched content for a download, if it is what was asked for. Answer: None, or failed NOT_FOUND."""

    buffer: BufferRef
    content: ContentId


@dataclass(frozen=True, slots=True)
class Discard:
    """Forget resident blocks of a version and delete contents from disk. Answer: None."""

    version: WeightsVersion
    blocks: tuple[BlockIndex, ...]
    contents: tuple[ContentId, ...]


@dataclass(frozen=True, slots=True)
class KeepManifest:
    """Write a manifest or tombstone to disk. Answer: None."""

    manifest: Manifest


# -- clients' matrices -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """Where one block of a put goes: to peers, and to this node itself where `here` is set."""

    store: StoreBlock
    column_start: int
    peers: tuple[NodeId, ...]
    here: bool


@dataclass(frozen=True, slots=True)
class Relay:
    """Read one block row of a put from the client, cut it, sketch it, and stream each block to its holders.

    Answer: Relayed, or failed with the holder or the client's fault named.
    """

    task: str
    put: str
    row: int
    rows: int
    columns: int
    sketch_seed: int
    routes: tuple[Route, ...]
    deadline_s: float


@dataclass(frozen=True, slots=True)
class Relayed:
    entries: tuple[tuple[BlockIndex, ContentId, ContentId], ...]
    """(block, content, sketch's content)"""
    arrays: tuple[tuple[BlockIndex, BlockArrays], ...] = ()
    """Of those that are held here."""


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Fill a buffer with the next m rows of the client's matrix. Answer: RowsTaken."""

    task: str
    m: int
    into: BufferRef


@dataclass(frozen=True, slots=True)
class RowsTaken:
    x_key: int
    """The first 60 bits of the BLAKE3 hash of the values."""


@dataclass(frozen=True, slots=True)
class GiveRows:
    """Pass these rows on towards the client. Answer: None, once the buffer is free again."""

    task: str
    rows: BufferRef
    last: bool
    certificate: CertificateView | None = None
    """With the last rows."""


Job = (
    PackColumns
    | RunShard
    | Project
    | Combine
    | AddSketch
    | Adopt
    | LoadBlock
    | Reprogram
    | WriteContent
    | ReadContent
    | SpoolContent
    | Discard
    | KeepManifest
    | Relay
    | TakeRows
    | GiveRows
)


Outcome = (
    ShardDone | Projected | Combined | Adopted | Reprogrammed | Written | Relayed | RowsTaken | None
)
