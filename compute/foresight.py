"""What one reading will vary by, before it is made: from what a layer does to inputs of such sums and energies.

The ADC's step follows the largest current of an array, so that is what has to be foreseen. A few rows of X stand for
all: what is told of them is scaled to the energy of each tile row.
"""

import math
from dataclasses import dataclass

import numpy as np

from compute.converters import DITHER_LSB, TAIL_SIGMA, Drive, Ranging, adc_steps, drive
from compute.face import Face, Side
from compute.partition import Matrix, Matrix64
from compute.raw import padded_tiles
from compute.response import sums_and_energies

ROWS = 4
"""Rows of X that are looked at."""


@dataclass(frozen=True, slots=True)
class Foreseen:
    """Of one reading of x by one layer; each (tile rows,), summed over outputs and rows of x."""

    reading: Matrix64
    """Variance of the cells' noise and of rounding by the ADC."""
    left_out: Matrix64
    """Expected square of what the DAC does not drive in one slice."""


def foresee(face: Face, side: Side, x: Matrix, *, averaged: bool) -> Foreseen:
    """x (M, inputs); `averaged`: with dither where cells are quieter."""
    rows = _sampled(x, face)
    tiles = padded_tiles(face, side, rows)
    driving = drive(tiles, face.device.converters)
    share = _share(face, side, x, rows)
    left_out = np.zeros(face.tile_rows)
    if face.device.converters.dac_bits is not None:
        left_out = side.response.variance(driving.rest_of(tiles), slice(None)) * share
    return Foreseen(_variance(face, side, driving, averaged=averaged) * share, left_out)


def _sampled(x: Matrix, face: Face) -> Matrix:
    """Rows at even distances; all of them where these leave a tile row silent."""
    rows = x[:: -(-len(x) // ROWS)]
    if len(rows) == len(x):
        return x
    starts = np.arange(0, x.shape[1], face.tile_side)
    busy = np.logical_or.reduceat(rows.any(axis=0), starts)
    return rows if busy.all() else x


def _share(face: Face, side: Side, x: Matrix, rows: Matrix) -> Matrix64 | float:
    """(tile rows,), energy of x over that of some of its rows."""
    if len(rows) == len(x):
        return 1.0
    starts = np.arange(0, x.shape[1], face.tile_side)
    squares = [np.einsum("mi,mi->i", each, each) for each in (x, rows)]
    if side.input_scale is not None:
        squares = [each * np.square(side.input_scale) for each in squares]
    whole, part = (np.add.reduceat(each, starts, dtype=np.float64) for each in squares)
    share: Matrix64 = np.divide(whole, part, out=np.zeros_like(whole), where=part > 0.0)
    return share


def _variance(face: Face, side: Side, driving: Drive, *, averaged: bool) -> Matrix64:
    """(tile rows,), of the rows that are driven so."""
    response, reading = side.response, face.device.reading
    sums, energies = sums_and_energies(driving.codes)
    # (tile rows, M, tiles or 1), in codes times the window
    cells = (2.0 * face.device.cell_noise**2 * energies)[..., None]
    if reading.proportional:
        squares = (response.mean_square + response.spread)[:, None]
        cells = cells + reading.proportional**2 * energies[..., None] * squares
    ranging = face.averaging_adc if averaged else face.adc
    variance = cells
    if ranging is not None:
        apart = np.maximum(energies - sums**2 / response.lines[:, None], 0.0)[..., None]
        # What the columns of an array have in common, and the largest of what they have not.
        unlike = np.maximum(response.mean_square - response.level**2, 0.0)[:, None]
        peak = np.abs(sums)[..., None] * response.level[:, None]
        peak += _largest_of(face) * np.sqrt(
            np.square(sums)[..., None] * unlike + apart * response.spread[:, None]
        )
        peak += TAIL_SIGMA * np.sqrt(cells)
        steps = _step_squares(peak, ranging)
        variance = (np.maximum(cells, DITHER_LSB**2 * steps) if averaged else cells) + steps / 12.0
    by_array = side.scale_squares.sum(axis=1)
    units = np.square(driving.step[..., 0], dtype=np.float64)
    by_row: Matrix64 = np.sum(variance * by_array, axis=2)
    seen: Matrix64 = np.einsum("tm,tm->t", units, by_row)
    return seen


def _largest_of(face: Face) -> float:
    """Of as many standard normal values as an array has outputs, about: 2.7 of 128."""
    outputs = min(face.tile_side, face.outputs)
    return max(math.sqrt(2.0 * math.log(outputs)) - 0.4, 0.8)


def _step_squares(peak: Matrix64, ranging: Ranging) -> Matrix64:
    return np.square(adc_steps(peak.astype(np.float32), ranging), dtype=np.float64)
