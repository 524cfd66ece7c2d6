"""Solves A x = b to digital precision with products that are only about right (Le Gallo et al., 2018).

*Iterative refinement*: the residual r = b - A x is taken digitally, in float64, once a step; the correction A d = r is
solved only roughly, with analog products, by a few steps of GMRES, which serves matrices of any kind and cannot break
down on a noisy one; and x moves along d as far as the residual shrinks most. Each step takes the residual down by
about the relative error of the product times the condition of A, so it converges where ||E|| / sigma_min < 1.

It helps to leave to the arrays only what they are good at. With s = |diag A|^(-1/2) on both sides

    S A S = D + F,    A = S^-1 (D + F) S^-1

the diagonal D, mostly +-1 and often most of the matrix, stays digital, and only F is written. `Splitting` makes F, and
`solve` takes the product with it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compute.partition import Matrix, Matrix64

Product = Callable[[Matrix], Matrix]
"""X (M, n) float32 to about X A^T: A applied to each row, as `lambda x: AnalogMatrix(A).rmatmul(x).value`."""

INNER_STEPS = 4
"""Analog products for one correction: more follow the product's errors. At condition 5 and 3 % written, 4 take the
residual down by ten, and least products in all."""

INNER_STEPS_MAX = 32
"""After a poor step twice as many are taken, up to this: eigenvalues on both sides of zero ask for it."""

DIAGONAL_PART_MIN = 0.01
"""Of its row's norm: a smaller diagonal value does not set its row's scale."""

STEPS_MAX = 200
CONTRACTION_MAX = 0.9
"""Of the residual in one step. Poorer steps than this, POOR_STEPS_MAX on end, and it is given up."""

POOR_STEPS_MAX = 3
RTOL_MIN = 1e-14
"""What float64 residuals can tell."""


class SolverError(ValueError):
    """A system that cannot be solved here; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Solution:
    """x with ||b - A x|| <= rtol ||b||, by the residual in float64."""

    x: Matrix64
    residual: float
    """||b - A x|| / ||b||"""
    history: tuple[float, ...]
    """The residual before the first step and after each."""
    products: int
    """Analog ones, of one row each."""


@dataclass(frozen=True, slots=True)
class Splitting:
    """A = S^-1 (D + F) S^-1; F is for the arrays."""

    scale: Matrix64
    """(n,), the diagonal of S."""
    diagonal: Matrix64
    """(n,), that of D."""
    analog: Matrix
    """(n, n), F."""

    @staticmethod
    def of(a: npt.ArrayLike) -> "Splitting":
        matrix = _matrix(a)
        norms = np.linalg.norm(matrix, axis=1)
        size = np.maximum(np.abs(np.diagonal(matrix)), DIAGONAL_PART_MIN * norms)
        scale = 1.0 / np.sqrt(size)
        scaled = scale[:, None] * matrix * scale
        kept = np.diagonal(scaled).copy()
        np.fill_diagonal(scaled, 0.0)
        return Splitting(scale, kept, scaled.astype(np.float32))


def solve(
    product: Product,
    a: npt.ArrayLike,
    b: npt.ArrayLike,
    rtol: float = 1e-10,
    *,
    splitting: Splitting | None = None,
) -> Solution:
    """x (n,) for A (n, n) and b (n,). `product` is A's, or with a splitting that of its analog part."""
    matrix = _matrix(a)
    target = _target(b, len(matrix))
    if not RTOL_MIN <= rtol < 1.0:
        raise SolverError(f"rtol must lie between {RTOL_MIN:g} and 1, not {rtol:g}")
    norm = float(np.linalg.norm(target))
    if norm == 0.0:
        return Solution(np.zeros_like(target), 0.0, (0.0,), 0)
    return _Refinement(matrix, target / norm, _Inner(product, splitting)).run(rtol, norm)


