"""Integer products on noisy cells: how long their simulation takes, what a plan costs, how well it keeps its word.

    OPENBLAS_NUM_THREADS=1 python bench/integer.py [--seed 7]

One tile row of 128 lines and 1,024 columns, Gaussian weights and inputs. JSON lines, CPU time, the least of many,
taken in turn with the plain float32 and float64 products of the same shape. `sigma` is (writing, reading) as shares
of the window: (0.041, 0.01) is rram-wan2022.
"""

import argparse
import json

import numpy as np

from bench.cpu import least_in_turn_s
from compute.chance import rows_of
from compute.device import DeviceModel
from compute.integer import multiply, weight_codes
from compute.integer_law import CellNoise, IntegerPlan
from compute.integer_plan import load_of, plan, spent_on
from compute.partition import Matrix
from compute.presets import device

LINES, COLUMNS = 128, 1024
TIMES = 25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    dice = np.random.default_rng(parser.parse_args().seed)
    weights = dice.standard_normal((LINES, COLUMNS), np.float32)
    model = device("rram-wan2022")
    for sigma in (CellNoise(0.041, 0.01), CellNoise(0.003, 0.01)):
        for rtol in (1e-2, 1e-4, 1e-6):
            for batch in (1, 64, 512):
                x = dice.standard_normal((batch, LINES), np.float32)
                line = {"sigma": [sigma.write, sigma.read], "rtol": rtol, "batch": batch}
                print(json.dumps(line | measured(x, weights, sigma, rtol, model)), flush=True)


def measured(
    x: Matrix, weights: Matrix, sigma: CellNoise, rtol: float, model: DeviceModel
) -> dict[str, object]:
    scale = np.abs(weights).max(axis=0)
    exact = x.astype(np.float64) @ weights
    norm = float(np.linalg.norm(exact))
    energy = float(np.linalg.norm(weights.astype(np.float64)) ** 2)
    load = load_of(x, energy, scale)
    found = plan(load, sigma, model, (rtol * norm) ** 2)
    if found is None:
        return {"plan": None}
    codes, unit = weight_codes(weights, scale, found.weight_bits)
    rows, out = rows_of(0, len(x)), np.zeros(exact.shape, np.float32)
    driven = multiply(x, codes, unit, found, 1, rows, out)
    spent = spent_on(found, driven, model, COLUMNS)
    error = float(np.linalg.norm(out - exact)) / norm
    into = np.zeros_like(out)
    wide = weights.astype(np.float64)
    contenders = {
        "float32": lambda: x @ weights,
        "float64": lambda: x.astype(np.float64) @ wide,
        "integer": lambda: multiply(x, codes, unit, found, 1, rows, into),
        "plan": lambda: plan(load, sigma, model, (rtol * norm) ** 2),
    }
    seconds = least_in_turn_s(contenders, TIMES)
    return {
        **described(found),
        "error_over_rtol": round(error / rtol, 3),
        "predicted_over_rtol": round(found.variance**0.5 / norm / rtol, 3),
        "pj_per_mac": round(spent.energy_pj / x.size / COLUMNS, 3),
        "us_per_row": round(spent.latency_ns / len(x) / 1e3, 2),
        **{f"{name}_ms": round(1e3 * least, 3) for name, least in seconds.items()},
        "over_float64": round(seconds["integer"] / seconds["float64"], 2),
        "over_float32": round(seconds["integer"] / seconds["float32"], 2),
    }


def described(found: IntegerPlan) -> dict[str, object]:
    return {
        "bits": [found.weight_bits, found.input_bits, found.cell_bits],
        "rows_active": [max(found.rows_active), min(found.rows_active)],
        "reads": [min(found.reads), max(found.reads)],
    }


if __name__ == "__main__":
    main()
