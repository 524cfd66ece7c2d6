"""What stuck cells cost, and what each thing that is done about them brings.

    OPENBLAS_NUM_THREADS=1 python bench/mitigation.py [--side 512 --seeds 5]

rram-wan2022 with 1.75 % of its cells stuck low and 9.04 % stuck high, against the same device without faults. JSON
lines, one for each kind of weights and each step, every step with all those before it: `error` is ||E|| over ||W||,
root mean square over the seeds, `ratio` the one with faults over the one without (floor 1.3 as programmed, and in
slices), `digital` the share of weights that are multiplied digitally; one that is so after two slices counts twice.
The steps are put together here from the parts that programming is made of; "all, as programmed" and what follows it is
programming itself. The last lines are of raw products, with read noise and converters.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec
import numpy as np

from compute import faults, mapping, placing, writing
from compute.analog import AnalogMatrix
from compute.chance import rows_of, stream_key
from compute.device import DeviceModel, Faults
from compute.outliers import Mask, largest
from compute.partition import TILE_SIDE, Matrix, spans
from compute.presets import RRAM_WAN2022
from compute.programmed import Arrays, outliers_max
from compute.programming import FAR_SIGMA, program
from compute.writing import Cells

FAULTS = Faults(stuck_low=0.0175, stuck_high=0.0904)
SPARE_ROWS = 4

Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Steps:
    """What is done about stuck cells."""

    clipped: bool = False
    """The largest weights of a column are digital, so that the others use more of the window."""
    partners: bool = False
    """The other cell of a pair makes up for a stuck one."""
    placed: bool = False
    """Rows and columns lie where stuck cells harm least."""
    spare_rows: int = 0
    gain: bool = False
    """Each column's gain is fitted to what its cells came to hold."""
    sparse: bool = False
    """Pairs that are still far off are digital."""


BARE = Steps()
CLIPPED = replace(BARE, clipped=True)
PARTNERS = replace(CLIPPED, partners=True)
PLACED = replace(PARTNERS, placed=True)
SPARE = replace(PLACED, spare_rows=SPARE_ROWS)
GAIN = replace(SPARE, gain=True)
SPARSE = replace(GAIN, sparse=True)
STEPS = {
    "cells as they come": BARE,
    "+ largest weights digital": CLIPPED,
    "+ partners make up": PARTNERS,
    "+ lines placed": PLACED,
    "+ spare rows": SPARE,
    "+ gain of each column": GAIN,
    "+ pairs far off digital": SPARSE,
}

PROGRAMMED = {
    "all, as programmed": Arrays(),
    "and two replicas": Arrays(replicas=2),
    "or two slices": Arrays(slices=2),
    "or three slices": Arrays(slices=3),
}

