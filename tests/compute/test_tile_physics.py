"""What the side of an array changes: what wires take, what a reading costs, how many lines add up."""

import math
from fractions import Fraction

import msgspec
import numpy as np
import pytest

from compute.block_product import BlockProduct
from compute.chance import rows_of
from compute.converters import ranging
from compute.crossbar import read_tile_row
from compute.device import Converters, DeviceModel, ReadNoise, Wires
from compute.digit_noise import digit_noise
from compute.energy import READ_BACK_READS, reading
from compute.face import Layer, face, on_grid
from compute.integer import lines_of, multiply
from compute.integer_law import MAGNITUDE_BITS_MAX, CellNoise, IntegerPlan
from compute.integer_plan import load_of, plan
from compute.partition import TILE_SIDES
from compute.placing import place
from compute.presets import PRESETS
from compute.programmed import Arrays
from compute.programming import program
from compute.raw import read_all_once
from compute.rest import Source, plan_integer
from compute.strips import write_strip
from tests.compute.integer_bits import multiply_bit_by_bit
from tests.compute.matrices import normal

WAN = PRESETS["rram-wan2022"]
EIGHT = Converters(dac_bits=8, adc_bits=8)


def with_wires(segment_ohm: float) -> DeviceModel:
    return msgspec.structs.replace(WAN, name="wired", wires=Wires(segment_ohm=segment_ohm))


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


@pytest.mark.parametrize("tile", [16, 256])
def test_reading_back_takes_the_arrays_that_a_row_lies_in(tile: int) -> None:
    block = program(normal(40, 500), WAN, 5, "w", Arrays(tile_side=tile))

    assert block.reading_back.reads == 2 * READ_BACK_READS * 40 * -(-500 // tile)


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


def test_what_strips_hold_adds_up_exactly_in_float32_over_all_lines() -> None:
    """Codes meet conductances; where read noise is in proportion to these, squares meet squares, by eight bits."""
    device = msgspec.structs.replace(
        WAN, name="proportional", reading=ReadNoise(proportional=0.01), converters=EIGHT
    )
    arrays, scale = Arrays(tile_side=512), np.ones(60, np.float32)
    strip = write_strip(np.abs(normal(512, 60)), scale, 0, device, arrays, 9)
    assert strip.squares is not None

    for held, top in ((strip.difference, 127), (strip.squares, 255)):
        codes = np.random.default_rng(3).integers(top // 2, top + 1, (5, 512)).astype(np.float32)
        for order in (slice(None), slice(None, None, -1)):
            currents = codes[:, order] @ held[order]
            assert np.array_equal(currents, codes.astype(np.float64) @ held)


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


def test_whole_numbers_are_planned_by_how_digits_fare_in_arrays_of_that_side() -> None:
    device, x = with_wires(2.0), normal(8, 60)
    block = program(normal(60, 50), device, 5, "w", Arrays(tile_side=32))
    exact = float(np.linalg.norm(x @ normal(60, 50)))

    found = plan_integer(Source(block, x, False, 3, 0, False), [0, 1], (1e-2 * exact) ** 2)

    assert found is not None and found.tile_side == 32
    assert found.noise == digit_noise(device, 5, 0.0, 32) != digit_noise(device, 5, 0.0, 128)


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
