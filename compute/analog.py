"""A matrix on simulated crossbars, for programs: multiply by it, and be told how wrong the answer can be.

    W = AnalogMatrix(weights, device="rram-wan2022", seed=7)
    answer = W.matmul(X, rtol=1e-2)
    answer.value, answer.certificate.bound, answer.certificate.analog_fraction

The tolerance is on the whole answer: ||Y' - X W||_F <= rtol ||X W||_F. Each answer is checked against a sketch of W
that was taken once; rows that fail are done again with a stronger plan, at last digitally, so the bound always holds.
Nothing depends on the number of threads, and a raw product (rtol=None) through converters not on how its rows are cut
into calls: currents then add up exactly.
"""

import hashlib
import math
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce

import numpy as np
import numpy.typing as npt

from compute import verify
from compute.answer import AnalogResult, Answer, Rows
from compute.arguments import (
    REPLICAS_MAX,
    MatrixError,
    check_fitting,
    checked,
    counted,
    model_of,
    tile_side,
)
from compute.backend import Digits, Product, digital_product
from compute.block_product import BlockProduct
from compute.chance import stream_key
from compute.device import DeviceModel
from compute.digits import writing_digits
from compute.energy import Spent, digital_pj
from compute.partition import TILE_SIDE, Block, BlockGrid, Matrix, Matrix64, spans
from compute.presets import DEFAULT_DEVICE
from compute.programmed import Arrays, ProgrammedBlock
from compute.rram import SLICES_MAX, Rram

DIGITAL_ROWS = 64
"""Rows of X done digitally at a time."""


