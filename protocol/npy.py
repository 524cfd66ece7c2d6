"""The .npy format, as clients send and receive matrices (NEP 1; numpy.lib.format versions 1.0 to 3.0).

Only the header is read here, and it is read as data: nothing is evaluated or unpickled. What may come in is
float32 and float64 in either byte order and either memory order; what goes out is little-endian float32, row by
row.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NpyHeader:
    """Shape and layout of a matrix in a .npy body."""

    shape: tuple[int, ...]
    """One or two sides; whether one is enough is for the request to say."""
    itemsize: int
    """4 or 8 bytes a value."""
    big_endian: bool
    fortran: bool
    header_bytes: int
    """Where the values begin."""

    @property
    def values_bytes(self) -> int:
        count = 1
        for side in self.shape:
            count *= side
        return count * self.itemsize

    @property
    def converted(self) -> tuple[str, ...]:
        """What must be converted to get little-endian float32 rows, in words."""
        words = []
        if self.itemsize == 8:
            words.append("float64 to float32")
        if self.big_endian:
            words.append("big-endian to little-endian")
        if self.fortran and len(self.shape) == 2:
            words.append("Fortran order to row order")
        return tuple(words)
