"""How a matrix is cut: blocks for nodes, tiles for crossbars.

A block is what one node holds, 1,024 x 1,024 values or 4 MiB of float32; a tile is what one crossbar array holds,
128 x 128 unless a program asks for other arrays (`Arrays.tile_side`). The grid of blocks follows from the matrix's
shape alone, so that every node cuts alike without being told.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]
Matrix64 = npt.NDArray[np.float64]

BLOCK_SIDE = 1024
TILE_SIDE = 128
"""Cells along an array of the mesh, and of a program that asks for nothing else."""

TILE_SIDES = (16, 32, 64, 128, 256, 512)
"""Sides that an array may have. Powers of two fill a block, and groups of up to 16 lines fill them. Published arrays
lie in this range; solving the wires of one takes with the fourth power of its side 20 ms at 128, 5 s at 512."""


class Block(NamedTuple):
    """A block's place in the grid."""

    row: int
    column: int


def spans(length: int, side: int) -> Iterator[tuple[int, int]]:
    """Cut [0, length) into [start, stop) pieces of `side`; the last may be shorter."""
    for start in range(0, length, side):
        yield start, min(start + side, length)


@dataclass(frozen=True, slots=True)
class BlockGrid:
    """The blocks of a (rows, columns) matrix; in X W the rows are contracted with X."""

    rows: int
    columns: int

    def __post_init__(self) -> None:
        assert self.rows >= 1 and self.columns >= 1

    @property
    def row_blocks(self) -> int:
        return -(-self.rows // BLOCK_SIDE)

    @property
    def column_blocks(self) -> int:
        return -(-self.columns // BLOCK_SIDE)

    @property
    def count(self) -> int:
        return self.row_blocks * self.column_blocks

    def blocks(self) -> Iterator[Block]:
        """Column by column: the partial products of one output column come from neighbours in this order."""
        for column in range(self.column_blocks):
            for row in range(self.row_blocks):
                yield Block(row, column)

    def row_span(self, row: int) -> tuple[int, int]:
        """[start, stop) of the matrix rows in a block row."""
        return _span(row, self.row_blocks, self.rows)

    def column_span(self, column: int) -> tuple[int, int]:
        """[start, stop) of the matrix columns in a block column."""
        return _span(column, self.column_blocks, self.columns)

    def shape(self, block: Block) -> tuple[int, int]:
        first_row, last_row = self.row_span(block.row)
        first_column, last_column = self.column_span(block.column)
        return last_row - first_row, last_column - first_column

    def payload_bytes(self, block: Block) -> int:
        """Of the block as float32, as it travels and as it lies on disk."""
        rows, columns = self.shape(block)
        return 4 * rows * columns


def _span(index: int, count: int, length: int) -> tuple[int, int]:
    assert 0 <= index < count
    return index * BLOCK_SIDE, min((index + 1) * BLOCK_SIDE, length)
