"""Bounds on what is random lie at five standard errors or more: each raises a false alarm once in a million seeds."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.crossbar import Reading, read_tile_row
from compute.device import Converters, Costs, DeviceModel, ReadNoise, Window
from compute.face import Face, Layer, face, on_grid
from compute.partition import TILE_SIDE, Matrix, spans
from compute.raw import RawReading, read_all_once
from tests.compute.laws import far_from_normal
from tests.compute.matrices import normal

EXACT = DeviceModel(name="no error at all")
QUIET = DeviceModel(
    name="converters only",
    window=Window(g_min_us=10.0, g_max_us=100.0),
    converters=Converters(dac_bits=8, adc_bits=8),
)
NOISY = msgspec.structs.replace(QUIET, reading=ReadNoise(constant=0.01))
UNEVEN = msgspec.structs.replace(QUIET, reading=ReadNoise(constant=0.004, proportional=0.02))
CROOKED = msgspec.structs.replace(
    NOISY,
    converters=Converters(dac_bits=8, adc_bits=8, adc_offset_sigma=1.0, adc_gain_sigma=0.01),
)
FINE = msgspec.structs.replace(NOISY, converters=Converters(dac_bits=12, adc_bits=10))
ANALOG_IN = msgspec.structs.replace(QUIET, converters=Converters(adc_bits=8))
DEVICES = [QUIET, NOISY, UNEVEN, CROOKED, FINE]


def layer(rows: int, columns: int, device: DeviceModel, seed: int = 2) -> Layer:
    """Gaussian weights as they might be held; the columns' scales differ."""
    conductance = np.clip(0.25 * normal(rows, columns, seed=seed), -1.0, 1.0)
    squares = None
    if device.reading.proportional:
        floor = device.window.g_min_us / device.window.width_us
        plus, minus = np.maximum(conductance, 0.0) + floor, np.maximum(-conductance, 0.0) + floor
        squares = on_grid((plus**2 + minus**2).astype(np.float32), 255)
    scale = (0.5 + np.abs(normal(columns, seed=seed + 1))).astype(np.float32)
    return Layer(on_grid(conductance, 127), squares, scale)


def slices_of(rows: int, columns: int, device: DeviceModel) -> tuple[Layer, ...]:
    """Two replicas of the weights, written a little differently, and a slice for what they miss."""
    one = layer(rows, columns, device)
    again = on_grid(one.conductance + 0.03 * normal(rows, columns, seed=9), 127)
    rest = layer(rows, columns, device, seed=7)
    return (
        scaled(one, 1 / 2),
        scaled(replace(one, conductance=again), 1 / 2),
        scaled(rest, 1 / 30),
    )


def scaled(one: Layer, part: float) -> Layer:
    return replace(one, scale=(one.scale * part).astype(np.float32))


def held(layers: tuple[Layer, ...]) -> Matrix:
    weights: Matrix = sum(one.conductance * one.scale for one in layers)  # type: ignore[assignment]
    return weights


def read(device: DeviceModel, x: Matrix, *layers: Layer, transpose: bool = False) -> RawReading:
    return read_all_once(face(layers, device, transpose, key=3), x, key=5, first_row=0)


def averaged(seen: Face, x: Matrix, variance: float) -> list[Reading]:
    """Each tile row within its part of the variance, by the energy of what drives it."""
    scale = seen.sides[0].input_scale
    energies = np.square(x if scale is None else x * scale).sum(axis=0, dtype=np.float64)
    readings = []
    for tile, (start, stop) in enumerate(spans(seen.inputs, TILE_SIDE)):
        allowed = variance * float(energies[start:stop].sum() / energies.sum())
        reading = read_tile_row(seen, tile, x[:, start:stop], allowed, 5, 0)
        assert reading is not None
        readings.append(reading)
    return readings


# -- exactness -------------------------------------------------------------------------------------


def test_an_ideal_device_is_exact_where_float32_is() -> None:
    dice = np.random.default_rng(5)
    weights, x, z = (
        (dice.integers(-64, 64, shape) / 32).astype(np.float32)
        for shape in ((300, 200), (5, 300), (5, 200))
    )
    held = Layer(weights, None, np.ones(200, np.float32))

    assert np.array_equal(read(EXACT, x, held).value, x @ weights)
    assert np.array_equal(read(EXACT, z, held, transpose=True).value, z @ weights.T)


