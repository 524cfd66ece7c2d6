"""From currents at the edge of an array to numbers: cell noise, the ADC's range, one reading or the mean of many.

Read noise of single cells adds up to normal noise at the output, which is drawn there: exact in law, and far fewer
draws. That is with perfect wires. Where wires take part of a cell's current they take part of its noise too, which is
not looked at: with 1 to 4 ohm from cell to cell the noise here is 1.1 to 1.5 times that of the cells one by one.

Arrays of currents end in (tiles, tile side): the outputs of one array share a range, and columns that the last array of
a row does not use are zero.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from compute.chance import Words, fill_normal, row_states
from compute.converters import (
    DITHER_LSB,
    TAIL_SIGMA,
    AdcErrors,
    Ranging,
    adc_steps,
    gain_doubt,
    mean_of_conversions,
    offset_doubt,
    round_codes,
)
from compute.device import DeviceModel
from compute.partition import Matrix, Matrix64
from compute.planner import ReadNoise

ONE_BY_ONE_MAX = 15
"""Up to this many readings are simulated singly; the mean of more is normal for all that can be seen."""


@dataclass(frozen=True, slots=True)
class Sensed:
    """Currents (tile rows, M, tiles, tile side) that an ADC's range has been set for."""

    current: Matrix
    """In ADC steps, without noise."""
    step: Matrix
    """(tile rows, M, tiles, 1), one step in DAC codes times the window; ones without an ADC."""
    sigma: Matrix | None
    """Read noise of one reading in steps, shaped so that it broadcasts; None where cells are silent."""
    ranging: Ranging | None
    levels: float | None
    """Largest code where something may reach beyond it."""

    def of_rows(self, rows: slice) -> "Sensed":
        """A view of some of the M rows."""
        sigma = None if self.sigma is None else self.sigma[:, rows]
        current, step = self.current[:, rows], self.step[:, rows]
        return replace(self, current=current, step=step, sigma=sigma)


def constant_sigma(codes: Matrix, device: DeviceModel) -> Matrix | None:
    """sigma = sqrt(2) s ||codes|| of each row of codes (..., width), as (..., 1, 1); None without such noise.

    Squares of whole codes add up exactly in float64, in whatever order.
    """
    if not device.cell_noise:
        return None
    norm = np.sqrt(np.einsum("...i,...i->...", codes, codes, dtype=np.float64))
    sigma: Matrix = (norm * (math.sqrt(2.0) * device.cell_noise)).astype(np.float32)
    return sigma[..., None, None]


def sense(
    current: Matrix,
    sigma: Matrix | None,
    ranging: Ranging | None,
    errors: AdcErrors | None,
    spare: Matrix,
) -> Sensed:
    """Set each array's range by its peak current; `current` is used up, `spare` is of its shape."""
    if ranging is None:
        return Sensed(current, np.ones((*current.shape[:-1], 1), np.float32), sigma, None, None)
    np.abs(current, out=spare)
    # Floats that are not negative stand in the same order as their bits, of which numpy finds the largest sooner.
    peak = np.maximum.reduce(spare.view(np.int32), axis=-1).view(np.float32)
    if sigma is not None:
        peak += np.float32(TAIL_SIGMA) * sigma.max(axis=-1)
    fits = errors is None and bool(
        np.maximum.reduce(peak, axis=None) <= ranging.step_max * ranging.usable
    )
    step = adc_steps(peak, ranging)[..., None]
    in_steps = np.float32(1.0) / step
    current *= in_steps
    return Sensed(
        current,
        step,
        None if sigma is None else sigma * in_steps,
        ranging,
        None if fits and ranging.usable > ranging.levels / 2.0 else ranging.levels,
    )


@dataclass(frozen=True, slots=True)
class Dice:
    """What is thrown for some tile rows of a layer: a value for each reading, row and output by its name."""

    key: int
    throws: Words
    """(tile rows,), the name of the first reading of each; those of further readings follow."""
    rows: Words
    """(M,)"""

    def states(self, reading: int) -> Words:
        """(tile rows, M), where the values of each row begin."""
        keys = row_states(self.key, self.throws + np.uint64(reading))
        return row_states(keys[:, None], self.rows)

    def normal(self, reading: int, outputs: tuple[int, ...]) -> Matrix:
        """(tile rows, M, *outputs) standard normal values; outputs (tiles, tile side)."""
        states = self.states(reading)
        values = np.empty((*states.shape, *outputs), np.float32)
        fill_normal(states.ravel(), values.reshape(states.size, -1))
        return values


