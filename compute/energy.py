"""What operations on arrays take: counts times the device's table of unit costs.

Energy adds up over everything that is done. Latency is that of the arrays alone: tiles work side by side, readings
of one tile follow each other. The time of digital arithmetic is for the caller to measure.
"""

from dataclasses import dataclass
from typing import Self

from compute.device import DeviceModel
from compute.partition import TILE_SIDE

BITS_OF_COSTS = 8
"""The converters' unit costs are stated at so many bits."""


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
