"""What simulated cells, wires and converters are like: numbers with units and bounds.

A `DeviceModel` is one kind of resistive memory cell (its window, how badly it is written, how noisily it is read,
how it ages) in one kind of array (wires, spare rows, converters at the edges, what each operation costs). Every
source of error can be off, and is off unless it is said. Presets stand in `compute/presets.py`; a device of one's
own is a TOML file, or the same as JSON, with as much of it as differs from a preset named by `base`.
"""

import math
from typing import Annotated

import msgspec
from msgspec import Meta

LEVELS_MAX = 65_536
BITS_MAX = 16
PULSES_MAX = 10_000

Conductance = Annotated[float, Meta(ge=0.0, le=1e6)]
"""Microsiemens."""
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Bits = Annotated[int, Meta(ge=2, le=BITS_MAX)]
Sigma = Annotated[float, Meta(ge=0.0, le=10.0)]
PicoJoules = Annotated[float, Meta(ge=0.0, le=1e9)]
NanoSeconds = Annotated[float, Meta(ge=0.0, le=1e12)]
Coefficient = Annotated[float, Meta(ge=-1e6, le=1e6)]
Coefficients = Annotated[tuple[Coefficient, ...], Meta(max_length=8)]

SIGMA_POINTS = 65
"""The polynomial of the writing noise is looked at in so many places of the window: nowhere may it be negative."""


class DeviceError(ValueError):
    """A device that nobody knows or that cannot be; the text says which key, which bound, or the nearest name."""


class Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A section of a device's description."""


class Window(Part, frozen=True, kw_only=True):
    """The conductances that a cell can take."""

    g_min_us: Conductance = 0.0
    """Lowest conductance, in microsiemens."""

    g_max_us: Conductance = 100.0
    """Highest conductance, in microsiemens."""

    levels: Annotated[int, Meta(ge=2, le=LEVELS_MAX)] | None = None
    """Evenly spaced conductances that can be written; nothing: any."""

    def __post_init__(self) -> None:
        if not self.g_max_us > self.g_min_us:
            raise ValueError(
                f"g_max_us must lie above g_min_us: {self.g_max_us:g} <= {self.g_min_us:g}"
            )

    @property
    def width_us(self) -> float:
        return self.g_max_us - self.g_min_us


class Writing(Part, frozen=True, kw_only=True):
    """How a cell is written: pulses, each followed by a reading, until it is near enough (write-verify)."""

    sigma_us: Coefficients = ()
    """What accepted cells are left with once they have relaxed: standard deviation in uS as a polynomial of the
    conductance in uS, constant first. Without it a cell stays where its last pulse led."""

    acceptance_us: Annotated[float, Meta(gt=0.0, le=1e6)] | None = None
    """A cell is accepted within so much of its target, in uS; nothing: the first pulse is the last."""

    acceptance_share: Share = 0.0
    """Share of the target by which the acceptance is wider."""

    verify_sigma_us: Conductance = 0.0
    """Standard deviation in uS of the reading after each pulse: slower than one for a product, and better."""

    pulse_share: Annotated[float, Meta(gt=0.0, le=1.0)] = 1.0
    """Part of the remaining way that a pulse goes on average."""

    pulse_sigma_us: Conductance = 0.0
    """Standard deviation in uS of where one pulse leads."""

    pulses_max: Annotated[int, Meta(ge=1, le=PULSES_MAX)] = 1
    """After so many pulses a cell is left as it is, and counts as not written."""

    pulse_pj: PicoJoules = 0.0
    """Energy of one pulse."""

    pulse_ns: NanoSeconds = 0.0
    """Length of one pulse and its reading; the cells of one row are written at once."""

    def __post_init__(self) -> None:
        if self.acceptance_us is not None:
            return
        for key, off in (
            ("acceptance_share", 0.0),
            ("verify_sigma_us", 0.0),
            ("pulse_share", 1.0),
            ("pulses_max", 1),
        ):
            if getattr(self, key) != off:
                raise ValueError(
                    f"{key} = {getattr(self, key):g} needs acceptance_us: nothing is read, "
                    "so the first pulse is the last"
                )
        if self.sigma_us and self.pulse_sigma_us:
            raise ValueError(
                "pulse_sigma_us has no effect beside sigma_us where nothing is read (acceptance_us)"
            )

    def tolerance_us(self, target_us: float) -> float:
        """How far from its target a cell is still accepted; nothing is refused where nothing is read."""
        if self.acceptance_us is None:
            return float("inf")
        return self.acceptance_us + self.acceptance_share * target_us


class ReadNoise(Part, frozen=True, kw_only=True):
    """New in every cell at every reading."""

    constant: Share = 0.0
    """Standard deviation as a share of g_max, the same at every conductance."""

    proportional: Share = 0.0
    """Standard deviation as a share of the cell's own conductance."""


class Variation(Part, frozen=True, kw_only=True):
    """How cells differ for life: each has a window of its own."""

    floor: Sigma = 0.0
    """Standard deviation of ln(lowest conductance)."""

    ceiling: Sigma = 0.0
    """Standard deviation of ln(highest conductance)."""


class Faults(Part, frozen=True, kw_only=True):
    """Cells that no pulse moves."""

    stuck_low: Share = 0.0
    """Share of cells stuck at g_min (stuck-at-0)."""

    stuck_high: Share = 0.0
    """Share of cells stuck at g_max (stuck-at-1)."""

    def __post_init__(self) -> None:
        if self.share > 1.0:
            raise ValueError("stuck_low and stuck_high together must be at most 1")

    @property
    def share(self) -> float:
        """Of the cells."""
        return self.stuck_low + self.stuck_high


