"""All that the deciding core can ask for.

Facts and time go in, these come out. Bodies never pass through the core: it holds `BufferRef`s, a name and a size,
and orders what is to be done with them. `runtime/` carries the orders out on sockets, memory, worker threads and
disk, and tells the core what became of each call (`call`) and each piece of work (`job`) by its number.
"""

from dataclasses import dataclass, field

from protocol.client import CertificateView
from protocol.digests import WeightsVersion
from protocol.errors import ErrorInfo
from protocol.ids import ContentId, NodeId
from protocol.messages import BlockIndex, Manifest, Request, Response, StoreBlock


@dataclass(frozen=True, slots=True)
class BufferRef:
    """A stretch of memory in the arena; in a simulation only its size."""

    id: int
    nbytes: int


# -- peers -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dial:
    """Open the control connection; the addresses are tried in order. Answer: link_up or dial_failed."""

    addresses: tuple[str, ...]
    peer: NodeId | None
    """Who should answer there, where that is known."""


@dataclass(frozen=True, slots=True)
class Hang:
    peer: NodeId
    reason: str


@dataclass(frozen=True, slots=True)
class Call:
    """Ask a peer. Answer: answered (its body lies in `into`) or failed."""

    call: int
    peer: NodeId
    request: Request
    deadline_s: float
    body: BufferRef | None = None
    into: BufferRef | None = None
    trace: str = ""


@dataclass(frozen=True, slots=True)
class CancelCall:
    call: int


@dataclass(frozen=True, slots=True)
class Grant:
    """Let the body of a peer's request come into this buffer. Answer: body_received or request_gone."""

    request: int
    into: BufferRef


@dataclass(frozen=True, slots=True)
class Reply:
    """Answer a peer's request. With a body: replied says when the buffer is free again."""

    request: int
    response: Response
    body: BufferRef | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    request: int
    error: ErrorInfo


# -- buffers and work --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Allocate:
    buffer: BufferRef


@dataclass(frozen=True, slots=True)
class Free:
    buffer: BufferRef


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
class ShardDone:
    analog_macs: int = 0
    digital_macs: int = 0
    busy_s: float = 0.0
    energy_j: float = 0.0
    latency_s: float = 0.0
    reads: int = 0
    regime: str = "digital"


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
class Adopted:
    content: ContentId


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


@dataclass(frozen=True, slots=True)
class TakeRows:
    """Fill a buffer with the next m rows of the client's matrix. Answer: RowsTaken."""

    task: str
    m: int
    into: BufferRef


@dataclass(frozen=True, slots=True)
class RowsTaken:
    x_key: int
    """First eight bytes of the BLAKE3 hash of the values."""


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
    | WriteContent
    | ReadContent
    | SpoolContent
    | Discard
    | KeepManifest
    | Relay
    | TakeRows
    | GiveRows
)

Outcome = ShardDone | Projected | Combined | Adopted | Written | Relayed | RowsTaken | None


@dataclass(frozen=True, slots=True)
class Work:
    """Do this off the event loop. Answer: job_done with its outcome, or job_failed."""

    job: int
    what: Job


@dataclass(frozen=True, slots=True)
class CancelWork:
    job: int


# -- people ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """A client's task has ended well."""

    task: str


@dataclass(frozen=True, slots=True)
class Failed:
    task: str
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class KeepPeers:
    """Remember on disk where the others are, so that a plain start finds them again."""

    peers: tuple[tuple[NodeId, tuple[str, ...]], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A fact worth telling: the driver hands it to the log, the metrics and the trace."""

    event: str
    fields: dict[str, object] = field(default_factory=dict)


Effect = (
    Dial
    | Hang
    | Call
    | CancelCall
    | Grant
    | Reply
    | Refuse
    | Allocate
    | Free
    | Work
    | CancelWork
    | Done
    | Failed
    | KeepPeers
    | Note
)


def note(event: str, **fields: object) -> Note:
    return Note(event, fields)
