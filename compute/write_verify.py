"""The loop that writes a cell: pulse, read, accept; and its law, tabulated for those who write millions.

Every cell starts at g_min, as after an erase, and is read. As long as it lies outside the acceptance it gets a pulse
that goes a part of the remaining way, with noise, and is read again; after `pulses_max` it is given up. The law is
what the loop gave to 1,024 cells at each of 129 targets: run once for a device, with dice of its own, so the same
everywhere.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from compute.chance import Words, normal, rows_of, stream_key
from compute.device import DeviceModel, Window, Writing
from compute.partition import Matrix, Matrix64

LEVEL_STEPS = 4096
"""Tables over the window have so many steps: the law changes little within one."""

LAW_TARGETS = 129
CELLS_A_TARGET = 1024
QUANTILES = 256
NEIGHBOURS = 3
"""Targets on either side that a mean is taken over."""

COLUMNS_MAX = 1 << 20
"""Cells of a row have names of their own, so that dice are thrown only for those that still need a pulse."""


@dataclass(frozen=True, slots=True)
class Written:
    """What the loop left behind; all (h, n)."""

    conductance_us: Matrix
    pulses: npt.NDArray[np.int32]
    accepted: npt.NDArray[np.bool_]


def write_verify(targets_us: Matrix, device: DeviceModel, key: int, rows: Words) -> Written:
    """Write cells to targets (h, n) in uS, pulse by pulse. They are as the last pulse left them, not yet relaxed."""
    writing, shape = device.writing, targets_us.shape
    target = targets_us.ravel()
    names = (rows[:, None] * np.uint64(COLUMNS_MAX) + rows_of(0, shape[1])).ravel()
    if writing.acceptance_us is None:
        landed = target + _noise(writing.pulse_sigma_us, key, names)
        np.maximum(landed, np.float32(0.0), out=landed)
        once = np.ones(shape, np.int32)
        return Written(landed.reshape(shape), once, once > 0)
    conductance = np.full_like(target, device.window.g_min_us)
    pulses = np.zeros(target.shape, np.int32)
    tolerance = _tolerance_us(target, writing)
    at = np.arange(target.size)
    for pulse in range(writing.pulses_max + 1):
        read = conductance[at] + _noise(
            writing.verify_sigma_us, stream_key(key, "verify", pulse), names[at]
        )
        missing = target[at] - read
        far = np.abs(missing) > tolerance[at]
        at, missing = at[far], missing[far]
        if pulse == writing.pulses_max or not len(at):
            break
        missing *= np.float32(writing.pulse_share)
        missing += _noise(writing.pulse_sigma_us, stream_key(key, "pulse", pulse), names[at])
        conductance[at] = np.maximum(conductance[at] + missing, np.float32(0.0))
        pulses[at] += 1
    accepted = np.ones(target.shape, np.bool_)
    accepted[at] = False
    return Written(conductance.reshape(shape), pulses.reshape(shape), accepted.reshape(shape))


def _noise(sigma_us: float, key: int, names: Words) -> Matrix:
    """One value for each cell named."""
    if not sigma_us:
        return np.zeros(len(names), np.float32)
    noise = normal(key, names, 1)[:, 0]
    noise *= np.float32(sigma_us)
    return noise


def _tolerance_us(targets_us: Matrix, writing: Writing) -> Matrix:
    assert writing.acceptance_us is not None
    tolerance: Matrix = targets_us * np.float32(writing.acceptance_share)
    tolerance += np.float32(writing.acceptance_us)
    return tolerance


@dataclass(frozen=True, slots=True)
class LoopLaw:
    """What the loop does to a cell, by its target's level: the share of the window in LEVEL_STEPS steps."""

    pulses: Matrix
    """(LEVEL_STEPS + 1,), mean."""
    given_up: Matrix
    """(LEVEL_STEPS + 1,), share of the cells that are never accepted."""
    at_once: Matrix
    """(LEVEL_STEPS + 1,), share of the accepted cells that are so without a pulse: they stay at g_min."""
    tried: npt.NDArray[np.uint8]
    """(LEVEL_STEPS + 1,), the nearest of the targets that were tried."""
    accepted_errors: Matrix
    """(LAW_TARGETS, QUANTILES), where pulsed cells are, from the target, as a share of the window; not yet relaxed."""
    given_up_errors: Matrix
    """(LAW_TARGETS, QUANTILES), where those are that were given up."""
    done_after: Matrix64
    """(pulses_max + 1,), share of the pulsed cells that need so many pulses at most."""

    def slowest(self, cells: int) -> int:
        """Pulses that the slowest of so many cells takes, about: the quantile that one of them lies beyond."""
        return int(np.searchsorted(self.done_after, 1.0 - 1.0 / (cells + 1)))


