"""Keeps squares within float32: numbers far from one are worked as numbers near one, times a power of two.

Multiplying by a power of two loses nothing (but for subnormal results), so an answer has the same bits either way.
"""

import numpy as np

from compute.partition import Matrix

ORDINARY_BITS = 30
"""Matrices whose largest value lies within 2^30 of one stay as they are."""


def exponent_of(values: Matrix) -> int:
    """The power of two that brings the largest value near one; nought where it is near enough, or zero."""
    peak = float(max(values.max(), -values.min())) if values.size else 0.0
    exponent = int(np.frexp(peak)[1])
    return 0 if peak == 0.0 or abs(exponent) <= ORDINARY_BITS else exponent


def scaled(values: Matrix, exponent: int) -> Matrix:
    """values times 2^exponent; infinite where that is beyond float32."""
    if exponent == 0:
        return values
    with np.errstate(over="ignore", under="ignore"):
        result: Matrix = np.ldexp(values, exponent)
    return result
