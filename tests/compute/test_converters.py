import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from compute.converters import adc_steps, convert, drive, mean_of_conversions
from compute.partition import Matrix

rows_of_x = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(-(2.0**100), 2.0**100, width=32),
)


@given(rows_of_x)
def test_codes_and_rest_make_up_the_input(x: Matrix) -> None:
    driven = drive(x, bits=8)

    assert np.abs(driven.codes).max() <= 127
    assert np.array_equal(driven.codes, np.rint(driven.codes))
    largest = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(driven.rest) <= largest / 127 * 0.5001 + 127 * 1.2e-38).all()
    assert np.allclose(driven.codes * driven.step + driven.rest, x, rtol=1e-6, atol=1e-36)


def test_two_slices_leave_one_part_in_thirty_thousand() -> None:
    x = np.random.default_rng(1).standard_normal((8, 128), np.float32)
    fine = drive(drive(x, 8).rest, 8)

    largest = np.abs(x).max(axis=1, keepdims=True)
    assert (np.abs(fine.rest) <= largest / 30_000).all()


def test_a_silent_row_stays_silent() -> None:
    driven = drive(np.zeros((2, 4), np.float32), bits=8)

    assert not driven.codes.any() and not driven.step.any() and not driven.rest.any()


def test_without_a_dac_the_input_passes() -> None:
    x = np.array([[0.3, -2.0]], np.float32)

    assert np.array_equal(drive(x, None).codes, x)


def test_the_gain_is_the_largest_power_of_two_at_which_the_peak_fits() -> None:
    peak = np.array([[100.0, 51.0, 49.0, 1e-9, 0.0]], np.float32)

    steps = adc_steps(peak, full_scale=100.0, bits=8, gain_max=4)

    assert steps * 127 == pytest.approx(np.array([[100.0, 100.0, 50.0, 6.25, 6.25]]))
    assert steps.dtype == np.float32


def test_the_adc_rounds_and_clips() -> None:
    current = np.array([[0.4, -0.6, 200.0, -200.0]], np.float32)

    assert convert(current, bits=8).tolist() == [[0.0, -1.0, 127.0, -127.0]]


@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.5])
def test_the_mean_of_many_conversions_has_the_law_of_doing_them_one_by_one(sigma: float) -> None:
    reads, trials = 16, 4000
    dice = np.random.default_rng(11)
    current = np.linspace(-3.0, 3.0, 25, dtype=np.float32)[None, :].repeat(trials, axis=0)
    total = np.zeros_like(current)
    for _ in range(reads):
        noisy = current + np.float32(sigma) * dice.standard_normal(current.shape, np.float32)
        total += convert(noisy, 8)
    singly = total / reads
    normal = dice.standard_normal(current.shape, np.float32)
    spread = np.full((1, 1), sigma, np.float32)

    at_once = mean_of_conversions(current, spread, reads, normal, 8)

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

    mean = mean_of_conversions(current, half, 1, zeros, 8)
    upper = mean_of_conversions(current, half, 1, zeros + 1, 8)

    assert mean[0] == pytest.approx(exact, abs=2e-6)
    assert ((upper - mean) ** 2)[0] == pytest.approx(square - exact**2, abs=2e-6)
