import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.device import DeviceModel, ReadNoise, Window
from compute.faults import Stuck
from compute.mapping import CLIPPED_SHARE_MAX, column_scale, pair_targets
from compute.partition import Matrix
from tests.compute.matrices import normal

NOISY = DeviceModel(name="noisy", reading=ReadNoise(constant=0.01))
LARGEST = float(np.finfo(np.float32).max)
SMALLEST = float(np.finfo(np.float32).tiny)

seeds = st.integers(0, 2**32 - 1)


def uniform(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).uniform(-1.0, 1.0, shape).astype(np.float32)


def faults(*shape: int, share: float, seed: int) -> Stuck:
    dice = np.random.default_rng(seed)
    states = dice.choice([-1, 0, 1], (2, *shape), p=[share / 2, 1 - share, share / 2])
    return states.astype(np.int8)


def peak(weights: Matrix) -> Matrix:
    largest: Matrix = np.abs(weights).max(axis=0)
    return largest


def beyond(weights: Matrix, scale: Matrix) -> Matrix:
    """Share of each column's weights that its scale leaves out."""
    share: Matrix = (np.abs(weights) > scale).mean(axis=0, dtype=np.float32)
    return share


# Scale


def test_an_exact_device_holds_weights_as_they_are() -> None:
    exact = DeviceModel(name="exact", window=Window(g_min_us=1.0))

    assert column_scale(normal(300, 70), exact).tolist() == [1.0] * 70


def test_normal_columns_are_clipped_near_two_and_a_half_standard_deviations() -> None:
    weights = normal(1024, 256)
    scale = column_scale(weights, NOISY)

    assert np.median(scale / weights.std(axis=0)) == pytest.approx(2.5, abs=0.1)
    assert 0.005 < beyond(weights, scale).mean() < 0.015
    assert np.mean(np.square(scale / peak(weights))) < 0.6


@pytest.mark.parametrize(
    "weights",
    [uniform(1024, 64), np.sign(normal(1024, 64)), np.full((700, 9), -0.3, np.float32)],
    ids=["uniform", "signs", "equal"],
)
def test_columns_without_tails_use_their_peak(weights: Matrix) -> None:
    assert np.array_equal(column_scale(weights, NOISY), peak(weights))


def test_a_column_of_zeros_has_scale_one() -> None:
    weights = normal(200, 3)
    weights[:, 1] = 0.0

    assert column_scale(weights, NOISY)[1] == 1.0


def test_few_weights_are_never_clipped() -> None:
    """2 % of 49 is less than one."""
    weights = normal(49, 40) ** 5

    assert np.array_equal(column_scale(weights, NOISY), peak(weights))


def test_one_weight_alone_in_its_column_costs_the_others_nothing() -> None:
    weights = np.zeros((1024, 2), np.float32)
    weights[3, 0] = 7.0
    scale = column_scale(weights, NOISY)

    assert 0.0 < scale[0] < 0.1
    assert scale[1] == 1.0


@pytest.mark.parametrize("excess", [1e2, 1e4, 1e8, 1e30])
def test_outliers_are_found_however_large_they_are(excess: float) -> None:
    """One row of the block carries nearly all of each column, as a feature of a language model may."""
    weights = normal(1024, 64)
    scale = column_scale(weights, NOISY)
    weights[700] *= np.float32(excess)

    with_outliers = column_scale(weights, NOISY)

    assert (with_outliers < 1.5 * scale).all()
    assert np.median(with_outliers / scale) < 1.05


@pytest.mark.parametrize("magnitude", [1e-45, 1e-41, SMALLEST, 1e-30, 1e30, LARGEST])
def test_any_magnitude_that_float32_holds_gives_shares_of_the_window(magnitude: float) -> None:
    weights = np.sign(normal(300, 5)) * np.float32(magnitude)
    scale = column_scale(weights, NOISY)

    assert np.isfinite(scale).all()
    assert (scale == np.maximum(peak(weights), np.float32(SMALLEST))).all()
    assert (np.abs(weights / scale) <= 1.0).all()


def test_columns_are_scaled_each_for_itself() -> None:
    weights = normal(256, 65)
    factors = np.exp2(np.arange(-64, 65, 2)).astype(np.float32)

    together = column_scale(weights * factors, NOISY)

    assert np.array_equal(together, column_scale(weights, NOISY) * factors)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(1, 300), columns=st.integers(1, 40), power=st.integers(1, 9))
