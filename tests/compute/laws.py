"""Tests of laws, by Kolmogorov and Smirnov, by chi-square and by counts.

Each raises a false alarm once in a million seeds.
"""

import math
import statistics
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

FALSE_ALARM = 1e-6

COUNTS_MIN = 20
"""Of both samples together, for a kind to be compared by itself."""

Sample = npt.NDArray[np.floating]
Counts = npt.NDArray[np.floating | np.integer]


def far_from_normal(sample: Sample, mean: float, sigma: float) -> bool:
    """Whether a sample is told from a normal law. Each value may be rounded a little."""
    return far_from_law(sample, statistics.NormalDist(mean, sigma).cdf)


def far_from_law(sample: Sample, cdf: Callable[[float], float]) -> bool:
    """Whether a sample is told from the law of this distribution function."""
    ordered = np.sort(sample, axis=None).astype(np.float64)
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


def chi_square(seen: Counts, expected: Counts) -> float:
    return float(((seen - expected) ** 2 / expected).sum())


def chi_square_limit(degrees: int) -> float:
    """Passed once in a million (Wilson and Hilferty)."""
    z = statistics.NormalDist().inv_cdf(1.0 - FALSE_ALARM)
    part = 2.0 / (9.0 * degrees)
    return degrees * (1.0 - part + z * math.sqrt(part)) ** 3


def counted_apart(one: Counts, other: Counts, *, degrees_min: int) -> bool:
    """Whether counts are told to be of different laws; kinds that are rare count as one, and enough must be left."""
    enough = one + other >= COUNTS_MIN
    counts = np.stack([row[enough] for row in (one, other)])
    rest = np.array([[row[~enough].sum()] for row in (one, other)])
    if rest.sum() >= COUNTS_MIN:
        counts = np.concatenate((counts, rest), axis=1)
    expected = counts.sum(axis=1)[:, None] * counts.sum(axis=0) / counts.sum()
    degrees = counts.shape[1] - 1
    assert degrees >= degrees_min, "too few to tell anything"
    return chi_square(counts, expected) >= chi_square_limit(degrees)


def _critical(variance: float) -> float:
    """sqrt(-ln(alpha / 2) / 2) over the root of the size (Smirnov's limit)."""
    return math.sqrt(-math.log(FALSE_ALARM / 2.0) / 2.0 * variance)
