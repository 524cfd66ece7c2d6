from collections.abc import Iterator
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from compute.device import Faults
from compute.energy import Spent
from compute.integer_law import CellNoise, IntegerPlan
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.programmed import ProgrammedBlock
from compute.programming import program
from compute.rest import Item, Source, plan_integer, spoilt_share, work
from tests.compute.matrices import normal, panels_of

WAN = PRESETS["rram-wan2022"]
SHAPE = (300, 200)


@pytest.fixture(scope="module")
def block() -> ProgrammedBlock:
    return program(normal(*SHAPE), WAN, 5, "w")


def source(
    block: ProgrammedBlock, x: Matrix, transpose: bool = False, *, precise: bool = False
) -> Source:
    return Source(block, x, transpose, key=3, first_row=0, precise=precise)


def inputs(transpose: bool, rows: int = 20) -> Matrix:
    return normal(rows, SHAPE[1] if transpose else SHAPE[0], seed=2)


def exact(x: Matrix, tiles: list[int], transpose: bool) -> Matrix:
    """What these tile rows add."""
    weights = normal(*SHAPE).astype(np.float64)
    factor = weights.T if transpose else weights
    chosen = np.concatenate(
        [np.arange(len(factor))[128 * tile : 128 * (tile + 1)] for tile in tiles]
    )
    product: Matrix = x[:, chosen].astype(np.float64) @ factor[chosen]
    return product


# -- digital -------------------------------------------------------------------------------------


@pytest.mark.parametrize("transpose", [False, True])
def test_digital_items_add_their_tile_row_to_their_rows_alone(
    block: ProgrammedBlock, transpose: bool
) -> None:
    x, last = inputs(transpose), 1 if transpose else 2
    value = np.ones((20, SHAPE[0] if transpose else SHAPE[1]), np.float32)

    spent = work(
        source(block, x, transpose),
        [Item(last, 5, 12), Item(0, 0, 20)],
        panels_of(normal(*SHAPE)),
        value,
    )

    expected = 1.0 + exact(x, [0], transpose)
    expected[5:12] += exact(x, [last], transpose)[5:12]
    assert np.allclose(value, expected, atol=1e-4)
    assert spent == Spent()


@pytest.mark.parametrize("transpose", [False, True])
def test_precise_sums_are_wrong_by_the_rounding_of_their_result_alone(
    block: ProgrammedBlock, transpose: bool
) -> None:
    x, tiles = inputs(transpose, 64), [0, 1]
    errors = []
    for precise in (False, True):
        value = np.zeros((64, SHAPE[0] if transpose else SHAPE[1]), np.float32)
        items = [Item(tile, 0, 64) for tile in tiles]
        work(source(block, x, transpose, precise=precise), items, panels_of(normal(*SHAPE)), value)
        wanted = exact(x, tiles, transpose)
        errors.append(np.linalg.norm(value - wanted) / np.linalg.norm(wanted))

    assert errors[1] < 6e-8 < errors[0]


def test_weights_are_read_once_for_all_items(block: ProgrammedBlock) -> None:
    read: list[int] = []

    def panels() -> Iterator[tuple[int, Matrix]]:
        for start, panel in panels_of(normal(*SHAPE))():
            read.append(start)
            yield start, panel

    items = [Item(tile, first, first + 10) for tile in (0, 1, 2) for first in (0, 10)]
    work(source(block, inputs(False)), items, panels, np.zeros((20, 200), np.float32))

    assert read == [0, 128, 256]


def test_panels_that_are_no_tile_rows_are_our_own_mistake(block: ProgrammedBlock) -> None:
    def panels() -> list[tuple[int, Matrix]]:
        return [(100, normal(*SHAPE)[100:200])]

    with pytest.raises(AssertionError, match="panels are tile rows"):
        work(
            source(block, inputs(False)), [Item(0, 0, 20)], panels, np.zeros((20, 200), np.float32)
        )


# -- integers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rtol", [1e-2, 1e-4, 1e-6])
def test_integers_stay_within_their_variance_and_say_what_they_took(
    block: ProgrammedBlock, rtol: float, transpose: bool
) -> None:
    x = inputs(transpose, 64)
    wanted = exact(x, [0, 1], transpose)
    of = source(block, x, transpose)
    allowed = (rtol * float(np.linalg.norm(wanted))) ** 2
    plan = plan_integer(of, [0, 1], allowed)
    assert plan is not None and 0.0 < plan.variance <= allowed
    value = np.zeros(wanted.shape, np.float32)

    spent = work(of, [Item(tile, 0, 64, plan) for tile in (0, 1)], panels_of(normal(*SHAPE)), value)

    error = float(np.linalg.norm(value - wanted)) ** 2
    assert 0.2 * plan.variance < error < 1.3 * plan.variance
    assert spent.energy_pj == pytest.approx(plan.spent.energy_pj, rel=0.1)
    assert spent.reads > 0 and spent.latency_ns > 0.0


