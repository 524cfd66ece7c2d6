"""Works what arrays read in the analog way cannot: tile rows as integers bit by bit, or digitally.

Both need the weights themselves, which are read from where they are kept, a tile row at a time, once for all that is
to be done. Integer slices are simulated at the cost of one product (`compute/integer.py`), so they take no memory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import numpy as np

from compute import integer, integer_plan
from compute.backend import Panels
from compute.chance import rows_of, stream_key
from compute.device import Faults
from compute.digit_noise import digit_noise
from compute.energy import Spent
from compute.integer_law import IntegerPlan
from compute.partition import Matrix
from compute.programmed import ProgrammedBlock

SPOILT_MAX = 0.02
"""Weights that may be digital for a spoilt digit, before another array helps to hold the digits."""

COPIES_MAX = 4

SPOILT_LIMIT = 0.5
"""With more than this digital all may as well be."""


@dataclass(frozen=True, slots=True)
class Item:
    """Rows [start, stop) of X times one tile row, all outputs; digitally where there is no plan."""

    tile: int
    start: int
    stop: int
    plan: IntegerPlan | None = None

    @property
    def rows(self) -> slice:
        return slice(self.start, self.stop)


@dataclass(frozen=True, slots=True)
class Source:
    """One block for one product: x as it comes, and the block as it is driven."""

    block: ProgrammedBlock
    x: Matrix
    transpose: bool
    key: int
    first_row: int
    precise: bool
    """Digital sums in float64."""

    @property
    def outputs(self) -> int:
        return self.block.shape[0 if self.transpose else 1]

    @property
    def tile_side(self) -> int:
        return self.block.arrays.tile_side

    def inputs(self, tile: int) -> slice:
        """Of a tile row, or of a tile column where columns are driven."""
        return slice(tile * self.tile_side, (tile + 1) * self.tile_side)

    @property
    def driven(self) -> Matrix:
        """(M, inputs), in units of a column's largest weight where columns are driven."""
        return self.x * self.block.peak if self.transpose else self.x


def plan_integer(source: Source, tiles: Sequence[int], variance: float) -> IntegerPlan | None:
    """One plan for all rows of X and these tile rows; None where no plan keeps the variance.

    Where cells are stuck, digits are held by as many arrays together as leave few of them spoilt.
    """
    block, driven = source.block, source.driven
    scale = np.ones(source.outputs, np.float32) if source.transpose else block.peak
    density = block.filled if source.transpose else block.mean_square
    side = source.tile_side
    parts = [driven[:, source.inputs(tile)] for tile in tiles]
    common = block.face(1, source.transpose).sides[0].response.common
    load = reduce(
        add,
        (
            integer_plan.load_of(
                part, density * part.shape[1] * source.outputs, scale, side, float(common[tile])
            )
            for tile, part in zip(tiles, parts, strict=True)
        ),
    )
    noise = digit_noise(block.device, block.seed, block.arrays.age_s, side)
    stuck = max(block.health.stuck_share(tile, source.transpose) for tile in tiles)
    plan: IntegerPlan | None = None
    for copies in range(1, COPIES_MAX + 1):
        found = integer_plan.plan(load, noise, block.device, variance, copies=copies)
        if found is None:
            break
        plan = found
        if spoilt_share(stuck, block.device.faults, plan) <= SPOILT_MAX:
            return plan
    if plan is None or spoilt_share(stuck, block.device.faults, plan) > SPOILT_LIMIT:
        return None
    return plan


def spoilt_share(stuck: float, faults: Faults, plan: IntegerPlan) -> float:
    """Of the weights, those with a digit that its copies cannot hold together, for this share of stuck cells.

    With shares lo and hi of cells stuck low and high, a pair asked for +1 can hold at most h = +1 with probability
    (1 - lo)(1 - hi), -1 with lo hi, else 0; its partner makes up for the rest. Copies add up: a digit of size d is
    lost where sum h < d / max d. A digit is not zero with probability 1 - 2^-cell_bits, and zero is lost where the
    sum cannot come down to it from either side.
    """
    whole = faults.share
    low = stuck * faults.stuck_low / whole if whole else 0.0
    high = stuck - low
    least, most = low * high, (1.0 - low) * (1.0 - high)
    reach = np.array([1.0])
    for _ in range(plan.copies):
        reach = np.convolve(reach, [least, 1.0 - least - most, most])
    short = float(reach[: plan.copies + 1].sum())
    below = float(reach[: plan.copies].sum())
    used = 1.0 - 2.0**-plan.cell_bits
    lost = min(used * short + 2.0 * (1.0 - used) * below, 1.0)
    return float(1.0 - (1.0 - lost) ** plan.slices)


def work(source: Source, items: Sequence[Item], digital: Panels, value: Matrix) -> Spent:
    """Add the items to `value`, reading the weights once.

    Where columns are driven each item needs a little of every row, so that the block is brought together first: many
    small products would take four times as long.
    """
    if source.transpose:
        weights = _whole(source.block, digital)
        return reduce(Spent.beside, (_add(source, item, weights, value) for item in items))
    spent = Spent()
    for first, panel in digital():
        tile, within = divmod(first, source.tile_side)
        assert within == 0 and len(panel) <= source.tile_side, "panels are tile rows"
        for item in items:
            if item.tile == tile:
                spent = spent.beside(_add(source, item, panel, value))
    return spent


def _whole(block: ProgrammedBlock, digital: Panels) -> Matrix:
    """The block; each panel is copied before the next one comes, for they may share their memory."""
    weights = np.empty(block.shape, np.float32)
    for first, panel in digital():
        weights[first : first + len(panel)] = panel
    return weights


def _add(source: Source, item: Item, weights: Matrix, value: Matrix) -> Spent:
    """One item with the rows of W that it needs."""
    part = weights[:, source.inputs(item.tile)] if source.transpose else weights
    if item.plan is not None:
        return _add_integer(source, item, item.plan, part, value[item.rows])
    _add_digital(source, item, part, value[item.rows])
    return Spent()


def _add_digital(source: Source, item: Item, part: Matrix, into: Matrix) -> None:
    x = source.x[item.rows, source.inputs(item.tile)]
    factor = part.T if source.transpose else part
    if source.precise:
        into += x.astype(np.float64) @ factor.astype(np.float64)
    else:
        into += x @ factor


def _add_integer(
    source: Source, item: Item, plan: IntegerPlan, part: Matrix, into: Matrix
) -> Spent:
    """`part` is as it stands in W."""
    inputs = source.inputs(item.tile)
    block, x = source.block, source.x[item.rows, inputs]
    columns = inputs if source.transpose else slice(None)
    codes, unit = integer.weight_codes(part, block.peak[columns], plan.weight_bits)
    if source.transpose:
        x, codes = (x * unit).astype(np.float32), np.ascontiguousarray(codes.T)
        unit = np.ones(codes.shape[1])
    key = stream_key(source.key, "integer", item.tile)
    names = rows_of(source.first_row + item.start, len(x))
    driven = integer.multiply(x, codes, unit, plan, key, names, into)
    return integer_plan.spent_on(plan, driven, block.device, codes.shape[1])
