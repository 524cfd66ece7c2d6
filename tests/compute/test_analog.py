from typing import Any

import numpy as np
import pytest

from compute.analog import AnalogMatrix
from compute.arguments import MatrixError
from compute.device import DeviceError
from compute.presets import PRESETS
from tests.compute.matrices import normal, relative_error


@pytest.mark.parametrize("transpose", [False, True])
def test_the_answer_is_the_product_and_says_what_it_took(transpose: bool) -> None:
    weights = normal(200, 150)
    x = normal(9, 150 if transpose else 200)
    factor = weights.T if transpose else weights
    matrix = AnalogMatrix(weights, "rram-wan2022", seed=7)

    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol=1e-2)

    certificate, report = answer.certificate, answer.report
    assert answer.value.shape == (9, factor.shape[1]) and answer.value.dtype == np.float32
    assert relative_error(answer, x, factor) <= certificate.bound <= 1e-2
    assert certificate.confidence == 1.0 - 1e-6
    assert certificate.regime in {"fast", "sliced", "integer"}
    assert certificate.analog_fraction == report.analog_macs / (9 * 200 * 150)
    assert report.analog_macs + report.digital_macs == 9 * 200 * 150
    assert certificate.energy_j > 0.0 and certificate.latency_s > 0.0 and report.reads > 0
    assert report.within


def test_a_vector_gives_a_vector() -> None:
    weights, x = normal(20, 30), normal(20)
    matrix = AnalogMatrix(weights, "ideal")

    assert matrix.matmul(x).value.shape == (30,)
    assert matrix.rmatmul(normal(30)).value.shape == (20,)
    assert np.allclose(matrix.matmul(x).value, x @ weights, atol=1e-4)


def test_an_exact_device_gives_the_product_to_float32() -> None:
    weights, x = normal(300, 70), normal(5, 300)
    matrix = AnalogMatrix(weights, "ideal")

    for rtol in (None, 1e-1, 1e-6):
        assert relative_error(matrix.matmul(x, rtol), x, weights) < 3e-7


@pytest.mark.parametrize("transpose", [False, True])
def test_blocks_are_added_up_over_the_seams_of_the_grid(transpose: bool) -> None:
    weights = normal(1100, 1030)
    x = normal(3, 1030 if transpose else 1100)
    matrix = AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=2)

    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol=2e-2)

    assert len(matrix.blocks) == 4 and matrix.shape == (1100, 1030)
    error = relative_error(answer, x, weights.T if transpose else weights)
    assert error <= answer.certificate.bound <= 2e-2
    assert matrix.nbytes == sum(block.nbytes for block in matrix.blocks.values())


def test_tighter_tolerances_take_more_energy_and_give_less_error() -> None:
    weights, x = normal(256, 128), normal(16, 256)
    matrix = AnalogMatrix(weights, "rram-wan2022", seed=3)
    answers = [matrix.matmul(x, rtol) for rtol in (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)]

    energies = [answer.certificate.energy_j for answer in answers]
    errors = [relative_error(answer, x, weights) for answer in answers]
    assert energies == sorted(energies) and errors == sorted(errors, reverse=True)


# -- what is refused ---------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_place(value: float) -> None:
    weights, x = normal(5, 4), normal(3, 5)
    weights[3, 2], x[1, 4] = value, value

    with pytest.raises(MatrixError, match=r"^W\[3, 2\] is .*: not finite$"):
        AnalogMatrix(weights)
    with pytest.raises(MatrixError, match=r"^X\[1, 4\] is .*: not finite$"):
        AnalogMatrix(normal(5, 4), "ideal").matmul(x)
    with pytest.raises(MatrixError, match=r"^X\[4\] is .*: not finite$"):
        AnalogMatrix(normal(5, 4), "ideal").matmul(x[1])


def test_values_beyond_float32_are_refused_with_their_place() -> None:
    with pytest.raises(MatrixError, match=r"^W\[0, 1\] is 1e\+39: beyond float32$"):
        AnalogMatrix(np.array([[1.0, 1e39]]))


@pytest.mark.parametrize("dtype", [np.complex64, object, "U3", "datetime64[s]"])
def test_what_is_no_real_number_is_refused(dtype: str) -> None:
    with pytest.raises(MatrixError, match="write real numbers"):
        AnalogMatrix(np.ones((2, 2)).astype("i8").astype(dtype))
    with pytest.raises(MatrixError, match="write real numbers"):
        AnalogMatrix(normal(2, 2), "ideal").matmul(np.ones((1, 2)).astype("i8").astype(dtype))


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.uint64, np.float16, np.float64])
def test_any_real_numbers_are_taken(dtype: type) -> None:
    answer = AnalogMatrix(np.eye(2, dtype=dtype), "ideal").matmul(np.eye(1, 2, dtype=dtype))

    assert answer.value.tolist() == [[1.0, 0.0]] and answer.value.dtype == np.float32


def test_lists_and_strange_strides_are_taken() -> None:
    assert AnalogMatrix([[1, 2], [3, 4]], "ideal").matmul([1, 1]).value.tolist() == [4.0, 6.0]
    weights, x = normal(60, 40), normal(60, 8)
    matrix = AnalogMatrix(np.asfortranarray(weights)[::-1, ::2], "rram-wan2022", seed=1)
    straight = AnalogMatrix(weights[::-1, ::2].copy(), "rram-wan2022", seed=1)

    assert np.array_equal(
        matrix.matmul(x.T, draw=1).value, straight.matmul(x.T.copy(), draw=1).value
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,), ()])
def test_nothing_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(MatrixError, match="W of shape .* holds nothing to multiply"):
        AnalogMatrix(np.zeros(shape))