def read_once(sensed: Sensed, normal: Matrix | None, errors: AdcErrors | None, tile: slice) -> None:
    """`sensed.current` becomes one reading; `normal`, standard normal of its shape, is used up."""
    current = sensed.current
    if sensed.sigma is not None and normal is not None:
        normal *= sensed.sigma
        current += normal
    _convert(current, sensed, errors, tile)


def acquire(
    sensed: Sensed, reads: int, dice: Dice, errors: AdcErrors | None, tile: slice
) -> Matrix:
    """The mean of `reads` readings, in the unit and shape of the currents."""
    current, sigma = sensed.current, _sigma_of(sensed, reads)
    outputs = current.shape[-2:]
    if sigma is None:
        mean = current.copy()
        _convert(mean, sensed, errors, tile)
        return mean
    if sensed.ranging is None:
        mean = dice.normal(0, outputs)
        mean *= sigma / np.float32(math.sqrt(reads))
        mean += current
        return mean
    if reads <= ONE_BY_ONE_MAX:
        return _mean_one_by_one(sensed, sigma, reads, dice, errors, tile)
    if errors is not None:
        current = current.copy()
        errors.distort(current, tile)
        sigma = sigma * errors.gain_of(tile)
    mean = mean_of_conversions(current, sigma, reads, dice.normal(0, outputs), sensed.levels)
    if errors is not None:
        errors.correct(mean, tile)
    return mean


def _mean_one_by_one(
    sensed: Sensed, sigma: Matrix, reads: int, dice: Dice, errors: AdcErrors | None, tile: slice
) -> Matrix:
    total = np.zeros_like(sensed.current)
    for reading in range(reads):
        noisy = dice.normal(reading, total.shape[-2:])
        noisy *= sigma
        noisy += sensed.current
        _convert(noisy, sensed, errors, tile)
        total += noisy
    total /= np.float32(reads)
    return total


def _convert(current: Matrix, sensed: Sensed, errors: AdcErrors | None, tile: slice) -> None:
    """Currents in steps, noise included, become corrected codes; in place. Without an ADC they pass."""
    if sensed.ranging is None:
        return
    if errors is not None:
        errors.distort(current, tile)
    round_codes(current, sensed.levels)
    if errors is not None:
        errors.correct(current, tile)


def _sigma_of(sensed: Sensed, reads: int) -> Matrix | None:
    """Noise before the ADC: dither joins in where readings are averaged and cells are quieter."""
    if reads == 1 or sensed.ranging is None:
        return sensed.sigma
    dither = np.float32(DITHER_LSB)
    if sensed.sigma is None:
        return np.full((1, 1, 1, 1), dither, np.float32)
    louder: Matrix = np.maximum(sensed.sigma, dither)
    return louder


def read_noise(sensed: Sensed, unit: Matrix, scale_squares: Matrix64) -> ReadNoise:
    """Variances of reading, summed over all outputs. Rounding spreads over one step: variance 1/12.

    unit (tile rows, M, 1, 1): what a DAC code stands for; scale_squares (tiles, tile side): what outputs are scaled by.
    """
    weights = np.square(sensed.step * unit, dtype=np.float64)
    cells = np.zeros(1) if sensed.sigma is None else np.square(sensed.sigma, dtype=np.float64)
    by_output = sensed.sigma is not None and sensed.sigma.shape[-1] > 1
    outputs = scale_squares if by_output else scale_squares.sum(axis=-1, keepdims=True)
    weights = weights * outputs
    if sensed.ranging is None:
        variance = float((weights * cells).sum())
        return ReadNoise(variance, variance)
    rounding = float(weights.sum()) / 12.0
    return ReadNoise(
        single=float((weights * cells).sum()) + rounding,
        dithered=float((weights * np.maximum(cells, DITHER_LSB**2)).sum()) + rounding,
    )


def calibration_variance(
    sensed: Sensed, unit: Matrix, scale_squares: Matrix64, adc_bits: int
) -> float:
    """What calibrated offsets and gains still add, summed over all outputs; arguments as for `read_noise`."""
    weights = np.square(sensed.step * unit, dtype=np.float64)
    offsets = float((weights * scale_squares.sum(axis=-1, keepdims=True)).sum())
    squares = np.einsum("gmto,to->gmt", np.square(sensed.current), scale_squares)
    gains = float((weights[..., 0] * squares).sum())
    return offsets * offset_doubt() ** 2 + gains * gain_doubt(adc_bits) ** 2
