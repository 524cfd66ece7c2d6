"""The edges of an array: numbers become voltages (DAC), currents become numbers (ADC).

The DAC drives each row of X in sign and magnitude, scaled to the row's largest value within the tile row; what it
cannot express is driven again as a second, finer *input slice*. The ADC is uniform, behind an amplifier whose gain is
a power of two: a peak detector sees the array's currents once and picks the largest gain at which they still fit, as
auto-ranging instruments do. Currents are in units of (DAC code x full conductance window); the ADC's own full range
is chosen such that all its steps are powers of two, so passing between currents and steps loses nothing.

Every ADC has an offset and a gain of its own for life. A calibration has measured both, as exactly as a finite number
of conversions can, and each code is corrected by what it found.
"""

import math
from dataclasses import dataclass

import numpy as np

from compute.chance import normal, rows_of, stream_key
from compute.device import Converters
from compute.partition import TILE_SIDE, Matrix

DITHER_LSB = 0.5
"""Noise added before the ADC when readings are averaged, unless the cells are that noisy by themselves.

Without it an average can be no better than one reading. At half a step all but the first harmonic of the
rounding error are gone from the mean (the second is damped by exp(-2 pi^2 4 / 4) = 3e-9), and the first by 0.7 %.
"""

HARMONIC_FREE_LSB = 0.75
"""With this much noise the first harmonic is gone too: its amplitude is exp(-2 pi^2 0.75^2) / pi = 5e-6 steps, less
than float32 tells apart at the ends of a range of 8 bits (127 steps of 6e-8 each)."""

TAIL_SIGMA = 4.5
"""Room above the peak for noise: more than `chance.normal` ever throws (4.32), so noise alone never clips."""

CODES_WITHOUT_DAC = 128.0
"""Full scale of inputs that pass as they are, in codes: what the ADC's range is measured by."""

CALIBRATION_READS = 1024
"""Dithered conversions averaged for each of the two voltages at which a calibration looks."""

CALIBRATION_RANGE = 0.9
"""Part of the ADC's range, to either side, at which its gain is measured."""

TINY = float(np.finfo(np.float32).tiny)
_BELOW_TWO = np.int32(0x007FFFFF)
_EXPONENT = np.int32(0x7F800000)


@dataclass(frozen=True, slots=True)
class Drive:
    """Some rows of X as the DAC drives them: x = codes * step + rest."""

    codes: Matrix
    """(..., width), whole numbers where there is a DAC."""
    step: Matrix
    """(..., 1), what one code stands for."""
    peak: Matrix
    """(..., 1), largest value; zero for a row that is silent."""

    def rest_of(self, x: Matrix) -> Matrix:
        """(..., width), what the DAC could not express."""
        rest: Matrix = x - self.codes * self.step
        return rest


def drive(x: Matrix, converters: Converters) -> Drive:
    """Encode each row of x (..., width) to its own full scale; steps stay in float32's normal range.

    Without a DAC the values pass as they are, in units of a power of two where an ADC has to see how large they are.
    """
    peak = np.maximum.reduce(np.abs(x), axis=-1, keepdims=True)
    if converters.dac_bits is None and converters.adc_bits is None:
        return Drive(x, np.ones_like(peak), peak)
    if converters.dac_bits is None:
        step = power_of_two_above(np.maximum(peak / CODES_WITHOUT_DAC, TINY))
    else:
        step = np.maximum(peak / float(dac_levels(converters.dac_bits)), TINY)
    codes = x / step
    if converters.dac_bits is not None:
        np.rint(codes, out=codes)
    return Drive(codes, step, peak)


def dac_levels(bits: int) -> int:
    """Steps to either side of zero, in sign and magnitude; of an ADC too."""
    return (1 << (bits - 1)) - 1


def power_of_two_above(value: Matrix) -> Matrix:
    """The least power of two that is not below each value >= 0; in place. Zero stays zero."""
    bits = value.view(np.int32)
    bits += _BELOW_TWO
    bits &= _EXPONENT
    return value


@dataclass(frozen=True, slots=True)
class Ranging:
    """What the amplifier and the ADC behind it can do."""

    levels: float
    """Largest code."""
    usable: float
    """Steps that the peak may take; the rest is kept for dither, offsets and gains."""
    step_min: float
    step_max: float
    """The ADC's step at the least gain, in DAC codes times the window: all currents fit."""


def ranging(
    converters: Converters, *, averaged: bool, tile_side: int = TILE_SIDE
) -> Ranging | None:
    """`averaged`: with room for the dither of readings that are averaged. None without an ADC.

    The full range is what all lines of an array can give together.
    """
    if converters.adc_bits is None:
        return None
    codes = CODES_WITHOUT_DAC
    if converters.dac_bits is not None:
        codes = float(dac_levels(converters.dac_bits))
    levels = float(dac_levels(converters.adc_bits))
    step_max = 2.0 ** math.ceil(math.log2(codes * tile_side / levels))
    kept = TAIL_SIGMA * (
        converters.adc_offset_sigma
        + converters.adc_gain_sigma * levels
        + (DITHER_LSB if averaged else 0.0)
    )
    # An ADC of so few levels that nothing would be left clips now and then, as it would.
    usable = max(levels - kept, levels / 2.0)
    return Ranging(levels, usable, step_max * 2.0**-converters.adc_gain_max, step_max)


