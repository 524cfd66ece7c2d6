"""A product's work without a number: where a machine keeps values, a buffer names the version that they came from."""

from node.work import (
    AddSketch,
    Combine,
    Combined,
    GiveRows,
    Outcome,
    PackColumns,
    Project,
    Projected,
    RowsTaken,
    RunShard,
    ShardDone,
    TakeRows,
)
from protocol.digests import WeightsVersion
from protocol.ids import ContentId
from protocol.messages import BlockIndex

Product = TakeRows | Project | PackColumns | AddSketch | RunShard | Combine | GiveRows
Buffers = dict[int, ContentId | None]

ROWS = ContentId("rows of a client")


def multiply(
    what: Product,
    buffers: Buffers,
    resident: set[tuple[WeightsVersion, BlockIndex]],
    products: dict[str, set[str]],
) -> tuple[bool, Outcome]:
    """Whether it went well, and what came of it; `products` gets the versions that a client's rows came from."""
    match what:
        case TakeRows():
            buffers[what.into.id] = ROWS
            return True, RowsTaken(7)
        case Project():
            assert buffers[what.x.id] == ROWS
            return True, Projected(1.0)
        case PackColumns():
            buffers[what.into.id] = buffers[what.x.id]
        case AddSketch():
            assert buffers[what.source.id] == what.content
        case RunShard():
            return _run(what, buffers, resident)
        case Combine():
            (version,) = {buffers[part.buffer.id] for part in what.parts}
            buffers[what.y.id] = version
            return True, Combined(norm=1.0, error_bound=0.0)
        case GiveRows():
            version = buffers[what.rows.id]
            assert version is not None
            products[what.task].add(version)
    return True, None


def _run(
    what: RunShard, buffers: Buffers, resident: set[tuple[WeightsVersion, BlockIndex]]
) -> tuple[bool, Outcome]:
    if not {(what.version, placed.block) for placed in what.blocks} <= resident:
        return False, None
    assert buffers[what.x.id] == ROWS
    buffers[what.out.id] = ContentId(str(what.version))
    macs = sum(what.m * placed.input_width * placed.output_width for placed in what.blocks)
    return True, ShardDone(digital_macs=macs, busy_s=0.001)
