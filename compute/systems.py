"""Solves linear systems with a matrix in simulated arrays."""

import numpy.typing as npt

from compute import solver
from compute.analog import AnalogMatrix
from compute.device import DeviceModel
from compute.partition import TILE_SIDE
from compute.presets import DEFAULT_DEVICE
from compute.solver import Solution, Splitting


def solve(
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    rtol: float = 1e-10,
    *,
    device: str | DeviceModel = DEFAULT_DEVICE,
    tile: int = TILE_SIDE,
    seed: int = 0,
) -> Solution:
    """x (n,) of A x = b, A (n, n), with ||b - A x|| <= rtol ||b|| by the residual in float64.

    Raw analog products correct what digital residuals find; the diagonal of A stays digital. The arrays are those
    of AnalogMatrix. Raises SolverError, which says what to do, where they are too far off for this matrix.
    """
    splitting = Splitting.of(a)
    arrays = AnalogMatrix(splitting.analog, device, tile=tile, seed=seed)
    return solver.solve(lambda x: arrays.rmatmul(x).value, a, b, rtol, splitting=splitting)
