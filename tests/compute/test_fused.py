"""Compiled code has the bits of numpy's. Where numba is not installed, numpy does it all."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest

from compute import fused
from compute.chance import fill_normal, row_states, rows_of
from compute.converters import AdcErrors, Ranging, ranging
from compute.device import Converters, DeviceModel, ReadNoise
from compute.face import Layer, face, on_grid
from compute.outliers import Outliers
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.programming import program
from compute.raw import read_all_once
from compute.readout import read_once, sense
from compute.write_errors import relax
from tests.compute.matrices import normal

needs_numba = pytest.mark.skipif(
    not fused.is_installed(), reason="numba is not installed (pip install 'sedma[fast]')"
)

EIGHT = Converters(dac_bits=8, adc_bits=8)
QUIET = DeviceModel(name="converters only", converters=EIGHT)
DEVICES = {
    "quiet": QUIET,
    "noisy": msgspec.structs.replace(QUIET, reading=ReadNoise(constant=0.01)),
    "coarse": msgspec.structs.replace(
        QUIET, converters=Converters(dac_bits=4, adc_bits=3), reading=ReadNoise(constant=0.05)
    ),
    "no gain": msgspec.structs.replace(
        QUIET,
        converters=Converters(dac_bits=8, adc_bits=8, adc_gain_max=0),
        reading=ReadNoise(constant=0.1),
    ),
    "no DAC": msgspec.structs.replace(QUIET, converters=Converters(adc_bits=8)),
}


def layers(rows: int, columns: int) -> tuple[Layer, ...]:
    conductance = np.clip(normal(rows, columns), -1.0, 1.0)
    conductance[:, ::7] = 1.0
    conductance[:, 1::9] = 0.0
    one = Layer(on_grid(conductance, 127), None, np.ones(columns, np.float32))
    return one, one


@needs_numba
@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES.keys())
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("m", [1, 3, 64, 300])
def test_compiled_code_has_the_bits_of_numpy(device: DeviceModel, transpose: bool, m: int) -> None:
    assert fused.warm_up()
    seen = face(layers(300, 200), device, transpose, key=3)
    x = normal(m, seen.inputs) * np.logspace(-6, 6, m, dtype=np.float32)[:, None]
    x[m // 2] = 0.0
    x[0] = 1.0

    compiled = read_all_once(seen, x, 5, 7)
    plain = read_all_once(seen, x, 5, 7, may_fuse=False)

    assert compiled is not None and plain is not None
    assert np.array_equal(compiled.value.view(np.uint32), plain.value.view(np.uint32))
    assert compiled.spent == plain.spent


@needs_numba
def test_no_product_has_to_wait_for_the_compiler() -> None:
    """What `warm_up` compiled serves all devices, sides and batches: nothing is compiled for other types later."""
    assert fused.warm_up()
    for device in DEVICES.values():
        for transpose in (False, True):
            for m in (1, 70, 300):
                seen = face(layers(130, 200), device, transpose, key=3)
                read_all_once(seen, normal(m, seen.inputs), 5, 7)

    outliers = Outliers.of(normal(900, 200) > 1.0, normal(900, 200))
    for m in (1, 70, 300):
        outliers.add_product(normal(m, 900), normal(m, 200))
        outliers.add_product(normal(m, 200), normal(m, 900), transpose=True)

    (kernels,) = fused._compiled
    for device in PRESETS.values():
        program(normal(5, 7), device, 1, "b")
    for kernel in (kernels.reading, kernels.runs, kernels.relaxing):
        assert len(kernel.signatures) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("noisy", [False, True])
def test_the_kernel_interpreted_has_the_bits_of_numpy_and_stays_inside_its_arrays(
    noisy: bool,
) -> None:
    """Plain Python checks every index, which compiled code does not; it needs no numba."""
    adc = ranging(EIGHT, averaged=False)
    assert isinstance(adc, Ranging)
    currents, unit = 100 * normal(2, 3, 2, 128), np.abs(normal(2, 3, 1, 1))
    currents[0, 1] = 0.0
    sigma = 10 * np.abs(normal(2, 3, 1, 1, seed=2)) if noisy else None
    states = row_states(np.array([[1], [2]], np.uint64), rows_of(2**63, 3)) if noisy else None
    total = np.ones((3, 256), np.float32)
    expected = total.copy()
    sensed = sense(currents.copy(), sigma, adc, None, np.empty_like(currents))
    noise = None
    if states is not None:
        noise = np.empty_like(currents)
        fill_normal(states.ravel(), noise.reshape(6, 256))
    read_once(sensed, noise, None, slice(0, 2))
    for one in sensed.current * (sensed.step * unit):
        expected += one.reshape(3, 256)

    with np.errstate(over="ignore"):
        fused.run(fused.interpreted, currents, sigma, states, unit, adc, total, first=False)

    assert np.array_equal(total.view(np.uint32), expected.view(np.uint32))


@needs_numba
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("shape", [(1024, 1024), (700, 3), (131, 257)])
@pytest.mark.parametrize("share", [0.01, 0.2])
def test_compiled_outliers_have_the_bits_of_numpy(
    shape: tuple[int, int], share: float, transpose: bool
) -> None:
    """Zeros of either sign, too; with a fifth of all weights, outputs have several runs."""
    assert fused.warm_up()
    values = normal(*shape)
    values[::5] = -0.0
    outliers = Outliers.of(normal(*shape, seed=2) > np.quantile(normal(1000), 1.0 - share), values)
    inputs, outputs = shape[::-1] if transpose else shape
    for m in (1, 3, 4, 65, 130):
        x, compiled = normal(m, inputs, seed=3), normal(m, outputs, seed=4)
        x[m // 2], compiled[:, ::3] = 0.0, -0.0
        plain = compiled.copy()

        outliers.add_product(x, compiled, transpose)
        outliers.add_product(x, plain, transpose, may_fuse=False)

        assert np.array_equal(compiled.view(np.uint32), plain.view(np.uint32))


def test_the_kernel_of_outliers_interpreted_has_the_bits_of_numpy_and_stays_inside_its_arrays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = fused.Kernels(fused.interpreted, fused.interpreted_runs, fused.interpreted_relaxing)
    outliers = Outliers.of(normal(70, 9, seed=2) > 0.0, normal(70, 9))
    x, plain = normal(5, 70), normal(5, 9)
    compiled = plain.copy()
    outliers.add_product(x, plain, may_fuse=False)

    monkeypatch.setattr(fused, "_compiled", [slow])
    outliers.add_product(x, compiled)

    assert outliers.forward.fold is not None
    assert np.array_equal(compiled.view(np.uint32), plain.view(np.uint32))


@pytest.mark.parametrize("columns", [1, 6, 257])
@pytest.mark.parametrize("interpreted", [False, True])
def test_cells_relax_by_the_same_bits(
    columns: int, interpreted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interpreted:
        kernel = fused.interpreted_relaxing
        monkeypatch.setattr(fused, "_compiled", [fused.Kernels(kernel, kernel, kernel)])
    elif not fused.warm_up():
        pytest.skip("numba is not installed (pip install 'sedma[fast]')")
    held, sigma = np.abs(normal(9, columns)), np.abs(normal(4097, seed=2))
    level = np.minimum(held * 1000, 4096).astype(np.uint16)
    compiled, plain = held.copy(), held.copy()

    with np.errstate(over="ignore"):
        relax(compiled, level, sigma, 3, rows_of(2**40, 9))
    monkeypatch.setattr(fused, "_compiled", [])
    relax(plain, level, sigma, 3, rows_of(2**40, 9))

    assert not np.array_equal(plain, held)
    assert np.array_equal(compiled.view(np.uint32), plain.view(np.uint32))


def test_nothing_loads_numba_until_it_is_asked_for() -> None:
    code = (
        "import sys, numpy as np\n"
        "from compute.face import Layer, face\n"
        "from compute.raw import read_all_once\n"
        "from compute.device import Converters, DeviceModel\n"
        "device = DeviceModel(name='d', converters=Converters(dac_bits=8, adc_bits=8))\n"
        "ones = np.ones((4, 4), np.float32)\n"
        "seen = face((Layer(ones, None, ones[0]),), device, False, 1)\n"
        "assert read_all_once(seen, ones, 1, 0).value.all()\n"
        "assert 'numba' not in sys.modules and 'numpy.random' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_what_the_kernel_does_not_know_is_left_to_numpy() -> None:
    """ADCs with errors of their own, noise in proportion to the conductance, no ADC at all."""
    fused.warm_up()
    crooked = Converters(dac_bits=8, adc_bits=8, adc_offset_sigma=1.0)
    adc = ranging(EIGHT, averaged=False)
    errors = (
        face(layers(128, 128), msgspec.structs.replace(QUIET, converters=crooked), False, 3)
        .sides[0]
        .errors
    )
    currents, unit = normal(1, 2, 1, 128), np.ones((1, 2, 1, 1), np.float32)
    sigma, states = np.ones((1, 2, 1, 128), np.float32), row_states(1, rows_of(0, 2))[None]
    before, total = currents.copy(), np.ones((2, 128), np.float32)

    def declined(sigma: Matrix | None, adc: Ranging | None, errors: AdcErrors | None) -> bool:
        return not fused.read_and_add(
            currents, sigma, states, unit, adc, errors, total, first=False
        )

    assert declined(None, adc, errors)
    assert declined(sigma, adc, None)
    assert declined(None, None, None)
    assert np.array_equal(currents, before) and (total == 1.0).all()


def test_without_numba_there_is_nothing_to_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "_compiled", [])
    monkeypatch.setattr(fused, "is_installed", lambda: False)

    assert not fused.warm_up()
