"""One door to whatever multiplies: plain float32 arithmetic, or simulated crossbars.

A node asks what a block will cost in memory, programs it, and multiplies by it under an absolute share of the
error. Which of the two stands behind the door is a setting of the weights, not of the node.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compute import mapping
from compute.crossbar import Reading, Side, energy_of, multiply_rows, side_of
from compute.device import DEFAULT_DEVICE, DeviceError, DeviceModel, device, stream_key
from compute.mapping import ProgrammedBlock
from compute.partition import Matrix, spans

ROWS_AT_ONCE = 64
"""Rows of X driven in one pass: keeps what stands beside a block to about 4 MiB."""

Panels = Callable[[], Iterable[tuple[int, Matrix]]]
"""Reads a block from where it is kept: (first row, rows as float32), top to bottom."""


class Resident(Protocol):
    """A block that has been programmed and can be multiplied by."""

    @property
    def nbytes(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int]: ...


@dataclass(frozen=True, slots=True)
class Product:
    """X W_b or X W_b^T, and what it took."""

    value: Matrix
    analog_macs: int
    digital_macs: int
    error_rms_estimate: float
    """Of ||value - X W||_F, from the device; float32 rounding is not counted."""
    reads: int
    """Readings of single crossbar arrays."""
    energy_j: float
    """By the device's table of unit costs; digital arithmetic is not counted."""
    latency_s: float
    """Of the arrays, all tiles at work at once; the time of digital arithmetic is for the caller to measure."""
    regime: str


Rows = tuple[int, int]


class Backend(Protocol):
    """What multiplies. Every method may be called from several threads at once."""

    def resident_bytes(self, shape: tuple[int, int]) -> int:
        """What a programmed (k, n) block costs in memory."""
        ...

    def program(self, block_id: str, weights: Matrix, *, overwrite: bool = False) -> Resident:
        """Make W_b (k, n) float32 ready to multiply. With `overwrite` its memory becomes the resident's."""
        ...

    def multiply(
        self,
        resident: Resident,
        x: Matrix,
        *,
        transpose: bool,
        share: float | None,
        x_key: int,
        digital: Panels,
        out: Matrix | None = None,
    ) -> Product:
        """x (M, k) times W_b, or x (M, n) times W_b^T; added to `out` where that is given.

        `share` bounds the root mean square of ||value - X W||_F; 0.0 asks for digital arithmetic, None for the
        raw analog product. `x_key` names X for the noise: the same X meets the same noise.
        """
        ...


@dataclass(frozen=True, slots=True)
class DigitalBlock:
    """The block itself."""

    weights: Matrix

    @property
    def nbytes(self) -> int:
        return self.weights.nbytes

    @property
    def shape(self) -> tuple[int, int]:
        return self.weights.shape[0], self.weights.shape[1]


class Digital:
    """Plain float32 arithmetic."""

    def resident_bytes(self, shape: tuple[int, int]) -> int:
        return 4 * shape[0] * shape[1]

    def program(self, block_id: str, weights: Matrix, *, overwrite: bool = False) -> Resident:
        return DigitalBlock(weights if overwrite else weights.copy())

    def multiply(
        self,
        resident: Resident,
        x: Matrix,
        *,
        transpose: bool,
        share: float | None,
        x_key: int,
        digital: Panels,
        out: Matrix | None = None,
    ) -> Product:
        assert isinstance(resident, DigitalBlock)
        weights = resident.weights.T if transpose else resident.weights
        assert x.dtype == np.float32 and x.shape[1] == weights.shape[0]
        value = x @ weights
        if out is not None:
            out += value
        macs = x.shape[0] * weights.shape[0] * weights.shape[1]
        return Product(value if out is None else out, 0, macs, 0.0, 0, 0.0, 0.0, "digital")


@dataclass(frozen=True, slots=True)
class Rram:
    """Simulated crossbars; rows of X whose share they cannot keep are computed digitally."""

    device: DeviceModel
    seed: int

    def resident_bytes(self, shape: tuple[int, int]) -> int:
        return mapping.resident_bytes(shape)

    def program(self, block_id: str, weights: Matrix, *, overwrite: bool = False) -> Resident:
        return mapping.program(weights, self.device, self.seed, block_id, overwrite)

    def multiply(
        self,
        resident: Resident,
        x: Matrix,
        *,
        transpose: bool,
        share: float | None,
        x_key: int,
        digital: Panels,
        out: Matrix | None = None,
    ) -> Product:
        assert isinstance(resident, ProgrammedBlock) and x.dtype == np.float32
        side = side_of(resident, transpose)
        assert x.shape[1] == side.inputs
        programming = resident.programming_error(x, transpose) ** 2
        variance = None if share is None else share * share - programming
        key = stream_key(self.seed, resident.block_id, "read", transpose, x_key)
        value = np.zeros((len(x), side.outputs), np.float32) if out is None else out
        readings, unmet = _read_panels(side, x, variance, key, value)
        if unmet:
            _add_digital(value, x, unmet, transpose, digital)
        rows = len(x) - sum(stop - start for start, stop in unmet)
        macs = side.inputs * side.outputs
        spread = math.fsum(each.variance for each in readings) + programming * rows / len(x)
        return Product(
            value,
            analog_macs=rows * macs,
            digital_macs=(len(x) - rows) * macs,
            error_rms_estimate=math.sqrt(spread),
            reads=sum(each.reads for each in readings),
            energy_j=math.fsum(each.energy_pj for each in readings) * 1e-12,
            latency_s=math.fsum(each.latency_ns for each in readings) * 1e-9,
            regime=_regime(readings),
        )


def backend(name: str, device_name: str | None = None, seed: int = 0) -> Backend:
    """`digital`, or `rram` with a device by name (None: the default) and the seed of its cells."""
    match name:
        case "digital":
            return Digital()
        case "rram":
            return Rram(device(device_name or DEFAULT_DEVICE), seed)
        case _:
            raise DeviceError(f"{name}: no such backend (write digital or rram)")


def _read_panels(
    side: Side, x: Matrix, variance: float | None, key: int, value: Matrix
) -> tuple[list[Reading], list[Rows]]:
    """Add to `value` what the arrays can give; say for which rows of X they cannot keep the variance."""
    readings: list[Reading] = []
    if variance is not None and not variance > 0.0:
        return readings, [(0, len(x))]
    unmet: list[Rows] = []
    energy = energy_of(x)
    for index, (start, stop) in enumerate(spans(len(x), ROWS_AT_ONCE)):
        panel = x[start:stop]
        part = None if variance is None else _part(variance, energy_of(panel), energy)
        reading = multiply_rows(side, panel, part, key, index)
        if reading is None:
            unmet.append((start, stop))
        else:
            value[start:stop] += reading.value
            readings.append(reading)
    return readings, unmet


def _part(variance: float, energy: float, total: float) -> float:
    return variance * (energy / total) if total > 0.0 else variance


def _add_digital(
    value: Matrix, x: Matrix, unmet: list[Rows], transpose: bool, digital: Panels
) -> None:
    """Add plain float32 products for these rows of X, reading the block once, a panel at a time."""
    for first, weights in digital():
        held = slice(first, first + len(weights))
        for start, stop in unmet:
            if transpose:
                value[start:stop, held] += x[start:stop] @ weights.T
            else:
                value[start:stop] += x[start:stop, held] @ weights


def _regime(readings: list[Reading]) -> str:
    if not readings:
        return "digital"
    return "sliced" if any(each.slices > 1 for each in readings) else "fast"
