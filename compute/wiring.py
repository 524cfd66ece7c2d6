"""From what cells hold to what an array does: differential pairs, seen through the resistance of their lines.

Plus and minus cells of a tile stand in two arrays of the same layout, and the two columns' currents are subtracted.
Rows and columns lie where the placement put them; spare rows are not driven, but what is stuck there still leaks.
"""

from dataclasses import dataclass

import numpy as np

from compute.device import DeviceModel
from compute.faults import Stuck
from compute.ir_drop import effective
from compute.partition import TILE_SIDE, Matrix, spans
from compute.placing import Placement


@dataclass(frozen=True, slots=True)
class Site:
    """Where a tile row of weights lies in its arrays."""

    placement: Placement
    stuck: Stuck | None
    """(2, h + spare rows, n), by physical place."""


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
    seen = np.empty_like(conductance)
    for start, stop in spans(conductance.shape[2], TILE_SIDE):
        columns = slice(start, stop)
        rows = site.placement.rows[:, None]
        places = site.placement.columns[columns][None, :] - start
        array = _unused(site, columns, conductance.shape[1], device)
        array[:, rows, places] = conductance[:, :, columns]
        through = effective(array * width_us, device.wires.segment_ohm) / width_us
        seen[:, :, columns] = through[:, rows, places]
    return seen


def _unused(site: Site, columns: slice, rows: int, device: DeviceModel) -> Matrix:
    """(2, rows + spare, columns), every cell at g_min but those that are stuck high, in units of the window."""
    floor = np.float32(device.window.g_min_us / device.window.width_us)
    width = columns.stop - columns.start
    array = np.full((2, rows + device.wires.spare_rows, width), floor, np.float32)
    if site.stuck is not None:
        array[site.stuck[:, :, columns] > 0] += 1.0
    return array
