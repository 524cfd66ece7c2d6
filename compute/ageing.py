"""How written cells go on moving: relaxation and drift, coherent in time.

Each law is a function of L = ln(age / t0), 0 until t0:

    G(age) = G exp(-nu L) + mean L + sigma z L

nu is a cell's own for life, z is thrown at each writing: the filament that a pulse leaves relaxes its own way. One
who asks for a later age of the same writing meets the same cells further on the same way.
"""

import math

import numpy as np

from compute.chance import Words, normal, stream_key
from compute.device import DeviceModel
from compute.faults import Stuck
from compute.partition import Matrix, spans

PANEL_ROWS = 64
"""Rows that are aged together: what they need stays in a core's cache."""


def aged(
    held: Matrix,
    device: DeviceModel,
    age_s: float,
    cells_key: int,
    key: int,
    rows: Words,
    *,
    stuck: Stuck | None,
) -> Matrix:
    """What freshly written cells (2, h, n), as shares of the window, have become after `age_s` seconds.

    `cells_key` names the cells for life, `key` the writing. Ask again with a later age, rather than to age what is
    aged already. Stuck cells stay; no conductance falls below zero, though it may leave the window.
    """
    drift = device.drift
    log_age = math.log(max(age_s, drift.t0_s) / drift.t0_s)
    if log_age == 0.0 or not (
        drift.exponent or drift.exponent_sigma or drift.mean_us or drift.sigma_us
    ):
        return held.copy()
    after = np.empty_like(held)
    for polarity in range(2):
        life = stream_key(cells_key, "exponent", polarity)
        way = stream_key(key, "drift", polarity)
        for start, stop in spans(len(rows), PANEL_ROWS):
            panel = after[polarity, start:stop]
            np.copyto(panel, held[polarity, start:stop])
            _age(panel, device, log_age, life, way, rows[start:stop])
    if stuck is not None:
        np.copyto(after, held, where=stuck != 0)
    return after


def _age(
    held: Matrix, device: DeviceModel, log_age: float, life: int, way: int, rows: Words
) -> None:
    """One panel, in place."""
    window, drift = device.window, device.drift
    columns = held.shape[1]
    lowest = np.float32(window.g_min_us / window.width_us)
    if drift.exponent or drift.exponent_sigma:
        held += lowest
        held *= _shrunk(device, log_age, life, rows, columns)
        held -= lowest
    if drift.sigma_us:
        shift = normal(way, rows, columns)
        shift *= np.float32(drift.sigma_us * log_age / window.width_us)
        held += shift
    held += np.float32(drift.mean_us * log_age / window.width_us)
    np.maximum(held, -lowest, out=held)


def _shrunk(device: DeviceModel, log_age: float, life: int, rows: Words, columns: int) -> Matrix:
    """exp(-nu L) of each cell; where nu would be negative the cell stays, for none grows."""
    drift = device.drift
    if not drift.exponent_sigma:
        return np.full((len(rows), columns), math.exp(-drift.exponent * log_age), np.float32)
    power = normal(life, rows, columns)
    power *= np.float32(-drift.exponent_sigma * log_age)
    power -= np.float32(drift.exponent * log_age)
    np.minimum(power, np.float32(0.0), out=power)
    shrunk: Matrix = np.exp(power, out=power)
    return shrunk
