"""One reading of every array, as fast as plain arithmetic allows.

A panel of X goes through one tile row after another: one matrix product, then a few passes over its currents in
place. Where compiled code is at hand (`compute/fused.py`), it does them in one. With 1,024 x 1,024 weights and arrays
of 128 x 128 this takes 1.4-1.8 times as long as the plain product, by the processor, 2.0-3.0 with read noise; compiled
1.1-1.3 and 1.3-1.8 (bench/crossbar.py).
"""

import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute import fused
from compute.chance import Words, fill_normal, rows_of, stream_key
from compute.converters import Drive, drive
from compute.energy import Spent
from compute.face import Face, Side, exact_product
from compute.partition import Matrix, spans
from compute.planner import READS_MAX
from compute.readout import Dice, constant_sigma, read_once, sense

Counts = npt.NDArray[np.int64]

LINES = 256
"""Rows of X times tile rows that are worked at once. Fewer would stay in a nearer cache, but numpy's own time for each
pass, and BLAS's for taking in the conductances, is then felt; with more, currents fall out of the third cache."""

KEPT_VALUES = 20 * 1024
"""Of float32, 80 KiB: enough for one row through a block."""

_kept = threading.local()

NO_ROWS = rows_of(0, 0)
"""Where nothing is thrown, rows need no names."""

SLICES_MAX = 2
"""Of the input. With the next it makes room for names of throws."""

TILE_ROWS_MAX = 1024
"""Of a layer."""


@dataclass(frozen=True, slots=True)
class RawReading:
    """What reading every array once gave, and what it took."""

    value: Matrix
    """(M, outputs)"""
    spent: Spent


def read_all_once(
    face: Face, x: Matrix, key: int, first_row: int, *, may_fuse: bool = True
) -> RawReading:
    """x (M, inputs) through all arrays, each read once, by one slice of the input.

    `key` names the product, `first_row` the first row of x in it. `may_fuse`: by compiled code where `compute.fused`
    is warm; the bits are the same.
    """
    key = stream_key(key, "read") if face.is_noisy else 0
    value = np.empty((len(x), face.outputs), np.float32)
    work = _Work(face, len(x))
    silent = np.zeros((len(face.sides), face.tile_rows), np.int64)
    for start, stop in _panels(len(x)):
        panel = value[start:stop]
        rows = rows_of(first_row + start, stop - start) if face.is_noisy else NO_ROWS
        for index, side in enumerate(face.sides):
            if index == 0 or side.input_scale is not None:
                driving = driven_codes(face, side, x[start:stop])
            if np.count_nonzero(driving.peak) < driving.peak.size:
                silent[index] += np.count_nonzero(driving.peak == 0.0, axis=(1, 2))
            read = _read_panel(face, index, driving, key, rows, work, may_fuse)
            _add_scaled(panel, read, side.output_scale, first=index == 0)
    return RawReading(value, _spent_once(face, len(x), silent))


def _add_scaled(panel: Matrix, read: Matrix, scale: Matrix | None, *, first: bool) -> None:
    """panel = read * scale, or that added; read is used up."""
    scaled = read if scale is None else np.multiply(read, scale, out=panel if first else read)
    if not first:
        panel += scaled
    elif scaled is not panel:
        panel[:] = scaled


def driven_codes(face: Face, side: Side, x: Matrix) -> Drive:
    """x (M, inputs) as the DACs drive it, by tile rows: codes (tile rows, M, tile side), padded with silence."""
    return drive(padded_tiles(face, side, x), face.device.converters)


def padded_tiles(face: Face, side: Side, x: Matrix) -> Matrix:
    """x (M, inputs) as the lines of this layer meet it: (tile rows, M, tile side)."""
    if side.input_scale is not None:
        x = x * side.input_scale
    width = face.tile_rows * face.tile_side
    if x.shape[1] < width:
        padded = np.zeros((len(x), width), np.float32)
        padded[:, : x.shape[1]] = x
        x = padded
    return x.reshape(len(x), -1, face.tile_side).transpose(1, 0, 2)


