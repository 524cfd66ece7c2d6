import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.device import DeviceModel, ReadNoise
from compute.mapping import column_scale
from compute.outliers import WORK_BYTES_MAX, Mask, Outliers, largest
from compute.partition import Matrix
from tests.compute.matrices import normal

seeds = st.integers(0, 2**32 - 1)
shares = st.sampled_from([0.0, 0.01, 0.05, 0.3, 1.0])
sides = st.integers(1, 150)


def sprinkled(*shape: int, share: float, seed: int = 1) -> Mask:
    chosen: Mask = np.random.default_rng(seed).random(shape) < share
    return chosen


def product(outliers: Outliers, x: Matrix, transpose: bool) -> Matrix:
    out = np.zeros((len(x), outliers.shape[0 if transpose else 1]), np.float32)
    outliers.add_product(x, out, transpose)
    return out


def one_after_the_other(entries: Iterator[np.float32]) -> np.float32:
    total = np.float32(0.0)
    for entry in entries:
        total += entry
    return total


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=sides, columns=sides, share=shares)
def test_each_entry_stands_where_it_was(seed: int, rows: int, columns: int, share: float) -> None:
    values, mask = normal(rows, columns, seed=seed), sprinkled(rows, columns, share=share)
    outliers = Outliers.of(mask, values)
    kept = np.where(mask, values, np.float32(0.0))

    assert outliers.count == mask.sum()
    assert outliers.share == mask.mean()
    assert np.array_equal(product(outliers, np.eye(rows, dtype=np.float32), False), kept)
    assert np.array_equal(product(outliers, np.eye(columns, dtype=np.float32), True), kept.T)


def test_clipped_weights_and_their_outliers_are_the_weights() -> None:
    weights = normal(300, 200) ** 3
    mask = np.abs(weights) > column_scale(
        weights, DeviceModel(name="noisy", reading=ReadNoise(constant=0.01))
    )
    rest = np.where(mask, np.float32(0.0), weights)
    outliers = product(Outliers.of(mask, weights), np.eye(300, dtype=np.float32), False)

    assert mask.mean() > 0.005
    assert np.array_equal(rest + outliers, weights)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=sides, columns=sides, share=shares, transpose=st.booleans())
def test_a_product_is_added_to_what_is_there(
    seed: int, rows: int, columns: int, share: float, transpose: bool
) -> None:
    values, mask = normal(rows, columns, seed=seed), sprinkled(rows, columns, share=share)
    kept = np.where(mask, values, 0.0).astype(np.float64)
    kept = kept.T if transpose else kept
    x, out = normal(7, len(kept), seed=2), normal(7, kept.shape[1], seed=3)
    right = out + x @ kept

    Outliers.of(mask, values).add_product(x, out, transpose)

    assert out == pytest.approx(right, abs=1e-4)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(1024, 1024), (1024, 3), (3, 1024), (257, 131)])
def test_the_bits_of_a_row_do_not_depend_on_the_batch(
    shape: tuple[int, int], transpose: bool
) -> None:
    outliers = Outliers.of(sprinkled(*shape, share=0.03), normal(*shape))
    x = normal(130, shape[1 if transpose else 0], seed=2)
    whole = product(outliers, x, transpose)

    for side in (1, 2, 3, 7, 64):
        cut = [product(outliers, x[at : at + side], transpose) for at in range(0, 21, side)]
        assert np.array_equal(np.concatenate(cut)[:21], whole[:21])


def test_sums_run_in_the_order_of_the_entries_in_runs_of_32() -> None:
    """The order is part of what a product means: any other kernel has to give the same bits."""
    column, x = normal(100, 1), normal(1, 100, seed=2)
    terms = column[:, 0] * x[0]
    runs = [one_after_the_other(iter(terms[at : at + 32])) for at in range(0, 100, 32)]

    outliers = Outliers.of(np.ones((100, 1), np.bool_), column)

    assert product(outliers, x, False)[0, 0] == one_after_the_other(iter(runs))


def test_runs_of_runs_are_summed_too() -> None:
    """A row of 1,024 has 32 runs, the most of a block: still one fold, whose sum is exact here."""
    counting = np.arange(1024, dtype=np.float32)[None]
    outliers = Outliers.of(np.ones((1, 1024), np.bool_), counting)

    assert product(outliers, np.ones((2, 1024), np.float32), True).tolist() == [[523776.0]] * 2


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("share", [0.05, 0.3])
def test_work_memory_is_bounded(share: float, transpose: bool) -> None:
    outliers = Outliers.of(sprinkled(1024, 1024, share=share), normal(1024, 1024))
    x, out = normal(64, 1024), np.zeros((64, 1024), np.float32)
    tracemalloc.start()
    outliers.add_product(x, out, transpose)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert peak <= WORK_BYTES_MAX


def test_an_entry_takes_about_12_bytes() -> None:
    outliers = Outliers.of(sprinkled(1024, 1024, share=0.03), normal(1024, 1024))
    diagonals = (outliers.forward, outliers.backward)
    arrays = [
        part
        for one in (*diagonals, *(each.fold for each in diagonals if each.fold))
        for part in (one.outputs, one.bounds, one.inputs, one.values)
    ]

    assert outliers.nbytes == sum(part.nbytes for part in arrays)
    assert 12.0 < outliers.nbytes / outliers.count < 13.0


# Choice


def test_the_largest_errors_are_chosen() -> None:
    error = np.array([[0.1, -5.0, 2.0], [3.0, 0.0, -2.0]], np.float32)

    assert largest(error, 1.5, 9).tolist() == [[False, True, True], [True, False, True]]
    assert largest(error, 1.5, 2).tolist() == [[False, True, False], [True, False, False]]
    assert largest(error, 1.5, 3).tolist() == [[False, True, True], [True, False, False]]
    assert not largest(error, 1.5, 0).any()
    assert not largest(error, 5.0, 9).any()


def test_a_threshold_may_differ_from_column_to_column() -> None:
    error = np.array([[1.0, 1.0], [3.0, 3.0]], np.float32)
    thresholds = np.array([2.0, 0.5], np.float32)

    assert largest(error, thresholds, 9).tolist() == [[False, True], [True, True]]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, rows=sides, columns=sides, count_max=st.integers(0, 300))
def test_nothing_left_out_is_larger_than_what_was_chosen(
    seed: int, rows: int, columns: int, count_max: int
) -> None:
    error = np.rint(normal(rows, columns, seed=seed) * 4)
    mask = largest(error, 3.0, count_max)
    chosen, rest = np.abs(error[mask]), np.abs(error[~mask])

    assert len(chosen) == min(count_max, int((np.abs(error) > 3.0).sum()))
    assert chosen.min(initial=np.inf) > 3.0
    assert len(chosen) < count_max or chosen.min(initial=np.inf) >= rest.max(initial=0.0)
