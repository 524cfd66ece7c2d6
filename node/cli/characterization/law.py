"""What the device's figures say pairs of cells should be off by, to be held against what they are off by.

Each sound cell is normal about a mean of its own: its target, on a level if there are levels, moved by drift; with
the spread that writing leaves and drift adds. What would fall below zero conductance stands at zero, which moves the
mean up and narrows the spread. Cells that the loop gave up, and windows of a cell's own, are not in the law: they
are what sticks out of it.
"""

import math
from dataclasses import dataclass

import numpy as np

from compute.device import DeviceModel
from compute.partition import Matrix, Matrix64
from compute.write_verify import LEVEL_STEPS, QUANTILES, law_of
from compute.writing import sigma_us

BINS = 81
erf = np.vectorize(math.erf, otypes=[np.float64])


@dataclass(frozen=True, slots=True)
class Histogram:
    """Shares of several populations in the same bins."""

    edges: Matrix64
    """(bins + 1,)"""
    shares: dict[str, Matrix64]
    """By name, (bins,); each adds up to what of the population lies within the edges."""
    law: Matrix64
    """(bins,), the share that is predicted for the first population."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Of what single cells or pairs hold, in uS."""

    mean: Matrix64
    sigma: Matrix64


def bins_over(values: Matrix64, reach: float) -> Matrix64:
    """Edges around zero, so wide that all values up to `reach` standard deviations find their place."""
    widest = reach * float(np.sqrt(np.mean(np.square(values)))) or 1.0
    return np.linspace(-widest, widest, BINS + 1)


def shares(values: Matrix64, edges: Matrix64) -> Matrix64:
    counts, _ = np.histogram(values, edges)
    part: Matrix64 = counts / max(len(values), 1)
    return part


def normal_shares(moments: Moments, edges: Matrix64) -> Matrix64:
    """Mean over all values, each normal about its own mean, of the share in each bin; zeros where there are none."""
    if not len(moments.mean):
        return np.zeros(len(edges) - 1)
    sigma = np.maximum(moments.sigma, 1e-12 * (edges[-1] - edges[0]))
    below = np.zeros(len(edges))
    for at, edge in enumerate(edges):
        below[at] = float(np.mean(erf((edge - moments.mean) / sigma / math.sqrt(2.0))))
    part: Matrix64 = np.diff(below) / 2.0
    return part


def pair_errors(targets: Matrix, wanted: Matrix, device: DeviceModel, age_s: float) -> Moments:
    """Of sound pairs with targets (2, pairs) and wanted differences (pairs,), all in shares of the window."""
    plus, minus = (cells(each, device, age_s) for each in targets)
    wanted_us = wanted.astype(np.float64) * device.window.width_us
    return Moments(plus.mean - minus.mean - wanted_us, np.hypot(plus.sigma, minus.sigma))


def cells(targets: Matrix, device: DeviceModel, age_s: float) -> Moments:
    """Of sound cells with targets (cells,) in shares of the window."""
    goal = targets.astype(np.float64)
    if (levels := device.window.levels) is not None:
        goal = np.rint(goal * (levels - 1)) / (levels - 1)
    goal_us = goal * device.window.width_us + device.window.g_min_us
    return _above_zero(_drifted(Moments(goal_us, _written(goal_us, device)), device, age_s))


def _written(goal_us: Matrix64, device: DeviceModel) -> Matrix64:
    """Standard deviation that the loop and relaxation leave."""
    writing = device.writing
    if writing.sigma_us:
        return sigma_us(goal_us.astype(np.float32), device).astype(np.float64)
    if writing.acceptance_us is None:
        return np.full(goal_us.shape, writing.pulse_sigma_us)
    law = law_of(device)
    spread = law.accepted_errors.astype(np.float64).reshape(-1, QUANTILES).std(axis=1)
    level = np.rint((goal_us - device.window.g_min_us) / device.window.width_us * LEVEL_STEPS)
    sigma: Matrix64 = spread[law.tried[level.astype(np.intp)]] * device.window.width_us
    return sigma


def _drifted(fresh: Moments, device: DeviceModel, age_s: float) -> Moments:
    """G exp(-nu L) + mean L + sigma z L, as in `compute.ageing`, to first order in the spread of nu."""
    drift = device.drift
    log_age = math.log(max(age_s, drift.t0_s) / drift.t0_s)
    kept = fresh.mean * math.exp(-drift.exponent * log_age)
    spreads = (
        np.square(fresh.sigma * math.exp(-drift.exponent * log_age)),
        np.square(kept * drift.exponent_sigma * log_age),
        np.square(np.full(kept.shape, drift.sigma_us * log_age)),
    )
    return Moments(kept + drift.mean_us * log_age, np.sqrt(sum(spreads)))


def _above_zero(free: Moments) -> Moments:
    """Mean and spread of max(G, 0) for a normal G.

    With a = mean / sigma:  E = mean Phi(a) + sigma phi(a),  E2 = (mean^2 + sigma^2) Phi(a) + mean sigma phi(a).
    """
    sigma = np.maximum(free.sigma, 1e-12)
    ratio = np.clip(free.mean / sigma, -30.0, 30.0)
    inside = 0.5 * (1.0 + erf(ratio / math.sqrt(2.0)))
    peak = np.exp(-0.5 * ratio**2) / math.sqrt(2.0 * math.pi)
    first = free.mean * inside + sigma * peak
    second = (free.mean**2 + sigma**2) * inside + free.mean * sigma * peak
    return Moments(first, np.sqrt(np.maximum(second - first**2, 0.0)))
