"""Arrays of other sides than 128: what holds of these holds of all."""

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest

from compute import fused
from compute.analog import AnalogMatrix, MatrixError
from compute.block_product import BlockProduct
from compute.chance import rows_of
from compute.converters import ranging
from compute.crossbar import read_tile_row
from compute.device import Converters, DeviceModel, ReadNoise, Wires
from compute.digit_noise import digit_noise
from compute.energy import reading
from compute.face import Layer, face, on_grid
from compute.integer import lines_of, multiply
from compute.integer_law import MAGNITUDE_BITS_MAX, CellNoise, IntegerPlan
from compute.integer_plan import load_of, plan
from compute.partition import BLOCK_SIDE, TILE_SIDE, TILE_SIDES, Matrix
from compute.placing import place
from compute.presets import PRESETS
from compute.programmed import Arrays
from compute.programming import program
from compute.raw import read_all_once
from tests.compute.integer_bits import multiply_bit_by_bit

OTHERS = tuple(side for side in TILE_SIDES if side != TILE_SIDE)
WAN = PRESETS["rram-wan2022"]
EIGHT = Converters(dac_bits=8, adc_bits=8)

CROOKED = msgspec.structs.replace(
    WAN,
    name="converters of their own",
    converters=Converters(dac_bits=8, adc_bits=8, adc_offset_sigma=2.0, adc_gain_sigma=0.05),
)


def normal(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def with_wires(segment_ohm: float) -> DeviceModel:
    return msgspec.structs.replace(WAN, name="wired", wires=Wires(segment_ohm=segment_ohm))


# -- which sides there are -----------------------------------------------------------------------


@pytest.mark.parametrize("tile", [0, -1, -128, 1, 8, 100, 1024, 1.5, 128.0, True, "128", None])
def test_a_side_that_no_array_has_is_refused_with_those_there_are(tile: object) -> None:
    with pytest.raises(MatrixError, match=r"tile is .*; write one of 16, 32, 64, 128, 256, 512$"):
        AnalogMatrix(normal(3, 2), "ideal", tile=tile)  # type: ignore[arg-type]


def test_a_block_is_filled_by_whole_arrays_of_any_side() -> None:
    assert all(BLOCK_SIDE % side == 0 for side in TILE_SIDES)
    assert AnalogMatrix(normal(3, 2), "ideal", tile=np.int64(64)).blocks  # type: ignore[arg-type]


def test_without_a_word_arrays_have_128_cells_along_each_side() -> None:
    weights, x = normal(150, 140), normal(5, 150)
    told, untold = AnalogMatrix(weights, WAN, tile=128, seed=3), AnalogMatrix(weights, WAN, seed=3)

    assert told.matmul(x).value.tobytes() == untold.matmul(x).value.tobytes()


# -- what a product is ---------------------------------------------------------------------------


@pytest.mark.parametrize("tile", TILE_SIDES)
@pytest.mark.parametrize("shape", [(40, 30), (257, 129), (600, 520)])
def test_an_ideal_device_multiplies_dyadic_numbers_exactly(
    tile: int, shape: tuple[int, int]
) -> None:
    dice = np.random.default_rng(tile)
    weights, x, y = (
        dice.integers(-63, 64, of).astype(np.float32) / np.float32(64.0)
        for of in (shape, (7, shape[0]), (7, shape[1]))
    )
    matrix = AnalogMatrix(weights, "ideal", tile=tile, seed=1)

    assert np.array_equal(matrix.matmul(x).value, x.astype(np.float64) @ weights)
    assert np.array_equal(matrix.rmatmul(y).value, y.astype(np.float64) @ weights.T)


@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize(
    "device", [WAN, PRESETS["pcm-joshi"], CROOKED], ids=lambda device: device.name
)
def test_the_same_seed_gives_the_same_bits_however_rows_are_cut(
    tile: int, device: DeviceModel
) -> None:
    weights, x = normal(300, 270), normal(100, 300)
    first, again, other = (
        AnalogMatrix(weights, device, tile=tile, seed=seed).matmul(x, draw=4).value
        for seed in (9, 9, 8)
    )
    matrix = AnalogMatrix(weights, device, tile=tile, seed=9)
    parts = [
        matrix.matmul(x[start:stop], draw=4, first_row=start).value
        for start, stop in ((0, 1), (1, 36), (36, 100))
    ]

    assert first.tobytes() == again.tobytes() == np.concatenate(parts).tobytes()
    assert first.tobytes() != other.tobytes()
    assert (
        first.tobytes() != AnalogMatrix(weights, device, seed=9).matmul(x, draw=4).value.tobytes()
    )


@pytest.mark.parametrize("tile", [16, 64, 256])
def test_the_number_of_threads_changes_no_bit(tile: int) -> None:
    weights, x = normal(40, 1100), normal(3, 40)
    bits = {
        AnalogMatrix(weights, WAN, tile=tile, seed=9, threads=threads)
        .matmul(x, rtol, draw=1)
        .value.tobytes()
        for threads in (1, 2, 4)
        for rtol in (0.1,)
    }

    assert len(bits) == 1


@pytest.mark.parametrize("tile", OTHERS)
def test_the_bound_holds_on_random_shapes(tile: int) -> None:
    """Primes and remnants, both sides, every preset; the wires of larger arrays would take long to solve."""
    dice = np.random.default_rng(tile)
    wired = {"rram-neurosim", "rram-harsh"}
    names = [name for name in PRESETS if tile <= TILE_SIDE or name not in wired]
    for job, name in enumerate(names):
        k, n = (int(side) for side in dice.choice([1, 7, 17, 61, 127, 131, 211, 257, 307], 2))
        weights = dice.standard_normal((k, n), np.float32) ** int(dice.choice([1, 3]))
        matrix = AnalogMatrix(weights, name, tile=tile, seed=job)
        for transpose in (False, True):
            x = dice.standard_normal((int(dice.integers(1, 33)), n if transpose else k), np.float32)
            factor = weights.T if transpose else weights
            exact = x.astype(np.float64) @ factor
            for rtol in (1e-1, 1e-2, float(dice.choice([1e-3, 1e-5]))):
                answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)
                error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
                assert error <= answer.certificate.bound <= rtol, (name, weights.shape, rtol)


