"""Chooses how often to read each array: just enough for the error that is allowed.

Programming errors cannot be averaged away, so they are taken off the allowed variance first. What is left is
dealt out over the tile rows in proportion to the energy of their input; a row that used less than its part
leaves the rest to those after it. Within a tile row the readings go to where they take away the most noise.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

READS_MAX = 4096
"""Readings of one array for one input; past it, another regime is faster and cheaper."""

ONE_SLICE_PART = 1.0 / 16.0
"""A second input slice is driven unless what it would add is below this part of the allowed variance."""


@dataclass(frozen=True, slots=True)
class ReadNoise:
    """Variances, summed over all outputs, of reading one layer of a tile row once."""

    single: float
    """Of one reading as it comes."""
    dithered: float
    """Of one of several readings to be averaged."""


def reads_for(parts: Sequence[ReadNoise], fixed: float, allowed: float) -> tuple[int, ...] | None:
    """The fewest readings in all, one number a layer, that keep the variance within `allowed`; None if too many.

    `fixed` is what averaging does not touch. Least sum of n_i with sum v_i / n_i <= a (Lagrange):
        n_i = sqrt(v_i) * sum_j sqrt(v_j) / a
    Layers that one reading serves are set aside, and the others share what these leave.
    """
    left = allowed - fixed
    if not math.isfinite(math.fsum(part.dithered for part in parts) + fixed):
        return None
    reads = [1] * len(parts)
    averaged = [index for index, part in enumerate(parts) if part.single > 0.0]
    if not left > 0.0:
        return tuple(reads) if fixed == 0.0 and not averaged else None
    if math.fsum(part.single for part in parts) <= left:
        return tuple(reads)
    while averaged:
        roots = {index: math.sqrt(parts[index].dithered) for index in averaged}
        wanted = {index: root * math.fsum(roots.values()) / left for index, root in roots.items()}
        if max(wanted.values()) > READS_MAX:
            return None
        once = [index for index in averaged if wanted[index] <= 1.0]
        if not once:
            for index in averaged:
                reads[index] = max(2, math.ceil(wanted[index]))
            return tuple(reads)
        left -= math.fsum(parts[index].single for index in once)
        averaged = [index for index in averaged if index not in once]
    return tuple(reads)


def variance_after(parts: Sequence[ReadNoise], fixed: float, reads: Sequence[int]) -> float:
    """What is left of the variance after so many readings of each layer."""
    return fixed + math.fsum(
        part.single if count == 1 else part.dithered / count
        for part, count in zip(parts, reads, strict=True)
    )


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
