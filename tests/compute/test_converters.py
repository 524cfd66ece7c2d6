import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compute.chance import normal_table
from compute.converters import (
    CALIBRATION_READS,
    HARMONIC_FREE_LSB,
    TAIL_SIGMA,
    AdcErrors,
    adc_errors,
    adc_steps,
    drive,
    gain_doubt,
    mean_of_conversions,
    offset_doubt,
    power_of_two_above,
    ranging,
    round_codes,
)
from compute.device import Converters
from compute.partition import Matrix

EIGHT = Converters(dac_bits=8, adc_bits=8)

rows_of_x = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=3, max_side=9),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(rows_of_x)
def test_codes_and_rest_make_up_the_input(x: Matrix) -> None:
    driven = drive(x, EIGHT)

    assert np.abs(driven.codes).max() <= 127
    assert np.array_equal(driven.codes, np.rint(driven.codes))
    largest = np.abs(x).max(axis=-1, keepdims=True)
    rest = driven.rest_of(x)
    assert (np.abs(rest) <= largest / 127 * 0.5001 + 1.2e-38).all()
    assert np.allclose(driven.codes * driven.step + rest, x, rtol=1e-6, atol=1e-36)


def test_two_slices_leave_one_part_in_thirty_thousand() -> None:
    x = np.random.default_rng(1).standard_normal((8, 128), np.float32)
    rest = drive(x, EIGHT).rest_of(x)
    finest = drive(rest, EIGHT).rest_of(rest)

    largest = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(finest) <= largest / 30_000).all()


def test_a_silent_row_stays_silent() -> None:
    x = np.array([[0.0, 0.0], [0.0, 1e-30]], np.float32)
    driven = drive(x, EIGHT)

    assert driven.peak.ravel().tolist() == pytest.approx([0.0, 1e-30])
    assert driven.codes.tolist() == [[0.0, 0.0], [0.0, 127.0]]


def test_without_converters_the_input_passes() -> None:
    x = np.array([[0.3, -2.0]], np.float32)
    driven = drive(x, Converters())

    assert np.array_equal(driven.codes, x) and (driven.step == 1.0).all()


def test_without_a_dac_alone_the_input_passes_in_units_of_a_power_of_two() -> None:
    x = np.array([[0.3, -2.1], [1e-5, 0.0]], np.float32)
    driven = drive(x, Converters(adc_bits=8))

    assert driven.step.ravel().tolist() == [2.0**-5, 2.0**-23]
    assert np.array_equal(driven.codes * driven.step, x)
    assert np.abs(driven.codes).max() <= 128


@given(hnp.arrays(np.float32, (4,), elements=st.floats(2.0**-120, 2.0**120, width=32)))
def test_the_next_power_of_two_is_not_below_and_less_than_twice_as_large(value: Matrix) -> None:
    above = power_of_two_above(value.copy())

    assert (np.frexp(above)[0] == 0.5).all()
    assert (value <= above).all() and (above < 2 * value).all()


def test_the_range_is_the_narrowest_power_of_two_at_which_the_peak_fits() -> None:
    """All codes at 127 into 128 full conductances just fit at a step of 128."""
    adc = ranging(EIGHT, averaged=False)
    assert adc is not None and adc.step_max == 128.0 and adc.usable == 127.0

    peak = np.array([127.0 * 128, 127.0 * 64, 127.0 * 64.01, 127.0, 1e-9, 0.0], np.float32)

    assert adc_steps(peak, adc).tolist() == [128.0, 64.0, 128.0, 1.0, 2.0**-5, 2.0**-5]


@given(st.integers(2, 16), st.integers(2, 16) | st.none())
def test_every_current_fits_at_the_least_gain(adc_bits: int, dac_bits: int | None) -> None:
    adc = ranging(Converters(adc_bits=adc_bits, dac_bits=dac_bits), averaged=False)
    codes = 128 if dac_bits is None else 2 ** (dac_bits - 1) - 1

    assert adc is not None
    assert codes * 128 <= adc.levels * adc.step_max < 2 * codes * 128
    assert math.log2(adc.step_max).is_integer()


def test_noise_alone_never_leaves_the_range() -> None:
    assert normal_table().max() < TAIL_SIGMA


def test_the_adc_rounds_and_clips() -> None:
    current = np.array([[0.4, -0.6, 200.0, -200.0]], np.float32)
    round_codes(current, 127.0)

    assert current.tolist() == [[0.0, -1.0, 127.0, -127.0]]


# -- calibration -----------------------------------------------------------------------------------

CROOKED = Converters(dac_bits=8, adc_bits=8, adc_offset_sigma=1.5, adc_gain_sigma=0.02)


def crooked(tile_rows: int = 40, tiles: int = 8) -> AdcErrors:
    errors = adc_errors(CROOKED, 1, tile_rows, tiles)
    assert errors is not None
    return errors


def test_offsets_and_gains_are_spread_as_the_device_says_and_known_as_the_calibration_says() -> (
    None
):
    """40,960 ADCs each; five standard errors of a standard deviation are 1.8 %."""
    errors = crooked()
    gain_error = errors.gain - 1.0 / errors.correction.astype(np.float64)

    assert errors.offset.std() == pytest.approx(1.5, rel=0.018)
    assert errors.gain.std() == pytest.approx(0.02, rel=0.018)
    assert (errors.offset - errors.offset_seen).std() == pytest.approx(offset_doubt(), rel=0.018)
    assert gain_error.std() == pytest.approx(gain_doubt(8), rel=0.018)


