"""Memory behind the core's buffer names.

Each buffer is an anonymous mapping of its own, so that freeing it gives the pages back to the system at once: the
budget is judged by resident memory. A view that a worker or a socket still holds keeps its mapping alive.
"""

import mmap

import numpy as np

from compute.partition import Matrix, Matrix64
from node.work import BufferRef


class Arena:
    """Buffers by number. Pages are zero until they are touched."""

    def __init__(self) -> None:
        self._maps: dict[int, mmap.mmap] = {}

    def allocate(self, buffer: BufferRef) -> None:
        assert buffer.id not in self._maps
        self._maps[buffer.id] = mmap.mmap(-1, max(buffer.nbytes, 1))

    def free(self, buffer: BufferRef) -> None:
        """Forget the buffer; freeing one that is not here is no error, as a task may end at any step."""
        self._maps.pop(buffer.id, None)

    def bytes(self, buffer: BufferRef) -> memoryview:
        return memoryview(self._maps[buffer.id])[: buffer.nbytes]

    def matrix(self, buffer: BufferRef, rows: int, columns: int) -> Matrix:
        """The buffer as float32 (rows, columns)."""
        values = np.frombuffer(self._maps[buffer.id], np.float32, rows * columns)
        return values.reshape(rows, columns)

    def matrix64(self, buffer: BufferRef, rows: int, columns: int) -> Matrix64:
        """The buffer as float64 (rows, columns)."""
        values = np.frombuffer(self._maps[buffer.id], np.float64, rows * columns)
        return values.reshape(rows, columns)

    def take(self, buffer: BufferRef, rows: int, columns: int) -> Matrix:
        """The buffer's memory as a matrix that outlives the buffer's name."""
        matrix = self.matrix(buffer, rows, columns)
        self.free(buffer)
        return matrix
