import random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compute.partition import Block, BlockGrid
from node.execution.shards import Sides, lay_out

sides = st.builds(
    Sides,
    st.builds(BlockGrid, st.integers(1, 3000), st.integers(1, 3000)),
    st.booleans(),
)


@given(sides, st.integers(1, 5), st.booleans(), st.randoms(use_true_random=False))
def test_a_product_through_the_layout_is_the_product(
    one: Sides, m: int, separate: bool, dice: random.Random
) -> None:
    # Ones everywhere: every value of the answer must have counted every input exactly once.
    blocks = list(one.grid.blocks())
    cut = dice.randint(0, len(blocks))
    total = np.zeros((m, one.width_out))
    for part in (tuple(blocks[:cut]), tuple(blocks[cut:])):
        if not part:
            continue
        layout = lay_out(one, part, m, separate=separate)
        out = np.zeros(layout.output_values)
        for placed in layout.shard_blocks:
            stop = placed.output_offset + m * placed.output_width
            assert placed.input_start + placed.input_width <= layout.packed_width
            out[placed.output_offset : stop] += placed.input_width
        for output in layout.outputs:
            stop = output.offset + m * output.width
            partial = out[output.offset : stop].reshape(m, output.width)
            total[:, output.start : output.start + output.width] += partial

    assert (total == one.width_in).all()


def test_a_shard_packs_each_span_of_x_once() -> None:
    one = Sides(BlockGrid(2048, 2048), transpose=False)

    layout = lay_out(one, (Block(0, 0), Block(0, 1)), 3, separate=False)

    assert layout.spans == ((0, 1024),)
    assert layout.packed_width == 1024
    assert layout.output_bytes == 3 * 2048 * 4
