import numpy as np
import pytest

from compute.device import device
from compute.mapping import column_scale, program, programming_sigma_us, resident_bytes
from compute.partition import Matrix

CMO = device("rram-cmo-hfox-2025")


def normal(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def signs(*shape: int) -> Matrix:
    return np.sign(normal(*shape))


def test_an_ideal_device_holds_the_weights_themselves() -> None:
    weights = normal(130, 70)
    block = program(weights, device("ideal"), seed=1, block_id="w/0/0")

    assert np.array_equal(block.conductance * block.scale, weights)
    assert block.programming_error(normal(3, 130), transpose=False) == 0.0


def test_the_same_seed_and_block_give_the_same_array() -> None:
    weights = normal(130, 70)

    def array(seed: int, block_id: str) -> bytes:
        return program(weights, CMO, seed, block_id).conductance.tobytes()

    assert array(1, "a") == array(1, "a")
    assert len({array(1, "a"), array(2, "a"), array(1, "b")}) == 3


def test_overwriting_gives_the_same_array_in_the_same_memory() -> None:
    weights = normal(200, 70)
    apart = program(weights, CMO, 1, "a")
    assert np.array_equal(weights, normal(200, 70))

    within = program(weights, CMO, 1, "a", overwrite=True)

    assert within.conductance is weights
    assert np.array_equal(within.conductance, apart.conductance)
    assert np.array_equal(within.rows_error, apart.rows_error)


def test_what_a_block_costs_is_known_beforehand() -> None:
    block = program(normal(130, 70), CMO, 1, "a")
    parts = (block.conductance, block.scale, block.rows_error, block.columns_error)

    assert block.nbytes == resident_bytes((130, 70)) == sum(part.nbytes for part in parts)


def test_columns_use_the_whole_window() -> None:
    weights = np.array([[1.0, -8.0, 0.0], [0.5, 2.0, 0.0]], np.float32)

    assert column_scale(weights, CMO).tolist() == [1.0, 8.0, 1.0]


@pytest.mark.parametrize(("conductance_us", "sigma_us"), [(0.0, 1.053), (20.0, 2.36), (39.0, 1.67)])
def test_the_cubic_of_wan2022_has_its_published_values(
    conductance_us: float, sigma_us: float
) -> None:
    where = np.array([[conductance_us]], np.float32)

    sigma = programming_sigma_us(where, device("rram-wan2022"))
    assert sigma[0, 0] == pytest.approx(sigma_us, abs=0.01)


def test_cells_inside_the_window_miss_by_the_stated_noise() -> None:
    """Half-full pairs: G+ at 48.5 uS, G- at 9 uS where only upward misses survive the window's edge."""
    weights = np.full((512, 512), 0.5, np.float32)
    weights[0] = 1.0
    block = program(weights, CMO, 1, "a")
    got_us = block.conductance[1:] * CMO.window_us
    inner, edge = 0.0008 + 0.0011 * 48.5, 0.0008 + 0.0011 * 9.0
    edge_mean, edge_variance = edge / np.sqrt(2 * np.pi), edge**2 * (0.5 - 0.5 / np.pi)

    assert got_us.mean() == pytest.approx(39.5 - edge_mean, abs=5 * inner / 512)
    assert got_us.std() == pytest.approx(np.sqrt(inner**2 + edge_variance), rel=0.01)


def test_no_cell_leaves_its_window() -> None:
    block = program(signs(256, 256), CMO, 1, "a")

    assert np.abs(block.conductance).max() <= 1.0


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("weights", [normal(300, 200), signs(300, 200)], ids=["normal", "signs"])
def test_the_probe_tells_the_programming_error_of_any_input(
    weights: Matrix, transpose: bool
) -> None:
    block = program(weights, CMO, 1, "a")
    error = weights.astype(np.float64) - block.conductance.astype(np.float64) * block.scale
    error = error.T if transpose else error
    leading = np.linalg.svd(error)[0][:, :1].T.astype(np.float32)
    random = normal(64, len(error))

    for x, doubt in ((random, 0.1), (leading, 0.6)):
        true = np.linalg.norm(x @ error)
        assert block.programming_error(x, transpose) == pytest.approx(true, rel=doubt)


def test_read_back_takes_out_what_errors_have_in_common() -> None:
    """Full cells can only err inwards; the gain restores the column's mean."""
    weights = signs(512, 64)
    block = program(weights, CMO, 1, "a")

    held = block.conductance * block.scale
    slope = (held * weights).sum(axis=0) / (weights * weights).sum(axis=0)
    assert (block.scale > 1.0).all()
    assert slope == pytest.approx(np.ones(64), abs=1e-5)


def test_a_wide_range_of_magnitudes_is_held_column_by_column() -> None:
    weights = normal(256, 40) * np.logspace(-30, 30, 40).astype(np.float32)
    block = program(weights, CMO, 1, "a")

    error = np.linalg.norm(weights.astype(np.float64) - block.conductance * block.scale, axis=0)
    assert (error / np.linalg.norm(weights.astype(np.float64), axis=0) < 0.005).all()