@pytest.mark.parametrize("transpose", [False, True])
def test_integer_products_have_the_same_bits_however_their_rows_are_cut(
    block: ProgrammedBlock, transpose: bool
) -> None:
    x = inputs(transpose, 50)
    plan = plan_integer(source(block, x, transpose), [1], 1.0)
    outputs = SHAPE[0] if transpose else SHAPE[1]

    def value(cuts: list[int]) -> Matrix:
        total = np.zeros((50, outputs), np.float32)
        for start, stop in zip([0, *cuts], [*cuts, 50], strict=True):
            part = replace(source(block, x[start:stop], transpose), first_row=start)
            item = Item(1, 0, stop - start, plan)
            work(part, [item], panels_of(normal(*SHAPE)), total[start:stop])
        return total

    whole = value([])
    assert np.array_equal(value([1, 20, 33]), whole)
    assert np.array_equal(value([49]), whole)


def test_tile_rows_meet_noise_of_their_own(block: ProgrammedBlock) -> None:
    """Two tile rows with the same inputs and weights are wrong in different places."""
    half = normal(128, 200)
    twin = program(np.concatenate((half, half)), WAN, 5, "twin")
    x = np.tile(normal(20, 128, seed=2), (1, 2))
    of = source(twin, x)
    plan = plan_integer(of, [0, 1], 50.0)
    values = []
    for tile in (0, 1):
        value = np.zeros((20, 200), np.float32)
        work(of, [Item(tile, 0, 20, plan)], panels_of(np.concatenate((half, half))), value)
        values.append(value)

    assert plan is not None and max(plan.rows_active) > 1
    assert not np.array_equal(values[0], values[1])


def test_no_integer_plan_keeps_a_variance_beyond_its_bits(block: ProgrammedBlock) -> None:
    assert plan_integer(source(block, inputs(False)), [0], 1e-14) is None


def test_worse_cells_take_more_energy_for_the_same_variance() -> None:
    x, weights = normal(8, 128, seed=2), normal(128, 128)
    sigmas = (0.1, 1.5, 2.5)
    energies = []
    for sigma_us in sigmas:
        writing = msgspec.structs.replace(WAN.writing, sigma_us=(sigma_us,))
        device = msgspec.structs.replace(WAN, name="graded", writing=writing)
        plan = plan_integer(source(program(weights, device, 5, "w"), x), [0], 1.0)
        assert plan is not None
        energies.append(plan.spent.energy_pj)

    assert energies[0] < energies[1] < energies[2]


def test_stuck_cells_spoil_weights_and_copies_hold_them() -> None:
    weights = normal(128, 128)
    faults = Faults(stuck_low=0.02, stuck_high=0.08)
    faulty = program(weights, msgspec.structs.replace(WAN, faults=faults), 5, "w")
    sound = program(weights, WAN, 5, "w")
    x = normal(8, 128, seed=2)
    plans = [plan_integer(source(of, x), [0], 10.0) for of in (sound, faulty)]

    assert plans[0] is not None and plans[1] is not None
    assert plans[0].copies == 1 < plans[1].copies
    shares = [spoilt_share(0.1, faults, replace(plans[0], copies=copies)) for copies in (1, 2, 3)]
    assert shares == sorted(shares, reverse=True)
    assert spoilt_share(0.0, faults, plans[0]) == 0.0


@pytest.mark.parametrize("copies", [1, 2, 3])
def test_the_spoilt_share_is_that_of_digits_counted_one_by_one(copies: int) -> None:
    """Each copy's pair reaches as far as its stuck cells let it; digits that all copies miss together are lost."""
    faults = Faults(stuck_low=0.0175, stuck_high=0.0904)
    plan = IntegerPlan(8, 8, 1, (1,) * 15, (1,) * 15, CellNoise(0.0, 0.0), copies=copies)
    dice = np.random.default_rng(copies)
    pairs = 400_000
    cells = dice.random((copies, 2, pairs))
    low, high = cells < faults.stuck_low, cells > 1.0 - faults.stuck_high
    most = np.where(low[:, 0], 0, 1) - np.where(high[:, 1], 1, 0)
    least = np.where(high[:, 0], 1, 0) - np.where(low[:, 1], 0, 1)
    digit = dice.integers(0, 2, pairs) * dice.choice([-1, 1], pairs)
    lost = np.mean((digit > most.sum(axis=0)) | (digit < least.sum(axis=0)))

    share = spoilt_share(0.1079, faults, plan)

    expected = 1.0 - (1.0 - lost) ** 8
    assert share == pytest.approx(expected, abs=8 * 5.0 * np.sqrt(lost / pairs))
