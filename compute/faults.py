"""Cells that no pulse moves: which there are, and which of them a controller finds.

A cell is sound, stuck at its lowest conductance (stuck-at-0: it was never formed, or lost its filament) or at its
highest (stuck-at-1). Faults are independent of each other here, and for life. A controller knows them from a march:
write all cells low and read them, write all high and read them again.
"""

import math

import numpy as np
import numpy.typing as npt

from compute.chance import Words, stream_key, uniform, words
from compute.device import DeviceModel

Stuck = npt.NDArray[np.int8]
"""(2, h, n) cells, plus and minus of each pair: 0 sound, -1 stuck at g_min, +1 stuck at g_max."""

SURE = 2.0**-53
"""No value that `chance.uniform` throws is as small as this: what is less likely does not happen."""


def draw(device: DeviceModel, key: int, rows: Words, columns: int) -> Stuck | None:
    """The stuck cells of (2, rows, columns); nothing where the device has no faults."""
    if not device.faults.share:
        return None
    low = round(device.faults.stuck_low * 2**32)
    high = 2**32 - round(device.faults.stuck_high * 2**32)
    stuck = np.empty((2, len(rows), columns), np.int8)
    for polarity in range(2):
        thrown = words(stream_key(key, "faults", polarity), rows, -(-columns // 2))
        halves = thrown.view(np.uint32)[:, :columns]
        np.subtract(halves >= high, halves < low, out=stuck[polarity], dtype=np.int8)
    return stuck


def march(stuck: Stuck | None, device: DeviceModel, key: int, rows: Words) -> Stuck | None:
    """What a controller takes for stuck after writing all cells low and reading, all high and reading.

    Readings are compared with the middle of the window. With the writing noise and the read noise of the presets no
    reading ever falls on the wrong side; `march_error_rate` says how often a sound cell's does.
    """
    if stuck is None:
        return None
    reads_high, reads_low = _wrong_sides(device)
    if max(reads_high[0], 1.0 - reads_high[1], reads_low[0], 1.0 - reads_low[-1]) < SURE:
        return stuck.copy()
    found = np.empty_like(stuck)
    for polarity, cells in enumerate(stuck):
        columns = cells.shape[1]
        after_low = uniform(stream_key(key, "march", "low", polarity), rows, columns)
        after_high = uniform(stream_key(key, "march", "high", polarity), rows, columns)
        found[polarity] = after_low < reads_high[cells]
        # A cell that reads high when written low and low when written high cannot be: the later reading counts.
        found[polarity][after_high < reads_low[cells]] = -1
    return found


def march_error_rate(device: DeviceModel) -> float:
    """Probability that a march takes a sound cell for stuck."""
    reads_high, reads_low = _wrong_sides(device)
    return float(1.0 - (1.0 - reads_high[0]) * (1.0 - reads_low[0]))


def _wrong_sides(device: DeviceModel) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Probabilities of reading high after writing low, and low after writing high: of [sound, high, low] cells."""
    half_us = device.window.width_us / 2.0
    low_us, high_us = device.window.g_min_us, device.window.g_max_us
    stuck_low = _beyond(half_us, device.read_sigma_us(low_us))
    stuck_high = _beyond(half_us, device.read_sigma_us(high_us))
    low = _beyond(half_us, _written_sigma_us(device, low_us, device.variation.floor))
    high = _beyond(half_us, _written_sigma_us(device, high_us, device.variation.ceiling))
    return np.array([low, 1.0 - stuck_high, stuck_low]), np.array(
        [high, stuck_high, 1.0 - stuck_low]
    )


def _written_sigma_us(device: DeviceModel, conductance_us: float, own: float) -> float:
    """Of a sound cell's reading: as written, read, and with a window of its own (to first order)."""
    return math.hypot(
        device.written_sigma_us(conductance_us),
        device.read_sigma_us(conductance_us),
        own * conductance_us,
    )


def _beyond(distance: float, sigma: float) -> float:
    """Probability that a normal value lies more than `distance` above its mean."""
    return 0.5 * math.erfc(distance / sigma / math.sqrt(2.0)) if sigma else 0.0
