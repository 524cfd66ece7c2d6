"""Blocks as they are stored at a node: what one costs in memory, and which of a manifest's are this node's."""

from compute.backend import backend
from compute.device import DeviceError
from compute.partition import BlockGrid
from protocol.errors import ErrorCode, TaskError
from protocol.ids import NodeId
from protocol.messages import BlockIndex, Manifest, StoreBlock


def resident_bytes(store: StoreBlock, slices: int = 1) -> int:
    """What a block will cost in memory on its backend, in so many slices of arrays where it stands in any.

    TaskError if there is no such backend or device.
    """
    try:
        behind = backend(store.backend, store.device or None, store.seed)
        shape = (store.rows, store.columns)
        if slices == 1:
            return behind.resident_bytes(shape)
        # Loaded when first asked for: a digital node has no use for crossbars.
        from compute.programmed import Arrays
        from compute.rram import Rram

        assert isinstance(behind, Rram), "only arrays have slices"
        return behind.resident_bytes(shape, Arrays(slices=slices))
    except (DeviceError, ValueError) as wrong:
        raise TaskError(ErrorCode.BAD_REQUEST, str(wrong)) from wrong


def stores_of(manifest: Manifest, own: NodeId, put: str) -> dict[BlockIndex, StoreBlock]:
    """The blocks of a manifest that a node holds, as they were stored there."""
    head = manifest.head
    mine: dict[BlockIndex, StoreBlock] = {}
    if own not in head.holders:
        return mine
    grid = BlockGrid(head.rows, head.columns)
    for block, entry in zip(grid.blocks(), manifest.entries, strict=True):
        if own in (head.holders[h] for h in entry.holders):
            rows, columns = grid.shape(block)
            mine[(block.row, block.column)] = StoreBlock(
                put=put,
                name=head.name,
                version=head.version,
                block=(block.row, block.column),
                rows=rows,
                columns=columns,
                backend=head.backend,
                device=head.device,
                seed=head.seed,
            )
    return mine
