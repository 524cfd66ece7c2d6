"""How wrong whole numbers are that noisy arrays multiply, conversion by conversion.

A conversion goes wrong where the errors of the driven cells pass half a step (n driven lines, b bits a cell, sigmas
of writing and of one reading as shares of the window; k readings are integrated before one conversion, which averages
reading but not writing; what wires take is shared by neighbouring lines, and adds up in step):

    sd = (2^b - 1) sqrt(2 n (write^2 + read^2 / k) + n^2 shared^2),    P(off by one step) = 2 Q(0.5 / sd)

No plan goes beyond SD_MAX, where 6 conversions in 10^7 are off by two steps, and the ADC has one code more at both
ends than the sums need, so that errors at the ends count like all others. A step of slice i in plane j has the
*significance* s = i b + j: it is 2^s in the product of the two whole numbers.

Errors of writing stay in their cells, so that the same input meets them again; here they are new at each
conversion. That keeps the chance of each error and, for inputs of many values, the mean square of all, but not
which of them come together: where all planes drive the same lines (inputs of +-1), that of a real chip is up to
three times as large. The check of the answer is what holds then. What all cells have in common (a gain, drift of
the mean) is for the ADC's calibration, and counts here only by what that leaves.
"""

import math
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from compute.backend import Digits
from compute.energy import Spent
from compute.partition import TILE_SIDE, Matrix64

MAGNITUDE_BITS_MAX = 23
"""24 with the sign: 128 products of two such numbers add up exactly in float64."""

CELL_BITS_MAX = 4
SD_MAX = 0.3
"""Of a conversion, in steps: 10 % are wrong there, and 6 in 10^7 by two steps."""

KURTOSIS_MAX = 0.1
"""Errors of low significance whose sum is normal up to this excess are drawn as one value."""

KURTOSIS_PART_MAX = 1e-5
"""So are those that make up no more than this part of the excess of all errors that are not rare: what is less than
a thirtieth of the largest errors that are often met."""

RARE_MAX = 1e-3
"""Errors of one significance, of one output; what is rarer always strikes by itself."""

NOMINAL_PART = 4
"""With one in so many lines of a plane driven, errors are judged many or few."""


@dataclass(frozen=True, slots=True)
class CellNoise:
    """Standard deviations of single cells, as shares of the window."""

    write: float
    """At the digit that is written worst: some pairs in a sum with more errors than others make tails that are
    heavier than those of a normal law with the mean variance."""
    read: float
    """Of one reading."""
    shared: float = 0.0
    """Of what neighbouring lines have in common: what wires take from them."""


@dataclass(frozen=True, slots=True)
class IntegerPlan:
    """How a tile row is read as whole numbers. What it costs and how wrong it is was predicted for certain inputs."""

    weight_bits: int
    """Of the magnitude, without the sign."""
    input_bits: int
    """Of the magnitude, without the sign."""
    cell_bits: int
    rows_active: tuple[int, ...]
    """(significances,), word lines driven at once: low significances may err more, and take more lines."""
    reads: tuple[int, ...]
    """(significances,), readings integrated before one conversion."""
    noise: CellNoise
    copies: int = 1
    """Arrays that hold each digit together: what stuck cells spoil in one, the next makes up for."""
    tile_side: int = TILE_SIDE
    variance: float = field(default=0.0, compare=False)
    """Predicted ||error||_F^2."""
    spent: Spent = field(default=Spent(), compare=False)

    def __post_init__(self) -> None:
        assert 1 <= self.weight_bits <= MAGNITUDE_BITS_MAX
        assert 1 <= self.input_bits <= MAGNITUDE_BITS_MAX
        assert 1 <= self.cell_bits <= CELL_BITS_MAX
        assert len(self.rows_active) == len(self.reads) == self.significances
        assert all(1 <= rows <= self.tile_side for rows in self.rows_active)

    @property
    def slices(self) -> int:
        return slices_of(self.weight_bits, self.cell_bits)

    @property
    def digits(self) -> Digits:
        return Digits(self.weight_bits, self.cell_bits, self.copies)

    @property
    def significances(self) -> int:
        return (self.slices - 1) * self.cell_bits + self.input_bits


