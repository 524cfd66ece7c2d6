"""Writes blocks of cells, and says what that took.

A block has two million cells, so they are not pulsed one by one: `write` draws from the law of the write-verify
loop (`compute.write_verify`). What an accepted cell is left with is not where the loop left it: the filament relaxes,
and the measured law of that (`writing.sigma_us`) holds. Cells that the loop gave up are where it left them.

A cell's own window says how far pulses can lead; relaxation may lead beyond, but never below zero conductance.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import numpy.typing as npt

from compute.chance import Words, normal, stream_key
from compute.device import DeviceModel
from compute.faults import Stuck, draw
from compute.partition import Matrix, spans
from compute.write_errors import Levels, Missed, leave, levels_of, missed_cells, relax
from compute.write_verify import LEVEL_STEPS, LoopLaw, law_of

PANEL_ROWS = 128
"""Rows that are written together: what they need stays in a core's cache."""


@dataclass(frozen=True, slots=True)
class Cells:
    """What is fixed for life in (2, h, n) cells; None where the device has nothing of the kind."""

    stuck: Stuck | None = None
    floor: Matrix | None = None
    """Lowest conductance that pulses can lead to, as a share of the window."""
    ceiling: Matrix | None = None
    """Highest."""

    def panel(self, polarity: int, start: int, stop: int) -> "Cells":
        """(stop - start, n) of one polarity."""
        return Cells(
            stuck=None if self.stuck is None else self.stuck[polarity, start:stop],
            floor=None if self.floor is None else self.floor[polarity, start:stop],
            ceiling=None if self.ceiling is None else self.ceiling[polarity, start:stop],
        )


@dataclass(frozen=True, slots=True)
class WriteReport:
    """What writing some cells took."""

    cells: int = 0
    pulses: int = 0
    """As the loop's law expects for these targets; of a block, the true count differs by a part in a thousand."""
    unwritten: int = 0
    """Cells that were pulsed and never accepted; stuck cells are known, and not pulsed."""
    energy_pj: float = 0.0
    time_ns: float = 0.0
    """Rows one after the other, each as long as its slowest cell is likely to take; both polarities at once."""

    def __add__(self, other: Self) -> "WriteReport":
        """One after the other."""
        return WriteReport(
            self.cells + other.cells,
            self.pulses + other.pulses,
            self.unwritten + other.unwritten,
            self.energy_pj + other.energy_pj,
            self.time_ns + other.time_ns,
        )


def make_cells(device: DeviceModel, key: int, rows: Words, columns: int) -> Cells:
    """The (2, rows, columns) cells that this key names: always the same ones."""
    window, variation = device.window, device.variation
    lowest = _own(window.g_min_us, variation.floor, device, stream_key(key, "floor"), rows, columns)
    highest = _own(
        window.g_max_us, variation.ceiling, device, stream_key(key, "ceiling"), rows, columns
    )
    if lowest is not None and highest is not None:
        np.maximum(highest, lowest, out=highest)
    return Cells(draw(device, key, rows, columns), lowest, highest)


def _own(
    end_us: float, sigma: float, device: DeviceModel, key: int, rows: Words, columns: int
) -> Matrix | None:
    """One end of each cell's own window as a share of the nominal one; where it is wider that is of no use."""
    if not sigma:
        return None
    ends = np.stack([normal(stream_key(key, polarity), rows, columns) for polarity in range(2)])
    ends *= np.float32(sigma)
    np.exp(ends, out=ends)
    ends *= np.float32(end_us / device.window.width_us)
    ends -= np.float32(device.window.g_min_us / device.window.width_us)
    return np.clip(ends, np.float32(0.0), np.float32(1.0), out=ends)


def sigma_us(conductance_us: Matrix, device: DeviceModel) -> Matrix:
    """Standard deviation in uS of accepted cells, once relaxed, by Horner's rule."""
    sigma = np.zeros_like(conductance_us)
    for coefficient in reversed(device.writing.sigma_us):
        sigma *= conductance_us
        sigma += np.float32(coefficient)
    return sigma


def write(
    targets: Matrix,
    device: DeviceModel,
    cells: Cells,
    key: int,
    rows: Words,
    *,
    overwrite: bool = False,
) -> tuple[Matrix, WriteReport]:
    """Write (2, h, n) targets in [0, 1] of the window. What the cells hold, and what it took.

    With `overwrite` the cells stand in the memory of the targets.

    The law of each cell is that of `write_verify` and of relaxation. What is held may lie outside of [0, 1]: above by
    as much as cells relax, below down to zero conductance.
    """
    tables, (polarities, height, width) = _tables_of(device), targets.shape
    held = targets if overwrite else targets.copy()
    took = []
    for polarity in range(polarities):
        plane = stream_key(key, "write", polarity)
        for start, stop in spans(height, PANEL_ROWS):
            into = held[polarity, start:stop]
            panel = cells.panel(polarity, start, stop)
            took.append(_write_panel(into, device, tables, panel, plane, rows[start:stop]))
    pulses = sum(pulses for pulses, _ in took)
    slowest = tables.law.slowest(polarities * width) if tables.law else 1
    return held, WriteReport(
        cells=targets.size,
        pulses=pulses,
        unwritten=sum(unwritten for _, unwritten in took),
        energy_pj=pulses * device.writing.pulse_pj,
        time_ns=height * slowest * device.writing.pulse_ns,
    )


