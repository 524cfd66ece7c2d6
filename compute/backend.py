"""One door to whatever multiplies: plain float32 arithmetic, or simulated crossbars.

A node asks what a block will cost in memory, programs it, and multiplies by it under an absolute share of the
error. Which of the two stands behind the door is a setting of the weights, not of the node.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol, Self

import numpy as np

from compute.device import DeviceError
from compute.partition import Matrix

Panels = Callable[[], Iterable[tuple[int, Matrix]]]
"""Reads a block from where it is kept: (first row, rows as float32), top to bottom, a tile row at a time.

A panel is good until the next one is asked for: they may share their memory."""


class Digits(NamedTuple):
    """How a block of weights stands in arrays of whole numbers."""

    weight_bits: int
    cell_bits: int
    copies: int


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
    """By the device's table of unit costs (`compute/energy.py`); a backend without a device counts none."""
    latency_s: float
    """Of the arrays, all tiles at work at once; the time of digital arithmetic is for the caller to measure."""
    regimes: frozenset[str]
    """How its tile rows were worked: fast, sliced, integer, digital."""
    digital_j: float = 0.0
    """The part of the energy that was spent on arithmetic beside the arrays."""
    digits: frozenset[Digits] = frozenset()
    """Arrays of whole numbers that were read."""

    def beside(self, other: Self) -> Self:
        """Two parts of one product, done at once; the value is that of the first."""
        return replace(
            self,
            analog_macs=self.analog_macs + other.analog_macs,
            digital_macs=self.digital_macs + other.digital_macs,
            error_rms_estimate=math.hypot(self.error_rms_estimate, other.error_rms_estimate),
            reads=self.reads + other.reads,
            energy_j=self.energy_j + other.energy_j,
            digital_j=self.digital_j + other.digital_j,
            latency_s=max(self.latency_s, other.latency_s),
            regimes=self.regimes | other.regimes,
            digits=self.digits | other.digits,
        )


def digital_product(value: Matrix, macs: int, energy_j: float = 0.0) -> Product:
    """What plain arithmetic gave, in so many multiply-accumulates."""
    return Product(value, 0, macs, 0.0, 0, energy_j, 0.0, frozenset({"digital"}), energy_j)


class Backend(Protocol):
    """What multiplies. Every method may be called from several threads at once."""

    def resident_bytes(self, shape: tuple[int, int]) -> int:
        """The most that a freshly programmed (k, n) block costs in memory."""
        ...

    def program(self, block_id: str, weights: Matrix, *, overwrite: bool = False) -> Resident:
        """Make W_b (k, n) float32 ready to multiply. With `overwrite` its memory is used up or kept."""
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
        return digital_product(value if out is None else out, macs)


def backend(name: str, device_name: str | None = None, seed: int = 0) -> Backend:
    """`digital`, or `rram` with a device (None: the default) and the seed of its cells. Raises DeviceError."""
    match name:
        case "digital":
            return Digital()
        case "rram":
            # Loaded when first asked for: a digital node has no use for crossbars.
            from compute.presets import DEFAULT_DEVICE, device
            from compute.rram import Rram

            return Rram(device(device_name or DEFAULT_DEVICE), seed)
        case _:
            raise DeviceError(f"{name}: no such backend (write digital or rram)")