class _Work:
    """Room for the currents of some tile rows, kept from panel to panel."""

    def __init__(self, face: Face, rows: int) -> None:
        self._lines = min(LINES, rows * face.tile_rows)
        self._outputs = face.tiles, face.tile_side
        width = math.prod(self._outputs)
        size = self._lines * width
        room = _room(2 * size + min(LINES, rows) * width)
        self._currents, self._spare, total = (
            room[:size],
            room[size : 2 * size],
            room[2 * size :],
        )
        self.total = total.reshape(-1, width)

    def tile_rows(self, rows: int) -> int:
        """Worked at once for a panel of so many rows."""
        return max(1, self._lines // rows)

    def shaped(self, tile_rows: int, rows: int) -> tuple[Matrix, Matrix]:
        """Currents and spare, (tile rows, rows, tiles, tile side)."""
        shape = (tile_rows, rows, *self._outputs)
        size = math.prod(shape)
        return self._currents[:size].reshape(shape), self._spare[:size].reshape(shape)


def _room(values: int) -> Matrix:
    """Memory for so many values. A little is kept for each thread: new pages would cost a single row a tenth."""
    if values > KEPT_VALUES:
        return np.empty(values, np.float32)
    if not hasattr(_kept, "room"):
        _kept.room = np.empty(KEPT_VALUES, np.float32)
    room: Matrix = _kept.room[:values]
    return room


def _panels(length: int) -> Iterator[tuple[int, int]]:
    """Panels of nearly the same number of rows: a single one at the end would take a time of its own."""
    count = max(1, -(-length // LINES))
    return spans(length, max(1, -(-length // count)))


def _read_panel(
    face: Face, index: int, driving: Drive, key: int, rows: Words, work: _Work, may_fuse: bool
) -> Matrix:
    """(rows, outputs) of one layer before its output scale, in the work's memory."""
    side, adc = face.sides[index], face.adc
    height = driving.codes.shape[1]
    total = work.total[:height]
    for first, last in spans(face.tile_rows, work.tile_rows(height)):
        tile = slice(first, last)
        codes, unit = driving.codes[tile], driving.step[tile, :, :, None]
        currents, spare = work.shaped(last - first, height)
        currents_of(face, side, codes, tile, currents)
        sigma = sigma_of(face, side, codes, tile)
        states = None if sigma is None else dice_of(key, index, tile, 0, rows).states(0)
        if may_fuse and fused.read_and_add(
            currents, sigma, states, unit, adc, side.errors, total, first=first == 0
        ):
            continue
        sensed = sense(currents, sigma, adc, side.errors, spare)
        if states is not None:
            fill_normal(states.ravel(), spare.reshape(states.size, -1))
        read_once(sensed, None if states is None else spare, side.errors, tile)
        currents *= sensed.step * unit
        _add_up(currents.reshape(last - first, *total.shape), total, first=first == 0)
    return total[:, : face.outputs]


def _add_up(parts: Matrix, total: Matrix, *, first: bool) -> None:
    """total (M, outputs) takes up parts (tile rows, M, outputs) one after the other, however they are grouped."""
    if first:
        np.add.reduce(parts, axis=0, out=total, initial=0.0)
    else:
        for part in parts:
            total += part


def currents_of(face: Face, side: Side, codes: Matrix, tile: slice, out: Matrix) -> None:
    """Drive codes (tile rows, M, tile side) into these tile rows: out (tile rows, M, tiles, tile side), noiseless."""
    flat = out.reshape(*out.shape[:2], -1)
    strips = side.strips[tile]
    whole = len(strips)
    if whole:
        exact_product(codes[:whole], strips, face.code_max, flat[:whole, :, : face.outputs])
    if whole < len(codes):
        last = side.conductance[(tile.stop - 1) * face.tile_side :]
        exact_product(codes[-1, :, : len(last)], last, face.code_max, flat[-1, :, : face.outputs])
    if face.outputs < flat.shape[2]:
        flat[:, :, face.outputs :] = 0.0


def sigma_of(face: Face, side: Side, codes: Matrix, tile: slice) -> Matrix | None:
    """Read noise of one reading at the outputs: (tile rows, M, 1, 1), or (tile rows, M, tiles, tile side).

    The part in proportion to the conductance: variance p^2 sum_i codes_i^2 (G+_ij^2 + G-_ij^2).
    """
    proportional = face.device.reading.proportional
    constant = constant_sigma(codes, face.device)
    if side.squares is None or not proportional:
        return constant
    variance = np.zeros((*codes.shape[:2], face.tiles * face.tile_side), np.float32)
    squared = np.square(codes)
    for one, at in enumerate(range(tile.start, tile.stop)):
        strip = side.squares[at * face.tile_side : (at + 1) * face.tile_side]
        exact_product(
            squared[one, :, : len(strip)],
            strip,
            face.code_max**2,
            variance[one, :, : face.outputs],
        )
    variance *= np.float32(proportional**2)
    variance = variance.reshape(*codes.shape[:2], face.tiles, face.tile_side)
    if constant is not None:
        variance += np.square(constant)
    return np.sqrt(variance, out=variance)


def dice_of(key: int, layer: int, tile: slice, input_slice: int, rows: Words) -> Dice:
    """Names of what is thrown for these tile rows of a layer; those of further readings follow."""
    tiles = np.arange(tile.start, tile.stop, dtype=np.uint64)
    arrays = np.uint64(layer * TILE_ROWS_MAX) + tiles
    throws = (arrays * np.uint64(SLICES_MAX) + np.uint64(input_slice)) * np.uint64(READS_MAX + 1)
    return Dice(key, throws, rows)


def _spent_once(face: Face, inputs: int, silent: Counts) -> Spent:
    """`silent` (layers, tile rows) of the inputs cost nothing. Inputs follow each other; arrays work side by side."""
    if not np.count_nonzero(silent):
        one = face.one_input
        return Spent(inputs * one.reads, inputs * one.energy_pj, inputs * one.latency_ns)
    whole, last = face.one_reading
    driven = inputs - silent
    wholes, lasts = int(driven[:, :-1].sum()), int(driven[:, -1].sum())
    return Spent(
        wholes * whole.reads + lasts * last.reads,
        wholes * whole.energy_pj + lasts * last.energy_pj,
        int(driven.max()) * last.latency_ns,
    )
