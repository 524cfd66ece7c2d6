"""What is foreseen of reading, against what reading does."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from compute.analog import AnalogMatrix
from compute.device import Converters, DeviceModel, Window
from compute.foresight import foresee
from compute.partition import Matrix
from compute.presets import PRESETS
from compute.rram import Rram
from tests.compute.matrices import normal

ADC = DeviceModel(
    name="converters alone",
    window=Window(g_min_us=10.0, g_max_us=100.0),
    converters=Converters(dac_bits=8, adc_bits=8),
)
ROWS = 24


def positive(*shape: int, seed: int = 1) -> Matrix:
    return np.abs(normal(*shape, seed=seed))


def flat(rows: int, width: int, *, peak: float) -> Matrix:
    """Equal inputs beside a large one: all are rounded alike."""
    x = np.ones((rows, width), np.float32)
    x[:, 5] = peak
    return x


INPUTS = {
    "normal": partial(normal, seed=2),
    "positive": partial(positive, seed=2),
    "flat": partial(flat, peak=1.0),
    "flat beside a peak": partial(flat, peak=90.0),
}


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("weights", [normal, positive])
@pytest.mark.parametrize("inputs", list(INPUTS))
def test_the_error_of_a_raw_product_is_foreseen(
    inputs: str, weights: Callable[..., Matrix], transpose: bool
) -> None:
    """Converters alone: what inputs and weights have in common, the ADC's range and the DAC's rounding follow."""
    w = weights(300, 260)
    x = INPUTS[inputs](ROWS, 260 if transpose else 300)
    rram = Rram(ADC, 1)
    block = rram.program("w", w)

    raw = rram.multiply(block, x, transpose=transpose, share=None, x_key=1, digital=tuple)

    error = float(np.linalg.norm(raw.value - x.astype(np.float64) @ (w.T if transpose else w)))
    assert 0.75 * error < raw.error_rms_estimate < 1.35 * error


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-cmo-hfox-2025", "pcm-joshi"])
@pytest.mark.parametrize("inputs", ["normal", "positive"])
def test_readings_vary_as_is_foreseen(name: str, inputs: str) -> None:
    x, rram = INPUTS[inputs](ROWS, 256), Rram(PRESETS[name], 7)
    block = rram.program("w", positive(256, 200))
    face = block.face(1, transpose=False)

    foreseen = foresee(face, face.sides[0], x, averaged=False)

    readings = [
        rram.multiply(block, x, transpose=False, share=None, x_key=key, digital=tuple).value
        for key in range(200)
    ]
    assert foreseen.reading.sum() == pytest.approx(np.var(readings, axis=0).sum(), rel=0.2)


def test_without_a_dac_nothing_is_left_out() -> None:
    block = Rram(PRESETS["ideal"], 1).program("w", normal(40, 30))
    face = block.face(1, transpose=False)

    foreseen = foresee(face, face.sides[0], normal(5, 40), averaged=False)

    assert not foreseen.left_out.any() and not foreseen.reading.any()


def test_a_few_rows_stand_for_all_and_silent_tile_rows_stay_silent() -> None:
    block = Rram(PRESETS["rram-wan2022"], 1).program("w", normal(256, 64))
    face = block.face(1, transpose=False)
    many = np.tile(normal(1, 256, seed=2), (64, 1))
    many[:, 128:] = 0.0
    many[63, 128:] = 1.0

    whole = foresee(face, face.sides[0], many, averaged=False).reading
    one = foresee(face, face.sides[0], many[:1], averaged=False).reading
    last = foresee(face, face.sides[0], many[63:], averaged=False).reading

    assert whole[0] == pytest.approx(64 * one[0]) and one[1] < 1e-30
    assert whole[1] == pytest.approx(last[1], rel=1e-4)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("rtol", [2e-2, 1e-2, 5e-3])
@pytest.mark.parametrize("name", ["rram-cmo-hfox-2025", "rram-wan2022"])
def test_inputs_that_are_all_rounded_alike_are_not_sent_back(
    name: str, rtol: float, transpose: bool
) -> None:
    """Rounding errors of one sign on weights of one sign add up: finer inputs take them up."""
    matrix = AnalogMatrix(positive(256, 256), name, seed=3)
    x = flat(16, 256, peak=140.0) * np.linspace(0.5, 1.7, 16, dtype=np.float32)[:, None]

    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)

    assert answer.report.within and answer.report.rows_redone == 0
    assert answer.certificate.analog_fraction > 0.99


def test_errors_that_tile_rows_share_add_up_in_what_is_foreseen() -> None:
    """Levels leave each weight off by up to a quarter of the window, and a column's gain is off for all alike."""
    ratios = []
    for seed in range(6):
        w, x = positive(512, 300, seed=seed), positive(ROWS, 512, seed=seed + 50)
        rram = Rram(PRESETS["rram-isaac"], seed)
        raw = rram.multiply(
            rram.program("w", w), x, transpose=False, share=None, x_key=1, digital=tuple
        )
        error = float(np.linalg.norm(raw.value - x.astype(np.float64) @ w))
        ratios.append((error / raw.error_rms_estimate) ** 2)

    assert 0.5 < np.mean(ratios) < 1.7