@pytest.mark.parametrize("shape", [(3,), (2, 2, 2)])
def test_a_matrix_has_two_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(MatrixError, match="W must have two axes"):
        AnalogMatrix(np.ones(shape))


@pytest.mark.parametrize("shape", [(3, 4), (4,), (2, 2, 5), (5, 1)])
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    matrix = AnalogMatrix(normal(5, 4), "ideal")

    with pytest.raises(MatrixError, match="its last axis must be 5 long"):
        matrix.matmul(np.ones(shape))
    with pytest.raises(MatrixError, match="holds nothing"):
        matrix.matmul(np.ones((0, 5)))


@pytest.mark.parametrize("rtol", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf"), "1e-2"])
def test_a_tolerance_lies_between_nothing_and_all(rtol: Any) -> None:
    with pytest.raises(MatrixError, match="write a number between 0 and 1, or None"):
        AnalogMatrix(normal(5, 4), "ideal").matmul(normal(2, 5), rtol)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", None, True])
def test_a_seed_is_a_whole_number(seed: Any) -> None:
    with pytest.raises(MatrixError, match="write a whole number, 0 or more"):
        AnalogMatrix(normal(5, 4), "ideal", seed=seed)


@pytest.mark.parametrize("threads", [0, 2.0, None])
def test_there_is_a_thread_at_least(threads: Any) -> None:
    with pytest.raises(MatrixError, match="write a whole number, 1 or more"):
        AnalogMatrix(normal(5, 4), "ideal", threads=threads)


@pytest.mark.parametrize("replicas", [0, 17, 2.0, True])
def test_replicas_can_be_counted(replicas: Any) -> None:
    with pytest.raises(MatrixError, match="write a whole number, 1 to 16"):
        AnalogMatrix(normal(5, 4), "ideal", replicas=replicas)


@pytest.mark.parametrize("first_row", [-1, 0.5])
def test_rows_are_counted_from_nought(first_row: Any) -> None:
    with pytest.raises(MatrixError, match="^first_row is .*; write a whole number, 0 or more$"):
        AnalogMatrix(normal(5, 4), "ideal").matmul(normal(2, 5), first_row=first_row)


def test_devices_are_told_as_text_or_as_models() -> None:
    told: Any = {"base": "rram-wan2022"}
    with pytest.raises(MatrixError, match="write a preset's name, JSON text, or a DeviceModel"):
        AnalogMatrix(normal(5, 4), told)


def test_unknown_devices_are_refused_with_the_nearest() -> None:
    with pytest.raises(DeviceError, match="did you mean rram-wan2022"):
        AnalogMatrix(normal(5, 4), "rram-wan2020")


# -- replicas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", ["rram-wan2022", "pcm-joshi"])
def test_replicas_are_read_together_and_average_what_is_new_in_each(device: str) -> None:
    weights, x = normal(200, 150), normal(64, 200, seed=2)
    one, four = (AnalogMatrix(weights, device, replicas=count, seed=5) for count in (1, 4))

    alone, together = one.matmul(x, draw=1), four.matmul(x, draw=1)

    # Outliers are exact in both, and converters err alike.
    ratio = relative_error(together, x, weights) / relative_error(alone, x, weights)
    assert 0.4 < ratio < 0.65
    assert together.report.reads == 4 * alone.report.reads
    assert together.report.arrays_j == pytest.approx(4.0 * alone.report.arrays_j)
    assert together.certificate.latency_s == alone.certificate.latency_s


def test_a_tolerance_takes_fewer_readings_of_replicas() -> None:
    weights, x = normal(200, 150), normal(64, 200, seed=2)
    one, two = (
        AnalogMatrix(weights, "rram-cmo-hfox-2025", replicas=count, seed=5) for count in (1, 2)
    )

    alone, together = one.matmul(x, rtol=0.1), two.matmul(x, rtol=0.1)

    assert alone.certificate.regime == "fast" and together.certificate.regime == "sliced"
    assert together.certificate.latency_s < alone.certificate.latency_s
    assert relative_error(together, x, weights) <= together.certificate.bound <= 0.1


# -- room --------------------------------------------------------------------------------------------


def test_where_there_is_no_room_for_more_arrays_the_tolerance_is_met_in_another_way() -> None:
    weights, x = normal(256, 256), normal(64, 256)
    asked: list[int] = []
    device = PRESETS["rram-wan2022"]

    def refuse(nbytes: int) -> bool:
        asked.append(nbytes)
        return False

    free, full = (
        AnalogMatrix(weights, device, seed=3),
        AnalogMatrix(weights, device, seed=3, room=refuse),
    )
    before = full.nbytes
    more, less = free.matmul(x, 1e-1), full.matmul(x, 1e-1)

    assert asked and min(asked) > 0
    assert full.nbytes == before < free.nbytes <= before + asked[0]
    assert more.certificate.regime == "sliced"
    assert "sliced" not in less.certificate.regime
    for answer in (more, less):
        assert relative_error(answer, x, weights) <= answer.certificate.bound <= 1e-1


def test_no_room_is_asked_for_where_nothing_more_is_needed() -> None:
    def never(nbytes: int) -> bool:
        raise AssertionError(f"{nbytes} bytes were asked for")

    matrix = AnalogMatrix(normal(100, 100), "rram-cmo-hfox-2025", room=never)

    assert matrix.matmul(normal(4, 100)).certificate.regime == "fast"
    assert matrix.matmul(normal(4, 100), 1e-1).report.within
