"""What arrays cannot hold is added digitally: a sparse matrix of the few weights that stand out, or still miss.

The bits of a row of X O depend on that row alone, whatever the batch, its cut or the threads, which a matrix
product by BLAS does not promise. So the order of each sum is fixed: an output's entries are added in float32 one
after the other, in runs of at most 32; then its runs are added likewise. For that, entries lie as *jagged diagonals*
(Saad 1989): runs are sorted by falling length, and the s-th entries of all runs that have so many stand side by
side. A diagonal is one step for the whole batch, and there are few of them even where all entries share an output.
Where compiled code is at hand (`compute/fused.py`), it adds run by run, in the same order.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from compute import fused
from compute.partition import BLOCK_SIDE, Matrix, spans

Index = npt.NDArray[np.uint16]
Mask = npt.NDArray[np.bool_]

RUN_MAX = 32
"""Entries of one run: as many steps for runs of entries, and at most as many for a column's runs."""

PANEL_ROWS_MAX = 64
"""Rows of X that are taken at a time: enough to hide numpy's cost of a step, few enough for the cache."""

WORK_BYTES_MAX = 2 << 20
"""For a panel of X, its sums, and the terms of one step."""

TERMS_BYTES = 128 << 10
"""Short diagonals are multiplied together up to so much: numpy takes its microseconds for each call."""

CACHE_LINE = 16
"""Of float32."""