def slices_of(weight_bits: int, cell_bits: int) -> int:
    """Arrays of pairs that a weight takes."""
    return -(-weight_bits // cell_bits)


def largest(bits: int) -> int:
    """The largest magnitude of so many bits."""
    return (1 << bits) - 1


def conversion_sd(lines: int, noise: CellNoise, cell_bits: int, reads: int) -> float:
    """Standard deviation of a column's current in steps, with so many lines driven."""
    cells = 2.0 * lines * (noise.write**2 + noise.read**2 / reads)
    return largest(cell_bits) * math.sqrt(cells + (lines * noise.shared) ** 2)


def adc_limit(rows_active: int, cell_bits: int) -> int:
    """The largest code: the largest sum and one more, so that no error by one step is cut off."""
    return rows_active * largest(cell_bits) + 1


def adc_bits(rows_active: int, cell_bits: int) -> int:
    """Sign and magnitude."""
    return 1 + adc_limit(rows_active, cell_bits).bit_length()


@lru_cache(maxsize=1024)
def errors_by_lines(
    noise: CellNoise, cell_bits: int, rows_active: int, reads: int, tile_side: int = TILE_SIDE
) -> Matrix64:
    """(tile side + 1,), wrong conversions to be expected of one output in one plane, by lines with a bit."""
    wrong = np.zeros(rows_active + 1)
    for lines in range(1, rows_active + 1):
        sd = conversion_sd(lines, noise, cell_bits, reads)
        wrong[lines] = math.erfc(0.5 / (sd * math.sqrt(2.0))) if sd > 0.0 else 0.0
    lines_set = np.arange(tile_side + 1)
    expected: Matrix64 = lines_set // rows_active * wrong[-1] + wrong[lines_set % rows_active]
    expected.flags.writeable = False
    return expected


@dataclass(frozen=True, slots=True)
class ErrorLaw:
    """What goes wrong at one output in one plane with so many lines."""

    many: Matrix64
    """(planes, tile side + 1), variance of what is drawn as one value."""
    few: Matrix64
    """(planes, tile side + 1, steps), errors to be expected of each of `steps`."""
    steps: Matrix64
    """What an error is worth that is drawn by itself: 2^s from some s on, the most frequent first."""


@lru_cache(maxsize=16)
def error_law(plan: IntegerPlan) -> ErrorLaw:
    ways = zip(plan.rows_active, plan.reads, strict=True)
    by_way = [errors_by_lines(plan.noise, plan.cell_bits, *way, plan.tile_side) for way in ways]
    expected = plan.copies * np.array(by_way)
    nominal = plan.tile_side // NOMINAL_PART
    by_plane = np.zeros((plan.input_bits, plan.tile_side + 1, plan.significances))
    for plane in range(plan.input_bits):
        at = plane + plan.cell_bits * np.arange(plan.slices)
        by_plane[plane][:, at] = expected[at].T
    many = _number_of_many(plan, expected[:, nominal])
    steps = np.ldexp(1.0, np.arange(plan.significances))
    variance: Matrix64 = by_plane[:, :, :many] @ steps[:many] ** 2
    often_first = many + np.argsort(-by_plane[:, nominal, many:].sum(axis=0))
    return ErrorLaw(variance, by_plane[:, :, often_first].copy(), steps[often_first])


def _number_of_many(plan: IntegerPlan, expected: Matrix64) -> int:
    """Below which significance errors are as good as one normal value.

    The excess kurtosis of a sum of n_s errors +-2^s is sum n_s 16^s / (sum n_s 4^s)^2. Either it is small, or it is
    small beside that of larger errors, under which small ones cannot be told from normal noise of their variance.
    """
    pairs = np.zeros(plan.significances)
    for first in range(0, plan.slices * plan.cell_bits, plan.cell_bits):
        pairs[first : first + plan.input_bits] += 1.0
    errors, weight = pairs * expected, 4.0 ** np.arange(plan.significances)
    fourth, second = np.cumsum(errors * weight**2), np.cumsum(errors * weight)
    common = float(fourth[errors > RARE_MAX].max(initial=0.0))
    limit = np.maximum(KURTOSIS_MAX * second**2, KURTOSIS_PART_MAX * common)
    normal = np.flatnonzero((second > 0.0) & (fourth <= limit))
    return int(normal[-1]) + 1 if normal.size else 0
