"""Weights become targets for cells: how much of the window a column's full conductance stands for, and which cell of
a pair holds what.

A weight w of a column with scale s wants w / s in [-1, 1] of the window, held as the difference of two cells. Noise
of cells is a share of the window, so that a column's error grows with its scale, and the time that averaging takes
with its square. A few large weights make it longer for all others. They are left to a sparse digital product, where
that pays: for 1,024 normal weights a clip near 2.5 standard deviations, with 1 % of them beyond.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute.device import DeviceModel
from compute.faults import Stuck
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans

CLIPPED_SHARE_MAX = 0.02
"""Of a column's weights, so many may be digital for the sake of its scale."""

OUTLIER_COST = 32.0
"""A share p of outliers counts as much as reading 1 + 32 p times as long. Then a normal law is best clipped at 2.5
standard deviations, and a law without tails (uniform, +-1) not at all: to halve s^2 by leaving out the largest
weights of a uniform column takes 29 % of them.

Measured for 1,024 x 1,024 normal weights, each with its best number of slices, an entry taken as 4.6 pJ (a float32
multiply and add in 45 nm; Horowitz, ISSCC 2014): a product of 64 rows to 3 % takes with 0, 0.3, 1 and 2 % of outliers
50, 38, 37 and 39 uJ on `rram-wan2022`, 22, 19, 19 and 19 uJ on `rram-cmo-hfox-2025`; to 10 % on the former 14, 15, 13
and 16 uJ. Raw, where everything is read once, 1 % takes the error to 0.76 of itself and the energy to 1.6 times."""

TAIL_MEANS = 3.0
"""Outliers are looked for beyond so many times the mean magnitude: 2.4 standard deviations of a normal law."""

SEARCHES_MAX = 4
"""Where outliers are so large that they carry the mean, it is taken anew without them, as often as this."""

FAR = 8.0
"""So many times a column's clip, its peak is far: only there can a mean without the outliers be much smaller."""

SCALE_MIN = float(np.finfo(np.float32).tiny)
"""Smaller weights use less than the window."""


def column_scale(weights: Matrix, device: DeviceModel) -> Matrix:
    """(n,) float32, what full conductance stands for in each column of finite (k, n) float32 weights.

    Weights beyond it are outliers: at most CLIPPED_SHARE_MAX of a column, none on an exact device, whose scale is one.
    """
    if device.is_exact:
        return np.ones(weights.shape[1], np.float32)
    return _usable(_clipped_scale(weights))


def full_scale(weights: Matrix) -> Matrix:
    """(n,), each column's largest magnitude, one where there is none: nothing is clipped."""
    return _usable(np.maximum(weights.max(axis=0), -weights.min(axis=0)))


def _usable(scale: Matrix) -> Matrix:
    """In place. A subnormal scale would cost bits wherever something is multiplied with it."""
    scale[(scale > 0.0) & (scale < SCALE_MIN)] = SCALE_MIN
    scale[scale == 0.0] = 1.0
    return scale


def pair_targets(wanted: Matrix, stuck: Stuck | None) -> Matrix:
    """(2, h, n) float32 shares of the window whose difference is as near `wanted` (h, n) in [-1, 1] as cells allow.

    The partner of a stuck cell makes up for it as far as it can; a stuck cell's target is where it is, so that no
    pulse is spent on it.
    """
    targets = np.empty((2, *wanted.shape), np.float32)
    if stuck is None:
        # Clipping from both sides and subtracting take numpy a third of the time of a maximum with nought.
        np.clip(wanted, 0.0, 1.0, out=targets[0])
        np.subtract(targets[0], wanted, out=targets[1])
        return targets
    # A partner at g_max lifts what a cell has to hold by the whole window; at g_min, as if sound, by nothing.
    high = (stuck > 0).astype(np.float32)
    np.clip(high[1] + wanted, 0.0, 1.0, out=targets[0])
    np.clip(high[0] - wanted, 0.0, 1.0, out=targets[1])
    np.copyto(targets, high, where=stuck != 0)
    return targets


@dataclass(frozen=True, slots=True)
class _Clip:
    """How columns are clipped so far, each array (n,)."""

    peak: Matrix
    """Largest magnitude of all."""
    scale: Matrix
    outliers: npt.NDArray[np.intp]
    """How many weights lie beyond the scale."""
    cost: Matrix64
    """(scale / peak)^2 (1 + OUTLIER_COST p): one without a clip."""


