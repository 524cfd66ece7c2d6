import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.packing import FILL, Packing, Placement, conversions_min, pack

Shape = tuple[int, int]

sides = st.integers(3, 24)
shapes = st.lists(st.tuples(st.integers(1, 50), st.integers(1, 50)), max_size=16)


def cells(blocks: list[Shape]) -> int:
    return sum(rows * columns for rows, columns in blocks)


def arrays_at_least(blocks: list[Shape], side: int) -> int:
    return -(-cells(blocks) // side**2)


@settings(max_examples=60, deadline=None)
@given(shapes, sides, st.sampled_from([0.0, 0.9, FILL, 1.0]))
def test_each_cell_lies_in_one_place_and_no_place_holds_two(
    blocks: list[Shape], side: int, fill: float
) -> None:
    packing = pack(blocks, side, fill)
    counts = [np.zeros(shape, int) for shape in blocks]
    arrays = np.zeros((packing.arrays, side, side), int)
    for part in packing.placements:
        assert 0 <= part.top <= side - part.height and 0 <= part.left <= side - part.width
        counts[part.block][part.in_block] += 1
        arrays[part.array][part.in_array] += 1

    assert sum(part.height * part.width for part in packing.placements) == cells(blocks)
    assert all((count == 1).all() for count in counts)
    assert arrays.max(initial=0) <= 1
    assert arrays.any(axis=(1, 2)).all()


@settings(max_examples=60, deadline=None)
@given(shapes, sides)
def test_no_more_arrays_are_taken_than_the_fill_allows(blocks: list[Shape], side: int) -> None:
    assert pack(blocks, side, fill=1.0).arrays == arrays_at_least(blocks, side)
    most = max(arrays_at_least(blocks, side), int(cells(blocks) / (0.9 * side**2)))
    assert pack(blocks, side, fill=0.9).arrays <= most


@settings(max_examples=60, deadline=None)
@given(shapes, sides)
def test_without_a_fill_to_reach_no_row_is_cut(blocks: list[Shape], side: int) -> None:
    packing = pack(blocks, side, fill=0.0)

    assert packing.conversions == conversions_min(blocks, side)
    assert pack(blocks, side, fill=1.0).conversions >= packing.conversions


@settings(max_examples=20, deadline=None)
@given(shapes, sides)
def test_the_same_shapes_give_the_same_packing(blocks: list[Shape], side: int) -> None:
    assert pack(blocks, side) == pack(list(blocks), side)


def test_partial_products_of_the_places_add_up_to_the_product() -> None:
    dice = np.random.default_rng(7)
    blocks = [(13, 9), (5, 21), (8, 8), (3, 3)]
    weights = [dice.integers(-9, 9, shape) for shape in blocks]
    packing = pack(blocks, 8, fill=1.0)
    arrays = np.zeros((packing.arrays, 8, 8), int)
    for part in packing.placements:
        arrays[part.array][part.in_array] = weights[part.block][part.in_block]

    inputs = [dice.integers(-9, 9, rows) for rows, _ in blocks]
    sums = [np.zeros(columns, int) for _, columns in blocks]
    for part in packing.placements:
        rows, columns = part.in_block
        sums[part.block][columns] += inputs[part.block][rows] @ arrays[part.array][part.in_array]

    for x, w, found in zip(inputs, weights, sums, strict=True):
        assert (found == x @ w).all()


def test_a_block_that_fills_its_arrays_has_them_to_itself() -> None:
    assert pack([(256, 128), (128, 128)], 128) == Packing(
        128,
        3,
        (
            Placement(block=0, row=0, column=0, height=128, width=128, array=0, top=0, left=0),
            Placement(block=0, row=128, column=0, height=128, width=128, array=1, top=0, left=0),
            Placement(block=1, row=0, column=0, height=128, width=128, array=2, top=0, left=0),
        ),
    )


def test_narrow_blocks_lie_side_by_side_and_flat_ones_below_each_other() -> None:
    assert pack([(128, 64), (128, 64)], 128).utilisation == 1.0
    assert pack([(64, 128), (64, 128)], 128).utilisation == 1.0
    assert pack([(64, 64)] * 4, 128).utilisation == 1.0


def test_columns_are_cut_before_an_array_is_taken() -> None:
    packing = pack([(128, 80)] * 8, 128, fill=0.0)

    assert packing.arrays == 5
    assert packing.conversions == 640


def test_rows_are_cut_only_to_save_an_array() -> None:
    blocks = [(70, 128)] * 3

    assert pack(blocks, 128, fill=0.0).arrays == 3
    cut = pack(blocks, 128)
    assert (cut.arrays, cut.conversions) == (2, 4 * 128)


def test_rows_stay_whole_where_enough_cells_are_used_anyway() -> None:
    blocks = [(100, 128)] * 20

    assert pack(blocks, 128, fill=0.75).conversions == conversions_min(blocks, 128)
    assert pack(blocks, 128, fill=0.85).conversions > conversions_min(blocks, 128)


def test_few_cells_take_one_array_and_none_take_none() -> None:
    assert pack([(1, 1)], 512).arrays == 1
    assert pack([], 512) == Packing(512, 0, ())
    assert pack([], 512).utilisation == 1.0


def test_the_floor_holds_for_layers_that_fit_no_array() -> None:
    layers = [(147, 64), (576, 64), (64, 256), (1152, 128), (512, 1000), (300, 700)] * 8

    for side in (128, 512):
        packing = pack(layers, side)
        assert packing.utilisation >= 0.97
        assert packing.conversions <= 1.1 * conversions_min(layers, side)
