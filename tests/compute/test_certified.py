"""Whole products over four holders: sketch, share out, multiply on crossbars, sum, check."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

from compute.backend import Backend, Resident, backend
from compute.partition import TILE_SIDE, Block, BlockGrid, Matrix, Matrix64, spans
from compute.verify import (
    SKETCH_WIDTH,
    SketchAccumulator,
    absolute_shares,
    apply_sketch,
    norm_for_shares,
    project,
    relative_bound,
    residual_bound,
    round_off,
    split_share,
)

SKETCH_SEED = 99
HOLDERS = 4


@dataclass(frozen=True)
class Answer:
    bound: float
    error: float
    analog_fraction: float
    predicted: float


class Fleet:
    """A matrix on four holders, block by block in the grid's order."""

    def __init__(self, weights: Matrix, multiplier: Backend) -> None:
        self.weights = weights
        self.grid = BlockGrid(*weights.shape)
        self.multiplier = multiplier
        self.s: Matrix64 = np.zeros((self.grid.rows, SKETCH_WIDTH))
        self.t: Matrix64 = np.zeros((self.grid.columns, SKETCH_WIDTH))
        self.residents = {block: self._put(block) for block in self.grid.blocks()}

    def values(self, block: Block) -> Matrix:
        rows, columns = self.grid.row_span(block.row), self.grid.column_span(block.column)
        return np.ascontiguousarray(self.weights[slice(*rows), slice(*columns)])

    def _put(self, block: Block) -> Resident:
        values = self.values(block)
        sketch = SketchAccumulator(values.shape, SKETCH_SEED, block)
        sketch.add_rows(0, values)
        s, t = sketch.finish()
        self.s[slice(*self.grid.row_span(block.row))] += s
        self.t[slice(*self.grid.column_span(block.column))] += t
        return self.multiplier.program(f"w/{block.row}/{block.column}", values)

    def multiply(self, x: Matrix, transpose: bool, rtol: float | None, key: int) -> Answer:
        sketch = self.t if transpose else self.s
        xs = apply_sketch(x, sketch)
        blocks = list(self.grid.blocks())
        held = [blocks[holder::HOLDERS] for holder in range(HOLDERS)]
        weights = [[self._weight(x, block, transpose) for block in mine] for mine in held]
        totals = [float(np.hypot.reduce(mine)) for mine in weights]
        tolerance = 0.0 if rtol is None else rtol * norm_for_shares(x, sketch, xs)
        shares = absolute_shares(tolerance, totals, len(x))
        y = np.zeros((len(x), self.grid.rows if transpose else self.grid.columns), np.float32)
        analog, variance = 0, 0.0
        for mine, own, share in zip(held, weights, shares, strict=True):
            for block, part in zip(mine, split_share(share, own), strict=True):
                rows = slice(*self.grid.row_span(block.row))
                columns = slice(*self.grid.column_span(block.column))
                inputs, outputs = (columns, rows) if transpose else (rows, columns)
                product = self.multiplier.multiply(
                    self.residents[block],
                    x[:, inputs],
                    transpose=transpose,
                    share=None if rtol is None else part,
                    x_key=key,
                    digital=partial(self._panels, block),
                    out=y[:, outputs],
                )
                analog += product.analog_macs
                variance += product.error_rms_estimate**2
        return self._judge(x, y, xs, transpose, analog, variance)

    def _panels(self, block: Block) -> list[tuple[int, Matrix]]:
        values = self.values(block)
        return [(start, values[start:stop]) for start, stop in spans(len(values), TILE_SIDE)]

    def _weight(self, x: Matrix, block: Block, transpose: bool) -> float:
        rows, columns = self.grid.row_span(block.row), self.grid.column_span(block.column)
        inputs, outputs = (columns, rows) if transpose else (rows, columns)
        norm = float(np.linalg.norm(x[:, slice(*inputs)]))
        return norm * math.sqrt(outputs[1] - outputs[0])

    def _judge(
        self, x: Matrix, y: Matrix, xs: Matrix64, transpose: bool, analog: int, variance: float
    ) -> Answer:
        norm = float(np.linalg.norm(y))
        slack = round_off(self.grid.rows + self.grid.columns, norm)
        seen = project(y, SKETCH_SEED, "rows" if transpose else "columns")
        exact = x.astype(np.float64) @ (self.weights.T if transpose else self.weights)
        size = float(np.linalg.norm(exact))
        return Answer(
            bound=relative_bound(residual_bound(seen, xs, slack), norm),
            error=float(np.linalg.norm(y - exact)) / size,
            analog_fraction=analog / (len(x) * self.weights.size),
            predicted=variance**0.5 / size,
        )


