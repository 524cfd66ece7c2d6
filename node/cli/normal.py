"""Matrices of normal values for commands that measure cells, named by a seed.

Errors of an answer are then those of the cells, not of the matrix.
"""

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float32]


def normal_weights(seed: int, sides: tuple[int, int]) -> Matrix:
    """W (K, N)."""
    return np.random.default_rng((seed, 0)).standard_normal(sides, np.float32)


def normal_inputs(seed: int, rows: int, width: int) -> Matrix:
    """X (rows, width)."""
    return np.random.default_rng((seed, 1)).standard_normal((rows, width), np.float32)
