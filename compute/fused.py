"""Passes in one, compiled, with the same bits as in numpy: of one reading, of adding outliers, of relaxing cells.

numba is optional (`sedma[fast]`) and takes half a second to import and seconds to compile, so nothing happens by
itself: whoever has time calls `warm_up`, and until that is done `read_and_add`, `add_runs` and `relax` decline and
numpy works on. What is compiled is kept on disk where the package's folder can be written.

A reading goes through one array's outputs at a time, so that they stay in registers and the first cache. Kernels
are serial: threads are the caller's (numba's own stalled for 100 ms where another process held a core).
"""

import importlib.util
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute.chance import GOLDEN, LANES, MIX_1, MIX_2, Words, normal_table
from compute.converters import TAIL_SIGMA, AdcErrors, Ranging
from compute.partition import TILE_SIDE, Matrix

Kernel = Callable[..., None]

_lock = threading.Lock()

RUN_ROWS_MIN = 4
"""With fewer rows, numpy's steps along many runs are sooner done than each run's along few rows."""


@dataclass(frozen=True, slots=True)
class Kernels:
    reading: Kernel
    runs: Kernel
    relaxing: Kernel


_compiled: list[Kernels] = []
"""The kernels, once they are warm."""

_NO_STATES = np.zeros((1, 1), np.uint64)
_SILENT = np.zeros((1, 1), np.float32)

_LANE_BITS = np.uint64(16)
_LANE_MASK = np.uint64(0xFFFF)
_GOLDEN, _MIX_1, _MIX_2 = np.uint64(GOLDEN), np.uint64(MIX_1), np.uint64(MIX_2)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = np.uint64(30), np.uint64(27), np.uint64(31)
_SIZE_BITS = np.int32(0x7FFFFFFF)
_EXPONENT_BITS = np.int32(0x7F800000)
_FRACTION_BITS = np.int32(0x007FFFFF)


def is_installed() -> bool:
    return importlib.util.find_spec("numba") is not None


def warm_up() -> bool:
    """Compile, or load what was compiled before; some seconds the first time. False where numba is not installed."""
    with _lock:
        if not _compiled and is_installed():
            compiled = _compiler()
            kernels = Kernels(
                reading=compiled(interpreted),
                runs=compiled(interpreted_runs),
                relaxing=compiled(interpreted_relaxing),
            )
            _try_out(kernels)
            _compiled.append(kernels)
    return bool(_compiled)


def _compiler() -> Callable[[Kernel], Kernel]:
    import numba

    kept: Callable[[Kernel], Kernel] = numba.njit(cache=True, nogil=True, error_model="numpy")
    passing: Callable[[Kernel], Kernel] = numba.njit(nogil=True, error_model="numpy")
    try:
        kept(interpreted)
    except RuntimeError:  # numba finds no folder that it may write to
        return passing
    return kept


def read_and_add(
    currents: Matrix,
    sigma: Matrix | None,
    states: Words | None,
    unit: Matrix,
    adc: Ranging | None,
    errors: AdcErrors | None,
    total: Matrix,
    *,
    first: bool,
) -> bool:
    """Read currents (tile rows, M, tiles, tile side) once and add them to total (M, outputs), if the kernel is warm.

    False, and nothing done, where it is not, or where an array's outputs differ in more than their currents.
    """
    one_sigma = sigma is None or sigma.shape[-1] == 1
    if not _compiled or adc is None or errors is not None or not one_sigma:
        return False
    run(_compiled[0].reading, currents, sigma, states, unit, adc, total, first=first)
    return True


def add_runs(
    inputs: Matrix,
    bounds: npt.NDArray[np.uint32],
    chosen: npt.NDArray[np.uint16],
    values: Matrix,
    sums: Matrix,
) -> bool:
    """sums (runs, rows) += runs of entries times inputs (inputs, rows), as `outliers.Diagonals` says, if the kernel
    is warm and there are rows enough. False, and nothing done, otherwise.
    """
    if not _compiled or inputs.shape[1] < RUN_ROWS_MIN:
        return False
    _compiled[0].runs(inputs, bounds, chosen, values, sums)
    return True


def relax(held: Matrix, level: npt.NDArray[np.uint16], sigma: Matrix, states: Words) -> bool:
    """held (h, n) += normal values of the rows that begin at `states` (h,), times sigma by level, if the kernel is
    warm. False, and nothing done, otherwise.
    """
    if not _compiled:
        return False
    _compiled[0].relaxing(held, level, sigma, states, normal_table())
    return True


def run(
    kernel: Kernel,
    currents: Matrix,
    sigma: Matrix | None,
    states: Words | None,
    unit: Matrix,
    adc: Ranging,
    total: Matrix,
    *,
    first: bool,
) -> None:
    """As `read_and_add`, with sigma and unit (tile rows, M, 1, 1) and states (tile rows, M)."""
    kernel(
        currents,
        currents.view(np.int32),
        _SILENT if sigma is None else np.ascontiguousarray(sigma[:, :, 0, 0]),
        _NO_STATES if states is None else states,
        np.ascontiguousarray(unit[:, :, 0, 0]),
        normal_table(),
        np.array((adc.usable, adc.step_min, adc.step_max, adc.levels, TAIL_SIGMA), np.float32),
        states is not None,
        first,
        total,
    )