def mirrors(rows: int, columns: int) -> Matrix:
    """Random +-1, as the mirrors of a single-pixel camera."""
    dice = np.random.default_rng(2)
    return (2.0 * dice.integers(0, 2, (rows, columns)) - 1.0).astype(np.float32)


def picture(width: int) -> Matrix:
    """Three channels, nearly one, never negative, brightest in one corner."""
    dice = np.random.default_rng(4)
    shade = np.linspace(1.0, 0.05, width) ** 2 + 0.1 * dice.random(width)
    return (shade * (1.0 + 0.1 * dice.random((3, width)))).astype(np.float32)


def residuals(width: int) -> Matrix:
    return np.random.default_rng(5).standard_normal((3, width), np.float32)


@pytest.fixture(scope="module")
def camera() -> Fleet:
    return Fleet(mirrors(2304, 1152), backend("rram", seed=7))


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("inputs", [picture, residuals])
def test_the_camera_is_certified_to_three_percent_and_its_error_is_foreseen(
    camera: Fleet, inputs: Callable[[int], Matrix], transpose: bool
) -> None:
    x = inputs(1152 if transpose else 2304)
    for key in range(3):
        answer = camera.multiply(x, transpose, rtol=3e-2, key=key)

        assert answer.analog_fraction > 0.999
        assert answer.error <= answer.bound <= 3e-2
        assert answer.predicted == pytest.approx(answer.error, rel=0.1)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("inputs", [picture, residuals])
@pytest.mark.parametrize("rtol", [1e-2, 1e-4])
def test_tighter_tolerances_are_met_by_arrays_too(
    camera: Fleet, inputs: Callable[[int], Matrix], transpose: bool, rtol: float
) -> None:
    """Weights of +-1 are whole numbers: rounding them takes nothing, though it is foreseen."""
    answer = camera.multiply(inputs(1152 if transpose else 2304), transpose, rtol, key=1)

    assert answer.analog_fraction > 0.999
    assert answer.error <= answer.bound <= rtol
    assert answer.error < 1.2 * answer.predicted


def test_the_raw_product_is_ten_times_worse_and_says_so(camera: Fleet) -> None:
    answer = camera.multiply(picture(2304), transpose=False, rtol=None, key=1)

    assert answer.analog_fraction > 0.999
    assert 0.01 < answer.error < 0.04
    assert answer.error <= answer.bound
    assert answer.predicted == pytest.approx(answer.error, rel=0.1)


def test_a_tolerance_beyond_float32_is_answered_digitally(camera: Fleet) -> None:
    answer = camera.multiply(residuals(2304), transpose=False, rtol=1e-9, key=1)

    assert answer.analog_fraction == 0.0
    assert answer.error <= answer.bound < 1e-6


def test_a_coarser_device_still_keeps_the_tolerance() -> None:
    dice = np.random.default_rng(8)
    fleet = Fleet(dice.standard_normal((300, 200), np.float32), backend("rram", "rram-wan2022", 1))
    x = dice.standard_normal((8, 300), np.float32)

    answer = fleet.multiply(x, transpose=False, rtol=1e-2, key=1)

    assert answer.error <= answer.bound <= 1e-2
