"""Says how exact an answer is, without doing the product again.

Freivalds' check over the reals: for Gaussian R (N, 16) the matrix (Y - X W) R has the expected squared norm
16 ||Y - X W||_F^2, whatever the error looks like. W R is computed once, when W comes in, block by block: the
*sketch*. After that a check costs 16 columns instead of N. Transposed products X W^T are checked with R'^T W.

The probes R come from counted Philox words through Box-Muller, not from numpy's normal generator: the words are
the same in every numpy and on every machine, and nodes of different age must agree on them.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np

from compute.partition import BLOCK_SIDE, Block, Matrix, Matrix64, spans

SKETCH_WIDTH = 16
FAILURE_PROBABILITY = 1e-6
"""How often a bound may lie below the true error."""

PASS_Z = 3.09
"""Standard normal quantile of 0.999: how surely an answer within its shares passes the check."""

STRONGER = 0.5
"""What failed its check is done again with so much of its share of the tolerance, before it is done digitally."""

PANEL_ROWS = 64
"""Rows taken to float64 at once: half a MiB beside a block."""

PROBES_KEPT = 4
"""Probes kept between products, of 128 KiB at most: for one row of X, throwing them takes longer than the product."""

Axis = Literal["rows", "columns"]


@lru_cache(maxsize=PROBES_KEPT)
def probe(seed: int, axis: Axis, block_index: int, length: int) -> Matrix64:
    """(length, 16) standard normal values for one block row or block column, the same on every machine."""
    assert 0 <= seed < 1 << 64 and 0 <= block_index < 1 << 32
    stream = np.array([seed, (axis == "rows") << 32 | block_index], dtype=np.uint64)
    words = np.random.Philox(key=stream).random_raw(length * SKETCH_WIDTH)
    uniform = (words >> np.uint64(11)) * 2.0**-53
    half = uniform.size // 2
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:half]))
    angle = (2.0 * np.pi) * uniform[half:]
    values = np.concatenate((radius * np.cos(angle), radius * np.sin(angle)))
    values.flags.writeable = False
    return values.reshape(length, SKETCH_WIDTH)


class SketchAccumulator:
    """Sketches one block whose rows come in strips: S = W_b R for X W, T = W_b^T R' for X W^T."""

    def __init__(self, shape: tuple[int, int], seed: int, block: Block) -> None:
        rows, columns = shape
        self._columns_probe = probe(seed, "columns", block.column, columns)
        self._rows_probe = probe(seed, "rows", block.row, rows)
        self._s = np.zeros((rows, SKETCH_WIDTH))
        self._t = np.zeros((columns, SKETCH_WIDTH))
        self._rows_seen = 0

    def add_rows(self, first_row: int, strip: Matrix) -> None:
        """Take rows [first_row, first_row + h) of the block, (h, n) float32; strips come top to bottom."""
        assert first_row == self._rows_seen and first_row + len(strip) <= len(self._s)
        for start, stop in spans(len(strip), PANEL_ROWS):
            panel = strip[start:stop].astype(np.float64)
            rows = slice(first_row + start, first_row + stop)
            self._s[rows] = panel @ self._columns_probe
            self._t += panel.T @ self._rows_probe[rows]
        self._rows_seen += len(strip)

    def finish(self) -> tuple[Matrix64, Matrix64]:
        """S (k, 16) and T (n, 16), float64, once all rows have come."""
        assert self._rows_seen == len(self._s)
        return self._s, self._t


def norm_of(values: Matrix | Matrix64) -> float:
    """Of all values, squared in float64: no float32 is too large or too small for it."""
    return math.sqrt(float(np.einsum("ij,ij->", values, values, dtype=np.float64)))


def apply_sketch(x: Matrix, sketch: Matrix64) -> Matrix64:
    """X S: x (M, K) float32 times the whole sketch (K, 16), float64."""
    assert x.shape[1] == sketch.shape[0]
    product = np.zeros((x.shape[0], SKETCH_WIDTH))
    for start, stop in spans(x.shape[1], BLOCK_SIDE):
        _add_product(product, x[:, start:stop], sketch[start:stop])
    return product


def project(y: Matrix | Matrix64, seed: int, axis: Axis) -> Matrix64:
    """Y R: the answer (M, N) seen through the probes, (M, 16). `axis` is "columns" for X W, "rows" for X W^T."""
    product = np.zeros((y.shape[0], SKETCH_WIDTH))
    for index, (start, stop) in enumerate(spans(y.shape[1], BLOCK_SIDE)):
        _add_product(product, y[:, start:stop], probe(seed, axis, index, stop - start))
    return product


def _add_product(total: Matrix64, left: Matrix | Matrix64, right: Matrix64) -> None:
    for start, stop in spans(len(left), PANEL_ROWS):
        total[start:stop] += left[start:stop].astype(np.float64) @ right


def estimate_norm(xs: Matrix64) -> float:
    """||X W||_F from X S (M, 16), before W has been multiplied; unbiased in its square."""
    return float(np.linalg.norm(xs)) / math.sqrt(SKETCH_WIDTH)


