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
noises = st.builds(
    lambda single, dither: ReadNoise(single, single * dither), variances, st.floats(1.0, 2.0)
)


@given(st.lists(noises, min_size=1, max_size=4), st.floats(0.0, 1e6), variances)
def test_planned_readings_keep_what_is_allowed(
    parts: list[ReadNoise], fixed: float, allowed: float
) -> None:
    reads = reads_for(parts, fixed, allowed)

    if reads is not None:
        assert variance_after(parts, fixed, reads) <= allowed * (1 + 1e-9)
    else:
        most = [READS_MAX] * len(parts)
        assert variance_after(parts, fixed, most) > allowed / len(parts) * (1 - 1e-9)


@given(st.lists(noises, min_size=2, max_size=2), variances)
def test_no_pair_of_numbers_with_fewer_readings_would_do(
    parts: list[ReadNoise], allowed: float
) -> None:
    reads = reads_for(parts, 0.0, allowed)

    if reads is not None and sum(reads) <= 200:
        # Rounding each number up may cost one reading a layer, and the second reading brings its dither.
        for first in range(1, sum(reads) - 4):
            fewer = (first, sum(reads) - 4 - first)
            assert variance_after(parts, 0.0, fewer) > allowed * (1 - 1e-9)


def test_more_readings_than_the_limit_are_not_made() -> None:
    once = [ReadNoise(1.0, 1.0)]

    assert reads_for(once, fixed=0.0, allowed=1 / READS_MAX) == (READS_MAX,)
    assert reads_for(once, fixed=0.0, allowed=1 / (READS_MAX + 1)) is None


def test_a_fine_layer_is_read_once_while_the_coarse_one_is_averaged() -> None:
    coarse, fine = ReadNoise(1.0, 1.0), ReadNoise(1e-5, 1e-5)

    assert reads_for([coarse, fine], fixed=0.0, allowed=0.01) == (101, 1)


def test_what_averaging_cannot_touch_is_not_averaged() -> None:
    assert reads_for([ReadNoise(1.0, 1.0)], fixed=0.5, allowed=0.5) is None
    assert reads_for([ReadNoise(1.0, 1.0)], fixed=0.5, allowed=0.75) == (4,)


def test_a_device_without_noise_is_read_once() -> None:
    assert reads_for([ReadNoise(0.0, 0.0)] * 2, fixed=0.0, allowed=0.0) == (1, 1)


def test_an_overflowing_variance_cannot_be_read_away() -> None:
    infinite, nothing = float("inf"), float("nan")

    assert reads_for([ReadNoise(infinite, infinite)], infinite, 1.0) is None
    assert reads_for([ReadNoise(nothing, nothing)], 0.0, 1.0) is None


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
