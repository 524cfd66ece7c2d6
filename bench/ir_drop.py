"""How long the exact solution of an array's wires takes, how exact it is, and what the preview leaves over.

    OPENBLAS_NUM_THREADS=1 python bench/ir_drop.py [--rows 128 --columns 128 --repeat 15 --seed 7]

One JSON line for each resistance. Cells lie between 1 and 40 uS. Times are CPU milliseconds, the least of some, for
one array alone, for each of a stack of four, and, to judge the machine by, for one float64 product of R x R matrices.
The error is that of every sixteenth word line against a nodal solution of the whole array by SciPy's sparse LU,
relative to the largest transfer conductance; null without SciPy.
"""

import argparse
import importlib
import importlib.util
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.cpu import least_s
from compute.ir_drop import effective, first_order
from compute.partition import Matrix64
from tests.compute.nodal import Network

SEGMENTS_OHM = (0.1, 0.35, 1.0, 2.0, 4.0, 10.0, 100.0)
EVERY = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rows", 128), ("columns", 128), ("repeat", 15), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    dice = np.random.default_rng(options.seed)
    stack = dice.uniform(1.0, 40.0, (4, options.rows, options.columns))
    for segment_ohm in SEGMENTS_OHM:
        print(json.dumps(figures(stack, segment_ohm, options.repeat)), flush=True)


def figures(stack: Matrix64, segment_ohm: float, repeat: int) -> dict[str, Any]:
    cells = stack[0]
    exact = effective(cells, segment_ohm)
    left_over = np.linalg.norm(first_order(cells, segment_ohm) - exact)
    square = np.ones((len(cells), len(cells)))
    error = nodal_error(cells, exact, segment_ohm)
    return {
        "shape": cells.shape,
        "segment_ohm": segment_ohm,
        "current_lost": round(1.0 - float(exact.sum() / cells.sum()), 4),
        "worst_cell_lost": round(1.0 - float((exact / cells).min()), 4),
        "exact_ms": least_ms(lambda: effective(cells, segment_ohm), repeat),
        "exact_ms_in_a_stack": least_ms(lambda: effective(stack, segment_ohm), repeat, len(stack)),
        "product_ms": least_ms(lambda: square @ square, 4 * repeat),
        "preview_ms": least_ms(lambda: first_order(cells, segment_ohm), 4 * repeat),
        "error": None if error is None else float(f"{error:.2g}"),
        "left_by_preview": round(float(left_over / np.linalg.norm(cells - exact)), 4),
    }


def least_ms(work: Callable[[], object], repeat: int, count: int = 1) -> float:
    """CPU time for each of `count` things done at once."""
    return round(1e3 * least_s(work, repeat) / count, 3)


def nodal_error(cells: Matrix64, exact: Matrix64, segment_ohm: float) -> float | None:
    if importlib.util.find_spec("scipy") is None:
        return None
    sparse, linalg = map(importlib.import_module, ("scipy.sparse", "scipy.sparse.linalg"))
    network = Network(cells, segment_ohm)
    left = np.eye(len(cells))[:, ::EVERY]
    bottom = np.zeros((cells.shape[1], left.shape[1]))
    rows, columns, values = network.entries()
    factors = linalg.splu(sparse.csc_matrix((values, (rows, columns))))
    voltages = factors.solve(network.sources(left, bottom))
    _, out = network.out_of_terminals(voltages, left, bottom)
    return float(np.abs(-out.T - exact[::EVERY]).max() / exact.max())


if __name__ == "__main__":
    main()
