import math

import msgspec
import numpy as np
import pytest

from compute.device import Wires
from compute.digit_noise import digit_noise
from compute.presets import PRESETS

WAN = PRESETS["rram-wan2022"]


def test_a_device_without_noise_has_none_and_levels_are_no_noise() -> None:
    assert digit_noise(PRESETS["ideal"], 1, 0.0).write == 0.0
    assert digit_noise(PRESETS["rram-isaac"], 1, 0.0).write == 0.0


@pytest.mark.parametrize("name", ["rram-wan2022", "rram-cmo-hfox-2025", "rram-milo2021"])
def test_digits_are_off_by_what_their_worse_end_is_written_with(name: str) -> None:
    device = PRESETS[name]
    worst_us = max(
        device.written_sigma_us(end) for end in (device.window.g_min_us, device.window.g_max_us)
    )

    noise = digit_noise(device, 1, 0.0)

    assert noise.write == pytest.approx(worst_us / device.window.width_us, rel=0.11)
    assert noise.shared < 0.2 * noise.write


def test_wires_add_what_neighbours_share_and_more_of_it_with_their_resistance() -> None:
    bare, thin, thick = (
        digit_noise(msgspec.structs.replace(WAN, name="w", wires=Wires(segment_ohm=ohm)), 1, 0.0)
        for ohm in (0.0, 1.0, 4.0)
    )

    assert bare.shared <= thin.shared < thick.shared
    assert math.hypot(thick.write, thick.shared) > 1.3 * bare.write


def test_drift_makes_digits_worse() -> None:
    fresh, year, decades = (digit_noise(PRESETS["pcm-joshi"], 1, age) for age in (0.0, 3e7, 1e9))

    assert fresh.write < year.write < decades.write


def test_a_chip_is_the_same_chip_again() -> None:
    first = digit_noise(PRESETS["rram-harsh"], 3, 0.0)
    digit_noise.cache_clear()

    assert digit_noise(PRESETS["rram-harsh"], 3, 0.0) == first
    assert np.isfinite(first.write) and 0.0 < first.write < 0.2
