"""Chooses, tile row by tile row, how often to read: just enough for the error that is allowed.

Programming errors cannot be averaged away, so they are taken off the allowed variance first. What is left is
dealt out over the tile rows in proportion to the energy of their input; a row that used less than its part
leaves the rest to those after it. Where no number of readings up to READS_MAX will do, digital arithmetic must.
"""

import math
from dataclasses import dataclass

READS_MAX = 1024
"""Readings of one array for one input; past it, digital arithmetic is both faster and cheaper."""

ONE_SLICE_PART = 1.0 / 16.0
"""A second input slice is driven unless what it would add is below this part of the allowed variance."""


@dataclass(frozen=True, slots=True)
class ReadNoise:
    """Variances, summed over all outputs, of reading one tile row once."""

    single: float
    """Of one reading as it comes."""
    dithered: float
    """Of one of several readings to be averaged."""
    fixed: float
    """What averaging does not touch: the fine input slice, read once, and what no slice expresses."""


def reads_for(noise: ReadNoise, allowed: float) -> int | None:
    """The fewest readings of the coarse slice that keep the variance within `allowed`; None if too many."""
    left = allowed - noise.fixed
    if not left > 0.0:
        return 1 if noise.single + noise.fixed == 0.0 else None
    if noise.single <= left:
        return 1
    reads = max(2.0, noise.dithered / left)
    return math.ceil(reads) if reads <= READS_MAX else None


def variance_after(noise: ReadNoise, reads: int) -> float:
    return noise.fixed + (noise.single if reads == 1 else noise.dithered / reads)


def slices_for(rest_variance: float, allowed: float | None) -> int:
    """Input slices to drive, given the variance that one slice alone would leave behind. Naive reading: one."""
    if allowed is None or rest_variance <= ONE_SLICE_PART * allowed:
        return 1
    return 2


class VarianceBudget:
    """The variance still to be spent, and the input energy still to come."""

    def __init__(self, variance: float, energy: float) -> None:
        self._variance = variance
        self._energy = energy

    def allowance(self, energy: float) -> float:
        """What a tile row with this much input energy may spend."""
        return self._variance if energy >= self._energy else self._variance * energy / self._energy

    def spend(self, energy: float, variance: float) -> None:
        self._energy -= energy
        self._variance -= variance
