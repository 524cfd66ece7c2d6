"""Matrices to multiply, their panels as a store reads them, and how far a product is off."""

from collections.abc import Iterator

import numpy as np

from compute.answer import AnalogResult
from compute.backend import Panels
from compute.partition import TILE_SIDE, Matrix, spans


def normal(*shape: int, seed: int = 1) -> Matrix:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def panels_of(weights: Matrix) -> Panels:
    """Each panel in the memory of the one before."""

    def panels() -> Iterator[tuple[int, Matrix]]:
        room = np.empty((TILE_SIDE, weights.shape[1]), np.float32)
        for start, stop in spans(len(weights), TILE_SIDE):
            room[: stop - start] = weights[start:stop]
            yield start, room[: stop - start]
            room[:] = np.nan

    return panels


def relative_error(answer: AnalogResult, x: Matrix, weights: Matrix) -> float:
    """||Y' - X W||_F / ||X W||_F, or ||Y'||_F where X W is nothing."""
    exact = np.atleast_2d(x).astype(np.float64) @ weights.astype(np.float64)
    size = float(np.linalg.norm(exact))
    error = float(np.linalg.norm(np.atleast_2d(answer.value) - exact))
    return error / size if size else error
