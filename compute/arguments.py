"""What a program hands to an `AnalogMatrix`, checked: the error says which argument, and what to write instead."""

import numpy as np
import numpy.typing as npt

from compute.device import DeviceModel
from compute.partition import TILE_SIDES, Matrix
from compute.presets import device as device_of

REPLICAS_MAX = 16
"""Their error falls with the root of their number, and each is read for every product."""

_NUMBER = float | int | np.floating
"""What a tolerance may be."""


class MatrixError(ValueError):
    """A matrix that cannot be made or multiplied; the text says which value, and where."""


def checked(values: npt.ArrayLike, name: str) -> Matrix:
    """As float32, finite. Raises MatrixError that names the first value that is not, and where it stands."""
    matrix = np.asarray(values)
    if matrix.dtype.kind not in "fiub":
        raise MatrixError(f"{name} holds {matrix.dtype}; write real numbers")
    with np.errstate(over="ignore"):
        single: Matrix = matrix.astype(np.float32)
    if single.size == 0 or single.ndim == 0:
        raise MatrixError(f"{name} of shape {single.shape} holds nothing to multiply")
    finite = np.isfinite(single)
    if not finite.all():
        place = tuple(int(at[0]) for at in np.nonzero(~finite))
        reason = "beyond float32" if np.isfinite(matrix[place]) else "not finite"
        raise MatrixError(f"{name}{list(place)} is {matrix[place]}: {reason}")
    return single


def tile_side(tile: int) -> int:
    if not _is_whole(tile) or tile not in TILE_SIDES:
        raise MatrixError(f"tile is {tile!r}; write one of {', '.join(map(str, TILE_SIDES))}")
    return int(tile)


def counted(value: int, name: str, least: int, most: int | None = None) -> int:
    if not _is_whole(value) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"{least} to {most}"
        raise MatrixError(f"{name} is {value!r}; write a whole number, {bounds}")
    return int(value)


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def model_of(device: str | DeviceModel) -> DeviceModel:
    if isinstance(device, DeviceModel):
        return device
    if not isinstance(device, str):
        raise MatrixError(
            f"device is {device!r}; write a preset's name, JSON text, or a DeviceModel"
        )
    return device_of(device)


def check_fitting(x: Matrix, inputs: int, rtol: float | None) -> None:
    if x.ndim > 2 or x.shape[-1] != inputs:
        raise MatrixError(f"X has shape {x.shape}; its last axis must be {inputs} long")
    if rtol is not None and not (isinstance(rtol, _NUMBER) and 0.0 < rtol < 1.0):
        raise MatrixError(
            f"rtol is {rtol!r}; write a number between 0 and 1, or None for the raw product"
        )
