import math
import statistics
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.chance import rows_of
from compute.integer import input_codes, lines_of, multiply, poisson, weight_codes
from compute.integer_law import (
    CellNoise,
    IntegerPlan,
    adc_bits,
    adc_limit,
    error_law,
    errors_by_lines,
)
from compute.integer_law import conversion_sd as sd_of
from compute.partition import Matrix, Matrix64
from tests.compute.integer_bits import digits, multiply_bit_by_bit
from tests.compute.laws import chi_square, chi_square_limit, counted_apart

SILENT = CellNoise(write=0.0, read=0.0)


def plan(
    weight_bits: int = 4,
    input_bits: int = 4,
    cell_bits: int = 1,
    rows: int = 8,
    noise: CellNoise = SILENT,
    reads: int = 1,
) -> IntegerPlan:
    count = (-(-weight_bits // cell_bits) - 1) * cell_bits + input_bits
    rows_active, readings = (rows,) * count, (reads,) * count
    return IntegerPlan(weight_bits, input_bits, cell_bits, rows_active, readings, noise)


def whole(dice: np.random.Generator, shape: tuple[int, int], bits: int) -> Matrix:
    """Whole numbers of so many bits, the largest in each row."""
    top = (1 << bits) - 1
    numbers = dice.integers(-top, top, shape, endpoint=True)
    numbers[:, 0] = top
    return numbers.astype(np.float32)


def errors(x: Matrix, codes: Matrix, how: IntegerPlan, key: int, *, by_bits: bool) -> Matrix64:
    """In units of the product of whole numbers."""
    out = np.zeros((len(x), codes.shape[1]))
    ones = np.ones(codes.shape[1])
    if by_bits:
        multiply_bit_by_bit(x, codes, ones, how, key, rows_of(0, len(x)), out)
    else:
        multiply(x, codes, ones, how, key, rows_of(0, len(x)), out)
    return out - x.astype(np.float64) @ codes


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.sampled_from([1, 2, 7, 31, 128]), st.integers(1, 13)),
    bits=st.tuples(st.integers(1, 23), st.integers(1, 23), st.integers(1, 4)),
    rows=st.sampled_from([1, 3, 8, 128]),
    copies=st.sampled_from([1, 1, 2]),
    seed=st.integers(0, 1000),
)
def test_without_noise_both_are_the_product_of_the_whole_numbers(
    shape: tuple[int, int, int], bits: tuple[int, int, int], rows: int, copies: int, seed: int
) -> None:
    m, inputs, outputs = shape
    dice = np.random.default_rng(seed)
    x, codes = whole(dice, (m, inputs), bits[1]), whole(dice, (inputs, outputs), bits[0])
    exact = x.astype(np.int64) @ codes.astype(np.int64)
    how = replace(plan(*bits, rows=rows), copies=copies)

    for by_bits in (False, True):
        assert np.array_equal(errors(x, codes, how, 1, by_bits=by_bits), np.zeros(exact.shape))
    assert np.array_equal(x.astype(np.float64) @ codes, exact.astype(np.float64))


