"""The `rram` backend: blocks of weights in simulated crossbars, each tile row worked the way its arrays call for.

A product under a share of the error is planned first (`compute/regimes.py`), from what the arrays were measured to be
when they were written. Then the tile rows that are worth it are read and averaged, and what is left over is worked as
integers or digitally (`compute/rest.py`). A raw product reads every array once.
"""

from dataclasses import dataclass, replace

import numpy as np

from compute import programmed
from compute.backend import Panels, Product, Resident
from compute.block_product import BlockProduct
from compute.device import DeviceModel
from compute.magnitude import exponent_of, scaled
from compute.partition import Matrix
from compute.programmed import ONCE, Arrays, ProgrammedBlock
from compute.programming import program

SLICES_MAX = 6
"""Arrays a weight may take: past it, what a further slice holds is the noise of reading back."""


@dataclass(frozen=True, slots=True)
class Rram:
    """Simulated crossbars of one kind of device; the seed makes the chips."""

    device: DeviceModel
    seed: int

    def resident_bytes(self, shape: tuple[int, int], arrays: Arrays = ONCE) -> int:
        """The most that a (k, n) block takes in so many arrays."""
        return programmed.resident_bytes(shape, self.device, arrays)

    def program(
        self,
        block_id: str,
        weights: Matrix,
        *,
        overwrite: bool = False,
        arrays: Arrays = ONCE,
    ) -> ProgrammedBlock:
        exponent = exponent_of(weights)
        block = program(
            scaled(weights, -exponent),
            self.device,
            self.seed,
            block_id,
            arrays,
            overwrite=overwrite or exponent != 0,
        )
        return replace(block, exponent=exponent)

    def multiply(
        self,
        resident: Resident,
        x: Matrix,
        *,
        transpose: bool,
        share: float | None,
        x_key: int,
        digital: Panels,
        out: Matrix | None = None,
        first_row: int = 0,
    ) -> Product:
        """As `Backend.multiply`; `first_row` names the first row of x for the noise."""
        assert isinstance(resident, ProgrammedBlock)
        product = BlockProduct(resident, x, transpose, share, x_key, first_row)
        value = np.zeros((len(x), product.outputs), np.float32) if out is None else out
        return product.add_to(value, digital)

    def wanted(self, resident: ProgrammedBlock, x: Matrix, share: float, transpose: bool) -> Arrays:
        """The arrays in which this product would take the least energy, however many are there now."""
        product = BlockProduct(resident, x, transpose, share, x_key=0, first_row=0)
        return product.wanted(SLICES_MAX)
