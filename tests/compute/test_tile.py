"""Arrays of other sides than 128: what holds of these holds of all."""

import math

import msgspec
import numpy as np
import pytest

from compute import fused
from compute.analog import AnalogMatrix
from compute.arguments import MatrixError
from compute.device import Converters, DeviceModel, ReadNoise
from compute.face import Layer, face, on_grid
from compute.partition import BLOCK_SIDE, TILE_SIDE, TILE_SIDES
from compute.presets import PRESETS
from compute.programmed import Arrays
from compute.programming import program
from compute.raw import read_all_once
from tests.compute.matrices import normal

OTHERS = tuple(side for side in TILE_SIDES if side != TILE_SIDE)
WAN = PRESETS["rram-wan2022"]
EIGHT = Converters(dac_bits=8, adc_bits=8)

CROOKED = msgspec.structs.replace(
    WAN,
    name="converters of their own",
    converters=Converters(dac_bits=8, adc_bits=8, adc_offset_sigma=2.0, adc_gain_sigma=0.05),
)


# -- which sides there are -----------------------------------------------------------------------


@pytest.mark.parametrize("tile", [0, -1, -128, 1, 8, 100, 1024, 1.5, 128.0, True, "128", None])
def test_a_side_that_no_array_has_is_refused_with_those_there_are(tile: object) -> None:
    with pytest.raises(MatrixError, match=r"tile is .*; write one of 16, 32, 64, 128, 256, 512$"):
        AnalogMatrix(normal(3, 2), "ideal", tile=tile)  # type: ignore[arg-type]


def test_a_block_is_filled_by_whole_arrays_of_any_side() -> None:
    assert all(BLOCK_SIDE % side == 0 for side in TILE_SIDES)
    assert AnalogMatrix(normal(3, 2), "ideal", tile=np.int64(64)).blocks  # type: ignore[arg-type]


def test_without_a_word_arrays_have_128_cells_along_each_side() -> None:
    weights, x = normal(150, 140), normal(5, 150)
    told, untold = AnalogMatrix(weights, WAN, tile=128, seed=3), AnalogMatrix(weights, WAN, seed=3)

    assert told.matmul(x).value.tobytes() == untold.matmul(x).value.tobytes()


# -- what a product is ---------------------------------------------------------------------------


@pytest.mark.parametrize("tile", TILE_SIDES)
@pytest.mark.parametrize("shape", [(40, 30), (257, 129), (600, 520)])
def test_an_ideal_device_multiplies_dyadic_numbers_exactly(
    tile: int, shape: tuple[int, int]
) -> None:
    dice = np.random.default_rng(tile)
    weights, x, y = (
        dice.integers(-63, 64, of).astype(np.float32) / np.float32(64.0)
        for of in (shape, (7, shape[0]), (7, shape[1]))
    )
    matrix = AnalogMatrix(weights, "ideal", tile=tile, seed=1)

    assert np.array_equal(matrix.matmul(x).value, x.astype(np.float64) @ weights)
    assert np.array_equal(matrix.rmatmul(y).value, y.astype(np.float64) @ weights.T)


@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize(
    "device", [WAN, PRESETS["pcm-joshi"], CROOKED], ids=lambda device: device.name
)
def test_the_same_seed_gives_the_same_bits_however_rows_are_cut(
    tile: int, device: DeviceModel
) -> None:
    weights, x = normal(300, 270), normal(100, 300)
    first, again, other = (
        AnalogMatrix(weights, device, tile=tile, seed=seed).matmul(x, draw=4).value
        for seed in (9, 9, 8)
    )
    matrix = AnalogMatrix(weights, device, tile=tile, seed=9)
    parts = [
        matrix.matmul(x[start:stop], draw=4, first_row=start).value
        for start, stop in ((0, 1), (1, 36), (36, 100))
    ]

    assert first.tobytes() == again.tobytes() == np.concatenate(parts).tobytes()
    assert first.tobytes() != other.tobytes()
    assert (
        first.tobytes() != AnalogMatrix(weights, device, seed=9).matmul(x, draw=4).value.tobytes()
    )


@pytest.mark.parametrize("tile", [16, 64, 256])
def test_the_number_of_threads_changes_no_bit(tile: int) -> None:
    weights, x = normal(40, 1100), normal(3, 40)
    bits = {
        AnalogMatrix(weights, WAN, tile=tile, seed=9, threads=threads)
        .matmul(x, rtol, draw=1)
        .value.tobytes()
        for threads in (1, 2, 4)
        for rtol in (0.1,)
    }

    assert len(bits) == 1