@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_raw_product_errs_as_predicted(tile: int, transpose: bool) -> None:
    """Standing errors of writing, over both, and what reading adds."""
    block = program(normal(600, 520), WAN, 5, "w", Arrays(tile_side=tile))
    x = normal(64, 520 if transpose else 600, seed=2)
    factor = normal(600, 520).T if transpose else normal(600, 520)
    side = block.face(1, transpose)

    got = read_all_once(side, x, 3, 0).value
    block.add_outliers(x, got, 1, transpose)

    error = float(np.linalg.norm(got - x.astype(np.float64) @ factor))
    left = block.programming_variance(x, 1, transpose, slice(0, x.shape[1]))
    assert math.sqrt(left) == pytest.approx(error, rel=0.15)


@pytest.mark.parametrize("tile", [32, 256])
def test_arrays_keep_their_side_when_they_age_are_written_anew_and_get_further_slices(
    tile: int,
) -> None:
    weights, x = normal(200, 190), normal(20, 200)
    bare = msgspec.structs.replace(
        PRESETS["rram-cmo-hfox-2025"], name="bare", reading=ReadNoise(), converters=Converters()
    )
    matrix = AnalogMatrix(weights, bare, tile=tile, seed=4)
    asked = []
    for change in (lambda: matrix.age(3600.0), matrix.refresh, lambda: matrix.matmul(x, 1e-3)):
        change()
        (block,) = matrix.blocks.values()
        asked.append((block.arrays.tile_side, block.health.write_sigma.shape))

    assert set(asked) == {(tile, (-(-200 // tile), -(-190 // tile)))}
    assert block.arrays.writes == 2 and block.arrays.slices > 1


# -- compiled code -------------------------------------------------------------------------------


@pytest.mark.skipif(not fused.is_installed(), reason="numba is not installed")
@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_compiled_code_has_the_bits_of_numpy_and_is_not_compiled_anew(
    tile: int, transpose: bool
) -> None:
    assert fused.warm_up()
    device = msgspec.structs.replace(WAN, converters=EIGHT)
    shares = np.clip(normal(300, 200), -1.0, 1.0)
    one = Layer(on_grid(shares, 127, tile), None, np.ones(200, np.float32))
    seen = face((one, one), device, transpose, 3, tile)
    for m in (1, 3, 70):
        x = normal(m, seen.inputs) * np.logspace(-6, 6, m, dtype=np.float32)[:, None]
        x[m // 2] = 0.0

        compiled, plain = (read_all_once(seen, x, 5, 7, may_fuse=fuse) for fuse in (True, False))

        assert np.array_equal(compiled.value.view(np.uint32), plain.value.view(np.uint32))
        assert compiled.spent == plain.spent
    (kernels,) = fused._compiled
    assert len(kernels.reading.signatures) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("tile", [16, 256])
def test_the_kernel_interpreted_stays_inside_its_arrays(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain Python checks every index, which compiled code does not."""
    shares = np.clip(normal(20, tile + 4), -1.0, 1.0)
    one = Layer(on_grid(shares, 127, tile), None, np.ones(tile + 4, np.float32))
    seen = face((one,), msgspec.structs.replace(WAN, converters=EIGHT), False, 3, tile)
    x = normal(2, 20)
    plain = read_all_once(seen, x, 5, 7, may_fuse=False).value

    slow = fused.Kernels(fused.interpreted, fused.interpreted_runs, fused.interpreted_relaxing)
    monkeypatch.setattr(fused, "_compiled", [slow])
    with np.errstate(over="ignore"):
        fused_value = read_all_once(seen, x, 5, 7).value

    assert np.array_equal(fused_value.view(np.uint32), plain.view(np.uint32))


# -- what physics says of the side ---------------------------------------------------------------


def test_wires_of_larger_arrays_take_more() -> None:
    """All cells of a block conduct; what is seen of them shrinks as lines grow longer."""
    weights = np.ones((256, 256), np.float32)
    device = DeviceModel(name="wires alone", window=WAN.window, wires=Wires(segment_ohm=1.0))
    left, errors = [], []
    for tile in (16, 32, 64, 128, 256):
        block = program(weights, device, 3, "w", Arrays(tile_side=tile))
        left.append(float(np.abs(block.slices[0][0].conductance).mean()))
        errors.append(float(block.health.write_sigma.mean()))

    assert left == sorted(left, reverse=True) and left[0] > 0.97 and left[-1] < 0.6
    assert errors == sorted(errors) and errors[-1] > 5.0 * errors[0]


def test_digits_suffer_more_in_larger_arrays() -> None:
    noises = [digit_noise(with_wires(2.0), 1, 0.0, tile) for tile in (32, 64, 128)]
    bare = [digit_noise(WAN, 1, 0.0, tile) for tile in TILE_SIDES]

    assert [noise.shared for noise in noises] == sorted(noise.shared for noise in noises)
    assert noises[-1].shared > 2.0 * noises[0].shared
    assert max(noise.write for noise in bare) < 1.15 * min(noise.write for noise in bare)


@pytest.mark.parametrize("tile", TILE_SIDES)
def test_a_reading_costs_its_lines_its_cells_and_its_conversions(tile: int) -> None:
    """An ADC at the foot of an array converts its columns one by one: energy falls with the side, time grows."""
    block = program(normal(1024, 512), WAN, 3, "w", Arrays(tile_side=tile))
    costs = WAN.costs

    spent = read_all_once(block.face(1, transpose=False), normal(4, 1024), 3, 0).spent

    across, down = 512 // tile, 1024 // tile
    # The peak is looked for before it is converted: lines and cells settle twice.
    lines_pj = 2 * 1024 * across * costs.dac_line_pj * (WAN.converters.dac_bits or 8) / 8
    cells_pj = 2 * 2 * costs.array_read_pj * 1024 * 512 / 128**2
    adc_pj = down * 512 * costs.adc_conversion_pj * 2.0 ** ((WAN.converters.adc_bits or 8) - 8)
    assert spent.energy_pj == pytest.approx(4 * (lines_pj + cells_pj + adc_pj))
    assert spent.latency_ns == pytest.approx(4 * 2 * costs.read_ns * tile / 128)
    assert spent.reads == 4 * 2 * 2 * across * down


@pytest.mark.parametrize("tile", [16, 512])
@pytest.mark.parametrize(("part", "regime"), [(0.3, "fast"), (0.01, "integer")])
def test_a_plan_foresees_what_arrays_of_its_side_take(tile: int, part: float, regime: str) -> None:
    weights, x = normal(600, 520), normal(32, 600, seed=2)
    block = program(weights, WAN, 5, "w", Arrays(tile_side=tile))
    share = part * float(np.linalg.norm(x @ weights))
    product = BlockProduct(block, x, False, share, 1, 0)

    choice = product.choose()
    value = np.zeros((32, 520), np.float32)
    took = product.add_to(
        value, lambda: ((row, weights[row : row + tile]) for row in range(0, 600, tile))
    )

    foreseen_pj = choice.analog.energy_pj if choice.analog else choice.cost_pj
    assert took.regimes == {regime}
    assert (took.energy_j - took.digital_j) * 1e12 == pytest.approx(foreseen_pj, rel=0.03)


def test_remnants_of_a_large_array_are_not_paid_for_as_a_whole_one() -> None:
    once = [
        reading(WAN, inputs=40, outputs=30, settlings=1, conversions=1, tile_side=tile)
        for tile in (64, 512)
    ]

    assert once[0].energy_pj == once[1].energy_pj
    assert once[0].reads == once[1].reads == 2


@pytest.mark.parametrize("tile", TILE_SIDES)
def test_the_range_of_the_converters_holds_all_lines_together(tile: int) -> None:
    adc = ranging(EIGHT, averaged=False, tile_side=tile)

    assert adc is not None
    assert 127 * tile <= adc.usable * adc.step_max < 4 * 127 * tile


@pytest.mark.parametrize("tile", TILE_SIDES)
def test_nothing_is_cut_off_where_all_cells_of_an_array_conduct(tile: int) -> None:
    """Read once, and averaged."""
    device = DeviceModel(name="converters", converters=EIGHT)
    ones = np.ones((tile, tile), np.float32)
    seen = face((Layer(on_grid(ones, 127, tile), None, ones[0]),), device, False, 3, tile)
    x = np.ones((2, tile), np.float32)

    once = read_all_once(seen, x, 5, 0).value
    averaged = read_tile_row(seen, 0, x, 1e-5 * tile**3, 5, 0)

    assert averaged is not None and averaged.spent.reads > 2 * 2 * 2
    assert once == pytest.approx(tile, rel=0.01) and averaged.value == pytest.approx(tile, rel=0.01)


@pytest.mark.parametrize("tile", TILE_SIDES)
@pytest.mark.parametrize("transpose", [False, True])
def test_currents_of_all_lines_add_up_exactly_in_float32(tile: int, transpose: bool) -> None:
    """And the grid on which they do is no coarser than that asks for."""
    dice = np.random.default_rng(3)
    shares = dice.uniform(0.5, 1.0, (600, 600)).astype(np.float32)
    laid = on_grid(shares.copy(), 127, tile)
    seen = laid.T if transpose else laid
    for start in range(0, 600, tile):
        strip = seen[start : start + tile]
        codes = dice.integers(120, 128, (5, len(strip))).astype(np.float32)
        for order in (slice(None), slice(None, None, -1)):
            currents = codes[:, order] @ strip[order]
            assert np.array_equal(currents, codes.astype(np.float64) @ strip)

    # Half a step of the next power of two above 127 x (sum of an array's line) / 2^24.
    assert np.abs(laid - shares).max() <= 1.002 * 127 * tile / 2**24


@pytest.mark.parametrize("tile", [16, 64, 256])
def test_columns_change_places_within_their_array_alone(tile: int) -> None:
    weights = np.clip(normal(tile, 300), -1.0, 1.0)
    stuck = (np.random.default_rng(3).random((2, tile + 4, 300)) < 0.1).astype(np.int8)

    placement = place(weights, stuck, spare=4, tile_side=tile)

    assert sorted(placement.columns) == list(range(300))
    assert np.array_equal(placement.columns // tile, np.arange(300) // tile)
    assert not np.array_equal(placement.columns, np.arange(300))


@pytest.mark.parametrize("tile", [16, 256])
def test_faults_are_made_up_for_in_arrays_of_any_side(tile: int) -> None:
    """A tenth of the cells stuck, spare rows in each array, no wires."""
    device = msgspec.structs.replace(PRESETS["rram-harsh"], wires=Wires(spare_rows=4))
    block = program(normal(300, 280), device, 5, "w", Arrays(tile_side=tile))

    assert block.health.stuck_share(0, transpose=False) == pytest.approx(0.11, abs=0.02)
    assert block.health.write_sigma.shape == (-(-300 // tile), -(-280 // tile))
    assert float(block.health.write_sigma.max()) < 0.1


# -- whole numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize("tile", TILE_SIDES)
def test_sums_of_whole_numbers_are_exact_over_all_lines(tile: int) -> None:
    """The most that can come together, all of one sign. Beyond 128 lines that is more than 53 bits."""
    bits = MAGNITUDE_BITS_MAX
    top = (1 << bits) - 1
    significances = 2 * bits - 1
    how = IntegerPlan(
        bits, bits, 1, (16,) * significances, (1,) * significances, CellNoise(0.0, 0.0),
        tile_side=tile,
    )  # fmt: skip
    x, codes = np.full((2, tile), top, np.float32), np.full((tile, 3), top, np.float32)
    x[1, ::3], codes[1::2, 1] = 1.0, -1.0
    out = np.zeros((2, 3))

    driven = multiply(x, codes, np.ones(3), how, 1, rows_of(0, 2), out)

    exact = [
        [sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in codes.T]
        for row in x
    ]
    for values, wholes in zip(out.tolist(), exact, strict=True):
        for value, sum_ in zip(values, wholes, strict=True):
            assert abs(Fraction(value) - sum_) <= (0 if abs(sum_) <= 2**53 else 2)
    assert (max(map(max, exact)) > 2**53) == (tile > 128)
    assert driven.shape == (bits, tile + 1) and driven[0, tile] == 2.0


@pytest.mark.parametrize("tile", [256, 512])
def test_lines_with_a_bit_are_counted_beyond_a_byte(tile: int) -> None:
    codes = np.full((2, tile), 3.0)
    codes[1, :255] = 4.0

    assert lines_of(codes, 3).tolist() == [[tile, tile, 0], [tile - 255, tile - 255, 255]]


@pytest.mark.parametrize("tile", TILE_SIDES)
def test_no_plan_drives_more_lines_than_an_array_has(tile: int) -> None:
    x, weights = normal(8, tile), normal(tile, 40)
    load = load_of(x, float(np.linalg.norm(weights) ** 2), np.abs(weights).max(axis=0), tile)
    device = msgspec.structs.replace(PRESETS["ideal"], name="silent")
    allowed = (1e-6 * float(np.linalg.norm(x @ weights))) ** 2

    found = plan(load, CellNoise(0.0, 0.0), device, allowed)

    assert found is not None and found.tile_side == tile
    assert 1 < max(found.rows_active) <= tile


@pytest.mark.parametrize("tile", [16, 256])
def test_events_have_the_mean_square_of_conversions_one_by_one(tile: int) -> None:
    dice = np.random.default_rng(8)
    x = dice.integers(-7, 8, (12, tile)).astype(np.float32)
    x[:, 0] = 7.0
    codes = dice.integers(-15, 16, (tile, 60)).astype(np.float32)
    count = 6
    how = IntegerPlan(4, 3, 1, (6,) * count, (1,) * count, CellNoise(0.0, 0.07), tile_side=tile)
    exact, squares = x.astype(np.float64) @ codes, []
    for run in (multiply, multiply_bit_by_bit):
        errors = []
        for key in range(6):
            out = np.zeros(exact.shape)
            run(x, codes, np.ones(60), how, key, rows_of(0, 12), out)
            errors.append(out - exact)
        squares.append(np.square(errors))

    events, bits = squares
    spread = math.sqrt(float(np.var(events) + np.var(bits)) / events.size)
    assert abs(float(events.mean() - bits.mean())) < 5.0 * spread
    assert spread < 0.1 * float(bits.mean())
