"""Reads arrays: one product of X with a programmed block, tile row by tile row, with all its noise.

A tile row is the rows of a block that share their inputs, so one matrix product gives the currents of all its
arrays. Without a tolerance every array is read once (`compute/raw.py`). Within a variance, each slice of the input is
converted by the ADC of each array, and averaging takes the coarse slice several times. Noise is named by row, output,
array and reading, so one reading of X has the same bits however X is cut. (Without a DAC there are no whole codes, and
sums are as exact as float32 and BLAS make them.)
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from compute.chance import Words, rows_of, stream_key
from compute.converters import drive
from compute.energy import Spent
from compute.face import Face
from compute.partition import Matrix, spans
from compute.planner import ReadNoise, reads_for, slices_for, variance_after
from compute.raw import currents_of, dice_of, sigma_of
from compute.readout import Sensed, acquire, calibration_variance, read_noise, sense

PANEL_ROWS = 64
"""Rows that are averaged at once: what this takes on the way stays in a near cache."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading gave, and what it took."""

    value: Matrix
    variance: float
    """Predicted, summed over all values; errors of programming are not in it."""
    spent: Spent
    slices: int = 1
    """Of the input, at most."""


def energy_of(x: Matrix) -> float:
    """Sum of squares, in float64."""
    return float(np.einsum("ij,ij->", x, x, dtype=np.float64))


def read_tile_row(
    face: Face, tile: int, x: Matrix, variance: float, key: int, first_row: int
) -> Reading | None:
    """One tile row driven by x (M, its rows), within a variance of reading; None where that cannot be had.

    Takes about 12 bytes x M x outputs x layers x slices of memory on the way.
    """
    if energy_of(x) == 0.0:
        return Reading(np.zeros((len(x), face.outputs), np.float32), 0.0, Spent())
    layers = [_Driven.by(face, index, tile, x) for index in range(len(face.sides))]
    slices = slices_for(_together(layers), variance)
    if slices == 2:
        layers = [layer.finer(face) for layer in layers]
    fixed = _together(layers) + math.fsum(layer.fixed_variance(face) for layer in layers)
    parts = [layer.noise[0] for layer in layers]
    reads = reads_for(parts, fixed, variance)
    if reads is None:
        return None
    read_key, rows = stream_key(key, "read"), rows_of(first_row, len(x))
    value = np.zeros((len(x), face.outputs), np.float32)
    spent = Spent()
    for layer, often in zip(layers, reads, strict=True):
        value += layer.acquired(face, often, read_key, rows)
        once = face.reading_of(tile, slices=slices, conversions=often + slices - 1)
        spent = spent.beside(once.times(layer.driven))
    return Reading(value, variance_after(parts, fixed, reads), spent, slices)


def _together(layers: "list[_Driven]") -> float:
    """Variance of what the inputs of all layers leave out. It is the same for all, so amplitudes add."""
    return math.fsum(math.sqrt(layer.rest_variance) for layer in layers) ** 2


@dataclass(frozen=True, slots=True)
class _Driven:
    """A tile row of one layer, driven by one slice of the input or more."""

    index: int
    """Of the layer."""
    tile: int
    rest: Matrix
    """(1, M, width), what the DAC has not driven."""
    rest_variance: float
    """What that would have added: what its lines have in common adds up in step (`compute/response.py`)."""
    driven: int
    """Inputs that are not silent."""
    slices: tuple[Sensed, ...] = ()
    units: tuple[Matrix, ...] = ()
    """(1, M, 1, 1), what a code of each slice stands for."""
    noise: tuple[ReadNoise, ...] = ()

    @classmethod
    def by(cls, face: Face, index: int, tile: int, x: Matrix) -> Self:
        scale = face.sides[index].input_scale
        if scale is not None:
            x = x * scale[tile * face.tile_side : (tile + 1) * face.tile_side]
        return cls(index, tile, x[None], math.inf, int(x.any(axis=1).sum())).finer(face)

    def finer(self, face: Face) -> Self:
        """With a further slice, which drives what the one before could not express."""
        side, here = face.sides[self.index], slice(self.tile, self.tile + 1)
        driving = drive(self.rest, face.device.converters)
        unit = driving.step[..., None]
        shape = (*driving.codes.shape[:2], face.tiles, face.tile_side)
        currents = np.empty(shape, np.float32)
        currents_of(face, side, driving.codes, here, currents)
        sigma = sigma_of(face, side, driving.codes, here)
        adc = face.averaging_adc
        sensed = sense(currents, sigma, adc, side.errors, np.empty_like(currents))
        rest = driving.rest_of(self.rest)
        return replace(
            self,
            rest=rest,
            rest_variance=float(side.response.variance(rest, here)[0]),
            slices=(*self.slices, sensed),
            units=(*self.units, unit),
            noise=(*self.noise, read_noise(sensed, unit, side.scale_squares)),
        )

    def fixed_variance(self, face: Face) -> float:
        """What averaging does not touch: finer slices, which are read once, and what calibration left."""
        finer = math.fsum(part.single for part in self.noise[1:])
        side, bits = face.sides[self.index], face.device.converters.adc_bits
        if side.errors is None or bits is None:
            return finer
        return finer + math.fsum(
            calibration_variance(sensed, unit, side.scale_squares, bits)
            for sensed, unit in zip(self.slices, self.units, strict=True)
        )

    def acquired(self, face: Face, reads: int, key: int, rows: Words) -> Matrix:
        """(M, outputs), the coarse slice read so often, finer ones once."""
        side, here = face.sides[self.index], slice(self.tile, self.tile + 1)
        value = np.zeros((len(rows), face.tiles * face.tile_side), np.float32)
        for order, (sensed, unit) in enumerate(zip(self.slices, self.units, strict=True)):
            often = reads if order == 0 else 1
            for start, stop in spans(len(rows), PANEL_ROWS):
                panel = slice(start, stop)
                dice = dice_of(key, self.index, here, order, rows[panel])
                part = sensed.of_rows(panel)
                got = acquire(part, often, dice, side.errors, here)
                got *= part.step * unit[:, panel]
                value[panel] += got.reshape(stop - start, -1)
        value = value[:, : face.outputs]
        if side.output_scale is not None:
            value *= side.output_scale
        return value
