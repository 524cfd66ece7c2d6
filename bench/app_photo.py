"""The demo's photograph, recovered from half as many measurements as pixels with products on simulated crossbars.

Camera and recovery are the demo's: a real photograph, a simulated single-pixel camera, approximate message passing.
Here no mesh is between: one matrix of mirror patterns stands in the arrays, and both products of each iteration use
them, one from either side. The measurements themselves are exact.

The seed makes the patterns and the chips.
"""

import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from bench.app_meter import RTOL, Meter, Metered
from compute.analog import AnalogMatrix
from compute.partition import Matrix
from node.cli.demo.camera import SIDE, patterns, photo, psnr_db
from node.cli.demo.recovery import Products, local_products, recover

ITERATIONS = 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """Four pictures (3, pixels), and what the products took."""

    scene: Matrix
    digital: Matrix
    naive: Matrix
    shipped: Matrix
    program_s: float
    """CPU time of writing one array a weight."""
    slices: int
    """Arrays a weight in the end, at most."""
    naive_meter: Meter
    shipped_meter: Meter

    @property
    def psnrs_db(self) -> dict[str, float]:
        shown = {"digital": self.digital, "naive": self.naive, "shipped": self.shipped}
        return {name: psnr_db(picture, self.scene) for name, picture in shown.items()}


def recovered(device: str, side: int, seed: int) -> Outcome:
    """Recover the photograph at side x side pixels three times from the same measurements."""
    pixels = side * side
    seen = scene(side)
    mirrors = patterns(pixels, pixels // 2, seed)
    measured: Matrix = seen @ mirrors
    digital = _last_of(measured, local_products(mirrors))
    began = time.process_time()
    matrix = AnalogMatrix(mirrors, device, seed=seed)
    program_s = time.process_time() - began
    naive, naive_meter = _on_crossbars(measured, matrix, None)
    shipped, shipped_meter = _on_crossbars(measured, matrix, RTOL)
    slices = max(block.arrays.slices for block in matrix.blocks.values())
    return Outcome(seen, digital, naive, shipped, program_s, slices, naive_meter, shipped_meter)


def scene(side: int) -> Matrix:
    """(3, side^2) in 0..1: the demo's photograph, each pixel the mean of a square of its pixels."""
    assert SIDE % side == 0, f"{side} does not divide {SIDE}"
    step = SIDE // side
    squares = photo().reshape(3, side, step, side, step)
    small: Matrix = np.ascontiguousarray(squares.mean(axis=(2, 4)).reshape(3, side * side))
    return small


def _on_crossbars(
    measured: Matrix, matrix: AnalogMatrix, rtol: float | None
) -> tuple[Matrix, Meter]:
    metered = Metered(matrix, rtol)
    return _last_of(measured, Products(metered.forward, metered.backward)), metered.meter


def _last_of(measured: Matrix, products: Products) -> Matrix:
    (last,) = deque(recover(measured, products, ITERATIONS), maxlen=1)
    return last
