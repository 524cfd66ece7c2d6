"""Kolmogorov-Smirnov tests, with their critical values at a false-alarm probability of one in a million."""

import math
import statistics

import numpy as np
import numpy.typing as npt

FALSE_ALARM = 1e-6

Sample = npt.NDArray[np.floating]


def far_from_normal(sample: Sample, mean: float, sigma: float) -> bool:
    """Whether a sample is told from a normal law. Each value may be rounded a little."""
    ordered = np.sort(sample, axis=None).astype(np.float64)
    cdf = statistics.NormalDist(mean, sigma).cdf
    law = np.array([cdf(value) for value in ordered])
    ranks = np.arange(len(ordered) + 1) / len(ordered)
    distance = max(np.abs(law - ranks[:-1]).max(), np.abs(law - ranks[1:]).max())
    return bool(distance > _critical(1.0 / len(ordered)))


def far_apart(one: Sample, other: Sample) -> bool:
    """Whether two samples are told to be of different laws."""
    one, other = np.sort(one, axis=None), np.sort(other, axis=None)
    places = np.concatenate((one, other))
    below = np.searchsorted(one, places, "right") / one.size
    below -= np.searchsorted(other, places, "right") / other.size
    return bool(np.abs(below).max() > _critical(1.0 / one.size + 1.0 / other.size))


def far_from_share(hits: int, trials: int, probability: float) -> bool:
    """Whether a count is told from the binomial one: five standard deviations, as often as the others."""
    sigma = math.sqrt(trials * probability * (1.0 - probability))
    return abs(hits - trials * probability) > 5.0 * sigma


def _critical(variance: float) -> float:
    """sqrt(-ln(alpha / 2) / 2) over the root of the size (Smirnov's limit)."""
    return math.sqrt(-math.log(FALSE_ALARM / 2.0) / 2.0 * variance)
