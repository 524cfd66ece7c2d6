"""What its age costs a block: how much more energy products take than on arrays that have just been written.

Cells drift from their first second on, and most of it costs nothing: a tile row is read a few times more, or worked as
whole numbers, which hold until their digits run into each other. What counts is whether some tolerance that people ask
for is only to be had digitally now. So typical products are planned, on the arrays as they stand and as if they were
fresh; nothing is multiplied. Takes a few hundredths of a second for a full block.
"""

import math
from dataclasses import replace

from compute.block_product import BlockProduct
from compute.chance import normal, rows_of, stream_key
from compute.partition import Matrix
from compute.programmed import ErrorProbe, ProgrammedBlock
from compute.verify import norm_of, safety_factor

RTOLS = (1e-1, 3e-2, 1e-2, 1e-3, 1e-4)
"""Tolerances that people ask for."""

ROWS = 16
"""Of the inputs in a typical product."""


def dearer(block: ProgrammedBlock, grown: float) -> float:
    """The most by which the energy of a product grew, over all of RTOLS; digital arithmetic counts for its own.

    `grown`: ||E|| is so many times what it was when the block had been written.
    """
    x = normal(stream_key("typical inputs"), rows_of(0, ROWS), block.shape[0])
    fresh = _fresh(block, grown)
    return max(_energy_pj(block, x, rtol) / _energy_pj(fresh, x, rtol) for rtol in RTOLS)


def _fresh(block: ProgrammedBlock, grown: float) -> ProgrammedBlock:
    """With the errors that it had, and cells that have not moved."""
    errors = tuple(ErrorProbe(one.rows / grown, one.columns / grown) for one in block.errors)
    return replace(block, errors=errors, arrays=replace(block.arrays, age_s=0.0))


def _energy_pj(block: ProgrammedBlock, x: Matrix, rtol: float) -> float:
    """As if the rows of W had nothing to do with each other: ||X W||^2 is then ||X||^2 ||W||^2 / k."""
    norm = math.ldexp(norm_of(x) * math.sqrt(block.mean_square * block.shape[1]), block.exponent)
    share = rtol * norm / safety_factor(ROWS)
    product = BlockProduct(block, x, transpose=False, share=share, x_key=0, first_row=0)
    return product.choose().cost_pj
