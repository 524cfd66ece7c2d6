from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.faults import Stuck
from compute.mapping import pair_targets
from compute.partition import TILE_SIDE, Matrix
from compute.placing import Placement, fault_cost, place

seeds = st.integers(0, 2**32 - 1)


def normal_shares(rows: int, columns: int, seed: int = 1) -> Matrix:
    """Normal weights, 2.5 standard deviations to the window, in 4,096ths."""
    weights = np.random.default_rng(seed).standard_normal((rows, columns), np.float32)
    shares: Matrix = np.rint(np.clip(weights / 2.5, -1.0, 1.0) * 4096) / np.float32(4096)
    return shares


def faults(rows: int, columns: int, share: float, seed: int = 2) -> Stuck:
    """Five times as many cells stuck high as low."""
    dice = np.random.default_rng(seed)
    odds = [share / 6, 1 - share, share * 5 / 6]
    return dice.choice(np.array([-1, 0, 1], np.int8), (2, rows, columns), p=odds)


def errors(weights: Matrix, stuck: Stuck) -> Matrix:
    plus, minus = pair_targets(weights, stuck)
    missing: Matrix = np.abs(plus - minus - weights)
    return missing


def shares_missed(weights: Matrix, stuck: Stuck) -> list[float]:
    """||E|| over ||W||: of all pairs, without the worst 2 %, without the worst 5 %."""
    missing = np.sort(errors(weights, stuck), axis=None)
    kept = [missing[: len(missing) * part // 100] for part in (100, 98, 95)]
    return [float(np.linalg.norm(part) / np.linalg.norm(weights)) for part in kept]


def as_they_come(rows: int, columns: int) -> Placement:
    return Placement(np.arange(rows), np.arange(columns))


@settings(max_examples=40, deadline=None)
@given(
    seed=seeds,
    rows=st.integers(1, 128),
    columns=st.integers(1, 300),
    spare=st.integers(0, 8),
    share=st.sampled_from([0.0, 0.001, 0.1, 1.0]),
    turn=st.integers(0, 1000),
)
def test_each_line_is_taken_at_most_once_and_columns_stay_in_their_array(
    seed: int, rows: int, columns: int, spare: int, share: float, turn: int
) -> None:
    stuck = faults(rows + spare, columns, share, seed)
    placement = place(normal_shares(rows, columns, seed), stuck, spare, turn)

    assert len(set(placement.rows.tolist())) == rows
    assert placement.rows.min() >= 0 and placement.rows.max() < rows + spare
    assert sorted(placement.columns.tolist()) == list(range(columns))
    assert np.array_equal(placement.columns // TILE_SIDE, np.arange(columns) // TILE_SIDE)
    assert placement.placed(stuck).shape == (2, rows, columns)


def test_cells_are_found_where_they_were_placed() -> None:
    cells = np.arange(12).reshape(3, 4)
    placement = Placement(np.array([2, 0]), np.array([1, 0, 3, 2]))

    assert placement.placed(cells).tolist() == [[9, 8, 11, 10], [1, 0, 3, 2]]


@settings(max_examples=40, deadline=None)
@given(seed=seeds, share=st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_the_cost_of_a_line_is_what_its_cells_miss_after_compensation(
    seed: int, share: float
) -> None:
    weights, stuck = normal_shares(128, 6, seed), faults(128, 6, share, seed)

    cost = fault_cost(weights, stuck)

    for line in range(6):
        on_line = np.repeat(stuck[:, :, line : line + 1], 6, axis=2)
        assert np.array_equal(cost[:, line], errors(weights, on_line).sum(axis=0, dtype=np.float64))


def test_a_cost_has_the_same_bits_in_whatever_order_it_is_added() -> None:
    """A kernel or a number of threads must not tip the balance between two lines."""
    weights = np.random.default_rng(1).uniform(-1.0, 1.0, (128, 128)).astype(np.float32)
    stuck, order = faults(128, 128, 0.3), np.random.default_rng(2).permutation(128)

    assert np.array_equal(fault_cost(weights, stuck), fault_cost(weights[order], stuck[:, order]))


def test_placing_takes_most_of_the_harm_from_faults() -> None:
    """The figures that `compute/placing.py` states, on fewer draws."""
    missed, missed_placed = [], []
    for seed in range(3):
        weights, stuck = normal_shares(128, 1024, seed), faults(132, 1024, 0.108, seed)
        placement = place(weights, stuck, spare=4)
        missed.append(shares_missed(weights, as_they_come(128, 1024).placed(stuck)))
        missed_placed.append(shares_missed(weights, placement.placed(stuck)))

    assert np.mean(missed, axis=0) == pytest.approx([0.36, 0.21, 0.10], abs=0.01)
    assert np.mean(missed_placed, axis=0) == pytest.approx([0.22, 0.10, 0.026], abs=0.006)


def test_columns_come_near_the_best_order() -> None:
    """All orders of seven columns tried, 20 draws."""
    found, least = [], []
    for seed in range(20):
        weights, stuck = normal_shares(24, 7, seed), faults(24, 7, 0.108, seed)
        placement = place(weights, stuck, spare=0)
        found.append(errors(weights, placement.placed(stuck)).sum())
        cost = fault_cost(weights, stuck[:, placement.rows])
        orders = (cost[np.arange(7), order].sum() for order in permutations(range(7)))
        least.append(min(orders))

    assert np.mean(least) <= np.mean(found) <= 1.1 * np.mean(least)


def test_the_worst_rows_are_left_over() -> None:
    stuck = faults(132, 128, 0.02)
    for row, count in ((3, 40), (50, 41), (77, 42), (131, 43)):
        stuck[0, row, :count] = 1

    rows = place(normal_shares(128, 128), stuck, spare=4).rows

    assert set(range(132)) - set(rows.tolist()) == {3, 50, 77, 131}


def test_a_row_of_zeros_takes_the_worst_line() -> None:
    weights = normal_shares(64, 20)
    weights[11] = 0.0
    stuck = faults(64, 20, 0.02)
    stuck[1, 40] = -1

    assert place(weights, stuck, spare=0).rows[11] == 40


def test_a_column_takes_a_line_that_is_stuck_where_it_has_the_sign_for_it() -> None:
    """Column 0 has no weight below zero, column 1 none above: stuck plus cells at g_max only hurt the latter."""
    weights = np.array([[0.5, -0.5], [0.25, -0.25]], np.float32)
    stuck = np.zeros((2, 2, 2), np.int8)
    stuck[0, :, 1] = 1

    placement = place(weights, stuck, spare=0)

    assert placement.columns.tolist() == [1, 0]
    assert not errors(weights, placement.placed(stuck)).any()


def test_a_column_with_a_larger_scale_has_more_to_lose() -> None:
    """Both want the sound line; it goes to where a share of the window is more of the weights."""
    weights = np.full((8, 2), 0.5, np.float32)
    stuck = np.zeros((2, 8, 2), np.int8)
    stuck[0, 0, 0] = -1

    def on_sound_line(*scale: float) -> int:
        columns = place(weights, stuck, 0, scale=np.array(scale, np.float32)).columns
        return int(np.flatnonzero(columns == 1)[0])

    assert on_sound_line(1.0, 3.0) == 1
    assert on_sound_line(3.0, 1.0) == 0


# Wear


@pytest.mark.parametrize("stuck", [None, np.zeros((2, 12, 130), np.int8)])
def test_sound_lines_take_turns_so_that_all_wear_alike(stuck: Stuck | None) -> None:
    """Eight rows on twelve lines: after twelve writes each line was used eight times."""
    weights = normal_shares(8, 130)
    placements = [place(weights, stuck, spare=4, turn=turn) for turn in range(12)]

    used = np.bincount(np.concatenate([placement.rows for placement in placements]))
    assert used.tolist() == [8] * 12
    assert len({placement.columns.tobytes() for placement in placements}) == 12


def test_lines_that_are_equally_good_take_turns_beside_faults() -> None:
    """One line is bad and is always given to the weakest row; the heaviest row goes round the others."""
    weights = np.linspace(1.0, 0.1, 8, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
    stuck = np.zeros((2, 8, 4), np.int8)
    stuck[0, 5, :3] = -1
    rows = np.array([place(weights, stuck, spare=0, turn=turn).rows for turn in range(8)])

    assert (rows[:, 7] == 5).all()
    assert set(rows[:, 0].tolist()) == set(range(8)) - {5}


def test_sound_columns_take_turns_beside_faults() -> None:
    """A column of zeros loses nothing on the bad line; each of the others sees all sound ones."""
    weights = np.ones((4, 6), np.float32)
    weights[:, 2] = 0.0
    stuck = np.zeros((2, 4, 6), np.int8)
    stuck[0, :, 5] = -1
    columns = np.array([place(weights, stuck, spare=0, turn=turn).columns for turn in range(6)])

    assert (columns[:, 2] == 5).all()
    assert [len(set(columns[:, at].tolist())) for at in (0, 1, 3, 4)] == [5, 5, 5, 5]


def test_the_same_turn_gives_the_same_place() -> None:
    weights, stuck = normal_shares(128, 300), faults(132, 300, 0.05)

    first, again = (place(weights, stuck, spare=4, turn=3) for _ in range(2))

    assert np.array_equal(first.rows, again.rows) and np.array_equal(first.columns, again.columns)
