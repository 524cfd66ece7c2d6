"""From what cells hold to what an array does: differential pairs, seen through the resistance of their lines.

Plus and minus cells of a tile stand in two arrays of the same layout, and the two columns' currents are subtracted.
Rows and columns lie where the placement put them; spare rows are not driven, but what is stuck there still leaks.

A remnant of a block fills no array, and shares one with others (`compute/packing.py`). Their cells load the same lines,
and it lies the farther from the edges the more of the array is between. Which others those are depends on what else is
held, so where a remnant lies is drawn once for the array's life, and its neighbours conduct as its own cells do on
average: sums over many cells hardly tell the difference.
"""

from dataclasses import dataclass

import numpy as np

from compute.chance import rows_of, stream_key, uniform
from compute.device import DeviceModel
from compute.faults import Stuck
from compute.ir_drop import effective
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans
from compute.placing import Placement


@dataclass(frozen=True, slots=True)
class Site:
    """Where a tile row of weights lies in its arrays."""

    placement: Placement
    stuck: Stuck | None
    """(2, h + spare rows, n), by physical place."""
    name: int
    """Of the tile row's arrays, for life."""
    tile_side: int = TILE_SIDE

    def corner(self, start: int, rows: int, columns: int) -> tuple[int, int]:
        """Row and column of the array that holds the tile from column `start` on, where its first cell lies."""
        free = (self.tile_side - rows + 1, self.tile_side - columns + 1)
        thrown = uniform(stream_key(self.name, "corner", start), rows_of(0, 1), 2)[0]
        return int(thrown[0] * free[0]), int(thrown[1] * free[1])


def differences(held: Matrix, site: Site, device: DeviceModel) -> tuple[Matrix, Matrix | None]:
    """(h, n) of G+ - G-, and of G+^2 + G-^2 where read noise asks for it, in units of the window.

    held (2, h, n) in shares of the window, by the order of the weights.
    """
    floor = np.float32(device.window.g_min_us / device.window.width_us)
    if device.wires.segment_ohm:
        absolute = _through_wires(held + floor, site, device)
        difference = absolute[0] - absolute[1]
    else:
        absolute = held + floor if device.reading.proportional else held
        difference = held[0] - held[1]
    squares = np.einsum("pij,pij->ij", absolute, absolute) if device.reading.proportional else None
    return difference, squares


def _through_wires(conductance: Matrix, site: Site, device: DeviceModel) -> Matrix:
    """(2, h, n) as seen from the edges, in units of the window, like what comes in."""
    width_us = device.window.width_us
    height = conductance.shape[1]
    seen = np.empty_like(conductance)
    for start, stop in spans(conductance.shape[2], site.tile_side):
        columns = slice(start, stop)
        rows = site.placement.rows[:, None]
        places = site.placement.columns[columns][None, :] - start
        own = _unused(site, columns, height, device)
        own[:, rows, places] = conductance[:, :, columns]
        corner = site.corner(start, height, stop - start)
        left = through(own * width_us, corner, device, site.tile_side) / width_us
        seen[:, :, columns] = left[:, rows, places]
    return seen


def through(
    own_us: Matrix, corner: tuple[int, int], device: DeviceModel, tile_side: int = TILE_SIDE
) -> Matrix64:
    """(2, lines, columns) in uS as seen from the edges of the arrays, in which these cells begin at `corner`."""
    _, lines, columns = own_us.shape
    whole = np.empty((2, tile_side + device.wires.spare_rows, tile_side), np.float32)
    whole[:] = own_us.mean(axis=(1, 2), dtype=np.float64)[:, None, None]
    top, left = corner
    here = (slice(None), slice(top, top + lines), slice(left, left + columns))
    whole[here] = own_us
    return effective(whole, device.wires.segment_ohm)[here]


def _unused(site: Site, columns: slice, rows: int, device: DeviceModel) -> Matrix:
    """(2, rows + spare, columns), every cell at g_min but those that are stuck high, in units of the window."""
    floor = np.float32(device.window.g_min_us / device.window.width_us)
    width = columns.stop - columns.start
    array = np.full((2, rows + device.wires.spare_rows, width), floor, np.float32)
    if site.stuck is not None:
        array[site.stuck[:, :, columns] > 0] += 1.0
    return array
