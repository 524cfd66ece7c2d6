"""What the blocks of a matrix cost in memory, and the largest matrix that would fit."""

from compute.partition import BlockGrid
from node.deployment.placement import BlockUnit, Capacity, nearest_fit
from node.deployment.stores import resident_bytes
from protocol.digests import WeightsVersion
from protocol.messages import StoreBlock


def units(grid: BlockGrid, backend: str, device: str, seed: int) -> list[BlockUnit]:
    """Every block with what it costs in memory on this backend; TaskError if there is no such backend or device."""
    version = WeightsVersion(0, 0, "")
    made = []
    for block in grid.blocks():
        rows, columns = grid.shape(block)
        store = StoreBlock(
            put="",
            name="plan",
            version=version,
            block=(block.row, block.column),
            rows=rows,
            columns=columns,
            backend=backend,
            device=device,
            seed=seed,
        )
        made.append(BlockUnit(block, resident_bytes(store), grid.payload_bytes(block)))
    return made


def fit(grid: BlockGrid, blocks: list[BlockUnit], capacities: list[Capacity], replicas: int) -> int:
    """The largest payload in bytes that would fit now."""
    largest = max(blocks, key=lambda unit: unit.resident_bytes)
    return nearest_fit(
        capacities, grid.payload_bytes(largest.block), largest.resident_bytes, replicas
    )
