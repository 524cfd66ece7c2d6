"""One answer on its way: what was asked, what has come, how wrong it can be, and which rows are to be done again."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from compute import energy, verify
from compute.backend import Product
from compute.device import DeviceModel
from compute.partition import Matrix, Matrix64

METHOD = "gaussian sketch of 16 columns, one-sided chi-square"

KEPT_PART = 0.5
"""Rows are done again until the others hold at most this part of the squared error that is allowed."""

ATTEMPTS_MAX = 3
"""As planned, with a stronger plan, digitally."""

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Certificate:
    """How wrong an answer can be, and what it took."""

    bound: float
    """On ||Y' - X W||_F / ||X W||_F."""
    confidence: float
    method: str
    regime: str
    analog_fraction: float
    """Of the multiply-accumulates."""
    energy_j: float
    """Of this product, all attempts and the check included: arrays, converters, and arithmetic beside them, by the
    device's table of unit costs (`compute/energy.py`). `AnalogMatrix.programming` tells what was written for it."""
    latency_s: float
    """Of the arrays, all tiles at work at once; neither digital arithmetic nor writing is in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """What happened on the way."""

    draw: int
    """Name of the noise: the same draw gives the same answer again."""
    reads: int
    """Of single arrays."""
    analog_macs: int
    digital_macs: int
    arrays_j: float
    """The certificate's energy is this, of arrays and converters,"""
    digital_j: float
    """this, of outliers and of what was done digitally,"""
    check_j: float
    """and this, of the check."""
    rows_redone: int
    """Rows of X that failed the check and were done again."""
    rows_digital: int
    """Rows of X that were done digitally in the end, because nothing else kept the tolerance."""
    within: bool
    """The bound keeps the tolerance that was asked for; true without one."""


@dataclass(frozen=True, slots=True)
class AnalogResult:
    """An answer with how wrong it can be."""

    value: Matrix
    certificate: Certificate
    report: Report


@dataclass(slots=True)
class Answer:
    """Y' for X (M, inputs), row by row, against the sketch of W."""

    x: Matrix
    transpose: bool
    rtol: float | None
    draw: int
    first_row: int
    sketch: Matrix64
    sketch_seed: int
    value: Matrix
    device: DeviceModel
    xs: Matrix64 = field(init=False)
    """X S, (M, 16)."""
    tolerance: float | None = field(init=False)
    """On ||Y' - X W||_F, by the estimated norm of X W."""
    bound: float = field(init=False, default=np.inf)
    """On ||Y' - X W||_F."""
    products: list[Product] = field(init=False, default_factory=list)
    rows_redone: int = field(init=False, default=0)
    checks: int = field(init=False, default=0)
    digital: npt.NDArray[np.bool_] = field(init=False)
    """(M,), rows that were done digitally in the end."""
    _chosen: bool = field(init=False, default=False)
    """Rows were done again because of what the probes said of them."""
    _residuals: npt.NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        self.xs = verify.apply_sketch(self.x, self.sketch)
        self.digital = np.zeros(len(self.x), np.bool_)
        self.tolerance = None
        if self.rtol is not None:
            self.tolerance = self.rtol * verify.norm_for_shares(self.x, self.sketch, self.xs)

    def check(self) -> None:
        """Bound the error of what stands there."""
        axis: verify.Axis = "rows" if self.transpose else "columns"
        seen = verify.project(self.value, self.sketch_seed, axis)
        slack = verify.round_off(sum(self.sketch_depth), self.norm)
        self.bound = verify.residual_bound(seen, self.xs, slack, self._failure_probability)
        self._residuals = np.einsum("mj,mj->m", seen - self.xs, seen - self.xs)
        self.checks += 1

    @property
    def _failure_probability(self) -> float:
        """Rows that are kept because they pass, where others are done again, were chosen by the same probes: the bound
        has to hold for each row of each of at most three attempts."""
        chosen = self._chosen and not self.digital.all()
        choices = ATTEMPTS_MAX * len(self.x) if chosen else 1
        return verify.FAILURE_PROBABILITY / choices

    @property
    def _check_pj(self) -> float:
        """X meets its sketch once, Y' meets the probes at each check."""
        inputs, outputs = self.sketch_depth
        rows, width = len(self.x), verify.SKETCH_WIDTH
        once = energy.sketch_pj(self.device, rows, inputs, width)
        return once + self.checks * energy.sketch_pj(self.device, rows, outputs, width)

    @property
    def sketch_depth(self) -> tuple[int, int]:
        return self.x.shape[1], self.value.shape[1]

    @property
    def norm(self) -> float:
        """||Y'||_F; not finite where values are beyond float32."""
        return verify.norm_of(self.value)

    @property
    def relative_bound(self) -> float:
        return verify.relative_bound(self.bound, self.norm)

    @property
    def within(self) -> bool:
        return self.rtol is None or self.relative_bound <= self.rtol

    def failing(self) -> Rows:
        """Rows of X whose errors are the largest, as many as must go for the check to pass with room."""
        assert self.rtol is not None
        self._chosen = True
        quantile = verify.chi_square_quantile(verify.SKETCH_WIDTH, self._failure_probability)
        norm = self.norm
        allowed = KEPT_PART * quantile * (self.rtol * norm / (1.0 + self.rtol)) ** 2
        order = np.argsort(self._residuals)
        kept = int(np.searchsorted(np.cumsum(self._residuals[order]), allowed))
        return np.sort(order[min(kept, len(order) - 1) :])

    def result(self, *, flat: bool) -> AnalogResult:
        """`flat`: X was a vector, and so is the answer."""
        analog = sum(product.analog_macs for product in self.products)
        digital = sum(product.digital_macs for product in self.products)
        regimes = {regime for product in self.products for regime in product.regimes}
        energy_j = sum(product.energy_j for product in self.products)
        digital_j = sum(product.digital_j for product in self.products)
        check_j = self._check_pj * 1e-12
        return AnalogResult(
            self.value[0] if flat else self.value,
            Certificate(
                bound=self.relative_bound,
                confidence=1.0 - verify.FAILURE_PROBABILITY,
                method=METHOD,
                regime="+".join(sorted(regimes)),
                analog_fraction=analog / (analog + digital) if analog else 0.0,
                energy_j=energy_j + check_j,
                latency_s=sum(product.latency_s for product in self.products),
            ),
            Report(
                draw=self.draw,
                reads=sum(product.reads for product in self.products),
                analog_macs=analog,
                digital_macs=digital,
                arrays_j=energy_j - digital_j,
                digital_j=digital_j,
                check_j=check_j,
                rows_redone=self.rows_redone,
                rows_digital=int(np.count_nonzero(self.digital)),
                within=self.within,
            ),
        )