@pytest.mark.parametrize("tile", OTHERS)
def test_the_bound_holds_on_random_shapes(tile: int) -> None:
    """Primes and remnants, both sides, every preset; the wires of larger arrays would take long to solve."""
    dice = np.random.default_rng(tile)
    wired = {"rram-neurosim", "rram-harsh"}
    names = [name for name in PRESETS if tile <= TILE_SIDE or name not in wired]
    for job, name in enumerate(names):
        k, n = (int(side) for side in dice.choice([1, 7, 17, 61, 127, 131, 211, 257, 307], 2))
        weights = dice.standard_normal((k, n), np.float32) ** int(dice.choice([1, 3]))
        matrix = AnalogMatrix(weights, name, tile=tile, seed=job)
        for transpose in (False, True):
            x = dice.standard_normal((int(dice.integers(1, 33)), n if transpose else k), np.float32)
            factor = weights.T if transpose else weights
            exact = x.astype(np.float64) @ factor
            for rtol in (1e-1, 1e-2, float(dice.choice([1e-3, 1e-5]))):
                answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)
                error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
                assert error <= answer.certificate.bound <= rtol, (name, weights.shape, rtol)


@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_a_raw_product_errs_as_predicted(tile: int, transpose: bool) -> None:
    """Standing errors of writing, over both, and what reading adds."""
    block = program(normal(600, 520), WAN, 5, "w", Arrays(tile_side=tile))
    x = normal(64, 520 if transpose else 600, seed=2)
    factor = normal(600, 520).T if transpose else normal(600, 520)
    side = block.face(1, transpose)

    got = read_all_once(side, x, 3, 0).value
    block.add_outliers(x, got, 1, transpose)

    error = float(np.linalg.norm(got - x.astype(np.float64) @ factor))
    left = block.programming_variance(x, 1, transpose, slice(0, x.shape[1]))
    assert math.sqrt(left) == pytest.approx(error, rel=0.15)


@pytest.mark.parametrize("tile", [32, 256])
def test_arrays_keep_their_side_when_they_age_are_written_anew_and_get_further_slices(
    tile: int,
) -> None:
    weights, x = normal(200, 190), normal(20, 200)
    bare = msgspec.structs.replace(
        PRESETS["rram-cmo-hfox-2025"], name="bare", reading=ReadNoise(), converters=Converters()
    )
    matrix = AnalogMatrix(weights, bare, tile=tile, seed=4)
    asked = []
    for change in (lambda: matrix.age(3600.0), matrix.refresh, lambda: matrix.matmul(x, 1e-3)):
        change()
        (block,) = matrix.blocks.values()
        asked.append((block.arrays.tile_side, block.health.write_sigma.shape))

    assert set(asked) == {(tile, (-(-200 // tile), -(-190 // tile)))}
    assert block.arrays.writes == 2 and block.arrays.slices > 1


# -- compiled code -------------------------------------------------------------------------------


@pytest.mark.skipif(not fused.is_installed(), reason="numba is not installed")
@pytest.mark.parametrize("tile", OTHERS)
@pytest.mark.parametrize("transpose", [False, True])
def test_compiled_code_has_the_bits_of_numpy_and_is_not_compiled_anew(
    tile: int, transpose: bool
) -> None:
    assert fused.warm_up()
    device = msgspec.structs.replace(WAN, converters=EIGHT)
    shares = np.clip(normal(300, 200), -1.0, 1.0)
    one = Layer(on_grid(shares, 127, tile), None, np.ones(200, np.float32))
    seen = face((one, one), device, transpose, 3, tile)
    for m in (1, 3, 70):
        x = normal(m, seen.inputs) * np.logspace(-6, 6, m, dtype=np.float32)[:, None]
        x[m // 2] = 0.0

        compiled, plain = (read_all_once(seen, x, 5, 7, may_fuse=fuse) for fuse in (True, False))

        assert np.array_equal(compiled.value.view(np.uint32), plain.value.view(np.uint32))
        assert compiled.spent == plain.spent
    (kernels,) = fused._compiled
    assert len(kernels.reading.signatures) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("tile", [16, 256])
def test_the_kernel_interpreted_stays_inside_its_arrays(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plain Python checks every index, which compiled code does not."""
    shares = np.clip(normal(20, tile + 4), -1.0, 1.0)
    one = Layer(on_grid(shares, 127, tile), None, np.ones(tile + 4, np.float32))
    seen = face((one,), msgspec.structs.replace(WAN, converters=EIGHT), False, 3, tile)
    x = normal(2, 20)
    plain = read_all_once(seen, x, 5, 7, may_fuse=False).value

    slow = fused.Kernels(fused.interpreted, fused.interpreted_runs, fused.interpreted_relaxing)
    monkeypatch.setattr(fused, "_compiled", [slow])
    with np.errstate(over="ignore"):
        fused_value = read_all_once(seen, x, 5, 7).value

    assert np.array_equal(fused_value.view(np.uint32), plain.view(np.uint32))
