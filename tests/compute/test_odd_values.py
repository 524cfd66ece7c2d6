"""Values that no sensible matrix has keep their tolerance, or are refused with a reason."""

from collections.abc import Callable

import numpy as np
import pytest

from compute.analog import AnalogMatrix
from compute.arguments import MatrixError
from compute.partition import Matrix
from tests.compute.matrices import normal, relative_error


def zero_columns(weights: Matrix) -> Matrix:
    weights[:, ::2] = 0.0
    return weights


def one_weight(weights: Matrix) -> Matrix:
    weights[:] = 0.0
    weights[17, 5] = -3.0
    return weights


def one_outlier(weights: Matrix) -> Matrix:
    weights[17, 5] = 1e6
    return weights


def fourteen_decades(weights: Matrix) -> Matrix:
    return weights * np.logspace(-7, 7, weights.shape[1]).astype(np.float32)


def rows_of_fourteen_decades(weights: Matrix) -> Matrix:
    return weights * np.logspace(-7, 7, len(weights)).astype(np.float32)[:, None]


ODD: list[Callable[[Matrix], Matrix]] = [
    np.zeros_like,
    np.ones_like,
    zero_columns,
    one_weight,
    one_outlier,
    fourteen_decades,
    rows_of_fourteen_decades,
]


@pytest.mark.parametrize("device", ["rram-wan2022", "pcm-joshi", "rram-isaac"])
@pytest.mark.parametrize("made", ODD)
def test_odd_weights_keep_their_tolerance(made: Callable[[Matrix], Matrix], device: str) -> None:
    weights = made(normal(140, 60))
    matrix = AnalogMatrix(weights, device, seed=2)
    for rtol in (1e-1, 1e-2, 1e-4):
        forth, back = matrix.matmul(normal(4, 140), rtol), matrix.rmatmul(normal(4, 60), rtol)

        assert relative_error(forth, normal(4, 140), weights) <= forth.certificate.bound <= rtol
        assert relative_error(back, normal(4, 60), weights.T) <= back.certificate.bound <= rtol


@pytest.mark.parametrize("made", ODD)
def test_odd_inputs_keep_their_tolerance(made: Callable[[Matrix], Matrix]) -> None:
    weights, x = normal(60, 80), made(normal(20, 60))
    matrix = AnalogMatrix(weights, "rram-wan2022", seed=2)

    for rtol in (1e-1, 1e-2, 1e-4):
        answer = matrix.matmul(x, rtol)
        assert relative_error(answer, x, weights) <= answer.certificate.bound <= rtol


@pytest.mark.parametrize("exponent", [-110, 30, 120])
@pytest.mark.parametrize("transpose", [False, True])
def test_the_size_of_numbers_changes_neither_answer_nor_certificate(
    exponent: int, transpose: bool
) -> None:
    """Powers of two change no digit where float32 holds all of them."""
    weights, x = normal(60, 50), normal(4, 50 if transpose else 60)
    size = np.float32(2.0**exponent)
    for rtol in (None, 1e-1, 1e-3):
        answers = []
        for w, inputs in ((weights, x), (weights * size, x), (weights, x * size)):
            matrix = AnalogMatrix(w, "rram-wan2022", seed=2)
            answers.append((matrix.rmatmul if transpose else matrix.matmul)(inputs, rtol))
        plain = answers[0]
        for answer in answers[1:]:
            assert np.array_equal(answer.value, plain.value * size)
            assert answer.certificate.bound == pytest.approx(plain.certificate.bound, rel=1e-6)
            assert answer.certificate.regime == plain.certificate.regime
            assert answer.report.within


def test_subnormal_numbers_are_multiplied_as_well_as_float32_holds_them() -> None:
    weights, x = normal(60, 50) * np.float32(2.0**-133), normal(4, 60)

    for rtol in (1e-1, 1e-2):
        answer = AnalogMatrix(weights, "rram-wan2022", seed=2).matmul(x, rtol)
        assert relative_error(answer, x, weights) <= answer.certificate.bound <= rtol


@pytest.mark.parametrize("rtol", [None, 1e-1, 1e-5])
def test_products_beyond_float32_are_refused(rtol: float | None) -> None:
    weights, x = normal(60, 50) * np.float32(1e20), normal(4, 60) * np.float32(1e20)

    with pytest.raises(MatrixError, match="the product goes beyond float32; scale X or W down"):
        AnalogMatrix(weights, "rram-wan2022").matmul(x, rtol)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (127, 129), (2, 3)])
@pytest.mark.parametrize("device", ["rram-wan2022", "rram-harsh", "rram-neurosim"])
def test_matrices_smaller_than_a_tile_are_multiplied(shape: tuple[int, int], device: str) -> None:
    weights, x = normal(*shape), normal(2, shape[0])
    matrix = AnalogMatrix(weights, device, seed=1)

    for rtol in (1e-1, 1e-3):
        answer = matrix.matmul(x, rtol)
        assert relative_error(answer, x, weights) <= answer.certificate.bound <= rtol


@pytest.mark.parametrize("device", ["rram-wan2022", "rram-harsh"])
def test_a_tolerance_that_nothing_reaches_is_answered_digitally_and_said_so(device: str) -> None:
    weights, x = normal(60, 50), normal(3, 60)

    answer = AnalogMatrix(weights, device).matmul(x, rtol=1e-9)

    assert answer.certificate.regime == "digital" and answer.certificate.analog_fraction == 0.0
    assert not answer.report.within
    assert relative_error(answer, x, weights) <= answer.certificate.bound < 1e-6
