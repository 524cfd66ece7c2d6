"""How long one core takes for a product on simulated crossbars, certified and raw, and how good it is.

    OPENBLAS_NUM_THREADS=1 python bench/compute_products.py [--rows 9216 --columns 4608 --m 3 --device NAME --seed 7]

The matrix is that of the single-pixel camera: random +-1. One JSON line for each product, after one to warm up.
"""

import argparse
import json
import time

import numpy as np

from compute.analog import AnalogMatrix
from compute.presets import DEFAULT_DEVICE

TOLERANCES = (None, 1e-1, 1e-2, 1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("rows", 9216), ("columns", 4608), ("m", 3), ("seed", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--device", default=DEFAULT_DEVICE)
    options = parser.parse_args()
    dice = np.random.default_rng(options.seed)
    weights = (2.0 * dice.integers(0, 2, (options.rows, options.columns)) - 1.0).astype(np.float32)
    started = time.process_time()
    matrix = AnalogMatrix(weights, options.device, seed=options.seed)
    programming_s = (time.process_time() - started) / len(matrix.blocks)
    print(
        json.dumps({"device": options.device, "programming_s_a_block": programming_s}), flush=True
    )
    for transpose in (False, True):
        x = dice.standard_normal((options.m, weights.shape[transpose]), np.float32)
        for rtol in TOLERANCES:
            product(matrix, weights, x, transpose, rtol)
            line = product(matrix, weights, x, transpose, rtol)
            print(json.dumps({"transpose": transpose, "rtol": rtol} | line), flush=True)


def product(
    matrix: AnalogMatrix,
    weights: np.typing.NDArray[np.float32],
    x: np.typing.NDArray[np.float32],
    transpose: bool,
    rtol: float | None,
) -> dict[str, object]:
    started = time.process_time()
    answer = (matrix.rmatmul if transpose else matrix.matmul)(x, rtol)
    took_s = time.process_time() - started
    exact = x.astype(np.float64) @ (weights.T if transpose else weights)
    error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
    told = answer.certificate
    return {
        "cpu_s": round(took_s, 4),
        "regime": told.regime,
        "analog_fraction": told.analog_fraction,
        "bound": told.bound,
        "error": error,
        "energy_j": told.energy_j,
        "array_latency_s": told.latency_s,
    }


if __name__ == "__main__":
    main()