def test_the_calibration_is_as_exact_as_its_conversions_make_it() -> None:
    """2,000 calibrations that really convert a dithered voltage at both ends of the range."""
    dice = np.random.default_rng(4)
    gain, offset, reach = 1.013, 0.77, 0.9 * 127
    means = [
        np.rint(
            gain * (side + 0.5 * dice.standard_normal((2000, CALIBRATION_READS))) + offset
        ).mean(1)
        for side in (reach, -reach)
    ]

    offsets, gains = (means[0] + means[1]) / 2, (means[0] - means[1]) / (2 * reach)

    assert offsets.std() == pytest.approx(offset_doubt(), rel=0.09)
    assert gains.std() == pytest.approx(gain_doubt(8), rel=0.09)
    assert offsets.mean() == pytest.approx(offset, abs=0.01)
    assert gains.mean() == pytest.approx(gain, abs=1e-4)


def test_corrected_codes_are_off_by_rounding_and_by_what_calibration_does_not_know() -> None:
    errors = crooked()
    current = np.random.default_rng(2).uniform(-100, 100, (40, 3, 8, 128)).astype(np.float32)
    codes = current.copy()

    errors.distort(codes, slice(0, 40))
    raw = codes - current
    round_codes(codes, 127.0)
    errors.correct(codes, slice(0, 40))

    assert raw.std() > 1.5
    known = offset_doubt() ** 2 + (100**2 / 3) * gain_doubt(8) ** 2
    assert (codes - current).std() == pytest.approx(math.sqrt(1 / 12 + known), rel=0.01)


def test_the_same_arrays_have_the_same_adcs_and_others_have_others() -> None:
    again, other = adc_errors(CROOKED, 1, 40, 8), adc_errors(CROOKED, 2, 40, 8)

    assert again is not None and other is not None
    assert np.array_equal(again.offset_seen, crooked().offset_seen)
    assert abs(np.corrcoef(other.offset.ravel(), again.offset.ravel())[0, 1]) < 5 / 200


def test_adcs_without_errors_need_no_calibration() -> None:
    assert adc_errors(EIGHT, 1, 2, 2) is None
    assert adc_errors(Converters(), 1, 2, 2) is None


# -- averaging -------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.5])
def test_the_mean_of_many_conversions_has_the_law_of_doing_them_one_by_one(sigma: float) -> None:
    reads, trials = 16, 4000
    dice = np.random.default_rng(11)
    current = np.linspace(-3.0, 3.0, 25, dtype=np.float32)[None, :].repeat(trials, axis=0)
    total = np.zeros_like(current)
    for _ in range(reads):
        noisy = current + np.float32(sigma) * dice.standard_normal(current.shape, np.float32)
        round_codes(noisy, 127.0)
        total += noisy
    singly = total / reads
    normal = dice.standard_normal(current.shape, np.float32)
    spread = np.full((1, 1), sigma, np.float32)

    at_once = mean_of_conversions(current, spread, reads, normal, 127.0)

    doubt = 5 * np.sqrt(2 / trials) * singly.std(axis=0).max()
    assert singly.mean(axis=0) == pytest.approx(at_once.mean(axis=0), abs=doubt)
    assert singly.std(axis=0) == pytest.approx(at_once.std(axis=0), rel=0.07)


def test_the_mean_is_biased_by_the_first_harmonic_only() -> None:
    """Mean and variance of rint(v + sigma z) at sigma 0.5, against the probability of each code."""
    values = np.linspace(-0.5, 0.5, 41)
    codes = np.arange(-8, 9)
    edges = np.arange(-8.5, 9.0)
    below = np.array(
        [[math.erf((edge - v) / 0.5 / math.sqrt(2)) for edge in edges] for v in values]
    )
    chance = np.diff(below, axis=1) / 2
    exact, square = chance @ codes, chance @ codes**2
    zeros = np.zeros((1, 41), np.float32)
    half = np.full((1, 1), 0.5, np.float32)
    current = values.astype(np.float32)[None, :]

    mean = mean_of_conversions(current, half, 1, zeros.copy(), None)
    upper = mean_of_conversions(current, half, 1, zeros + 1, None)

    assert mean[0] == pytest.approx(exact, abs=2e-6)
    assert ((upper - mean) ** 2)[0] == pytest.approx(square - exact**2, abs=2e-6)


def test_where_the_harmonic_is_left_out_it_would_not_be_seen() -> None:
    current = np.linspace(-0.5, 0.5, 41, dtype=np.float32)[None, :]
    zeros, ones = np.zeros((1, 41), np.float32), np.ones((1, 41), np.float32)
    loud = np.full((1, 1), HARMONIC_FREE_LSB, np.float32)
    less = np.nextafter(loud, np.float32(0.0))

    for normal in (zeros, ones):
        without = mean_of_conversions(current, loud, 1, normal.copy(), None)
        with_it = mean_of_conversions(current, less, 1, normal.copy(), None)
        assert without == pytest.approx(with_it, abs=5e-5)
    mean = mean_of_conversions(current, less, 1, zeros.copy(), None)
    assert 1e-6 < np.abs(mean - current).max() < 6e-6
