"""A programmed block as its two sides see it: layers of arrays, driven by their rows or by their columns.

Inputs are whole codes and conductances lie on a dyadic grid so coarse that float32 adds their products exactly: the
currents have the same bits for any cut of X, any number of threads and any BLAS.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from compute import energy
from compute.chance import stream_key
from compute.converters import (
    CODES_WITHOUT_DAC,
    AdcErrors,
    Ranging,
    adc_errors,
    dac_levels,
    ranging,
)
from compute.device import DeviceModel
from compute.energy import Spent
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans
from compute.response import Response

EXACT_MAX = 255
"""The largest whole number that the grid is made for; larger ones are multiplied in two parts or more."""

DIGIT = 256.0

MANTISSA_BITS = 24

EXPONENT_MIN = -60
"""What lies below 2^-60 of the window is nothing."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Arrays that hold the whole block once: W is the sum over layers of conductance * scale."""

    conductance: Matrix
    """(k, n), effective (G+ - G-) / window, on the grid."""
    squares: Matrix | None
    """(k, n), (G+^2 + G-^2) / window^2, on a grid too, where read noise has a part in proportion to the conductance."""
    scale: Matrix
    """(n,)"""

    @property
    def nbytes(self) -> int:
        squares = 0 if self.squares is None else self.squares.nbytes
        return self.conductance.nbytes + squares + self.scale.nbytes


def on_grid(conductance: Matrix, code_max: int, tile_side: int = TILE_SIDE) -> Matrix:
    """Round (k, n) conductances tile by tile to multiples of a power of two, in place.

    The grid is the finest at which code_max times any row or column of the tile adds up exactly in float32:
        grid >= code_max * max(sum_i |g_ij|, sum_j |g_ij|) / 2^24
    with a little room for what rounding itself adds to the sums.
    """
    code_max = min(code_max, EXACT_MAX)
    starts = range(0, conductance.shape[1], tile_side)
    widths = [min(tile_side, conductance.shape[1] - start) for start in starts]
    for start, stop in spans(conductance.shape[0], tile_side):
        strip = conductance[start:stop]
        size = np.abs(strip)
        columns = np.maximum.reduceat(size.sum(axis=0, dtype=np.float64), starts)
        rows = np.add.reduceat(size, starts, axis=1).max(axis=0).astype(np.float64)
        bound = np.maximum(columns, rows) * (1.002 * code_max)
        exponent = np.maximum(np.frexp(bound)[1] - MANTISSA_BITS, EXPONENT_MIN)
        grid = np.repeat(np.ldexp(np.float32(1.0), exponent), widths)
        strip *= np.float32(1.0) / grid
        np.rint(strip, out=strip)
        strip *= grid
    return conductance


def exact_product(whole: Matrix, matrix: Matrix, largest: float, out: Matrix) -> None:
    """out = whole @ matrix, for whole numbers up to `largest` and a matrix on the grid.

    Beyond EXACT_MAX in parts, each of which is exact; their sum is rounded value by value, so the same everywhere.
    """
    if largest <= EXACT_MAX:
        np.matmul(whole, matrix, out=out)
        return
    high = np.rint(whole * np.float32(1.0 / DIGIT))
    np.matmul(whole - high * np.float32(DIGIT), matrix, out=out)
    upper = np.empty(out.shape, np.float32)
    exact_product(high, matrix, largest / DIGIT + 1.0, upper)
    upper *= np.float32(DIGIT)
    out += upper