@given(bits=st.integers(1, 23), cell_bits=st.integers(1, 4), seed=st.integers(0, 1000))
def test_digits_add_up_to_the_weight(bits: int, cell_bits: int, seed: int) -> None:
    codes = whole(np.random.default_rng(seed), (5, 3), bits)
    parts = digits(codes, -(-bits // cell_bits), cell_bits)

    assert np.abs(parts).max() < 1 << cell_bits
    assert np.array_equal(sum(part * 2.0 ** (cell_bits * i) for i, part in enumerate(parts)), codes)


@given(shape=st.tuples(st.integers(1, 4), st.integers(1, 128)), seed=st.integers(0, 1000))
def test_lines_with_a_bit_are_counted_plane_by_plane(shape: tuple[int, int], seed: int) -> None:
    codes = whole(np.random.default_rng(seed), shape, 23).astype(np.float64)
    bits = np.abs(codes).astype(np.int64)[:, :, None] >> np.arange(23) & 1

    assert np.array_equal(lines_of(codes, 23), bits.sum(axis=1))


@pytest.mark.parametrize("sd", [0.17, 0.2, 0.25, 0.3])
@pytest.mark.parametrize(("cell_bits", "rows"), [(1, 8), (1, 1), (2, 5), (3, 128)])
def test_single_errors_strike_as_often_as_conversions_go_wrong(
    cell_bits: int, rows: int, sd: float
) -> None:
    """One slice, one plane: counts of each error from -3 to 3 by events, and bit by bit.

    Of 127 lines about 85 have a bit.
    """
    dice = np.random.default_rng(5)
    x, codes = whole(dice, (24, 127), 1), whole(dice, (127, 400), cell_bits)
    noise = CellNoise(0.0, sd / sd_of(min(rows, 85), CellNoise(0.0, 1.0), cell_bits, 1))
    how = plan(cell_bits, 1, cell_bits, rows, noise)

    counts = [
        np.bincount(
            np.clip(np.rint(errors(x, codes, how, 7, by_bits=each)), -3, 3).ravel().astype(int) + 3,
            minlength=7,
        )
        for each in (False, True)
    ]

    assert not counted_apart(*counts, degrees_min=1)


@pytest.mark.parametrize(("sd", "copies"), [(0.18, 1), (0.28, 1), (0.28, 2)])
def test_errors_have_the_same_law_at_each_significance(sd: float, copies: int) -> None:
    """Three slices of two bits, three planes: errors counted by the power of two that they reach."""
    dice = np.random.default_rng(6)
    x, codes = whole(dice, (40, 64), 3), whole(dice, (64, 300), 6)
    noise = CellNoise(0.0, sd / sd_of(4, CellNoise(0.0, 1.0), 2, 1))
    how = replace(plan(6, 3, 2, 4, noise), copies=copies)

    events, bits = (errors(x, codes, how, 7, by_bits=each) for each in (False, True))

    counts = [
        np.bincount(
            np.rint(np.log2(np.maximum(np.abs(each), 2.0**-1))).ravel().astype(int) + 1,
            minlength=12,
        )[4:]
        for each in (events, bits)
    ]
    assert not counted_apart(*counts, degrees_min=2)
    spread = math.sqrt(float((events**4).mean() / (events**2).mean() ** 2) / events.size)
    assert (events**2).mean() == pytest.approx((bits**2).mean(), rel=7.0 * spread)
    assert abs(events.mean()) < 5.0 * events.std() / math.sqrt(events.size)
    assert abs(bits.mean()) < 5.0 * bits.std() / math.sqrt(bits.size)


def test_many_small_errors_are_as_good_as_normal() -> None:
    """Up to significance 7 one conversion in ten is wrong, above none: some hundred errors at each output."""
    dice = np.random.default_rng(10)
    x, codes = whole(dice, (6, 100), 8), whole(dice, (100, 200), 8)
    noise = CellNoise(0.0, 0.3 / math.sqrt(2.0))
    how = replace(plan(8, 8, 1, 1, noise), reads=(1,) * 8 + (1000,) * 7)
    lines = lines_of(input_codes(x, 8)[0], 8)
    errors_a_line = float(errors_by_lines(noise, 1, 1, 1)[1])
    variance = errors_a_line * sum(
        4.0 ** (i + k) * lines[:, k] for i in range(8) for k in range(8) if i + k < 8
    )

    edges = np.array([statistics.NormalDist().inv_cdf(part / 12) for part in range(1, 12)])
    counts = []
    for by_bits in (False, True):
        scaled = errors(x, codes, how, 7, by_bits=by_bits) / np.sqrt(variance)[:, None]
        assert float((scaled**2).mean()) == pytest.approx(
            1.0, abs=6.0 * math.sqrt(2.0 / scaled.size)
        )
        counts.append(np.bincount(np.searchsorted(edges, scaled.ravel()), minlength=12))

    assert not counted_apart(*counts, degrees_min=11)
    assert error_law(how).many.any()


def test_errors_of_writing_have_the_predicted_mean_square_over_many_chips() -> None:
    """They stay in the cells, so errors of one chip come together; over 30 chips their mean square is right."""
    dice = np.random.default_rng(8)
    x, codes = whole(dice, (4, 100), 3), whole(dice, (100, 40), 4)
    how = plan(4, 3, 1, 6, CellNoise(write=0.06, read=0.03), reads=2)
    lines = lines_of(input_codes(x, 3)[0], 3)
    expected = errors_by_lines(how.noise, 1, 6, 2)
    squares = sum(4.0 ** (i + k) for i in range(4) for k in range(3))
    predicted = np.mean(
        sum(4.0 ** (i + k) * expected[lines[:, k]] for i in range(4) for k in range(3))
    )

    seen = [
        float((errors(x, codes, how, chip, by_bits=by_bits) ** 2).mean())
        for by_bits in (True, False)
        for chip in range(30)
    ]

    assert 0.1 < predicted / squares < 10.0
    for kind in (seen[:30], seen[30:]):
        standard_error = statistics.stdev(kind) / math.sqrt(30)
        assert statistics.mean(kind) == pytest.approx(float(predicted), abs=5.0 * standard_error)
        assert standard_error < 0.1 * predicted


@pytest.mark.parametrize("rate", [1e-3, 0.5, 7.0, 63.0, 65.0, 600.0])
def test_numbers_of_events_have_poissons_law(rate: float) -> None:
    size = 20_000
    seen = poisson(np.full(size, rate), 5, rows_of(0, size))
    most = int(rate + 8.0 * math.sqrt(rate)) + 3
    law = np.exp([k * math.log(rate) - rate - math.lgamma(k + 1.0) for k in range(most)])

    enough = size * law >= 10.0
    counts = np.bincount(seen, minlength=most)[:most].astype(float)
    expected = np.append(law[enough], 1.0 - law[enough].sum()) * size
    counts = np.append(counts[enough], size - counts[enough].sum())
    assert len(counts) >= 2
    assert chi_square(counts, expected) < chi_square_limit(len(counts) - 1)


@pytest.mark.parametrize("rows", [6, 128], ids=["few errors", "many errors"])
def test_the_bits_are_the_same_however_a_batch_is_cut(rows: int) -> None:
    dice = np.random.default_rng(9)
    x = dice.standard_normal((37, 128), np.float32)
    weights = dice.standard_normal((128, 201), np.float32)
    codes, unit = weight_codes(weights, np.abs(weights).max(axis=0), 20)
    how = plan(20, 20, 1, rows, CellNoise(0.04 if rows == 6 else 0.018, 0.0))
    at_once = np.zeros((37, 201), np.float32)
    multiply(x, codes, unit, how, 3, rows_of(100, 37), at_once)

    for cuts in ([1] * 37, [2, 35], [7, 11, 19]):
        first = 0
        for count in cuts:
            out = np.zeros((count, 201), np.float32)
            multiply(
                x[first : first + count], codes, unit, how, 3, rows_of(100 + first, count), out
            )
            assert np.array_equal(out, at_once[first : first + count])
            first += count
    exact = x.astype(np.float64) @ weights
    assert np.linalg.norm(at_once - exact) > 1e-6 * np.linalg.norm(exact)


def test_other_keys_and_other_rows_meet_other_errors() -> None:
    x, codes = np.ones((2, 128), np.float32), np.ones((128, 500), np.float32)
    how = plan(1, 1, 1, 8, CellNoise(0.05, 0.0))
    one, other = (errors(x, codes, how, key, by_bits=False) for key in (1, 2))

    assert not np.array_equal(one, other)
    assert not np.array_equal(one[0], one[1])


def test_the_adc_has_a_code_beyond_the_largest_sum_at_both_ends() -> None:
    assert [adc_limit(1, 1), adc_limit(8, 2)] == [2, 25]
    assert [adc_bits(1, 1), adc_bits(2, 1), adc_bits(6, 1), adc_bits(7, 1)] == [3, 3, 4, 5]


def test_sums_at_the_ends_of_the_adc_err_to_both_sides() -> None:
    """All weights and inputs at their largest: without the further code, half of the errors were cut off."""
    x, codes = np.ones((20, 120), np.float32), np.ones((120, 400), np.float32)
    seen = errors(x, codes, plan(1, 1, 1, 4, CellNoise(0.0, 0.07)), 3, by_bits=True)

    assert abs(seen.mean()) < 5.0 * seen.std() / math.sqrt(seen.size)
    assert seen.max() >= 1.0 and seen.min() <= -1.0


def test_integrated_readings_average_reading_but_not_writing() -> None:
    assert sd_of(2, CellNoise(0.03, 0.04), 1, 1) == pytest.approx(2.0 * 0.05)
    assert sd_of(2, CellNoise(0.03, 0.04), 1, 16) == pytest.approx(2.0 * math.hypot(0.03, 0.01))
    assert sd_of(2, CellNoise(0.03, 0.04), 2, 1) == pytest.approx(3.0 * 2.0 * 0.05)


@pytest.mark.parametrize("by_bits", [False, True])
def test_the_other_side_of_the_arrays_gives_the_transposed_product(by_bits: bool) -> None:
    dice = np.random.default_rng(2)
    weights = dice.standard_normal((60, 100)).astype(np.float32)
    codes, unit = weight_codes(weights, np.abs(weights).max(axis=0), 16)
    x = dice.standard_normal((3, 100)).astype(np.float32)
    out = np.zeros((3, 60))
    product = multiply_bit_by_bit if by_bits else multiply
    product(
        (x * unit).astype(np.float32), codes.T, np.ones(60), plan(16, 20), 1, rows_of(0, 3), out
    )

    assert np.abs(out - x.astype(np.float64) @ weights.T).max() < 1e-3


AWKWARD = {
    "one by one": np.full((1, 1), -0.3),
    "all equal": np.full((31, 17), 1e-3),
    "zero columns": np.outer(np.ones(13), np.arange(7) % 3 - 1.0),
    "zero": np.zeros((5, 3)),
    "subnormal": np.full((11, 4), 3e-45),
    "huge dynamic range": np.outer(np.ones(127), 10.0 ** np.arange(-38.0, 36.0, 7.0)),
}


@pytest.mark.parametrize("what", AWKWARD)
def test_awkward_weights_and_inputs_keep_their_precision(what: str) -> None:
    weights = AWKWARD[what].astype(np.float32)
    dice = np.random.default_rng(3)
    x = (dice.uniform(0.5, 1.0, (3, len(weights))) * [[1e-3], [0.0], [1.0]]).astype(np.float32)
    codes, unit = weight_codes(weights, np.abs(weights).max(axis=0), 23)
    out = np.zeros((3, weights.shape[1]))
    multiply(x, codes, unit, plan(23, 23), 1, rows_of(0, 3), out)
    exact = x.astype(np.float64) @ weights

    assert np.all(np.abs(out - exact) <= 3e-7 * np.abs(exact))


def test_a_weight_beyond_its_columns_scale_is_refused_with_its_place() -> None:
    weights = np.zeros((4, 3), np.float32)
    weights[2, 1] = -2.0
    with pytest.raises(
        ValueError, match="-2 at row 2, column 1 lies beyond the column's scale of 1"
    ):
        weight_codes(weights, np.ones(3, np.float32), 8)
    with pytest.raises(ValueError, match="row 2, column 1"):
        weight_codes(weights / 1e38, np.array([1.0, 0.0, 1.0], np.float32), 8)


def test_a_plan_is_the_same_plan_whatever_was_predicted_of_it() -> None:
    assert plan() == replace(plan(), variance=3.0)
    assert plan() != replace(plan(), noise=CellNoise(0.1, 0.0))
