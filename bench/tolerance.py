"""Does the tolerance hold? Random jobs on simulated crossbars, each answer against float64.

    OPENBLAS_NUM_THREADS=1 python bench/tolerance.py [--jobs 10000 --seed 0 --workers 2 --out jobs.jsonl]

A job is a number: matrix, inputs, device, tolerance and direction follow from it, so any one can be had again with
`--jobs 1 --seed N`. With --out each job's line is kept there, and jobs that stand there already are not done again.
Printed are JSON lines: one over all jobs, one for each device and rtol, one for each kind of weights.

`broken` counts answers whose error is above the bound that was stated; that may be one in a million. `missed` counts
answers above the rtol that was asked for, `untold` those among them that do not say so. `analog` is by products
(each job counts the same), `analog_macs` by multiplications. `ratio` is bound over true error.

Shapes are a third uniform, a third by their logarithm, a third prime. Exact IR drop takes 0.03 s for each array, so
devices with wires take most of the time: --wired-side bounds their matrices; the first line says which they are.
"""

import argparse
import json
import math
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from compute.analog import AnalogMatrix
from compute.partition import Matrix
from compute.presets import PRESETS

SIDE = 700
BATCH = 64
RTOLS = tuple(10.0**-digits for digits in range(1, 7))
WIRED = tuple(name for name, model in PRESETS.items() if model.wires.segment_ohm)

Dice = np.random.Generator
Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Job:
    """All that is random about a product but the numbers themselves."""

    seed: int
    preset: str
    rtol: float
    rows: int
    columns: int
    batch: int
    transpose: bool
    weights: str
    inputs: str


def main() -> int:
    options = _options()
    seeds = range(options.seed, options.seed + options.jobs)
    done = _kept(options.out, seeds)
    todo = [_drawn(seed, options) for seed in seeds if seed not in done]
    lines = list(done.values())
    for line in _worked(todo, options.workers):
        lines.append(line)
        if options.out is not None:
            with options.out.open("a") as file:
                file.write(json.dumps(line) + "\n")
    for report in summary(lines):
        print(json.dumps(report), flush=True)
    return 1 if any("failed" in line for line in lines) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0, help="number of the first job")
    parser.add_argument("--preset", choices=list(PRESETS), help="this device alone")
    parser.add_argument("--rtol", type=float, help="this tolerance alone")
    parser.add_argument("--wired-side", type=int, default=SIDE)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="keep each job's line here, and go on from it")
    return parser.parse_args()


def _kept(out: Path | None, seeds: range) -> dict[int, Line]:
    if out is None or not out.exists():
        return {}
    lines = map(json.loads, out.read_text().splitlines())
    return {line["seed"]: line for line in lines if line["seed"] in seeds}


def _drawn(seed: int, options: argparse.Namespace) -> Job:
    return draw(seed, options.preset, options.rtol, options.wired_side)


