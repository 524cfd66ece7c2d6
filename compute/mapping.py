"""Weights become conductances: a differential pair of cells for each weight, fitted column by column.

A weight w in a column with largest magnitude s is written as two cells, G+ = g_min + max(w, 0)/s * window and
G- = g_min + max(-w, 0)/s * window. Each cell misses its target by programming noise. The array is then read back
once: a gain for each column takes out what the noise has in common (cells at the window's edge can only err
inwards), and a 16-column probe of the remaining error E is kept, by which ||X E||_F can be told for any X.
"""

import math
from dataclasses import dataclass

import numpy as np

from compute.device import DeviceModel, stream, stream_key
from compute.partition import TILE_SIDE, Matrix, spans

PROBE_WIDTH = 16

_ROWS_PROBE = 1 << 32
_COLUMNS_PROBE = _ROWS_PROBE + 1
"""Streams of the probes, beyond those of the strips."""


@dataclass(frozen=True, slots=True)
class ProgrammedBlock:
    """One block of weights as it stands in the arrays: W = conductance * scale + E."""

    conductance: Matrix
    """(k, n), (G+ - G-) / window, programming errors included."""
    scale: Matrix
    """(n,), what full conductance stands for, with the read-back gain."""
    rows_error: Matrix
    """(k, 16), E R: for the error of X W."""
    columns_error: Matrix
    """(n, 16), E^T R': for the error of X W^T."""
    mean_square: float
    """Of the weights."""
    conductance_mean_square: float
    device: DeviceModel
    seed: int
    block_id: str

    @property
    def nbytes(self) -> int:
        return resident_bytes(self.shape)

    @property
    def shape(self) -> tuple[int, int]:
        return self.conductance.shape[0], self.conductance.shape[1]

    def programming_error(self, x: Matrix, transpose: bool) -> float:
        """Estimate of ||X E||_F (or ||X E^T||_F) for this very X, unbiased in its square."""
        image = x @ (self.columns_error if transpose else self.rows_error)
        return float(np.linalg.norm(image.astype(np.float64))) / math.sqrt(PROBE_WIDTH)


def resident_bytes(shape: tuple[int, int]) -> int:
    rows, columns = shape
    return 4 * (rows * columns + columns + PROBE_WIDTH * (rows + columns))


def program(
    weights: Matrix, device: DeviceModel, seed: int, block_id: str, overwrite: bool = False
) -> ProgrammedBlock:
    """Write (k, n) float32 weights into arrays, 128 rows at a time. `overwrite` reuses their memory."""
    key = stream_key(seed, block_id, "program")
    scale = column_scale(weights, device)
    read_back = _ReadBack(scale, len(weights), key)
    conductance = weights if overwrite else np.empty_like(weights)
    for strip, (start, stop) in enumerate(spans(len(weights), TILE_SIDE)):
        wanted = weights[start:stop] / scale
        got = write_cells(wanted, device, stream(key, strip))
        conductance[start:stop] = got
        read_back.add(start, wanted, got)
    gain = read_back.calibrate(conductance)
    return ProgrammedBlock(
        conductance=conductance,
        scale=scale * gain,
        rows_error=read_back.rows_error,
        columns_error=read_back.columns_error,
        mean_square=float(read_back.wanted_squares @ np.square(scale, dtype=np.float64))
        / weights.size,
        conductance_mean_square=float(read_back.got_squares.sum()) / weights.size,
        device=device,
        seed=seed,
        block_id=block_id,
    )


class _ReadBack:
    """What reading a freshly written block tells: each column's gain, and the probes of what is still wrong."""

    def __init__(self, scale: Matrix, rows: int, key: int) -> None:
        columns = len(scale)
        self._scale = scale[:, None]
        self._rows_probe = _probe(key, _ROWS_PROBE, rows)
        self._columns_probe = self._scale * _probe(key, _COLUMNS_PROBE, columns)
        self._products, self.got_squares, self.wanted_squares = np.zeros((3, columns))
        self.rows_error = np.empty((rows, PROBE_WIDTH), np.float32)
        self.columns_error = np.zeros((columns, PROBE_WIDTH), np.float32)

    def add(self, first_row: int, wanted: Matrix, got: Matrix) -> None:
        """Compare rows from `first_row` on, both (h, n) in shares of the window; `wanted` is used up."""
        rows = slice(first_row, first_row + len(wanted))
        self._products += np.einsum("ij,ij->j", wanted, got)
        self.got_squares += np.einsum("ij,ij->j", got, got)
        self.wanted_squares += np.einsum("ij,ij->j", wanted, wanted)
        wanted -= got
        self.rows_error[rows] = wanted @ self._columns_probe
        self.columns_error += wanted.T @ self._rows_probe[rows]

    def calibrate(self, conductance: Matrix) -> Matrix:
        """The gain of each column, by least squares; the probes then tell the error that is left with it.

        wanted - gain G = (wanted - G) + (1 - gain) G: both terms are small, so that nothing cancels.
        """
        written = self.got_squares > 0.0
        ones = np.ones_like(self.got_squares)
        gain = np.divide(self._products, self.got_squares, out=ones, where=written)
        excess = (1.0 - gain).astype(np.float32)[:, None]
        self.rows_error += conductance @ (excess * self._columns_probe)
        self.columns_error += excess * (conductance.T @ self._rows_probe)
        self.columns_error *= self._scale
        return gain.astype(np.float32)


def _probe(key: int, index: int, length: int) -> Matrix:
    return stream(key, index).standard_normal((length, PROBE_WIDTH), np.float32)


def column_scale(weights: Matrix, device: DeviceModel) -> Matrix:
    """(n,), the largest magnitude of each column; one where there is nothing to fit."""
    columns = weights.shape[1]
    if device.is_exact:
        return np.ones(columns, np.float32)
    scale: Matrix = np.maximum(weights.max(axis=0), -weights.min(axis=0))
    scale[scale < np.finfo(np.float32).tiny] = 1.0
    return scale


def write_cells(wanted: Matrix, device: DeviceModel, dice: "np.random.Generator") -> Matrix:
    """What the pairs hold after being written to `wanted` (h, n) in [-1, 1], in shares of the window."""
    if not device.programming_noise_us:
        return wanted.copy()
    positive = _write(np.maximum(wanted, 0.0), device, dice)
    positive -= _write(np.maximum(-wanted, 0.0), device, dice)
    return positive


def _write(level: Matrix, device: DeviceModel, dice: "np.random.Generator") -> Matrix:
    """Cells told to hold `level` in [0, 1] of the window; noise cannot push one out of it. In place."""
    conductance_us = level
    conductance_us *= np.float32(device.window_us)
    conductance_us += np.float32(device.g_min_us)
    noise = dice.standard_normal(conductance_us.shape, np.float32)
    noise *= programming_sigma_us(conductance_us, device)
    conductance_us += noise
    np.clip(conductance_us, device.g_min_us, device.g_max_us, out=conductance_us)
    conductance_us -= np.float32(device.g_min_us)
    conductance_us /= np.float32(device.window_us)
    return conductance_us


def programming_sigma_us(conductance_us: Matrix, device: DeviceModel) -> Matrix:
    """Standard deviation in uS of a cell written to this conductance, by Horner's rule."""
    sigma = np.zeros_like(conductance_us)
    for coefficient in reversed(device.programming_noise_us):
        sigma *= conductance_us
        sigma += np.float32(coefficient)
    return np.maximum(sigma, 0.0, out=sigma)
