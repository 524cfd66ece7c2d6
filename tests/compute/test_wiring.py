import msgspec
import numpy as np
import pytest

from compute.device import DeviceModel, Wires
from compute.faults import Stuck
from compute.ir_drop import effective
from compute.partition import Matrix
from compute.placing import Placement
from compute.presets import PRESETS
from compute.wiring import Site, differences

NAME = 7


def with_wires(spare_rows: int, segment_ohm: float = 2.5) -> DeviceModel:
    wires = Wires(segment_ohm=segment_ohm, spare_rows=spare_rows)
    return msgspec.structs.replace(PRESETS["ideal"], name="wires", wires=wires)


def pairs(rows: int, columns: int, seed: int = 3) -> Matrix:
    return np.random.default_rng(seed).random((2, rows, columns), np.float32)


def as_they_come(rows: int, columns: int) -> Placement:
    return Placement(np.arange(rows), np.arange(columns))


def test_without_wires_a_pair_is_the_difference_of_its_cells_and_its_place_is_all_one() -> None:
    cells = pairs(40, 30)
    placement = Placement(np.arange(40)[::-1], np.arange(30)[::-1])

    seen, squares = differences(cells, Site(placement, None, NAME), PRESETS["rram-wan2022"])

    assert np.array_equal(seen, cells[0] - cells[1]) and squares is None


def test_squares_are_of_whole_conductances() -> None:
    of, cells = PRESETS["pcm-joshi"], pairs(40, 30)
    floor = np.float32(of.window.g_min_us / of.window.width_us)

    _, squares = differences(cells, Site(as_they_come(40, 30), None, NAME), of)

    assert squares is not None
    assert np.allclose(squares, (cells[0] + floor) ** 2 + (cells[1] + floor) ** 2)


@pytest.mark.parametrize("spare_rows", [0, 3])
def test_wires_see_cells_where_they_lie(spare_rows: int) -> None:
    """Each array by itself: lines in the order of their places, spare rows at g_min but for stuck cells."""
    of, cells = with_wires(spare_rows), pairs(128, 256)
    dice = np.random.default_rng(4)
    order = np.concatenate((dice.permutation(128), 128 + dice.permutation(128)))
    placement = Placement(dice.permutation(128 + spare_rows)[:128], order)
    stuck: Stuck = dice.choice(np.array([-1, 0, 1], np.int8), (2, 128 + spare_rows, 256))

    seen, _ = differences(cells, Site(placement, stuck, NAME), of)

    array = (stuck > 0).astype(np.float32) * 100.0
    array[:, placement.rows[:, None], order] = cells * 100.0
    through = np.concatenate(
        [effective(array[:, :, :128], 2.5), effective(array[:, :, 128:], 2.5)], axis=2
    )
    expected = (through[0] - through[1])[placement.rows[:, None], order] / 100.0
    assert np.allclose(seen, expected, atol=1e-6)


def test_what_leaks_in_spare_rows_takes_current_from_the_others() -> None:
    cells = np.concatenate((pairs(128, 128)[:1], np.zeros((1, 128, 128), np.float32)))
    placement = as_they_come(128, 128)
    clean = np.zeros((2, 131, 128), np.int8)
    leaking = clean.copy()
    leaking[0, 128:] = 1

    plain, _ = differences(cells, Site(placement, None, NAME), with_wires(0))
    spare, _ = differences(cells, Site(placement, clean, NAME), with_wires(3))
    leak, _ = differences(cells, Site(placement, leaking, NAME), with_wires(3))

    assert leak.sum() < spare.sum() < plain.sum() < cells[0].sum()


# -- remnants ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", range(4))
def test_a_remnant_loses_what_it_loses_among_the_cells_of_others(name: int) -> None:
    """Against an array whose every other cell holds a weight of its own."""
    of, cells = with_wires(2), pairs(40, 30)
    cells[1] = 0.0
    site = Site(as_they_come(40, 30), None, name)

    seen, _ = differences(cells, site, of)

    top, left = site.corner(0, 40, 30)
    array = pairs(130, 128, seed=name)[0] * 100.0
    array[top + 40 : top + 42] = 0.0
    array[top : top + 40, left : left + 30] = cells[0] * 100.0
    shared = effective(array, 2.5)[top : top + 40, left : left + 30] / 100.0
    alone = effective(cells[0] * 100.0, 2.5) / 100.0
    lost = cells[0].sum() - shared.sum()
    assert cells[0].sum() - seen.sum() == pytest.approx(lost, rel=0.03)
    assert cells[0].sum() - alone.sum() < 0.5 * lost
    assert np.linalg.norm(seen - shared) < 0.03 * np.linalg.norm(cells[0] - shared)


def test_remnants_lie_all_over_their_arrays_and_stay_where_they_are() -> None:
    corners = [Site(as_they_come(40, 30), None, name).corner(128, 40, 30) for name in range(2000)]
    tops, lefts = np.array(corners).T

    assert set(tops) == set(range(89)) and set(lefts) == set(range(99))
    assert abs(tops.mean() - 44.0) < 5.0 * 25.7 / 2000**0.5
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 5.0 / 2000**0.5
    assert Site(as_they_come(40, 30), None, 5).corner(128, 40, 30) == corners[5]


def test_what_fills_its_array_begins_at_its_corner() -> None:
    assert Site(as_they_come(128, 128), None, NAME).corner(0, 128, 128) == (0, 0)


# -- noise ---------------------------------------------------------------------------------------


def test_wires_take_part_of_the_cells_noise_which_readings_leave_out_of_account() -> None:
    """Cell by cell, 1 % of g_max: the noise at the outputs is less than where wires are perfect, never more."""
    dice = np.random.default_rng(5)
    cells, x = pairs(64, 64)[0] * 40.0 + 5.0, dice.standard_normal((64, 8))
    still = effective(cells, 4.0)

    moved = [
        (effective(cells + 0.4 * dice.standard_normal(cells.shape), 4.0) - still).T @ x
        for _ in range(24)
    ]

    perfect = 0.4 * np.sqrt(np.sum(x**2, axis=0))
    overstated = perfect.mean() / np.sqrt(np.var(moved, axis=0).mean())
    assert 1.1 < overstated < 1.5, overstated
