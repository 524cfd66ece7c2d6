"""One tile of a programmed block, cell by cell, where the cells lie in their arrays.

A block remembers what its arrays do, not what each cell holds; the dice that made the cells name them, though, so
one who throws them again in the same order meets the same cells.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute import mapping
from compute.chance import stream_key
from compute.device import DeviceModel
from compute.faults import Stuck
from compute.partition import Matrix, Matrix64
from compute.programmed import Arrays
from compute.strips import StripCells, write_cells
from compute.wiring import Site, differences, through

NEAR = 4
"""Cells on each side that what the wires leave is taken over: currents that sneak through other cells would make a
share of a single one's that holds next to nothing meaningless."""


@dataclass(frozen=True, slots=True)
class Tile:
    """The two arrays of one tile, (2, lines, columns), as they are laid out: word lines are driven from the left, bit
    lines are read at the bottom, beneath the last word line."""

    targets_us: Matrix
    """Not a number where no weight lies."""
    held_us: Matrix
    stuck: Stuck
    left: Matrix | None
    """Share of the current of a cell and those near it that comes through the wires; None where wires are perfect."""


def first_strip(weights: Matrix, device: DeviceModel, key: int, arrays: Arrays) -> StripCells:
    """Write the first tile row of a block's first slice as it was written; `key` is the block's own."""
    scale = mapping.column_scale(weights, device)
    life = stream_key(stream_key(key, "slice", 0), "replica", 0)
    return write_cells(weights[: arrays.tile_side] / scale, scale, 0, device, arrays, life)


def seen(strip: StripCells, device: DeviceModel) -> Matrix:
    """(h, n) of G+ - G- as the edges of the arrays see it, in shares of the window."""
    return differences(strip.held, strip.site, device)[0]


def first_tile(strip: StripCells, device: DeviceModel) -> Tile:
    """Its cells where they lie. Spare rows hold nothing but what is stuck there."""
    window, placement = device.window, strip.site.placement
    height, width = len(strip.wanted), min(strip.site.tile_side, strip.wanted.shape[1])
    lines = height + device.wires.spare_rows
    places = (slice(None), placement.rows[:, None], placement.columns[None, :width])
    targets = np.full((2, lines, width), np.nan, np.float32)
    targets[places] = strip.targets[:, :, :width]
    there = strip.site.stuck
    stuck = np.zeros((2, lines, width), np.int8) if there is None else there[:, :, :width]
    held = (stuck > 0).astype(np.float32)
    held[places] = strip.held[:, :, :width]
    held_us = held * np.float32(window.width_us) + np.float32(window.g_min_us)
    return Tile(
        targets_us=targets * np.float32(window.width_us) + np.float32(window.g_min_us),
        held_us=held_us,
        stuck=stuck,
        left=_left(held_us, strip.site, device),
    )


def _left(held_us: Matrix, site: Site, device: DeviceModel) -> Matrix | None:
    if not device.wires.segment_ohm:
        return None
    _, lines, width = held_us.shape
    corner = site.corner(0, lines - device.wires.spare_rows, width)
    seen_us = through(held_us, corner, device, site.tile_side)
    held, left = _sums_near(held_us), _sums_near(seen_us)
    share: Matrix = np.divide(left, held, out=np.ones_like(left), where=held > 0.0)
    return share.astype(np.float32)


def _sums_near(cells: npt.NDArray[np.floating]) -> Matrix64:
    """(2, lines, columns), over the square of 2 NEAR + 1 cells around each, as far as it lies in the array."""
    sums = cells.astype(np.float64)
    for axis in (1, 2):
        length = sums.shape[axis]
        running = np.insert(np.cumsum(sums, axis=axis), 0, 0.0, axis=axis)
        at = np.arange(length)
        last = running.take(np.minimum(at + NEAR + 1, length), axis=axis)
        sums = last - running.take(np.maximum(at - NEAR, 0), axis=axis)
    return sums
