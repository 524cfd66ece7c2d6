"""Two applications on simulated crossbars: how good they are digitally, on arrays as they are, and as shipped.

    OPENBLAS_NUM_THREADS=1 python bench/applications.py [--only digits] [--seeds 10] [--processes 2]
        [--devices rram-harsh --side 32] [--table table.md] [--picture docs/photograph-analog.png]

`naive` takes the raw products of the arrays, `shipped` asks each product for rtol 1e-2. One JSON line a run (device,
seed), then one for each device with mean, least and most over the seeds and whether the targets are met.

Where wires have resistance, writing is slow: a seed of the photograph on `rram-harsh` takes some minutes, at --side 32
seconds.
"""

import argparse
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from bench.app_digits import classify
from bench.app_photo import Outcome, recovered
from bench.app_picture import strip
from bench.app_report import Line, digits_line, photo_line, summary, table

DEVICES = ("rram-wan2022", "rram-harsh")
SIDE = 96
"""Of the photograph, in pixels, as in `make demo`."""

APPLICATIONS = ("photo", "digits")

Result = TypeVar("Result")


def main() -> None:
    options = _options()
    machine = {"numpy": np.__version__, "processes": options.processes, "load": os.getloadavg()}
    _tell({"application": "machine", **machine})
    summaries: list[Line] = []
    firsts: list[tuple[str, Outcome]] = []
    with ProcessPoolExecutor(options.processes) as pool:
        for device in options.devices:
            if "photo" in options.only:
                lines = []
                for seed, outcome in _over_seeds(
                    pool, partial(recovered, device, options.side), options
                ):
                    lines.append(_tell(photo_line(device, options.side, seed, outcome)))
                    if seed == options.first_seed:
                        firsts.append((device, outcome))
                summaries.append(_tell(summary(lines)))
            if "digits" in options.only:
                errors = _over_seeds(pool, partial(classify, device), options)
                lines = [_tell(digits_line(device, seed, outcome)) for seed, outcome in errors]
                summaries.append(_tell(summary(lines)))
    if options.table:
        options.table.write_text(table(summaries))
    if options.picture and firsts:
        strip(firsts).save(options.picture, optimize=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=APPLICATIONS, default=APPLICATIONS)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--devices", nargs="+", choices=DEVICES, default=DEVICES)
    parser.add_argument(
        "--side", type=int, choices=(32, 48, SIDE), default=SIDE, help="of the photograph"
    )
    parser.add_argument("--table", type=Path, help="a Markdown table goes there")
    parser.add_argument("--picture", type=Path, help="the pictures of the first seed go there")
    return parser.parse_args()


def _over_seeds(
    pool: ProcessPoolExecutor, run: Callable[[int], Result], options: argparse.Namespace
) -> Iterator[tuple[int, Result]]:
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    return zip(seeds, pool.map(run, seeds), strict=True)


def _tell(line: Line) -> Line:
    print(json.dumps(line), flush=True)
    return line


if __name__ == "__main__":
    main()
