"""What the wires of an array take from its currents, solved exactly and once for each programming.

An array has R word lines, driven from their left ends, and C bit lines, held at ground at their bottom ends. Each
piece of line from one cell to the next, and from an edge to the first cell, has the same resistance. All is ohmic,
so the currents are I_j = sum_i V_i T_ij with a *transfer conductance* T_ij that stands where the cell's own
conductance would stand if wires were perfect, and every later product is a plain product with T.

Kirchhoff's law is solved by block elimination. Conductances below are in units of one piece of wire; D is the
diagonal of a column's cells, B the Laplacian of its bit line, u_j the voltages of the word lines at column j.

    into the bit line   S = D - D (B + D)^-1 D        (what column j alone draws, as R x R admittance)
    out at the bottom   I = a^T u,  a = D (B + D)^-1 e_R
    from the right      Q_j = S_j + E_{j+1},  E = Q (1 + Q)^-1     (what column j and all beyond it draw)
    along the lines     u_j = (1 - E_j) u_{j-1},  u_0 = (1 - E_0) V

B + D is tridiagonal, its inverse a product of two vectors on each side of the diagonal. Where wires are good Q is
small: it is summed in float64, but Q^2 and beyond, so much smaller again, come from products in float32.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from compute.device import DeviceError
from compute.partition import Matrix, Matrix64

Conductances = npt.NDArray[np.floating]

TRUNCATION = 3e-13
"""What a series may leave out at one column, as a share of the voltages. It enters all columns to the left."""

SERIES_MAX = 0.03
"""Largest norm of Q that is left to a series; beyond it LAPACK inverts in float64, at twice the time."""

SERIES_ROWS_MIN = 64
"""Smaller matrices LAPACK inverts at once."""

GROWTH_MAX = 1e280
"""Beyond this the two vectors of a tridiagonal inverse leave the range of float64."""


def effective(conductance_us: Conductances, segment_ohm: float) -> Matrix64:
    """Transfer conductances (..., R, C) in uS of arrays (..., R, C) in uS, with so many ohms between neighbours.

    Relative to the largest, T is within 1e-9 of a nodal solution of the whole array while the wires take up to half
    of the current (128 x 128: 6e-11 at 18 %, 1.4e-10 at 31 %, 3.3e-10 at 46 %; 512 x 512: 5e-11 at
    26 %, 1.3e-10 at 54 %). By reciprocity the same T serves products from the bit lines to the word lines.
    Raises DeviceError where a conductance is negative or no number, with its position.
    """
    cells = _checked(conductance_us, segment_ohm)
    wire_share = segment_ohm * 1e-6
    if cells.size == 0 or cells.max() * wire_share * sum(cells.shape[-2:]) ** 2 < 2.0**-54:
        return cells.copy()  # the drop is below float64's rounding
    arrays = np.multiply(cells.reshape(-1, *cells.shape[-2:]), wire_share)
    for array in arrays:
        array[...] = _transfer(array)
    arrays /= wire_share
    return arrays.reshape(cells.shape)


def first_order(conductance_us: Conductances, segment_ohm: float) -> Matrix:
    """A preview of `effective` in 1/100 of the time, float32.

    To first order in the resistance r, T = G (1 - r d) with, rows and columns counted from 1,
    d_ij = sum_k min(j, k) G_ik + sum_k (R + 1 - max(i, k)) G_kj. G / (1 + r d), taken here, is the same to that order
    and never negative.
    """
    cells: Matrix = _checked(conductance_us, segment_ohm).astype(np.float32)
    rows, columns = cells.shape[-2:]
    distance = cells @ _common_path(columns) + _common_path(rows)[::-1, ::-1] @ cells
    preview: Matrix = cells / (distance * np.float32(segment_ohm * 1e-6) + np.float32(1.0))
    return preview


def _checked(conductance_us: Conductances, segment_ohm: float) -> Matrix64:
    if not 0.0 <= segment_ohm < np.inf:
        raise DeviceError(f"segment_ohm must be 0 or more and finite, not {segment_ohm:g}")
    cells = np.asarray(conductance_us, np.float64)
    if cells.ndim < 2:
        raise DeviceError(f"an array of cells has rows and columns, not the shape {cells.shape}")
    sound = np.isfinite(cells) & (cells >= 0.0)
    if not sound.all():
        at = tuple(np.argwhere(~sound)[0].tolist())
        raise DeviceError(f"conductance {list(at)} is {cells[at]:g} uS, not finite and 0 or more")
    return cells


def _common_path(side: int) -> Matrix:
    """(side, side), how many pieces of wire the ways from two cells to the line's end have in common."""
    steps = np.arange(1.0, side + 1, dtype=np.float32)
    common: Matrix = np.minimum(steps[:, None], steps)
    return common


