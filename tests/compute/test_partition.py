import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.partition import BLOCK_SIDE, Block, BlockGrid, spans

sides = st.integers(1, 4 * BLOCK_SIDE)


@settings(max_examples=40, deadline=None)
@given(sides, sides)
def test_the_blocks_cover_every_cell_exactly_once(rows: int, columns: int) -> None:
    grid = BlockGrid(rows, columns)
    covered = np.zeros((rows, columns), np.uint8)
    for block in grid.blocks():
        covered[slice(*grid.row_span(block.row)), slice(*grid.column_span(block.column))] += 1

    assert covered.min() == covered.max() == 1
    assert grid.count == len(list(grid.blocks()))
    assert sum(map(grid.payload_bytes, grid.blocks())) == 4 * rows * columns


def test_blocks_come_column_by_column() -> None:
    assert list(BlockGrid(1025, 1025).blocks()) == [
        Block(0, 0),
        Block(1, 0),
        Block(0, 1),
        Block(1, 1),
    ]


def test_the_last_block_is_what_is_left() -> None:
    grid = BlockGrid(1, 1031)

    assert grid.shape(Block(0, 0)) == (1, 1024)
    assert grid.shape(Block(0, 1)) == (1, 7)


def test_spans_of_a_short_length_are_one_piece() -> None:
    assert list(spans(5, 128)) == [(0, 5)]
    assert list(spans(129, 128)) == [(0, 128), (128, 129)]
