"""The edges of an array: numbers become voltages (DAC), currents become numbers (ADC).

The DAC drives each row of X in sign and magnitude, scaled to the row's largest value; what it cannot express is
driven again as a second, finer *input slice*. The ADC is uniform, behind an amplifier whose gain is a power of
two: a peak detector sees the array's currents once and picks the largest gain at which they still fit, as
auto-ranging instruments do. Currents are in units of (DAC code x full conductance window).
"""

from dataclasses import dataclass

import numpy as np

from compute.partition import Matrix

DITHER_LSB = 0.5
"""Noise added before the ADC when readings are averaged, unless the cells are that noisy by themselves.

Without it an average can be no better than one reading. At half a step all but the first harmonic of the
rounding error are gone from the mean (the second is damped by exp(-2 pi^2) = 3e-9), and the first by 0.7 %.
"""

HEADROOM_SIGMA = 4.0
"""Room above the peak for read noise."""

TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, slots=True)
class Drive:
    """Some rows of X as the DAC drives them: x = codes * step + rest."""

    codes: Matrix
    """(M, width), whole numbers."""
    step: Matrix
    """(M, 1), what one code stands for."""
    rest: Matrix
    """(M, width), what the DAC could not express."""


def drive(x: Matrix, bits: int | None) -> Drive:
    """Encode each row of x (M, width) to its own full scale. Below float32's normal range the DAC is silent."""
    if bits is None:
        return Drive(x, np.ones((len(x), 1), np.float32), np.zeros_like(x))
    levels = np.float32(dac_levels(bits))
    step = np.abs(x).max(axis=1, keepdims=True) / levels
    step[step < TINY] = np.inf
    codes = np.rint(x / step)
    step[np.isinf(step)] = 0.0
    return Drive(codes, step, x - codes * step)


def dac_levels(bits: int) -> int:
    return (1 << (bits - 1)) - 1


def adc_steps(peak: Matrix, full_scale: float, bits: int, gain_max: int) -> Matrix:
    """The ADC's step for each peak current: full_scale / 2^gain / levels, the range just above the peak."""
    with np.errstate(divide="ignore"):
        gain = np.floor(np.log2(np.float32(full_scale) / peak))
    gain = np.clip(gain, 0, gain_max).astype(np.int32)
    steps: Matrix = np.ldexp(np.float32(full_scale / dac_levels(bits)), -gain)
    return steps


def convert(current: Matrix, bits: int) -> Matrix:
    """Round currents in ADC steps to codes and clip them; in place."""
    levels = dac_levels(bits)
    np.rint(current, out=current)
    np.clip(current, -levels, levels, out=current)
    return current


def mean_of_conversions(
    current: Matrix, sigma: Matrix, reads: int, normal: Matrix, bits: int
) -> Matrix:
    """Mean of `reads` conversions of current + sigma z, all in ADC steps, in one pass whatever their number.

    With A = exp(-2 pi^2 sigma^2), keeping the first harmonic of the rounding error's Fourier series:
        mean     = v - A/pi sin(2 pi v)
        variance = sigma^2 + 1/12 - A (1/pi^2 + 4 sigma^2) cos(2 pi v) - (A/pi sin(2 pi v))^2
    and the mean of many is normal with variance / reads. `normal` is standard normal, shaped like the currents;
    sigma broadcasts.
    """
    damping = np.exp(np.float32(-2.0 * np.pi**2) * sigma * sigma)
    phase = np.float32(2.0 * np.pi) * current
    bias = np.sin(phase)
    bias *= damping * np.float32(1.0 / np.pi)
    variance = np.cos(phase, out=phase)
    variance *= -damping * (np.float32(np.pi**-2) + 4 * sigma * sigma)
    variance += sigma * sigma + np.float32(1.0 / 12.0)
    variance -= bias * bias
    variance /= np.float32(reads)
    mean: Matrix = current - bias
    mean += np.sqrt(variance, out=variance) * normal
    levels = dac_levels(bits)
    np.clip(mean, -levels, levels, out=mean)
    return mean
