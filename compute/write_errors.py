"""What written cells are off by: drawn for a whole panel from tables over the window.

Three laws, for cells by the level of their target: how accepted cells have relaxed, where the loop left them if that
is all that is known, and which cells it gave up, with where they are.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from compute import fused
from compute.chance import Words, fill_normal, lanes, row_states, stream_key, uniform, words
from compute.partition import Matrix
from compute.write_verify import COLUMNS_MAX, LEVEL_STEPS, QUANTILES, LoopLaw

Levels = npt.NDArray[np.uint16]
"""Shares of the window in steps of 1 / LEVEL_STEPS: where tables are looked up."""


def levels_of(goal: Matrix) -> Levels:
    scaled = goal * np.float32(LEVEL_STEPS)
    scaled += np.float32(0.5)
    return scaled.astype(np.uint16)


def relax(held: Matrix, level: Levels, sigma: Matrix, key: int, rows: Words) -> None:
    """Normal, in place. No level lies outside of its table, so that wrapping, the fastest mode, changes nothing."""
    states = row_states(stream_key(key, "relaxation"), rows)
    if fused.relax(held, level, sigma, states):
        return
    noise = np.empty(held.shape, np.float32)
    fill_normal(states, noise)
    noise *= sigma.take(level, mode="wrap")
    held += noise


def leave(goal: Matrix, level: Levels, law: LoopLaw, key: int, rows: Words) -> None:
    """Accepted cells as the loop leaves them, in place."""
    columns = goal.shape[1]
    dice = lanes(stream_key(key, "left"), rows, columns)
    goal += law.accepted_errors[law.tried[level], dice // (2**16 // QUANTILES)]
    at_once = law.at_once[level] * np.float32(2**16)
    goal[lanes(stream_key(key, "at once"), rows, columns) < at_once] = 0.0


@dataclass(frozen=True, slots=True)
class Missed:
    """Cells that the loop gave up, and what they hold; each (count,)."""

    row: npt.NDArray[np.intp]
    column: npt.NDArray[np.intp]
    held: Matrix


def missed_cells(
    goal: Matrix, level: Levels, law: LoopLaw | None, key: int, rows: Words
) -> Missed | None:
    """Each cell with its own probability; None where the loop never gives up.

    8 bits for every cell find candidates at the greatest probability, 52 for each of these decide. Where they fall
    below what decides they are uniform again: so they choose the error, too.
    """
    if law is None or not law.given_up.any():
        return None
    columns = goal.shape[1]
    most = math.ceil(float(law.given_up.max()) * 2**8)
    thrown = words(stream_key(key, "missed"), rows, -(-columns // 8)).view(np.uint8)[:, :columns]
    # numpy finds places in one dimension ten times faster than in two
    at = np.flatnonzero(thrown <= most - 1)
    share = law.given_up[level.reshape(-1)[at]].astype(np.float64) * (2**8 / most)
    # One cell of each pair is wanted at g_min, where the loop never gives up.
    some = np.flatnonzero(share)
    share, (row, column) = share[some], np.divmod(at[some], columns)
    names = rows[row] * np.uint64(COLUMNS_MAX) + column.astype(np.uint64)
    dice = uniform(stream_key(key, "thinned"), names, 1)[:, 0]
    hit = np.flatnonzero(dice < share)
    row, column, dice, share = row[hit], column[hit], dice[hit], share[hit]
    quantile = (dice / share * QUANTILES).astype(np.intp)
    error = law.given_up_errors[law.tried[level[row, column]], quantile]
    return Missed(row, column, goal[row, column] + error)