def _transfer(cells: Matrix64) -> Matrix64:
    """T of one array; both in units of one piece of wire."""
    rows, columns = cells.shape
    if rows > columns:  # the same array seen from its bit lines has the smaller matrices
        mirrored: Matrix64 = _transfer(cells[::-1, ::-1].T)[::-1, ::-1].T
        return mirrored
    beyond = np.cumsum(cells[:, ::-1], axis=1)[:, ::-1]
    norms, steps = beyond.max(axis=0).tolist(), cells.max(axis=0).tolist()  # of Q_j and S_j <= D_j
    draught = Draught(rows)
    transfer, lost = np.empty((2, columns, rows))
    for column, spread, bottom in _bit_lines(cells):
        draught.step(cells[:, column], spread, norms[column], steps[column])
        transfer[column] = bottom
        np.matmul(transfer[column:], draught.drawn, out=lost[column:])  # float32 would cost a digit
        transfer[column:] -= lost[column:]
    return transfer.T


class Draught:
    """E, what the columns from some column on draw, carried from the last to the first; in buffers of its own."""

    def __init__(self, rows: int) -> None:
        self.drawn: Matrix64 = np.zeros((rows, rows))
        self._load: Matrix64 = np.empty((rows, rows))
        self._tail: Matrix = np.zeros((rows, rows), np.float32)
        self._q, self._square, self._scratch = np.empty((3, rows, rows), np.float32)

    def step(self, cell: Matrix64, spread: Matrix64, norm: float, step: float) -> None:
        """Add a column: its D, D - S, and bounds for the norms of Q and S."""
        np.subtract(self.drawn, spread, out=self._load)
        _diagonal(self._load)[...] += cell
        if len(cell) < SERIES_ROWS_MIN or norm > SERIES_MAX:
            identity = np.eye(len(cell))
            self.drawn[...] = identity - np.linalg.inv(identity + self._load)
        else:
            self._sum_series(norm, step)

    def _sum_series(self, norm: float, step: float) -> None:
        """E = Q - Q^2 + Q^2 E, solved from the last column's Q^2 E on.

        The diagonal outweighs all else, and its rounding alone would cost a digit: its squares are summed in float64.
        """
        q, square = self._q, self._square
        np.copyto(q, self._load, casting="same_kind")
        np.matmul(q, q.T, out=square)
        q -= square
        # Since that column Q has changed by S - Q E, and Q^3 by some 3 Q^2 of it; each turn leaves Q^2 of the error.
        error = 3.0 * norm**2 * max(step, norm**2)
        while True:
            np.add(q, self._tail, out=self._scratch)
            np.matmul(square, self._scratch, out=self._tail)
            error *= norm**2
            if error <= TRUNCATION:
                break
        rounding = square.diagonal() - np.vecdot(self._load, self._load)
        square -= self._tail
        np.copyto(self.drawn, square)
        np.subtract(self._load, self.drawn, out=self.drawn)
        _diagonal(self.drawn)[...] += rounding


def _diagonal(square: Matrix64) -> Matrix64:
    """A view that can be written to."""
    view: Matrix64 = np.einsum("ii->i", square)
    return view


def _bit_lines(cells: Matrix64) -> Iterator[tuple[int, Matrix64, Matrix64]]:
    """Column, D (B + D)^-1 D, a: from the last column to the first.

    A bit line without a source has two solutions: f, flat at its open top, and h, zero at its grounded bottom. Then
    (B + D)^-1 is f_i h_k / f_R for i <= k, and as f / h grows, that is the lesser of f_i h_k / f_R and f_k h_i / f_R.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        f, growth = _solution(cells, slope=0.0)
        h, _ = _solution(cells[::-1], slope=1.0)
        tops, bottoms = (cells * f / growth).T.copy(), (cells * h[::-1]).T.copy()
    spread, mirrored = np.empty((2, len(cells), len(cells)))
    for column in range(cells.shape[1] - 1, -1, -1):
        if not growth[column] <= GROWTH_MAX:
            yield column, *_inverted(cells[:, column])
            continue
        np.multiply(tops[column, :, None], bottoms[column], out=spread)
        np.multiply(bottoms[column, :, None], tops[column], out=mirrored)
        yield column, np.minimum(spread, mirrored, out=spread), tops[column]


def _solution(cells: Matrix64, slope: float) -> tuple[Matrix64, Matrix64]:
    """(R, C) and the value after the last row, for lines that begin with 1. Only sums of what is positive."""
    values, slopes = np.empty((len(cells) + 1, cells.shape[1])), np.full(cells.shape[1], slope)
    values[0] = 1.0
    for row, cell in enumerate(cells):
        slopes += cell * values[row]
        np.add(values[row], slopes, out=values[row + 1])
    return values[:-1], values[-1]


def _inverted(cell: Matrix64) -> tuple[Matrix64, Matrix64]:
    """D (B + D)^-1 D and a of a column whose cells conduct so much better than its wires that f and h overflow."""
    rows = len(cell)
    line = np.diag(cell + 2.0) - np.eye(rows, k=1) - np.eye(rows, k=-1)
    line[0, 0] -= 1.0
    inverse = np.linalg.inv(line)
    return cell[:, None] * inverse * cell, cell * inverse[:, -1]
