"""Which noise an answer has: that of its seed and its draw, whatever the threads and the cuts of X."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from compute.analog import AnalogMatrix
from compute.partition import spans
from tests.compute.matrices import normal


@pytest.fixture(scope="module")
def four_blocks() -> dict[int, AnalogMatrix]:
    """The same arrays, worked by so many threads."""
    weights = normal(1060, 1100)
    return {
        threads: AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=9, threads=threads)
        for threads in (1, 2, 4)
    }


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rtol", [None, 1e-1, 1e-3])
def test_one_seed_gives_the_same_bits_on_any_number_of_threads(
    four_blocks: dict[int, AnalogMatrix], rtol: float | None, transpose: bool
) -> None:
    x = normal(5, 1100 if transpose else 1060)
    bits = set()
    for matrix in four_blocks.values():
        multiply = matrix.rmatmul if transpose else matrix.matmul
        bits.add(multiply(x, rtol, draw=4).value.tobytes())

    assert len(bits) == 1


@pytest.mark.parametrize("device", ["rram-wan2022", "rram-cmo-hfox-2025", "pcm-joshi"])
@pytest.mark.parametrize("transpose", [False, True])
def test_a_raw_product_has_the_same_bits_however_its_rows_are_cut(
    device: str, transpose: bool
) -> None:
    matrix = AnalogMatrix(normal(300, 270), device, seed=9)
    multiply = matrix.rmatmul if transpose else matrix.matmul
    x = normal(100, 270 if transpose else 300)
    whole = multiply(x, draw=4).value

    for side in (1, 3, 7, 64, 99):
        parts = [
            multiply(x[start:stop], draw=4, first_row=start).value
            for start, stop in spans(100, side)
        ]
        assert np.array_equal(np.concatenate(parts), whole)
    assert not np.array_equal(multiply(x[3:], draw=4).value, whole[3:])


@pytest.mark.parametrize("rtol", [None, 1e-1, 1e-2])
def test_a_draw_repeats_the_noise_and_no_draw_is_new_noise(rtol: float | None) -> None:
    matrix = AnalogMatrix(normal(200, 100), "rram-wan2022", seed=1)
    x = normal(3, 200)
    first = matrix.matmul(x, rtol)
    other = matrix.matmul(x, rtol)

    again = matrix.matmul(x, rtol, draw=first.report.draw)
    assert not np.array_equal(first.value, other.value)
    assert np.array_equal(first.value, again.value) and first.certificate == again.certificate


def test_the_seed_makes_the_cells() -> None:
    weights, x = normal(200, 100), normal(3, 200)
    bits = [
        AnalogMatrix(weights, "rram-milo2021", seed=seed).matmul(x).value.tobytes()
        for seed in (1, 1, 2)
    ]

    assert bits[0] == bits[1] != bits[2]


def test_several_threads_may_multiply_at_once() -> None:
    weights, x = normal(300, 200), normal(6, 300)

    def bits(matrix: AnalogMatrix, draw: int) -> bytes:
        return matrix.matmul(x, (None, 1e-1, 1e-2)[draw % 3], draw=draw).value.tobytes()

    shared = AnalogMatrix(weights, "rram-wan2022", seed=1)
    for draw in range(12):  # program what these draws ask for: other arrays have other noise
        bits(shared, draw)
    alone = [bits(shared, draw) for draw in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda draw: bits(shared, draw), range(12))) == alone


def test_draws_that_nobody_named_differ_on_several_threads() -> None:
    matrix = AnalogMatrix(normal(20, 20), "rram-wan2022")
    x = normal(1, 20)

    with ThreadPoolExecutor(4) as pool:
        draws = list(pool.map(lambda _: matrix.matmul(x).report.draw, range(40)))

    assert sorted(draws) == list(range(1, 41))


def test_neither_weights_nor_inputs_are_changed() -> None:
    weights, x = normal(200, 100), normal(3, 200)
    before = weights.copy(), x.copy()

    AnalogMatrix(weights, "rram-wan2022").matmul(x, 1e-2)

    assert np.array_equal(weights, before[0]) and np.array_equal(x, before[1])


def test_weights_may_be_changed_by_their_owner_afterwards() -> None:
    weights, x = normal(50, 40), normal(3, 50)
    matrix = AnalogMatrix(weights, "rram-wan2022")
    exact = x @ weights
    weights[:] = 0.0

    assert np.allclose(matrix.matmul(x, 1e-6).value, exact, atol=1e-3)
