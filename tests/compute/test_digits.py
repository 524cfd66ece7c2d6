import msgspec
import numpy as np
import pytest

from compute.backend import Digits
from compute.device import DeviceModel, ReadNoise, Window
from compute.digits import PATIENCE, patient, writing_digits
from compute.integer_law import CellNoise, conversion_sd, largest
from compute.presets import PRESETS
from compute.programmed import Arrays
from compute.strips import write_strip
from compute.write_verify import law_of
from tests.compute.laws import far_from_share

WAN = PRESETS["rram-wan2022"]
SIGMA_US = 0.6
"""At which a line of digits of three bits is wrong once in a thousand times."""

EVEN = msgspec.structs.replace(
    WAN,
    name="even",
    window=Window(g_min_us=10.0, g_max_us=49.26),
    writing=msgspec.structs.replace(WAN.writing, sigma_us=(SIGMA_US,)),
    reading=ReadNoise(),
    converters=PRESETS["ideal"].converters,
)
"""All accepted cells are off by the same law, and none is cut off at zero: a conversion's law is exact."""


def wrong_and_trials(device: DeviceModel) -> tuple[int, int]:
    """Single lines of digits of three bits, on cells as this device writes them."""
    digits = np.random.default_rng(4).integers(-7, 8, (128, 1024))
    ones = np.ones(1024, np.float32)
    strip = write_strip((digits / 7).astype(np.float32), ones, 0, device, Arrays(), life=3)
    read = np.rint(7.0 * strip.difference)
    return int(np.count_nonzero(read != digits)), digits.size


def test_single_lines_of_digits_err_as_often_as_the_law_says() -> None:
    noise = CellNoise(write=SIGMA_US / EVEN.window.width_us, read=0.0)
    sd = conversion_sd(1, noise, 3, 1)
    chance = float(np.mean(np.abs(np.random.default_rng(1).normal(0.0, sd, 10_000_000)) > 0.5))

    hurried, patiently = wrong_and_trials(EVEN), wrong_and_trials(patient(EVEN))

    assert largest(3) == 7 and 5e-4 < chance < 2e-3
    assert not far_from_share(*patiently, chance)
    assert hurried[0] > 3.0 * patiently[0] and far_from_share(*hurried, chance)


@pytest.mark.parametrize("name", list(PRESETS))
def test_no_digit_of_a_preset_is_given_up(name: str) -> None:
    device = patient(PRESETS[name])

    if device.writing.acceptance_us is not None:
        assert law_of(device).given_up.max() == 0.0
    assert msgspec.structs.replace(device, writing=PRESETS[name].writing) == PRESETS[name]


def test_digits_take_the_pulses_of_their_arrays() -> None:
    device = patient(EVEN)
    law = law_of(device)

    one = writing_digits(EVEN, Digits(weight_bits=3, cell_bits=1, copies=1), 128, 10)
    two = writing_digits(EVEN, Digits(weight_bits=3, cell_bits=1, copies=2), 128, 10)

    ends = float(law.pulses[[0, -1]].mean()) + float(law.pulses[0])
    assert one.energy_pj == pytest.approx(3 * 1280 * ends * 80.0)
    assert one.energy_pj <= two.energy_pj < 1.1 * one.energy_pj
    assert two.latency_ns == 2.0 * one.latency_ns >= 2 * 3 * 128 * 8 * 1000.0
    assert device.writing.pulses_max == PATIENCE * EVEN.writing.pulses_max


def test_without_a_loop_each_cell_takes_one_pulse() -> None:
    bare = msgspec.structs.replace(WAN, writing=PRESETS["pcm-joshi"].writing)
    writing = msgspec.structs.replace(bare.writing, pulse_pj=2.0, pulse_ns=5.0)
    device = msgspec.structs.replace(bare, writing=writing)

    spent = writing_digits(device, Digits(weight_bits=4, cell_bits=2, copies=1), 10, 20)

    assert patient(device) == device
    assert (spent.energy_pj, spent.latency_ns) == (2 * 2 * 200 * 2.0, 2 * 10 * 5.0)