def _clipped_scale(weights: Matrix) -> Matrix:
    """(n,), zero for columns of zeros."""
    peak, mean = _peak_and_mean(weights, None)
    columns = weights.shape[1]
    clip = _Clip(peak, peak.copy(), np.zeros(columns, np.intp), np.ones(columns))
    deeper = _search(weights, clip, None, _tail_begins(peak, mean))
    for _ in range(SEARCHES_MAX - 1):
        if not deeper.any():
            break
        bound = _tail_begins(*_peak_and_mean(weights, clip.scale))
        bound[~deeper] = np.inf
        deeper = _search(weights, clip, clip.scale.copy(), bound)
    return clip.scale


def _tail_begins(peak: Matrix, mean: Matrix64) -> Matrix:
    return np.minimum(TAIL_MEANS * mean, peak).astype(np.float32)


def _search(
    weights: Matrix, clip: _Clip, within: Matrix | None, bound: Matrix
) -> npt.NDArray[np.bool_]:
    """Clip each column where it is cheapest: at one of its weights in (bound, within], or at `bound`.

    Returns which columns were clipped at `bound`, far from their peak, (n,): below it may lie what is cheaper still.
    """
    column, scale = _beyond(weights, within, bound)
    first = np.flatnonzero(np.diff(column, prepend=-1))
    outliers = clip.outliers[column] + np.arange(len(column)) - first[column]
    relative = scale / np.where(clip.peak > 0.0, clip.peak, 1.0).astype(np.float64)[column]
    cost = relative**2 * (1.0 + OUTLIER_COST / len(weights) * outliers)
    cost[(outliers > CLIPPED_SHARE_MAX * len(weights)) | (scale == 0.0)] = np.inf
    least = np.minimum.reduceat(cost, first)
    chosen = np.flatnonzero((cost == least[column]) & (cost < clip.cost[column]))
    at = column[chosen]
    clip.scale[at], clip.outliers[at], clip.cost[at] = scale[chosen], outliers[chosen], cost[chosen]
    deeper = np.zeros(len(bound), np.bool_)
    deeper[at] = (scale[chosen] == bound[at]) & (bound[at] < clip.peak[at] / FAR)
    return deeper


def _peak_and_mean(weights: Matrix, within: Matrix | None) -> tuple[Matrix, Matrix64]:
    """(n,) each, of the magnitudes up to `within`; the others count as zero.

    Added in a fixed order, as a product with ones would not be. The mean is infinite where sums of 128 pass the
    largest float32: such columns are not clipped.
    """
    peak = np.zeros(weights.shape[1], np.float32)
    total = np.zeros(weights.shape[1])
    with np.errstate(over="ignore"):
        for magnitude in _magnitudes(weights, within):
            np.maximum(peak, magnitude.max(axis=0), out=peak)
            total += magnitude.sum(axis=0)
    return peak, total / len(weights)


def _beyond(
    weights: Matrix, within: Matrix | None, bound: Matrix
) -> tuple[npt.NDArray[np.intp], Matrix]:
    """Columns and magnitudes in (bound, within], and each column's bound itself; by column, largest first."""
    columns = len(bound)
    keys = [_key(np.arange(columns), bound)]
    for magnitude in _magnitudes(weights, within):
        at = np.flatnonzero(magnitude > bound)
        keys.append(_key(at % columns, magnitude.reshape(-1)[at]))
    key = np.sort(np.concatenate(keys))
    magnitudes: Matrix = (~key).astype(np.uint32).view(np.float32)
    return (key >> np.uint64(32)).astype(np.intp), magnitudes


def _key(column: npt.NDArray[np.intp], magnitude: Matrix) -> npt.NDArray[np.uint64]:
    """Sorts by column, then by falling magnitude: floats above zero are ordered as their bits are."""
    falling = (~magnitude.view(np.uint32)).astype(np.uint64)
    return (column.astype(np.uint64) << np.uint64(32)) | falling


def _magnitudes(weights: Matrix, within: Matrix | None) -> Iterator[Matrix]:
    """|weights|, 128 rows at a time in one buffer that stays in the cache."""
    buffer = np.empty((min(TILE_SIDE, len(weights)), weights.shape[1]), np.float32)
    for start, stop in spans(len(weights), TILE_SIDE):
        magnitude = np.abs(weights[start:stop], out=buffer[: stop - start])
        if within is not None:
            np.copyto(magnitude, 0.0, where=magnitude > within)
        yield magnitude