@dataclass(frozen=True, slots=True)
class Diagonals:
    """The entries as one direction of the product meets them."""

    outputs: Index
    """What each run adds to, by falling length of the runs; without repeats where there is nothing to fold."""
    bounds: npt.NDArray[np.uint32]
    """(diagonals + 1,), where each begins: diagonal s belongs to the first runs, those with more than s entries."""
    inputs: Index
    """(entries,), which input each entry is multiplied with."""
    values: Matrix
    """(entries,)"""
    fold: "Diagonals | None"
    """The sums of runs as inputs, where an output has several runs."""

    @property
    def nbytes(self) -> int:
        own = sum(part.nbytes for part in (self.outputs, self.bounds, self.inputs, self.values))
        return own + (self.fold.nbytes if self.fold else 0)

    def add_product(self, x: Matrix, out: Matrix, *, may_fuse: bool) -> None:
        """out (M, outputs) += x (M, inputs) @ self, float32; at most 2 MiB of work memory, or one row's."""
        row_bytes = 4 * (2 * x.shape[1] + 2 * len(self.outputs) + out.shape[1])
        rows = max(1, min(PANEL_ROWS_MAX, (WORK_BYTES_MAX - TERMS_BYTES) // row_bytes))
        for start, stop in spans(len(x), rows):
            # Rows side by side: an entry is then one stretch of memory, not one value.
            outputs, sums = self.totals(_turned(x[start:stop]), may_fuse=may_fuse)
            # Placed before they are turned back: rows of memory move faster than values. What is added where there
            # is no entry leaves even the sign of a zero as it is.
            placed = np.full((out.shape[1], stop - start), -0.0, np.float32)
            placed[outputs] = sums
            out[start:stop] += placed.T

    def totals(self, inputs: Matrix, *, may_fuse: bool) -> tuple[Index, Matrix]:
        """Outputs that have entries, each once, and their (outputs, rows) sums, from (inputs, rows)."""
        sums = np.zeros((len(self.outputs), inputs.shape[1]), np.float32)
        if not may_fuse or not fused.add_runs(inputs, self.bounds, self.inputs, self.values, sums):
            self._add_runs(inputs, sums)
        return self.fold.totals(sums, may_fuse=may_fuse) if self.fold else (self.outputs, sums)

    def _add_runs(self, inputs: Matrix, sums: Matrix) -> None:
        """sums (runs, rows) += what each run comes to, from (inputs, rows)."""
        together = TERMS_BYTES // (4 * inputs.shape[1])
        entries_max = min(max(len(sums), together), len(self.values))
        room = np.empty((entries_max, inputs.shape[1]), np.float32)
        for bounds in self._groups(together):
            here = slice(bounds[0], bounds[-1])
            # Every index is in bounds; told to clip, numpy writes into `out` without a second buffer.
            terms = inputs.take(
                self.inputs[here], axis=0, out=room[: here.stop - here.start], mode="clip"
            )
            terms *= self.values[here, None]
            for start, stop in pairwise(bounds):
                sums[: stop - start] += terms[start - here.start : stop - here.start]

    def _groups(self, entries_max: int) -> Iterator[list[int]]:
        """Bounds of diagonals that follow each other, of so many entries together; or of a single one."""
        bounds, first = self.bounds.tolist(), 0
        for last in range(1, len(bounds)):
            if last + 1 == len(bounds) or bounds[last + 1] - bounds[first] > entries_max:
                yield bounds[first : last + 1]
                first = last


def _turned(x: Matrix) -> Matrix:
    """(inputs, rows) from x (rows, inputs)."""
    if len(x) == 1:
        return np.ascontiguousarray(x.T)
    # A power of two from row to row, and all rows of a column would meet in the same few lines of the cache.
    apart = np.empty((len(x), x.shape[1] + CACHE_LINE), np.float32)
    apart[:, : x.shape[1]] = x
    return np.ascontiguousarray(apart[:, : x.shape[1]].T)


@dataclass(frozen=True, slots=True)
class Outliers:
    """A sparse (k, n) matrix, ready for X O and for X O^T."""

    shape: tuple[int, int]
    forward: Diagonals
    backward: Diagonals

    @staticmethod
    def of(mask: Mask, values: Matrix) -> "Outliers":
        """The entries of (k, n) float32 `values` where `mask` is set; both at most a block."""
        assert mask.shape == values.shape
        rows, columns = places(mask)
        return Outliers.at((mask.shape[0], mask.shape[1]), rows, columns, values[rows, columns])

    @staticmethod
    def at(shape: tuple[int, int], rows: Index, columns: Index, chosen: Matrix) -> "Outliers":
        """Entries at these places, in the order of memory."""
        assert max(shape) <= BLOCK_SIDE
        by_column = np.argsort(columns, kind="stable")
        return Outliers(
            shape=shape,
            forward=_diagonals(columns[by_column], rows[by_column], chosen[by_column]),
            backward=_diagonals(rows, columns, chosen),
        )

    @staticmethod
    def none(shape: tuple[int, int]) -> "Outliers":
        """Of a block that needs none."""
        nowhere = np.zeros(0, np.uint16)
        return Outliers.at(shape, nowhere, nowhere, np.zeros(0, np.float32))

    @property
    def count(self) -> int:
        return len(self.forward.values)

    @property
    def share(self) -> float:
        """Of the block's multiplications, those that are digital."""
        return self.count / math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """About 12 for each entry: either direction keeps its own order."""
        return self.forward.nbytes + self.backward.nbytes

    def add_product(
        self, x: Matrix, out: Matrix, transpose: bool = False, *, may_fuse: bool = True
    ) -> None:
        """out += x @ O, or x @ O^T; x and out (M, .) float32. The same bits for any cut of the rows.

        `may_fuse`: by compiled code where `compute.fused` is warm; the bits are the same.
        """
        inputs, outputs = reversed(self.shape) if transpose else self.shape
        assert x.shape[1] == inputs and out.shape == (len(x), outputs)
        if self.count:
            side = self.backward if transpose else self.forward
            side.add_product(x, out, may_fuse=may_fuse)


def places(mask: Mask) -> tuple[Index, Index]:
    """Rows and columns where a mask is set, in the order of memory."""
    rows, columns = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return rows.astype(np.uint16), columns.astype(np.uint16)


def largest(error: Matrix, threshold: Matrix | float, count_max: int) -> Mask:
    """Where |error| (k, n) exceeds `threshold` ((n,) or one), the `count_max` largest; of equals, the first.

    For what a read-back says is missing: one order for the whole block takes most off ||E|| for a given count.
    """
    magnitude = np.abs(error)
    mask: Mask = magnitude > threshold
    at = np.flatnonzero(mask)
    if len(at) > count_max:
        falling = np.argsort(-magnitude.reshape(-1)[at], kind="stable")
        mask.reshape(-1)[at[falling[count_max:]]] = False
    return mask


def _diagonals(outputs: Index, inputs: Index, values: Matrix) -> Diagonals:
    """From entries in the order of their outputs."""
    run_of, output_of_run, places = _runs(outputs)
    lengths = np.bincount(run_of, minlength=len(output_of_run))
    by_length = np.argsort(-lengths, kind="stable")
    rank = np.empty_like(by_length)
    rank[by_length] = np.arange(len(by_length))
    # Two stable sorts by small keys, which numpy does by radix: first along, then across.
    along = np.argsort(rank[run_of].astype(np.uint16), kind="stable")
    order = along[np.argsort(places[along], kind="stable")]
    runs = output_of_run[by_length]
    return Diagonals(
        outputs=runs,
        bounds=_edges(np.bincount(places)),
        inputs=inputs[order],
        values=values[order],
        fold=_fold(runs),
    )


def _runs(outputs: Index) -> tuple[npt.NDArray[np.intp], Index, Index]:
    """Which run each entry is in, which output each run is of, and each entry's place in its run."""
    counts = np.bincount(outputs)
    before = np.cumsum(counts) - counts
    place = np.arange(len(outputs)) - before[outputs]
    starts = place % RUN_MAX == 0
    run_of: npt.NDArray[np.intp] = np.cumsum(starts) - 1
    return run_of, outputs[starts], (place % RUN_MAX).astype(np.uint16)


def _fold(runs: Index) -> Diagonals | None:
    """How the runs of one output are added, where there are any to add."""
    by_output = np.argsort(runs, kind="stable").astype(np.uint16)
    ordered = runs[by_output]
    if not (ordered[1:] == ordered[:-1]).any():
        return None
    return _diagonals(ordered, by_output, np.ones(len(runs), np.float32))


def _edges(lengths: npt.NDArray[np.intp]) -> npt.NDArray[np.uint32]:
    return np.concatenate(([0], np.cumsum(lengths))).astype(np.uint32)