def adc_steps(peak: Matrix, ranging: Ranging) -> Matrix:
    """The ADC's step for each peak current, the range just above the peak; in place."""
    peak /= ranging.usable
    power_of_two_above(peak)
    np.maximum(peak, ranging.step_min, out=peak)
    np.minimum(peak, ranging.step_max, out=peak)
    return peak


def round_codes(current: Matrix, levels: float | None) -> None:
    """Round currents in ADC steps to codes; clip them, unless it is known that none reaches so far (None)."""
    np.rint(current, out=current)
    if levels is not None:
        np.clip(current, -levels, levels, out=current)


@dataclass(frozen=True, slots=True)
class AdcErrors:
    """Of the ADCs of one layer, each (tile rows, tiles, tile side): code = rint(gain * current + offset), in steps."""

    gain: Matrix
    offset: Matrix
    offset_seen: Matrix
    """What the calibration found."""
    correction: Matrix
    """1 / gain, as the calibration found it."""

    def distort(self, current: Matrix, tile: slice) -> None:
        """current (tile rows, M, tiles, tile side) in steps, as it reaches the ADC; in place."""
        current *= self.gain_of(tile)
        current += self.offset[tile, None]

    def gain_of(self, tile: slice) -> Matrix:
        return self.gain[tile, None]

    def correct(self, codes: Matrix, tile: slice) -> None:
        """Take off what is known; in place."""
        codes -= self.offset_seen[tile, None]
        codes *= self.correction[tile, None]


def offset_doubt() -> float:
    """Standard deviation of a calibrated offset, in steps.

    A dithered conversion has variance DITHER_LSB^2 + 1/12. With c+ and c- the means at +r and -r, offset =
    (c+ + c-) / 2 and gain = (c+ - c-) / 2r: both have the variance of one of them, halved.
    """
    return math.sqrt((DITHER_LSB**2 + 1.0 / 12.0) / (2.0 * CALIBRATION_READS))


def gain_doubt(bits: int) -> float:
    """Standard deviation of a calibrated gain."""
    return offset_doubt() / (CALIBRATION_RANGE * dac_levels(bits))


def adc_errors(
    converters: Converters, key: int, tile_rows: int, tiles: int, tile_side: int = TILE_SIDE
) -> AdcErrors | None:
    """Draw the ADCs of some arrays and their calibration; `key` names the arrays. None if there is no error."""
    if converters.adc_bits is None:
        return None
    if not converters.adc_offset_sigma and not converters.adc_gain_sigma:
        return None

    def thrown(what: str, sigma: float) -> Matrix:
        values = normal(stream_key(key, what), rows_of(0, tile_rows), tiles * tile_side)
        values *= np.float32(sigma)
        return values.reshape(tile_rows, tiles, tile_side)

    offset = thrown("adc offset", converters.adc_offset_sigma)
    gain = 1.0 + thrown("adc gain", converters.adc_gain_sigma)
    gain_seen = gain + thrown("adc gain calibration", gain_doubt(converters.adc_bits))
    offset_seen = offset + thrown("adc offset calibration", offset_doubt())
    return AdcErrors(gain, offset, offset_seen, np.float32(1.0) / gain_seen)


def mean_of_conversions(
    current: Matrix, sigma: Matrix, reads: int, normal: Matrix, levels: float | None
) -> Matrix:
    """Mean of `reads` conversions of current + sigma z, all in ADC steps, in one pass whatever their number.

    With A = exp(-2 pi^2 sigma^2), keeping the first harmonic of the rounding error's Fourier series:
        mean     = v - A/pi sin(2 pi v)
        variance = sigma^2 + 1/12 - A (1/pi^2 + 4 sigma^2) cos(2 pi v) - (A/pi sin(2 pi v))^2
    and the mean of many is normal with variance / reads. `normal` is standard normal, shaped like the currents, and
    is used up; sigma broadcasts. `levels` as for `round_codes`.
    """
    if float(sigma.min()) >= HARMONIC_FREE_LSB:
        normal *= np.sqrt((sigma * sigma + np.float32(1.0 / 12.0)) / np.float32(reads))
    else:
        bias, variance = _first_harmonic(current, sigma)
        variance /= np.float32(reads)
        normal *= np.sqrt(variance, out=variance)
        normal -= bias
    normal += current
    if levels is not None:
        np.clip(normal, -levels, levels, out=normal)
    return normal


def _first_harmonic(current: Matrix, sigma: Matrix) -> tuple[Matrix, Matrix]:
    """The rounding error's mean, sign reversed, and the variance of one conversion."""
    damping = np.exp(np.float32(-2.0 * np.pi**2) * sigma * sigma)
    phase = np.float32(2.0 * np.pi) * current
    bias = np.sin(phase)
    bias *= damping * np.float32(1.0 / np.pi)
    variance = np.cos(phase, out=phase)
    variance *= -damping * (np.float32(np.pi**-2) + 4 * sigma * sigma)
    variance += sigma * sigma + np.float32(1.0 / 12.0)
    variance -= bias * bias
    return bias, variance
