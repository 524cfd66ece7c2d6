import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compute.backend import Backend, Product, Resident, backend
from compute.device import DeviceError, Faults
from compute.partition import Matrix
from compute.presets import RRAM_WAN2022
from compute.programmed import Arrays
from compute.rram import Rram
from tests.compute.matrices import normal, panels_of

FAULTY = msgspec.structs.replace(RRAM_WAN2022, faults=Faults(stuck_low=0.0175, stuck_high=0.0904))


def product(
    of: Backend, weights: Matrix, x: Matrix, share: float | None, transpose: bool = False
) -> Product:
    resident = of.program("w/0/0", weights)
    panels = panels_of(weights)
    return of.multiply(resident, x, transpose=transpose, share=share, x_key=5, digital=panels)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_digital_is_numpy_bit_by_bit(rows: int, columns: int, m: int) -> None:
    weights, x, z = normal(rows, columns), normal(m, rows), normal(m, columns)

    assert np.array_equal(product(backend("digital"), weights, x, 0.1).value, x @ weights)
    assert np.array_equal(product(backend("digital"), weights, z, 0.1, True).value, z @ weights.T)


def test_digital_keeps_one_copy_and_no_more() -> None:
    weights = normal(10, 10)
    digital = backend("digital")
    x = np.eye(10, dtype=np.float32)

    kept = digital.program("a", weights, overwrite=True)
    copied = digital.program("a", weights)
    assert kept.nbytes == copied.nbytes == digital.resident_bytes((10, 10)) == 400
    weights[:] = 0.0

    def times(resident: Resident) -> Matrix:
        panels = panels_of(weights)
        answer = digital.multiply(resident, x, transpose=False, share=None, x_key=0, digital=panels)
        return answer.value

    assert not times(kept).any() and times(copied).any()


@pytest.mark.parametrize("name", ["digital", "rram"])
@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_a_product_is_added_to_what_is_there(name: str, share: float | None) -> None:
    weights, x = normal(130, 70), normal(3, 130)
    multiplier = backend(name, "rram-cmo-hfox-2025", seed=4)
    wide = np.full((3, 100), 2.0, np.float32)
    resident = multiplier.program("w/0/0", weights)

    alone = product(multiplier, weights, x, share)
    added = multiplier.multiply(
        resident,
        x,
        transpose=False,
        share=share,
        x_key=5,
        digital=panels_of(weights),
        out=wide[:, 10:80],
    )

    assert np.allclose(wide[:, 10:80], alone.value + 2.0, atol=1e-5)
    assert (wide[:, :10] == 2.0).all() and (wide[:, 80:] == 2.0).all()
    assert added.analog_macs == alone.analog_macs and added.digital_macs == alone.digital_macs


@pytest.mark.parametrize("transpose", [False, True])
def test_a_share_out_of_reach_is_met_digitally(transpose: bool) -> None:
    weights = normal(300, 200)
    x = normal(3, 200 if transpose else 300)
    exact = x @ (weights.T if transpose else weights)

    answer = product(backend("rram"), weights, x, share=1e-7, transpose=transpose)

    assert np.allclose(answer.value, exact, atol=1e-4)
    assert (answer.analog_macs, answer.digital_macs) == (0, 3 * 300 * 200)
    assert (answer.regimes, answer.reads, answer.latency_s) == (frozenset({"digital"}), 0, 0.0)
    float64 = 4.9
    joules = 1e-12 * 300 * 200 * (3 * 4.6 * float64 + 640.0)
    assert answer.energy_j == answer.digital_j == pytest.approx(joules)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("relative", [0.05, 0.01, 0.004, 1e-4, 1e-6])
def test_the_error_stays_within_the_share_and_within_what_was_foreseen(
    relative: float, transpose: bool
) -> None:
    weights = normal(400, 300)
    x = normal(70, 300 if transpose else 400)
    exact = x.astype(np.float64) @ (weights.T if transpose else weights)
    share = relative * float(np.linalg.norm(exact))

    answer = product(backend("rram", seed=2), weights, x, share, transpose)

    error = float(np.linalg.norm(answer.value - exact))
    assert answer.digital_macs < 0.02 * answer.analog_macs
    assert error <= 1.02 * share
    assert answer.error_rms_estimate <= share
    assert 0.4 * answer.error_rms_estimate < error < 1.1 * answer.error_rms_estimate


@pytest.mark.parametrize("transpose", [False, True])
def test_a_product_of_so_many_slices_is_digital_where_their_stuck_cells_spoil_pairs(
    transpose: bool,
) -> None:
    """However many slices are written: what further ones make digital belongs to them."""
    rram, weights, x = Rram(FAULTY, seed=2), normal(256, 256), normal(64, 256)
    exact = x.astype(np.float64) @ (weights.T if transpose else weights)
    block = rram.program("w/0/0", weights, arrays=Arrays(slices=3))
    depths = []
    for relative in (0.2, 0.06):
        share = relative * float(np.linalg.norm(exact))
        answer = rram.multiply(
            block, x, transpose=transpose, share=share, x_key=5, digital=panels_of(weights)
        )
        digital = answer.digital_macs / (answer.digital_macs + answer.analog_macs)
        depths += [d for d in (1, 2, 3) if digital == pytest.approx(block.digital_share(d))]
        assert answer.error_rms_estimate <= share
        assert float(np.linalg.norm(answer.value - exact)) <= 1.02 * share
    assert depths == [1, 2]


