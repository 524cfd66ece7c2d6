"""Reads arrays: one product of X with a programmed block, tile row by tile row, with all its noise.

A tile row is the 128 rows of a block that share their inputs, so one matrix product gives the currents of all
its arrays. Read noise of single cells adds up to normal noise at the output, sigma = sqrt(2) s ||codes||, which
is drawn there: exact in law, and 128 times fewer draws. Each slice of the input is converted by the ADC of each
array; averaging takes the coarse slice several times. Either side of an array can be driven: the columns too,
which gives products with the transpose from the same cells.
"""

import math
from dataclasses import dataclass

import numpy as np

from compute.converters import (
    DITHER_LSB,
    HEADROOM_SIGMA,
    Drive,
    adc_steps,
    convert,
    dac_levels,
    drive,
    mean_of_conversions,
)
from compute.device import DeviceModel, stream
from compute.mapping import ProgrammedBlock
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans
from compute.planner import ReadNoise, VarianceBudget, reads_for, slices_for, variance_after

ONE_BY_ONE_MAX = 15
"""Up to this many readings are simulated singly; the mean of more is normal for all that can be seen."""


@dataclass(frozen=True, slots=True)
class Side:
    """A block seen from the side that is driven."""

    conductance: Matrix
    """(inputs, outputs)"""
    input_scale: Matrix | None
    """(inputs,), applied before driving: the columns' scales, where columns are driven."""
    output_scale: Matrix | None
    """(outputs,), applied to what was read: the columns' scales, where rows are driven."""
    scale_squares: Matrix64
    """(output tiles,), sums of squared output scales."""
    mean_square: float
    """Of the factors that an input meets."""
    device: DeviceModel

    @property
    def inputs(self) -> int:
        return int(self.conductance.shape[0])

    @property
    def outputs(self) -> int:
        return int(self.conductance.shape[1])

    def rest_variance(self, rest: Matrix) -> float:
        """What inputs that are not driven would have added; their signs are as good as random."""
        return energy_of(rest) * self.outputs * self.mean_square


