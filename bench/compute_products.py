"""How long one core takes for a product on simulated crossbars, certified and raw, and how good it is.

    OPENBLAS_NUM_THREADS=1 python bench/compute_products.py [--rows 9216 --columns 4608 --m 3 --seed 7]

The matrix is that of the single-pixel camera: random +-1. One JSON line for each product, after one to warm up.
"""

import argparse
import json
import math
import time
from collections.abc import Iterable
from functools import partial

import numpy as np

from compute.backend import Backend, Resident, backend
from compute.partition import Block, BlockGrid, Matrix
from compute.verify import (
    SKETCH_WIDTH,
    SketchAccumulator,
    absolute_shares,
    apply_sketch,
    norm_for_shares,
    project,
    relative_bound,
    residual_bound,
    round_off,
)

RTOL = 1e-2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rows", 9216), ("columns", 4608), ("m", 3), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    dice = np.random.default_rng(options.seed)
    weights = (2.0 * dice.integers(0, 2, (options.rows, options.columns)) - 1.0).astype(np.float32)
    for name in ("digital", "rram"):
        multiplier = backend(name, seed=options.seed)
        bench = Bench(weights, multiplier, options.seed)
        print(json.dumps({"backend": name, "put_s_a_block": round(bench.put_s, 4)}), flush=True)
        for transpose in (False, True):
            width = options.columns if transpose else options.rows
            x = dice.standard_normal((options.m, width), np.float32)
            for rtol in (None, RTOL):
                bench.product(x, transpose, rtol)
                print(json.dumps({"backend": name} | bench.product(x, transpose, rtol)), flush=True)


class Bench:
    def __init__(self, weights: Matrix, multiplier: Backend, seed: int) -> None:
        self.weights, self.multiplier, self.seed = weights, multiplier, seed
        self.grid = BlockGrid(*weights.shape)
        self.sketches = [np.zeros((side, SKETCH_WIDTH)) for side in weights.shape]
        started = time.process_time()
        self.residents = {block: self._put(block) for block in self.grid.blocks()}
        self.put_s = (time.process_time() - started) / self.grid.count

    def _block(self, block: Block) -> tuple[slice, slice]:
        return slice(*self.grid.row_span(block.row)), slice(*self.grid.column_span(block.column))

    def _panels(self, block: Block) -> Iterable[tuple[int, Matrix]]:
        return [(0, self.weights[self._block(block)])]

    def _put(self, block: Block) -> Resident:
        values = np.ascontiguousarray(self.weights[self._block(block)])
        sketch = SketchAccumulator(values.shape, self.seed, block)
        sketch.add_rows(0, values)
        for whole, part, span in zip(
            self.sketches, sketch.finish(), self._block(block), strict=True
        ):
            whole[span] += part
        return self.multiplier.program(f"w/{block.row}/{block.column}", values)

    def product(self, x: Matrix, transpose: bool, rtol: float | None) -> dict[str, object]:
        sketch = self.sketches[transpose]
        started = time.process_time()
        xs = apply_sketch(x, sketch)
        blocks = list(self.grid.blocks())
        tolerance = (rtol or 0.0) * norm_for_shares(x, sketch, xs)
        shares = absolute_shares(tolerance, [1.0] * len(blocks), len(x))
        y = np.zeros((len(x), self.weights.shape[not transpose]), np.float32)
        analog = reads = 0
        energy_j = 0.0
        for block, share in zip(blocks, shares, strict=True):
            spans = self._block(block)
            done = self.multiplier.multiply(
                self.residents[block],
                x[:, spans[transpose]],
                transpose=transpose,
                share=None if rtol is None else share,
                x_key=1,
                digital=partial(self._panels, block),
                out=y[:, spans[not transpose]],
            )
            analog, reads = analog + done.analog_macs, reads + done.reads
            energy_j += done.energy_j
        multiplied = time.process_time()
        norm = float(np.linalg.norm(y))
        seen = project(y, self.seed, "rows" if transpose else "columns")
        bound = residual_bound(seen, xs, round_off(sum(self.weights.shape), norm))
        checked = time.process_time()
        exact = x @ (self.weights.T if transpose else self.weights)
        error = float(np.linalg.norm(y - exact)) / float(np.linalg.norm(exact))
        return {
            "transpose": transpose,
            "rtol": rtol,
            "multiply_s": round(multiplied - started, 4),
            "check_s": round(checked - multiplied, 4),
            "analog_fraction": analog / (len(x) * math.prod(self.weights.shape)),
            "bound": relative_bound(bound, norm),
            "error": error,
            "array_reads": reads,
            "array_energy_j": energy_j,
        }


if __name__ == "__main__":
    main()