def test_naive_is_one_reading_of_one_slice() -> None:
    """Of each pair of arrays for each input: settled once for the peak detector, once for the conversion."""
    answer = product(backend("rram"), np.sign(normal(256, 256)), normal(3, 256), share=None)

    assert answer.regimes == {"fast"}
    assert answer.reads == 3 * (2 * 2) * 2 * 2
    assert answer.digital_macs < 0.01 * answer.analog_macs


def test_inputs_that_readings_are_too_coarse_for_are_worked_within_their_share() -> None:
    """Inputs like a column of W drive one output to the ADC's widest range, whose steps are coarse."""
    weights = np.sign(normal(128, 128))
    x = np.concatenate((normal(64, 128, seed=2), weights.T[:64]))
    exact = x @ weights
    for relative in (0.02, 0.002):
        share = relative * float(np.linalg.norm(exact))
        answer = product(backend("rram"), weights, x, share)

        assert answer.analog_macs + answer.digital_macs == 128 * 128 * 128
        assert float(np.linalg.norm(answer.value - exact)) <= share


SHAPES = [(1, 1), (1, 131), (131, 1), (7, 127), (129, 257), (1021, 5)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["ideal", "rram-cmo-hfox-2025", "rram-wan2022"])
@pytest.mark.parametrize("transpose", [False, True])
def test_any_shape_can_be_multiplied(shape: tuple[int, int], name: str, transpose: bool) -> None:
    weights = normal(*shape)
    x = normal(2, shape[1] if transpose else shape[0])
    exact = x @ (weights.T if transpose else weights)
    for share in (None, 0.02 * float(np.linalg.norm(exact))):
        answer = product(backend("rram", name, 1), weights, x, share, transpose)

        assert answer.value.shape == exact.shape and answer.value.dtype == np.float32
        assert np.linalg.norm(answer.value - exact) < 0.5 * np.linalg.norm(exact)
        if share is not None:
            assert answer.error_rms_estimate <= share


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_zero_rows_give_zero_rows(share: float | None) -> None:
    x = normal(4, 200)
    x[1] = 0.0

    answer = product(backend("rram"), normal(200, 150), x, share)

    assert not answer.value[1].any() and answer.value[0].any()


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_no_input_gives_no_output(share: float | None) -> None:
    answer = product(backend("rram"), normal(200, 150), np.zeros((4, 200), np.float32), share)

    assert not answer.value.any() and answer.energy_j == 0.0


def test_a_huge_dynamic_range_stays_within_its_share() -> None:
    weights = np.sign(normal(256, 256)) * np.logspace(-15, 15, 256).astype(np.float32)
    x = normal(8, 256) * np.logspace(-15, 15, 8).astype(np.float32)[:, None]
    exact = x @ weights
    share = 0.01 * float(np.linalg.norm(exact.astype(np.float64)))

    answer = product(backend("rram"), weights, x, share)

    error = np.linalg.norm(answer.value.astype(np.float64) - exact)
    assert np.isfinite(answer.value).all() and error < 1.2 * share


@pytest.mark.parametrize("share", [None, 2.0])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_same_input_gives_the_same_bits_on_any_number_of_threads(
    workers: int, share: float | None
) -> None:
    weights, x = np.sign(normal(300, 200)), normal(3, 300)
    rram = backend("rram", seed=9)
    resident = rram.program("w/0/0", weights)

    def bits(_: int) -> bytes:
        panels = panels_of(weights)
        return rram.multiply(
            resident, x, transpose=False, share=share, x_key=5, digital=panels
        ).value.tobytes()

    with ThreadPoolExecutor(workers) as pool:
        answers = set(pool.map(bits, range(8)))

    assert answers == {product(backend("rram", seed=9), weights, x, share).value.tobytes()}


def test_noise_depends_on_the_input_s_key_and_the_device_s_seed() -> None:
    weights, x = np.sign(normal(128, 128)), normal(1, 128)
    answers = set()
    for seed, key in ((1, 1), (1, 2), (2, 1)):
        rram = backend("rram", seed=seed)
        resident = rram.program("w/0/0", weights)
        panels = panels_of(weights)
        answers.add(
            rram.multiply(
                resident, x, transpose=False, share=None, x_key=key, digital=panels
            ).value.tobytes()
        )

    assert len(answers) == 3


@pytest.mark.parametrize("rows_m", [3, 256])
def test_little_memory_is_needed_beside_a_block(rows_m: int) -> None:
    weights, x = np.sign(normal(1024, 1024)), normal(rows_m, 1024)
    rram = backend("rram")
    share = 0.003 * float(np.linalg.norm(x @ weights))
    out = np.zeros((rows_m, 1024), np.float32)
    tracemalloc.start()
    resident = rram.program("w/0/0", weights, overwrite=True)
    programming = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    panels = panels_of(weights)
    rram.multiply(resident, x, transpose=True, share=share, x_key=1, digital=panels, out=out)
    multiplying = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert resident.nbytes < 4.6 * 2**20
    assert programming - resident.nbytes < 8 * 2**20
    assert multiplying - resident.nbytes < 8 * 2**20


def test_unknown_names_are_refused_with_what_to_write() -> None:
    with pytest.raises(DeviceError, match="analog: no such backend .write digital or rram"):
        backend("analog")
    with pytest.raises(DeviceError, match="did you mean ideal"):
        backend("rram", "idael")
