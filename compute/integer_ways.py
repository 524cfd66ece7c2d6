"""The ways in which a device can read one significance of whole numbers, and what each takes.

Few lines at once are safe and slow, many are wrong more often and need an ADC of more bits; readings that are
integrated before a conversion take away the noise of reading.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from compute.device import DeviceModel
from compute.energy import Spent, reading
from compute.integer_law import SD_MAX, CellNoise, adc_bits, conversion_sd, errors_by_lines
from compute.partition import TILE_SIDE, Matrix64

DAC_BITS = 2
"""Sign and magnitude of one bit."""

ROWS_ACTIVE = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""As many of them as an array has."""
READS = (1, 2, 4, 8, 16)


class Options(NamedTuple):
    """Ways to read one significance, of cells of so many bits."""

    noise: CellNoise
    cell_bits: int
    ways: tuple[tuple[int, int], ...]
    """(rows active, readings)"""
    errors: Matrix64
    """(tile side + 1, ways), wrong conversions of one output and plane, by lines with a bit."""
    energy_pj: Matrix64
    """(tile side + 1, ways), of one plane with all outputs."""


@lru_cache(maxsize=256)
def options_of(
    noise: CellNoise,
    device: DeviceModel,
    cell_bits: int,
    outputs: int,
    tile_side: int = TILE_SIDE,
) -> Options | None:
    """What the device's cells and ADCs can do at all; None where that is nothing."""
    levels, bits_max = device.window.levels, device.converters.adc_bits
    if levels is not None and levels < 1 << cell_bits:
        return None
    ways = tuple(
        (rows, reads)
        for rows in ROWS_ACTIVE
        if rows <= tile_side
        for reads in (READS if noise.read > 0.0 else READS[:1])
        if conversion_sd(rows, noise, cell_bits, reads) <= SD_MAX
        and (bits_max is None or adc_bits(rows, cell_bits) <= bits_max)
    )
    if not ways:
        return None
    costs = [group_cost(device, outputs, cell_bits, *way, tile_side).energy_pj for way in ways]
    groups = np.stack([groups_of(rows, tile_side) for rows, _ in ways], axis=1)
    errors = [errors_by_lines(noise, cell_bits, *way, tile_side) for way in ways]
    return Options(noise, cell_bits, ways, np.stack(errors, axis=1), groups * costs)


@lru_cache(maxsize=64)
def groups_of(rows_active: int, tile_side: int) -> Matrix64:
    """(tile side + 1,), settlings that so many lines take."""
    return np.ceil(np.arange(tile_side + 1) / rows_active)


@lru_cache(maxsize=4096)
def group_cost(
    device: DeviceModel,
    outputs: int,
    cell_bits: int,
    rows_active: int,
    reads: int,
    tile_side: int,
) -> Spent:
    """Lines driven once: integrated over `reads` readings, converted once."""
    return reading(
        device,
        inputs=rows_active,
        outputs=outputs,
        settlings=reads,
        conversions=1,
        dac_bits=DAC_BITS,
        adc_bits=adc_bits(rows_active, cell_bits),
        tile_side=tile_side,
    )