KINDS: dict[str, Callable[[np.random.Generator, int], Matrix]] = {
    "gaussian": lambda dice, side: dice.standard_normal((side, side), np.float32),
    "uniform": lambda dice, side: 2.0 * dice.random((side, side), np.float32) - 1.0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for kind in KINDS:
        for line in lines(kind, options.side, range(options.seeds)):
            print(json.dumps({"weights": kind} | line), flush=True)


def lines(kind: str, side: int, seeds: range) -> list[Line]:
    made = [KINDS[kind](np.random.default_rng([seed, 3]), side) for seed in seeds]

    def line(step: str, figures: Callable[[Matrix, DeviceModel, int], tuple[float, float]]) -> Line:
        pairs = {
            name: [
                figures(weights, device, seed) for weights, seed in zip(made, seeds, strict=True)
            ]
            for name, device in (("sound", RRAM_WAN2022), ("faulty", faulty()))
        }
        errors = {name: _root_mean_square([error for error, _ in of]) for name, of in pairs.items()}
        return {
            "step": step,
            "error": {name: float(f"{error:.4g}") for name, error in errors.items()},
            "ratio": round(errors["faulty"] / errors["sound"], 3),
            "digital": round(float(np.mean([digital for _, digital in pairs["faulty"]])), 4),
        }

    return [
        *(line(name, partial(by_steps, steps=steps)) for name, steps in STEPS.items()),
        *(line(name, partial(programmed, arrays=arrays)) for name, arrays in PROGRAMMED.items()),
        line("raw product", raw_product),
    ]


def faulty() -> DeviceModel:
    return msgspec.structs.replace(RRAM_WAN2022, name="rram-wan2022 with faults", faults=FAULTS)


def with_spare_rows(device: DeviceModel, spare_rows: int) -> DeviceModel:
    wires = msgspec.structs.replace(device.wires, spare_rows=spare_rows)
    return msgspec.structs.replace(device, wires=wires)


def by_steps(weights: Matrix, device: DeviceModel, seed: int, steps: Steps) -> tuple[float, float]:
    """||E|| / ||W|| and the share of digital weights."""
    device = with_spare_rows(device, steps.spare_rows)
    scale = mapping.column_scale(weights, device) if steps.clipped else mapping.full_scale(weights)
    mask = np.abs(weights) > scale
    held = np.empty_like(weights)
    stuck = np.zeros(weights.shape, np.bool_)
    for start, stop in spans(len(weights), TILE_SIDE):
        rows = slice(start, stop)
        wanted = np.clip(weights[rows] / scale, -1.0, 1.0)
        held[rows], stuck[rows] = _written(wanted, scale, start, device, seed, steps)
    if steps.gain:
        wanted = np.clip(weights / scale, -1.0, 1.0)
        scale = scale * (np.einsum("ij,ij->j", wanted, held) / np.einsum("ij,ij->j", held, held))
    missing = weights - held * scale
    if steps.sparse:
        near = np.where(mask | stuck, np.float32(0.0), missing)
        spread = np.sqrt(np.einsum("ij,ij->j", near, near) / np.count_nonzero(near, axis=0))
        threshold = np.where(mask, np.float32(0.0), np.float32(FAR_SIGMA) * spread)
        mask = largest(missing, threshold, outliers_max(weights.shape, device))
    missing[mask] = 0.0
    return float(np.linalg.norm(missing) / np.linalg.norm(weights)), float(mask.mean())


def _written(
    wanted: Matrix, scale: Matrix, first: int, device: DeviceModel, seed: int, steps: Steps
) -> tuple[Matrix, Mask]:
    """What a tile row holds in shares of the window, and which of its pairs have a cell known to be stuck."""
    spare = steps.spare_rows
    physical = rows_of(first // TILE_SIDE * (TILE_SIDE + spare), len(wanted) + spare)
    cells = writing.make_cells(device, stream_key(seed, "cells"), physical, wanted.shape[1])
    found = faults.march(cells.stuck, device, stream_key(seed, "march"), physical)
    placement = placing.place(wanted, found if steps.placed else None, spare, 0, scale)
    known = None if found is None else placement.placed(found)
    here = Cells(stuck=None if cells.stuck is None else placement.placed(cells.stuck))
    targets = mapping.pair_targets(wanted, known if steps.partners else None)
    names = rows_of(first, len(wanted))
    held, _ = writing.write(targets, device, here, stream_key(seed, "write"), names)
    difference: Matrix = held[0] - held[1]
    return difference, np.zeros(wanted.shape, np.bool_) if known is None else _either(known)


def _either(stuck: faults.Stuck) -> Mask:
    """(h, n), pairs of which one cell or both are stuck."""
    either: Mask = (stuck != 0).any(axis=0)
    return either


def programmed(
    weights: Matrix, device: DeviceModel, seed: int, arrays: Arrays
) -> tuple[float, float]:
    device = with_spare_rows(device, SPARE_ROWS)
    block = program(weights, device, seed, "w", arrays)
    missing = weights.copy()
    for replicas in block.slices:
        for layer in replicas:
            missing -= layer.conductance * layer.scale
    depth = arrays.slices
    block.add_outliers(-np.eye(len(weights), dtype=np.float32), missing, depth)
    error = float(np.linalg.norm(missing) / np.linalg.norm(weights))
    return error, block.digital_share(depth)


def raw_product(weights: Matrix, device: DeviceModel, seed: int) -> tuple[float, float]:
    """Of 64 Gaussian inputs, every array read once."""
    x = np.random.default_rng([seed, 4]).standard_normal((64, len(weights)), np.float32)
    matrix = AnalogMatrix(weights, with_spare_rows(device, SPARE_ROWS), seed=seed)
    answer = matrix.matmul(x)
    exact = x.astype(np.float64) @ weights
    error = float(np.linalg.norm(answer.value - exact) / np.linalg.norm(exact))
    return error, 1.0 - answer.certificate.analog_fraction


def _root_mean_square(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


if __name__ == "__main__":
    main()
