"""What a product takes, and what writing arrays takes: counts times the device's table of unit costs.

A product's joules are those of
- arrays and converters: each reading, the search for the peak before it, each conversion, for all attempts;
- arithmetic beside them, in float32 or float64: outliers, digits that stuck cells spoil, rows and tile rows that are
  done digitally, with what it takes to fetch those weights;
- the check of the answer against its sketch (`compute/answer.py`).
What is left out is small beside these: adding up partial sums, moving inputs and outputs, planning. A product's seconds
are those of the arrays alone: tiles work side by side, readings of one tile follow each other. The time of digital
arithmetic is for the caller to measure.

Writing is no part of a product, even of one for whose sake arrays are written: it is told by the matrix that holds them
(`AnalogMatrix.programming`): pulses, the read-back that sets gains and finds outliers, and digits for whole numbers.
"""

from dataclasses import dataclass
from typing import Self

from compute.device import DeviceModel
from compute.partition import TILE_SIDE

BITS_OF_COSTS = 8
"""The converters' unit costs are stated at so many bits."""

READ_BACK_READS = 1024
"""Readings of each pair averaged for the read-back, by which gains are set and the next slice is cut."""

DOUBLE_MACS = 4.9
"""A multiply and add in float64, in those of float32: multipliers grow with the square of the mantissa, (53 / 24)^2."""

OUTLIER_WORDS = 1.5
"""32 bits of value and 16 of place."""


@dataclass(frozen=True, slots=True)
class Spent:
    """Of some operations on arrays."""

    reads: int = 0
    """Readings of single arrays."""
    energy_pj: float = 0.0
    latency_ns: float = 0.0

    def beside(self, other: Self) -> "Spent":
        """Both at once, on arrays of their own."""
        return Spent(
            self.reads + other.reads,
            self.energy_pj + other.energy_pj,
            max(self.latency_ns, other.latency_ns),
        )

    def then(self, other: Self) -> "Spent":
        """One after the other."""
        return Spent(
            self.reads + other.reads,
            self.energy_pj + other.energy_pj,
            self.latency_ns + other.latency_ns,
        )

    def less(self, other: Self) -> "Spent":
        """What came on top of another."""
        return Spent(
            self.reads - other.reads,
            self.energy_pj - other.energy_pj,
            self.latency_ns - other.latency_ns,
        )

    def times(self, count: int) -> "Spent":
        """The same again and again."""
        return Spent(count * self.reads, count * self.energy_pj, count * self.latency_ns)


def reading(
    device: DeviceModel,
    *,
    inputs: int,
    outputs: int,
    settlings: int,
    conversions: int,
    dac_bits: int | None = None,
    adc_bits: int | None = None,
    tile_side: int = TILE_SIDE,
) -> Spent:
    """`settlings` times an input on `inputs` lines of pairs of arrays, of which `conversions` reach the ADCs.

    Without bits the device's own converters are meant. Cells that are not used cost nothing: others use them. One ADC
    serves the columns of an array one after the other, so that its time grows with the array's side.
    """
    costs, converters = device.costs, device.converters
    dac_bits = dac_bits or converters.dac_bits or BITS_OF_COSTS
    adc_bits = adc_bits or converters.adc_bits or BITS_OF_COSTS
    across = -(-outputs // tile_side)
    tiles = -(-inputs // tile_side) * across
    lines_pj = inputs * across * costs.dac_line_pj * dac_bits / BITS_OF_COSTS
    cells_pj = 2.0 * costs.array_read_pj * inputs * outputs / TILE_SIDE**2
    conversion_pj = outputs * costs.adc_conversion_pj * 2.0 ** (adc_bits - BITS_OF_COSTS)
    return Spent(
        reads=2 * tiles * settlings,
        energy_pj=settlings * (lines_pj + cells_pj) + conversions * conversion_pj,
        latency_ns=settlings * (costs.read_ns * (tile_side / TILE_SIDE)),
    )


def digital_pj(device: DeviceModel, macs: float, weights: float, *, doubles: bool = False) -> float:
    """Of multiplications with so many different float32 weights, which are fetched once."""
    each = device.costs.digital_mac_pj * (DOUBLE_MACS if doubles else 1.0)
    return macs * each + weights * device.costs.far_word_pj


def outliers_pj(device: DeviceModel, macs: float, outliers: float) -> float:
    """Of multiplications with so many outliers."""
    costs = device.costs
    return macs * costs.digital_mac_pj + outliers * OUTLIER_WORDS * costs.near_word_pj


def sketch_pj(device: DeviceModel, rows: int, side: int, width: int) -> float:
    """Of (rows, side) values times a sketch (side, width), both in float64."""
    costs = device.costs
    return side * width * (rows * costs.digital_mac_pj * DOUBLE_MACS + 2.0 * costs.near_word_pj)


def read_back(device: DeviceModel, rows: int, columns: int, tile_side: int = TILE_SIDE) -> Spent:
    """Of reading each pair of one layer by itself, rows one after the other, as they are written."""
    row = reading(
        device,
        inputs=1,
        outputs=columns,
        settlings=READ_BACK_READS,
        conversions=READ_BACK_READS,
        tile_side=tile_side,
    )
    return row.times(rows)
