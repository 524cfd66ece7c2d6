import numpy as np
import pytest

from compute.regimes import Depths, plan_analog


def depths(
    wrong: list[list[float]],
    reading: list[list[float]],
    once: float = 0.0,
    further: float = 0.0,
) -> Depths:
    """`further`: what the outliers of each further slice take of each tile row."""
    tiles = len(wrong[0])
    digital = np.outer(np.arange(len(wrong)), np.full(tiles, further))
    return Depths(np.array(wrong), np.array(reading), np.full(tiles, once), digital)


def test_the_cheapest_depth_is_taken() -> None:
    shallow_is_hopeless = depths([[2.0, 2.0], [0.1, 0.1]], [[1.0, 1.0], [4.0, 4.0]])
    shallow_is_cheap = depths([[0.1, 0.1], [0.0, 0.0]], [[1.0, 1.0], [4.0, 4.0]])

    deep = plan_analog(shallow_is_hopeless, [1.0, 1.0], variance=1.0)
    shallow = plan_analog(shallow_is_cheap, [1.0, 1.0], variance=1.0)

    assert deep is not None and shallow is not None
    assert (deep.depth, deep.tiles) == (2, (0, 1))
    assert deep.slack == pytest.approx(0.8)
    assert shallow.depth == 1
    assert shallow.energy_pj == pytest.approx(4.0 / 0.8)


def test_a_further_slice_pays_for_being_read_at_all() -> None:
    """Two slices would need fewer readings, but each of them one at least."""
    wrong, reading = [[0.5, 0.5], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]

    unread = plan_analog(depths(wrong, reading), [1.0, 1.0], variance=2.0)
    paid = plan_analog(depths(wrong, reading, once=10.0), [1.0, 1.0], variance=2.0)

    assert unread is not None and paid is not None
    assert (unread.depth, paid.depth) == (2, 1)
    assert paid.energy_pj == pytest.approx(2.0 * 10.0 + 4.0 / 1.0)


def test_a_further_slice_pays_for_what_its_stuck_cells_leave_to_digital_arithmetic() -> None:
    wrong, reading = [[0.5, 0.5], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]

    sound = plan_analog(depths(wrong, reading), [1.0, 1.0], variance=2.0)
    spoilt = plan_analog(depths(wrong, reading, further=2.0), [1.0, 1.0], variance=2.0)
    alone = plan_analog(depths(wrong, reading, further=2.0), [1.0, 1.0], variance=1.0)

    assert sound is not None and spoilt is not None and alone is not None
    assert (sound.depth, spoilt.depth, alone.depth) == (2, 1, 2)
    assert (sound.digital_pj, spoilt.digital_pj, alone.digital_pj) == (0.0, 0.0, 4.0)


def test_the_worst_tile_row_is_left_out_where_not_all_can_be_read() -> None:
    plan = plan_analog(depths([[0.1, 5.0, 0.2]], [[1.0, 1.0, 4.0]]), [1.0, 1.0, 1.0], variance=0.9)

    assert plan is not None
    assert plan.tiles == (0, 2)
    assert plan.slack == pytest.approx(0.6 - 0.3)


def test_noisier_tile_rows_get_the_larger_part_of_the_slack() -> None:
    """Least energy: parts as the roots of what reading costs."""
    plan = plan_analog(depths([[0.0, 0.0]], [[1.0, 9.0]]), [1.0, 1.0], variance=1.0)

    assert plan is not None
    assert plan.parts == pytest.approx((0.25, 0.75))
    assert plan.energy_pj == pytest.approx(16.0)


def test_a_tile_row_without_input_is_not_read() -> None:
    plan = plan_analog(depths([[0.0, 0.0]], [[1.0, 0.0]]), [1.0, 0.0], variance=1.0)

    assert plan is not None and plan.tiles == (0,)


def test_nothing_is_read_where_every_tile_row_is_too_bad() -> None:
    assert plan_analog(depths([[5.0, 5.0]], [[1.0, 1.0]]), [1.0, 1.0], variance=1.0) is None


def test_arrays_without_noise_cost_nothing_to_read_exactly() -> None:
    plan = plan_analog(depths([[0.0, 0.0]], [[0.0, 0.0]]), [1.0, 2.0], variance=0.0)

    assert plan is not None and plan.energy_pj == 0.0 and sum(plan.parts) == 1.0
