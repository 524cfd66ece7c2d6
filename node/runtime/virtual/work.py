"""What a simulated machine needs of whoever does its work, and what work costs in time.

Two stand behind this door: `ChargedShop` keeps names where a machine keeps bytes and charges time alone; `RealShop` has
memory, disk and arithmetic. Time is charged by the same table for both, so a run is the same run every time.
"""

from dataclasses import dataclass
from math import inf
from typing import Protocol

from compute.partition import Matrix
from compute.verify import SKETCH_WIDTH
from node.runtime.pieces import pieces_max
from node.work import (
    AddSketch,
    Adopt,
    BufferRef,
    Combine,
    Discard,
    GiveRows,
    Job,
    KeepManifest,
    LoadBlock,
    Outcome,
    PackColumns,
    Project,
    ReadContent,
    Relay,
    Route,
    RunShard,
    SpoolContent,
    TakeRows,
    WriteContent,
)
from protocol.client import CertificateView
from protocol.ids import ContentId
from protocol.messages import Manifest, StoreBlock

Body = ContentId | bytes | None
"""What lies in a buffer and travels: a name for it, or the bytes. None: nothing has been put there yet."""


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of a worker that nobody slows down."""

    job_s: float = 0.0002
    """Every piece of work: to a thread and back."""
    shard_s: float = 0.0
    """Each shard, beside its multiply-accumulates."""
    copy_bytes_s: float = 4e9
    """Packing, summing."""
    hash_bytes_s: float = 2e9
    disk_bytes_s: float = 400e6
    disk_s: float = 0.002
    """Until the disk says that something lies there."""


@dataclass(frozen=True, slots=True)
class Cut:
    """One block of a block row of a put, and its sketch."""

    route: Route
    content: ContentId
    sketch: ContentId
    body: Body
    sketch_body: Body
    sketch_bytes: int


class Client(Protocol):
    """Where rows come from, and where the answer's rows go."""

    width: int
    """Of the answer."""

    def take_rows(self, count: int) -> Matrix: ...

    def give_rows(self, rows: Body | Matrix, certificate: CertificateView | None) -> None: ...


class Shop(Protocol):
    """Memory, disk and arithmetic of one machine, for as long as one process of it lives."""

    def allocate(self, buffer: BufferRef) -> None: ...

    def free(self, buffer: BufferRef) -> None: ...

    def body(self, buffer: BufferRef) -> Body:
        """What lies there, to be sent."""

    def fill(self, buffer: BufferRef, body: Body) -> None:
        """It has arrived; nothing happens if the buffer is gone."""

    @property
    def buffers(self) -> int:
        """How many are allocated."""

    def do(self, what: Job, busy_s: float) -> Outcome:
        """Carry it out, which took a worker so long; TaskError if it cannot be done."""

    def take(self, what: TakeRows, client: Client) -> Outcome: ...

    def give(self, what: GiveRows, client: Client) -> None: ...

    def cut(self, what: Relay, client: Client) -> list[Cut]:
        """Cut a block row and sketch it."""

    def keep(self, store: StoreBlock, cut: Cut) -> None:
        """A block of a put, and its sketch, stay here."""

    def manifests(self) -> list[Manifest]:
        """What the disk remembers."""


def seconds(what: Job, costs: Costs, macs_s: float) -> float:
    """How long one worker of that speed has for it, if it does all of it and nothing else."""
    match what:
        case RunShard():
            return costs.job_s + costs.shard_s + macs(what) / macs_s
        case Project():
            return costs.job_s + what.m * what.width * SKETCH_WIDTH / macs_s
        case PackColumns():
            return costs.job_s + what.into.nbytes / costs.copy_bytes_s
        case Combine():
            copied = sum(part.buffer.nbytes for part in what.parts)
            check_s = what.m * what.width * SKETCH_WIDTH / macs_s
            return costs.job_s + copied / costs.copy_bytes_s + check_s
        case AddSketch():
            return costs.job_s + what.source.nbytes / costs.hash_bytes_s
        case Adopt() | WriteContent() | SpoolContent():
            return costs.job_s + _stored_s(what.buffer.nbytes, costs)
        case LoadBlock():
            return costs.job_s + _stored_s(4 * what.store.rows * what.store.columns, costs)
        case ReadContent():
            return costs.job_s + _stored_s(what.into.nbytes, costs)
        case KeepManifest() | Discard():
            return costs.job_s + costs.disk_s
        case Relay() | TakeRows() | GiveRows():
            return 0.0


def macs(what: RunShard) -> int:
    return sum(what.m * placed.input_width * placed.output_width for placed in what.blocks)


def pieces(what: Job, workers: int) -> int:
    """On how many workers it runs side by side."""
    return pieces_max(what, workers) if isinstance(what, RunShard) else 1


def carried_s(nbytes: int, bytes_s: float) -> float:
    """How long so many bytes take to or from a client."""
    return 0.0 if bytes_s == inf else nbytes / bytes_s


def _stored_s(nbytes: int, costs: Costs) -> float:
    return costs.disk_s + nbytes / costs.hash_bytes_s + nbytes / costs.disk_bytes_s
