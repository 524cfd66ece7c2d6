"""How far a chip's digits are off: arrays of random digits are written, aged, and seen through their wires.

Weights mostly lie low in the window and use all lines at once; digits stand at its ends, in groups of a few lines. So
what was measured of weights says little of them. An array whose digits are all positive loads its lines most, one with
both signs least; the worse of both counts. Errors of single cells add up at random over n lines, what wires take from
neighbours adds up in step:

    variance of a group's sum = 2 n write^2 + n^2 shared^2

Pairs with a stuck cell are left out: what they spoil is known, and done in another way. Where cells are written worse
at one end of the window, sums with more digits there err more often than the mean tells: that end counts for all.
"""

import math
from functools import lru_cache

import numpy as np

from compute.chance import rows_of, stream_key, words
from compute.device import DeviceModel
from compute.digits import patient
from compute.integer_law import CellNoise
from compute.partition import TILE_SIDE, Matrix, Matrix64
from compute.programmed import Arrays
from compute.strips import write_strip

GROUPS = (1, 2, 4, 8, 16)
"""Lines that are driven together."""


@lru_cache(maxsize=256)
def digit_noise(
    device: DeviceModel, seed: int, age_s: float, tile_side: int = TILE_SIDE
) -> CellNoise:
    """Of this chip's cells when they are so old, as shares of the window, to two digits."""
    if device.is_exact:
        return CellNoise(0.0, 0.0)
    arrays = Arrays(age_s=age_s, tile_side=tile_side)
    fits = [_fitted(_errors(device, seed, arrays, signed=signed)) for signed in (False, True)]
    window = device.window
    ends_us = [device.written_sigma_us(end) for end in (window.g_min_us, window.g_max_us)]
    write = max(max(ends_us) / window.width_us, *(write for write, _ in fits))
    read = device.read_sigma_us(window.g_max_us) / window.width_us
    return CellNoise(
        write=_rounded_up(write),
        read=_rounded_up(read),
        shared=_rounded_up(max(shared for _, shared in fits)),
    )


def _errors(device: DeviceModel, seed: int, arrays: Arrays, *, signed: bool) -> Matrix64:
    """(tile side, columns), by how much digits are off in units of the window, each column's gain put right."""
    life = stream_key(seed, "test array", signed)
    digits = _digits(life, signed, arrays.tile_side)
    columns = digits.shape[1]
    strip = write_strip(
        digits.copy(), np.ones(columns, np.float32), 0, patient(device), arrays, life
    )
    sound = np.broadcast_to(strip.stuck, digits.shape) == 0
    held = np.where(sound, strip.difference, 0.0).astype(np.float64)
    wanted = np.where(sound, digits, 0.0).astype(np.float64)
    own = np.einsum("ij,ij->j", held, held)
    gain = np.divide(
        np.einsum("ij,ij->j", wanted, held), own, out=np.ones(columns), where=own > 0.0
    )
    errors: Matrix64 = held * gain - wanted
    return errors


def _digits(life: int, signed: bool, tile_side: int) -> Matrix:
    """(tile side, columns), half of them zero; the others one, or one of either sign.

    Of one array; of so many small ones side by side that there are as many pairs as in one of 128 x 128.
    """
    columns = max(tile_side, TILE_SIDE**2 // tile_side)
    thrown = words(stream_key(life, "digits"), rows_of(0, tile_side), columns)
    sign = 1.0 - 2.0 * (thrown >> np.uint64(1) & np.uint64(1)) if signed else 1.0
    digits: Matrix = ((thrown & np.uint64(1)) * sign).astype(np.float32)
    return digits


def _fitted(errors: Matrix64) -> tuple[float, float]:
    """write and shared of the law, by least squares over the group sizes."""
    per_line = []
    for lines in GROUPS:
        sums = errors.reshape(-1, lines, errors.shape[1]).sum(axis=1)
        per_line.append(float(np.mean(sums**2)) / lines)
    design = np.array([[2.0, lines] for lines in GROUPS])
    write, shared = np.linalg.lstsq(design, np.array(per_line), rcond=None)[0]
    return math.sqrt(max(write, 0.0)), math.sqrt(max(shared, 0.0))


def _rounded_up(sigma: float) -> float:
    """To two digits: a sigma is not known better, and plans for equal ones are found again."""
    if sigma == 0.0:
        return 0.0
    digit = 10.0 ** (math.floor(math.log10(sigma)) - 1)
    return math.ceil(sigma / digit) * digit
