"""How whole numbers are written: each digit's cell until it is accepted.

The loop of `compute/write_verify.py` gives a cell up after so many pulses (0.4 % of `rram-wan2022`'s), and leaves it
off by more than accepted cells ever are. Among the thousands of weights of a sum that is little. But where one or two
lines are driven at once, sums of digits hardly ever err unless such a cell is among them. So digits get PATIENCE times
as many pulses: what one round of them gives up, the next ones mostly reach.
"""

from functools import lru_cache

import msgspec
import numpy as np

from compute.backend import Digits
from compute.device import PULSES_MAX, DeviceModel
from compute.energy import Spent
from compute.integer_law import largest, slices_of
from compute.write_verify import LEVEL_STEPS, law_of

PATIENCE = 4
"""A cell in three hundred is left by one round, one in ten thousand million by four."""


@lru_cache(maxsize=16)
def patient(device: DeviceModel) -> DeviceModel:
    """The same device as it writes digits."""
    writing = device.writing
    if writing.acceptance_us is None:
        return device
    pulses_max = min(PATIENCE * writing.pulses_max, PULSES_MAX)
    return msgspec.structs.replace(
        device, writing=msgspec.structs.replace(writing, pulses_max=pulses_max)
    )


def writing_digits(device: DeviceModel, digits: Digits, rows: int, columns: int) -> Spent:
    """Of a (rows, columns) block of whole numbers whose digits are all equally frequent, array after array.

    Of the copies of a digit one holds it, and the others hold zero. Nothing is read back: digits need no gain.
    """
    writing = device.writing
    arrays = slices_of(digits.weight_bits, digits.cell_bits) * digits.copies
    pairs = arrays * rows * columns
    pulses, slowest = 2.0 * pairs, 1
    if writing.acceptance_us is not None:
        law = law_of(patient(device))
        steps = largest(digits.cell_bits)
        levels = np.rint(np.arange(steps + 1) * (LEVEL_STEPS / steps)).astype(np.intp)
        held = pairs / digits.copies
        zeros = float(law.pulses[0])
        pulses = held * float(law.pulses[levels].mean()) + (2.0 * pairs - held) * zeros
        slowest = law.slowest(2 * columns)
    return Spent(
        energy_pj=pulses * writing.pulse_pj,
        latency_ns=arrays * rows * slowest * writing.pulse_ns,
    )