def law_of(device: DeviceModel) -> LoopLaw:
    """The law of a device that reads what it writes; other devices need none. Takes 50 ms once for a kind of cell."""
    window = Window(g_min_us=device.window.g_min_us, g_max_us=device.window.g_max_us)
    return _law_of(DeviceModel(name="law", window=window, writing=device.writing))


@lru_cache(maxsize=8)
def _law_of(device: DeviceModel) -> LoopLaw:
    window = device.window
    levels = np.arange(LEVEL_STEPS + 1) / LEVEL_STEPS
    at_once = _at_once(levels, device)
    # Targets from where g_min is no longer near enough: below, a pulsed cell fares as the first of them does.
    first = min(np.count_nonzero(at_once >= 0.5) / LEVEL_STEPS, 0.999)
    shares = np.linspace(first, 1.0, LAW_TARGETS)
    targets_us = (shares * window.width_us + window.g_min_us).astype(np.float32)
    sample = targets_us.repeat(CELLS_A_TARGET).reshape(LAW_TARGETS, CELLS_A_TARGET)
    key = stream_key("law of the write-verify loop")
    got = write_verify(sample, device, key, rows_of(0, LAW_TARGETS))
    pulsed = got.pulses > 0
    count = np.maximum(np.count_nonzero(pulsed, axis=1), 1)
    needed = np.bincount(got.pulses[pulsed], minlength=device.writing.pulses_max + 1)
    given_up = (1.0 - at_once) * _over(levels, shares, np.sum(~got.accepted, axis=1) / count)
    units = _tolerance_us(targets_us, device.writing)[:, None] / np.float32(window.width_us)
    errors = (got.conductance_us - sample) / (units * np.float32(window.width_us))
    return LoopLaw(
        pulses=_table((1.0 - at_once) * _over(levels, shares, got.pulses.sum(axis=1) / count)),
        given_up=_table(given_up),
        at_once=_table(np.divide(at_once, 1.0 - given_up, where=at_once > 0.0, out=at_once * 0.0)),
        tried=np.searchsorted((shares[1:] + shares[:-1]) / 2.0, levels).astype(np.uint8),
        accepted_errors=_quantiles(errors, got.accepted & pulsed) * units,
        given_up_errors=_quantiles(errors, ~got.accepted) * units,
        done_after=np.cumsum(needed) / max(needed.sum(), 1),
    )


def _at_once(levels: Matrix64, device: DeviceModel) -> Matrix64:
    """Probability that the first reading of a cell at g_min finds it near enough to each level."""
    window, writing = device.window, device.writing
    distance_us = levels * window.width_us
    tolerance_us = np.array([writing.tolerance_us(window.g_min_us + at) for at in distance_us])
    if not writing.verify_sigma_us:
        return (distance_us <= tolerance_us).astype(np.float64)
    scale = math.sqrt(0.5) / writing.verify_sigma_us
    within = np.array([math.erf(at) for at in (tolerance_us - distance_us) * scale])
    within += [math.erf(at) for at in (tolerance_us + distance_us) * scale]
    half: Matrix64 = within / 2.0
    return half


def _over(levels: Matrix64, shares: Matrix64, values: Matrix64) -> Matrix64:
    """At all levels, what was found at the targets tried.

    Neighbours are averaged: the law is smooth, and a thousand cells at one target tell little of what is rare.
    """
    padded = np.pad(values, NEIGHBOURS, mode="edge")
    smooth = np.convolve(padded, np.ones(2 * NEIGHBOURS + 1) / (2 * NEIGHBOURS + 1), mode="valid")
    return np.interp(levels, shares, smooth)


def _table(values: Matrix64) -> Matrix:
    return values.astype(np.float32)


def _quantiles(errors: Matrix, of: npt.NDArray[np.bool_]) -> Matrix:
    """(LAW_TARGETS, QUANTILES) of the chosen cells at each target and its neighbours, in units of the acceptance.

    Zeros where none was chosen: none is ever taken from there.
    """
    table = np.zeros((len(errors), QUANTILES), np.float32)
    for row in range(len(errors)):
        near = slice(max(0, row - NEIGHBOURS), row + NEIGHBOURS + 1)
        ordered = np.sort(errors[near][of[near]])
        if len(ordered):
            table[row] = ordered[(2 * np.arange(QUANTILES) + 1) * len(ordered) // (2 * QUANTILES)]
    return table
