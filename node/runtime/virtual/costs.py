"""What each kind of work costs in time, on a worker of a given speed, on disk and to carry."""

from dataclasses import dataclass
from math import inf

from compute.verify import SKETCH_WIDTH
from node.runtime.pieces import pieces_max
from node.work import (
    AddSketch,
    Adopt,
    Combine,
    Discard,
    GiveRows,
    Job,
    KeepManifest,
    LoadBlock,
    PackColumns,
    Project,
    ReadContent,
    Relay,
    Reprogram,
    RunShard,
    SpoolContent,
    TakeRows,
    WriteContent,
)


@dataclass(frozen=True, slots=True)
class Costs:
    """Of a worker that nobody slows down: seconds for each thing, and bytes in a second."""

    job_s: float = 0.0002
    """Every piece of work: to a thread and back."""
    shard_s: float = 0.0
    """Each shard, beside its multiply-accumulates."""
    copy_bytes_s: float = 4e9
    """Packing, summing."""
    hash_bytes_s: float = 2e9
    disk_bytes_s: float = 400e6
    program_bytes_s: float = 50e6
    """Into simulated arrays, once more."""
    disk_s: float = 0.002
    """Until the disk says that something lies there."""


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
        case Reprogram():
            nbytes = 4 * what.store.rows * what.store.columns
            return costs.job_s + _stored_s(nbytes, costs) + nbytes / costs.program_bytes_s
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
