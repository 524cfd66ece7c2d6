"""Writes one tile row of weights: places it, sets the targets of its pairs, pulses, ages, looks through the wires."""

from dataclasses import dataclass

import numpy as np

from compute import ageing, faults, mapping, placing, writing
from compute.chance import rows_of, stream_key
from compute.converters import dac_levels
from compute.device import DeviceModel
from compute.face import on_grid
from compute.faults import Stuck
from compute.health import Counts
from compute.partition import Matrix
from compute.programmed import Arrays
from compute.wiring import Site, differences
from compute.writing import Cells, WriteReport

SQUARED_CODE_MAX = 255
"""Squared codes are multiplied with squares in parts of eight bits."""


@dataclass(frozen=True, slots=True)
class StripCells:
    """Cells of one tile row in the order of the weights, (h, n) or (2, h, n) by polarity, in shares of the window."""

    wanted: Matrix
    """-1 to 1."""
    scale: Matrix
    """(n,), what full conductance stands for in each column."""
    held: Matrix
    found: Stuck | None
    """What a test of the arrays found stuck; None where the device has no faults."""
    site: Site
    """Where they lie."""
    written: WriteReport

    @property
    def targets(self) -> Matrix:
        """What the pulses were for."""
        return mapping.pair_targets(self.wanted, self.found)


@dataclass(frozen=True, slots=True)
class Strip:
    """The same as products see it."""

    difference: Matrix
    """(h, n), G+ - G- in shares of the window, once currents have passed the wires."""
    squares: Matrix | None
    """(h, n), G+^2 + G-^2 in the same units; None where no noise is in proportion to them."""
    stuck: Counts | int
    """(h, n), cells of each pair that were found stuck; 0 where the device has no faults."""
    written: WriteReport


def write_strip(
    wanted: Matrix, scale: Matrix, first_row: int, device: DeviceModel, arrays: Arrays, life: int
) -> Strip:
    """One tile row, as `write_cells` says."""
    cells = write_cells(wanted, scale, first_row, device, arrays, life)
    difference, squares = differences(cells.held, cells.site, device)
    if device.converters.dac_bits is not None:
        on_grid(difference, dac_levels(device.converters.dac_bits), arrays.tile_side)
    if squares is not None:
        on_grid(squares, SQUARED_CODE_MAX, arrays.tile_side)
    found = cells.found
    stuck = 0 if found is None else np.count_nonzero(found, axis=0).astype(np.int8)
    return Strip(difference, squares, stuck, cells.written)


def write_cells(
    wanted: Matrix, scale: Matrix, first_row: int, device: DeviceModel, arrays: Arrays, life: int
) -> StripCells:
    """One tile row (h, n) in shares of the window; what is beyond it is held at its end (`wanted` is changed).

    `scale` (n,) says how much a column's full conductance stands for, `life` names the arrays.
    """
    np.clip(wanted, -1.0, 1.0, out=wanted)
    site, cells, found = _site(wanted, scale, first_row, device, arrays, life)
    rows = rows_of(first_row, len(wanted))
    write_key = stream_key(life, "write", arrays.writes)
    held, written = writing.write(
        mapping.pair_targets(wanted, found), device, cells, write_key, rows, overwrite=True
    )
    if arrays.age_s > 0.0:
        held = ageing.aged(held, device, arrays.age_s, life, write_key, rows, stuck=cells.stuck)
    return StripCells(wanted, scale, held, found, site, written)


def _site(
    wanted: Matrix, scale: Matrix, first_row: int, device: DeviceModel, arrays: Arrays, life: int
) -> tuple[Site, Cells, Stuck | None]:
    """Where the rows and columns lie, the cells there, and which of them a test found stuck."""
    height, columns = wanted.shape
    spare, side = device.wires.spare_rows, arrays.tile_side
    physical = rows_of((first_row // side) * (side + spare), height + spare)
    cells = writing.make_cells(device, stream_key(life, "cells"), physical, columns)
    found = faults.march(cells.stuck, device, stream_key(life, "march"), physical)
    placement = placing.place(wanted, found, spare, arrays.writes - 1, scale, side)
    here = Cells(
        None if cells.stuck is None else placement.placed(cells.stuck),
        None if cells.floor is None else placement.placed(cells.floor),
        None if cells.ceiling is None else placement.placed(cells.ceiling),
    )
    known = None if found is None else placement.placed(found)
    site = Site(placement, cells.stuck, stream_key(life, "site", first_row), side)
    return site, here, known