def _worked(jobs: list[Job], workers: int) -> Iterator[Line]:
    if workers == 1:
        yield from map(survived, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(survived, jobs, chunksize=8)


# -- jobs ----------------------------------------------------------------------------------------


def draw(
    seed: int, preset: str | None = None, rtol: float | None = None, wired_side: int = SIDE
) -> Job:
    """The job of this number; what is told takes the place of what would be drawn."""
    dice = np.random.default_rng([seed, 1])
    drawn = list(PRESETS)[dice.integers(len(PRESETS))]
    asked = RTOLS[dice.integers(len(RTOLS))]
    name = preset or drawn
    side = wired_side if name in WIRED else SIDE
    rows, columns = _side(dice, side), _side(dice, side)
    return Job(
        seed=seed,
        preset=name,
        rtol=asked if rtol is None else rtol,
        rows=rows,
        columns=columns,
        batch=round(math.pow(BATCH, dice.random())),
        transpose=bool(dice.integers(2)),
        weights=list(KINDS)[dice.integers(len(KINDS))],
        inputs=list(KINDS)[dice.integers(len(KINDS))],
    )


def _side(dice: Dice, most: int) -> int:
    match int(dice.integers(3)):
        case 0:
            return int(dice.integers(1, most + 1))
        case 1:
            return round(math.pow(most, dice.random()))
        case _:
            primes = [
                n for n in range(2, most + 1) if all(n % d for d in range(2, math.isqrt(n) + 1))
            ]
            return int(dice.choice(primes))


def _uniform(dice: Dice, rows: int, columns: int) -> Matrix:
    return dice.random((rows, columns), np.float32)


def _signs(dice: Dice, rows: int, columns: int) -> Matrix:
    signs: Matrix = (2.0 * dice.integers(0, 2, (rows, columns)) - 1.0).astype(np.float32)
    return signs


def _gaussian(dice: Dice, rows: int, columns: int) -> Matrix:
    return dice.standard_normal((rows, columns), np.float32)


def _laplace(dice: Dice, rows: int, columns: int) -> Matrix:
    return dice.laplace(size=(rows, columns)).astype(np.float32)


def _sparse(dice: Dice, rows: int, columns: int) -> Matrix:
    """One in twenty is not zero."""
    return _gaussian(dice, rows, columns) * (_uniform(dice, rows, columns) < 0.05)


def _low_rank(dice: Dice, rows: int, columns: int) -> Matrix:
    return _gaussian(dice, rows, 3) @ _gaussian(dice, 3, columns)


def _with_outliers(dice: Dice, rows: int, columns: int) -> Matrix:
    """One in three hundred is a hundred times as large."""
    large = _uniform(dice, rows, columns) < 1.0 / 300.0
    matrix: Matrix = _gaussian(dice, rows, columns) * np.where(
        large, np.float32(100.0), np.float32(1.0)
    )
    return matrix


def _huge_range(dice: Dice, rows: int, columns: int) -> Matrix:
    """Rows and columns of very different size: twelve decades in all."""
    down = 10.0 ** dice.uniform(-3, 3, (rows, 1))
    across = 10.0 ** dice.uniform(-3, 3, (1, columns))
    matrix: Matrix = (_gaussian(dice, rows, columns) * down * across).astype(np.float32)
    return matrix


KINDS: dict[str, Callable[[Dice, int, int], Matrix]] = {
    "gaussian": _gaussian,
    "uniform": _uniform,
    "signs": _signs,
    "laplace": _laplace,
    "sparse": _sparse,
    "low rank": _low_rank,
    "outliers": _with_outliers,
    "huge range": _huge_range,
}


def survived(job: Job) -> Line:
    """A job that raises is told in its line, and makes the whole run fail in the end."""
    try:
        return work(job)
    except Exception:  # noqa: BLE001  the outermost loop: told with its traceback, and fails the run
        return _told(job) | {"failed": traceback.format_exc()}


def work(job: Job) -> Line:
    dice = np.random.default_rng([job.seed, 2])
    weights = KINDS[job.weights](dice, job.rows, job.columns)
    x = KINDS[job.inputs](dice, job.batch, job.columns if job.transpose else job.rows)
    started = time.process_time()
    matrix = AnalogMatrix(weights, job.preset, seed=job.seed)
    programmed = time.process_time()
    answer = (matrix.rmatmul if job.transpose else matrix.matmul)(x, job.rtol)
    multiplied = time.process_time()
    exact = x.astype(np.float64) @ (weights.T if job.transpose else weights).astype(np.float64)
    size, error = float(np.linalg.norm(exact)), float(np.linalg.norm(answer.value - exact))
    if size > 0.0:
        error /= size
    certificate, report = answer.certificate, answer.report
    return _told(job) | {
        "error": error,
        "bound": certificate.bound,
        "within": report.within,
        "regime": certificate.regime,
        "analog": certificate.analog_fraction,
        "macs": job.batch * job.rows * job.columns,
        "redone": report.rows_redone,
        "digital": report.rows_digital,
        "energy_j": certificate.energy_j,
        "latency_s": certificate.latency_s,
        "program_s": round(programmed - started, 4),
        "multiply_s": round(multiplied - programmed, 4),
    }


def _told(job: Job) -> Line:
    return {
        "seed": job.seed,
        "preset": job.preset,
        "rtol": job.rtol,
        "shape": [job.batch, job.rows, job.columns],
        "transpose": job.transpose,
        "weights": job.weights,
        "inputs": job.inputs,
    }


# -- what came of them ---------------------------------------------------------------------------


def summary(lines: list[Line]) -> Iterator[Line]:
    yield {"what": "all", "wired": list(WIRED)} | figures(lines)
    for preset in PRESETS:
        for rtol in sorted({line["rtol"] for line in lines}, reverse=True):
            chosen = [line for line in lines if (line["preset"], line["rtol"]) == (preset, rtol)]
            if chosen:
                yield {"what": "device and rtol", "preset": preset, "rtol": rtol} | figures(chosen)
    for kind in KINDS:
        chosen = [line for line in lines if line["weights"] == kind]
        if chosen:
            yield {"what": "weights", "weights": kind} | figures(chosen)


def figures(lines: list[Line]) -> Line:
    done = [line for line in lines if "failed" not in line]
    failed = [line["seed"] for line in lines if "failed" in line]
    if not done:
        return {"jobs": len(lines), "failed": failed}
    broken = [line["seed"] for line in done if line["error"] > line["bound"]]
    missed = [line["seed"] for line in done if line["error"] > line["rtol"]]
    untold = [line["seed"] for line in done if line["within"] and line["error"] > line["rtol"]]
    macs = sum(line["macs"] for line in done)
    ratios = [line["bound"] / line["error"] for line in done if line["error"] > 0.0]
    return {
        "jobs": len(lines),
        "failed": failed,
        "broken": broken,
        "missed": missed,
        "untold": untold,
        "not_within": sum(not line["within"] for line in done),
        "analog": _mean(line["analog"] for line in done),
        "analog_macs": round(sum(line["analog"] * line["macs"] for line in done) / macs, 4),
        "ratio": _percentiles(ratios),
        "regimes": dict(Counter(line["regime"] for line in done).most_common()),
        "jobs_redone": sum(line["redone"] > 0 for line in done),
        "jobs_digital": sum(line["digital"] > 0 for line in done),
        "program_s": _percentiles([line["program_s"] for line in done]),
        "multiply_s": _percentiles([line["multiply_s"] for line in done]),
    }


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def _percentiles(values: list[float]) -> dict[str, float] | None:
    if not values:
        return None
    return {f"p{at}": float(f"{np.percentile(values, at):.4g}") for at in (0, 1, 50, 99, 100)}


if __name__ == "__main__":
    raise SystemExit(main())
