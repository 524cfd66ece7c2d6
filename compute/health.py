"""How well the arrays of a block are: measured when they are written, remembered for as long as they are used.

The planner reads it to choose how a tile is worked; a node tells of it in its digest; the disk keeps the little that
cannot be found out again, so a restarted node simulates the same arrays at the same age.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from compute.partition import TILE_SIDE, Matrix, spans

HEALTHY_STUCK_SHARE = 0.05
"""A tile with more stuck cells than this does not count as healthy."""

Counts = npt.NDArray[np.integer[Any]]


SIGMA_QUANTILES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True)
class HealthSummary:
    """Of one block, in a few numbers: what a node keeps in mind of it and tells others."""

    tiles: int
    healthy: int
    """Of the tiles."""
    sigma: tuple[float, float, float]
    """What a cell is off its target, as a share of the window: the 10, 50 and 90 % quantile of the tiles."""
    stuck_share: float
    """Of the cells."""
    writes: int
    """Of these cells so far."""
    age_s: float
    """Since the last writing, when it was measured."""


@dataclass(frozen=True, slots=True)
class TileHealth:
    """Of all tiles of a block, as a grid (tile rows, tile columns)."""

    write_sigma: Matrix
    """What a cell is off its target, as a share of the window, root mean square; stuck cells that are
    compensated digitally are not in it."""
    stuck: Counts
    """Cells of the pairs that are stuck."""
    cells: Counts
    writes: int
    """Of these cells so far."""
    age_s: float
    """Since the last writing."""

    @property
    def healthy(self) -> npt.NDArray[np.bool_]:
        return self.stuck <= HEALTHY_STUCK_SHARE * self.cells

    @property
    def stuck_share_of_all(self) -> float:
        """Of the cells of all tiles."""
        return float(self.stuck.sum() / self.cells.sum())

    def summary(self) -> HealthSummary:
        low, middle, high = np.quantile(self.write_sigma, SIGMA_QUANTILES)
        return HealthSummary(
            tiles=self.stuck.size,
            healthy=int(np.count_nonzero(self.healthy)),
            sigma=(float(low), float(middle), float(high)),
            stuck_share=self.stuck_share_of_all,
            writes=self.writes,
            age_s=self.age_s,
        )

    def stuck_share(self, tile: int, transpose: bool) -> float:
        """Of the cells of the tiles that share inputs."""
        line = (slice(None), tile) if transpose else (tile, slice(None))
        return float(self.stuck[line].sum() / self.cells[line].sum())


def measure(
    error: Matrix,
    scale: Matrix,
    stuck: Counts,
    writes: int,
    age_s: float,
    replicas: int = 1,
    tile_side: int = TILE_SIDE,
) -> TileHealth:
    """`error` (k, n): what weights are off, `scale` (n,) what full conductance stands for.

    `stuck` (k, n): stuck cells of each pair, of all replicas.
    """
    starts = [start for start, _ in spans(error.shape[1], tile_side)]
    widths = np.diff([*starts, error.shape[1]])
    sigma, found, cells = [], [], []
    for start, stop in spans(error.shape[0], tile_side):
        squares = np.einsum("ij,ij->j", error[start:stop], error[start:stop])
        per_tile = np.add.reduceat(squares / np.square(scale, dtype=np.float64), starts)
        sigma.append(np.sqrt(per_tile / (2.0 * (stop - start) * widths)))
        found.append(np.add.reduceat(stuck[start:stop].sum(axis=0, dtype=np.int32), starts))
        cells.append(2 * replicas * (stop - start) * widths)
    return TileHealth(
        write_sigma=np.array(sigma, np.float32),
        stuck=np.array(found, np.int32),
        cells=np.array(cells, np.int32),
        writes=writes,
        age_s=age_s,
    )