@dataclass(frozen=True, slots=True)
class _Tables:
    """What is looked up for each cell by its level."""

    law: LoopLaw | None
    """None where nothing is read: each cell gets one pulse."""
    sigma: Matrix | None
    """(LEVEL_STEPS + 1,), what accepted cells are left with, as a share of the window; None where that is nothing
    or, with a law, where cells stay as the loop left them."""


@lru_cache(maxsize=16)
def _tables_of(device: DeviceModel) -> _Tables:
    writing, window = device.writing, device.window
    law = None if writing.acceptance_us is None else law_of(device)
    levels = np.arange(LEVEL_STEPS + 1, dtype=np.float32) / np.float32(LEVEL_STEPS)
    sigma = sigma_us(levels * np.float32(window.width_us) + np.float32(window.g_min_us), device)
    if law is None and not writing.sigma_us:
        sigma += np.float32(writing.pulse_sigma_us)
    return _Tables(law, sigma / np.float32(window.width_us) if sigma.any() else None)


def _write_panel(
    held: Matrix, device: DeviceModel, tables: _Tables, cells: Cells, key: int, rows: Words
) -> tuple[int, int]:
    """Targets (h, n) become what is held, in place. Pulses, and cells that were pulsed and never accepted."""
    assert held.min() >= 0.0 and held.max() <= 1.0, "targets are shares of the window"
    if device.window.levels is not None:
        _snap(held, device.window.levels)
    out_of_reach = _into_own_windows(held, device, cells)
    level = levels_of(held)
    missed = missed_cells(held, level, tables.law, key, rows)
    if tables.sigma is not None:
        relax(held, level, tables.sigma, key, rows)
    elif tables.law is not None:
        leave(held, level, tables.law, key, rows)
    if missed is not None:
        held[missed.row, missed.column] = missed.held
    lowest = np.float32(-device.window.g_min_us / device.window.width_us)
    # No cell is above; clipping from both sides takes numpy a third of the time of a maximum.
    np.clip(held, lowest, np.float32(np.inf), out=held)
    if cells.stuck is not None:
        np.copyto(held, cells.stuck > 0, where=cells.stuck != 0)
    if tables.law is None:
        stuck = 0 if cells.stuck is None else int(np.count_nonzero(cells.stuck))
        return held.size - stuck, 0
    return _count(level, device, tables.law, cells, out_of_reach, missed)


def _snap(goal: Matrix, levels: int) -> None:
    """To the nearest level, in place."""
    goal *= np.float32(levels - 1)
    np.rint(goal, out=goal)
    goal /= np.float32(levels - 1)


def _into_own_windows(
    goal: Matrix, device: DeviceModel, cells: Cells
) -> npt.NDArray[np.bool_] | None:
    """Targets as near as each cell's own window lets pulses lead, in place; where that is not near enough."""
    if cells.floor is None and cells.ceiling is None:
        return None
    wanted = goal.copy()
    if cells.floor is not None:
        np.maximum(goal, cells.floor, out=goal)
    if cells.ceiling is not None:
        np.minimum(goal, cells.ceiling, out=goal)
    if device.writing.acceptance_us is None:
        return None
    tolerance_us = wanted * np.float32(device.writing.acceptance_share * device.window.width_us)
    tolerance_us += np.float32(device.writing.tolerance_us(device.window.g_min_us))
    beyond: npt.NDArray[np.bool_] = (
        np.abs(wanted - goal) * np.float32(device.window.width_us) > tolerance_us
    )
    return beyond


def _count(
    level: Levels,
    device: DeviceModel,
    law: LoopLaw,
    cells: Cells,
    out_of_reach: npt.NDArray[np.bool_] | None,
    missed: Missed | None,
) -> tuple[int, int]:
    """Pulses, row by row so that no cut of the rows changes the sum, and cells never accepted."""
    pulses = law.pulses.take(level, mode="wrap")
    unwritten = np.zeros(level.shape, np.bool_)
    if missed is not None:
        unwritten[missed.row, missed.column] = True
    if out_of_reach is not None:
        unwritten |= out_of_reach
        pulses[out_of_reach] = device.writing.pulses_max
    if cells.stuck is not None:
        pulses *= cells.stuck == 0
        unwritten &= cells.stuck == 0
    return int(np.rint(pulses.sum(axis=1)).sum()), int(np.count_nonzero(unwritten))