class AnalogMatrix:
    """W (K, N) float32 in simulated arrays; safe to multiply by from several threads at once.

    device: a preset's name, a JSON description, or a DeviceModel. tile: cells along each array, 16, 32, 64, 128, 256 or
    512; larger arrays convert less, and lose more in their wires. replicas: arrays that hold the same weights and are
    read together, 1 to 16: errors of reading and of writing fall with the root of their number, energy grows with it.
    For a tolerance the planner takes further slices, of which one does more than a replica, and several copies of whole
    numbers' digits where cells are stuck. `room` is asked before further arrays are programmed
    for a tolerance, with the bytes that they take here; where it says no, other regimes do.
    """

    def __init__(
        self,
        weights: npt.ArrayLike,
        device: str | DeviceModel = DEFAULT_DEVICE,
        *,
        tile: int = TILE_SIDE,
        replicas: int = 1,
        seed: int = 0,
        threads: int = 1,
        room: Callable[[int], bool] | None = None,
    ) -> None:
        self._weights = checked(weights, "W")
        if self._weights.ndim != 2:
            raise MatrixError(f"W must have two axes, not {self._weights.ndim}")
        copies = counted(replicas, "replicas", 1, REPLICAS_MAX)
        arrays = Arrays(replicas=copies, tile_side=tile_side(tile))
        seed = counted(seed, "seed", 0)
        self._rram = Rram(model_of(device), seed)
        self._name = _name(self._weights)
        self._grid = BlockGrid(self._weights.shape[0], self._weights.shape[1])
        self._room = room or (lambda nbytes: True)
        self._threads = counted(threads, "threads", 1)
        self._lock = threading.Lock()
        self._draws = 0
        self._sketch_seed = stream_key(seed, self._name, "sketch")
        self._sketches = self._sketched()
        self._blocks = {block: self._program(block, arrays) for block in self._grid.blocks()}
        self._digits: set[tuple[Block, Digits]] = set()
        self._programming = reduce(Spent.then, (one.programming for one in self._blocks.values()))

    @property
    def shape(self) -> tuple[int, int]:
        return self._grid.rows, self._grid.columns

    @property
    def device(self) -> DeviceModel:
        return self._rram.device

    @property
    def nbytes(self) -> int:
        """Of what is programmed; W itself is kept beside it."""
        return sum(block.nbytes for block in self._blocks.values())

    @property
    def programming(self) -> Spent:
        """All writing and reading back so far, as if nothing of it went on at once; no certificate counts it.

        Slices that a tolerance asked for are in it, arrays of whole numbers from when they are first read, and the
        looking of `age`.
        """
        return self._programming

    @property
    def blocks(self) -> dict[Block, ProgrammedBlock]:
        """What stands in the arrays, with its health."""
        return dict(self._blocks)

    def matmul(
        self,
        x: npt.ArrayLike,
        rtol: float | None = None,
        *,
        draw: int | None = None,
        first_row: int = 0,
    ) -> AnalogResult:
        """X W for X (M, K) or (K,). Without rtol: the raw analog product.

        `draw` names the noise (None: one more than last time), `first_row` the place of X in a larger one. The same
        draw gives the same answer again for as long as the arrays are the same: a tolerance may add some.
        """
        return self._product(x, rtol, draw, first_row, transpose=False)

    def rmatmul(
        self,
        y: npt.ArrayLike,
        rtol: float | None = None,
        *,
        draw: int | None = None,
        first_row: int = 0,
    ) -> AnalogResult:
        """Y W^T for Y (M, N) or (N,), from the same arrays, driven from the other side."""
        return self._product(y, rtol, draw, first_row, transpose=True)

    def age(self, seconds: float) -> None:
        """Look at the arrays so many seconds after they were last written.

        To look is to read them back: gains are set and outliers are found anew, as a calibration at that age does. In
        between, a chip that nobody looks at would go on with the gains of its last calibration.
        """
        if not 0.0 <= seconds < math.inf:
            raise MatrixError(f"the age is {seconds}; write seconds, none or more")
        for block, programmed in self._blocks.items():
            self._blocks[block] = self._program(block, replace(programmed.arrays, age_s=seconds))
            self._note_programming(self._blocks[block].reading_back)

    def refresh(self) -> None:
        """Write all arrays anew."""
        for block, programmed in self._blocks.items():
            arrays = replace(programmed.arrays, writes=programmed.arrays.writes + 1, age_s=0.0)
            self._blocks[block] = self._program(block, arrays)
            self._note_programming(self._blocks[block].programming)
        self._digits.clear()

    # -- one product ---------------------------------------------------------------------------------

    def _product(
        self,
        x: npt.ArrayLike,
        rtol: float | None,
        draw: int | None,
        first_row: int,
        *,
        transpose: bool,
    ) -> AnalogResult:
        rows = checked(x, "X")
        inputs, outputs = self.shape[::-1] if transpose else self.shape
        check_fitting(rows, inputs, rtol)
        first_row = counted(first_row, "first_row", 0)
        asked = np.atleast_2d(rows)
        answer = Answer(
            x=asked,
            transpose=transpose,
            rtol=rtol,
            draw=self._next_draw() if draw is None else draw,
            first_row=first_row,
            sketch=self._sketches[transpose],
            sketch_seed=self._sketch_seed,
            value=np.zeros((len(asked), outputs), np.float32),
            device=self.device,
        )
        self._run(answer, np.arange(len(asked)), answer.tolerance, attempt=0)
        if not math.isfinite(answer.norm):
            raise MatrixError("the product goes beyond float32; scale X or W down")
        answer.check()
        if not answer.within:
            self._mend(answer)
        return answer.result(flat=rows.ndim == 1)

    def _mend(self, answer: Answer) -> None:
        """Do the rows that fail again: once with a stronger plan, then digitally, at last all of them so."""
        assert answer.tolerance is not None
        failing = answer.failing()
        answer.rows_redone = len(failing)
        part = math.sqrt(len(failing) / len(answer.x))
        self._run(answer, failing, verify.STRONGER * part * answer.tolerance, attempt=1)
        answer.check()
        if not answer.within:
            self._digitally(answer, answer.failing())
        if not answer.within:
            self._digitally(answer, np.arange(len(answer.x)))

    def _run(self, answer: Answer, rows: Rows, tolerance: float | None, attempt: int) -> None:
        """Multiply these rows of X under an absolute tolerance, and put the result in their place."""
        x = np.ascontiguousarray(answer.x[rows])
        shares = self._shares(x, tolerance, answer.transpose)
        lines: dict[int, list[Block]] = {}
        for block in self._grid.blocks():
            lines.setdefault(block.row if answer.transpose else block.column, []).append(block)
        value = np.zeros((len(x), answer.value.shape[1]), np.float32)

        def line(blocks: list[Block]) -> list[Product]:
            """All blocks that add to the same outputs, one after the other."""
            return [
                self._multiply(block, x, value, shares[block], answer, attempt) for block in blocks
            ]

        if self._threads > 1 and len(lines) > 1:
            with ThreadPoolExecutor(self._threads) as pool:
                done = list(pool.map(line, lines.values()))
        else:
            done = [line(blocks) for blocks in lines.values()]
        answer.value[rows] = value
        answer.products.append(reduce(Product.beside, (one for each in done for one in each)))

    def _multiply(
        self,
        block: Block,
        x: Matrix,
        value: Matrix,
        share: float | None,
        answer: Answer,
        attempt: int,
    ) -> Product:
        inputs, outputs = self._sides(block, answer.transpose)
        x_key = stream_key(answer.draw, attempt)
        rows = (x[:, inputs], answer.transpose, share, x_key, answer.first_row)
        product = BlockProduct(self._blocks[block], *rows)
        if share is not None and self._strengthen(block, product.wanted(SLICES_MAX)):
            product = BlockProduct(self._blocks[block], *rows)
        done = product.add_to(value[:, outputs], lambda: self._panels(block))
        self._note_digits(block, done.digits)
        return done

    def _shares(
        self, x: Matrix, tolerance: float | None, transpose: bool
    ) -> dict[Block, float | None]:
        """The error that each block may have."""
        blocks = list(self._grid.blocks())
        if tolerance is None:
            return dict.fromkeys(blocks)
        (whole,) = verify.absolute_shares(tolerance, [1.0], len(x))
        weights = []
        for block in blocks:
            inputs, outputs = self._sides(block, transpose)
            norm = verify.norm_of(x[:, inputs])
            weights.append(norm * math.sqrt(outputs.stop - outputs.start))
        return dict(zip(blocks, verify.split_share(whole, weights), strict=True))

    def _strengthen(self, block: Block, wanted: Arrays) -> bool:
        """Program further slices, where these make a tolerance cheaper and there is room for them."""
        programmed = self._blocks[block]
        if wanted == programmed.arrays:
            return False
        need = self._rram.resident_bytes(programmed.shape, wanted) - programmed.nbytes
        if not self._room(need):
            return False
        self._blocks[block] = self._program(block, wanted)
        self._note_programming(self._blocks[block].programming.less(programmed.programming))
        return True

    def _note_digits(self, block: Block, digits: frozenset[Digits]) -> None:
        """Arrays of whole numbers are written when they are first read."""
        for one in sorted(digits):
            with self._lock:
                known = (block, one) in self._digits
                self._digits.add((block, one))
            if not known:
                self._note_programming(writing_digits(self.device, one, *self._blocks[block].shape))

    def _note_programming(self, spent: Spent) -> None:
        with self._lock:
            self._programming = self._programming.then(spent)

    def _digitally(self, answer: Answer, rows: Rows) -> None:
        """In float64, whose only error is the rounding of the result."""
        weights = self._weights.T if answer.transpose else self._weights
        for start, stop in spans(len(rows), DIGITAL_ROWS):
            panel = rows[start:stop]
            exact = answer.x[panel].astype(np.float64) @ weights.astype(np.float64)
            answer.value[panel] = exact
        answer.digital[rows] = True
        macs, count = len(rows) * self._weights.size, self._weights.size
        energy_j = digital_pj(self.device, macs, count, doubles=True) * 1e-12
        answer.products.append(digital_product(answer.value, macs, energy_j))
        answer.check()

    # -- what is programmed --------------------------------------------------------------------------

    def _program(self, block: Block, arrays: Arrays) -> ProgrammedBlock:
        rows, columns = self._sides(block, transpose=False)
        weights = self._weights[rows, columns].copy()
        return self._rram.program(
            f"{self._name}/{block.row}/{block.column}", weights, arrays=arrays, overwrite=True
        )

    def _panels(self, block: Block) -> Iterator[tuple[int, Matrix]]:
        rows, columns = self._sides(block, transpose=False)
        weights = self._weights[rows, columns]
        for start, stop in spans(len(weights), self._blocks[block].arrays.tile_side):
            yield start, weights[start:stop]

    def _sides(self, block: Block, transpose: bool) -> tuple[slice, slice]:
        """What the block takes of X, and what it gives of Y."""
        rows, columns = self._grid.row_span(block.row), self._grid.column_span(block.column)
        sides = (slice(*rows), slice(*columns))
        return sides[::-1] if transpose else sides

    def _sketched(self) -> tuple[Matrix64, Matrix64]:
        """S (K, 16) and T (N, 16)."""
        s = np.zeros((self._grid.rows, verify.SKETCH_WIDTH))
        t = np.zeros((self._grid.columns, verify.SKETCH_WIDTH))
        for block in self._grid.blocks():
            rows, columns = self._sides(block, transpose=False)
            weights = self._weights[rows, columns]
            sketch = verify.SketchAccumulator(weights.shape, self._sketch_seed, block)
            sketch.add_rows(0, weights)
            part = sketch.finish()
            s[rows] += part[0]
            t[columns] += part[1]
        return s, t

    def _next_draw(self) -> int:
        with self._lock:
            self._draws += 1
            return self._draws


def _name(weights: Matrix) -> str:
    """Other weights stand in other arrays of a chip; the same ones, times a power of two, in the same."""
    exponent = int(np.frexp(max(float(weights.max()), -float(weights.min())))[1])
    values = np.ldexp(weights, -exponent)
    return hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()
