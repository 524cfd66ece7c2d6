"""Chooses how each tile row is worked, from the measured errors of its arrays: the tolerance is met at least cost.

This is the partitioning by device characteristics. A tile row may be read from its first slices and averaged (`fast`
with one slice, `sliced` with more), worked as integers bit by bit (`integer`), or, where neither can, digitally. Good
tiles need few readings, bad ones many, and the worst are left out of the analog sum.

Reading noise falls with the number of readings, what the writing left wrong does not: with variance A_t allowed to
tile row t, P_t(d) left wrong after d slices and c_t(d) = (sum_i sqrt(v_i))^2 e for the noise v_i of each slice and the
energy e of a reading, the readings cost c_t / (A_t - P_t). Least in all at A_t - P_t proportional to sqrt(c_t). What
each slice takes however little is asked of it comes on top: where few readings will do, it decides the depth. So do
the weights that stuck cells of a further slice leave to digital arithmetic.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compute.partition import Matrix64

SLACK_PART_MIN = 0.1
"""At least this part of the variance is left to reading: with less, readings grow beyond all use."""

SLICE_COST = 0.05
"""So much of the energy a further slice must save at least: its arrays could hold other weights."""


@dataclass(frozen=True, slots=True)
class Depths:
    """What is known of the tile rows of a block, for one input, by the number of slices that are read."""

    wrong: Matrix64
    """(depths, tile rows): variance that writing left after so many slices."""
    reading: Matrix64
    """(depths, tile rows): cost of reading times the variance that reading may leave (c above), pJ x variance."""
    once: Matrix64
    """(tile rows,): least that one slice takes, pJ: however little is asked, it settles for the peak and is read."""
    digital: Matrix64
    """(depths, tile rows): what the outliers of further slices take digitally, pJ; the first slice's come anyway."""


@dataclass(frozen=True, slots=True)
class AnalogPlan:
    """Tile rows that are read from their slices, and how the variance of reading is dealt out."""

    depth: int
    tiles: tuple[int, ...]
    slack: float
    """Variance left to reading, over all these tile rows."""
    parts: tuple[float, ...]
    """Of the slack, by tile row; they add up to one."""
    energy_pj: float
    """Of reading, predicted."""
    digital_pj: float
    """Of the outliers of further slices."""


def plan_analog(depths: Depths, energies: Sequence[float], variance: float) -> AnalogPlan | None:
    """The cheapest depth at which as many tile rows as possible can be read within the variance.

    A tile row that is left out hands on its part of the variance, by its input energy, to whatever works it. The
    worst are left out first; None where not one can be read.
    """
    total = sum(energies)
    tiles = [tile for tile, energy in enumerate(energies) if energy > 0.0]
    while tiles:
        allowed = variance * sum(energies[tile] for tile in tiles) / total
        plans = [
            _at_depth(depths, depth, tiles, allowed) for depth in range(1, len(depths.wrong) + 1)
        ]
        feasible = [plan for plan in plans if plan is not None]
        if feasible:
            return min(feasible, key=_cost_pj)
        last = depths.wrong[-1]
        tiles.remove(max(tiles, key=lambda tile: float(last[tile]) / energies[tile]))
    return None


def _cost_pj(plan: AnalogPlan) -> float:
    return plan.energy_pj * (1.0 + SLICE_COST * plan.depth) + plan.digital_pj


def _at_depth(depths: Depths, depth: int, tiles: list[int], allowed: float) -> AnalogPlan | None:
    slack = allowed - float(depths.wrong[depth - 1, tiles].sum())
    if not slack >= SLACK_PART_MIN * allowed:
        return None
    roots = np.sqrt(depths.reading[depth - 1, tiles])
    whole = float(roots.sum())
    parts = roots / whole if whole > 0.0 else np.full(len(tiles), 1.0 / len(tiles))
    energy_pj = depth * float(depths.once[tiles].sum())
    if slack > 0.0:
        energy_pj += whole**2 / slack
    digital_pj = float(depths.digital[depth - 1, tiles].sum())
    return AnalogPlan(depth, tuple(tiles), slack, tuple(map(float, parts)), energy_pj, digital_pj)
