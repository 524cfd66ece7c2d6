"""Where rows and columns of weights lie in an array, so that faults fall where they do least harm.

The rows of an array may be driven by any of the inputs and its columns may give any of the outputs: both orders are
free, and are undone digitally. A row's place is shared by the arrays of a tile row, whose many columns make lines
much alike: rows are matched by rank, the heaviest to the soundest line, and the worst lines are left over as spares.
In each array of its own, a column of weights takes the line whose stuck cells cost it least once their partners
made up for them: a stuck cell costs nothing where the weight has the sign that can still be held. That is an
assignment problem; columns choose in turn, then pairs swap while it pays. What is lowered is the sum of |errors|,
not of squares: the largest are added digitally, and so fewer are left for it.

Measured on 128 x 1,024 normal weights, 2.5 standard deviations to the window, 10.8 % of cells stuck, five times as
many high as low (`rram-harsh`), 4 spare rows, mean of 10 draws, after pair compensation: the error falls from 36 %
of the weights' norm (lines as they come) to 22 %; with the worst 2 % of pairs digital from 21 to 10 %, with 5 % from
10 to 2.6 %. Matching columns by rank too gave 35 %, the least sum there is gives 21 %; rows alone give next to
nothing. It takes about 10 ms of CPU for 128 x 1,024.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from compute.faults import Stuck
from compute.partition import TILE_SIDE, Matrix, Matrix64, spans

Order = npt.NDArray[np.intp]

SWAP_ROUNDS_MAX = 8
"""Rounds of swaps for each array; a round carries out all that do not meddle with each other."""

GRID = 4096
"""512 magnitudes of so many steps add up exactly in float32."""

Cells = TypeVar("Cells", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Placement:
    """The physical line of each logical one."""

    rows: Order
    """(h,), of h + spare."""
    columns: Order
    """(n,), each within its tile."""

    def placed(self, cells: npt.NDArray[Cells]) -> npt.NDArray[Cells]:
        """(..., h, n), the physical (..., h + spare, n) cells in the order of the logical ones."""
        chosen: npt.NDArray[Cells] = cells[..., self.rows[:, None], self.columns]
        return chosen


def place(
    weights: Matrix,
    stuck: Stuck | None,
    spare: int,
    turn: int = 0,
    scale: Matrix | None = None,
    tile_side: int = TILE_SIDE,
) -> Placement:
    """Lines for (h, n) weights in shares of the window, h <= tile side, on cells stuck as (2, h + spare, n) says.

    `scale` (n,) is what full conductance stands for in each column, where columns differ. `turn` counts how often
    the cells have been written: lines that are equally good take turns, so that they wear alike.
    """
    height, columns = weights.shape
    if stuck is None or not stuck.any():
        rows = (np.arange(height) + turn) % (height + spare)
        return Placement(rows, _rotated(columns, turn, tile_side))
    assert stuck.shape == (2, height + spare, columns)
    importance = np.ones(columns, np.float32) if scale is None else scale / scale.max()
    load = (np.abs(weights) * importance).sum(axis=1, dtype=np.float64)
    rows = _match_rows(load, stuck, turn)
    order = _rotated(columns, turn, tile_side)
    for start, stop in spans(columns, tile_side):
        tile = slice(start, stop)
        cost = fault_cost(weights[:, tile], stuck[:, rows, tile]) * importance[tile, None]
        lines = order[tile] - start
        order[tile] = start + lines[_assign(cost[:, lines])]
    return Placement(rows, order)


def fault_cost(weights: Matrix, stuck: Stuck) -> Matrix:
    """(n, n), sum of |errors| of each column of (h, n) weights on each physical column, after compensation.

    A pair whose plus cell is stuck low or whose minus cell is stuck high cannot hold w > 0, in the other two cases
    not w < 0: |w| is lost. If both are stuck they hold v: |w| is lost where v = 0, and 1 - v w where v = +-1.
    Weights are taken to 4,096ths: the sums are then exact, and no kernel or thread count makes another choice.
    """
    weights = np.rint(weights * np.float32(GRID)) / np.float32(GRID)
    low, high = stuck < 0, stuck > 0
    both = (stuck != 0).all(axis=0)
    held = np.where(both, high[0].astype(np.float32) - high[1], np.float32(0.0))
    empty, full = both & (held == 0.0), np.abs(held)
    no_plus = (empty | (low[0] | high[1]) & ~both).astype(np.float32)
    no_minus = (empty | (low[1] | high[0]) & ~both).astype(np.float32)
    cost: Matrix = np.maximum(weights, 0.0).T @ no_plus + np.maximum(-weights, 0.0).T @ no_minus
    cost += full.sum(axis=0) - weights.T @ held
    return cost


def _rotated(columns: int, turn: int, tile_side: int) -> Order:
    """(n,), each tile's columns moved on by `turn`."""
    parts = [
        start + (np.arange(stop - start) + turn) % (stop - start)
        for start, stop in spans(columns, tile_side)
    ]
    return np.concatenate(parts)


def _match_rows(load: Matrix64, stuck: Stuck, turn: int) -> Order:
    """The row with most to lose to the line with the fewest stuck cells, and so on; of equal lines, the next."""
    lines = (np.arange(stuck.shape[1]) + turn) % stuck.shape[1]
    faults = np.count_nonzero(stuck, axis=(0, 2))
    soundest = lines[np.argsort(faults[lines], kind="stable")]
    rows = np.empty(len(load), np.intp)
    rows[np.argsort(-load, kind="stable")] = soundest[: len(load)]
    return rows


def _assign(cost: Matrix) -> Order:
    """(n,), a line for each column at low total cost (n, n): about 15 % above the least for random faults."""
    return _swap(cost, _choose_in_turn(cost))


def _choose_in_turn(cost: Matrix) -> Order:
    """Columns that have most to gain choose first; of equal lines, the first."""
    chosen = np.empty(len(cost), np.intp)
    taken = np.zeros(len(cost), np.float32)
    for column in np.argsort(cost.min(axis=1) - cost.mean(axis=1), kind="stable").tolist():
        chosen[column] = line = int((cost[column] + taken).argmin())
        taken[line] = np.inf
    return chosen


def _swap(cost: Matrix, lines: Order) -> Order:
    """Columns that are each other's best partner swap lines, while that lowers the cost."""
    columns = np.arange(len(lines))
    for _ in range(SWAP_ROUNDS_MAX):
        moved = cost[:, lines]
        moved -= moved.diagonal()[:, None].copy()
        gain = moved + moved.T
        partner = gain.argmin(axis=1)
        agreed = (partner[partner] == columns) & (gain[columns, partner] < 0.0)
        if not agreed.any():
            break
        lines = np.where(agreed, lines[partner], lines)
    return lines
