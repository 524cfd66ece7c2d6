"""Products of a matrix in simulated crossbars, with a meter that adds up what they took."""

import time
from dataclasses import dataclass, field

from compute.analog import AnalogMatrix
from compute.answer import AnalogResult
from compute.partition import Matrix

RTOL = 1e-2
"""What products are shipped with."""


@dataclass(slots=True)
class Meter:
    """Of all products of one run."""

    products: int = 0
    analog_macs: int = 0
    digital_macs: int = 0
    energy_j: float = 0.0
    """Of the arrays and their converters, without the arithmetic beside them."""
    latency_s: float = 0.0
    bound: float = 0.0
    """The largest relative one."""
    rows_redone: int = 0
    rows_digital: int = 0
    regimes: set[str] = field(default_factory=set)
    cpu_s: float = 0.0
    """Of this simulation, the writing of further slices included."""

    def add(self, result: AnalogResult, cpu_s: float) -> None:
        self.products += 1
        self.analog_macs += result.report.analog_macs
        self.digital_macs += result.report.digital_macs
        self.energy_j += result.report.arrays_j
        self.latency_s += result.certificate.latency_s
        self.bound = max(self.bound, result.certificate.bound)
        self.rows_redone += result.report.rows_redone
        self.rows_digital += result.report.rows_digital
        self.regimes.update(result.certificate.regime.split("+"))
        self.cpu_s += cpu_s

    @property
    def analog_fraction(self) -> float:
        """Of the multiply-accumulates, those that were done again counted as often as they were done."""
        return self.analog_macs / (self.analog_macs + self.digital_macs)


@dataclass(frozen=True, slots=True)
class Metered:
    """A matrix multiplied under one tolerance: None takes the arrays as they are."""

    matrix: AnalogMatrix
    rtol: float | None
    meter: Meter = field(default_factory=Meter)

    def forward(self, x: Matrix) -> Matrix:
        """X W."""
        began = time.process_time()
        result = self.matrix.matmul(x, self.rtol)
        self.meter.add(result, time.process_time() - began)
        return result.value

    def backward(self, y: Matrix) -> Matrix:
        """Y W^T."""
        began = time.process_time()
        result = self.matrix.rmatmul(y, self.rtol)
        self.meter.add(result, time.process_time() - began)
        return result.value