@pytest.mark.parametrize("columns_driven", [False, True])
def test_on_the_grid_whole_codes_add_up_exactly(columns_driven: bool) -> None:
    conductance = on_grid(np.clip(normal(128, 128), -1.0, 1.0), 127)
    matrix = conductance.T if columns_driven else conductance
    codes = np.random.default_rng(1).integers(-127, 128, (40, 128)).astype(np.float32)
    codes[0] = 127 * np.sign(matrix[:, 0])

    exact = codes.astype(np.float64) @ matrix.astype(np.float64)

    assert np.array_equal(codes @ matrix, exact)


def test_the_grid_follows_each_tile() -> None:
    conductance = normal(200, 300)
    conductance[:, 128:256] *= 1e-3
    conductance[:, 256:] = 0.0
    before = conductance.copy()

    on_grid(conductance, 127)

    error = np.abs(conductance - before)
    assert 1e-5 < error[:, :128].max() < 1e-3
    assert 0.0 < error[:, 128:256].max() < 1e-6
    assert not conductance[:, 256:].any()


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: str(device.converters))
@pytest.mark.parametrize("transpose", [False, True])
def test_one_reading_has_the_same_bits_however_the_rows_are_cut(
    device: DeviceModel, transpose: bool
) -> None:
    layers = slices_of(300, 260, device)
    x = normal(512, 260 if transpose else 300)
    seen = face(layers, device, transpose, key=3)
    whole = read(device, x, *layers, transpose=transpose).value

    for cuts in ([0, 1, 3, 6, 13, 77, 512], [0, 64, 128, 500, 512], [0, 300, 512]):
        for first, last in pairwise(cuts):
            part = read_all_once(seen, x[first:last], key=5, first_row=first)
            assert part is not None and np.array_equal(part.value, whole[first:last])


def test_the_same_cells_give_the_transposed_product() -> None:
    """Without noise, both ways are off by what the converters cannot express."""
    one = layer(300, 260, QUIET)
    z = normal(20, 260)

    there = read(QUIET, z, one, transpose=True).value

    exact = z @ held((one,)).T
    assert np.linalg.norm(there - exact) < 0.02 * np.linalg.norm(exact)


def test_driving_columns_is_driving_the_rows_of_the_transposed_arrays() -> None:
    one = layer(300, 260, QUIET)
    turned = Layer(one.conductance.T.copy(), None, np.ones(300, np.float32))
    z = normal(20, 260)

    there = read(QUIET, z, one, transpose=True).value

    assert np.array_equal(there, read(QUIET, z * one.scale, turned).value)


def test_one_reading_is_what_the_converters_make_of_exact_currents() -> None:
    """Bit for bit, against the definitions in float64: DAC by tile row, ADC by array and row."""
    one = layer(256, 256, QUIET)
    x = normal(20, 256) * np.logspace(-5, 5, 20, dtype=np.float32)[:, None]
    expected = np.zeros((20, 256), np.float32)
    for rows in (slice(0, 128), slice(128, 256)):
        step = np.abs(x[:, rows]).max(axis=1, keepdims=True) / np.float32(127)
        codes = np.rint(x[:, rows] / step).astype(np.float64)
        currents = codes @ one.conductance[rows].astype(np.float64)
        read_out = np.empty_like(currents)
        for columns in (slice(0, 128), slice(128, 256)):
            peak = np.abs(currents[:, columns]).max(axis=1, keepdims=True)
            adc_step = np.clip(2.0 ** np.ceil(np.log2(peak / 127)), 2.0**-5, 128.0)
            read_out[:, columns] = np.rint(currents[:, columns] / adc_step) * adc_step
        expected += (read_out * step).astype(np.float32)

    assert np.array_equal(read(QUIET, x, one).value, expected * one.scale)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_read_the_same_bits(threads: int) -> None:
    """Rows one by one, so that what a thread keeps between products is used too."""
    one = layer(300, 260, NOISY)
    seen, x = face((one,), NOISY, False, key=3), normal(60, 300)

    def row(at: int) -> Matrix:
        reading = read_all_once(seen, x[at : at + 1], key=5, first_row=at)
        assert reading is not None
        return reading.value

    with ThreadPoolExecutor(threads) as pool:
        rows = list(pool.map(row, range(60)))

    assert np.array_equal(np.concatenate(rows), read(NOISY, x, one).value)


