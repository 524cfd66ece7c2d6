"""A device whose writing is all loop, and what its cells hold in units of their own."""

import numpy as np

from compute.device import DeviceModel, Window, Writing
from compute.partition import Matrix

CLUMSY = DeviceModel(
    name="clumsy",
    window=Window(g_min_us=10.0, g_max_us=50.0),
    writing=Writing(
        acceptance_us=1.0,
        acceptance_share=0.02,
        verify_sigma_us=0.3,
        pulse_share=0.5,
        pulse_sigma_us=4.0,
        pulses_max=12,
    ),
)
"""Cells stay as the loop leaves them, and one in twenty is given up."""


def in_us(shares: Matrix, device: DeviceModel) -> Matrix:
    return shares * np.float32(device.window.width_us) + np.float32(device.window.g_min_us)
