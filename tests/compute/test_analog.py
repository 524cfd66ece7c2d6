from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from compute.analog import AnalogMatrix, MatrixError
from compute.answer import AnalogResult
from compute.device import DeviceError
from compute.partition import Matrix, spans
from compute.presets import PRESETS

QUIET = (
    '{"base": "rram-cmo-hfox-2025", "reading": {"constant": 0.0},'
    ' "converters": {"dac_bits": null, "adc_bits": null}}'
)
"""Nothing but what writing and time do."""


def normal(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def relative_error(answer: AnalogResult, x: Matrix, weights: Matrix) -> float:
    exact = np.atleast_2d(x).astype(np.float64) @ weights.astype(np.float64)
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(np.atleast_2d(answer.value) - exact))
    return error / size if size else error


# -- what an answer is ---------------------------------------------------------------------------


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


# -- chance --------------------------------------------------------------------------------------


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
    bits = [AnalogMatrix(weights, QUIET, seed=seed).matmul(x).value.tobytes() for seed in (1, 1, 2)]

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


# -- odd values ----------------------------------------------------------------------------------


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


# -- what is refused -----------------------------------------------------------------------------


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


@pytest.mark.parametrize("rtol", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf")])
def test_a_tolerance_lies_between_nothing_and_all(rtol: float) -> None:
    with pytest.raises(MatrixError, match="write a number between 0 and 1, or None"):
        AnalogMatrix(normal(5, 4), "ideal").matmul(normal(2, 5), rtol)


def test_unknown_devices_are_refused_with_the_nearest() -> None:
    with pytest.raises(DeviceError, match="did you mean rram-wan2022"):
        AnalogMatrix(normal(5, 4), "rram-wan2020")


# -- room ----------------------------------------------------------------------------------------


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
    more, less = free.matmul(x, 8e-2), full.matmul(x, 8e-2)

    assert asked and min(asked) > 0
    assert full.nbytes == before < free.nbytes <= before + asked[0]
    assert more.certificate.regime == "sliced"
    assert "sliced" not in less.certificate.regime
    for answer in (more, less):
        assert relative_error(answer, x, weights) <= answer.certificate.bound <= 8e-2


def test_no_room_is_asked_for_where_nothing_more_is_needed() -> None:
    def never(nbytes: int) -> bool:
        raise AssertionError(f"{nbytes} bytes were asked for")

    matrix = AnalogMatrix(normal(100, 100), "rram-cmo-hfox-2025", room=never)

    assert matrix.matmul(normal(4, 100)).certificate.regime == "fast"
    assert matrix.matmul(normal(4, 100), 1e-1).report.within


# -- time ----------------------------------------------------------------------------------------


def test_drift_makes_arrays_worse_and_refreshing_makes_them_good_again() -> None:
    weights, x = normal(200, 150), normal(50, 200)
    matrix = AnalogMatrix(weights, QUIET, seed=4)
    fresh = relative_error(matrix.matmul(x), x, weights)
    errors = []
    for age_s in (60.0, 3600.0, 86_400.0):
        matrix.age(age_s)
        errors.append(relative_error(matrix.matmul(x), x, weights))
    matrix.refresh()

    assert 4 * fresh < errors[0] < errors[1] < errors[2]
    assert relative_error(matrix.matmul(x), x, weights) == pytest.approx(fresh, rel=0.1)


def test_an_age_is_a_point_in_time_not_a_step() -> None:
    weights, x = normal(100, 80), normal(5, 100)
    once, often = (AnalogMatrix(weights, QUIET, seed=4) for _ in range(2))
    once.age(3600.0)
    for age_s in (10.0, 7200.0, 3600.0):
        often.age(age_s)

    assert np.array_equal(once.matmul(x).value, often.matmul(x).value)
    often.age(0.0)
    fresh = AnalogMatrix(weights, QUIET, seed=4)
    assert np.array_equal(often.matmul(x).value, fresh.matmul(x).value)


def test_aged_arrays_keep_the_tolerance_and_need_more_for_it() -> None:
    weights, x = normal(200, 150), normal(20, 200)
    matrix = AnalogMatrix(weights, "rram-cmo-hfox-2025", seed=4)
    fresh = matrix.matmul(x, 1e-1)
    matrix.age(30 * 86_400.0)
    aged = matrix.matmul(x, 1e-1)

    assert relative_error(aged, x, weights) <= aged.certificate.bound <= 1e-1
    assert aged.certificate.energy_j > fresh.certificate.energy_j


def test_health_tells_age_writes_and_a_growing_sigma() -> None:
    matrix = AnalogMatrix(normal(200, 150), "rram-cmo-hfox-2025", seed=4)
    (fresh,) = (block.health for block in matrix.blocks.values())
    matrix.age(3600.0)
    (aged,) = (block.health for block in matrix.blocks.values())
    matrix.refresh()
    (again,) = (block.health for block in matrix.blocks.values())

    assert [one.writes for one in (fresh, aged, again)] == [1, 1, 2]
    assert [one.age_s for one in (fresh, aged, again)] == [0.0, 3600.0, 0.0]
    assert (aged.write_sigma > 2 * fresh.write_sigma).all()
    assert np.allclose(again.write_sigma, fresh.write_sigma, rtol=0.2)


def test_stuck_cells_stay_stuck_through_time_and_writing() -> None:
    faulty = '{"base": "rram-cmo-hfox-2025", "faults": {"stuck_low": 0.02, "stuck_high": 0.08}}'
    matrix = AnalogMatrix(normal(256, 256), faulty, seed=4)
    before = next(iter(matrix.blocks.values())).health.stuck
    matrix.age(1e6)
    matrix.refresh()
    after = next(iter(matrix.blocks.values())).health.stuck

    assert before.sum() > 0.08 * 2 * 256 * 256
    assert np.abs(after - before).max() <= 3, "a march test may misread a cell in ten thousand"