@dataclass(frozen=True)
class Side:
    """One layer as it is seen from the side that is driven."""

    conductance: Matrix
    """(inputs, outputs)"""
    squares: Matrix | None
    input_scale: Matrix | None
    """(inputs,), applied before driving: the columns' scales, where columns are driven."""
    output_scale: Matrix | None
    """(outputs,), applied to what was read: the columns' scales, where rows are driven."""
    errors: AdcErrors | None
    tile_side: int = TILE_SIDE

    @cached_property
    def strips(self) -> Matrix:
        """(whole tile rows, tile side, outputs), a view."""
        inputs, outputs = self.conductance.shape
        whole, side = inputs // self.tile_side, self.tile_side
        return self.conductance[: whole * side].reshape(whole, side, outputs)

    @cached_property
    def scale_squares(self) -> Matrix64:
        """(tiles, tile side), squared output scales; zero for outputs that the last array does not use."""
        outputs = self.conductance.shape[1]
        squares = np.zeros(-(-outputs // self.tile_side) * self.tile_side)
        squares[:outputs] = 1.0 if self.output_scale is None else np.square(self.output_scale)
        return squares.reshape(-1, self.tile_side)

    @cached_property
    def response(self) -> Response:
        return Response.of(self.conductance, self.scale_squares, self.tile_side)


@dataclass(frozen=True)
class Face:
    """A block as it is seen from the side that is driven. Kept between products: it remembers what it worked out."""

    sides: tuple[Side, ...]
    device: DeviceModel
    tile_side: int = TILE_SIDE

    @cached_property
    def inputs(self) -> int:
        return int(self.sides[0].conductance.shape[0])

    @cached_property
    def outputs(self) -> int:
        return int(self.sides[0].conductance.shape[1])

    @cached_property
    def tile_rows(self) -> int:
        return -(-self.inputs // self.tile_side)

    @cached_property
    def tiles(self) -> int:
        """Arrays in a tile row."""
        return -(-self.outputs // self.tile_side)

    @cached_property
    def code_max(self) -> float:
        """Largest DAC code; inputs without a DAC are no whole numbers, and are not added exactly anyway."""
        bits = self.device.converters.dac_bits
        return CODES_WITHOUT_DAC if bits is None else float(dac_levels(bits))

    @cached_property
    def adc(self) -> Ranging | None:
        return ranging(self.device.converters, averaged=False, tile_side=self.tile_side)

    @cached_property
    def averaging_adc(self) -> Ranging | None:
        """With room for dither."""
        return ranging(self.device.converters, averaged=True, tile_side=self.tile_side)

    @cached_property
    def one_reading(self) -> tuple[Spent, Spent]:
        """Of a whole tile row of one layer, and of the last, for one input that is read once."""
        return self.reading_of(0), self.reading_of(self.tile_rows - 1)

    @cached_property
    def one_input(self) -> Spent:
        """Of all layers, read once."""
        whole, last = self.one_reading
        layers, wholes = len(self.sides), self.tile_rows - 1
        return Spent(
            layers * (wholes * whole.reads + last.reads),
            layers * (wholes * whole.energy_pj + last.energy_pj),
            last.latency_ns,
        )

    @cached_property
    def is_noisy(self) -> bool:
        """Readings of the same input differ."""
        reading = self.device.reading
        return reading.constant > 0.0 or reading.proportional > 0.0

    def reading_of(self, tile: int, *, slices: int = 1, conversions: int = 1) -> Spent:
        """Of a tile row of one layer, for one input. With an ADC a slice settles once more, for the peak detector."""
        peaks = 0 if self.adc is None else slices
        return energy.reading(
            self.device,
            inputs=min(self.tile_side, self.inputs - tile * self.tile_side),
            outputs=self.outputs,
            settlings=conversions + peaks,
            conversions=conversions,
            tile_side=self.tile_side,
        )


def face(
    layers: tuple[Layer, ...],
    device: DeviceModel,
    transpose: bool,
    key: int,
    tile_side: int = TILE_SIDE,
) -> Face:
    """Layers as rows of X drive them, or columns. `key` names the arrays for life: their ADCs differ."""
    sides = []
    for index, layer in enumerate(layers):
        squares = layer.squares
        conductance = layer.conductance.T if transpose else layer.conductance
        tile_rows, tiles = (-(-length // tile_side) for length in conductance.shape)
        adcs = stream_key(key, "adc", index, "columns driven" if transpose else "rows driven")
        sides.append(
            Side(
                conductance=conductance,
                squares=squares.T if transpose and squares is not None else squares,
                input_scale=layer.scale if transpose else None,
                output_scale=None if transpose else layer.scale,
                errors=adc_errors(device.converters, adcs, tile_rows, tiles, tile_side),
                tile_side=tile_side,
            )
        )
    return Face(tuple(sides), device, tile_side)
