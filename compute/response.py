"""How much of an input comes out of a tile row, told by two numbers of the input: its sum and its energy.

With g_ij over the n lines of a tile row, mean g_j and (sample) variance v_j of column j, an input x gives
    current_j = (sum_i x_i) g_j + sum_i (x_i - mean x) (g_ij - g_j)
Inputs of one sign on weights of one sign add up in step, in the first part; in the second, signs are as good as random,
and its expected square is (||x||^2 - (sum x)^2 / n) v_j. Only the mean over the lines is told from chance: a pattern
that inputs and weights share otherwise is not seen here.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from compute.partition import Matrix, Matrix64, spans


@dataclass(frozen=True, slots=True)
class Response:
    """Of the tile rows of one layer, from the side that is driven; conductances as shares of the window."""

    lines: Matrix64
    """(tile rows,)"""
    together: Matrix64
    """(tile rows,), sum over the outputs of g_j^2, in units of each output's scale."""
    apart: Matrix64
    """(tile rows,), of v_j."""
    level: Matrix64
    """(tile rows, tiles), |mean of g_j| over the columns of each array."""
    mean_square: Matrix64
    """(tile rows, tiles), mean of g_j^2 over the columns of each array."""
    spread: Matrix64
    """(tile rows, tiles), mean of v_j."""

    @property
    def common(self) -> Matrix64:
        """(tile rows,), of what equal inputs bring about, by the means: 1 / lines where weights have no common sign."""
        whole = self.together + self.apart
        share: Matrix64 = np.divide(
            self.together, whole, out=np.zeros_like(whole), where=whole > 0.0
        )
        return share

    @classmethod
    def of(cls, conductance: Matrix, scale_squares: Matrix64, tile_side: int) -> Self:
        """conductance (inputs, outputs), scale_squares (tiles, tile side)."""
        inputs, outputs = conductance.shape
        scale = scale_squares.ravel()[:outputs]
        starts = np.arange(0, outputs, tile_side)
        widths = np.diff(starts, append=outputs)
        means, variances, lines = [], [], []
        for start, stop in spans(inputs, tile_side):
            strip = conductance[start:stop]
            count = stop - start
            mean = strip.mean(axis=0, dtype=np.float64)
            square = np.einsum("ij,ij->j", strip, strip, dtype=np.float64)
            means.append(mean)
            variances.append(np.maximum(square - count * mean**2, 0.0) / max(count - 1, 1))
            lines.append(float(count))
        mean, variance = np.stack(means), np.stack(variances)
        return cls(
            lines=np.array(lines),
            together=mean**2 @ scale,
            apart=variance @ scale,
            level=np.abs(np.add.reduceat(mean, starts, axis=1)) / widths,
            mean_square=np.add.reduceat(mean**2, starts, axis=1) / widths,
            spread=np.add.reduceat(variance, starts, axis=1) / widths,
        )

    def variance(self, x: Matrix, tiles: slice) -> Matrix64:
        """(tile rows,), expected sum of squares that x (tile rows, M, tile side) brings about in these tile rows.

        Silent lines after the last may pad x.
        """
        sums, energies = sums_and_energies(x)
        apart = np.maximum(energies - sums**2 / self.lines[tiles, None], 0.0)
        in_step = np.sum(sums**2, axis=1) * self.together[tiles]
        expected: Matrix64 = in_step + apart.sum(axis=1) * self.apart[tiles]
        return expected


def sums_and_energies(x: Matrix) -> tuple[Matrix64, Matrix64]:
    """(tile rows, M) each, of x (tile rows, M, tile side)."""
    energies: Matrix64 = np.einsum("tmi,tmi->tm", x, x).astype(np.float64)
    return x.sum(axis=2).astype(np.float64), energies
