"""Writes a block of weights into arrays, reads it back, and writes what is missing into further arrays.

The read-back gives a gain for each column, which takes out what the noise has in common (cells at the window's edge
can only err inwards), and a 16-column probe of what is still wrong after each slice, by which ||X E||_F can be told
for any X.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compute import mapping
from compute.chance import normal, rows_of, stream_key
from compute.device import DeviceModel
from compute.energy import READ_BACK_READS
from compute.face import Layer
from compute.health import Counts, TileHealth, measure
from compute.outliers import Mask, Outliers, largest, places
from compute.partition import TILE_SIDE, Matrix, spans
from compute.programmed import (
    ONCE,
    PROBE_WIDTH,
    Arrays,
    ErrorProbe,
    ProgrammedBlock,
    further_outliers_max,
    outliers_max,
)
from compute.strips import write_strip
from compute.writing import WriteReport

FAR_SIGMA = 4.0
"""A pair that is further off than this many typical errors of its column goes digital."""


def program(
    weights: Matrix,
    device: DeviceModel,
    seed: int,
    block_id: str,
    arrays: Arrays = ONCE,
    *,
    overwrite: bool = False,
) -> ProgrammedBlock:
    """Write (k, n) float32 weights. With `overwrite` their memory is used up on the way."""
    missing = weights if overwrite else weights.copy()
    peak = np.maximum(missing.max(axis=0), -missing.min(axis=0))
    peak[peak == 0.0] = 1.0
    squares = np.einsum("ij,ij->j", missing, missing, dtype=np.float64)
    mean_square = float(squares.sum()) / missing.size
    filled = float(squares @ peak.astype(np.float64) ** -2.0) / missing.size
    finished, health = _write_all(missing, device, stream_key(seed, block_id), arrays)
    return ProgrammedBlock(
        slices=tuple(one.layers for one in finished),
        outliers=tuple(one.outliers for one in finished),
        errors=tuple(one.error for one in finished),
        mean_square=mean_square,
        peak=peak,
        filled=filled,
        health=health,
        written=sum((one.written for one in finished), WriteReport()),
        device=device,
        seed=seed,
        block_id=block_id,
        arrays=arrays,
    )


@dataclass(frozen=True, slots=True)
class _Finished:
    """One slice in its arrays, and what was found when these were read back."""

    layers: tuple[Layer, ...]
    written: WriteReport
    outliers: Outliers
    error: ErrorProbe
    """Of what is missing without the outliers."""


def _write_all(
    missing: Matrix, device: DeviceModel, key: int, arrays: Arrays
) -> tuple[list[_Finished], TileHealth]:
    """All slices one after the other, and the health of the first. What is left in `missing` is E."""
    scale = mapping.column_scale(missing, device)
    clipped = _beyond(missing, scale)
    believed = missing.copy() if arrays.slices > 1 else missing
    further_max = further_outliers_max(missing.shape, device)
    finished: list[_Finished] = []
    for index in range(arrays.slices):
        if index:
            scale = mapping.full_scale(believed)
        life = stream_key(key, "slice", index)
        made = _write_slice(believed, missing, scale, device, arrays, life)
        if index == 0:
            outliers = _first_outliers(believed, missing, clipped, made.stuck, device)
            health = measure(
                missing,
                scale,
                made.stuck,
                writes=arrays.writes,
                age_s=arrays.age_s,
                replicas=arrays.replicas,
                tile_side=arrays.tile_side,
            )
        if index + 1 < arrays.slices or (index and further_max):
            believed += read_back_error(made.layers, device, stream_key(life, arrays.writes))
        if index:
            outliers = _further_outliers(believed, missing, made.stuck, further_max)
        error = _probe(missing, key)
        finished.append(_Finished(made.layers, made.written, outliers, error))
    return finished, health


def read_back_error(layers: Sequence[Layer], device: DeviceModel, life: int) -> Matrix:
    """(k, n), by how much the read-back of one slice is wrong: nobody will know, so it stays in the answer.

    Of each pair the root of (2 constant^2 + proportional^2 (G+^2 + G-^2)) / readings, in units of the window.
    """
    rows, columns = layers[0].conductance.shape
    constant = np.float32(2.0 * device.cell_noise**2 / READ_BACK_READS)
    proportional = np.float32(device.reading.proportional**2 / READ_BACK_READS)
    sigma = np.zeros((1, columns), np.float32)
    for layer in layers:
        cells = constant if layer.squares is None else constant + proportional * layer.squares
        sigma = np.hypot(sigma, np.sqrt(cells) * layer.scale)
    error = normal(stream_key(life, "read back"), rows_of(0, rows), columns)
    error *= sigma
    return error


def _beyond(weights: Matrix, scale: Matrix) -> Mask:
    """(k, n), where |weights| > scale (n,)."""
    mask = np.empty(weights.shape, np.bool_)
    for start, stop in spans(len(weights), TILE_SIDE):
        np.greater(np.abs(weights[start:stop]), scale, out=mask[start:stop])
    return mask


@dataclass(frozen=True, slots=True)
class _Slice:
    layers: tuple[Layer, ...]
    stuck: Counts
    """(k, n), stuck cells that were found in each pair, of all replicas."""
    written: WriteReport


def _write_slice(
    believed: Matrix, missing: Matrix, scale: Matrix, device: DeviceModel, arrays: Arrays, key: int
) -> _Slice:
    """Write what is believed to be missing, once for each replica, and take off what the arrays then hold.

    What was believed is judged by arrays freshly written; what is missing, by the same arrays as old as they are.
    """
    if believed is missing or arrays.age_s == 0.0:
        made = _write_layers(believed, scale, device, arrays, key)
        for matrix in {id(one): one for one in (believed, missing)}.values():
            _take_off(made.layers, matrix)
        return made
    aged = _write_layers(believed, scale, device, arrays, key)
    fresh = _write_layers(believed, scale, device, replace(arrays, age_s=0.0), key)
    _take_off(fresh.layers, believed)
    _take_off(aged.layers, missing)
    return aged


def _write_layers(
    target: Matrix, scale: Matrix, device: DeviceModel, arrays: Arrays, key: int
) -> _Slice:
    """Arrays that hold the target together, one replica after the other."""
    shape = target.shape
    # Of sound devices a single zero, seen everywhere.
    stuck = np.zeros(shape if device.faults.share else (1, 1), np.int8)
    written = WriteReport()
    layers: list[Layer] = []
    for replica in range(arrays.replicas):
        life = stream_key(key, "replica", replica)
        conductance = np.empty_like(target)
        squares = np.empty_like(target) if device.reading.proportional else None
        products, own = np.zeros((2, shape[1]))
        for start, stop in spans(shape[0], arrays.tile_side):
            rows = slice(start, stop)
            wanted = target[rows] / scale
            if device.is_exact:
                conductance[rows] = wanted
                continue
            strip = write_strip(wanted, scale, start, device, arrays, life)
            conductance[rows] = strip.difference
            if squares is not None:
                squares[rows] = strip.squares
            if device.faults.share:
                stuck[rows] += strip.stuck
            written += strip.written
            products += np.einsum("ij,ij->j", wanted, strip.difference)
            own += np.einsum("ij,ij->j", strip.difference, strip.difference)
        gain = np.divide(products, own, out=np.ones(shape[1]), where=own > 0.0)
        part = (scale * gain / arrays.replicas).astype(np.float32)
        layers.append(Layer(conductance, squares, part))
    return _Slice(tuple(layers), np.broadcast_to(stuck, shape), written)


def _take_off(layers: Sequence[Layer], missing: Matrix) -> None:
    """What the arrays hold is missing no more; in place."""
    for layer in layers:
        for start, stop in spans(len(missing), TILE_SIDE):
            missing[start:stop] -= layer.conductance[start:stop] * layer.scale


def _first_outliers(
    believed: Matrix, missing: Matrix, clipped: Mask, stuck: Counts, device: DeviceModel
) -> Outliers:
    """What was clipped and what is far off, as many as there is room for, goes digital and is missing no more.

    `clipped` is used up.
    """
    count_max = outliers_max(missing.shape, device)
    if count_max == 0:
        return Outliers.none(missing.shape)
    odd = np.logical_or(clipped, stuck) if device.faults.share else clipped
    far = np.float32(FAR_SIGMA) * _typical(believed, odd)
    for start, stop in spans(len(believed), TILE_SIDE):
        clipped[start:stop] |= np.abs(believed[start:stop]) > far
    at = places(_at_most(count_max, clipped, believed))
    outliers = Outliers.at(missing.shape, *at, missing[at])
    believed[at] = missing[at] = 0.0
    return outliers


def _further_outliers(believed: Matrix, missing: Matrix, stuck: Counts, count_max: int) -> Outliers:
    """What stuck cells of a further slice leave far off goes digital too, as the read-back believes it to be.

    Sound pairs hardly ever are: where few cells are stuck, next to nothing is digital for this.
    """
    if count_max == 0 or not stuck.any():
        return Outliers.none(missing.shape)
    odd: Mask = stuck != 0
    far = np.float32(FAR_SIGMA) * _typical(believed, odd)
    for start, stop in spans(len(believed), TILE_SIDE):
        strip = slice(start, stop)
        odd[strip] &= np.abs(believed[strip]) > far
    at = places(_at_most(count_max, odd, believed))
    outliers = Outliers.at(missing.shape, *at, believed[at])
    missing[at] -= believed[at]
    believed[at] = 0.0
    return outliers


def _at_most(count_max: int, mask: Mask, missing: Matrix) -> Mask:
    """The same places, or the worst of them where there are more."""
    if np.count_nonzero(mask) <= count_max:
        return mask
    return largest(np.where(mask, missing, np.float32(0.0)), 0.0, count_max)


def _typical(missing: Matrix, odd: Mask) -> Matrix:
    """(n,), root mean square of what is missing in each column, but for the odd ones."""
    columns = missing.shape[1]
    squares, count = np.zeros((2, columns))
    for start, stop in spans(len(missing), TILE_SIDE):
        # The odd ones are few, so they are taken out one by one.
        at = np.flatnonzero(odd[start:stop])
        near = missing[start:stop].astype(np.float64)
        near.reshape(-1)[at] = 0.0
        squares += np.einsum("ij,ij->j", near, near)
        count += stop - start - np.bincount(at % columns, minlength=columns)
    typical: Matrix = np.sqrt(squares / np.maximum(count, 1.0)).astype(np.float32)
    return typical


def _probe(missing: Matrix, key: int) -> ErrorProbe:
    rows, columns = missing.shape
    columns_probe = normal(stream_key(key, "columns probe"), rows_of(0, columns), PROBE_WIDTH)
    rows_probe = normal(stream_key(key, "rows probe"), rows_of(0, rows), PROBE_WIDTH)
    return ErrorProbe(missing @ columns_probe, missing.T @ rows_probe)