def norm_for_shares(x: Matrix, sketch: Matrix64, xs: Matrix64) -> float:
    """||X W||_F for cutting shares: steadier than the sketch alone, and only a guess; the check is the judge.

    Where the rows of X are nearly one, the sketch's estimate has a spread of 18 %. If the rows of W had nothing
    to do with each other, ||X W||^2 would be sum of x_k^2 ||W_k||^2, and ||W_k||^2 is well told by the sketch.
    The geometric mean of both halves the spread; where they differ twofold, W has structure and the sketch counts.
    """
    estimate = estimate_norm(xs)
    row_squares = np.einsum("kj,kj->k", sketch, sketch) / SKETCH_WIDTH
    unrelated = 0.0
    for start, stop in spans(len(x), PANEL_ROWS):
        unrelated += float((np.square(x[start:stop], dtype=np.float64) @ row_squares).sum())
    unrelated = math.sqrt(unrelated)
    if 0.5 * unrelated < estimate < 2.0 * unrelated:
        return math.sqrt(estimate * unrelated)
    return estimate


def residual_bound(
    y_probe: Matrix64,
    x_sketch: Matrix64,
    round_off: float,
    probability: float = FAILURE_PROBABILITY,
) -> float:
    """One-sided bound on ||Y' - X W||_F, exceeded with this probability at most, over the probes.

    The worst error is of rank one: its squared image is ||E||^2 times chi-square of 16, which falls below its
    1e-6 quantile once in a million. Every other error of the same norm is bounded more surely.
    """
    quantile = chi_square_quantile(SKETCH_WIDTH, probability)
    return float(np.linalg.norm(y_probe - x_sketch)) / math.sqrt(quantile) + round_off


def round_off(terms: int, norm: float) -> float:
    """What the check's own float64 sums may hide, added to the bound; `norm` is ||Y'||_F or ||X W||_F.

    The float32 rounding of the product is part of Y' and so is measured. What is left are sums of `terms` =
    K + N products in float64: |error| <= terms 2^-53 sum |a b|. The absolute sum is not at hand; it is taken as
    2^20 times the result. Where cancellation is worse than that, float32 has no digit left to vouch for.
    """
    return terms * 2.0 ** (20 - 53) * norm


def relative_bound(bound: float, y_norm: float) -> float:
    """The bound as a share of ||X W||_F, which is at least ||Y'||_F - bound; infinite where that is nothing."""
    if bound == 0.0:
        return 0.0
    return bound / (y_norm - bound) if bound < y_norm else math.inf


def safety_factor(rows_m: int) -> float:
    """How far below the tolerance the true error must lie for the check to pass in 999 of 1,000 products.

    Three parts: the factor of the bound (3.32), the spread of the image of a noise-like error (16 M degrees of
    freedom), and the spread of the estimated ||X W||_F the shares were cut from. Rows of one product are seldom
    independent (a picture's three channels are nearly one), so the last counts sqrt(M) rows. The logarithm of
    sqrt(chi-square_d / d) is close to normal with variance 1 / (2 d).
    """
    rows = min(max(rows_m, 1), 64)
    freedom_error = SKETCH_WIDTH * rows
    freedom_norm = SKETCH_WIDTH * math.sqrt(rows)
    spread = math.sqrt(0.5 / freedom_error + 0.5 / freedom_norm)
    quantile = chi_square_quantile(SKETCH_WIDTH, FAILURE_PROBABILITY)
    return math.sqrt(SKETCH_WIDTH / quantile) * math.exp(PASS_Z * spread)


def absolute_shares(tolerance: float, weights: Sequence[float], rows_m: int) -> list[float]:
    """Cut an absolute tolerance on ||Y' - X W||_F into one share for each holder, in proportion to `weights`.

    Two conditions, the stricter counts: the plain sum of shares is at most the tolerance, so that even errors
    that all point one way stay inside; and independent errors, which add in squares, pass the check.
    """
    parts = _relative(weights)
    total = math.fsum(parts)
    if total == 0.0:
        return parts
    unit = tolerance * min(1.0 / total, 1.0 / (safety_factor(rows_m) * math.hypot(*parts)))
    return [unit * part for part in parts]


def split_share(share: float, weights: Sequence[float]) -> list[float]:
    """Cut one holder's share among its blocks, whose errors are independent and so add in squares."""
    parts = _relative(weights)
    square = math.hypot(*parts)
    return [share * part / square if square > 0.0 else 0.0 for part in parts]


def _relative(weights: Sequence[float]) -> list[float]:
    """To the largest, so that no square is too large or too small for a float."""
    largest = max(weights, default=0.0)
    return [weight / largest if largest > 0.0 else 0.0 for weight in weights]


@lru_cache(maxsize=64)
def chi_square_quantile(freedom: int, probability: float) -> float:
    """The value that chi-square with `freedom` degrees stays below with this probability, by bisection."""
    assert freedom >= 1 and 0.0 < probability < 1.0
    low, high = 0.0, float(freedom)
    while _chi_square_cdf(freedom, high) < probability:
        high *= 2.0
    for _ in range(100):
        middle = 0.5 * (low + high)
        if _chi_square_cdf(freedom, middle) < probability:
            low = middle
        else:
            high = middle
    return high


def _chi_square_cdf(freedom: int, value: float) -> float:
    """P(a, y) = y^a e^-y / Gamma(a + 1) * (1 + y/(a+1) + y^2/((a+1)(a+2)) + ...), exact in the far tail too."""
    a, y = 0.5 * freedom, 0.5 * value
    if y <= 0.0:
        return 0.0
    term = total = 1.0
    step = a
    while term > 1e-17 * total:
        step += 1.0
        term *= y / step
        total += term
    return min(1.0, math.exp(a * math.log(y) - y - math.lgamma(a + 1.0) + math.log(total)))