def side_of(block: ProgrammedBlock, transpose: bool) -> Side:
    rows, columns = block.shape
    if transpose:
        widths = [float(stop - start) for start, stop in spans(rows, TILE_SIDE)]
        mean_square = block.conductance_mean_square
        return Side(
            block.conductance.T, block.scale, None, np.array(widths), mean_square, block.device
        )
    squares = np.add.reduceat(block.scale.astype(np.float64) ** 2, np.arange(0, columns, TILE_SIDE))
    return Side(block.conductance, None, block.scale, squares, block.mean_square, block.device)


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading gave, and what it took."""

    value: Matrix
    variance: float = 0.0
    """Predicted, summed over all values; programming errors are not in it."""
    reads: int = 0
    """Of single arrays."""
    energy_pj: float = 0.0
    latency_ns: float = 0.0
    slices: int = 1


def multiply_rows(
    side: Side, x: Matrix, variance: float | None, key: int, rows_index: int
) -> Reading | None:
    """x (M, inputs) through the arrays, within a variance of reading; None where that cannot be had.

    Without a variance: one reading of one slice. `rows_index` tells apart the panels of one X.
    """
    if side.input_scale is not None:
        x = x * side.input_scale
    budget = None if variance is None else VarianceBudget(variance, energy_of(x))
    value = np.zeros((len(x), side.outputs), np.float32)
    done = []
    for tile, (start, stop) in enumerate(spans(side.inputs, TILE_SIDE)):
        dice = stream(key, rows_index << 32 | tile)
        reading = _read_tile_row(side, side.conductance[start:stop], x[:, start:stop], budget, dice)
        if reading is None:
            return None
        value += reading.value
        done.append(reading)
    if side.output_scale is not None:
        value *= side.output_scale
    return Reading(
        value,
        variance=math.fsum(reading.variance for reading in done),
        reads=sum(reading.reads for reading in done),
        energy_pj=math.fsum(reading.energy_pj for reading in done),
        latency_ns=max(reading.latency_ns for reading in done),
        slices=max(reading.slices for reading in done),
    )


def energy_of(x: Matrix) -> float:
    """Sum of squares, in float64."""
    return float(np.einsum("ij,ij->", x, x, dtype=np.float64))


def _read_tile_row(
    side: Side,
    conductance: Matrix,
    x: Matrix,
    budget: VarianceBudget | None,
    dice: "np.random.Generator",
) -> Reading | None:
    """One tile row (width, outputs) driven by x (M, width). Values are without the output scale."""
    energy = energy_of(x)
    if energy == 0.0:
        return Reading(np.zeros((1, 1), np.float32))
    allowed = None if budget is None else budget.allowance(energy)
    device = side.device
    drives = [drive(x, device.dac_bits)]
    if slices_for(side.rest_variance(drives[0].rest), allowed) == 2:
        drives.append(drive(drives[0].rest, device.dac_bits))
    currents = sense(np.concatenate([each.codes for each in drives]), conductance, device)
    noise = _read_noise(side, currents, drives)
    reads = 1 if allowed is None else reads_for(noise, allowed)
    if reads is None:
        return None
    variance = variance_after(noise, reads)
    if budget is not None:
        budget.spend(energy, variance)
    value = np.zeros((len(x), side.outputs), np.float32)
    for index, each in enumerate(drives):
        part = currents.rows(index * len(x), (index + 1) * len(x))
        got = acquire(part, reads if index == 0 else 1, device, dice)
        got *= each.step[:, :, None]
        value += got.reshape(len(x), -1)[:, : side.outputs]
    return _cost(value, variance, reads, len(drives), conductance.shape, device)


@dataclass(frozen=True, slots=True)
class Currents:
    """What stands at the outputs of a tile row, in DAC codes times the conductance window."""

    current: Matrix
    """(M, output tiles, 128), without noise; outputs that the last tile does not use are zero."""
    adc_step: Matrix
    """(M, output tiles, 1), zero without an ADC."""
    sigma: Matrix
    """(M, 1, 1), read noise of one reading."""

    def rows(self, start: int, stop: int) -> "Currents":
        return Currents(self.current[start:stop], self.adc_step[start:stop], self.sigma[start:stop])


def sense(codes: Matrix, conductance: Matrix, device: DeviceModel) -> Currents:
    """Drive codes (M, width) into (width, outputs) and set each array's ADC range by its peak current."""
    outputs = conductance.shape[1]
    tiles = -(-outputs // TILE_SIDE)
    currents = np.zeros((len(codes), tiles * TILE_SIDE), np.float32)
    np.matmul(codes, conductance, out=currents[:, :outputs])
    current = currents.reshape(len(codes), tiles, TILE_SIDE)
    norm = np.sqrt(np.einsum("ij,ij->i", codes, codes))[:, None, None]
    sigma = norm * np.float32(math.sqrt(2.0) * device.cell_noise)
    peak = np.maximum(current.max(axis=2, keepdims=True), -current.min(axis=2, keepdims=True))
    if device.adc_bits is None or device.dac_bits is None:
        return Currents(current, np.zeros_like(peak), sigma)
    peak += np.float32(HEADROOM_SIGMA) * sigma
    full_scale = float(dac_levels(device.dac_bits) * len(conductance))
    steps = adc_steps(peak, full_scale, device.adc_bits, device.adc_gain_max)
    return Currents(current, steps, sigma)


def acquire(
    currents: Currents, reads: int, device: DeviceModel, dice: "np.random.Generator"
) -> Matrix:
    """The mean of `reads` noisy conversions of each current, in the same unit and shape."""
    current, sigma = currents.current, currents.sigma
    if device.adc_bits is None or device.dac_bits is None:
        if not sigma.any():
            return current.copy()
        normal = dice.standard_normal(current.shape, np.float32)
        return current + normal * (sigma / np.float32(math.sqrt(reads)))
    in_steps = current / currents.adc_step
    noise = sigma / currents.adc_step
    if reads > 1:
        noise = np.maximum(noise, np.float32(DITHER_LSB))
    if reads > ONE_BY_ONE_MAX:
        normal = dice.standard_normal(current.shape, np.float32)
        mean = mean_of_conversions(in_steps, noise, reads, normal, device.adc_bits)
    else:
        mean = _mean_one_by_one(in_steps, noise, reads, dice, device.adc_bits)
    mean *= currents.adc_step
    return mean


def _mean_one_by_one(
    current: Matrix, sigma: Matrix, reads: int, dice: "np.random.Generator", bits: int
) -> Matrix:
    total = np.zeros_like(current)
    for _ in range(reads):
        noisy = dice.standard_normal(current.shape, np.float32)
        noisy *= sigma
        noisy += current
        total += convert(noisy, bits)
    total /= np.float32(reads)
    return total


def _read_noise(side: Side, currents: Currents, drives: list[Drive]) -> ReadNoise:
    """Rounding spreads over one step (variance 1/12); dither joins in where readings are averaged."""
    step = np.concatenate([each.step for each in drives]).astype(np.float64)
    scale = step**2 * side.scale_squares
    rounding = currents.adc_step[:, :, 0].astype(np.float64) ** 2
    cells = currents.sigma[:, :, 0].astype(np.float64) ** 2
    single = scale * (cells + rounding / 12.0)
    dithered = scale * (np.maximum(cells, DITHER_LSB**2 * rounding) + rounding / 12.0)
    coarse = len(drives[0].codes)
    return ReadNoise(
        single=float(single[:coarse].sum()),
        dithered=float(dithered[:coarse].sum()),
        fixed=float(single[coarse:].sum()) + side.rest_variance(drives[-1].rest),
    )


def _cost(
    value: Matrix,
    variance: float,
    reads: int,
    slices: int,
    shape: tuple[int, ...],
    device: DeviceModel,
) -> Reading:
    """Each slice also takes one reading without conversion, for the peak detector."""
    width, outputs = shape
    tiles = -(-outputs // TILE_SIDE)
    conversions = reads + slices - 1
    settlings = conversions + slices
    line = width * tiles * device.dac_line_pj + tiles * 2 * device.array_read_pj
    energy = settlings * line + conversions * outputs * device.adc_conversion_pj
    return Reading(
        value,
        variance=variance,
        reads=len(value) * tiles * settlings,
        energy_pj=len(value) * energy,
        latency_ns=len(value) * settlings * device.read_ns,
        slices=slices,
    )