class Drift(Part, frozen=True, kw_only=True):
    """How conductances move after writing; t is the age in seconds, and until t0_s nothing moves."""

    t0_s: Annotated[float, Meta(gt=0.0, le=1e9)] = 1.0
    """Age at which a freshly written cell is as `writing.sigma_us` says."""

    exponent: Share = 0.0
    """nu in G (t / t0)^-nu."""

    exponent_sigma: Share = 0.0
    """Standard deviation of nu from cell to cell, for life."""

    mean_us: Annotated[float, Meta(ge=-1e3, le=1e3)] = 0.0
    """Shift in uS for each factor e of t / t0."""

    sigma_us: Conductance = 0.0
    """Standard deviation in uS, growing by so much for each factor e of t / t0; each writing sets a cell on one way."""


class Wires(Part, frozen=True, kw_only=True):
    """The lines of an array."""

    segment_ohm: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.0
    """Resistance of a line from one cell to the next."""

    spare_rows: Annotated[int, Meta(ge=0, le=64)] = 0
    """Rows of an array beyond those that are used, for those with the most faults."""


class Converters(Part, frozen=True, kw_only=True):
    """DAC and ADC at the edges of an array; without bits a value passes as it is."""

    dac_bits: Bits | None = None
    """Sign and magnitude: 8 bits are 127 levels each way."""

    adc_bits: Bits | None = None
    """Sign and magnitude, as the DAC's."""

    adc_gain_max: Annotated[int, Meta(ge=0, le=24)] = 12
    """The amplifier before the ADC narrows its range by 2^0 to 2^this."""

    adc_offset_sigma: Annotated[float, Meta(ge=0.0, le=16.0)] = 0.0
    """Standard deviation of an ADC's own offset, in its steps, before calibration."""

    adc_gain_sigma: Annotated[float, Meta(ge=0.0, le=0.2)] = 0.0
    """Standard deviation of an ADC's own gain, as a share, before calibration."""


class Costs(Part, frozen=True, kw_only=True):
    """What each operation of the periphery takes, and of the arithmetic beside the arrays."""

    array_read_pj: PicoJoules = 30.0
    """One reading of one 128 x 128 array; a differential pair is two."""

    adc_conversion_pj: PicoJoules = 1.7
    """One conversion at 8 bits; each bit more doubles it."""

    dac_line_pj: PicoJoules = 3.1
    """8 bits on one line; each bit is an eighth of it."""

    read_ns: NanoSeconds = 100.0
    """One reading with the conversion of its 128 columns by one ADC; other sides take in proportion."""

    digital_mac_pj: PicoJoules = 4.6
    """A digital multiply and add in float32."""

    near_word_pj: PicoJoules = 50.0
    """32 bits from memory on the chip (1 MiB): outliers and sketches are there."""

    far_word_pj: PicoJoules = 640.0
    """32 bits from DRAM: weights that no array multiplies have to be fetched."""

    source: Annotated[str, Meta(max_length=200)] = (
        "arrays and converters: ISAAC (Shafiee et al. 2016), 32 nm; "
        "arithmetic and memory: Horowitz (ISSCC 2014), 45 nm"
    )
    """Where these figures are from."""


class DeviceModel(Part, frozen=True, kw_only=True):
    """One kind of cell in one kind of array."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    window: Window = Window()
    writing: Writing = Writing()
    reading: ReadNoise = ReadNoise()
    variation: Variation = Variation()
    faults: Faults = Faults()
    drift: Drift = Drift()
    wires: Wires = Wires()
    converters: Converters = Converters()
    costs: Costs = Costs()

    def __post_init__(self) -> None:
        """What sections must not be together; msgspec has seen to each value's own bounds."""
        if self.variation.floor and not self.window.g_min_us:
            raise ValueError("variation.floor has no effect where window.g_min_us is 0")
        self._check_writing()
        self._check_converters()

    def _check_writing(self) -> None:
        """A polynomial that was fitted to one window can turn negative in another."""
        for step in range(SIGMA_POINTS):
            conductance_us = self.window.g_min_us + self.window.width_us * step / (SIGMA_POINTS - 1)
            sigma_us = self.written_sigma_us(conductance_us)
            if sigma_us < 0.0:
                raise ValueError(
                    f"writing.sigma_us must be at least 0 all over the window: {sigma_us:g} at {conductance_us:g} uS"
                )

    def _check_converters(self) -> None:
        if self.converters.adc_bits is None:
            for key in ("adc_offset_sigma", "adc_gain_sigma"):
                if getattr(self.converters, key):
                    raise ValueError(f"converters.{key} needs converters.adc_bits")

    def written_sigma_us(self, conductance_us: float) -> float:
        """Standard deviation of an accepted cell once it has relaxed, by Horner's rule."""
        sigma_us = 0.0
        for coefficient in reversed(self.writing.sigma_us):
            sigma_us = sigma_us * conductance_us + coefficient
        return sigma_us

    def read_sigma_us(self, conductance_us: float) -> float:
        """Standard deviation of one reading of one cell."""
        constant = self.reading.constant * self.window.g_max_us
        return math.hypot(constant, self.reading.proportional * conductance_us)

    @property
    def cell_noise(self) -> float:
        """Constant read noise of one cell as a share of the window."""
        return self.reading.constant * self.window.g_max_us / self.window.width_us

    @property
    def is_exact(self) -> bool:
        """No source of error at all: weights need not be fitted into the window."""
        off = (Writing(), ReadNoise(), Variation(), Faults(), Drift(), Wires(), Converters())
        parts = (
            self.writing,
            self.reading,
            self.variation,
            self.faults,
            self.drift,
            self.wires,
            self.converters,
        )
        return self.window.levels is None and parts == off
