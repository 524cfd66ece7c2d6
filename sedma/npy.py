"""Arrays as .npy bodies: sent as they lie in memory where that is possible, received into their final place."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import ArrayLike, NDArray

from sedma.bodies import CHUNK_BYTES
from sedma.errors import SedmaError
from sedma.transport import Reply

MAGIC = b"\x93NUMPY\x01\x00"
"""NEP 1, version 1.0."""
ALIGNMENT = 64

Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ArrayBody:
    """An array as little-endian float32 rows; another layout is converted panel by panel on its way out."""

    array: NDArray[Any]
    kind: str = "application/x-npy"

    @classmethod
    def of(cls, value: ArrayLike, name: str) -> "ArrayBody":
        """SedmaError where it cannot be float32 without somebody having to decide how."""
        array = np.asarray(value)
        if array.dtype.kind != "f" or array.dtype.itemsize not in (4, 8):
            raise SedmaError(
                "bad_request",
                f"{name} has dtype {array.dtype}: write {name}.astype(numpy.float32)",
            )
        if array.ndim not in (1, 2):
            raise SedmaError(
                "bad_request", f"{name} has shape {array.shape}: one or two dimensions are possible"
            )
        return cls(array)

    @property
    def nbytes(self) -> int:
        return len(header(self.array.shape)) + 4 * self.array.size

    def chunks(self) -> Iterator[bytes | memoryview]:
        yield header(self.array.shape)
        for panel in self._panels():
            view = panel.data.cast("B") if panel.size else memoryview(b"")
            for start in range(0, len(view), CHUNK_BYTES):
                yield view[start : start + CHUNK_BYTES]

    def _panels(self) -> Iterator[Matrix]:
        array = self.array
        if array.dtype == np.dtype("<f4") and array.flags.c_contiguous:
            yield array
            return
        row_bytes = 4 * math.prod(array.shape[1:])
        rows = max(1, CHUNK_BYTES // max(1, row_bytes))
        for start in range(0, len(array), rows):
            # A float64 beyond float32 becomes infinite here, which the daemon refuses with its place.
            with np.errstate(over="ignore"):
                yield np.ascontiguousarray(array[start : start + rows], dtype="<f4")


def header(shape: tuple[int, ...]) -> bytes:
    """What stands before the values of a little-endian float32 array in row order."""
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    padding = -(len(MAGIC) + 2 + len(text) + 1) % ALIGNMENT
    length = len(text) + padding + 1
    return MAGIC + length.to_bytes(2, "little") + text + b" " * padding + b"\n"


def read_array(reply: Reply) -> Matrix:
    """The array in an answer; its values are received where they stay."""
    try:
        version = npy_format.read_magic(reply)
        if version != (1, 0):
            raise ValueError(f"version {version} is not 1.0")
        shape, fortran, dtype = npy_format.read_array_header_1_0(reply)
        if dtype != np.dtype("<f4") or fortran:
            raise ValueError(
                f"{dtype} in {'column' if fortran else 'row'} order is not float32 rows"
            )
    except ValueError as error:
        raise SedmaError(
            "internal", f"the daemon's answer is not the .npy it promised: {error}"
        ) from error
    array: Matrix = np.empty(shape, dtype=np.float32)
    left = array.data.cast("B") if array.size else memoryview(b"")
    while left:
        count = reply.readinto(left)
        if not count:
            raise SedmaError(
                "unreachable", f"the answer broke off {len(left)} bytes before its end"
            )
        left = left[count:]
    return array
