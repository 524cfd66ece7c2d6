"""What writing a block of cells takes, for each preset. One JSON line a figure.

    OPENBLAS_NUM_THREADS=1 python bench/programming.py [--quick]

CPU time of one thread, the least of many rounds in which the presets take turns. A block is 1,024 x 1,024 normal
weights, each column scaled to its largest: two million cells. `write_ms` is for all of them by the law of the loop;
`loop_ms` is the loop itself, pulse by pulse, for a tile of 128 x 128 pairs; `law_ms` is paid once for a device.
`program_ms` is all of programming the block, from finding its scales to probing what is still wrong; for presets with
wires, whose currents are worked out array by array, one tile row of 128 takes its place (`strip_ms`).
"""

import argparse
import json
import os
from collections.abc import Callable

import numpy as np

from bench.cpu import once_s
from compute.ageing import aged
from compute.chance import normal_table, rows_of
from compute.device import DeviceModel
from compute.faults import march
from compute.partition import BLOCK_SIDE, TILE_SIDE, Matrix
from compute.presets import PRESETS
from compute.programming import program
from compute.write_verify import law_of, write_verify
from compute.writing import make_cells, write

SEED = 1
DAY_S = 86_400.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    rounds = 3 if parser.parse_args().quick else 25
    weights = np.random.default_rng(SEED).standard_normal((BLOCK_SIDE, BLOCK_SIDE), np.float32)
    targets = _targets(weights)
    normal_table()  # shared by all presets and by reading, too
    _tell("machine", load=os.getloadavg(), numpy=np.__version__, rounds=rounds, seed=SEED)
    laws = {name: _law_ms(model) for name, model in PRESETS.items()}
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, model in PRESETS.items():
            for what, took_ms in _round(model, weights, targets).items():
                least = best.setdefault(name, {})
                least[what] = min(took_ms, least.get(what, took_ms))
    for name, model in PRESETS.items():
        _tell(name, law_ms=laws[name], **best[name], **_outcome(model, targets))


def _targets(weights: Matrix) -> Matrix:
    """Both cells of each pair, as shares of the window."""
    weights = weights / np.abs(weights).max(axis=0)
    return np.stack((np.maximum(weights, 0.0), np.maximum(-weights, 0.0)))


def _round(model: DeviceModel, weights: Matrix, targets: Matrix) -> dict[str, float]:
    rows = rows_of(0, BLOCK_SIDE)
    cells = make_cells(model, SEED, rows, BLOCK_SIDE)
    tile_us = targets[:, :TILE_SIDE, :TILE_SIDE].reshape(-1, TILE_SIDE) * np.float32(
        model.window.width_us
    ) + np.float32(model.window.g_min_us)
    tile_rows = rows_of(0, len(tile_us))
    whole = not model.wires.segment_ohm
    block = weights if whole else weights[:TILE_SIDE]
    return {
        "program_ms" if whole else "strip_ms": _ms(lambda: program(block, model, SEED, "bench")),
        "cells_ms": _ms(lambda: make_cells(model, SEED, rows, BLOCK_SIDE)),
        "march_ms": _ms(lambda: march(cells.stuck, model, SEED, rows)),
        "write_ms": _ms(lambda: write(targets, model, cells, SEED, rows)),
        "age_ms": _ms(lambda: aged(targets, model, DAY_S, SEED, SEED, rows, stuck=cells.stuck)),
        "loop_ms": _ms(lambda: write_verify(tile_us, model, SEED, tile_rows)),
    }


def _law_ms(model: DeviceModel) -> float:
    return 0.0 if model.writing.acceptance_us is None else _ms(lambda: law_of(model))


def _outcome(model: DeviceModel, targets: Matrix) -> dict[str, float]:
    """Of the block, and of the loop on targets all over the window."""
    rows = rows_of(0, BLOCK_SIDE)
    cells = make_cells(model, SEED, rows, BLOCK_SIDE)
    report = write(targets, model, cells, SEED, rows)[1]
    window = model.window
    evenly = np.linspace(window.g_min_us, window.g_max_us, 256 * 256, dtype=np.float32)
    loop = write_verify(evenly.reshape(256, 256), model, SEED, rows_of(0, 256))
    return {
        "pulses_a_cell": report.pulses / report.cells,
        "yield": 1.0 - report.unwritten / report.cells,
        "stuck": 0.0 if cells.stuck is None else np.count_nonzero(cells.stuck) / cells.stuck.size,
        "energy_uj": report.energy_pj * 1e-6,
        "time_ms": report.time_ns * 1e-6,
        "loop_pulses": float(loop.pulses.mean()),
        "loop_yield": float(loop.accepted.mean()),
    }


def _ms(work: Callable[[], object]) -> float:
    return 1e3 * once_s(work)


def _tell(name: str, **figures: object) -> None:
    rounded = {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in figures.items()
    }
    print(json.dumps({"name": name, **rounded}), flush=True)


if __name__ == "__main__":
    main()