class _Refinement:
    """x on its way, for ||b|| = 1."""

    def __init__(self, a: Matrix64, b: Matrix64, inner: "_Inner") -> None:
        self._a, self._b, self._inner = a, b, inner
        self._x = np.zeros_like(b)
        self._history = [1.0]

    def run(self, rtol: float, norm: float) -> Solution:
        residual, poor = self._b, 0
        while self._history[-1] > rtol:
            self._move(residual)
            residual = self._b - self._a @ self._x
            self._history.append(float(np.linalg.norm(residual)))
            contraction = self._history[-1] / self._history[-2]
            poor = poor + 1 if contraction > CONTRACTION_MAX else 0
            if poor:
                self._inner.steps = min(2 * self._inner.steps, INNER_STEPS_MAX)
            if poor == POOR_STEPS_MAX or len(self._history) > STEPS_MAX:
                raise self._lost(contraction, rtol)
        return Solution(
            self._x * norm, self._history[-1], tuple(self._history), self._inner.products
        )

    def _move(self, residual: Matrix64) -> None:
        """Along the correction d, by (r . A d) / ||A d||^2 of it: the residual never grows."""
        correction = self._inner.correction(residual)
        seen = self._a @ correction
        energy = float(seen @ seen)
        if energy > 0.0:
            self._x += float(residual @ seen) / energy * correction

    def _lost(self, contraction: float, rtol: float) -> SolverError:
        return SolverError(
            f"the residual stays at {self._history[-1]:.2g} of b after {len(self._history) - 1} steps "
            f"(the last to {contraction:.3f} of the one before, {rtol:g} asked for): A is singular, or "
            "worse conditioned than the product is exact, or its eigenvalues lie all around zero. Use a "
            "more exact product (a smaller rtol, a better device), keep the diagonal digital "
            "(Splitting.of), or solve digitally"
        )


@dataclass(slots=True)
class _Inner:
    """Corrections from analog products."""

    product: Product
    splitting: Splitting | None
    steps: int = field(default=INNER_STEPS, init=False)
    products: int = field(default=0, init=False)

    def correction(self, residual: Matrix64) -> Matrix64:
        """About A^-1 r."""
        if self.splitting is None:
            return gmres(self._apply, residual, self.steps)
        scale = self.splitting.scale
        return scale * gmres(self._apply, scale * residual, self.steps)

    def _apply(self, v: Matrix64) -> Matrix64:
        """About A v, or (D + F) v, for ||v|| = 1."""
        self.products += 1
        row = self.product(v.astype(np.float32)[None, :])
        got = np.asarray(row, np.float64).reshape(-1)
        if got.shape != v.shape:
            raise SolverError(f"the product gave {got.size} values for {v.size}: A or A^T?")
        if not np.isfinite(got).all():
            raise SolverError(f"the product gave {got[~np.isfinite(got)][0]} at {_first(got)}")
        return got if self.splitting is None else got + self.splitting.diagonal * v


def gmres(apply: Callable[[Matrix64], Matrix64], r: Matrix64, steps: int) -> Matrix64:
    """The d of least ||r - A d|| in the span of r, A r, A^2 r, ..., as far as the products tell (Saad, Schultz 1986).

    Arnoldi's basis V is orthogonal to rounding whatever the noise; A V = V H holds up to it.
    """
    norm = float(np.linalg.norm(r))
    if norm == 0.0:
        return np.zeros_like(r)
    basis = np.zeros((steps + 1, len(r)))
    h = np.zeros((steps + 1, steps))
    basis[0] = r / norm
    for step in range(steps):
        w = apply(basis[step])
        size = float(np.linalg.norm(w))
        for _ in range(2):  # Gram-Schmidt is orthogonal to rounding when done twice
            along = basis[: step + 1] @ w
            w = w - along @ basis[: step + 1]
            h[: step + 1, step] += along
        rest = float(np.linalg.norm(w))
        if rest <= 1e-12 * size:  # the span holds the solution; an empty product says nothing more
            steps = step + 1
            break
        h[step + 1, step] = rest
        basis[step + 1] = w / rest
    target = np.zeros(steps + 1)
    target[0] = norm
    weights = np.linalg.lstsq(h[: steps + 1, :steps], target, rcond=1e-12)[0]
    correction: Matrix64 = weights @ basis[:steps]
    return correction


def _matrix(a: npt.ArrayLike) -> Matrix64:
    matrix = np.asarray(a, np.float64)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise SolverError(f"A must be square, not {' x '.join(map(str, matrix.shape))}")
    if not np.isfinite(matrix).all():
        raise SolverError(f"A holds {matrix[~np.isfinite(matrix)][0]} at {_first(matrix)}")
    for axis, line in ((1, "row"), (0, "column")):
        empty = np.flatnonzero(~matrix.any(axis=axis))
        if empty.size:
            raise SolverError(f"A is singular: {line} {empty[0]} holds only zeros")
    return matrix


def _target(b: npt.ArrayLike, n: int) -> Matrix64:
    target = np.asarray(b, np.float64)
    if target.shape != (n,):
        raise SolverError(f"b must have length {n} like A, not shape {target.shape}")
    if not np.isfinite(target).all():
        raise SolverError(f"b holds {target[~np.isfinite(target)][0]} at {_first(target)}")
    return target


def _first(values: Matrix64) -> str:
    """Where the first value stands that is not finite."""
    place = [int(index) for index in np.argwhere(~np.isfinite(values))[0]]
    names = ("row", "column") if len(place) == 2 else ("index",)
    return ", ".join(f"{name} {index}" for name, index in zip(names, place, strict=True))
