"""A block of weights as it stands in the arrays.

W = sum over slices of (sum over replicas of conductance * scale) + outliers + E. The first slice holds the weights,
fitted column by column; each further one holds the *residual*, what the read-back of those before says is still
missing (Song et al., Science 2024), so that write errors shrink geometrically. Replicas hold the same once more and
carry an equal part of the scale, which averages both kinds of noise. Outliers are weights beyond a column's range and
pairs that stuck cells leave far off: few, multiplied digitally. Each slice has its own stuck cells and is followed by
outliers of its own, for a product may read fewer slices than there are.
"""

import math
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np

from compute import mapping
from compute.chance import stream_key
from compute.device import DeviceModel
from compute.energy import Spent, read_back
from compute.face import Face, Layer, Side, face
from compute.health import TileHealth
from compute.outliers import Outliers
from compute.partition import TILE_SIDE, TILE_SIDES, Matrix
from compute.writing import WriteReport

PROBE_WIDTH = 16

DIGITAL_SHARE_MAX = 0.25
"""Of the weights, so many may go digital after one slice."""

SPOILT_PART = 1.0 / 3.0
"""Pairs that the stuck cells of a further slice may make digital, for each of these cells: lines are placed so that
most harm nothing. Of normal weights on `rram-wan2022` 0.16 are wanted where a tenth of all cells is stuck, 0.2 where a
fifth is, and 0.007 where a hundredth is; on `pcm-joshi` with a tenth 0.33. Where more are, the worst are taken."""


@dataclass(frozen=True, slots=True)
class Arrays:
    """What is to be programmed: how many arrays for each weight, how often they were written, how long ago."""

    slices: int = 1
    replicas: int = 1
    writes: int = 1
    """Of these cells so far, this one included: each writing has its own noise."""
    age_s: float = 0.0
    tile_side: int = TILE_SIDE
    """Cells along each array."""

    def __post_init__(self) -> None:
        assert self.tile_side in TILE_SIDES


@dataclass(frozen=True, slots=True)
class ErrorProbe:
    """What is still wrong, seen through Gaussian probes."""

    rows: Matrix
    """(k, 16), E R: for the error of X W."""
    columns: Matrix
    """(n, 16), E^T R': for the error of X W^T."""

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self.columns.nbytes


@dataclass(frozen=True, slots=True)
class ProgrammedBlock:
    """One block of weights as it stands in the arrays."""

    slices: tuple[tuple[Layer, ...], ...]
    """Residual slices, each of one or more replicas."""
    outliers: tuple[Outliers, ...]
    """After each slice: what is digital in a product that reads this slice and those before."""
    errors: tuple[ErrorProbe, ...]
    """After each slice."""
    mean_square: float
    """Of the weights."""
    peak: Matrix
    """(n,), the largest magnitude of each column; one where there is nothing."""
    filled: float
    """Mean square of the weights in units of their column's peak."""
    health: TileHealth
    written: WriteReport
    device: DeviceModel
    seed: int
    block_id: str
    arrays: Arrays
    exponent: int = 0
    """The weights are 2^this times what is told here."""
    _faces: dict[tuple[int, bool], Face] = field(default_factory=dict, compare=False, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        rows, columns = self.slices[0][0].conductance.shape
        return rows, columns

    @property
    def nbytes(self) -> int:
        layers = [layer for replicas in self.slices for layer in replicas]
        return (
            sum(layer.nbytes for layer in layers)
            + sum(probe.nbytes for probe in self.errors)
            + sum(part.nbytes for part in self.outliers)
            + self.peak.nbytes
        )

    def first(self, slices: int) -> Self:
        """The same block in fewer of its slices."""
        arrays = replace(self.arrays, slices=slices)
        return replace(
            self,
            slices=self.slices[:slices],
            outliers=self.outliers[:slices],
            errors=self.errors[:slices],
            arrays=arrays,
            _faces={},
        )

    def face(self, depth: int, transpose: bool) -> Face:
        """The first slices, seen from the side that is driven."""
        if (seen := self._faces.get((depth, transpose))) is not None:
            return seen
        layers = tuple(layer for replicas in self.slices[:depth] for layer in replicas)
        seen = face(layers, self.device, transpose, self.key, self.arrays.tile_side)
        return self._faces.setdefault((depth, transpose), seen)

    def sides(self, index: int, transpose: bool) -> tuple[Side, ...]:
        """One slice, replica by replica."""
        first = index * self.arrays.replicas
        return self.face(index + 1, transpose).sides[first:]

    def add_outliers(self, x: Matrix, out: Matrix, depth: int, transpose: bool = False) -> None:
        """out += x O, or x O^T, for the outliers after the first `depth` slices."""
        for part in self.outliers[:depth]:
            part.add_product(x, out, transpose)

    def digital_share(self, depth: int) -> float:
        """Digital multiplications, as a share of the block's, where so many slices are read."""
        return sum(part.share for part in self.outliers[:depth])

    @property
    def key(self) -> int:
        """Of the arrays, for life."""
        return stream_key(self.seed, self.block_id)

    @property
    def programming(self) -> Spent:
        """Writing and reading back all its layers, one after the other."""
        written = Spent(energy_pj=self.written.energy_pj, latency_ns=self.written.time_ns)
        return written.then(self.reading_back)

    @property
    def reading_back(self) -> Spent:
        """Of all layers; exact devices have nothing to find."""
        layers = 0 if self.device.is_exact else self.arrays.slices * self.arrays.replicas
        return read_back(self.device, *self.shape, self.arrays.tile_side).times(layers)

    def programming_variance(self, x: Matrix, depth: int, transpose: bool, inputs: slice) -> float:
        """Estimate of ||x E||_F^2 after `depth` slices, for an x that drives these inputs alone; unbiased."""
        probe = self.errors[depth - 1]
        image = x @ (probe.columns if transpose else probe.rows)[inputs]
        return float(np.einsum("ij,ij->", image, image, dtype=np.float64)) / PROBE_WIDTH


def resident_bytes(shape: tuple[int, int], device: DeviceModel, arrays: Arrays) -> int:
    """The most that a programmed (k, n) block takes."""
    rows, columns = shape
    matrices = 2 if device.reading.proportional else 1
    layer = 4 * (matrices * rows * columns + columns)
    probe = 4 * PROBE_WIDTH * (rows + columns)
    layers = arrays.slices * arrays.replicas
    further = _outliers_bytes(shape, further_outliers_max(shape, device))
    return (
        layers * layer
        + arrays.slices * probe
        + _outliers_bytes(shape, outliers_max(shape, device))
        + (arrays.slices - 1) * further
        + 4 * columns
    )


def outliers_max(shape: tuple[int, int], device: DeviceModel) -> int:
    """Weights that may be digital after the first slice: those clipped, and the pairs that stuck cells spoil."""
    if device.is_exact:
        return 0
    stuck = device.faults.share
    return math.ceil(math.prod(shape) * min(mapping.CLIPPED_SHARE_MAX + stuck, DIGITAL_SHARE_MAX))


def further_outliers_max(shape: tuple[int, int], device: DeviceModel) -> int:
    """Weights that may go digital after each further slice: pairs that its stuck cells spoil."""
    return math.ceil(math.prod(shape) * SPOILT_PART * device.faults.share)


def _outliers_bytes(shape: tuple[int, int], count: int) -> int:
    """Twelve bytes for each, and for each output or 32 entries a run in either direction; of none, where they end."""
    return 13 * count + 16 * sum(shape) + 2048 if count else 8


ONCE = Arrays()
"""Freshly written, one array for each polarity of a weight."""