def test_a_scale_lies_within_its_column_and_leaves_few_out(
    seed: int, rows: int, columns: int, power: int
) -> None:
    weights = normal(rows, columns, seed=seed) ** power
    scale = column_scale(weights, NOISY)

    assert (scale > 0.0).all() and (scale <= np.maximum(peak(weights), SMALLEST)).all()
    assert (beyond(weights, scale) <= CLIPPED_SHARE_MAX).all()


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=st.integers(1, 400), power=st.integers(1, 9))
def test_no_other_weight_of_the_tail_would_be_a_cheaper_scale(
    seed: int, rows: int, power: int
) -> None:
    """Cost: s^2 (1 + 32 p), where a share p <= 2 % lies beyond s."""
    column = normal(rows, 1, seed=seed) ** power
    magnitude = np.abs(column[:, 0])
    tail = magnitude[magnitude >= min(3.0 * magnitude.mean(), magnitude.max())]

    def cost(scale: np.float32) -> float:
        left_out = float((magnitude > scale).mean())
        return float(scale) ** 2 * (1.0 + 32.0 * left_out) if left_out <= 0.02 else np.inf

    scale = column_scale(column, NOISY)[0]

    assert cost(scale) <= min(map(cost, tail)) * (1.0 + 1e-6)


# Pairs


def test_sound_pairs_hold_a_weight_in_one_cell() -> None:
    wanted = np.array([[0.25, -0.75, 0.0, 1.0, -1.0]], np.float32)

    plus, minus = pair_targets(wanted, None)

    assert plus.tolist() == [[0.25, 0.0, 0.0, 1.0, 0.0]]
    assert minus.tolist() == [[0.0, 0.75, 0.0, 0.0, 1.0]]
    assert np.array_equal(
        pair_targets(wanted, np.zeros((2, 1, 5), np.int8)), pair_targets(wanted, None)
    )


@pytest.mark.parametrize(
    ("wanted", "stuck", "held"),
    [
        (0.25, (+1, 0), (1.0, 0.75)),
        (-0.25, (+1, 0), (1.0, 1.0)),
        (0.25, (0, +1), (1.0, 1.0)),
        (-0.25, (0, +1), (0.75, 1.0)),
        (0.25, (-1, 0), (0.0, 0.0)),
        (-0.25, (-1, 0), (0.0, 0.25)),
        (0.25, (+1, -1), (1.0, 0.0)),
        (0.25, (-1, -1), (0.0, 0.0)),
    ],
)
def test_the_partner_of_a_stuck_cell_makes_up_for_it(
    wanted: float, stuck: tuple[int, int], held: tuple[float, float]
) -> None:
    cells = np.array(stuck, np.int8).reshape(2, 1, 1)

    targets = pair_targets(np.full((1, 1), wanted, np.float32), cells)

    assert tuple(targets.ravel().tolist()) == held


@settings(max_examples=60, deadline=None)
@given(seed=seeds, share=st.floats(0.0, 1.0))
def test_no_setting_of_the_sound_cells_comes_nearer(seed: int, share: float) -> None:
    """The grid holds the wanted values, which are 64ths, so that the best of it is the best of all."""
    wanted = (np.rint(uniform(8, 9, seed=seed) * 64) / 64).astype(np.float32)
    stuck = faults(8, 9, share=share, seed=seed)
    targets = pair_targets(wanted, stuck)
    grid = np.arange(65, dtype=np.float32) / 64

    def reachable(polarity: int) -> Matrix:
        at = stuck[polarity][..., None]
        return np.where(at == 0, grid, (at > 0).astype(np.float32))

    differences = reachable(0)[..., :, None] - reachable(1)[..., None, :]
    best = np.abs(differences - wanted[..., None, None]).min(axis=(-1, -2))

    assert targets.min() >= 0.0 and targets.max() <= 1.0
    assert (targets[stuck > 0] == 1.0).all() and (targets[stuck < 0] == 0.0).all()
    assert np.array_equal(np.abs(targets[0] - targets[1] - wanted), best)
    sound = (stuck == 0).all(axis=0)
    assert np.array_equal((targets[0] - targets[1])[sound], wanted[sound])


def test_making_up_for_faults_halves_the_error() -> None:
    """10 % of cells stuck, as many low as high."""
    wanted = np.clip(normal(512, 512) / 3.0, -1.0, 1.0)
    stuck = faults(512, 512, share=0.1, seed=2)

    def error(targets: Matrix) -> float:
        held = np.where(stuck == 0, targets, (stuck > 0).astype(np.float32))
        return float(np.linalg.norm(held[0] - held[1] - wanted))

    assert error(pair_targets(wanted, stuck)) < 0.45 * error(pair_targets(wanted, None))
