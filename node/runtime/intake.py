"""A client's matrix on its way in: bytes as they come, float32 rows as they are needed.

Conversion happens here, a strip at a time: byte order, float64 to float32, and Fortran order, for which the body is
first spooled to disk, since its first row is complete only with its last column. Every value is checked to be
finite on the way.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from compute.partition import Matrix
from protocol.errors import ErrorCode, TaskError
from protocol.npy import NpyHeader


class Intake:
    """Rows of one matrix, in order. One-dimensional bodies are one row."""

    def __init__(
        self,
        header: NpyHeader,
        chunks: AsyncIterator[bytes],
        pool: ThreadPoolExecutor,
        spool: Path,
    ) -> None:
        shape = header.shape if len(header.shape) == 2 else (1, header.shape[0])
        self.rows, self.columns = shape
        self._order = ">" if header.big_endian else "<"
        self._dtype = np.dtype(f"{self._order}f{header.itemsize}")
        self._fortran = header.fortran and len(header.shape) == 2 and min(shape) > 1
        self._chunks: AsyncIterator[bytes] = chunks
        self._rest = b""
        self._row = 0
        self._pool = pool
        self._spool = spool
        self._spooled: Path | None = None

    async def take(self, target: Matrix) -> None:
        """Fill `target` (h, columns) with the next h rows; TaskError names the first value that is not finite."""
        loop = asyncio.get_running_loop()
        first = self._row
        self._row += target.shape[0]
        if self._fortran:
            if self._spooled is None:
                await self._spool_all()
            await loop.run_in_executor(self._pool, self._take_spooled, first, target)
        else:
            raw = await self._read(target)
            await loop.run_in_executor(self._pool, self._convert, raw, target)
        await loop.run_in_executor(self._pool, _check_finite, target, first)

    def close(self) -> None:
        if self._spooled is not None:
            self._spooled.unlink(missing_ok=True)

    async def _read(self, target: Matrix) -> memoryview:
        """The raw values of these rows; straight into the target where nothing is to be converted."""
        plain = self._dtype == np.dtype("<f4")
        need = target.size * self._dtype.itemsize
        into = target.data.cast("B") if plain else memoryview(bytearray(need))
        got = 0
        while got < need:
            if not self._rest:
                self._rest = await anext(self._chunks)
            piece = self._rest[: need - got]
            into[got : got + len(piece)] = piece
            self._rest = self._rest[len(piece) :]
            got += len(piece)
        return into

    def _convert(self, raw: memoryview, target: Matrix) -> None:
        if self._dtype != np.dtype("<f4"):
            with np.errstate(over="ignore"):
                target[:] = np.frombuffer(raw, self._dtype).reshape(target.shape)

    async def _spool_all(self) -> None:
        loop = asyncio.get_running_loop()
        self._spooled = Path(tempfile.mkstemp(".tmp", ".", self._spool)[1])
        async for chunk in self._chunks:
            await loop.run_in_executor(self._pool, append, self._spooled, chunk)

    def _take_spooled(self, first: int, target: Matrix) -> None:
        assert self._spooled is not None
        shape = (self.rows, self.columns)
        values = np.memmap(self._spooled, self._dtype, "r", 0, shape, "F")
        with np.errstate(over="ignore"):
            target[:] = values[first : first + target.shape[0]]


def append(path: Path, data: bytes | memoryview) -> None:
    """Add to the end of a spool file."""
    with path.open("ab") as file:
        file.write(data)


def _check_finite(rows: Matrix, first: int) -> None:
    finite = np.isfinite(rows)
    if finite.all():
        return
    row, column = np.argwhere(~finite)[0]
    value = rows[row, column]
    raise TaskError(
        ErrorCode.BAD_REQUEST,
        f"the value at row {first + row}, column {column} is {value} as float32;"
        " every value must be finite",
    )