def test_many_bits_take_the_converters_away() -> None:
    fine = msgspec.structs.replace(QUIET, converters=Converters(dac_bits=16, adc_bits=16))
    one = layer(300, 260, fine)
    x = normal(20, 300)

    seen = read(fine, x, one).value

    exact = x @ held((one,))
    assert np.linalg.norm(seen - exact) < 6e-5 * np.linalg.norm(exact)


@pytest.mark.parametrize("device", [QUIET, ANALOG_IN], ids=["DAC", "no DAC"])
def test_pictures_on_plus_and_minus_one_do_not_leave_the_range(device: DeviceModel) -> None:
    """All inputs positive, some columns all plus: the largest currents there can be."""
    signs: Matrix = np.sign(normal(256, 256)).astype(np.float32)
    signs[:, ::16] = 1.0
    x: Matrix = (np.abs(normal(8, 256)) + 1.0).astype(np.float32)
    x[0] = 1.0

    seen = read(device, x, Layer(signs, None, np.ones(256, np.float32))).value

    assert np.abs(seen - x @ signs).max() <= 1.1 * 2 * 128 * float(x.max()) / 127 / 2 + 1e-3


# -- noise -----------------------------------------------------------------------------------------


def repeated(device: DeviceModel, count: int = 4000) -> tuple[Matrix, Matrix]:
    """(count, 128) differences between readings with cell noise and the true product, and the codes."""
    one = layer(128, 128, device)
    codes: Matrix = np.rint(30 * normal(1, 128)).clip(-127, 127).astype(np.float32)
    codes[0, 0] = 127.0
    x = codes.repeat(count, axis=0)
    noise = (read(device, x, one).value - x @ held((one,))) / one.scale
    return noise.astype(np.float32), codes[0]


@pytest.mark.parametrize("reading", [ReadNoise(constant=0.01), ReadNoise(proportional=0.03)])
def test_read_noise_has_the_law_of_every_cell_by_itself(reading: ReadNoise) -> None:
    """Variance: sum_i c_i^2 (s_i+^2 + s_i-^2), for each output."""
    device = msgspec.structs.replace(NOISY, reading=reading, converters=Converters(dac_bits=8))
    noise, codes = repeated(device)
    one = layer(128, 128, device)
    g_max, floor = (share / 90.0 for share in (100.0, 10.0))
    plus = np.maximum(one.conductance, 0.0) + floor
    minus = np.maximum(-one.conductance, 0.0) + floor
    of_cells = 2 * (reading.constant * g_max) ** 2 + reading.proportional**2 * (plus**2 + minus**2)

    sigma = np.sqrt(np.square(codes) @ of_cells)

    assert not far_from_normal(noise[::16] / sigma, 0.0, 1.0)
    assert (noise / sigma).std() == pytest.approx(1.0, abs=5 / math.sqrt(2 * noise.size))
    assert noise.std(axis=0) == pytest.approx(sigma, rel=5 / math.sqrt(2 * len(noise)))


def test_noise_of_rows_outputs_layers_and_products_is_independent() -> None:
    device = msgspec.structs.replace(NOISY, converters=Converters(dac_bits=8))
    silent = Layer(np.zeros((256, 128), np.float32), None, np.ones(128, np.float32))
    x = np.ones((500, 256), np.float32)
    x[:, 128:] = 0.0
    first, second = (
        read_all_once(face((silent,), device, False, key=3), x, key=key, first_row=0)
        for key in (5, 6)
    )
    other_tile = read_all_once(
        face((silent,), device, False, key=3), x[:, ::-1].copy(), key=5, first_row=0
    )

    shifted = first.value[1:].ravel(), first.value[:-1].ravel()
    for one, another in (
        shifted,
        (first.value.ravel(), second.value.ravel()),
        (first.value.ravel(), other_tile.value.ravel()),
        (first.value[:, 1:].ravel(), first.value[:, :-1].ravel()),
    ):
        assert abs(np.corrcoef(one, another)[0, 1]) < 5 / math.sqrt(len(one))