def _try_out(kernels: Kernels) -> None:
    """Compile for the types that are used: the table of normal values is read-only."""
    currents, total = (
        np.ones((1, 1, 1, TILE_SIDE), np.float32),
        np.empty((1, TILE_SIDE), np.float32),
    )
    one = np.ones((1, 1, 1, 1), np.float32)
    adc = Ranging(levels=127.0, usable=127.0, step_min=1.0, step_max=128.0)
    run(kernels.reading, currents, one, np.zeros((1, 1), np.uint64), one, adc, total, first=True)
    bounds = np.array((0, 1), np.uint32)
    kernels.runs(one[0, 0], bounds, np.zeros(1, np.uint16), one.ravel(), np.zeros_like(one[0, 0]))
    level, states = np.zeros((1, 1), np.uint16), np.zeros(1, np.uint64)
    kernels.relaxing(one[0, 0], level, one.ravel(), states, normal_table())


def interpreted(  # type: ignore[no-untyped-def]  # numba finds the types
    currents, bits, sigmas, states, units, table, limits, noisy, first, total
):
    """The kernel in plain Python: slow, and right to the bit.

    `bits` is the memory of `currents`: the largest size is found by its bits, which stand in the same order.
    """
    tile_rows, rows, tiles, side = currents.shape
    words = side // LANES
    usable, step_min, step_max, levels, tail = limits
    noise = np.zeros(side, np.float32)
    scalar = np.zeros(1, np.float32)
    scalar_bits = scalar.view(np.int32)
    for row in range(rows):
        for one in range(tile_rows):
            begins = first and one == 0
            for tile in range(tiles):
                current, size = currents[one, row, tile], bits[one, row, tile]
                out = total[row, tile * side : (tile + 1) * side]
                peak = np.int32(0)
                for column in range(side):
                    peak = max(peak, np.int32(size[column] & _SIZE_BITS))
                scalar_bits[0] = peak
                loudness = np.float32(0.0)
                if noisy:
                    loudness = sigmas[one, row]
                    scalar[0] += np.float32(tail * loudness)
                scalar[0] = scalar[0] / usable
                scalar_bits[0] = (scalar_bits[0] + _FRACTION_BITS) & _EXPONENT_BITS
                step = min(max(scalar[0], step_min), step_max)
                per_step = np.float32(np.float32(1.0) / step)
                weight = np.float32(step * units[one, row])
                if noisy:
                    loudness = np.float32(loudness * per_step)
                    state = states[one, row] + np.uint64(tile * words) * _GOLDEN
                    for word in range(words):
                        state = state + _GOLDEN
                        mixed = state
                        mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
                        mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
                        mixed = mixed ^ (mixed >> _SHIFT_3)
                        for lane in range(LANES):
                            noise[word * LANES + lane] = table[mixed & _LANE_MASK]
                            mixed = mixed >> _LANE_BITS
                for column in range(side):
                    value = np.float32(current[column] * per_step)
                    if noisy:
                        value = np.float32(value + np.float32(noise[column] * loudness))
                    value = np.float32(np.rint(value))
                    value = np.float32(min(max(value, -levels), levels))
                    value = np.float32(value * weight)
                    before = np.float32(0.0) if begins else out[column]
                    out[column] = np.float32(before + value)


def interpreted_runs(inputs, bounds, chosen, values, sums):  # type: ignore[no-untyped-def]
    """The second kernel likewise: each run's entries one after the other, for all rows."""
    rows = inputs.shape[1]
    for run in range(sums.shape[0]):
        total = sums[run]
        for diagonal in range(len(bounds) - 1):
            entry = np.int64(bounds[diagonal]) + run
            if entry >= np.int64(bounds[diagonal + 1]):
                break
            factors, value = inputs[chosen[entry]], values[entry]
            for row in range(rows):
                total[row] += np.float32(factors[row] * value)


def interpreted_relaxing(held, level, sigma, states, table):  # type: ignore[no-untyped-def]
    """The third: a value for each cell, in the order of the lanes of its row's words."""
    rows, columns = held.shape
    for row in range(rows):
        state = states[row]
        for first in range(0, columns, LANES):
            state = state + _GOLDEN
            mixed = state
            mixed = (mixed ^ (mixed >> _SHIFT_1)) * _MIX_1
            mixed = (mixed ^ (mixed >> _SHIFT_2)) * _MIX_2
            mixed = mixed ^ (mixed >> _SHIFT_3)
            for column in range(first, min(first + LANES, columns)):
                noise = np.float32(table[mixed & _LANE_MASK] * sigma[level[row, column]])
                held[row, column] = np.float32(held[row, column] + noise)
                mixed = mixed >> _LANE_BITS
