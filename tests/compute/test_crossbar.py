import math
from dataclasses import replace

import numpy as np
import pytest

from compute.crossbar import acquire, multiply_rows, sense, side_of
from compute.device import DeviceModel, device, stream
from compute.mapping import program
from compute.partition import Matrix

CMO = device("rram-cmo-hfox-2025")
QUIET = replace(CMO, programming_noise_us=(), read_noise_fraction=0.0)


def normal(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def dyadic(dice: np.random.Generator, rows: int, columns: int) -> Matrix:
    """Whole multiples of 1/32: their products and sums are exact in float32."""
    return (dice.integers(-64, 64, (rows, columns)) / 32).astype(np.float32)


def noise_of(model: DeviceModel, reads: int) -> Matrix:
    """What 3,000 readings of one 128 x 128 array with the same input add to its true current."""
    conductance = np.sign(normal(128, 128))
    codes = np.rint(20 * normal(1, 128)).repeat(3000, axis=0)
    currents = sense(codes, conductance, model)
    noise: Matrix = acquire(currents, reads, model, stream(7, 0)) - currents.current
    return noise


def test_read_noise_is_that_of_every_cell_by_itself() -> None:
    """sigma = sqrt(2) s ||codes||, against drawing a new value for each cell of each pair."""
    codes = np.rint(20 * normal(1, 128))
    sigma_cell = 0.01 * 88.0 / 79.0
    dice = np.random.default_rng(3)
    pairs = dice.standard_normal((20_000, 128)) - dice.standard_normal((20_000, 128))
    cell_by_cell = pairs @ codes[0].astype(np.float64) * sigma_cell

    seen = noise_of(replace(CMO, adc_bits=None), reads=1)

    assert seen.std() == pytest.approx(cell_by_cell.std(), rel=0.02)
    assert abs(float(seen.mean())) < 5 * float(seen.std()) / math.sqrt(seen.size)
    assert ((seen / seen.std()) ** 4).mean() == pytest.approx(3.0, abs=0.05)


@pytest.mark.parametrize("reads", [2, 15, 16, 300])
def test_averaging_takes_noise_down_by_the_root_of_the_readings(reads: int) -> None:
    codes = np.rint(20 * normal(1, 128))
    currents = sense(codes, np.sign(normal(128, 128)), CMO)
    step, sigma = float(currents.adc_step[0, 0, 0]), float(currents.sigma[0, 0, 0])
    dithered = math.hypot(max(sigma, 0.5 * step), step / math.sqrt(12))

    seen = noise_of(CMO, reads)

    assert math.sqrt((seen**2).mean()) == pytest.approx(dithered / math.sqrt(reads), rel=0.02)


def test_the_adc_range_follows_the_peak_of_each_array() -> None:
    conductance = np.concatenate((np.full((128, 128), 1.0), np.full((128, 128), 0.01)), axis=1)
    currents = sense(np.full((1, 128), 127.0, np.float32), conductance.astype(np.float32), QUIET)

    assert currents.adc_step[0, :, 0].tolist() == [128.0, 128.0 / 64]


def test_an_ideal_device_is_exact_where_float32_is() -> None:
    dice = np.random.default_rng(5)
    weights = dyadic(dice, 300, 200)
    x, z = dyadic(dice, 5, 300), dyadic(dice, 5, 200)
    block = program(weights, device("ideal"), 1, "a")

    there = multiply_rows(side_of(block, False), x, None, key=1, rows_index=0)
    back = multiply_rows(side_of(block, True), z, None, key=1, rows_index=0)

    assert there is not None and np.array_equal(there.value, x @ weights)
    assert back is not None and np.array_equal(back.value, z @ weights.T)
    assert there.variance == back.variance == 0.0


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("name", ["rram-cmo-hfox-2025", "rram-wan2022"])
@pytest.mark.parametrize("part", [None, 1e-2, 5e-5], ids=["naive", "few readings", "many readings"])
def test_the_predicted_error_of_reading_is_the_one_seen(
    name: str, transpose: bool, part: float | None
) -> None:
    block = program(normal(300, 260), device(name), 1, "a")
    held = block.conductance * block.scale
    held = held.T if transpose else held
    x = normal(32, len(held)) * np.logspace(-2, 2, 32, dtype=np.float32)[:, None]
    variance = None if part is None else part * float(np.linalg.norm(x @ held)) ** 2

    reading = multiply_rows(side_of(block, transpose), x, variance, key=3, rows_index=0)

    assert reading is not None
    seen = float(np.linalg.norm(reading.value - x @ held))
    assert math.sqrt(reading.variance) == pytest.approx(seen, rel=0.1)
    if variance is not None:
        assert reading.variance <= variance


def test_no_number_of_readings_reaches_the_precision_of_float32() -> None:
    block = program(normal(128, 128), CMO, 1, "a")

    assert multiply_rows(side_of(block, False), normal(2, 128), 1e-6, 1, 0) is None


def test_silent_inputs_cost_nothing() -> None:
    block = program(normal(256, 128), CMO, 1, "a")
    x = np.zeros((2, 256), np.float32)
    silent = multiply_rows(side_of(block, False), x, None, 1, 0)
    x[1, 200] = 1.0
    half = multiply_rows(side_of(block, False), x, None, 1, 0)

    assert silent is not None and not silent.value.any() and silent.reads == 0
    assert half is not None and half.reads == 2 * 2
    assert not half.value[0].any()


def test_costs_are_counted_from_the_table() -> None:
    """One slice, read once after one settling for the peak detector: 2 readings, 1 conversion a column."""
    block = program(normal(128, 128), CMO, 1, "a")
    reading = multiply_rows(side_of(block, False), normal(1, 128), None, 1, 0)

    assert reading is not None and reading.reads == 2
    assert reading.energy_pj == pytest.approx(2 * (128 * 3.1 + 2 * 30.0) + 128 * 1.7)
    assert reading.latency_ns == 200.0