# -- within a variance -----------------------------------------------------------------------------


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("device", DEVICES, ids=lambda device: str(device.converters))
@pytest.mark.parametrize("part", [1e-2, 2e-4], ids=["few readings", "many readings"])
def test_the_predicted_error_of_reading_is_the_one_seen(
    device: DeviceModel, transpose: bool, part: float
) -> None:
    layers = slices_of(300, 260, device)
    weights = held(layers).T if transpose else held(layers)
    x = normal(24, len(weights)) * np.logspace(-2, 2, 24, dtype=np.float32)[:, None]
    variance = part * float(np.linalg.norm(x @ weights)) ** 2

    readings = averaged(face(layers, device, transpose, key=3), x, variance)

    value = np.sum([reading.value for reading in readings], axis=0)
    predicted = math.fsum(reading.variance for reading in readings)
    seen = float(np.linalg.norm(value - x @ weights))
    assert predicted <= variance
    assert math.sqrt(predicted) == pytest.approx(seen, rel=0.12)


def test_replicas_are_averaged_without_being_told() -> None:
    one = layer(256, 256, NOISY)
    four = tuple(scaled(one, 1 / 4) for _ in range(4))
    x = normal(64, 256)

    alone = np.linalg.norm(read(NOISY, x, one).value - x @ held((one,)))
    together = np.linalg.norm(read(NOISY, x, *four).value - x @ held((one,)))

    assert together / alone == pytest.approx(0.5, abs=0.05)


def test_calibrated_converters_are_nearly_as_good_as_perfect_ones() -> None:
    x = normal(64, 256)
    one = layer(256, 256, QUIET)
    crooked = msgspec.structs.replace(CROOKED, reading=ReadNoise())

    perfect = np.linalg.norm(read(QUIET, x, one).value - x @ held((one,)))
    calibrated = np.linalg.norm(read(crooked, x, one).value - x @ held((one,)))

    assert calibrated < 1.3 * perfect


def test_no_number_of_readings_reaches_the_precision_of_float32() -> None:
    one = layer(128, 128, NOISY)

    assert read_tile_row(face((one,), NOISY, False, 3), 0, normal(2, 128), 1e-6, 1, 0) is None


# -- what it takes ---------------------------------------------------------------------------------


def test_silent_inputs_cost_nothing() -> None:
    one = layer(256, 128, NOISY)
    x = np.zeros((2, 256), np.float32)
    silent = read(NOISY, x, one)
    x[1, 200] = 1.0
    half = read(NOISY, x, one)

    assert not silent.value.any() and silent.spent.reads == 0
    assert half.spent.reads == 2 * 2
    assert not half.value[0].any()


def test_costs_are_counted_from_the_table() -> None:
    """One slice, read once after one settling for the peak detector: 2 readings of a pair, 1 conversion a column."""
    costs = Costs(array_read_pj=30.0, adc_conversion_pj=1.7, dac_line_pj=3.1, read_ns=100.0)
    device = msgspec.structs.replace(NOISY, costs=costs)
    reading = read(device, normal(1, 128), layer(128, 128, device))

    assert reading.spent.reads == 2 * 2
    assert reading.spent.energy_pj == pytest.approx(2 * (128 * 3.1 + 2 * 30.0) + 128 * 1.7)
    assert reading.spent.latency_ns == 200.0


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 9),
    st.sampled_from(DEVICES),
    st.booleans(),
)
def test_any_shape_can_be_read(
    rows: int, columns: int, m: int, device: DeviceModel, transpose: bool
) -> None:
    one = layer(rows, columns, device)
    weights = held((one,)).T if transpose else held((one,))
    x = normal(m, len(weights))

    value = read(device, x, one, transpose=transpose).value

    assert value.shape == (m, weights.shape[1]) and value.dtype == np.float32
    bound = np.abs(x).max() * len(weights) ** 0.5 * float(one.scale.max())
    assert np.abs(value - x @ weights).max() < bound
