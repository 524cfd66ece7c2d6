"""One door to whatever multiplies: plain float32 arithmetic, or simulated crossbars.

A node asks what a block will cost in memory, programs it, and multiplies by it under an absolute share of the
error. Which of the two stands behind the door is a setting of the weights, not of the node.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from compute.partition import Matrix

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
