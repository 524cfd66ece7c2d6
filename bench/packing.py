"""How many cells of shared arrays are used by ResNet-50's layers, and what the cuts cost.

    python bench/packing.py [--repeat 20 --seed 7]

One JSON line for each side of an array, for all blocks in one place, for a quarter of them, as one of four nodes would
hold, and for 400 blocks of random shapes. A layer is the matrix of its convolution (im2col): input channels times
kernel cells down, output channels across. `conversions` is column sums to convert for one reading of all blocks,
over what it takes when no row is cut.
"""

import argparse
import json
import random
from collections.abc import Iterator
from typing import Any

from bench.cpu import least_s
from compute.packing import conversions_min, pack
from compute.partition import BlockGrid

Shape = tuple[int, int]

STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
"""Bottlenecks of ResNet-50 and their inner channels (He et al. 2016, table 1); outside there are four times as many."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    dice = random.Random(options.seed)
    resnet = [shape for layer in resnet_50() for shape in blocks(layer)]
    random_shapes = [(dice.randint(1, 1024), dice.randint(1, 1024)) for _ in range(400)]
    sets = {"resnet-50": resnet, "a quarter of it": resnet[::4], "400 random": random_shapes}
    for what, shapes in sets.items():
        for side in (128, 256, 512):
            print(json.dumps({"what": what} | figures(shapes, side, options.repeat)), flush=True)


def resnet_50() -> Iterator[Shape]:
    yield 3 * 7 * 7, 64
    channels = 64
    for count, inner in STAGES:
        for index in range(count):
            yield channels, inner
            yield 9 * inner, inner
            yield inner, 4 * inner
            if index == 0:
                yield channels, 4 * inner
            channels = 4 * inner
    yield channels, 1000


def blocks(layer: Shape) -> list[Shape]:
    grid = BlockGrid(*layer)
    return [grid.shape(block) for block in grid.blocks()]


def figures(shapes: list[Shape], side: int, repeat: int) -> dict[str, Any]:
    cells = sum(rows * columns for rows, columns in shapes)
    alone = sum(-(-rows // side) * -(-columns // side) for rows, columns in shapes)
    packing = pack(shapes, side)
    return {
        "side": side,
        "blocks": len(shapes),
        "cells": cells,
        "arrays": packing.arrays,
        "arrays_at_least": -(-cells // side**2),
        "used": round(packing.utilisation, 4),
        "used_one_block_an_array": round(cells / (alone * side**2), 4),
        "conversions": round(packing.conversions / conversions_min(shapes, side), 4),
        "parts": len(packing.placements),
        "ms": round(1e3 * least_s(lambda: pack(shapes, side), repeat), 2),
    }


if __name__ == "__main__":
    main()
