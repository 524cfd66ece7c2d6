"""How long one reading of simulated crossbars takes, against the same product in plain numpy.

    OPENBLAS_NUM_THREADS=1 python bench/crossbar.py [--rounds 20 --side 1024 --batches 1 64 512 --seed 1]

One JSON line for each case and batch: the ratio of CPU times in numpy alone and, where numba is installed, in compiled
code; contenders take turns in one process, and the least of all rounds counts. `adc` has converters of 8 bits, `read`
read noise of 1 % of g_max beside it; `transposed` drives the columns of the same arrays. `whole` is a raw product of a
block programmed on `rram-wan2022`, as a mesh asks for it, `outliers` their part of that; `check` is what it takes to
bound the error of its answer, and `part_of_whole` how much of `whole` that is. `floor` is what may be taken.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import msgspec
import numpy as np

from bench.cpu import least_in_turn_s
from compute import fused, verify
from compute.device import Converters, DeviceModel, ReadNoise, Window
from compute.face import Face, Layer, face, on_grid
from compute.partition import Block, Matrix, Matrix64
from compute.presets import device
from compute.programmed import ProgrammedBlock
from compute.raw import read_all_once
from compute.rram import Rram

ADC = DeviceModel(
    name="converters of 8 bits",
    window=Window(g_min_us=10.0, g_max_us=100.0),
    converters=Converters(dac_bits=8, adc_bits=8),
)
READ = msgspec.structs.replace(ADC, reading=ReadNoise(constant=0.01))

FLOORS = {
    ("adc", "numpy"): {1: 2.5, 64: 2.0, 512: 2.0},
    ("read", "numpy"): {64: 3.2, 512: 3.2},
    ("adc", "numba"): {64: 1.5, 512: 1.5},
    ("read", "numba"): {64: 1.8, 512: 1.8},
}

CHECK_FLOORS = {64: 0.45, 512: 0.20}
"""Of the whole raw product."""

MACS_A_TURN = 64 * 1024 * 1024
"""A contender does so many multiplications at a time, so that a turn is long against the clock."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64, 512])
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    compiled = fused.warm_up()
    dice = np.random.default_rng(options.seed)
    weights = dice.standard_normal((options.side, options.side), np.float32)
    scale = np.full(options.side, np.abs(weights).max(), np.float32)
    conductance: Matrix = (weights / scale).astype(np.float32)
    layer = Layer(on_grid(conductance, 127), None, scale)
    faces = {
        "adc": face((layer,), ADC, False, 1),
        "read": face((layer,), READ, False, 1),
        "adc transposed": face((layer,), ADC, True, 1),
    }
    rram = Rram(device("rram-wan2022"), options.seed)
    block = rram.program("bench", weights)
    sketching = verify.SketchAccumulator(weights.shape, options.seed, Block(0, 0))
    sketching.add_rows(0, weights)
    sketch, _ = sketching.finish()
    for batch in options.batches:
        x = dice.standard_normal((batch, options.side), np.float32)
        contenders: dict[tuple[str, str], Callable[[], object]] = {
            ("plain", "numpy"): partial(np.matmul, x, weights)
        }
        for case, seen in faces.items():
            contenders[case, "numpy"] = partial(read, seen, x, may_fuse=False)
            if compiled:
                contenders[case, "numba"] = partial(read, seen, x, may_fuse=True)
        out = np.zeros((batch, options.side), np.float32)
        for by, may_fuse in (("numpy", False), ("numba", True))[: 1 + compiled]:
            contenders["whole", by] = partial(multiply, rram, block, x, may_fuse=may_fuse)
            contenders["outliers", by] = partial(
                block.outliers[0].add_product, x, out, may_fuse=may_fuse
            )
        contenders["check", "numpy"] = partial(check, x, sketch, x @ weights, options.seed)
        turns = max(1, MACS_A_TURN // (batch * weights.size))
        report(batch, least_in_turn_s(contenders, options.rounds, turns))


def read(seen: Face, x: Matrix, *, may_fuse: bool) -> None:
    read_all_once(seen, x, key=1, first_row=0, may_fuse=may_fuse)


def multiply(rram: Rram, block: ProgrammedBlock, x: Matrix, *, may_fuse: bool) -> None:
    """As a mesh's workers do; a raw product never asks for the digital weights."""
    with nullcontext() if may_fuse else numpy_alone():
        rram.multiply(block, x, transpose=False, share=None, x_key=1, digital=tuple)


def check(x: Matrix, sketch: Matrix64, value: Matrix, seed: int) -> None:
    """As for every answer: X meets the sketch, the answer the probes."""
    slack = verify.round_off(len(sketch) + value.shape[1], verify.norm_of(value))
    seen = verify.project(value, seed, "columns")
    verify.residual_bound(seen, verify.apply_sketch(x, sketch), slack)


@contextmanager
def numpy_alone() -> Iterator[None]:
    """What is compiled serves all products of a process, so it is put aside."""
    kept = fused._compiled.copy()
    fused._compiled.clear()
    try:
        yield
    finally:
        fused._compiled.extend(kept)


def report(batch: int, seconds: dict[tuple[str, str], float]) -> None:
    plain = seconds.pop(("plain", "numpy"))
    print(json.dumps({"case": "plain", "batch": batch, "ms": round(1e3 * plain, 4)}))
    for (case, by), one in seconds.items():
        line: dict[str, object] = {
            "case": case,
            "by": by,
            "batch": batch,
            "ms": round(1e3 * one, 4),
            "times_plain": round(one / plain, 2),
        }
        if floor := FLOORS.get((case, by), {}).get(batch):
            line |= {"floor": floor, "within": one / plain <= floor}
        if case == "check":
            part = one / seconds["whole", "numpy"]
            line["part_of_whole"] = round(part, 3)
            if floor := CHECK_FLOORS.get(batch):
                line |= {"floor": floor, "within": part <= floor}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
