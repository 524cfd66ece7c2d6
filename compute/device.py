"""What the simulated cells and converters are like: numbers with units, each with where it comes from.

A `DeviceModel` is one resistive memory cell (conductance window, how badly it is written, how noisily it is
read) with the converters at the edges of its array and what each operation costs. Chance is drawn from counted
Philox streams, keyed by what is being done, so that a run does not depend on how many threads there are.

Here and where it is used, `np.random.Generator` stands in quotes: naming it would load numpy.random, 3 MiB that a
node has no use for until it holds weights.
"""

import difflib
import hashlib
from dataclasses import dataclass

import numpy as np


class DeviceError(ValueError):
    """A device nobody knows; the text names the nearest."""


@dataclass(frozen=True, slots=True)
class DeviceModel:
    """One kind of cell and its periphery. `None` bits mean no converter: the value passes as it is."""

    name: str
    g_min_us: float
    """Lowest conductance, in microsiemens."""
    g_max_us: float
    programming_noise_us: tuple[float, ...]
    """Coefficients, constant first, of the standard deviation in uS that a cell written to G uS is left with."""
    read_noise_fraction: float
    """Standard deviation of one reading of one cell, as a fraction of g_max, new at every reading."""
    dac_bits: int | None
    """Sign and magnitude: 8 bits are 127 levels each way."""
    adc_bits: int | None
    adc_gain_max: int = 12
    """The amplifier before the ADC narrows the range by 2^0 to 2^this."""
    array_read_pj: float = 30.0
    """One reading of one 128 x 128 array; a differential pair is two. ISAAC (2016), from memory."""
    adc_conversion_pj: float = 1.7
    """8 bits at 1.2 GS/s and 2 mW. ISAAC (2016), from memory."""
    dac_line_pj: float = 3.1
    """8 bits on one line, 0.39 pJ a bit. ISAAC (2016), from memory."""
    read_ns: float = 100.0
    """One reading with the conversion of its 128 columns by one ADC. ISAAC (2016), from memory."""

    @property
    def window_us(self) -> float:
        return self.g_max_us - self.g_min_us

    @property
    def cell_noise(self) -> float:
        """Read noise of one cell as a share of the window."""
        return self.read_noise_fraction * self.g_max_us / self.window_us

    @property
    def is_exact(self) -> bool:
        """No source of error at all: weights need not be fitted into the window."""
        quiet = not self.programming_noise_us and self.read_noise_fraction == 0.0
        return quiet and self.dac_bits is None and self.adc_bits is None


DEFAULT_DEVICE = "rram-cmo-hfox-2025"

_PRESETS = (
    # Every source off: what remains is float32.
    DeviceModel("ideal", 0.0, 100.0, (), 0.0, None, None),
    # CMO/HfOx, written until within 0.2 %: the noise is aihwkit's fit (PR #702). The window is from memory and
    # its read noise was not at hand; it is taken to be that of rram-wan2022. Both unverified.
    DeviceModel(DEFAULT_DEVICE, 9.0, 88.0, (0.0008, 0.0011), 0.01, 8, 8),
    # Wan et al. 2022: CrossSim's cubic fit, valid up to 39.26 uS; read noise by aihwkit's note.
    DeviceModel("rram-wan2022", 0.0, 39.26, (1.053, 0.2374, -1.167e-2, 1.536e-4), 0.01, 8, 8),
)

DEVICES = {model.name: model for model in _PRESETS}


def device(name: str) -> DeviceModel:
    """The preset of this name. Raises DeviceError, which names the nearest one there is."""
    if name in DEVICES:
        return DEVICES[name]
    near = difflib.get_close_matches(name, DEVICES, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}?" if near else "write one of: " + ", ".join(DEVICES)
    raise DeviceError(f"{name}: no such device ({hint})")


def stream_key(*what: object) -> int:
    """128 bits that name a source of chance by what is being done: (seed, block, "program"), say."""
    text = "\x1f".join(str(part) for part in what)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16).digest(), "little")


def stream(key: int, index: int) -> "np.random.Generator":
    """The index-th stream under a key; streams never overlap, and none has to be drawn before another."""
    return np.random.Generator(np.random.Philox(key=key, counter=index << 192))
