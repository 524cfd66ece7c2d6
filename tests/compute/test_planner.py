import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.planner import (
    READS_MAX,
    ReadNoise,
    VarianceBudget,
    reads_for,
    slices_for,
    variance_after,
)

variances = st.floats(1e-12, 1e12)


@given(variances, st.floats(1.0, 2.0), st.floats(0.0, 1e6), variances)
def test_planned_readings_keep_what_is_allowed_and_one_less_would_not(
    single: float, dither: float, fixed: float, allowed: float
) -> None:
    noise = ReadNoise(single, single * dither, fixed)
    reads = reads_for(noise, allowed)

    if reads is None:
        assert variance_after(noise, READS_MAX) > allowed * (1 - 1e-9)
    else:
        assert variance_after(noise, reads) <= allowed * (1 + 1e-9)
        assert reads <= 2 or variance_after(noise, reads - 1) > allowed * (1 - 1e-9)


def test_more_readings_than_the_limit_means_digital() -> None:
    assert reads_for(ReadNoise(1.0, 1.0, 0.0), allowed=1 / 1024) == READS_MAX
    assert reads_for(ReadNoise(1.0, 1.0, 0.0), allowed=1 / 1025) is None


def test_what_averaging_cannot_touch_is_not_averaged() -> None:
    assert reads_for(ReadNoise(1.0, 1.0, fixed=0.5), allowed=0.5) is None
    assert reads_for(ReadNoise(1.0, 1.0, fixed=0.5), allowed=0.75) == 4


def test_a_device_without_noise_is_read_once() -> None:
    assert reads_for(ReadNoise(0.0, 0.0, 0.0), allowed=0.0) == 1


def test_an_overflowing_variance_means_digital() -> None:
    infinite, nothing = float("inf"), float("nan")

    assert reads_for(ReadNoise(infinite, infinite, infinite), 1.0) is None
    assert reads_for(ReadNoise(nothing, nothing, nothing), 1.0) is None


def test_a_second_slice_is_driven_only_where_it_counts() -> None:
    assert slices_for(rest_variance=1.0, allowed=None) == 1
    assert slices_for(rest_variance=1.0, allowed=10.0) == 2
    assert slices_for(rest_variance=1.0, allowed=16.0) == 1


def test_what_one_row_leaves_the_next_may_spend() -> None:
    budget = VarianceBudget(variance=1.0, energy=4.0)

    assert budget.allowance(1.0) == 0.25
    budget.spend(energy=1.0, variance=0.1)
    assert budget.allowance(1.5) == pytest.approx(0.45)
    budget.spend(energy=1.5, variance=0.4)
    assert budget.allowance(1.5) == pytest.approx(0.5)
